/* SPDX-License-Identifier: Apache-2.0 */
#include "streaming/session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define MAX_POLL (2 + MUX_MAX_STREAMS)

int session_flush(struct session *s)
{
    while (s->out.len) {
        ssize_t n = send(s->sock, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0) {
            s->peer_gone = true;
            return -1;
        }
        gi_buf_consume(&s->out, (size_t)n);
    }
    return 0;
}

static int feed(struct session *s, const void *bytes, size_t len)
{
    struct gi_error err = GI_ERROR_INIT;
    if (s->mux->ops->feed(s->mux, bytes, len, &err) == 0)
        return 0;
    if (err.code != GI_CANCELLED)
        gi_log(GI_LOG_WARNING, "streaming peer broke the protocol", "why", err.message, NULL);
    s->peer_gone = true;
    return -1;
}

int session_feed_early(struct session *s)
{
    return s->early_len ? feed(s, s->early, s->early_len) : 0;
}

static int read_peer_bytes(struct session *s)
{
    uint8_t chunk[16384];
    ssize_t n = recv(s->sock, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return n == 0 ? -1 : feed(s, chunk, (size_t)n);
}

int session_poll(struct session *s, struct pollfd *fds, size_t n, bool read_peer)
{
    struct pollfd all[MAX_POLL];
    all[0] = (struct pollfd){.fd = s->wake, .events = POLLIN};
    all[1] = (struct pollfd){
        .fd = s->sock, .events = (short)((read_peer ? POLLIN : 0) | (s->out.len ? POLLOUT : 0))};
    if (n)
        memcpy(all + 2, fds, n * sizeof(*fds));
    int got = poll(all, (nfds_t)(n + 2), s->idle_timeout_ms);
    if (got < 0 && errno == EINTR)
        return 0;
    if (got <= 0 || all[0].revents)
        return -1;
    if (n)
        memcpy(fds, all + 2, n * sizeof(*fds));
    bool broken = all[1].revents & (POLLERR | POLLNVAL);
    /* A hang-up with bytes still to read is read to its end first. */
    if (!broken && (all[1].revents & POLLIN) && read_peer)
        broken = read_peer_bytes(s) < 0;
    else if (all[1].revents & POLLHUP)
        broken = true;
    if (broken)
        s->peer_gone = true;
    return broken ? -1 : 0;
}
