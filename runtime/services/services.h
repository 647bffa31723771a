/* SPDX-License-Identifier: Apache-2.0 */
/* CRI's handlers, one function a method; table.c names them all. */
#ifndef RT_SERVICES_SERVICES_H
#define RT_SERVICES_SERVICES_H

#include "core/runtime.h"
#include "rpc/pb.h"

#define HANDLER(name)                                                                              \
    int cri_##name(struct rpc_call *call, const void *request, void *response, struct gi_error *err)

/* node.c */
HANDLER(version);
HANDLER(status);
HANDLER(runtime_config);
HANDLER(update_runtime_config);
/* pods.c */
HANDLER(run_pod_sandbox);
HANDLER(stop_pod_sandbox);
HANDLER(remove_pod_sandbox);
HANDLER(pod_sandbox_status);
HANDLER(list_pod_sandbox);
/* containers.c */
HANDLER(create_container);
HANDLER(start_container);
HANDLER(stop_container);
HANDLER(remove_container);
HANDLER(list_containers);
HANDLER(container_status);
HANDLER(exec_sync);
HANDLER(reopen_container_log);
/* events.c */
HANDLER(get_container_events);
/* streams.c */
HANDLER(stream_pod_sandboxes);
HANDLER(stream_containers);
HANDLER(stream_container_stats);
HANDLER(stream_pod_sandbox_stats);
HANDLER(stream_pod_sandbox_metrics);
HANDLER(stream_images);
/* metrics.c */
HANDLER(list_metric_descriptors);
HANDLER(list_pod_sandbox_metrics);
/* update.c */
HANDLER(update_container_resources);
HANDLER(update_pod_sandbox_resources);
HANDLER(checkpoint_container);
HANDLER(checkpoint_pod);
HANDLER(restore_pod);
/* stats.c */
HANDLER(container_stats);
HANDLER(list_container_stats);
HANDLER(pod_sandbox_stats);
HANDLER(list_pod_sandbox_stats);
/* stream.c */
HANDLER(exec);
HANDLER(attach);
HANDLER(port_forward);
/* image.c */
HANDLER(list_images);
HANDLER(image_status);
HANDLER(pull_image);
HANDLER(remove_image);
HANDLER(image_fs_info);

/* Whether a map of LABELS has all of SELECTOR. */
bool labels_match(const void *labels, size_t n, const void *selector, size_t n_selector);
/* A filter's id: "" matches all, else the id or a beginning of it. */
bool filter_id_matches(const char *wanted, const char *id);
/* With the state lock held: heap. */
Runtime__V1__ContainerStatus *container_status_message(const struct container *c);
Runtime__V1__PodSandboxStatus *pod_status_message(const struct pod *p);
/* Asks the agents of the pods WANTED says yes to (state lock held), and waits a moment. */
void stats_refresh(struct runtime *rt, bool (*wanted)(const void *filter, const struct pod *p),
                   const void *filter);

#endif
