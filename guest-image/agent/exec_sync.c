/* SPDX-License-Identifier: Apache-2.0 */
/* ExecSync: a process run to its end, its output bounded. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "exec.h"

struct sync {
    struct agent *a;
    struct exec *e;
    struct request req;
    bool timed_out;
    bool truncated;
    uint64_t max_output;
    uint64_t sent[2];
    uint32_t timeout_ms;
    struct loop_timer timeout;
};

static bool has_room(void *owner)
{
    const struct sync *y = owner;
    return !conn_current(y->a, y->req) || conn_has_room(y->a);
}

static void output(void *owner, enum agent_stream stream, const char *data, size_t len)
{
    struct sync *y = owner;
    uint64_t *sent = &y->sent[stream - AGENT_STDOUT];
    if (len > y->max_output - *sent) {
        len = (size_t)(y->max_output - *sent);
        y->truncated = true;
    }
    *sent += len;
    if (!len || !conn_current(y->a, y->req))
        return;
    Gi__Agent__ExecOutput o = GI__AGENT__EXEC_OUTPUT__INIT;
    o.id = y->req.id;
    o.stream = (uint32_t)stream;
    o.data.data = (uint8_t *)data;
    o.data.len = len;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXEC_OUTPUT;
    msg.exec_output = &o;
    conn_send(y->a, &msg);
}

static void answer(struct sync *y, int exit_code, const struct gi_error *err)
{
    Gi__Agent__ExecReply result = GI__AGENT__EXEC_REPLY__INIT;
    result.exit_code = (uint32_t)exit_code;
    result.truncated = y->truncated;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_EXEC;
    reply.exec = &result;
    conn_reply(y->a, y->req, &reply, err);
    loop_disarm(y->a->loop, &y->timeout);
    free(y);
}

static void started(void *owner)
{
}

/* A program that isn't there is a result of the exec, not an error of the call. */
static void failed(void *owner, int code, const struct gi_error *err)
{
    struct sync *y = owner;
    if (code)
        output(y, AGENT_STDERR, err->message, strlen(err->message));
    answer(y, code, code ? NULL : err);
}

static void done(void *owner, int exit_code, const struct gi_error *err)
{
    struct sync *y = owner;
    struct gi_error late = GI_ERROR_INIT;
    if (y->timed_out)
        gi_fail(&late, GI_DEADLINE_EXCEEDED, "the command did not end within %u ms", y->timeout_ms);
    answer(y, exit_code, y->timed_out ? &late : err);
}

static void orphaned(void *owner)
{
    struct sync *y = owner;
    if (!conn_current(y->a, y->req))
        exec_kill(y->e);
}

static void on_timeout(void *data)
{
    struct sync *y = data;
    y->timed_out = true;
    exec_give_up(y->e);
}

void exec_sync(struct agent *a, struct request req, const Gi__Agent__ExecSync *m)
{
    static const struct exec_sink sink = {.has_room = has_room,
                                          .output = output,
                                          .started = started,
                                          .failed = failed,
                                          .done = done,
                                          .orphaned = orphaned};
    const struct exec_what what = {.container_id = m->container_id,
                                   .argv = m->argv,
                                   .argc = m->n_argv,
                                   .out = true,
                                   .err = true};
    struct gi_error err = GI_ERROR_INIT;
    struct sync *y = calloc(1, sizeof(*y));
    if (!y) {
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for an exec");
        conn_done(a, req, &err);
        return;
    }
    y->a = a;
    y->req = req;
    y->max_output = m->max_output;
    y->timeout_ms = m->timeout_ms;
    y->e = exec_start(a, &what, &sink, y, &err);
    if (!y->e)
        answer(y, 0, &err);
    else if (m->timeout_ms)
        loop_arm(a->loop, &y->timeout, m->timeout_ms > INT_MAX ? INT_MAX : (int)m->timeout_ms,
                 on_timeout, y);
}
