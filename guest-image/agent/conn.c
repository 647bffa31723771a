/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's connection. A new one replaces the old at once: the old
 * runtime is dead, or will learn that it has been replaced.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"

#define READ_CHUNK 65536

struct conn {
    struct agent *a;
    struct loop_io io;
    struct gi_buf in;
    struct gi_buf out;
    size_t open_requests;
    bool hello;
};

static void conn_close(struct agent *a, const char *why)
{
    struct conn *c = a->conn;
    if (!c)
        return;
    gi_log(GI_LOG_INFO, "connection of the runtime ended", "reason", why, NULL);
    a->conn = NULL;
    a->generation++;
    int fd = c->io.fd;
    loop_unwatch(a->loop, &c->io);
    /* A forked worker may still hold a copy of the descriptor. */
    shutdown(fd, SHUT_RDWR);
    close(fd);
    gi_buf_free(&c->in);
    gi_buf_free(&c->out);
    free(c);
    dispatch_lost_connection(a);
}

static void want_events(struct conn *c)
{
    bool busy = c->out.len >= OUT_HIGH;
    loop_events(c->a->loop, &c->io,
                (busy ? 0u : (uint32_t)EPOLLIN) | (c->out.len ? (uint32_t)EPOLLOUT : 0u));
}

/* False when the connection is gone. */
static bool flush(struct conn *c)
{
    while (c->out.len) {
        ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            conn_close(c->a, strerror(errno));
            return false;
        }
        gi_buf_consume(&c->out, (size_t)n);
    }
    want_events(c);
    return true;
}

bool conn_has_room(const struct agent *a)
{
    return a->conn && a->conn->out.len < OUT_HIGH;
}

bool conn_current(const struct agent *a, struct request req)
{
    return a->conn && req.generation == a->generation;
}

bool conn_send(struct agent *a, const Gi__Agent__FromAgent *msg)
{
    struct gi_error err = GI_ERROR_INIT;
    /* Before Hello there are no events: a new runtime asks for the status. */
    if (!a->conn || !a->conn->hello)
        return false;
    if (agent_frame_append(&a->conn->out, &msg->base, &err) < 0) {
        /* The ceiling is far above what a reading peer can leave unread. */
        conn_close(a, err.message);
        return false;
    }
    /* Not flushed here: the caller may be in the middle of a walk. */
    want_events(a->conn);
    return true;
}

void conn_reply(struct agent *a, struct request req, Gi__Agent__Reply *reply,
                const struct gi_error *err)
{
    if (!req.id || !conn_current(a, req))
        return;
    reply->id = req.id;
    if (err && err->code) {
        reply->code = err->code;
        reply->message = (char *)err->message;
        reply->result_case = GI__AGENT__REPLY__RESULT__NOT_SET;
    }
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_REPLY;
    msg.reply = reply;
    a->conn->open_requests--;
    conn_send(a, &msg);
}

void conn_done(struct agent *a, struct request req, const struct gi_error *err)
{
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    conn_reply(a, req, &reply, err);
}

static int say_hello(struct conn *c, struct request req, const Gi__Agent__ToAgent *msg,
                     struct gi_error *err)
{
    if (msg->op_case != GI__AGENT__TO_AGENT__OP_HELLO)
        return gi_fail(err, GI_FAILED_PRECONDITION, "the first message must be Hello");
    Gi__Agent__HelloReply hello = GI__AGENT__HELLO_REPLY__INIT;
    hello.version = AGENT_PROTOCOL_VERSION;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_HELLO;
    reply.hello = &hello;
    c->hello = true;
    conn_reply(c->a, req, &reply, NULL);
    return 0;
}

/* One request. An error ends the connection. */
static int take(struct conn *c, const void *payload, size_t len, struct gi_error *err)
{
    struct agent *a = c->a;
    Gi__Agent__ToAgent *msg = NULL;
    int rc = agent_unpack_to(payload, len, &msg, err);
    if (rc < 0)
        return rc;
    struct request req = {a->generation, msg->id};
    if (msg->id)
        c->open_requests++;
    if (!c->hello) {
        rc = say_hello(c, req, msg, err);
    } else if (c->open_requests > MAX_REQUESTS) {
        struct gi_error many = GI_ERROR_INIT;
        gi_fail(&many, GI_RESOURCE_EXHAUSTED, "%u requests are under way", MAX_REQUESTS);
        conn_done(a, req, &many);
    } else {
        dispatch(a, req, msg);
    }
    agent_to_free(msg);
    return rc;
}

/* Cuts frames until a handler has closed or filled the connection. */
static void cut_frames(struct agent *a)
{
    struct gi_error err = GI_ERROR_INIT;
    uint64_t generation = a->generation;
    size_t at = 0;
    for (;;) {
        struct conn *c = a->conn;
        if (!c || a->generation != generation)
            return;
        size_t total = 0;
        int rc = c->out.len >= OUT_HIGH
                     ? 0
                     : agent_frame_peek(c->in.data + at, c->in.len - at, &total, &err);
        if (rc > 0)
            rc = take(c, c->in.data + at + AGENT_FRAME_HEADER, total - AGENT_FRAME_HEADER, &err);
        else if (rc == 0)
            break;
        if (rc < 0) {
            conn_close(a, err.message);
            return;
        }
        at += total;
    }
    gi_buf_consume(&a->conn->in, at);
}

static void on_readable(struct conn *c)
{
    static char chunk[READ_CHUNK];
    struct agent *a = c->a;
    ssize_t n = recv(c->io.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(a, n == 0 ? "closed by the runtime" : strerror(errno));
        return;
    }
    if (gi_buf_append(&c->in, chunk, (size_t)n) < 0) {
        conn_close(a, "too much data");
        return;
    }
    cut_frames(a);
}

static void on_event(void *data, uint32_t events)
{
    struct conn *c = data;
    struct agent *a = c->a;
    uint64_t generation = a->generation;
    if ((events & (EPOLLOUT | EPOLLERR)) && !flush(c))
        return;
    if (events & EPOLLOUT) {
        cut_frames(a); /* requests that waited for room */
        dispatch_resume(a);
    }
    if (a->generation == generation && a->conn == c && (events & (EPOLLIN | EPOLLHUP)) &&
        c->out.len < OUT_HIGH)
        on_readable(c);
    if (a->generation == generation && a->conn == c)
        flush(c);
}

void conn_take(struct agent *a, int fd, struct gi_buf *in)
{
    conn_close(a, "replaced by a new one");
    struct conn *c = calloc(1, sizeof(*c));
    if (!c || loop_watch(a->loop, &c->io, fd, EPOLLIN, on_event, c) < 0) {
        free(c);
        close(fd);
        gi_buf_free(in);
        return;
    }
    c->a = a;
    c->in = *in;
    c->in.max = AGENT_FRAME_MAX + AGENT_FRAME_HEADER + READ_CHUNK;
    c->out.max = OUT_MAX;
    a->conn = c;
    uint64_t generation = a->generation;
    cut_frames(a);
    if (a->generation == generation && a->conn == c)
        flush(c);
}
