/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a stream and talking on it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/agent_stream.h"
#include "agent/client_internal.h"
#include "agent/record.h"
#include "base/cleanup.h"
#include "base/io.h"

#define READ_CHUNK (64u << 10)
#define IN_MAX     (AGENT_RECORD_HEADER + AGENT_RECORD_MAX + READ_CHUNK)
/* One record of data and the small ones behind it. */
#define OUT_MAX (AGENT_RECORD_HEADER + AGENT_RECORD_MAX + 4096u)

struct agent_session {
    int fd;
    bool out_wanted;
    bool err_wanted;
    /* The reader's. */
    struct gi_buf in;
    size_t used; /* bytes of `in` that the last frame took */
    bool over;

    pthread_mutex_t mu; /* the writer's */
    struct gi_buf out;
    bool in_ended;
    bool resize_waits;
    uint8_t resize[4];
};

/* ---- opening ---- */

static int wait_for(int fd, short events, int64_t deadline, struct gi_error *err)
{
    for (;;) {
        int64_t left = deadline - gi_monotonic_ns();
        struct pollfd p = {.fd = fd, .events = events};
        int n = left > 0 ? poll(&p, 1, (int)((left + 999999) / 1000000)) : 0;
        if (n > 0)
            return 0;
        if (n == 0)
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "the agent didn't answer in time");
        if (errno != EINTR)
            return gi_fail_errno(err, errno, "poll");
    }
}

