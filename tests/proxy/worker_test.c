/* SPDX-License-Identifier: Apache-2.0 */
/* Workers of a running gpu-proxy: what they gave up, and whose end is whose. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "harness.h"
#include "idm/cuda_abi.h"
#include "minitest.h"
#include "peer.h"
#include "spawn.h"

static const char *program;
static const char *driver;
static struct proxy proxy;
static char path1[128];
static char path2[128];

static bool gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static char *status_of(pid_t pid)
{
    char path[64];
    char *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (gi_read_file(path, 65536, &text, NULL, NULL) < 0)
        text = strdup("");
    return text;
}

static bool has_line(const char *text, const char *name, const char *value)
{
    const char *at = strstr(text, name);
    if (!at)
        return false;
    at += strlen(name);
    at += strspn(at, "\t ");
    return strncmp(at, value, strlen(value)) == 0;
}

static void test_answer_names_zone_and_tag(void)
{
    struct peer a;
    struct peer b;
    REQUIRE(peer_start(&a, path1) && peer_start(&b, path2));
    EXPECT_EQ(a.ch.zone, 1);
    EXPECT_EQ(b.ch.zone, 2);
    EXPECT(a.ch.tag >= 1 && a.ch.tag <= 65535 && a.ch.tag != b.ch.tag);
    struct control_client_stats c = proxy_client(&proxy, 1);
    EXPECT_EQ(c.state, CONTROL_CLIENT_RUNNING);
    EXPECT_EQ(c.channel_bytes, HANDOVER_MIN_RING + HANDOVER_MIN_ARENA);
    EXPECT(c.pid && !gone((pid_t)c.pid));
    peer_close(&a);
    peer_close(&b);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
    EXPECT(WAIT_FOR(5000, gone((pid_t)c.pid)));
    EXPECT_EQ(proxy_stats(&proxy, 1).worker_crashes, 0);
    EXPECT_EQ(proxy_stats(&proxy, 1).clients_total, 1);
}

static void test_jail_is_on(void)
{
    struct peer p;
    REQUIRE(peer_start(&p, path1));
    pid_t pid = (pid_t)proxy_client(&proxy, 1).pid;
    cleanup_free char *s = status_of(pid);
    EXPECT(has_line(s, "\nSeccomp:", "2"));
    EXPECT(has_line(s, "\nNoNewPrivs:", "1"));
    EXPECT(has_line(s, "\nCapEff:", "0000000000000000"));
    EXPECT(has_line(s, "\nCapPrm:", "0000000000000000"));
    if (geteuid() == 0) {
        EXPECT(has_line(s, "\nUid:", "65534\t65534\t65534\t65534"));
        EXPECT(has_line(s, "\nGid:", "65534\t65534\t65534\t65534"));
        EXPECT(has_line(s, "\nCapBnd:", "0000000000000000"));
        EXPECT(has_line(s, "\nGroups:", "\n"));
    }
    peer_close(&p);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
}

/* Nothing of the broker's reaches a worker: its own pipes, the page, the
 * channel, its way to the shelf, and what its driver opened. */
static void test_descriptors(void)
{
    struct peer other;
    struct peer p;
    REQUIRE(peer_start(&other, path2) && peer_start(&p, path1));
    char dir[64];
    snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)proxy_client(&proxy, 1).pid);
    cleanup_closedir DIR *d = opendir(dir);
    REQUIRE(d);
    struct dirent *e;
    while ((e = readdir(d))) {
        char to[256];
        ssize_t n = readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1);
        if (n < 0)
            continue;
        to[n] = '\0';
        bool shelf = strtol(e->d_name, NULL, 10) == WORKER_FD_SHELF;
        if ((strncmp(to, "socket:", 7) == 0 && !shelf) || strstr(to, "epoll") ||
            strstr(to, "signalfd") || strstr(to, "pidfd") || strstr(to, "zone-2")) {
            fprintf(stderr, "worker has %s -> %s\n", e->d_name, to);
            EXPECT(!"a descriptor of the broker's");
        }
    }
    peer_close(&p);
    peer_close(&other);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients + proxy_stats(&proxy, 2).clients == 0));
}

