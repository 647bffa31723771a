/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port-forward: portforward.k8s.io over SPDY. Each connection of the user's is
 * a pair of streams, data and error, with one request id. A failure to connect
 * is told on the error stream; the session goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "streaming/session.h"

#define MAX_PAIRS (MUX_MAX_STREAMS / 2)

struct pair {
    bool used;
    uint32_t request_id;
    struct mux_stream *data;
    struct mux_stream *error;
    int fd; /* -1: not connected, or ended */
    struct gi_buf in;
    bool in_ended;
    bool in_shut;
};

struct forward {
    struct session *s;
    struct pair pairs[MAX_PAIRS];
};

static struct pair *find_pair(struct forward *f, uint32_t request_id)
{
    struct pair *empty = NULL;
    for (size_t i = 0; i < MAX_PAIRS; i++) {
        if (f->pairs[i].used && f->pairs[i].request_id == request_id)
            return &f->pairs[i];
        if (!f->pairs[i].used && !empty)
            empty = &f->pairs[i];
    }
    if (empty)
        *empty = (struct pair){.used = true,
                               .request_id = request_id,
                               .fd = -1,
                               .in = GI_BUF_INIT(SESSION_PENDING + 65536)};
    return empty;
}

static void end_pair(struct forward *f, struct pair *p)
{
    struct mux *m = f->s->mux;
    if (p->fd >= 0)
        close(p->fd);
    gi_buf_free(&p->in);
    struct mux_stream *both[2] = {p->data, p->error};
    for (size_t i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        if (!both[i]->ended_out)
            m->ops->finish(m, both[i]);
        both[i]->open = false;
    }
    memset(p, 0, sizeof(*p));
    p->fd = -1;
}

static void connect_pair(struct forward *f, struct pair *p)
{
    struct gi_error err = GI_ERROR_INIT;
    int fd = -1;
    const struct streaming_backend *b = f->s->backend;
    if (b->connect_port(b->data, f->s->request->id, p->data->port, &fd, &err) < 0) {
        f->s->mux->ops->send(f->s->mux, p->error, err.message, strlen(err.message));
        end_pair(f, p);
        return;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    p->fd = fd;
    /* Nothing can go wrong any more that the error stream would tell. */
    f->s->mux->ops->finish(f->s->mux, p->error);
}

static int on_opened(void *data, struct mux_stream *m)
{
    struct forward *f = data;
    if ((m->type != MUX_DATA && m->type != MUX_ERROR) || !m->port)
        return -1;
    struct pair *p = find_pair(f, m->request_id);
    if (!p)
        return -1;
    struct mux_stream **place = m->type == MUX_DATA ? &p->data : &p->error;
    if (*place)
        return -1;
    *place = m;
    m->user = p;
    return 0;
}

static void on_received(void *data, struct mux_stream *m, const void *bytes, size_t len, bool fin)
{
    struct pair *p = m->user;
    if (!p || m->type != MUX_DATA)
        return;
    if (len && gi_buf_append(&p->in, bytes, len) < 0)
        gi_log(GI_LOG_WARNING, "streaming: input dropped", NULL);
    p->in_ended = p->in_ended || fin;
}

static void on_reset(void *data, struct mux_stream *m)
{
    struct forward *f = data;
    struct pair *p = m->user;
    if (p)
        end_pair(f, p);
}

static void write_pair(struct forward *f, struct pair *p)
{
    while (p->in.len) {
        ssize_t n = send(p->fd, p->in.data, p->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            end_pair(f, p);
            return;
        }
        gi_buf_consume(&p->in, (size_t)n);
    }
    if (p->in_ended && !p->in_shut) {
        shutdown(p->fd, SHUT_WR);
        p->in_shut = true;
    }
}

static void read_pair(struct forward *f, struct pair *p)
{
    char chunk[MUX_MAX_FRAME];
    ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        f->s->mux->ops->send(f->s->mux, p->data, chunk, (size_t)n);
    else
        end_pair(f, p);
}

/* A client that fills one connection's buffer stops all of its own. */
static bool may_read_peer(const struct forward *f)
{
    for (size_t i = 0; i < MAX_PAIRS; i++) {
        if (f->pairs[i].used && f->pairs[i].in.len >= SESSION_PENDING)
            return false;
    }
    return true;
}

static void move(struct forward *f, struct pollfd *fds)
{
    for (size_t i = 0; i < MAX_PAIRS; i++) {
        struct pair *p = &f->pairs[i];
        if (p->used && p->fd < 0 && p->data && p->error)
            connect_pair(f, p);
        if (p->used && p->fd >= 0)
            write_pair(f, p);
        if (p->used && p->fd >= 0 && p->fd == fds[i].fd && (fds[i].revents & ~POLLOUT))
            read_pair(f, p);
    }
}

void session_portforward(struct session *s)
{
    struct forward *f = calloc(1, sizeof(*f));
    if (!f)
        return;
    f->s = s;
    for (size_t i = 0; i < MAX_PAIRS; i++)
        f->pairs[i].fd = -1;
    s->mux->events = (struct mux_events){
        .data = f, .opened = on_opened, .received = on_received, .reset = on_reset};
    bool over = session_feed_early(s) < 0;
    while (!over && session_flush(s) == 0) {
        struct pollfd fds[MAX_PAIRS];
        bool room = s->out.len < SESSION_PENDING;
        for (size_t i = 0; i < MAX_PAIRS; i++) {
            struct pair *p = &f->pairs[i];
            short events = (short)((room ? POLLIN : 0) | (p->in.len ? POLLOUT : 0));
            fds[i] = (struct pollfd){.fd = p->used && events ? p->fd : -1, .events = events};
        }
        over = session_poll(s, fds, MAX_PAIRS, may_read_peer(f)) < 0;
        if (!over)
            move(f, fds);
    }
    for (size_t i = 0; i < MAX_PAIRS; i++) {
        if (f->pairs[i].used)
            end_pair(f, &f->pairs[i]);
    }
    free(f);
}
