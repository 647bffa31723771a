/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that never become clients: the broker must stay quick for
 * everybody else, and end as it began. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "harness.h"
#include "minitest.h"

#define FLOOD 2000

static const char *program;
static struct proxy proxy;
static char path1[128];
static char path2[128];

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

static bool closed(int fd, int ms)
{
    char byte[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        if (poll(&p, 1, ms) <= 0)
            return false;
        /* A refusal may say why first. */
        if (recv(fd, byte, sizeof(byte), 0) <= 0)
            return true;
    }
}

/* The proxy answers while zone 2 floods it, and forgets the flood afterwards. */
static void test_flood(void)
{
    static int fds[FLOOD];
    unsigned before = proxy_fds();
    size_t connected = 0;
    for (size_t i = 0; i < FLOOD; i++) {
        fds[i] = proxy_connect(path2);
        connected += fds[i] >= 0;
        if (i % 100 == 0) {
            int64_t start = gi_monotonic_ns();
            EXPECT_EQ(proxy_stats(&proxy, 1).zone, 1);
            EXPECT(gi_monotonic_ns() - start < 1000000000);
        }
    }
    EXPECT(connected == FLOOD);
    struct control_zone_stats s = {0};
    EXPECT(WAIT_FOR(5000, (s = proxy_stats(&proxy, 2)).quota_refusals >= FLOOD - 3));
    EXPECT(s.clients <= 3);
    EXPECT_EQ(proxy_stats(&proxy, 1).quota_refusals, 0);
    /* Zone 1 has its places still. */
    int other = proxy_connect(path1);
    EXPECT(other >= 0);
    EXPECT(WAIT_FOR(2000, proxy_stats(&proxy, 1).clients == 1));
    close(other);
    for (size_t i = 0; i < FLOOD; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 2).clients == 0));
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
    EXPECT(WAIT_FOR(1000, proxy_fds() <= before));
    /* Logged, but not two thousand times. */
    cleanup_free char *log = proxy_log(&proxy);
    unsigned lines = 0;
    for (const char *at = log; (at = strstr(at, "connection refused")); at++)
        lines++;
    EXPECT(lines >= 1 && lines < 40);
    EXPECT(strstr(log, "label=test/pod-2"));
}

static void test_silence_times_out(void)
{
    int fd = proxy_connect(path1);
    REQUIRE(fd >= 0);
    EXPECT(WAIT_FOR(1000, proxy_stats(&proxy, 1).clients == 1));
    EXPECT_EQ(proxy_client(&proxy, 1).state, CONTROL_CLIENT_ACCEPTED);
    EXPECT(closed(fd, 5000));
    EXPECT_EQ(proxy_stats(&proxy, 1).clients, 0);
    EXPECT(proxy_stats(&proxy, 1).protocol_errors >= 1);
    EXPECT(proxy_log_has(&proxy, "no channel handed over"));
    close(fd);
}

static void test_noise(void)
{
    static char noise[100000];
    memset(noise, 0x5a, sizeof(noise));
    uint64_t before = proxy_stats(&proxy, 1).protocol_errors;
    unsigned count = 0;
    for (size_t len = 1; len <= sizeof(noise); len = len * 5 + 1, count++) {
        int fd = proxy_connect(path1);
        REQUIRE(fd >= 0);
        EXPECT(send(fd, noise, len, MSG_NOSIGNAL) == (ssize_t)len);
        EXPECT(closed(fd, 1000));
        close(fd);
    }
    EXPECT_EQ(proxy_stats(&proxy, 1).protocol_errors, before + count);
}

/* Another user may not connect, whatever the file's mode lets it do. */
static void test_other_users_are_refused(void)
{
    if (geteuid() != 0) {
        printf("     (needs root to become somebody else)\n");
        return;
    }
    uint64_t before = proxy_stats(&proxy, 1).quota_refusals;
    int connected = -1;
    REQUIRE(chmod(proxy.dir, 0777) == 0 && chmod(path1, 0666) == 0 &&
            chmod(proxy.control, 0666) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(12345, 12345, 12345) < 0)
            _exit(9);
        int fd = proxy_connect(path1);
        if (fd < 0 || !closed(fd, 2000))
            _exit(1);
        fd = proxy_connect(proxy.control);
        _exit(fd < 0 || !closed(fd, 2000) ? 2 : 0);
    }
    waitpid(pid, &connected, 0);
    EXPECT(WIFEXITED(connected));
    EXPECT_EQ(WEXITSTATUS(connected), 0);
    EXPECT_EQ(proxy_stats(&proxy, 1).quota_refusals, before + 1);
    EXPECT(proxy_log_has(&proxy, "control connection refused uid=12345"));
}

static void test_drop_ends_connections(void)
{
    char path[128];
    struct control_quota q = {.max_clients = 2};
    REQUIRE(proxy_zone(&proxy, 9, &q, path, sizeof(path)));
    int a = proxy_connect(path);
    int b = proxy_connect(path);
    REQUIRE(a >= 0 && b >= 0);
    EXPECT(WAIT_FOR(1000, proxy_stats(&proxy, 9).clients == 2));
    EXPECT_EQ(control_drop_zone(proxy.client, 9, NULL), 0);
    EXPECT(closed(a, 1000) && closed(b, 1000));
    EXPECT(proxy_connect(path) < 0);
    close(a);
    close(b);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    program = argc > 1 ? argv[1] : "gpu-proxy";
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < FLOOD + 50) {
        printf("needs %d descriptors (ulimit -n)\n", FLOOD + 50);
        return 77;
    }
    const char *extra[] = {"--handover-timeout", "700", NULL};
    struct control_quota quota = {.max_clients = 3};
    if (!proxy_start(&proxy, program, "libcuda-none.so", extra) ||
        !proxy_zone(&proxy, 1, &quota, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &quota, path2, sizeof(path2)))
        return 1;
    MT_RUN(test_silence_times_out);
    MT_RUN(test_noise);
    MT_RUN(test_flood);
    MT_RUN(test_other_users_are_refused);
    MT_RUN(test_drop_ends_connections);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
