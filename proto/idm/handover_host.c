/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's and the broker's sides of the hand-over. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "idm/handover.h"
#include "idm/handover_wire.h"

#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static int make_memory(const char *name, uint64_t bytes, int *ret_fd, struct gi_error *err)
{
    cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return gi_fail_errno(err, errno, "channel: memfd");
    if (ftruncate(fd, (off_t)bytes) < 0)
        return gi_fail_errno(err, errno, "channel: %llu bytes", (unsigned long long)bytes);
    if (fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) < 0)
        return gi_fail_errno(err, errno, "channel: seal");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int handover_make_channel(uint64_t ring_bytes, uint64_t arena_bytes,
                          struct handover_channel *ret_channel, struct gi_error *err)
{
    int rc = handover_check_sizes(ring_bytes, arena_bytes, err);
    if (rc < 0)
        return rc;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    ch.ring_bytes = ring_bytes;
    ch.arena_bytes = arena_bytes;
    rc = make_memory("idm-ring", ring_bytes, &ch.ring, err);
    if (rc == 0)
        rc = make_memory("idm-arena", arena_bytes, &ch.arena, err);
    if (rc == 0) {
        ch.to_proxy = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ch.to_client = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (ch.to_proxy < 0 || ch.to_client < 0)
            rc = gi_fail_errno(err, errno, "channel: eventfd");
    }
    if (rc < 0) {
        handover_channel_close(&ch);
        return rc;
    }
    *ret_channel = ch;
    return 0;
}

int handover_offer(int sock, struct handover_channel *ch, int timeout_ms, struct gi_error *err)
{
    struct handover_message m = {.magic = HANDOVER_MAGIC,
                                 .version = HANDOVER_VERSION,
                                 .kind = HANDOVER_OFFER,
                                 .ring_bytes = ch->ring_bytes,
                                 .arena_bytes = ch->arena_bytes,
                                 .devices = ch->devices};
    int rc = handover_send(sock, &m, ch, err);
    if (rc == 0)
        rc = handover_wait_readable(sock, timeout_ms, err);
    if (rc == 0)
        rc = handover_recv(sock, HANDOVER_ANSWER, &m, NULL, err);
    if (rc == 0)
        rc = handover_answer_to_error(&m, err);
    if (rc < 0)
        return rc;
    ch->zone = m.zone;
    ch->tag = m.tag;
    return 0;
}

