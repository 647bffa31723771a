/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a port on the zone's loopback, 127.0.0.1 and then ::1. Once
 * it stands, bytes go both ways unframed; each direction ends by itself
 * (shutdown), and what one side doesn't take stops the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "stream.h"

#define CONNECT_MS 10000
/* For the port to take what a client that is gone had sent. */
#define LINGER_MS  10000
#define CHUNK      65536
#define BUFFER_MAX (CHUNK + (64u << 10))

struct side {
    struct port *p;
    struct side *other;
    struct loop_io io;
    struct gi_buf in; /* for this side */
    bool ended;       /* it sends no more */
    bool shut;        /* it gets no more */
    bool hung_up;
};

struct port {
    struct agent *a;
    uint64_t id;
    uint16_t number;
    int family;
    bool connected;
    struct side client;
    struct side server;
    struct loop_timer timer;
};

static void close_side(struct side *s)
{
    int fd = s->io.fd;
    if (fd >= 0) {
        loop_unwatch(s->p->a->loop, &s->io);
        shutdown(fd, SHUT_RDWR);
        close(fd);
    }
    gi_buf_free(&s->in);
}

static void port_free(struct port *p)
{
    close_side(&p->client);
    close_side(&p->server);
    loop_disarm(p->a->loop, &p->timer);
    stream_count(p->a, -1, NULL);
    free(p);
}

static void on_time_over(void *data)
{
    port_free(data);
}

/* ---- bytes ---- */

/* What waits for S. -1: it takes nothing any more. */
static int give(struct side *s)
{
    while (s->in.len) {
        ssize_t n = send(s->io.fd, s->in.data, s->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        gi_buf_consume(&s->in, (size_t)n);
    }
    if (s->other->ended && !s->shut) {
        s->shut = true;
        shutdown(s->io.fd, SHUT_WR);
    }
    return 0;
}

/* From S to the other. 1: there may be more; 0: not now; -1: broken. */
static int take(struct side *s)
{
    static char chunk[CHUNK];
    struct side *to = s->other;
    if (s->ended || to->in.len || !s->p->connected)
        return 0;
    ssize_t n = recv(s->io.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    s->ended = n == 0;
    if (gi_buf_append(&to->in, chunk, (size_t)n) < 0)
        return -1;
    return give(to) < 0 ? -1 : n > 0;
}

static void want_events(struct side *s)
{
    bool read = !s->ended && !s->other->in.len && s->p->connected;
    uint32_t events = (read ? (uint32_t)EPOLLIN : 0u) | (s->in.len ? (uint32_t)EPOLLOUT : 0u);
    /* A side that hung up would be ready for ever; what it sent is read when
     * the other has room. EPOLLPRI stands for "only the hang-up". */
    loop_events(s->p->a->loop, &s->io, s->hung_up ? 0 : events ? events : (uint32_t)EPOLLPRI);
}

static void move(struct port *p)
{
    bool broken = give(&p->client) < 0 || give(&p->server) < 0;
    /* One chunk each way a round; more comes with the next event, but from one
     * that hung up no event comes. */
    int client = broken ? -1 : take(&p->client);
    int server = client < 0 ? -1 : take(&p->server);
    while (client > 0 && p->client.hung_up)
        client = take(&p->client);
    while (server > 0 && p->server.hung_up)
        server = take(&p->server);
    if (client < 0 || server < 0 || (p->client.shut && p->server.shut)) {
        port_free(p);
        return;
    }
    want_events(&p->client);
    want_events(&p->server);
}

static void connect_event(struct port *p);

static void on_event(void *data, uint32_t events)
{
    struct side *s = data;
    struct port *p = s->p;
    if (!p->connected && s == &p->server) {
        connect_event(p);
        return;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        if (!p->connected) {
            port_free(p);
            return;
        }
        s->hung_up = true;
        if (s == &p->client)
            loop_arm(p->a->loop, &p->timer, LINGER_MS, on_time_over, p);
    }
    move(p);
}

/* ---- connecting ---- */

static void refuse(struct port *p, int errnum)
{
    struct gi_error err = GI_ERROR_INIT;
    gi_fail(&err, GI_UNAVAILABLE, "port %u of the pod: %s", p->number, strerror(errnum));
    stream_reply_frame(&p->client.in, p->id, &err);
    give(&p->client);
    port_free(p);
}

static void connected(struct port *p)
{
    loop_disarm(p->a->loop, &p->timer);
    p->connected = true;
    stream_reply_frame(&p->client.in, p->id, NULL);
    move(p);
}

/* 0: under way or done; else an errno. */
static int start_connect(struct port *p)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_port = htons(p->number),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(p->number), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool is_v4 = p->family == AF_INET;
    cleanup_close int fd = socket(p->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int rc = is_v4 ? connect(fd, (const struct sockaddr *)&v4, sizeof(v4))
                   : connect(fd, (const struct sockaddr *)&v6, sizeof(v6));
    if (rc < 0 && errno != EINPROGRESS)
        return errno;
    if (loop_watch(p->a->loop, &p->server.io, fd, EPOLLOUT, on_event, &p->server) < 0)
        return ENOMEM;
    TAKE_FD(fd);
    return 0;
}

static void try_next(struct port *p, int errnum)
{
    if (p->family == AF_INET) {
        p->family = AF_INET6;
        /* What the first said tells more: a zone without IPv6 isn't the reason. */
        if (start_connect(p) == 0)
            return;
    }
    refuse(p, errnum);
}

static void connect_event(struct port *p)
{
    int errnum = 0;
    socklen_t len = sizeof(errnum);
    if (getsockopt(p->server.io.fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0)
        errnum = errno;
    if (errnum == 0) {
        connected(p);
        return;
    }
    int fd = p->server.io.fd;
    loop_unwatch(p->a->loop, &p->server.io);
    close(fd);
    try_next(p, errnum);
}

static void on_connect_over(void *data)
{
    refuse(data, ETIMEDOUT);
}

static void init_side(struct port *p, struct side *s, struct side *other)
{
    s->p = p;
    s->other = other;
    s->io.fd = -1;
    s->in.max = BUFFER_MAX;
}

void port_stream(struct agent *a, int fd, uint64_t id, const Gi__Agent__PortStream *m)
{
    struct port *p = calloc(1, sizeof(*p));
    if (!p) {
        stream_count(a, -1, NULL);
        close(fd);
        return;
    }
    p->a = a;
    p->id = id;
    p->number = (uint16_t)m->port;
    p->family = AF_INET;
    init_side(p, &p->client, &p->server);
    init_side(p, &p->server, &p->client);
    loop_prepare(&p->client.io, fd, on_event, &p->client);
    loop_events(a->loop, &p->client.io, EPOLLPRI);
    loop_arm(a->loop, &p->timer, CONNECT_MS, on_connect_over, p);
    int errnum = start_connect(p);
    if (errnum)
        try_next(p, errnum);
}
