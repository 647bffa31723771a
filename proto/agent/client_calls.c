/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls: arguments → request → validated result. */
#include <stdlib.h>
#include <string.h>

#include "agent/client_internal.h"
#include "base/cleanup.h"

/* Over the agent's own time limit of an exec, for the way there and back. */
#define EXEC_SLACK_MS 10000

int client_simple_call(struct agent_client *c, Gi__Agent__ToAgent *msg, int timeout_ms,
                       struct gi_error *err)
{
    msg->id = 1; /* any: client_call sets it */
    int rc = agent_check_to(msg, err);
    if (rc < 0)
        return rc;
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT__NOT_SET);
    rc = client_call(c, msg, &p, timeout_ms, err);
    pending_free(&p);
    return rc;
}

int agent_ping(struct agent_client *c, int timeout_ms, struct gi_error *err)
{
    Gi__Agent__Empty empty = GI__AGENT__EMPTY__INIT;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_PING;
    msg.ping = &empty;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_shutdown(struct agent_client *c, int timeout_ms, struct gi_error *err)
{
    Gi__Agent__Empty empty = GI__AGENT__EMPTY__INIT;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_SHUTDOWN;
    msg.shutdown = &empty;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_create_container(struct agent_client *c, const struct agent_container_spec *spec,
                           int timeout_ms, struct gi_error *err)
{
    if (!spec->id || !spec->oci_json || !spec->image_rootfs)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container without id, OCI spec or image");
    Gi__Agent__CreateContainer create = GI__AGENT__CREATE_CONTAINER__INIT;
    create.container_id = (char *)spec->id;
    create.oci_json = (char *)spec->oci_json;
    create.image_rootfs = (char *)spec->image_rootfs;
    create.scratch_bytes = spec->scratch_bytes;
    create.tty = spec->tty;
    create.stdin_open = spec->stdin_open;
    create.stdin_once = spec->stdin_once;
    create.gpu = spec->gpu;
    create.stop_signal = spec->stop_signal;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_CREATE;
    msg.create = &create;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_start_container(struct agent_client *c, const char *id, int timeout_ms,
                          struct gi_error *err)
{
    Gi__Agent__ContainerRef ref = GI__AGENT__CONTAINER_REF__INIT;
    ref.container_id = (char *)id;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_START;
    msg.start = &ref;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_kill_container(struct agent_client *c, const char *id, int signal, bool all,
                         int timeout_ms, struct gi_error *err)
{
    Gi__Agent__KillContainer kill = GI__AGENT__KILL_CONTAINER__INIT;
    kill.container_id = (char *)id;
    kill.signal = signal;
    kill.all = all;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_KILL;
    msg.kill = &kill;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_remove_container(struct agent_client *c, const char *id, int timeout_ms,
                           struct gi_error *err)
{
    Gi__Agent__ContainerRef ref = GI__AGENT__CONTAINER_REF__INIT;
    ref.container_id = (char *)id;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_REMOVE;
    msg.remove = &ref;
    int rc = client_simple_call(c, &msg, timeout_ms, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&c->mu);
    client_forget(c, id);
    return 0;
}

int agent_release_image(struct agent_client *c, const char *image_rootfs, int timeout_ms,
                        struct gi_error *err)
{
    Gi__Agent__ImageRef ref = GI__AGENT__IMAGE_REF__INIT;
    ref.image_rootfs = (char *)image_rootfs;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_RELEASE_IMAGE;
    msg.release_image = &ref;
    return client_simple_call(c, &msg, timeout_ms, err);
}

/* A request about container ID (NULL: none) whose reply carries EXPECT. */
static int query(struct agent_client *c, Gi__Agent__ToAgent__OpCase op, const char *id,
                 struct pending *p, int timeout_ms, struct gi_error *err)
{
    if (id && !agent_id_valid(id))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad container id");
    Gi__Agent__ContainerRef ref = GI__AGENT__CONTAINER_REF__INIT;
    Gi__Agent__Empty empty = GI__AGENT__EMPTY__INIT;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = op;
    if (id) {
        ref.container_id = (char *)id;
        msg.status = &ref;
    } else {
        msg.list = &empty;
    }
    return client_call(c, &msg, p, timeout_ms, err);
}

int agent_container_status(struct agent_client *c, const char *id, int timeout_ms,
                           struct agent_status *ret_status, struct gi_error *err)
{
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_STATUS);
    int rc = query(c, GI__AGENT__TO_AGENT__OP_STATUS, id, &p, timeout_ms, err);
    if (rc == 0) {
        const Gi__Agent__StatusReply *s = p.reply->reply->status;
        *ret_status = (struct agent_status){
            .state = (enum agent_container_state)s->state,
            .pid = s->pid,
            .exit = {.exit_code = (int)s->exit->exit_code,
                     .oom_killed = s->exit->oom_killed,
                     .started_ns = s->exit->started_ns,
                     .finished_ns = s->exit->finished_ns},
        };
    }
    pending_free(&p);
    return rc;
}

static int copy_list(const Gi__Agent__ListReply *l, char ***ret_ids, size_t *ret_n,
                     struct gi_error *err)
{
    char **ids = calloc(l->n_container_ids + 1, sizeof(*ids));
    for (size_t i = 0; ids && i < l->n_container_ids; i++) {
        ids[i] = strdup(l->container_ids[i]);
        if (ids[i])
            continue;
        while (i--)
            free(ids[i]);
        free(ids);
        ids = NULL;
    }
    if (!ids)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for the list of containers");
    *ret_ids = ids;
    *ret_n = l->n_container_ids;
    return 0;
}

int agent_list_containers(struct agent_client *c, int timeout_ms, char ***ret_ids, size_t *ret_n,
                          struct gi_error *err)
{
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_LIST);
    int rc = query(c, GI__AGENT__TO_AGENT__OP_LIST, NULL, &p, timeout_ms, err);
    if (rc == 0)
        rc = copy_list(p.reply->reply->list, ret_ids, ret_n, err);
    pending_free(&p);
    return rc;
}

int agent_container_stats(struct agent_client *c, const char *id, int timeout_ms,
                          struct agent_stats *ret_stats, struct gi_error *err)
{
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_STATS);
    int rc = query(c, GI__AGENT__TO_AGENT__OP_STATS, id, &p, timeout_ms, err);
    if (rc == 0)
        client_copy_stats(ret_stats, p.reply->reply->stats);
    pending_free(&p);
    return rc;
}

static char *take_output(struct gi_buf *b, size_t *ret_len)
{
    char *data = b->data ? b->data : calloc(1, 1);
    *ret_len = b->len;
    b->data = NULL;
    b->len = b->cap = 0;
    return data;
}

static int take_exec_result(struct pending *p, struct agent_exec_result *ret, struct gi_error *err)
{
    struct agent_exec_result r = {.exit_code = (int)p->reply->reply->exec->exit_code,
                                  .truncated = p->reply->reply->exec->truncated};
    r.out = take_output(&p->output[0], &r.out_len);
    r.errout = take_output(&p->output[1], &r.errout_len);
    if (!r.out || !r.errout) {
        free(r.out);
        free(r.errout);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for the output");
    }
    *ret = r;
    return 0;
}

int agent_exec_sync(struct agent_client *c, const char *id, const char *const *argv,
                    int exec_timeout_ms, size_t max_output, struct agent_exec_result *ret_result,
                    struct gi_error *err)
{
    Gi__Agent__ExecSync exec = GI__AGENT__EXEC_SYNC__INIT;
    exec.container_id = (char *)id;
    exec.argv = (char **)argv;
    while (argv[exec.n_argv])
        exec.n_argv++;
    exec.timeout_ms = exec_timeout_ms > 0 ? (uint32_t)exec_timeout_ms : 0;
    exec.max_output = max_output < AGENT_EXEC_OUTPUT_MAX ? max_output : AGENT_EXEC_OUTPUT_MAX;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.id = 1;
    msg.op_case = GI__AGENT__TO_AGENT__OP_EXEC_SYNC;
    msg.exec_sync = &exec;
    int rc = agent_check_to(&msg, err);
    if (rc < 0)
        return rc;
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_EXEC);
    p.is_exec = true;
    p.output[0].max = p.output[1].max = exec.max_output;
    int limit = exec_timeout_ms > 0 && exec_timeout_ms <= INT32_MAX - EXEC_SLACK_MS
                    ? exec_timeout_ms + EXEC_SLACK_MS
                    : -1;
    rc = client_call(c, &msg, &p, limit, err);
    if (rc == 0)
        rc = take_exec_result(&p, ret_result, err);
    pending_free(&p);
    return rc;
}

/* Registers ID before the request leaves: records may overtake the reply. */
static int expect_logs(struct agent_client *c, const char *id, int64_t after_ns,
                       struct gi_error *err)
{
    GI_LOCK_SCOPE(&c->mu);
    struct follow *f = client_follow(c, id, true);
    if (!f)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "logs of %u containers are followed",
                       AGENT_CONTAINERS_MAX);
    if (f->followed)
        return gi_fail(err, GI_FAILED_PRECONDITION, "the logs of %s are followed already", id);
    f->followed = true;
    f->last_ns = after_ns;
    return 0;
}

