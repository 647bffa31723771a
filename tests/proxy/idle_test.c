/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that do nothing cost nothing: gpu-proxy and their workers sleep without waking. What
 * happens then is seen as if they had not.
 *   idle_test GPU-PROXY DRIVER
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "harness.h"
#include "minitest.h"
#include "peer.h"

static struct proxy proxy;
static char path1[128];
static char path2[128];
static struct raw one, two; /* a client of each zone */

/* How often PID's first thread has slept. */
static long slept(pid_t pid)
{
    char path[64], line[128];
    long n = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    cleanup_fclose FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            n = strtol(line + 24, NULL, 10);
    }
    return n;
}

static long all_slept(void)
{
    /* Asked for before, as asking wakes the proxy. */
    static pid_t workers[2];
    if (!workers[0]) {
        workers[0] = (pid_t)proxy_client(&proxy, 1).pid;
        workers[1] = (pid_t)proxy_client(&proxy, 2).pid;
    }
    return slept(proxy.pid) + slept(workers[0]) + slept(workers[1]);
}

/* Nobody wakes for a second. */
static bool is_still(void)
{
    for (int tries = 0; tries < 20; tries++) {
        long before = all_slept();
        usleep(1000 * 1000);
        if (all_slept() == before)
            return true;
    }
    return false;
}

static void test_idle_clients_sleep(void)
{
    EXPECT(is_still());
}

static void test_a_refused_call_is_told(void)
{
    EXPECT(!proxy_log_has(&proxy, "refused device addresses"));
    EXPECT(RAW(&one, cuMemFree_v2, .ptr = 0x123400).result != 0);
    EXPECT(WAIT_FOR(10000, proxy_log_has(&proxy, "refused device addresses")));
    EXPECT(is_still());
}

static void test_a_refused_connection_is_told(void)
{
    cleanup_close int fd = proxy_connect(path2);
    EXPECT(fd >= 0);
    EXPECT(WAIT_FOR(10000, proxy_log_has(&proxy, "quota refusals")));
    EXPECT(is_still());
}

static void test_a_silent_connection_is_ended(void)
{
    struct raw r;
    cleanup_close int fd = proxy_connect(path1);
    EXPECT(fd >= 0);
    EXPECT(WAIT_FOR(20000, proxy_log_has(&proxy, "no channel handed over")));
    EXPECT_EQ(proxy_stats(&proxy, 1).clients, 1);
    EXPECT(is_still());
    REQUIRE(raw_start(&r, path1));
    raw_stop(&r);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && access(argv[2], R_OK) < 0) {
        printf("needs the simulated GPU, %s\n", argv[2]);
        return 77;
    }
    static const char *const extra[] = {"--handover-timeout", "2000", NULL};
    struct control_quota several = {.max_clients = 4}, single = {.max_clients = 1};
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy",
                     argc > 2 ? argv[2] : "libcuda-sim.so", extra) ||
        !proxy_zone(&proxy, 1, &several, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &single, path2, sizeof(path2)) || !raw_start(&one, path1) ||
        !raw_start(&two, path2))
        return 1;
    MT_RUN(test_idle_clients_sleep);
    MT_RUN(test_a_refused_call_is_told);
    MT_RUN(test_a_refused_connection_is_told);
    MT_RUN(test_a_silent_connection_is_ended);
    raw_stop(&one);
    raw_stop(&two);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
