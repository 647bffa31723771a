/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exec and attach: Kubernetes' remotecommand protocol.
 *
 * The client opens its streams, then the process is started, so that nothing
 * it writes has nowhere to go. When the process's output has ended, its exit is
 * told as a metav1.Status on the error stream (v4 and later).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "streaming/remote.h"
#include "streaming/session.h"

#define OPEN_TIMEOUT_NS 30000000000

struct remote {
    struct session *s;
    struct streaming_process p;
    bool started;
    struct gi_buf in; /* for the process's stdin */
    bool in_ended;
    struct gi_buf resize; /* a resize message that isn't whole yet */
};

int remote_parse_resize(const char *text, size_t len, uint16_t *ret_width, uint16_t *ret_height)
{
    char copy[256];
    if (len == 0 || len >= sizeof(copy))
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    long long size[2] = {-1, -1};
    static const char *const names[] = {"\"Width\":", "\"Height\":"};
    for (size_t i = 0; i < 2; i++) {
        const char *at = strstr(copy, names[i]);
        if (!at)
            return -1;
        size[i] = strtoll(at + strlen(names[i]), NULL, 10);
        if (size[i] < 0 || size[i] > UINT16_MAX)
            return -1;
    }
    *ret_width = (uint16_t)size[0];
    *ret_height = (uint16_t)size[1];
    return 0;
}

/* Messages are JSON objects; SPDY sends them back to back. The last one counts. */
static void on_resize(struct remote *r, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (gi_buf_append(&r->resize, bytes + i, 1) < 0)
            gi_buf_consume(&r->resize, r->resize.len); /* garbage */
        if (bytes[i] != '}')
            continue;
        uint16_t width;
        uint16_t height;
        if (remote_parse_resize(r->resize.data, r->resize.len, &width, &height) == 0 && r->started)
            r->s->backend->resize(r->s->backend->data, r->p.handle, width, height);
        gi_buf_consume(&r->resize, r->resize.len);
    }
}

static int on_opened(void *data, struct mux_stream *m)
{
    struct remote *r = data;
    const struct streaming_request *q = r->s->request;
    const bool wanted[] = {q->in, q->out, q->err && !q->tty, true, q->tty};
    if (r->started || m->type > MUX_RESIZE || !wanted[m->type])
        return -1;
    for (size_t i = 0; i < MUX_MAX_STREAMS; i++) {
        struct mux_stream *other = &r->s->mux->streams[i];
        if (other != m && other->open && other->type == m->type)
            return -1; /* one of each */
    }
    return 0;
}

static void on_received(void *data, struct mux_stream *m, const void *bytes, size_t len, bool fin)
{
    struct remote *r = data;
    if (m->type == MUX_STDIN) {
        /* The session stops reading the peer long before the ceiling. */
        if (len && !r->in_ended && gi_buf_append(&r->in, bytes, len) < 0)
            gi_log(GI_LOG_WARNING, "streaming: input dropped", NULL);
        r->in_ended = r->in_ended || fin;
    } else if (m->type == MUX_RESIZE && len) {
        on_resize(r, bytes, len);
    }
}

static void on_reset(void *data, struct mux_stream *m)
{
    struct remote *r = data;
    if (m->type == MUX_STDIN)
        r->in_ended = true;
}

static bool all_open(const struct remote *r)
{
    const struct streaming_request *q = r->s->request;
    struct mux *m = r->s->mux;
    return (!q->in || mux_find(m, MUX_STDIN)) && (!q->out || mux_find(m, MUX_STDOUT)) &&
           (!q->err || q->tty || mux_find(m, MUX_STDERR)) && mux_find(m, MUX_ERROR) &&
           (!q->tty || r->s->version < 3 || mux_find(m, MUX_RESIZE));
}