static void test_crash_hurts_nobody_else(void)
{
    struct peer victim;
    struct peer neighbour;
    struct peer stranger;
    struct control_zone_stats before = proxy_stats(&proxy, 1);
    REQUIRE(peer_start(&victim, path1));
    pid_t pid = (pid_t)proxy_client(&proxy, 1).pid;
    REQUIRE(peer_start(&neighbour, path1) && peer_start(&stranger, path2));
    REQUIRE(pid > 1);
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    EXPECT(peer_ended(&victim, 5000));
    /* Whoever sees the end finds everything given back. */
    struct control_zone_stats after = proxy_stats(&proxy, 1);
    EXPECT_EQ(after.worker_crashes, before.worker_crashes + 1);
    EXPECT_EQ(after.clients, 1);
    EXPECT_EQ(after.memory_used, 0);
    EXPECT_EQ(proxy_stats(&proxy, 2).worker_crashes, 0);
    EXPECT(peer_alive(&neighbour) && peer_alive(&stranger));
    EXPECT(proxy_log_has(&proxy, "worker crashed zone=1 label=test/pod-1"));
    /* And a new client of the same zone starts. */
    peer_close(&victim);
    REQUIRE(peer_start(&victim, path1));
    peer_close(&victim);
    peer_close(&neighbour);
    peer_close(&stranger);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients + proxy_stats(&proxy, 2).clients == 0));
}

/* A client that neither checks nor asks: what couldn't be made fails when it is used, and its
 * place is free once it is destroyed. */
static void test_failed_creation(void)
{
    struct raw r;
    REQUIRE(raw_start(&r, path1));
    for (unsigned i = 0; i < 3; i++) {
        uint64_t event = raw_handle(&r, IDM_KIND_event), other = raw_handle(&r, IDM_KIND_event);
        struct idm_cuEventCreate bad = {.event = event, .flags = 0x4000};
        EXPECT(raw_tell(&r, IDM_cuEventCreate, &(struct idm_part){&bad, sizeof(bad)}, 1));
        EXPECT_EQ(RAW(&r, cuEventQuery, .event = event).result, CUDA_ERROR_INVALID_VALUE);
        EXPECT_EQ(RAW(&r, cuEventDestroy_v2, .event = event).result, CUDA_ERROR_INVALID_VALUE);
        EXPECT_EQ(RAW(&r, cuEventQuery, .event = event).error, IDM_ERROR_INVALID_HANDLE);
        EXPECT_EQ(RAW(&r, cuEventCreate, .event = other).result, 0);
        EXPECT_EQ(RAW(&r, cuEventRecord, .event = other).result, 0);
        EXPECT_EQ(RAW(&r, cuEventDestroy_v2, .event = other).result, 0);
    }
    raw_stop(&r);
}

static void test_client_limit(void)
{
    struct peer p[3];
    struct peer extra;
    for (size_t i = 0; i < 3; i++)
        REQUIRE(peer_start(&p[i], path1));
    EXPECT(peer_open(&extra, path1, NULL) < 0);
    peer_close(&extra);
    peer_close(&p[0]);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 2));
    EXPECT(peer_start(&extra, path1));
    peer_close(&extra);
    peer_close(&p[1]);
    peer_close(&p[2]);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
}

/* The channel quota counts over all clients and comes back. */
static void test_channel_quota(void)
{
    char path[128];
    struct control_quota q = {.max_clients = 8,
                              .max_channel_bytes = 2 * (HANDOVER_MIN_RING + HANDOVER_MIN_ARENA)};
    struct peer a;
    struct peer b;
    struct peer c;
    struct gi_error err = GI_ERROR_INIT;
    REQUIRE(proxy_zone(&proxy, 5, &q, path, sizeof(path)));
    REQUIRE(peer_start(&a, path) && peer_start(&b, path));
    EXPECT_EQ(peer_open(&c, path, &err), -GI_RESOURCE_EXHAUSTED);
    peer_close(&c);
    peer_close(&a);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 5).clients == 1));
    EXPECT(peer_start(&c, path));
    peer_close(&b);
    peer_close(&c);
    EXPECT_EQ(control_drop_zone(proxy.client, 5, NULL), 0);
}

