/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the hand-over that libvgpu links: old glibc, nothing else. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "idm/handover.h"
#include "idm/handover_wire.h"

void handover_channel_close(struct handover_channel *ch)
{
    int *fds[HANDOVER_FDS] = {&ch->ring, &ch->arena, &ch->to_proxy, &ch->to_client};
    for (size_t i = 0; i < HANDOVER_FDS; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

static bool size_is_sane(uint64_t n, uint64_t min, uint64_t max)
{
    return n >= min && n <= max && n % 4096 == 0;
}

int handover_check_sizes(uint64_t ring_bytes, uint64_t arena_bytes, struct gi_error *err)
{
    if (!size_is_sane(ring_bytes, HANDOVER_MIN_RING, HANDOVER_MAX_RING))
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: ring of %llu bytes",
                       (unsigned long long)ring_bytes);
    if (!size_is_sane(arena_bytes, HANDOVER_MIN_ARENA, HANDOVER_MAX_ARENA))
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: arena of %llu bytes",
                       (unsigned long long)arena_bytes);
    return 0;
}

bool handover_good_devices(const struct handover_devices *d)
{
    size_t len = strnlen(d->list, sizeof(d->list));
    if ((d->flags & ~(HANDOVER_HAS_LIST | HANDOVER_PCI_ORDER)) || len == sizeof(d->list) ||
        (len && !(d->flags & HANDOVER_HAS_LIST)))
        return false;
    for (const char *c = d->list; *c; c++) {
        bool good = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                    (*c >= 'A' && *c <= 'Z') || *c == '-' || *c == '/' || *c == ',' || *c == ' ';
        if (!good)
            return false;
    }
    return true;
}

int handover_wait_readable(int sock, int timeout_ms, struct gi_error *err)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return gi_fail_errno(err, errno, "channel: poll");
    if (n == 0)
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "channel: no answer within %d ms", timeout_ms);
    return 0;
}

int handover_send(int sock, const struct handover_message *m, const struct handover_channel *ch,
                  struct gi_error *err)
{
    union {
        char space[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec iov = {.iov_base = (void *)m, .iov_len = sizeof(*m)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (ch) {
        int fds[HANDOVER_FDS] = {ch->ring, ch->arena, ch->to_proxy, ch->to_client};
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof(control.space);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(c), fds, sizeof(fds));
    }
    ssize_t n;
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*m))
        return gi_fail_errno(err, n < 0 ? errno : EPIPE, "channel: send");
    return 0;
}

/* Closes whatever came, then says no. */
static int reject(const int *fds, size_t n, struct gi_error *err, const char *why)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    return gi_fail(err, GI_INVALID_ARGUMENT, "channel: %s", why);
}

static size_t collect_fds(struct msghdr *msg, int *fds, size_t room, bool *ret_extra)
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (n < room) {
                fds[n++] = fd;
            } else {
                close(fd);
                *ret_extra = true;
            }
        }
    }
    return n;
}

int handover_recv(int sock, enum handover_kind kind, struct handover_message *ret_message,
                  struct handover_channel *ret_channel, struct gi_error *err)
{
    union {
        char space[CMSG_SPACE(2 * HANDOVER_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct handover_message m;
    struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    ssize_t n;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return gi_fail_errno(err, errno, "channel: receive");
    int fds[HANDOVER_FDS];
    bool extra = false;
    size_t nfds = collect_fds(&msg, fds, HANDOVER_FDS, &extra);
    if (n == 0 && nfds == 0 && !extra)
        return gi_fail(err, GI_UNAVAILABLE, "channel: the peer is gone");
    if (extra || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n != (ssize_t)sizeof(m))
        return reject(fds, nfds, err, "message of a wrong size");
    if (m.magic != HANDOVER_MAGIC || m.version != HANDOVER_VERSION || m.kind != kind)
        return reject(fds, nfds, err, "not the expected message");
    if (!handover_good_devices(&m.devices))
        return reject(fds, nfds, err, "a list of devices that is none");
    bool wants_fds = ret_channel && m.code == 0;
    if (nfds != (wants_fds ? HANDOVER_FDS : 0))
        return reject(fds, nfds, err, "wrong number of descriptors");
    if (wants_fds) {
        if (handover_check_sizes(m.ring_bytes, m.arena_bytes, err) < 0)
            return reject(fds, nfds, err, "sizes out of range");
        *ret_channel = (struct handover_channel){.ring = fds[0],
                                                 .arena = fds[1],
                                                 .to_proxy = fds[2],
                                                 .to_client = fds[3],
                                                 .ring_bytes = m.ring_bytes,
                                                 .arena_bytes = m.arena_bytes,
                                                 .zone = m.zone,
                                                 .tag = m.tag,
                                                 .devices = m.devices};
    }
    *ret_message = m;
    return 0;
}

int handover_answer_to_error(const struct handover_message *m, struct gi_error *err)
{
    if (m->code == 0)
        return 0;
    enum gi_code code =
        m->code > 0 && m->code <= GI_UNAUTHENTICATED ? (enum gi_code)m->code : GI_INTERNAL;
    return gi_fail(err, code, "%.*s", HANDOVER_TEXT, m->text);
}

int handover_request(int sock, uint64_t ring_bytes, uint64_t arena_bytes,
                     const struct handover_devices *devices, int timeout_ms,
                     struct handover_channel *ret_channel, struct gi_error *err)
{
    struct handover_message m = {.magic = HANDOVER_MAGIC,
                                 .version = HANDOVER_VERSION,
                                 .kind = HANDOVER_REQUEST,
                                 .ring_bytes = ring_bytes,
                                 .arena_bytes = arena_bytes};
    if (devices)
        m.devices = *devices;
    int rc = handover_send(sock, &m, NULL, err);
    if (rc == 0)
        rc = handover_wait_readable(sock, timeout_ms, err);
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    if (rc == 0)
        rc = handover_recv(sock, HANDOVER_ANSWER, &m, &ch, err);
    if (rc == 0)
        rc = handover_answer_to_error(&m, err);
    if (rc < 0)
        return rc;
    *ret_channel = ch;
    return 0;
}
