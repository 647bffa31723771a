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

#endif
