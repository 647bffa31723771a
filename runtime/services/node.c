/* SPDX-License-Identifier: Apache-2.0 */
/* What the node is: version, readiness, configuration. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cri/pbjson.h"
#include "services/services.h"

#define INFO(response, key, value)                                                                 \
    pb_push_entry(&(response)->info, &(response)->n_info,                                          \
                  &runtime__v1__status_response__info_entry__descriptor, key, value)

HANDLER(version)
{
    Runtime__V1__VersionResponse *r = response;
    pb_set(&r->version, "0.1.0"); /* of the kubelet's own interface, as all runtimes say */
    pb_set(&r->runtime_name, "gpu-isolated");
    pb_set(&r->runtime_version, GI_VERSION);
    pb_set(&r->runtime_api_version, "v1");
    return 0;
}

static void add_condition(Runtime__V1__RuntimeStatus *s, const char *type, bool status,
                          const char *reason, const char *message)
{
    Runtime__V1__RuntimeCondition *c = pb_new(&runtime__v1__runtime_condition__descriptor);
    pb_set(&c->type, type);
    c->status = status;
    pb_set(&c->reason, reason);
    pb_set(&c->message, message);
    pb_push(&s->conditions, &s->n_conditions, c);
}

static void add_handlers(Runtime__V1__StatusResponse *r, const struct config *config)
{
    /* The one that "" stands for is listed by that name, too. */
    if (*config->default_handler) {
        Runtime__V1__RuntimeHandler *h = pb_new(&runtime__v1__runtime_handler__descriptor);
        h->features = pb_new(&runtime__v1__runtime_handler_features__descriptor);
        h->features->recursive_read_only_mounts = true;
        pb_push(&r->runtime_handlers, &r->n_runtime_handlers, h);
    }
    for (size_t i = 0; config->handlers[i]; i++) {
        Runtime__V1__RuntimeHandler *h = pb_new(&runtime__v1__runtime_handler__descriptor);
        pb_set(&h->name, config->handlers[i]);
        h->features = pb_new(&runtime__v1__runtime_handler_features__descriptor);
        h->features->recursive_read_only_mounts = true;
        pb_push(&r->runtime_handlers, &r->n_runtime_handlers, h);
    }
}

/* Clients (crictl) expect JSON in each of these. */
static void info_text(Runtime__V1__StatusResponse *r, const char *key, const char *text)
{
    cleanup_buf struct gi_buf json = GI_BUF_INIT(4096);
    if (gi_json_write_string(&json, text, strlen(text)) == 0)
        INFO(r, key, json.data);
}

static void add_info(Runtime__V1__StatusResponse *r, struct runtime *rt)
{
    cleanup_buf struct gi_buf config = GI_BUF_INIT(1 << 20);
    char counts[128];
    size_t pods = 0, containers = 0;
    if (config_print(rt->config, false, &config) == 0)
        INFO(r, "config", config.data);
    info_text(r, "machineDriver", xenmgr_describe(rt->mgr));
    {
        GI_LOCK_SCOPE(&rt->lock);
        pods = rt->n_pods;
        for (size_t i = 0; i < rt->n_pods; i++)
            containers += rt->pods[i]->n_containers;
        if (rt->pod_cidr)
            info_text(r, "podCidr", rt->pod_cidr);
    }
    snprintf(counts, sizeof(counts), "{\"pods\": %zu, \"containers\": %zu}", pods, containers);
    INFO(r, "counts", counts);
}

HANDLER(status)
{
    const Runtime__V1__StatusRequest *q = request;
    Runtime__V1__StatusResponse *r = response;
    struct runtime *rt = rpc_app(call);
    r->status = pb_new(&runtime__v1__runtime_status__descriptor);
    add_condition(r->status, "RuntimeReady", true, "", "");
    struct gi_error why = GI_ERROR_INIT;
    bool ready = network_ready(rt, &why) == 0;
    add_condition(r->status, "NetworkReady", ready, ready ? "" : "NetworkPluginNotReady",
                  why.message);
    add_handlers(r, rt->config);
    r->features = pb_new(&runtime__v1__runtime_features__descriptor);
    r->features->supplemental_groups_policy = true;
    if (q->verbose)
        add_info(r, rt);
    return 0;
}

HANDLER(runtime_config)
{
    Runtime__V1__RuntimeConfigResponse *r = response;
    const struct runtime *rt = rpc_app(call);
    r->linux = pb_new(&runtime__v1__linux_runtime_configuration__descriptor);
    r->linux->cgroup_driver = strcmp(rt->config->cgroup_driver, "systemd") == 0
                                  ? RUNTIME__V1__CGROUP_DRIVER__SYSTEMD
                                  : RUNTIME__V1__CGROUP_DRIVER__CGROUPFS;
    return 0;
}

/* "10.88.0.0/16,fd00:88::/64": one of each family at most is the kubelet's business. */
static bool are_cidrs(const char *list)
{
    char text[256];
    if (!*list || strlen(list) >= sizeof(text))
        return false;
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        unsigned char address[16];
        memcpy(text, at, len);
        text[len] = '\0';
        char *slash = strchr(text, '/');
        if (!slash)
            return false;
        *slash++ = '\0';
        size_t digits = strspn(slash, "0123456789");
        long bits = digits > 0 && digits <= 3 && !slash[digits] ? strtol(slash, NULL, 10) : 999;
        if (!(bits <= 32 && inet_pton(AF_INET, text, address) == 1) &&
            !(bits <= 128 && inet_pton(AF_INET6, text, address) == 1))
            return false;
        at += len;
        if (!*at)
            return true;
    }
}

/* Kept and shown. Where pods get their addresses from is CNI's configuration alone. */
HANDLER(update_runtime_config)
{
    const Runtime__V1__UpdateRuntimeConfigRequest *q = request;
    struct runtime *rt = rpc_app(call);
    if (!q->runtime_config || !q->runtime_config->network_config)
        return 0;
    const char *cidr = q->runtime_config->network_config->pod_cidr;
    if (*cidr && !are_cidrs(cidr))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "runtime_config.network_config.pod_cidr: \"%.100s\" is no list of networks",
                       cidr);
    GI_LOCK_SCOPE(&rt->lock);
    free(rt->pod_cidr);
    rt->pod_cidr = *cidr ? pb_strdup(cidr) : NULL;
    return 0;
}