static int send_all(int fd, const char *data, size_t len, int64_t deadline, struct gi_error *err)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            int rc = wait_for(fd, POLLOUT, deadline, err);
            if (rc < 0)
                return rc;
            continue;
        }
        if (n < 0)
            return gi_fail(err, GI_UNAVAILABLE, "send to the agent: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Exactly LEN bytes: what follows may be the pipe's. */
static int receive_all(int fd, char *data, size_t len, int64_t deadline, struct gi_error *err)
{
    while (len) {
        ssize_t n = recv(fd, data, len, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            int rc = wait_for(fd, POLLIN, deadline, err);
            if (rc < 0)
                return rc;
            continue;
        }
        if (n < 0)
            return gi_fail(err, GI_UNAVAILABLE, "receive from the agent: %s", strerror(errno));
        if (n == 0)
            return gi_fail(err, GI_UNAVAILABLE, "the agent closed the connection");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int check_reply(const Gi__Agent__FromAgent *msg, uint64_t id, struct gi_error *err)
{
    if (msg->kind_case != GI__AGENT__FROM_AGENT__KIND_REPLY || msg->reply->id != id ||
        msg->reply->result_case != GI__AGENT__REPLY__RESULT__NOT_SET)
        return gi_fail(err, GI_INTERNAL, "the agent broke the protocol: no reply to the opening");
    if (msg->reply->code == GI_OK)
        return 0;
    client_set_error(err, msg->reply->code, msg->reply->message);
    return -(int)(msg->reply->code <= GI_UNAUTHENTICATED ? msg->reply->code : GI_UNKNOWN);
}

static int receive_reply(int fd, uint64_t id, int64_t deadline, struct gi_error *err)
{
    char head[AGENT_FRAME_HEADER + 1];
    size_t total = 0;
    int rc = receive_all(fd, head, AGENT_FRAME_HEADER, deadline, err);
    if (rc < 0)
        return rc;
    const uint8_t *h = (const uint8_t *)head;
    size_t len = h[0] | (size_t)h[1] << 8 | (size_t)h[2] << 16 | (size_t)h[3] << 24;
    if (agent_frame_peek(head, AGENT_FRAME_HEADER, &total, err) < 0)
        return gi_prefix(err, "the agent broke the protocol");
    cleanup_free char *payload = malloc(len);
    if (!payload)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a reply");
    rc = receive_all(fd, payload, len, deadline, err);
    if (rc < 0)
        return rc;
    Gi__Agent__FromAgent *msg = NULL;
    rc = agent_unpack_from(payload, len, &msg, err);
    if (rc < 0)
        return gi_prefix(err, "the agent broke the protocol");
    rc = check_reply(msg, id, err);
    agent_from_free(msg);
    return rc;
}

static int open_stream(int fd, Gi__Agent__OpenStream *open, int timeout_ms, struct gi_error *err)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    open->version = AGENT_PROTOCOL_VERSION;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.id = 1;
    msg.op_case = GI__AGENT__TO_AGENT__OP_OPEN_STREAM;
    msg.open_stream = open;
    int rc = agent_check_to(&msg, err);
    if (rc < 0)
        return rc;
    cleanup_buf struct gi_buf frame = GI_BUF_INIT(AGENT_FRAME_HEADER + AGENT_FRAME_MAX);
    rc = agent_frame_append(&frame, &msg.base, err);
    if (rc == 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
        rc = gi_fail_errno(err, errno, "connection to the agent");
    if (rc == 0)
        rc = send_all(fd, frame.data, frame.len, deadline, err);
    if (rc == 0)
        rc = receive_reply(fd, msg.id, deadline, err);
    return rc;
}

static int session_new(int *fd, const struct agent_stream_spec *spec,
                       struct agent_session **ret_session, struct gi_error *err)
{
    struct agent_session *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a session");
    s->fd = TAKE_FD(*fd);
    s->out_wanted = spec->out;
    s->err_wanted = spec->err && !spec->tty;
    s->in_ended = !spec->in;
    s->in.max = IN_MAX;
    s->out.max = OUT_MAX;
    pthread_mutex_init(&s->mu, NULL);
    *ret_session = s;
    return 0;
}

int agent_exec_open(int fd_taken, const struct agent_stream_spec *spec, int timeout_ms,
                    struct agent_session **ret_session, struct gi_error *err)
{
    cleanup_close int fd = fd_taken;
    if (!spec->container_id || !spec->argv)
        return gi_fail(err, GI_INVALID_ARGUMENT, "exec without a container or arguments");
    Gi__Agent__ExecStream exec = GI__AGENT__EXEC_STREAM__INIT;
    exec.container_id = (char *)spec->container_id;
    exec.argv = (char **)spec->argv;
    while (spec->argv[exec.n_argv])
        exec.n_argv++;
    exec.tty = spec->tty;
    exec.in = spec->in;
    exec.out = spec->out;
    exec.err = spec->err;
    exec.width = spec->width;
    exec.height = spec->height;
    Gi__Agent__OpenStream open = GI__AGENT__OPEN_STREAM__INIT;
    open.what_case = GI__AGENT__OPEN_STREAM__WHAT_EXEC;
    open.exec = &exec;
    int rc = open_stream(fd, &open, timeout_ms, err);
    return rc < 0 ? rc : session_new(&fd, spec, ret_session, err);
}

int agent_attach_open(int fd_taken, const struct agent_stream_spec *spec, int timeout_ms,
                      struct agent_session **ret_session, struct gi_error *err)
{
    cleanup_close int fd = fd_taken;
    if (!spec->container_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "attach without a container");
    Gi__Agent__AttachStream attach = GI__AGENT__ATTACH_STREAM__INIT;
    attach.container_id = (char *)spec->container_id;
    attach.in = spec->in;
    attach.out = spec->out;
    attach.err = spec->err && !spec->tty;
    Gi__Agent__OpenStream open = GI__AGENT__OPEN_STREAM__INIT;
    open.what_case = GI__AGENT__OPEN_STREAM__WHAT_ATTACH;
    open.attach = &attach;
    int rc = open_stream(fd, &open, timeout_ms, err);
    return rc < 0 ? rc : session_new(&fd, spec, ret_session, err);
}

int agent_port_open(int fd_taken, uint16_t port, int timeout_ms, int *ret_fd, struct gi_error *err)
{
    cleanup_close int fd = fd_taken;
    Gi__Agent__PortStream p = GI__AGENT__PORT_STREAM__INIT;
    p.port = port;
    Gi__Agent__OpenStream open = GI__AGENT__OPEN_STREAM__INIT;
    open.what_case = GI__AGENT__OPEN_STREAM__WHAT_PORT;
    open.port = &p;
    int rc = open_stream(fd, &open, timeout_ms, err);
    if (rc < 0)
        return rc;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void agent_session_free(struct agent_session *s)
{
    if (!s)
        return;
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    gi_buf_free(&s->in);
    gi_buf_free(&s->out);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

/* ---- reading ---- */

int agent_session_fd(const struct agent_session *s)
{
    return s->fd;
}

short agent_session_events(struct agent_session *s)
{
    GI_LOCK_SCOPE(&s->mu);
    return (short)(POLLIN | (s->out.len || s->resize_waits ? POLLOUT : 0));
}

static int take_end(const struct agent_record *r, struct agent_session_frame *ret,
                    struct gi_error *err)
{
    struct agent_record_end end;
    agent_record_read_end(r, &end);
    if (end.code)
        return gi_fail(err, end.code, "%s", end.text[0] ? end.text : "the agent gave no reason");
    *ret = (struct agent_session_frame){.kind = AGENT_SESSION_END, .exit_code = end.exit_code};
    return 1;
}

static int take_record(const struct agent_session *s, const struct agent_record *r,
                       struct agent_session_frame *ret, struct gi_error *err)
{
    if (r->type == AGENT_RECORD_END)
        return take_end(r, ret, err);
    bool out = r->type == AGENT_RECORD_OUT;
    if (!(out ? s->out_wanted : s->err_wanted))
        return gi_fail(err, GI_INTERNAL, "the agent broke the protocol: unwanted output");
    *ret = (struct agent_session_frame){.kind = out ? AGENT_SESSION_STDOUT : AGENT_SESSION_STDERR,
                                        .data = (const char *)r->data,
                                        .len = r->len};
    return 1;
}

/* 1: bytes came; 0: none now. */
static int receive_some(struct agent_session *s, struct gi_error *err)
{
    char chunk[READ_CHUNK];
    ssize_t n = recv(s->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return gi_fail(err, GI_UNAVAILABLE, "receive from the agent: %s", strerror(errno));
    if (n == 0)
        return gi_fail(err, GI_UNAVAILABLE, "the agent closed the session");
    if (gi_buf_append(&s->in, chunk, (size_t)n) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for the agent's output");
    return 1;
}

static int next_frame(struct agent_session *s, struct agent_session_frame *ret,
                      struct gi_error *err)
{
    for (;;) {
        struct agent_record r;
        size_t total = 0;
        int rc =
            agent_record_peek(s->in.data + s->used, s->in.len - s->used, true, &r, &total, err);
        if (rc < 0)
            return gi_prefix(err, "the agent broke the protocol");
        if (rc > 0) {
            s->used += total;
            return take_record(s, &r, ret, err);
        }
        gi_buf_consume(&s->in, s->used);
        s->used = 0;
        rc = receive_some(s, err);
        if (rc <= 0)
            return rc;
    }
}

int agent_session_read(struct agent_session *s, struct agent_session_frame *ret_frame,
                       struct gi_error *err)
{
    if (s->over)
        return gi_fail(err, GI_FAILED_PRECONDITION, "the session is over");
    int rc = next_frame(s, ret_frame, err);
    s->over = rc < 0 || (rc > 0 && ret_frame->kind == AGENT_SESSION_END);
    return rc;
}

/* ---- writing; all with mu held ---- */

static int flush(struct agent_session *s, struct gi_error *err)
{
    for (;;) {
        if (!s->out.len && s->resize_waits) {
            s->resize_waits = false;
            agent_record_append(&s->out, AGENT_RECORD_RESIZE, s->resize, sizeof(s->resize), NULL);
        }
        if (!s->out.len)
            return 0;
        ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0) {
            int saved = errno;
            gi_buf_consume(&s->out, s->out.len);
            return gi_fail(err, GI_UNAVAILABLE, "send to the agent: %s", strerror(saved));
        }
        gi_buf_consume(&s->out, (size_t)n);
    }
}

static int put(struct agent_session *s, enum agent_record_type type, const void *data, size_t len,
               struct gi_error *err)
{
    int rc = agent_record_append(&s->out, type, data, len, err);
    return rc < 0 ? rc : flush(s, err);
}

ssize_t agent_session_write_stdin(struct agent_session *s, const void *data, size_t len,
                                  struct gi_error *err)
{
    size_t done = 0;
    GI_LOCK_SCOPE(&s->mu);
    if (s->in_ended)
        return gi_fail(err, GI_FAILED_PRECONDITION, "stdin is closed");
    int rc = flush(s, err);
    while (rc == 0 && done < len && !s->out.len) {
        size_t n = len - done < AGENT_RECORD_MAX ? len - done : AGENT_RECORD_MAX;
        rc = put(s, AGENT_RECORD_IN, (const char *)data + done, n, err);
        done += n;
    }
    return rc < 0 ? rc : (ssize_t)done;
}

int agent_session_close_stdin(struct agent_session *s, struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->mu);
    if (s->in_ended)
        return 0;
    s->in_ended = true;
    return put(s, AGENT_RECORD_IN_END, NULL, 0, err);
}

int agent_session_resize(struct agent_session *s, uint16_t width, uint16_t height,
                         struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->mu);
    s->resize[0] = (uint8_t)width;
    s->resize[1] = (uint8_t)(width >> 8);
    s->resize[2] = (uint8_t)height;
    s->resize[3] = (uint8_t)(height >> 8);
    s->resize_waits = true;
    return flush(s, err);
}

int agent_session_signal(struct agent_session *s, int sig, struct gi_error *err)
{
    if (sig <= 0 || sig >= _NSIG)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%d is no signal", sig);
    uint8_t byte = (uint8_t)sig;
    GI_LOCK_SCOPE(&s->mu);
    return put(s, AGENT_RECORD_SIGNAL, &byte, 1, err);
}

int agent_session_flush(struct agent_session *s, struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->mu);
    return flush(s, err);
}
