/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"

#define READ_CHUNK 65536
#define IN_MAX     (AGENT_RECORD_HEADER + AGENT_RECORD_MAX + READ_CHUNK)

struct stream {
    struct agent *a;
    struct loop_io io;
    struct gi_buf in;
    struct gi_buf out;
    uint64_t id;
    bool held;   /* the record at the head of `in` can't be taken now */
    bool ending; /* no owner; closes once all is sent */
    bool wanted_room;
    const struct stream_ops *ops;
    void *owner;
};

bool stream_count(struct agent *a, int change, struct gi_error *err)
{
    if (change > 0 && a->n_streams >= MAX_STREAMS) {
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "%u streams are open", MAX_STREAMS);
        return false;
    }
    a->n_streams += (size_t)change;
    return true;
}

void stream_reply_frame(struct gi_buf *out, uint64_t id, const struct gi_error *err)
{
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.id = id;
    if (err && err->code) {
        reply.code = err->code;
        reply.message = (char *)err->message;
    }
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_REPLY;
    msg.reply = &reply;
    if (agent_frame_append(out, &msg.base, NULL) < 0)
        gi_log(GI_LOG_WARNING, "no memory to answer a stream", NULL);
}

static void stream_free(struct stream *s)
{
    int fd = s->io.fd;
    loop_unwatch(s->a->loop, &s->io);
    shutdown(fd, SHUT_RDWR); /* a forked worker may hold a copy */
    close(fd);
    stream_count(s->a, -1, NULL);
    gi_buf_free(&s->in);
    gi_buf_free(&s->out);
    free(s);
}

static void lost(struct stream *s)
{
    const struct stream_ops *ops = s->ops;
    void *owner = s->owner;
    s->ops = NULL;
    stream_free(s);
    if (ops)
        ops->gone(owner);
}

/* A peer that went is always heard: RDHUP comes without IN, too. */
static void want_events(struct stream *s)
{
    bool read = !s->held && !s->ending;
    loop_events(s->a->loop, &s->io,
                (uint32_t)EPOLLRDHUP | (read ? (uint32_t)EPOLLIN : 0u) |
                    (s->out.len ? (uint32_t)EPOLLOUT : 0u));
}

/* False when the stream is gone. */
static bool flush(struct stream *s)
{
    while (s->out.len) {
        ssize_t n = send(s->io.fd, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            lost(s);
            return false;
        }
        gi_buf_consume(&s->out, (size_t)n);
    }
    if (s->ending && !s->out.len) {
        stream_free(s);
        return false;
    }
    want_events(s);
    return true;
}

/* ---- to the runtime ---- */

bool stream_has_room(const struct stream *s)
{
    return s->out.len < STREAM_HIGH;
}

/* Not flushed beyond what goes without an error: the owner may be in the
 * middle of a walk, and errors are heard by the event that follows. */
