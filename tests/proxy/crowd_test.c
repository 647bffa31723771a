/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many clients at once, processes of their own: they race for a quota, disappear in the middle of
 * calls, lose their workers at random. What a zone has is never more than its quota, comes back
 * when its clients are gone, and other clients see nothing of it.
 *   crowd_test GPU-PROXY DRIVER
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "harness.h"
#include "idm/cuda_abi.h"
#include "minitest.h"
#include "peer.h"

#define MIB    (1ull << 20)
#define QUOTA  (48 * MIB)
#define PIECE  MIB
#define RACERS 6
#define ROUNDS 8

/* Turns N times, then stores. */
static const char ptx[] = ".version 7.0\n.target sm_50\n.address_size 64\n"
                          ".visible .entry spin(.param .u64 p, .param .u32 n)\n"
                          "{\n"
                          "  .reg .b64 %rd<2>;\n"
                          "  .reg .b32 %r<3>;\n"
                          "  .reg .pred %p<2>;\n"
                          "  ld.param.u64 %rd1, [p];\n"
                          "  ld.param.u32 %r1, [n];\n"
                          "  mov.u32 %r2, 0;\n"
                          "again:\n"
                          "  add.u32 %r2, %r2, 1;\n"
                          "  setp.lt.u32 %p1, %r2, %r1;\n"
                          "  @%p1 bra again;\n"
                          "  st.global.u32 [%rd1], %r2;\n"
                          "  ret;\n"
                          "}\n";

struct spin {
    uint64_t p;
    uint32_t n, pad;
};

static struct proxy proxy;
static char path1[128];
static char path2[128];

static void write_word(int fd, uint64_t value)
{
    if (write(fd, &value, sizeof(value)) != (ssize_t)sizeof(value))
        _exit(1);
}

static bool read_word(int fd, uint64_t *ret_value)
{
    return read(fd, ret_value, sizeof(*ret_value)) == (ssize_t)sizeof(*ret_value);
}

/* --- A race for the quota ------------------------------------------------------------ */

/* Takes pieces until it is refused twice in a row, says how many it has, and waits for the end
 * of GO. Every other one gives some back meanwhile. */
__attribute__((noreturn)) static void race(unsigned self, int result, int go)
{
    static uint64_t pieces[QUOTA / PIECE + 1];
    struct raw r;
    struct idm_reply reply;
    uint64_t have = 0, byte;
    if (!raw_start(&r, path1))
        _exit(1);
    for (unsigned refused = 0, i = 0; refused < 2 && i < 1000; i++) {
        uint64_t p = raw_alloc(&r, PIECE, &reply);
        if (!p && reply.error != IDM_ERROR_QUOTA)
            _exit(2);
        refused = p ? 0 : refused + 1;
        if (p)
            pieces[have++] = p;
        if (self % 2 && have > 2 && i % 5 == 0 && i < 100 &&
            RAW(&r, cuMemFree_v2, .ptr = pieces[--have]).result != 0)
            _exit(3);
    }
    write_word(result, have);
    if (read_word(go, &byte)) /* its end */
        _exit(4);
    _exit(0); /* without a goodbye */
}

static void test_race_for_the_quota(void)
{
    int result[2], go[2];
    pid_t racers[RACERS];
    uint64_t sum = 0;
    REQUIRE(pipe(result) == 0 && pipe(go) == 0);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = fork();
        if (racers[i] == 0) {
            close(go[1]);
            race(i, result[1], go[0]);
        }
    }
    close(result[1]);
    close(go[0]);
    for (unsigned i = 0; i < RACERS; i++) {
        uint64_t have = 0;
        EXPECT(read_word(result[0], &have));
        sum += have;
        EXPECT(proxy_stats(&proxy, 1).memory_used <= QUOTA);
    }
    /* Each of them saw the quota used up, and what is used is what they have. */
    EXPECT(sum > 0 && sum * PIECE <= QUOTA);
    EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, sum * PIECE);
    close(go[1]);
    for (unsigned i = 0; i < RACERS; i++) {
        int status = -1;
        waitpid(racers[i], &status, 0);
        EXPECT_EQ(status, 0);
    }
    close(result[0]);
    EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).clients == 0));
    EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, 0);
    EXPECT_EQ(proxy_stats(&proxy, 1).worker_crashes, 0);
}

