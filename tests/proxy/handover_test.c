/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-overs that a broker must refuse, each for its own reason, and that leave
 * nothing behind. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "harness.h"
#include "idm/handover.h"
#include "minitest.h"

#define RING  HANDOVER_MIN_RING
#define ARENA HANDOVER_MIN_ARENA
#define ZONE  4

static struct proxy proxy;
static char zone_path[128];

static struct handover_message offer(void)
{
    return (struct handover_message){.magic = HANDOVER_MAGIC,
                                     .version = HANDOVER_VERSION,
                                     .kind = HANDOVER_OFFER,
                                     .ring_bytes = RING,
                                     .arena_bytes = ARENA};
}

static struct handover_channel channel(void)
{
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    struct gi_error err = GI_ERROR_INIT;
    if (handover_make_channel(RING, ARENA, &ch, &err) < 0)
        fprintf(stderr, "make channel: %s\n", err.message);
    return ch;
}

static int memory(size_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || (seals && fcntl(fd, F_ADD_SEALS, seals) < 0))
        fprintf(stderr, "memfd: %s\n", strerror(errno));
    return fd;
}

static unsigned proxy_fds(void)
{
    char dir[64];
    snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)proxy.pid);
    cleanup_closedir DIR *d = opendir(dir);
    unsigned n = 0;
    while (d && readdir(d))
        n++;
    return n;
}

/* Sends LEN bytes of M with FDS over a new connection and expects to be refused
 * with CODE, the connection closed, and the refusal counted. */
static void refused(const char *what, const void *m, size_t len, const int *fds, size_t nfds,
                    enum gi_code code)
{
    unsigned open_before = proxy_fds();
    struct control_zone_stats before = proxy_stats(&proxy, ZONE);
    int sock = proxy_connect(zone_path);
    REQUIRE(sock >= 0);
    EXPECT(gi_send_fds(sock, m, len, fds, nfds) == (ssize_t)len);
    struct handover_message answer = {0};
    struct pollfd p = {.fd = sock, .events = POLLIN};
    bool in_time = poll(&p, 1, 2000) == 1;
    ssize_t n = in_time ? recv(sock, &answer, sizeof(answer), 0) : -1;
    if (n != (ssize_t)sizeof(answer) || answer.kind != HANDOVER_ANSWER ||
        answer.code != (int32_t)code || !answer.text[0]) {
        fprintf(stderr, "%s: answer of %zd bytes, code %d, \"%.100s\"\n", what, n, answer.code,
                answer.text);
        EXPECT(!"refused as expected");
    }
    EXPECT(poll(&p, 1, 2000) == 1 && recv(sock, &answer, sizeof(answer), 0) == 0);
    close(sock);
    struct control_zone_stats after = proxy_stats(&proxy, ZONE);
    if (code == GI_RESOURCE_EXHAUSTED)
        EXPECT_EQ(after.quota_refusals, before.quota_refusals + 1);
    else
        EXPECT_EQ(after.protocol_errors, before.protocol_errors + 1);
    EXPECT_EQ(after.clients, 0);
    EXPECT_EQ(after.clients_total, before.clients_total);
    EXPECT(WAIT_FOR(1000, proxy_fds() <= open_before));
}