static void send_record(struct stream *s, enum agent_record_type type, const char *data, size_t len)
{
    uint8_t head[AGENT_RECORD_HEADER];
    agent_record_head(head, type, len);
    struct iovec iov[2] = {{head, sizeof(head)}, {(void *)data, len}};
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = s->out.len ? -1 : sendmsg(s->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t sent = n > 0 ? (size_t)n : 0;
    int rc = 0;
    if (sent < sizeof(head)) {
        rc = gi_buf_append(&s->out, head + sent, sizeof(head) - sent);
        sent = sizeof(head);
    }
    sent -= sizeof(head);
    if (rc == 0 && sent < len)
        rc = gi_buf_append(&s->out, data + sent, len - sent);
    if (rc < 0) /* far above what an owner who looks at stream_has_room sends */
        shutdown(s->io.fd, SHUT_RDWR);
    s->wanted_room |= !stream_has_room(s);
    want_events(s);
}

void stream_send(struct stream *s, enum agent_record_type type, const char *data, size_t len)
{
    while (len) {
        size_t n = len < AGENT_RECORD_MAX ? len : AGENT_RECORD_MAX;
        send_record(s, type, data, n);
        data += n;
        len -= n;
    }
}

/* For as long as the runtime holds the connection: whoever reads there may take
 * his time (a pager), and gets everything. */
static void begin_end(struct stream *s)
{
    s->ending = true;
    s->ops = NULL;
    /* Freed by an event: the caller may still look at it. */
    loop_events(s->a->loop, &s->io, EPOLLOUT | EPOLLRDHUP);
}

void stream_end(struct stream *s, int exit_code, const struct gi_error *why)
{
    agent_record_append_end(&s->out, exit_code, why, NULL);
    begin_end(s);
}

void stream_reply(struct stream *s, const struct gi_error *err)
{
    stream_reply_frame(&s->out, s->id, err);
    s->held = false;
    if (err && err->code)
        begin_end(s);
    else
        want_events(s);
}

/* ---- from the runtime ---- */

/* Records until one can't be taken. */
static void cut_records(struct stream *s)
{
    struct gi_error err = GI_ERROR_INIT;
    size_t at = 0;
    int rc = 1;
    s->held = false;
    while (s->ops && !s->held) {
        struct agent_record r;
        size_t total = 0;
        rc = agent_record_peek(s->in.data + at, s->in.len - at, false, &r, &total, &err);
        if (rc <= 0)
            break;
        if (s->ops->record(s->owner, &r))
            at += total;
        else
            s->held = true;
    }
    gi_buf_consume(&s->in, at);
    if (rc < 0) {
        gi_log(GI_LOG_WARNING, "stream ended", "reason", err.message, NULL);
        lost(s);
        return;
    }
    want_events(s);
}

void stream_resume(struct stream *s)
{
    if (s->held)
        cut_records(s);
}

static void on_readable(struct stream *s)
{
    static char chunk[READ_CHUNK];
    ssize_t n = recv(s->io.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || gi_buf_append(&s->in, chunk, (size_t)n) < 0)
        lost(s);
    else
        cut_records(s);
}

static void on_event(void *data, uint32_t events)
{
    struct stream *s = data;
    if (events & (EPOLLERR | EPOLLHUP) || (s->held && (events & EPOLLRDHUP))) {
        lost(s);
        return;
    }
    if (s->ending && events & EPOLLRDHUP) {
        stream_free(s);
        return;
    }
    if ((events & EPOLLOUT) && !flush(s))
        return;
    if (s->wanted_room && s->out.len < STREAM_LOW && s->ops) {
        s->wanted_room = false;
        s->ops->room(s->owner);
        return; /* the owner may have ended it; what is there to read comes again */
    }
    if (events & (EPOLLIN | EPOLLRDHUP) && !s->held && !s->ending)
        on_readable(s);
}

void stream_own(struct stream *s, const struct stream_ops *ops, void *owner)
{
    s->ops = ops;
    s->owner = owner;
}

/* ---- opening ---- */

static void refuse(int fd, uint64_t id, const struct gi_error *err)
{
    struct gi_buf out = GI_BUF_INIT(AGENT_FRAME_MAX);
    stream_reply_frame(&out, id, err);
    /* A fresh socket takes a short frame. */
    ssize_t n = send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
    gi_buf_free(&out);
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

static struct stream *stream_new(struct agent *a, int fd, uint64_t id, struct gi_error *err)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s || loop_watch(a->loop, &s->io, fd, EPOLLRDHUP, on_event, s) < 0) {
        free(s);
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a stream");
        return NULL;
    }
    s->a = a;
    s->id = id;
    s->in.max = IN_MAX;
    s->out.max = STREAM_MAX;
    s->held = true; /* until it is answered */
    return s;
}

void stream_open(struct agent *a, int fd, uint64_t id, const Gi__Agent__OpenStream *m,
                 const char *early, size_t early_len)
{
    struct gi_error err = GI_ERROR_INIT;
    if (early_len) /* also: then IN_MAX holds */
        gi_fail(&err, GI_INVALID_ARGUMENT, "bytes behind the opening of a stream");
    else if (a->ending)
        gi_fail(&err, GI_UNAVAILABLE, "the zone is ending");
    if (err.code || !stream_count(a, 1, &err)) {
        refuse(fd, id, &err);
        return;
    }
    if (m->what_case == GI__AGENT__OPEN_STREAM__WHAT_PORT) {
        port_stream(a, fd, id, m->port);
        return;
    }
    struct stream *s = stream_new(a, fd, id, &err);
    if (!s) {
        stream_count(a, -1, NULL);
        refuse(fd, id, &err);
    } else if (m->what_case == GI__AGENT__OPEN_STREAM__WHAT_EXEC) {
        exec_stream(a, s, m->exec);
    } else {
        attach_stream(a, s, m->attach);
    }
}
