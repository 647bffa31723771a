/* SPDX-License-Identifier: Apache-2.0 */
#include "podkit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"

#define CALL_TIMEOUT_MS 120000

static int call(struct podkit *k, const char *method, const ProtobufCMessage *request, void *ret,
                struct gi_error *err)
{
    struct gi_cri_call_options opt = {.timeout_ms = CALL_TIMEOUT_MS};
    return gi_cri_call(k->client, method, request, &opt, ret, err);
}

void podkit_free(void *response)
{
    if (response)
        protobuf_c_message_free_unpacked(response, NULL);
}

int podkit_open(struct podkit *k)
{
    struct gi_error err = GI_ERROR_INIT;
    const char *endpoint = getenv("CONTAINER_RUNTIME_ENDPOINT");
    *k = (struct podkit){
        .image = getenv("TEST_IMAGE"),
        .handler = getenv("TEST_HANDLER"),
        .log_root = getenv("TEST_LOG_ROOT"),
        .host_network = getenv("TEST_HOST_NETWORK") != NULL,
        .cgroup_parent = getenv("TEST_CGROUP_PARENT"),
    };
    const char *machine = getenv("TEST_MACHINE");
    k->local = !machine || strcmp(machine, "local") == 0;
    if (!k->handler)
        k->handler = "gpu-isolated";
    if (!endpoint || !k->image || !k->log_root) {
        fprintf(stderr, "needs CONTAINER_RUNTIME_ENDPOINT, TEST_IMAGE and TEST_LOG_ROOT\n");
        return -1;
    }
    if (gi_cri_client_new(endpoint, &k->client, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

void podkit_close(struct podkit *k)
{
    gi_cri_client_free(k->client);
}

struct pod_config {
    Runtime__V1__PodSandboxConfig config;
    Runtime__V1__PodSandboxMetadata metadata;
    Runtime__V1__LinuxPodSandboxConfig linux_config;
    Runtime__V1__LinuxSandboxSecurityContext security;
    Runtime__V1__NamespaceOption namespaces;
    Runtime__V1__PodSandboxConfig__LabelsEntry label, *labels[1];
    char log_dir[256], uid[64];
};

static void fill_pod(struct podkit *k, struct pod_config *p, const char *name, const char *label)
{
    p->config = (Runtime__V1__PodSandboxConfig)RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    p->metadata = (Runtime__V1__PodSandboxMetadata)RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    p->linux_config =
        (Runtime__V1__LinuxPodSandboxConfig)RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
    p->security =
        (Runtime__V1__LinuxSandboxSecurityContext)RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
    p->namespaces = (Runtime__V1__NamespaceOption)RUNTIME__V1__NAMESPACE_OPTION__INIT;
    p->label = (Runtime__V1__PodSandboxConfig__LabelsEntry)
        RUNTIME__V1__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT;
    snprintf(p->log_dir, sizeof(p->log_dir), "%s/%s", k->log_root, name);
    snprintf(p->uid, sizeof(p->uid), "uid-%.50s", name);
    p->metadata.name = (char *)name;
    p->metadata.namespace_ = (char *)"test";
    p->metadata.uid = p->uid;
    p->config.metadata = &p->metadata;
    p->config.log_directory = p->log_dir;
    p->config.linux = &p->linux_config;
    if (k->cgroup_parent)
        p->linux_config.cgroup_parent = (char *)k->cgroup_parent;
    if (k->host_network) {
        p->namespaces.network = RUNTIME__V1__NAMESPACE_MODE__NODE;
        p->security.namespace_options = &p->namespaces;
        p->linux_config.security_context = &p->security;
    } else {
        p->config.hostname = (char *)name;
    }
    if (label) {
        p->label.key = (char *)"test";
        p->label.value = (char *)label;
        p->labels[0] = &p->label;
        p->config.labels = p->labels;
        p->config.n_labels = 1;
    }
}

static int take_id(char *out, const char *id, struct gi_error *err)
{
    if (!*id || strlen(id) >= 80)
        return gi_fail(err, GI_INTERNAL, "\"%.100s\" is no id", id);
    memcpy(out, id, strlen(id) + 1);
    return 0;
}

int podkit_run_pod(struct podkit *k, const char *name, const char *label, char *ret_id,
                   struct gi_error *err)
{
    struct pod_config p;
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__RunPodSandboxResponse *r = NULL;
    fill_pod(k, &p, name, label);
    int rc = gi_mkdir_p(p.log_dir, 0755, err);
    if (rc < 0)
        return rc;
    request.config = &p.config;
    request.runtime_handler = (char *)k->handler;
    rc = call(k, "RunPodSandbox", &request.base, &r, err);
    if (rc == 0)
        rc = take_id(ret_id, r->pod_sandbox_id, err);
    podkit_free(r);
    return rc;
}

int podkit_create(struct podkit *k, const char *pod_id, const char *pod_name, const char *name,
                  const char *label, const char *const *argv, char *ret_id, struct gi_error *err)
{
    struct pod_config p;
    char log[128];
    Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__LinuxContainerConfig linux_config = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
    Runtime__V1__LinuxContainerSecurityContext security =
        RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
    Runtime__V1__ContainerConfig__LabelsEntry entry =
        RUNTIME__V1__CONTAINER_CONFIG__LABELS_ENTRY__INIT;
    Runtime__V1__ContainerConfig__LabelsEntry *labels[] = {&entry};
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    Runtime__V1__CreateContainerResponse *r = NULL;

    fill_pod(k, &p, pod_name, NULL);
    snprintf(log, sizeof(log), "%s.log", name);
    metadata.name = (char *)name;
    image.image = (char *)k->image;
    config.metadata = &metadata;
    config.image = &image;
    config.log_path = log;
    config.linux = &linux_config;
    if (k->host_network) {
        security.namespace_options = &p.namespaces;
        linux_config.security_context = &security;
    }
    if (label) {
        entry.key = (char *)"test";
        entry.value = (char *)label;
        config.labels = labels;
        config.n_labels = 1;
    }
    config.command = (char **)argv;
    while (argv[config.n_command])
        config.n_command++;
    request.pod_sandbox_id = (char *)pod_id;
    request.config = &config;
    request.sandbox_config = &p.config;
    int rc = call(k, "CreateContainer", &request.base, &r, err);
    if (rc == 0)
        rc = take_id(ret_id, r->container_id, err);
    podkit_free(r);
    return rc;
}

/* The methods that take an id and answer nothing. */
#define SIMPLE_CALL(fn, Method, TYPE, type_init, field)                                            \
    int fn(struct podkit *k, const char *id, struct gi_error *err)                                 \
    {                                                                                              \
        TYPE request = type_init;                                                                  \
        ProtobufCMessage *r = NULL;                                                                \
        request.field = (char *)id;                                                                \
        int rc = call(k, Method, &request.base, &r, err);                                          \
        podkit_free(r);                                                                            \
        return rc;                                                                                 \
    }
SIMPLE_CALL(podkit_start, "StartContainer", Runtime__V1__StartContainerRequest,
            RUNTIME__V1__START_CONTAINER_REQUEST__INIT, container_id)
SIMPLE_CALL(podkit_remove, "RemoveContainer", Runtime__V1__RemoveContainerRequest,
            RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT, container_id)
SIMPLE_CALL(podkit_stop_pod, "StopPodSandbox", Runtime__V1__StopPodSandboxRequest,
            RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT, pod_sandbox_id)
SIMPLE_CALL(podkit_remove_pod, "RemovePodSandbox", Runtime__V1__RemovePodSandboxRequest,
            RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT, pod_sandbox_id)

int podkit_stop(struct podkit *k, const char *id, int grace_s, struct gi_error *err)
{
    Runtime__V1__StopContainerRequest request = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    request.container_id = (char *)id;
    request.timeout = grace_s;
    int rc = call(k, "StopContainer", &request.base, &r, err);
    podkit_free(r);
    return rc;
}

int podkit_status(struct podkit *k, const char *id, Runtime__V1__ContainerStatusResponse **ret,
                  struct gi_error *err)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    request.container_id = (char *)id;
    int rc = call(k, "ContainerStatus", &request.base, ret, err);
    if (rc == 0 && !(*ret)->status) {
        podkit_free(*ret);
        *ret = NULL;
        return gi_fail(err, GI_INTERNAL, "ContainerStatus without a status");
    }
    return rc;
}

int podkit_wait(struct podkit *k, const char *id, int timeout_ms, int *ret_code,
                struct gi_error *err)
{
    for (int waited = 0;; waited += 20) {
        Runtime__V1__ContainerStatusResponse *r = NULL;
        int rc = podkit_status(k, id, &r, err);
        if (rc < 0)
            return rc;
        bool ended = r && r->status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
        if (ended)
            *ret_code = r->status->exit_code;
        podkit_free(r);
        if (ended)
            return 0;
        if (waited >= timeout_ms)
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "still running after %d ms", timeout_ms);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}