/* One descriptor of a sound channel replaced by FD, which is closed. */
static void refused_fd(const char *what, unsigned which, int fd)
{
    struct handover_channel ch = channel();
    struct handover_message m = offer();
    int fds[4] = {ch.ring, ch.arena, ch.to_proxy, ch.to_client};
    fds[which] = fd;
    refused(what, &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    close(fd);
    handover_channel_close(&ch);
}

static void test_memory_that_may_change(void)
{
    refused_fd("unsealed ring", 0, memory(RING, 0));
    refused_fd("unsealed arena", 1, memory(ARENA, 0));
    refused_fd("ring that can shrink", 0, memory(RING, F_SEAL_GROW | F_SEAL_SEAL));
    refused_fd("ring that can't be written", 0,
               memory(RING, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE));
    refused_fd("short ring", 0, memory(RING - 4096, F_SEAL_GROW | F_SEAL_SHRINK));
    refused_fd("long arena", 1, memory(ARENA + 4096, F_SEAL_GROW | F_SEAL_SHRINK));
    refused_fd("empty arena", 1, memory(0, F_SEAL_GROW | F_SEAL_SHRINK));
}

static void test_other_kinds_of_descriptors(void)
{
    int p[2];
    char path[] = "/tmp/gi-handover-XXXXXX";
    int file = mkostemp(path, O_CLOEXEC);
    REQUIRE(file >= 0 && pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
    EXPECT(ftruncate(file, RING) == 0);
    unlink(path);
    refused_fd("a file as ring", 0, file);
    refused_fd("a pipe as doorbell", 2, p[0]);
    refused_fd("a pipe's other end as doorbell", 3, p[1]);
    refused_fd("a blocking eventfd", 2, eventfd(0, EFD_CLOEXEC));
    refused_fd("/dev/zero as arena", 1, open("/dev/zero", O_RDWR | O_CLOEXEC));
    refused_fd("a folder as doorbell", 2, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    refused_fd("a memfd as doorbell", 3, memory(4096, F_SEAL_GROW | F_SEAL_SHRINK));
    refused_fd("an eventfd as ring", 0, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    refused_fd("a socket as doorbell", 2, socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static void test_wrong_number_of_descriptors(void)
{
    struct handover_channel ch = channel();
    struct handover_message m = offer();
    int fds[16];
    for (size_t i = 0; i < 16; i++)
        fds[i] = i == 0 ? ch.ring : i == 1 ? ch.arena : ch.to_proxy;
    static const size_t counts[] = {0, 1, 3, 5, 8, 9, 16};
    for (size_t i = 0; i < GI_ARRAY_SIZE(counts); i++)
        refused("number of descriptors", &m, sizeof(m), fds, counts[i], GI_INVALID_ARGUMENT);
    handover_channel_close(&ch);
}

static void test_sizes(void)
{
    static const uint64_t bad[] = {0,
                                   1,
                                   4095,
                                   RING - 1,
                                   RING + 1,
                                   RING + 4095,
                                   HANDOVER_MAX_ARENA + 4096,
                                   UINT64_MAX,
                                   UINT64_MAX - 4095,
                                   1ull << 63};
    struct handover_channel ch = channel();
    int fds[4] = {ch.ring, ch.arena, ch.to_proxy, ch.to_client};
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++) {
        struct handover_message m = offer();
        m.ring_bytes = bad[i];
        refused("ring size", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
        m = offer();
        m.arena_bytes = bad[i];
        refused("arena size", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    }
    handover_channel_close(&ch);
}

/* Memory that is what it says, but more than the zone may have. */
static void test_over_quota(void)
{
    struct handover_channel ch = channel();
    struct handover_message m = offer();
    m.arena_bytes = 64ull << 20;
    int fds[4] = {ch.ring, memory(m.arena_bytes, F_SEAL_GROW | F_SEAL_SHRINK), ch.to_proxy,
                  ch.to_client};
    refused("over the zone's quota", &m, sizeof(m), fds, 4, GI_RESOURCE_EXHAUSTED);
    close(fds[1]);
    handover_channel_close(&ch);
}

static void test_messages(void)
{
    struct handover_channel ch = channel();
    int fds[4] = {ch.ring, ch.arena, ch.to_proxy, ch.to_client};
    struct handover_message m = offer();
    m.magic ^= 1;
    refused("magic", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    m.version++;
    refused("version", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    m.kind = HANDOVER_ANSWER;
    refused("an answer", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    m.code = 5;
    refused("an offer with a code", &m, sizeof(m), NULL, 0, GI_INVALID_ARGUMENT);
    m = offer();
    m.devices.flags = 4;
    refused("unknown flags", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    m.devices.flags = HANDOVER_HAS_LIST;
    memset(m.devices.list, '1', sizeof(m.devices.list));
    refused("a list without an end", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    m.devices.flags = HANDOVER_HAS_LIST;
    memcpy(m.devices.list, "0\n1", 4);
    refused("a list of two lines", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    memcpy(m.devices.list, "0", 2);
    refused("a list that isn't there", &m, sizeof(m), fds, 4, GI_INVALID_ARGUMENT);
    m = offer();
    refused("cut", &m, sizeof(m) - 1, fds, 4, GI_INVALID_ARGUMENT);
    char longer[sizeof(m) + 1] = {0};
    memcpy(longer, &m, sizeof(m));
    refused("too long", longer, sizeof(longer), fds, 4, GI_INVALID_ARGUMENT);
    refused("one byte", "x", 1, NULL, 0, GI_INVALID_ARGUMENT);
    handover_channel_close(&ch);
}

static void test_logged_with_the_label(void)
{
    EXPECT(proxy_log_has(&proxy, "connection refused zone=4 label=test/pod-4"));
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    struct control_quota quota = {.max_clients = 2, .max_channel_bytes = 1 << 20};
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy", "libcuda-none.so", NULL) ||
        !proxy_zone(&proxy, ZONE, &quota, zone_path, sizeof(zone_path)))
        return 1;
    MT_RUN(test_messages);
    MT_RUN(test_memory_that_may_change);
    MT_RUN(test_other_kinds_of_descriptors);
    MT_RUN(test_wrong_number_of_descriptors);
    MT_RUN(test_sizes);
    MT_RUN(test_over_quota);
    MT_RUN(test_logged_with_the_label);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
