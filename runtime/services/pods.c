/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "cri/pbjson.h"
#include "services/services.h"

HANDLER(run_pod_sandbox)
{
    const Runtime__V1__RunPodSandboxRequest *q = request;
    Runtime__V1__RunPodSandboxResponse *r = response;
    char id[ID_SIZE];
    int rc = pod_run(call, q->config, q->runtime_handler, id, err);
    if (rc < 0)
        return rc;
    rpc_note(call, id);
    pb_set(&r->pod_sandbox_id, id);
    return 0;
}

/* The pod and its operation, or 1 when there is no such pod. */
static int begin(struct rpc_call *call, const char *id, struct pod **ret_pod, struct gi_error *err)
{
    if (!*id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    cleanup_pod struct pod *p = NULL;
    int rc = pod_find(rpc_app(call), id, &p, NULL);
    if (rc == -GI_NOT_FOUND)
        return 1; /* stopping and removing what isn't there is what was wanted */
    rc = rc < 0 ? rc : pod_begin(p, call, err);
    if (rc < 0)
        return rc;
    *ret_pod = TAKE_PTR(p);
    return 0;
}

HANDLER(stop_pod_sandbox)
{
    const Runtime__V1__StopPodSandboxRequest *q = request;
    cleanup_pod struct pod *p = NULL;
    int rc = begin(call, q->pod_sandbox_id, &p, err);
    if (rc != 0)
        return rc;
    cleanup_op struct pod *op = p;
    return p->gone ? 0 : pod_stop(p, err);
}

HANDLER(remove_pod_sandbox)
{
    const Runtime__V1__RemovePodSandboxRequest *q = request;
    cleanup_pod struct pod *p = NULL;
    int rc = begin(call, q->pod_sandbox_id, &p, err);
    if (rc != 0)
        return rc;
    cleanup_op struct pod *op = p;
    return p->gone ? 0 : pod_remove(p, err);
}

/* ---- status ---- */

/* With the state lock held. */
Runtime__V1__PodSandboxStatus *pod_status_message(const struct pod *p)
{
    const Gi__State__PodRecord *rec = p->rec;
    const Runtime__V1__PodSandboxConfig *config = rec->config;
    Runtime__V1__PodSandboxStatus *s = pb_new(&runtime__v1__pod_sandbox_status__descriptor);
    pb_set(&s->id, p->id);
    s->metadata = pb_copy(config->metadata);
    s->state = pod_state(p);
    s->created_at = rec->created_ns;
    s->network = pb_new(&runtime__v1__pod_sandbox_network_status__descriptor);
    for (size_t i = 0; i < rec->n_ips; i++) {
        if (i == 0) {
            pb_set(&s->network->ip, rec->ips[i]);
            continue;
        }
        Runtime__V1__PodIP *ip = pb_new(&runtime__v1__pod_ip__descriptor);
        pb_set(&ip->ip, rec->ips[i]);
        pb_push(&s->network->additional_ips, &s->network->n_additional_ips, ip);
    }
    s->linux = pb_new(&runtime__v1__linux_pod_sandbox_status__descriptor);
    s->linux->namespaces = pb_new(&runtime__v1__namespace__descriptor);
    const Runtime__V1__LinuxSandboxSecurityContext *sec =
        config->linux ? config->linux->security_context : NULL;
    s->linux->namespaces->options = sec && sec->namespace_options
                                        ? pb_copy(sec->namespace_options)
                                        : pb_new(&runtime__v1__namespace_option__descriptor);
    pb_copy_map(&s->labels, &s->n_labels,
                &runtime__v1__pod_sandbox_status__labels_entry__descriptor, config->labels,
                config->n_labels);
    pb_copy_map(&s->annotations, &s->n_annotations,
                &runtime__v1__pod_sandbox_status__annotations_entry__descriptor,
                config->annotations, config->n_annotations);
    pb_set(&s->runtime_handler, rec->handler);
    return s;
}

/* With the state lock held. */
static void add_info(Runtime__V1__PodSandboxStatusResponse *r, const struct pod *p)
{
    char text[512];
    const char *netns = p->machine ? machine_netns(p->machine) : NULL;
    snprintf(text, sizeof(text),
             "{\"zone\": %u, \"pid\": %d, \"gpu\": %s, \"gpuMemory\": %llu, \"driver\": \"%s\", "
             "\"netns\": \"%.200s\", \"agentConnected\": %s, \"recordDamaged\": %s}",
             p->rec->zone, p->machine ? machine_pid(p->machine) : 0, p->rec->gpu ? "true" : "false",
             (unsigned long long)p->rec->gpu_memory, p->rt->config->machine_driver,
             netns ? netns : "", p->agent && !p->agent->dead ? "true" : "false",
             p->unknown ? "true" : "false");
    pb_push_entry(&r->info, &r->n_info,
                  &runtime__v1__pod_sandbox_status_response__info_entry__descriptor, "info", text);
}

/* What the host says of the machine. Not under the lock: it is asked for. */
static void add_machine(Runtime__V1__PodSandboxStatusResponse *r, struct machine *m)
{
    struct gi_error err = GI_ERROR_INIT;
    struct machine_info info = {0};
    cleanup_buf struct gi_buf b = GI_BUF_INIT(256u << 10);
    if (machine_info(m, &info, &err) < 0) {
        gi_log(GI_LOG_INFO, "a machine can't be asked", "machine", machine_id(m), "reason",
               err.message, NULL);
        return;
    }
    int rc = gi_buf_printf(&b,
                           "{\"kind\": \"%s\", \"vcpus\": %u, \"memoryBytes\": %llu, "
                           "\"cpuNanos\": %llu, \"console\": ",
                           info.kind, info.vcpus, (unsigned long long)info.memory_bytes,
                           (unsigned long long)info.cpu_ns);
    const char *text = info.console ? info.console : "";
    rc |= gi_json_write_string(&b, text, strlen(text));
    rc |= gi_buf_append(&b, "}", 1);
    if (rc == 0)
        pb_push_entry(&r->info, &r->n_info,
                      &runtime__v1__pod_sandbox_status_response__info_entry__descriptor, "machine",
                      b.data);
    machine_info_free(&info);
}

HANDLER(pod_sandbox_status)
{
    const Runtime__V1__PodSandboxStatusRequest *q = request;
    Runtime__V1__PodSandboxStatusResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_pod struct pod *p = NULL;
    if (!*q->pod_sandbox_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    int rc = pod_find(rt, q->pod_sandbox_id, &p, err);
    if (rc < 0)
        return rc;
    struct machine *m = NULL;
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (!p->rec->ready_ns)
            return gi_fail(err, GI_NOT_FOUND, "pod %s is being made", p->id);
        r->status = pod_status_message(p);
        r->timestamp = gi_now_ns();
        if (q->verbose)
            add_info(r, p);
        if (q->verbose && p->machine)
            m = machine_ref(p->machine);
    }
    if (m)
        add_machine(r, m);
    machine_put(m);
    return 0;
}

/* ---- list ---- */

bool labels_match(const void *labels, size_t n, const void *selector, size_t n_selector)
{
    const struct gi_cri_entry *const *want = selector;
    for (size_t i = 0; i < n_selector; i++) {
        const char *value = gi_cri_map_get(labels, n, want[i]->key);
        if (!value || strcmp(value, want[i]->value) != 0)
            return false;
    }
    return true;
}

bool filter_id_matches(const char *wanted, const char *id)
{
    size_t len = strlen(wanted);
    if (len == 0)
        return true;
    return len > 3 ? strncmp(wanted, id, len) == 0 : strcmp(wanted, id) == 0;
}

static bool wanted(const Runtime__V1__PodSandboxFilter *f, const struct pod *p)
{
    if (!p->rec->ready_ns) /* being made: nobody knows its id yet */
        return false;
    if (!f)
        return true;
    return filter_id_matches(f->id, p->id) && (!f->state || f->state->state == pod_state(p)) &&
           labels_match(p->rec->config->labels, p->rec->config->n_labels, f->label_selector,
                        f->n_label_selector);
}

static Runtime__V1__PodSandbox *list_message(const struct pod *p)
{
    const Runtime__V1__PodSandboxConfig *config = p->rec->config;
    Runtime__V1__PodSandbox *s = pb_new(&runtime__v1__pod_sandbox__descriptor);
    pb_set(&s->id, p->id);
    s->metadata = pb_copy(config->metadata);
    s->state = pod_state(p);
    s->created_at = p->rec->created_ns;
    pb_copy_map(&s->labels, &s->n_labels, &runtime__v1__pod_sandbox__labels_entry__descriptor,
                config->labels, config->n_labels);
    pb_copy_map(&s->annotations, &s->n_annotations,
                &runtime__v1__pod_sandbox__annotations_entry__descriptor, config->annotations,
                config->n_annotations);
    pb_set(&s->runtime_handler, p->rec->handler);
    return s;
}

HANDLER(list_pod_sandbox)
{
    const Runtime__V1__ListPodSandboxRequest *q = request;
    Runtime__V1__ListPodSandboxResponse *r = response;
    struct runtime *rt = rpc_app(call);
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (wanted(q->filter, rt->pods[i]))
            pb_push(&r->items, &r->n_items, list_message(rt->pods[i]));
    }
    return 0;
}
