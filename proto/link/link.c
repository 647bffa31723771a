/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One round of link_run: take what the pipe has, give it to the streams' own
 * descriptors, take from those what there is credit and room for, push that
 * into the pipe, sleep.
 */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "link_internal.h"

/* Nothing is read from streams while so much waits for the pipe. */
#define OUT_FULL (64u << 10)
/* CREDIT, EOF and CLOSE of all streams, and one chunk more, fit beside that. */
#define OUT_MAX (OUT_FULL + LINK_CHUNK + LINK_STREAMS * 64u)
/* Chunks read before the streams get their turn: a peer that floods delays its own. */
#define PULLS  8
#define IN_MAX (2u * (LINK_CHUNK + (unsigned)sizeof(struct link_frame)))

/* ---- made and ended ---- */

struct link_stream *link_stream_new(uint32_t id, int fd)
{
    struct link_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->id = id;
    s->fd = fd;
    s->credit = LINK_WINDOW;
    s->in = (struct gi_buf)GI_BUF_INIT(LINK_WINDOW);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return s;
}

void link_stream_free(struct link_stream *s)
{
    close(s->fd);
    gi_buf_free(&s->in);
    free(s);
}

int link_new(const struct link_pipe *pipe, enum link_kind kind, int (*accept_fn)(void *data),
             void *accept_data, struct link **ret, struct gi_error *err)
{
    struct link *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail_errno(err, ENOMEM, "link");
    *l = (struct link){
        .pipe = *pipe,
        .hello = kind == LINK_PACKETS ? LINK_HELLO_PACKETS : LINK_HELLO_BYTES,
        .prefix = kind == LINK_PACKETS ? sizeof(uint16_t) : 0,
        .accept = accept_fn,
        .accept_data = accept_data,
        .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .in = GI_BUF_INIT(IN_MAX),
        .out = GI_BUF_INIT(OUT_MAX),
    };
    pthread_mutex_init(&l->lock, NULL);
    if (l->wake < 0 || l->ready < 0 || link_send(l, LINK_HELLO, 0, l->hello, LINK_HELLO_SIZE) < 0) {
        link_free(l);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "link");
    }
    *ret = l;
    return 0;
}

static void free_all(struct link_stream **list)
{
    while (*list) {
        struct link_stream *s = *list;
        *list = s->next;
        link_stream_free(s);
    }
}