/* --- Clients that disappear, workers that are killed ------------------------------------ */

/* In its zone's other clients' trouble, each launch has its result. */
static bool works(struct raw *r, uint64_t fn, uint64_t buffer, uint32_t n)
{
    const struct spin args = {.p = buffer, .n = n};
    uint32_t got = 0;
    return raw_launch(r, fn, 0, &args, 12).result == 0 && RAW(r, cuCtxSynchronize).result == 0 &&
           raw_read(r, &got, buffer, 4).result == 0 && got == n;
}

static bool prepare(struct raw *r, const char *path, uint64_t *ret_fn, uint64_t *ret_buffer)
{
    uint64_t module;
    if (!raw_start(r, path) || !raw_load(r, ptx, "spin", &module, ret_fn))
        return false;
    *ret_buffer = raw_alloc(r, PIECE, NULL);
    return *ret_buffer != 0;
}

/* Says that it is ready, gives the GPU long work, and waits for it in a call. */
__attribute__((noreturn)) static void be_busy(int ready)
{
    struct raw r;
    uint64_t fn, buffer;
    if (!prepare(&r, path1, &fn, &buffer))
        _exit(1);
    const struct spin args = {.p = buffer, .n = 400000000};
    if (raw_launch(&r, fn, 0, &args, 12).result != 0)
        _exit(2);
    write_word(ready, 1);
    RAW(&r, cuCtxSynchronize);
    pause();
    _exit(3);
}

static void test_client_disappears_in_a_call(void)
{
    struct raw neighbour, stranger;
    uint64_t fn, buffer, far_fn, far_buffer;
    REQUIRE(prepare(&neighbour, path1, &fn, &buffer));
    REQUIRE(prepare(&stranger, path2, &far_fn, &far_buffer));
    const uint64_t used = proxy_stats(&proxy, 1).memory_used;
    for (unsigned i = 0; i < 3; i++) {
        int ready[2], status;
        uint64_t word = 0;
        REQUIRE(pipe(ready) == 0);
        pid_t pid = fork();
        if (pid == 0)
            be_busy(ready[1]);
        close(ready[1]);
        EXPECT(read_word(ready[0], &word));
        EXPECT(works(&neighbour, fn, buffer, 100 + i));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        close(ready[0]);
        EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).clients == 1));
        EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, used);
        EXPECT(works(&neighbour, fn, buffer, 200 + i));
        EXPECT(works(&stranger, far_fn, far_buffer, 300 + i));
    }
    EXPECT_EQ(proxy_stats(&proxy, 1).worker_crashes, 0);
    raw_stop(&neighbour);
    raw_stop(&stranger);
    EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).clients + proxy_stats(&proxy, 2).clients == 0));
}

/* A worker of zone 1 that isn't OTHER's; 0: none. */
static pid_t some_worker(pid_t other, unsigned which)
{
    struct control_client_stats *all = NULL;
    uint32_t n = 0;
    pid_t found = 0;
    if (control_list_clients(proxy.client, 1, &all, &n, NULL) < 0)
        return 0;
    for (uint32_t i = 0; i < n && !found; i++) {
        const struct control_client_stats *c = &all[(i + which) % n];
        if ((pid_t)c->pid != other && c->state == CONTROL_CLIENT_RUNNING)
            found = (pid_t)c->pid;
    }
    free(all);
    return found;
}