static void test_drop_zone_ends_clients(void)
{
    char path[128];
    struct control_quota q = {.max_clients = 4};
    struct peer a;
    struct peer stays;
    REQUIRE(proxy_zone(&proxy, 6, &q, path, sizeof(path)));
    REQUIRE(peer_start(&a, path) && peer_start(&stays, path2));
    pid_t pid = (pid_t)proxy_client(&proxy, 6).pid;
    EXPECT_EQ(control_drop_zone(proxy.client, 6, NULL), 0);
    EXPECT(peer_ended(&a, 5000));
    EXPECT(WAIT_FOR(5000, gone(pid)));
    EXPECT(peer_alive(&stays));
    /* The number is free for another zone at once. */
    EXPECT(proxy_zone(&proxy, 6, &q, path, sizeof(path)));
    EXPECT_EQ(proxy_stats(&proxy, 6).clients_total, 0);
    control_drop_zone(proxy.client, 6, NULL);
    peer_close(&a);
    peer_close(&stays);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 2).clients == 0));
}

static void test_agent_that_speaks_out_of_turn(void)
{
    struct peer p;
    REQUIRE(peer_start(&p, path1));
    EXPECT(send(p.sock, "more", 4, MSG_NOSIGNAL) == 4);
    char byte;
    EXPECT(WAIT_FOR(5000, recv(p.sock, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET));
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
    peer_close(&p);
}

/* SIGTERM ends workers and broker; a killed broker takes its workers along. */
static void test_ends_with_its_broker(void)
{
    struct proxy p;
    struct peer c;
    char path[128];
    for (int killed = 0; killed < 2; killed++) {
        struct control_quota q = {.max_clients = 2};
        REQUIRE(proxy_start(&p, program, driver, NULL));
        REQUIRE(proxy_zone(&p, 1, &q, path, sizeof(path)) && peer_start(&c, path));
        pid_t worker = (pid_t)proxy_client(&p, 1).pid;
        if (killed)
            kill(p.pid, SIGKILL);
        EXPECT_EQ(proxy_stop(&p), killed ? 128 + SIGKILL : 0);
        EXPECT(WAIT_FOR(5000, gone(worker)));
        EXPECT(peer_ended(&c, 5000));
        peer_close(&c);
    }
}

static void test_driver_that_is_none(void)
{
    struct proxy p;
    struct peer c;
    char path[128];
    struct gi_error err = GI_ERROR_INIT;
    struct control_quota q = {.max_clients = 2};
    REQUIRE(proxy_start(&p, program, "/nonexistent/libcuda.so.1", NULL));
    REQUIRE(proxy_zone(&p, 1, &q, path, sizeof(path)));
    EXPECT_EQ(peer_open(&c, path, &err), -GI_UNAVAILABLE);
    EXPECT(strstr(err.message, "/nonexistent/libcuda.so.1"));
    EXPECT(proxy_log_has(&p, "worker can't start"));
    peer_close(&c);
    EXPECT(WAIT_FOR(5000, proxy_stats(&p, 1).clients == 0));
    EXPECT_EQ(proxy_stop(&p), 0);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && access(argv[2], R_OK) < 0) {
        printf("needs the simulated GPU, %s\n", argv[2]);
        return 77;
    }
    program = argc > 1 ? argv[1] : "gpu-proxy";
    driver = argc > 2 ? argv[2] : "libcuda-sim.so";
    struct control_quota q = {.memory_bytes = 64 << 20, .max_clients = 3};
    if (!proxy_start(&proxy, program, driver, NULL) ||
        !proxy_zone(&proxy, 1, &q, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &q, path2, sizeof(path2)))
        return 1;
    MT_RUN(test_answer_names_zone_and_tag);
    MT_RUN(test_jail_is_on);
    MT_RUN(test_descriptors);
    MT_RUN(test_crash_hurts_nobody_else);
    MT_RUN(test_failed_creation);
    MT_RUN(test_client_limit);
    MT_RUN(test_channel_quota);
    MT_RUN(test_drop_zone_ends_clients);
    MT_RUN(test_agent_that_speaks_out_of_turn);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    MT_RUN(test_ends_with_its_broker);
    MT_RUN(test_driver_that_is_none);
    return mt_done();
}