void link_free(struct link *l)
{
    if (!l)
        return;
    free_all(&l->streams);
    free_all(&l->opening);
    gi_cleanup_closep(&l->wake);
    gi_cleanup_closep(&l->ready);
    gi_buf_free(&l->in);
    gi_buf_free(&l->out);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- other threads' side ---- */

static void rouse(const struct link *l)
{
    uint64_t one = 1;
    /* Full means: awake already. */
    ssize_t n = write(l->wake, &one, sizeof(one));
    (void)n;
}

int link_ready_fd(const struct link *l)
{
    return l->ready;
}

bool link_up(struct link *l)
{
    GI_LOCK_SCOPE(&l->lock);
    return l->up && !l->over;
}

int link_carry(struct link *l, int fd, struct gi_error *err)
{
    struct link_stream *s = link_stream_new(0, fd);
    if (!s)
        return gi_fail_errno(err, ENOMEM, "stream");
    bool up;
    {
        GI_LOCK_SCOPE(&l->lock);
        up = l->up && !l->over;
        if (up && l->n_all < LINK_STREAMS) {
            s->next = l->opening;
            l->opening = TAKE_PTR(s);
            l->n_all++;
        }
    }
    if (!s) {
        rouse(l);
        return 0;
    }
    free(s); /* its descriptor stays the caller's */
    return up ? gi_fail(err, GI_RESOURCE_EXHAUSTED, "more than %u streams", LINK_STREAMS)
              : gi_fail(err, GI_UNAVAILABLE, "the link is not up");
}

int link_open(struct link *l, int *ret_fd, struct gi_error *err)
{
    int pair[2];
    int type = l->prefix ? SOCK_SEQPACKET : SOCK_STREAM;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return gi_fail_errno(err, errno, "socket pair");
    int rc = link_carry(l, pair[0], err);
    if (rc < 0) {
        close(pair[0]);
        close(pair[1]);
        return rc;
    }
    *ret_fd = pair[1];
    return 0;
}

void link_stop(struct link *l)
{
    {
        GI_LOCK_SCOPE(&l->lock);
        l->stop = true;
    }
    rouse(l);
}

/* ---- sending ---- */

int link_send(struct link *l, enum link_type type, uint32_t stream, const void *payload, size_t n)
{
    const struct link_frame f = {.type = (uint8_t)type, .length = (uint16_t)n, .stream = stream};
    if (l->out.len + sizeof(f) + n > l->out.max || gi_buf_append(&l->out, &f, sizeof(f)) < 0)
        return -1;
    return n ? gi_buf_append(&l->out, payload, n) : 0;
}

/* Negative: the peer is gone. */
static int push(struct link *l)
{
    size_t at = 0;
    while (at < l->out.len) {
        ssize_t n = l->pipe.write(l->pipe.data, l->out.data + at, l->out.len - at);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        at += (size_t)n;
    }
    gi_buf_consume(&l->out, at);
    return 0;
}

/* ---- a stream's own descriptor ---- */

/* Nobody is behind it: nothing more of it is worth a frame but the last. */
static int end_stream(struct link *l, struct link_stream *s)
{
    s->dead = true;
    return s->closing ? 0 : link_send(l, LINK_CLOSE, s->id, NULL, 0);
}

/* How much of what is at AT goes to the descriptor in one piece. */
static size_t piece(const struct link *l, const struct link_stream *s, size_t at)
{
    uint16_t length;
    if (!l->prefix)
        return s->in.len - at;
    memcpy(&length, s->in.data + at, sizeof(length));
    return length;
}

/* Writes to a descriptor whose reader went are lost, but what he said before
 * he went is still to be read. */
static void write_in(const struct link *l, struct link_stream *s)
{
    size_t at = 0;
    while (at < s->in.len && !s->deaf) {
        ssize_t n =
            send(s->fd, s->in.data + at + l->prefix, piece(l, s, at), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            s->deaf = errno != EINTR;
        else
            at += l->prefix + (size_t)n;
    }
    if (s->deaf)
        at = s->in.len;
    gi_buf_consume(&s->in, at);
    s->consumed += (uint32_t)at;
}

static int give(struct link *l, struct link_stream *s)
{
    write_in(l, s);
    if (s->closing) {
        s->dead = s->in.len == 0;
        return 0;
    }
    if (s->eof_in && s->in.len == 0 && !s->shut) {
        shutdown(s->fd, SHUT_WR);
        s->shut = true;
    }
    /* Who writes to nobody waits, until CLOSE tells him. */
    if (s->consumed >= LINK_WINDOW / 2 && !s->eof_in && !s->deaf) {
        uint32_t more = s->consumed;
        s->consumed = 0;
        return link_send(l, LINK_CREDIT, s->id, &more, sizeof(more));
    }
    return 0;
}

/* A packet is taken whole, so there must be credit for the longest. */
static bool may_take(const struct link *l, const struct link_stream *s)
{
    return !s->eof_out && !s->dead && !s->closing && l->out.len < OUT_FULL &&
           s->credit >= (l->prefix ? l->prefix + LINK_CHUNK : 1);
}

static int take(struct link *l, struct link_stream *s)
{
    char chunk[LINK_CHUNK];
    while (may_take(l, s)) {
        size_t want = s->credit < sizeof(chunk) ? s->credit : sizeof(chunk);
        ssize_t n = recv(s->fd, chunk, want, MSG_DONTWAIT | (l->prefix ? MSG_TRUNC : 0));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 || (size_t)n > want || (n == 0 && s->deaf))
            return end_stream(l, s);
        if (n == 0) {
            s->eof_out = true;
            return link_send(l, LINK_EOF, s->id, NULL, 0);
        }
        s->credit -= l->prefix + (uint32_t)n;
        if (link_send(l, LINK_DATA, s->id, chunk, (size_t)n) < 0)
            return -1;
    }
    return 0;
}

/* ---- the round ---- */

static void bury(struct link *l)
{
    unsigned gone = 0;
    for (struct link_stream **at = &l->streams; *at;) {
        struct link_stream *s = *at;
        /* Both said EOF: either side knows, and says nothing more. */
        if (!s->dead && !(s->eof_out && s->shut)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        link_stream_free(s);
        gone++;
    }
    l->n_streams -= gone;
    GI_LOCK_SCOPE(&l->lock);
    l->n_all -= gone;
}

/* Takes over what link_open made. Returns whether to go on. */
static bool take_orders(struct link *l)
{
    struct link_stream *opening;
    bool stop;
    {
        GI_LOCK_SCOPE(&l->lock);
        opening = TAKE_PTR(l->opening);
        stop = l->stop;
    }
    while (opening) {
        struct link_stream *s = opening;
        opening = s->next;
        s->id = ++l->last_id;
        s->next = l->streams;
        l->streams = s;
        l->n_streams++;
        if (link_send(l, LINK_OPEN, s->id, NULL, 0) < 0)
            s->dead = true;
    }
    return !stop;
}

/* 1: there may be more. */
static int pull(struct link *l, struct gi_error *err)
{
    char chunk[LINK_CHUNK];
    for (int i = 0; i < PULLS; i++) {
        ssize_t n = l->pipe.read(l->pipe.data, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n < 0)
            return gi_fail(err, GI_UNAVAILABLE, "the other end of the link is gone");
        int rc = link_receive(l, chunk, (size_t)n, err);
        if (rc < 0)
            return rc;
    }
    return 1;
}

/* 1: not to sleep. */
static int carry(struct link *l, struct gi_error *err)
{
    int rc = pull(l, err);
    int more = rc;
    for (struct link_stream *s = l->streams; rc >= 0 && s; s = s->next) {
        if (!s->dead && (give(l, s) < 0 || (!s->dead && take(l, s) < 0)))
            rc = gi_fail(err, GI_RESOURCE_EXHAUSTED, "link: too much to say");
    }
    if (rc >= 0 && push(l) < 0)
        rc = gi_fail(err, GI_UNAVAILABLE, "the other end of the link is gone");
    bury(l);
    return rc < 0 ? rc : more;
}

static void wish(const struct link *l, const struct link_stream *s, struct pollfd *ret)
{
    short events = 0;
    if (may_take(l, s))
        events |= POLLIN;
    if (s->in.len)
        events |= POLLOUT;
    /* A hang-up matters once all that was said is read; before that it would
     * only keep us awake. */
    *ret = (struct pollfd){.fd = events || s->eof_out ? s->fd : -1, .events = events};
}

static int sleep_on(struct link *l, struct pollfd *fds, int timeout, struct gi_error *err)
{
    uint64_t count;
    nfds_t n = 3;
    fds[0] = (struct pollfd){.fd = l->wake, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = l->pipe.end_fd ? l->pipe.end_fd : -1, .events = POLLIN};
    fds[1] = (struct pollfd){
        .fd = l->pipe.fd,
        .events = (short)(POLLIN | (l->pipe.polls_room && l->out.len ? POLLOUT : 0)),
    };
    for (struct link_stream *s = l->streams; s; s = s->next)
        wish(l, s, &fds[n++]);
    if (poll(fds, n, timeout) < 0) /* then revents say nothing */
        return errno == EINTR ? 0 : gi_fail_errno(err, errno, "poll");
    n = 3;
    for (struct link_stream *s = l->streams; s; s = s->next, n++) {
        if (s->eof_out && (fds[n].revents & (POLLHUP | POLLERR)) && end_stream(l, s) < 0)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "link: too much to say");
    }
    if (fds[0].revents && read(l->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return gi_fail_errno(err, errno, "eventfd");
    if (fds[2].revents ||
        (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && l->pipe.attend(l->pipe.data) < 0))
        return gi_fail(err, GI_UNAVAILABLE, "the other end of the link is gone");
    return 0;
}

int link_run(struct link *l, struct gi_error *err)
{
    uint64_t one = 1;
    int rc = 0;
    cleanup_free struct pollfd *fds = calloc(LINK_STREAMS + 3, sizeof(*fds));
    if (!fds)
        rc = gi_fail_errno(err, ENOMEM, "link");
    while (rc == 0 && take_orders(l)) {
        rc = carry(l, err);
        if (rc >= 0)
            rc = sleep_on(l, fds, rc ? 0 : -1, err);
    }
    {
        GI_LOCK_SCOPE(&l->lock);
        l->over = true;
        free_all(&l->opening);
    }
    free_all(&l->streams);
    if (write(l->ready, &one, sizeof(one)) < 0 && rc == 0)
        rc = gi_fail_errno(err, errno, "eventfd");
    return rc;
}
