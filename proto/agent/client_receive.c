/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent says, held against what this client knows: a message that is
 * well-formed by itself (check.c) can still be a lie about requests never made
 * or logs never asked for. A lie ends the connection.
 */
#include <string.h>

#include "agent/client_internal.h"
#include "base/cleanup.h"

static struct pending *find_call(struct agent_client *c, uint64_t id)
{
    for (struct pending *p = c->calls; p; p = p->next) {
        if (p->id == id && !p->done)
            return p;
    }
    return NULL;
}

/* Text from the agent goes into logs and into CRI's UTF-8 strings. */
void client_set_error(struct gi_error *err, uint32_t code, const char *text)
{
    char clean[256];
    size_t n = 0;
    for (; n < sizeof(clean) - 1 && text[n]; n++)
        clean[n] = text[n] >= ' ' && text[n] < 0x7f ? text[n] : '?';
    clean[n] = '\0';
    gi_fail(err, code <= GI_UNAUTHENTICATED ? (enum gi_code)code : GI_UNKNOWN, "%s",
            n ? clean : "the agent gave no reason");
}

/* Takes MSG. */
static int on_reply(struct agent_client *c, Gi__Agent__FromAgent *msg, struct gi_error *err)
{
    const Gi__Agent__Reply *r = msg->reply;
    GI_LOCK_SCOPE(&c->mu);
    struct pending *p = find_call(c, r->id);
    if (!p) {
        bool late = r->id < c->next_id && c->abandoned > 0;
        agent_from_free(msg);
        if (!late)
            return gi_fail(err, GI_INTERNAL, "reply to a request that wasn't made");
        c->abandoned--;
        return 0;
    }
    if (r->code == GI_OK && r->result_case != p->expect) {
        agent_from_free(msg);
        return gi_fail(err, GI_INTERNAL, "reply of the wrong kind");
    }
    if (r->code != GI_OK) {
        client_set_error(&p->why, r->code, r->message);
        agent_from_free(msg);
    } else {
        c->greeted |= r->result_case == GI__AGENT__REPLY__RESULT_HELLO;
        p->reply = msg;
    }
    p->done = true;
    pthread_cond_signal(&p->cond);
    return 0;
}

static int on_exec_output(struct agent_client *c, const Gi__Agent__ExecOutput *m,
                          struct gi_error *err)
{
    GI_LOCK_SCOPE(&c->mu);
    struct pending *p = find_call(c, m->id);
    if (!p)
        return m->id < c->next_id ? 0 : gi_fail(err, GI_INTERNAL, "output of no exec");
    if (!p->is_exec)
        return gi_fail(err, GI_INTERNAL, "output for a request that isn't an exec");
    if (gi_buf_append(&p->output[m->stream - AGENT_STDOUT], m->data.data, m->data.len) < 0)
        return gi_fail(err, GI_INTERNAL, "more exec output than was asked for");
    return 0;
}

static int on_logs(struct agent_client *c, const Gi__Agent__LogBatch *b, struct gi_error *err)
{
    {
        GI_LOCK_SCOPE(&c->mu);
        struct follow *f = client_follow(c, b->container_id, false);
        if (!f || !f->followed)
            return gi_fail(err, GI_INTERNAL, "logs of a container that isn't followed");
        if (b->records[0]->time_ns <= f->last_ns)
            return gi_fail(err, GI_INTERNAL, "log records out of order");
        f->last_ns = b->records[b->n_records - 1]->time_ns;
    }
    if (!c->cb.on_log)
        return 0;
    static _Thread_local struct agent_log_record records[AGENT_BATCH_MAX];
    for (size_t i = 0; i < b->n_records; i++) {
        const Gi__Agent__LogRecord *r = b->records[i];
        records[i] = (struct agent_log_record){
            .time_ns = r->time_ns,
            .stream = (enum agent_stream)r->stream,
            .partial = r->partial,
            .data = r->data.data ? (const char *)r->data.data : "",
            .len = r->data.len,
        };
    }
    c->cb.on_log(c->data, b->container_id, records, b->n_records);
    return 0;
}

/* Events that come before the owner has its handle wait for it here: the
 * reader may block, the agent's queue is bounded. */
static bool wait_ready(struct agent_client *c)
{
    GI_LOCK_SCOPE(&c->mu);
    while (!c->ready && !c->stop)
        pthread_cond_wait(&c->room, &c->mu);
    return !c->stop;
}

static int on_exit_event(struct agent_client *c, const Gi__Agent__ContainerExit *m)
{
    if (!c->cb.on_exit || !wait_ready(c))
        return 0;
    const struct agent_exit exit = {
        .exit_code = (int)m->exit->exit_code,
        .oom_killed = m->exit->oom_killed,
        .started_ns = m->exit->started_ns,
        .finished_ns = m->exit->finished_ns,
    };
    c->cb.on_exit(c->data, m->container_id, &exit);
    return 0;
}

int client_receive(struct agent_client *c, const void *payload, size_t len, struct gi_error *err)
{
    Gi__Agent__FromAgent *msg = NULL;
    int rc = agent_unpack_from(payload, len, &msg, err);
    if (rc < 0)
        return rc;
    if (msg->kind_case != GI__AGENT__FROM_AGENT__KIND_REPLY && !c->greeted) {
        agent_from_free(msg);
        return gi_fail(err, GI_INTERNAL, "an event before the handshake");
    }
    switch (msg->kind_case) {
    case GI__AGENT__FROM_AGENT__KIND_REPLY:
        return on_reply(c, msg, err);
    case GI__AGENT__FROM_AGENT__KIND_EXEC_OUTPUT:
        rc = on_exec_output(c, msg->exec_output, err);
        break;
    case GI__AGENT__FROM_AGENT__KIND_LOGS:
        rc = on_logs(c, msg->logs, err);
        break;
    case GI__AGENT__FROM_AGENT__KIND_EXIT:
        rc = on_exit_event(c, msg->exit);
        break;
    case GI__AGENT__FROM_AGENT__KIND__NOT_SET:
    default:
        break;
    }
    agent_from_free(msg);
    return rc;
}