int handover_connect(const char *path, int *ret_fd, struct gi_error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: socket path too long: %.60s...", path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return gi_fail_errno(err, errno, "channel: socket");
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return gi_fail(err, GI_UNAVAILABLE, "channel: gpu-proxy can't be reached: %s",
                       strerror(errno));
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static uint64_t wish(uint64_t asked, uint64_t standard, uint64_t min, uint64_t max)
{
    uint64_t n = asked ? asked : standard;
    n = n > max ? max : n < min ? min : n;
    return n & ~4095ull;
}

static int answer_client(int sock, const struct gi_error *why, const struct handover_channel *ch,
                         struct gi_error *err)
{
    struct handover_message m = {
        .magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .kind = HANDOVER_ANSWER};
    if (why) {
        m.code = why->code ? (int32_t)why->code : GI_INTERNAL;
        memcpy(m.text, why->message, HANDOVER_TEXT);
        return handover_send(sock, &m, NULL, err);
    }
    m.zone = ch->zone;
    m.tag = ch->tag;
    m.ring_bytes = ch->ring_bytes;
    m.arena_bytes = ch->arena_bytes;
    return handover_send(sock, &m, ch, err);
}

int handover_serve_with(int client_sock, uint64_t max_arena, int timeout_ms,
                        int (*make)(void *data, struct handover_channel *ch, struct gi_error *err),
                        void *data, struct handover_channel *ret_channel, struct gi_error *err)
{
    struct gi_error why = GI_ERROR_INIT;
    struct handover_message m = {.kind = 0};
    int rc = handover_wait_readable(client_sock, timeout_ms, err);
    if (rc == 0)
        rc = handover_recv(client_sock, HANDOVER_REQUEST, &m, NULL, err);
    if (rc < 0)
        return rc; /* whoever can't ask gets no answer */
    if (max_arena > HANDOVER_MAX_ARENA)
        max_arena = HANDOVER_MAX_ARENA;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    ch.ring_bytes = wish(m.ring_bytes, HANDOVER_DEFAULT_RING, HANDOVER_MIN_RING, HANDOVER_MAX_RING);
    ch.arena_bytes = wish(m.arena_bytes, HANDOVER_DEFAULT_ARENA, HANDOVER_MIN_ARENA, max_arena);
    ch.devices = m.devices;
    rc = make(data, &ch, &why);
    int sent = answer_client(client_sock, rc < 0 ? &why : NULL, &ch, err);
    if (rc < 0 || sent < 0)
        handover_channel_close(&ch);
    if (rc < 0)
        return gi_fail(err, why.code, "%s", why.message);
    if (sent < 0)
        return sent;
    *ret_channel = ch;
    return 0;
}

struct local_proxy {
    const char *socket;
    int timeout_ms;
    int sock; /* connected: the caller's */
};

static int make_and_offer(void *data, struct handover_channel *ch, struct gi_error *err)
{
    struct local_proxy *p = data;
    const struct handover_devices devices = ch->devices;
    int rc = handover_make_channel(ch->ring_bytes, ch->arena_bytes, ch, err);
    ch->devices = devices;
    if (rc == 0)
        rc = handover_connect(p->socket, &p->sock, err);
    return rc < 0 ? rc : handover_offer(p->sock, ch, p->timeout_ms, err);
}

int handover_serve_client(int client_sock, const char *zone_socket, uint64_t max_arena,
                          int timeout_ms, int *ret_proxy_sock, struct gi_error *err)
{
    struct local_proxy p = {zone_socket, timeout_ms, -1};
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    int rc = handover_serve_with(client_sock, max_arena, timeout_ms, make_and_offer, &p, &ch, err);
    handover_channel_close(&ch);
    if (rc < 0)
        gi_cleanup_closep(&p.sock);
    else
        *ret_proxy_sock = p.sock;
    return rc;
}

/* Another domain's pages: it can't take back what is mapped here. How many
 * there are is known to mmap(2) alone, which takes all of them or none. */
static bool is_granted(int fd)
{
    struct stat st, device;
    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && stat("/dev/xen/gntdev", &device) == 0 &&
           S_ISCHR(device.st_mode) && st.st_rdev == device.st_rdev;
}

/* The size is sealed, or a client could truncate the memory under the worker
 * and kill it with SIGBUS. */
static int check_memory(int fd, uint64_t bytes, const char *what, struct gi_error *err)
{
    struct stat st;
    if (is_granted(fd))
        return 0;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: %s memory is not sealed", what);
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: %s memory can't be written", what);
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != bytes)
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: %s memory is not %llu bytes long", what,
                       (unsigned long long)bytes);
    return 0;
}

/* Anything else could block the worker's write, or run a device's code. */
static int check_doorbell(int fd, struct gi_error *err)
{
    char link[64];
    char target[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof(target) - 1);
    target[n < 0 ? 0 : n] = '\0';
    if (strcmp(target, "anon_inode:[eventfd]") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: a doorbell is no eventfd");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !(flags & O_NONBLOCK))
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: a doorbell blocks");
    return 0;
}

int handover_receive(int sock, struct handover_channel *ret_channel, struct gi_error *err)
{
    struct handover_message m;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    int rc = handover_recv(sock, HANDOVER_OFFER, &m, &ch, err);
    if (rc < 0)
        return rc;
    if (m.code != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "channel: an offer with an error code");
    rc = check_memory(ch.ring, ch.ring_bytes, "ring", err);
    if (rc == 0)
        rc = check_memory(ch.arena, ch.arena_bytes, "arena", err);
    if (rc == 0)
        rc = check_doorbell(ch.to_proxy, err);
    if (rc == 0)
        rc = check_doorbell(ch.to_client, err);
    if (rc < 0) {
        handover_channel_close(&ch);
        return rc;
    }
    ch.zone = 0; /* what an offer says of these means nothing */
    ch.tag = 0;
    *ret_channel = ch;
    return 0;
}

int handover_answer(int sock, const struct gi_error *why, uint32_t zone, uint32_t tag,
                    struct gi_error *err)
{
    struct handover_message m = {.magic = HANDOVER_MAGIC,
                                 .version = HANDOVER_VERSION,
                                 .kind = HANDOVER_ANSWER,
                                 .zone = zone,
                                 .tag = tag};
    if (why) {
        m.code = why->code ? (int32_t)why->code : GI_INTERNAL;
        memcpy(m.text, why->message, HANDOVER_TEXT);
    }
    return handover_send(sock, &m, NULL, err);
}