static void test_workers_are_killed(void)
{
    struct raw neighbour, others[3];
    uint64_t fn, buffer, unused_fn, unused_buffer;
    unsigned seed = 7, killed = 0;
    const uint64_t crashes = proxy_stats(&proxy, 1).worker_crashes;
    REQUIRE(prepare(&neighbour, path1, &fn, &buffer));
    const pid_t own = (pid_t)proxy_client(&proxy, 1).pid;
    REQUIRE(own > 1);
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(prepare(&others[i], path1, &unused_fn, &unused_buffer));
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t pid = some_worker(own, (unsigned)rand_r(&seed));
        REQUIRE(pid > 1 && pid != own);
        EXPECT_EQ(kill(pid, SIGKILL), 0);
        killed++;
        EXPECT(works(&neighbour, fn, buffer, 500 + round));
        EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).worker_crashes == crashes + killed));
        /* Whose it was, comes again. */
        for (unsigned i = 0; i < 3; i++) {
            if (!peer_ended(&others[i].peer, 0))
                continue;
            raw_stop(&others[i]);
            EXPECT(prepare(&others[i], path1, &unused_fn, &unused_buffer));
        }
        EXPECT(works(&neighbour, fn, buffer, 600 + round));
        EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, 4 * PIECE);
    }
    for (unsigned i = 0; i < 3; i++)
        raw_stop(&others[i]);
    raw_stop(&neighbour);
    EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).clients == 0));
    EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, 0);
}

/* --- Links ----------------------------------------------------------------------------- */

static struct idm_reply new_link(struct raw *r, uint64_t id)
{
    return RAW(r, cuLinkCreate_v2, .state = id);
}

static void test_links_are_bounded(void)
{
    enum { MAX = 16 };
    struct raw r, other;
    uint64_t ids[MAX], one_more;
    REQUIRE(raw_start(&r, path1) && raw_start(&other, path2));
    for (unsigned i = 0; i < MAX; i++) {
        ids[i] = raw_handle(&r, IDM_KIND_link);
        EXPECT_EQ(new_link(&r, ids[i]).result, 0);
    }
    one_more = raw_handle(&r, IDM_KIND_link);
    EXPECT_EQ(new_link(&r, one_more).result, CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(new_link(&r, ids[3]).result, CUDA_ERROR_INVALID_HANDLE); /* taken */
    /* Nothing was linked; a foreign one is none. */
    EXPECT_EQ(RAW(&r, link_piece, .link = ids[0]).result, CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(RAW(&r, link_piece, .link = ids[0], .at = UINT64_MAX).result,
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(RAW(&other, cuLinkComplete, .state = ids[0]).error, IDM_ERROR_PERMISSION_DENIED);
    EXPECT_EQ(RAW(&other, cuLinkDestroy, .state = ids[0]).error, IDM_ERROR_PERMISSION_DENIED);
    EXPECT_EQ(RAW(&r, cuLinkDestroy, .state = ids[0]).result, 0);
    EXPECT_EQ(RAW(&r, cuLinkDestroy, .state = ids[0]).error, IDM_ERROR_INVALID_HANDLE);
    one_more = raw_handle(&r, IDM_KIND_link);
    EXPECT_EQ(new_link(&r, one_more).result, 0);
    raw_stop(&r); /* with all that is left */
    raw_stop(&other);
    EXPECT(WAIT_FOR(10000, proxy_stats(&proxy, 1).clients + proxy_stats(&proxy, 2).clients == 0));
    EXPECT_EQ(proxy_stats(&proxy, 1).worker_crashes, ROUNDS);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && access(argv[2], R_OK) < 0) {
        printf("needs the simulated GPU, %s\n", argv[2]);
        return 77;
    }
    struct control_quota q = {.memory_bytes = QUOTA, .max_clients = RACERS + 2};
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy",
                     argc > 2 ? argv[2] : "libcuda-sim.so", NULL) ||
        !proxy_zone(&proxy, 1, &q, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &q, path2, sizeof(path2)))
        return 1;
    MT_RUN(test_race_for_the_quota);
    MT_RUN(test_client_disappears_in_a_call);
    MT_RUN(test_workers_are_killed);
    MT_RUN(test_links_are_bounded);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