/* The client has some seconds to open the streams it asked for. */
static int wait_for_streams(struct remote *r)
{
    int64_t until = gi_monotonic_ns() + OPEN_TIMEOUT_NS;
    while (!all_open(r)) {
        int saved = r->s->idle_timeout_ms;
        r->s->idle_timeout_ms = (int)((until - gi_monotonic_ns()) / 1000000);
        int rc = r->s->idle_timeout_ms > 0 ? session_flush(r->s) : -1;
        if (rc == 0)
            rc = session_poll(r->s, NULL, 0, true);
        r->s->idle_timeout_ms = saved;
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void set_nonblocking(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void feed_process(struct remote *r)
{
    while (r->p.in >= 0 && r->in.len) {
        ssize_t n = write(r->p.in, r->in.data, r->in.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) { /* nobody reads it any more */
            close_fd(&r->p.in);
            gi_buf_consume(&r->in, r->in.len);
            return;
        }
        gi_buf_consume(&r->in, (size_t)n);
    }
    if (r->in_ended && !r->in.len)
        close_fd(&r->p.in);
}

static void drain_process(struct remote *r, int *fd, enum mux_type type)
{
    char chunk[MUX_MAX_FRAME];
    ssize_t n = read(*fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct mux_stream *m = mux_find(r->s->mux, type);
    if (n > 0) {
        if (m)
            r->s->mux->ops->send(r->s->mux, m, chunk, (size_t)n);
        return;
    }
    /* End, or EIO of a terminal whose process is gone. */
    close_fd(fd);
    if (m)
        r->s->mux->ops->finish(r->s->mux, m);
}

static int pump(struct remote *r)
{
    while (r->p.out >= 0 || r->p.err >= 0) {
        if (session_flush(r->s) < 0)
            return -1;
        bool room = r->s->out.len < SESSION_PENDING;
        struct pollfd fds[3] = {
            {.fd = room ? r->p.out : -1, .events = POLLIN},
            {.fd = room ? r->p.err : -1, .events = POLLIN},
            {.fd = r->in.len ? r->p.in : -1, .events = POLLOUT},
        };
        if (session_poll(r->s, fds, 3, r->in.len < SESSION_PENDING) < 0)
            return -1;
        feed_process(r);
        if (fds[0].revents)
            drain_process(r, &r->p.out, MUX_STDOUT);
        if (fds[1].revents)
            drain_process(r, &r->p.err, MUX_STDERR);
    }
    return 0;
}

static void put_json_text(struct gi_buf *b, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            gi_buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            gi_buf_printf(b, "\\u%04x", c);
        else
            gi_buf_append(b, text, 1);
    }
}

/* Kubernetes' metav1.Status as its remotecommand server writes it. */
static void send_status(struct remote *r, int rc, int exit_code, const struct gi_error *why)
{
    struct mux_stream *m = mux_find(r->s->mux, MUX_ERROR);
    cleanup_buf struct gi_buf b = GI_BUF_INIT(8192);
    if (!m)
        return;
    if (rc == 0 && exit_code == 0) {
        if (r->s->version >= 4)
            gi_buf_printf(&b, "{\"metadata\":{},\"status\":\"Success\"}");
    } else if (rc == 0 && (r->s->version >= 4)) {
        gi_buf_printf(&b,
                      "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated "
                      "with non-zero exit code: exit code %d\",\"reason\":\"NonZeroExitCode\","
                      "\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"%d\"}]}}",
                      exit_code, exit_code);
    } else if (r->s->version >= 4) {
        gi_buf_printf(&b, "{\"metadata\":{},\"status\":\"Failure\",\"reason\":\"InternalError\","
                          "\"message\":\"");
        put_json_text(&b, why->message);
        gi_buf_printf(&b, "\",\"code\":500}");
    } else {
        gi_buf_printf(&b, "%s",
                      rc < 0 ? why->message : "command terminated with non-zero exit code");
    }
    if (b.len)
        r->s->mux->ops->send(r->s->mux, m, b.data, b.len);
}

/* The last bytes wait like all others for a client who takes his time (a pager):
 * until he has them, goes, or is idle for too long. */
static void finish_all(struct session *s)
{
    for (size_t i = 0; i < MUX_MAX_STREAMS; i++) {
        if (s->mux->streams[i].open && !s->mux->streams[i].ended_out)
            s->mux->ops->finish(s->mux, &s->mux->streams[i]);
    }
    s->mux->ops->goodbye(s->mux);
    while (session_flush(s) == 0 && s->out.len) {
        if (session_poll(s, NULL, 0, true) < 0)
            break;
    }
}

void session_remote(struct session *s)
{
    struct remote r = {.s = s,
                       .p = {.in = -1, .out = -1, .err = -1},
                       .in = GI_BUF_INIT(SESSION_PENDING + 65536),
                       .resize = GI_BUF_INIT(255)};
    s->mux->events = (struct mux_events){
        .data = &r, .opened = on_opened, .received = on_received, .reset = on_reset};
    struct gi_error err = GI_ERROR_INIT;
    int exit_code = 0;
    int rc = -1;
    if (session_feed_early(s) == 0 && wait_for_streams(&r) == 0) {
        rc = s->backend->open_process(s->backend->data, s->request, &r.p, &err);
        r.started = rc == 0;
        set_nonblocking(r.p.in);
        set_nonblocking(r.p.out);
        set_nonblocking(r.p.err);
        if (r.started) {
            feed_process(&r);
            bool gone = pump(&r) < 0;
            close_fd(&r.p.in);
            close_fd(&r.p.out);
            close_fd(&r.p.err);
            rc = s->backend->close_process(s->backend->data, r.p.handle, gone, &exit_code, &err);
        }
        if (!s->peer_gone) {
            send_status(&r, rc, exit_code, &err);
            finish_all(s);
        }
    }
    gi_buf_free(&r.in);
    gi_buf_free(&r.resize);
}
