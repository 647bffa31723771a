/* SPDX-License-Identifier: Apache-2.0 */
/* The client's I/O thread: moves bytes, cuts frames, ends the connection. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/client_internal.h"
#include "base/cleanup.h"

#define READ_CHUNK 65536

void client_wake(struct agent_client *c)
{
    uint64_t one = 1;
    /* A full counter means that it is awake anyway. */
    ssize_t n = write(c->wake, &one, sizeof(one));
    (void)n;
}

/* With mu held: one message for each container with an acknowledgement due,
 * while the queue is short. What doesn't fit stays due and is overtaken by the
 * next, larger one: the queue of acknowledgements can't grow. */
static void queue_acks(struct agent_client *c)
{
    for (struct follow *f = c->follows; f; f = f->next) {
        if (!f->ack_ns || c->out.len > CLIENT_OUT_MAX / 2)
            continue;
        Gi__Agent__AckLogs ack = GI__AGENT__ACK_LOGS__INIT;
        ack.container_id = f->id;
        ack.upto_ns = f->ack_ns;
        Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
        msg.op_case = GI__AGENT__TO_AGENT__OP_ACK_LOGS;
        msg.ack_logs = &ack;
        if (agent_frame_append(&c->out, &msg.base, NULL) == 0)
            f->ack_ns = 0;
    }
}

static int flush(struct agent_client *c, bool *ret_more, struct gi_error *err)
{
    GI_LOCK_SCOPE(&c->mu);
    queue_acks(c);
    while (c->out.len) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && errno != EPIPE && errno != ECONNRESET)
            return gi_fail(err, GI_UNAVAILABLE, "send to the agent: %s", strerror(errno));
        /* From an agent that is gone there may still be something to read; the
         * end comes behind it. */
        gi_buf_consume(&c->out, n < 0 ? c->out.len : (size_t)n);
        pthread_cond_broadcast(&c->room);
    }
    *ret_more = c->out.len > 0;
    return 0;
}

static int cut_frames(struct agent_client *c, struct gi_error *err)
{
    size_t at = 0;
    int rc = 0;
    for (;;) {
        size_t total = 0;
        rc = agent_frame_peek(c->in.data + at, c->in.len - at, &total, err);
        if (rc <= 0)
            break;
        rc = client_receive(c, c->in.data + at + AGENT_FRAME_HEADER, total - AGENT_FRAME_HEADER,
                            err);
        if (rc < 0)
            break;
        at += total;
    }
    gi_buf_consume(&c->in, at);
    if (rc < 0)
        return gi_prefix(err, "the agent broke the protocol");
    return 0;
}

static int receive(struct agent_client *c, struct gi_error *err)
{
    static _Thread_local char chunk[READ_CHUNK];
    ssize_t n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && errno != ECONNRESET)
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : gi_fail(err, GI_UNAVAILABLE, "receive from the agent: %s", strerror(errno));
    if (n <= 0)
        return gi_fail(err, GI_UNAVAILABLE, "the agent closed the connection");
    if (gi_buf_append(&c->in, chunk, (size_t)n) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for the agent's message");
    return cut_frames(c, err);
}

static bool stopping(struct agent_client *c)
{
    GI_LOCK_SCOPE(&c->mu);
    return c->stop;
}

static int pump(struct agent_client *c, struct gi_error *err)
{
    for (;;) {
        bool more = false;
        int rc = flush(c, &more, err);
        if (rc < 0)
            return rc;
        struct pollfd fds[2] = {{.fd = c->fd, .events = (short)(POLLIN | (more ? POLLOUT : 0))},
                                {.fd = c->wake, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return gi_fail_errno(err, errno, "poll");
        if (fds[1].revents) {
            uint64_t n;
            ssize_t got = read(c->wake, &n, sizeof(n));
            (void)got;
        }
        if (stopping(c))
            return gi_fail(err, GI_CANCELLED, "the connection to the agent was closed");
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            rc = receive(c, err);
            if (rc < 0)
                return rc;
        }
    }
}

/* Every waiting call ends with WHY; then, once the owner has its handle, the
 * last callback. */
static void finish(struct agent_client *c, const struct gi_error *why)
{
    shutdown(c->fd, SHUT_RDWR);
    bool tell;
    {
        GI_LOCK_SCOPE(&c->mu);
        c->dead = true;
        c->why = *why;
        for (struct pending *p = c->calls; p; p = p->next) {
            if (!p->done)
                p->why = *why;
            p->done = true;
            pthread_cond_signal(&p->cond);
        }
        pthread_cond_broadcast(&c->room);
        while (!c->ready && !c->stop)
            pthread_cond_wait(&c->room, &c->mu);
        tell = !c->stop;
    }
    if (tell && c->cb.on_disconnect)
        c->cb.on_disconnect(c->data, why);
}

void *client_io_thread(void *client)
{
    struct agent_client *c = client;
    struct gi_error why = GI_ERROR_INIT;
    pump(c, &why);
    finish(c, &why);
    return NULL;
}
