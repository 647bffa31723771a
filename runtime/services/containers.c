/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "oci/spec.h"
#include "services/services.h"

#define MAX_ARGS       4096u
#define ANSWER_RESERVE 4096u /* of a message besides exec output */

static int find(struct rpc_call *call, const char *id, struct container **ret_c,
                struct gi_error *err)
{
    if (!*id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container_id: missing");
    return container_find(rpc_app(call), id, ret_c, err);
}

HANDLER(create_container)
{
    const Runtime__V1__CreateContainerRequest *q = request;
    Runtime__V1__CreateContainerResponse *r = response;
    cleanup_pod struct pod *p = NULL;
    char id[ID_SIZE];
    if (!*q->pod_sandbox_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    int rc = pod_find(rpc_app(call), q->pod_sandbox_id, &p, err);
    if (rc == 0)
        rc = container_create(call, p, q->config, id, err);
    if (rc < 0)
        return rc;
    rpc_note(call, id);
    pb_set(&r->container_id, id);
    return 0;
}

HANDLER(start_container)
{
    const Runtime__V1__StartContainerRequest *q = request;
    cleanup_container struct container *c = NULL;
    int rc = find(call, q->container_id, &c, err);
    return rc < 0 ? rc : container_start(call, c, err);
}

HANDLER(stop_container)
{
    const Runtime__V1__StopContainerRequest *q = request;
    cleanup_container struct container *c = NULL;
    int rc = find(call, q->container_id, &c, err);
    if (rc == -GI_NOT_FOUND)
        return 0;
    if (rc == 0 && q->timeout < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "timeout: negative");
    return rc < 0 ? rc : container_stop(call, c, q->timeout, err);
}

HANDLER(remove_container)
{
    const Runtime__V1__RemoveContainerRequest *q = request;
    cleanup_container struct container *c = NULL;
    int rc = find(call, q->container_id, &c, err);
    if (rc == -GI_NOT_FOUND)
        return 0;
    if (rc == 0)
        rc = pod_begin(c->pod, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = c->pod;
    return container_remove(call, c, err);
}

/* ---- list ---- */

static bool wanted(const Runtime__V1__ContainerFilter *f, const struct container *c)
{
    if (!c->unknown && !c->rec->created_ns) /* being made */
        return false;
    if (!f)
        return true;
    return filter_id_matches(f->id, c->id) && filter_id_matches(f->pod_sandbox_id, c->pod->id) &&
           (!f->state || f->state->state == container_state(c)) &&
           labels_match(c->rec->config->labels, c->rec->config->n_labels, f->label_selector,
                        f->n_label_selector);
}

static Runtime__V1__ImageSpec *image_message(const struct container *c)
{
    Runtime__V1__ImageSpec *i = pb_copy(c->rec->config->image);
    if (*c->rec->image_name)
        pb_set(&i->image, c->rec->image_name);
    return i;
}

static Runtime__V1__Container *list_message(const struct container *c)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    Runtime__V1__Container *m = pb_new(&runtime__v1__container__descriptor);
    pb_set(&m->id, c->id);
    pb_set(&m->pod_sandbox_id, c->pod->id);
    m->metadata = pb_copy(config->metadata);
    m->image = image_message(c);
    pb_set(&m->image_ref, c->rec->image_id);
    pb_set(&m->image_id, c->rec->image_id);
    m->state = container_state(c);
    m->created_at = c->rec->created_ns;
    pb_copy_map(&m->labels, &m->n_labels, &runtime__v1__container__labels_entry__descriptor,
                config->labels, config->n_labels);
    pb_copy_map(&m->annotations, &m->n_annotations,
                &runtime__v1__container__annotations_entry__descriptor, config->annotations,
                config->n_annotations);
    return m;
}

HANDLER(list_containers)
{
    const Runtime__V1__ListContainersRequest *q = request;
    Runtime__V1__ListContainersResponse *r = response;
    struct runtime *rt = rpc_app(call);
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        const struct pod *p = rt->pods[i];
        for (size_t k = 0; k < p->n_containers; k++) {
            if (wanted(q->filter, p->containers[k]))
                pb_push(&r->containers, &r->n_containers, list_message(p->containers[k]));
        }
    }
    return 0;
}

/* ---- status ---- */

static Runtime__V1__ContainerUser *user_message(const Gi__State__ContainerRecord *rec)
{
    Runtime__V1__ContainerUser *u = pb_new(&runtime__v1__container_user__descriptor);
    u->linux = pb_new(&runtime__v1__linux_container_user__descriptor);
    u->linux->uid = rec->uid;
    u->linux->gid = rec->gid;
    u->linux->supplemental_groups = calloc(rec->n_groups + 1, sizeof(int64_t));
    if (!u->linux->supplemental_groups)
        abort();
    u->linux->n_supplemental_groups = rec->n_groups;
    for (size_t i = 0; i < rec->n_groups; i++)
        u->linux->supplemental_groups[i] = rec->groups[i];
    return u;
}

static Runtime__V1__Signal signal_of(int number)
{
    for (int s = RUNTIME__V1__SIGNAL__SIGNAL_SIGABRT; s <= RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAX;
         s++) {
        if (oci_cri_signal((Runtime__V1__Signal)s) == number)
            return (Runtime__V1__Signal)s;
    }
    return RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}

Runtime__V1__ContainerStatus *container_status_message(const struct container *c)
{
    const Gi__State__ContainerRecord *rec = c->rec;
    const Runtime__V1__ContainerConfig *config = rec->config;
    Runtime__V1__ContainerStatus *s = pb_new(&runtime__v1__container_status__descriptor);
    pb_set(&s->id, c->id);
    s->metadata = pb_copy(config->metadata);
    s->state = container_state(c);
    s->created_at = rec->created_ns;
    s->started_at = rec->started_ns;
    s->finished_at = rec->finished_ns;
    s->exit_code = rec->exit_code;
    s->image = image_message(c);
    pb_set(&s->image_ref, rec->image_ref);
    pb_set(&s->image_id, rec->image_id);
    pb_set(&s->reason, c->unknown ? "RecordDamaged" : rec->reason);
    pb_set(&s->message, rec->message);
    pb_copy_map(&s->labels, &s->n_labels, &runtime__v1__container_status__labels_entry__descriptor,
                config->labels, config->n_labels);
    pb_copy_map(&s->annotations, &s->n_annotations,
                &runtime__v1__container_status__annotations_entry__descriptor, config->annotations,
                config->n_annotations);
    for (size_t i = 0; i < config->n_mounts; i++)
        pb_push(&s->mounts, &s->n_mounts, pb_copy(config->mounts[i]));
    pb_set(&s->log_path, rec->log_path);
    if (config->linux && config->linux->resources) {
        s->resources = pb_new(&runtime__v1__container_resources__descriptor);
        s->resources->linux = pb_copy(config->linux->resources);
    }
    s->user = user_message(rec);
    s->stop_signal = signal_of(rec->stop_signal);
    return s;
}

HANDLER(container_status)
{
    const Runtime__V1__ContainerStatusRequest *q = request;
    Runtime__V1__ContainerStatusResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_container struct container *c = NULL;
    int rc = find(call, q->container_id, &c, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&rt->lock);
    if (!c->unknown && !c->rec->created_ns)
        return gi_fail(err, GI_NOT_FOUND, "container %s is being made", c->id);
    r->status = container_status_message(c);
    if (q->verbose) {
        char text[512];
        snprintf(text, sizeof(text),
                 "{\"sandboxID\": \"%s\", \"zone\": %u, \"gpu\": %s, \"imageID\": \"%s\", "
                 "\"driver\": \"%s\"}",
                 c->pod->id, c->pod->rec->zone, c->pod->rec->gpu ? "true" : "false",
                 c->rec->image_id, rt->config->machine_driver);
        pb_push_entry(&r->info, &r->n_info,
                      &runtime__v1__container_status_response__info_entry__descriptor, "info",
                      text);
    }
    return 0;
}

/* ---- exec, log ---- */

static int check_exec(const Runtime__V1__ExecSyncRequest *q, struct gi_error *err)
{
    if (q->n_cmd == 0 || !*q->cmd[0])
        return gi_fail(err, GI_INVALID_ARGUMENT, "cmd: missing");
    if (q->n_cmd > MAX_ARGS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "cmd: more than %u arguments", MAX_ARGS);
    if (q->timeout < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "timeout: negative");
    return 0;
}

/* Milliseconds for the command: its own limit, and the call's deadline. */
static int exec_patience(const struct rpc_call *call, int64_t timeout_s)
{
    int ms = timeout_s > INT32_MAX / 1000 ? INT32_MAX : (int)(timeout_s * 1000);
    if (rpc_deadline_ns(call) == INT64_MAX)
        return ms;
    int left = rpc_timeout_ms(call, INT32_MAX);
    return ms == 0 || left < ms ? left : ms;
}

/* The two outputs share one limit: each gets half, and what the other leaves. */
static size_t output_limit(const struct config *c)
{
    uint64_t all = c->exec_output_bytes;
    if (all > c->max_message_bytes - ANSWER_RESERVE)
        all = c->max_message_bytes - ANSWER_RESERVE;
    return (size_t)(all / 2);
}

static void take_output(ProtobufCBinaryData *out, char **data, size_t len)
{
    out->data = (uint8_t *)TAKE_PTR(*data);
    out->len = out->data ? len : 0;
}

HANDLER(exec_sync)
{
    const Runtime__V1__ExecSyncRequest *q = request;
    Runtime__V1__ExecSyncResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_container struct container *c = NULL;
    cleanup_agent struct agent_ref *a = NULL;
    int rc = check_exec(q, err);
    if (rc == 0)
        rc = find(call, q->container_id, &c, err);
    if (rc < 0)
        return rc;
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            return gi_fail(err, GI_FAILED_PRECONDITION, "container \"%s\" is not running", c->id);
    }
    rc = pod_agent(c->pod, &a, err);
    if (rc < 0)
        return rc;
    cleanup_free const char **argv = calloc(q->n_cmd + 1, sizeof(*argv));
    if (!argv)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < q->n_cmd; i++)
        argv[i] = q->cmd[i];
    struct agent_exec_result result = {.exit_code = 0};
    rc = agent_exec_sync(a->client, c->id, argv, exec_patience(call, q->timeout),
                         output_limit(rt->config), &result, err);
    if (rc < 0)
        return gi_prefix(err, "failed to exec in container \"%s\"", c->id);
    if (result.truncated)
        gi_log(GI_LOG_WARNING, "output of an exec was cut", "container", c->id, NULL);
    take_output(&r->stdout, &result.out, result.out_len);
    take_output(&r->stderr, &result.errout, result.errout_len);
    r->exit_code = result.exit_code;
    return 0;
}

HANDLER(reopen_container_log)
{
    const Runtime__V1__ReopenContainerLogRequest *q = request;
    struct runtime *rt = rpc_app(call);
    cleanup_container struct container *c = NULL;
    int rc = find(call, q->container_id, &c, err);
    if (rc < 0)
        return rc;
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            return gi_fail(err, GI_FAILED_PRECONDITION, "container \"%s\" is not running", c->id);
        /* What is in the old file is not to be written again after a crash. */
        if (c->log)
            c->rec->log_resume_ns = logfile_last_ns(c->log);
    }
    if (!c->log)
        return 0;
    rc = container_save(c, err);
    return rc < 0 ? rc : logfile_reopen(c->log, err);
}
