/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and containers by CRI in few words, for tests and benchmarks. */
#ifndef PODKIT_H
#define PODKIT_H

#include "cri/client.h"

struct podkit {
    struct gi_cri_client *client;
    const char *image;
    const char *handler;
    const char *log_root; /* a folder; a pod's logs are in <log_root>/<name> */
    bool host_network;    /* for runtimes without CNI */
    const char *cgroup_parent;
    bool local; /* pods are of the driver `local`: their cgroups are on this host */
};

/* From the environment: CONTAINER_RUNTIME_ENDPOINT, TEST_IMAGE, TEST_HANDLER
 * (default gpu-isolated), TEST_LOG_ROOT, TEST_HOST_NETWORK, TEST_CGROUP_PARENT,
 * TEST_MACHINE (default local).
 * -1 and a message on stderr when one is missing. */
int podkit_open(struct podkit *k);
void podkit_close(struct podkit *k);

/* Each fills the id (80 bytes); KEY=VALUE is the label "test". LABEL may be NULL. */
int podkit_run_pod(struct podkit *k, const char *name, const char *label, char *ret_id,
                   struct gi_error *err);
/* ARGV is NULL-terminated. Created, not started. */
int podkit_create(struct podkit *k, const char *pod_id, const char *pod_name, const char *name,
                  const char *label, const char *const *argv, char *ret_id, struct gi_error *err);
int podkit_start(struct podkit *k, const char *id, struct gi_error *err);
int podkit_stop(struct podkit *k, const char *id, int grace_s, struct gi_error *err);
int podkit_remove(struct podkit *k, const char *id, struct gi_error *err);
int podkit_stop_pod(struct podkit *k, const char *id, struct gi_error *err);
int podkit_remove_pod(struct podkit *k, const char *id, struct gi_error *err);

/* The caller frees *RET with podkit_free. */
int podkit_status(struct podkit *k, const char *id, Runtime__V1__ContainerStatusResponse **ret,
                  struct gi_error *err);
/* Waits for the end of the container: its exit code in *ret_code. */
int podkit_wait(struct podkit *k, const char *id, int timeout_ms, int *ret_code,
                struct gi_error *err);
void podkit_free(void *response);

#endif