int agent_follow_logs(struct agent_client *c, const char *id, int64_t after_ns, int timeout_ms,
                      struct gi_error *err)
{
    if (!agent_id_valid(id) || after_ns < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad container id or time");
    int rc = expect_logs(c, id, after_ns, err);
    if (rc < 0)
        return rc;
    Gi__Agent__FollowLogs follow = GI__AGENT__FOLLOW_LOGS__INIT;
    follow.container_id = (char *)id;
    follow.after_ns = after_ns;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_FOLLOW_LOGS;
    msg.follow_logs = &follow;
    rc = client_simple_call(c, &msg, timeout_ms, err);
    /* After a refusal no record can come; after a time-out it still can. */
    if (rc < 0 && rc != -GI_DEADLINE_EXCEEDED) {
        GI_LOCK_SCOPE(&c->mu);
        client_forget(c, id);
    }
    return rc;
}

int agent_ack_logs(struct agent_client *c, const char *id, int64_t upto_ns, struct gi_error *err)
{
    if (!agent_id_valid(id) || upto_ns < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad container id or time");
    {
        GI_LOCK_SCOPE(&c->mu);
        if (c->dead)
            return gi_fail(err, c->why.code, "%s", c->why.message);
        struct follow *f = client_follow(c, id, true);
        if (!f)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "too many containers");
        if (f->ack_ns < upto_ns)
            f->ack_ns = upto_ns;
    }
    client_wake(c);
    return 0;
}
