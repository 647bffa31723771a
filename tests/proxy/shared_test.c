/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients of a zone share, asked for by clients that write raw ring bytes: no token is good
 * in another zone, and the zone pays for memory once, for as long as one of its clients has it.
 *   shared_test GPU-PROXY DRIVER
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"
#include "idm/cuda_abi.h"
#include "minitest.h"
#include "peer.h"

#define MIB   (1ull << 20)
#define QUOTA (64 * MIB)

static struct proxy proxy;
static char path1[128], path2[128];

struct token {
    uint64_t low, high;
};

static uint64_t used(void)
{
    return proxy_stats(&proxy, 1).memory_used;
}

static uint64_t refused(uint32_t zone)
{
    return proxy_stats(&proxy, zone).refused_handles;
}

/* BYTES that may be given away; 0: none. */
static uint64_t create(struct raw *r, uint64_t bytes)
{
    uint64_t handle = raw_handle(r, IDM_KIND_memory);
    return RAW(r, cuMemCreate, .handle = handle, .size = bytes, .kinds = 1).result == 0 ? handle
                                                                                        : 0;
}

/* A call that has a token for its answer. */
#define TOKEN(r, name, ret_, ...)                                                                  \
    ({                                                                                             \
        struct idm_##name token_w = {__VA_ARGS__};                                                 \
        struct idm_##name##_reply token_reply = {.token_low = 0};                                  \
        struct idm_reply token_head =                                                              \
            raw_call(r, IDM_##name, &(struct idm_part){&token_w, sizeof(token_w)}, 1,              \
                     &token_reply, sizeof(token_reply));                                           \
        *(ret_) = (struct token){token_reply.token_low, token_reply.token_high};                   \
        token_head.result;                                                                         \
    })

static int give(struct raw *r, uint64_t memory, struct token *ret_token)
{
    return TOKEN(r, cuMemExportToShareableHandle, ret_token, .handle = memory);
}

/* *RET_MEMORY: its handle, whatever came of it. */
static struct idm_reply take(struct raw *r, const struct token *t, uint64_t *ret_memory)
{
    *ret_memory = raw_handle(r, IDM_KIND_memory);
    return RAW(r, cuMemImportFromShareableHandle, .handle = *ret_memory, .token_low = t->low,
               .token_high = t->high);
}

static int let_go(struct raw *r, uint64_t memory)
{
    return RAW(r, cuMemRelease, .handle = memory).result;
}

/* Where it is; 0: it isn't. */
static uint64_t open_at(struct raw *r, const struct token *t, uint64_t *ret_bytes,
                        struct idm_reply *ret_reply)
{
    struct idm_cuIpcOpenMemHandle_v2 w = {.token_low = t->low, .token_high = t->high, .flags = 1};
    struct idm_cuIpcOpenMemHandle_v2_reply reply = {.ptr = 0};
    *ret_reply = raw_call(r, IDM_cuIpcOpenMemHandle_v2, &(struct idm_part){&w, sizeof(w)}, 1,
                          &reply, sizeof(reply));
    *ret_bytes = reply.bytes;
    return ret_reply->result == 0 ? reply.ptr : 0;
}

static void stop(struct raw *r)
{
    if (r->ring)
        raw_stop(r);
}

static void test_no_token_leaves_its_zone(void)
{
    struct raw a, b;
    struct token memory, range, event, t;
    struct idm_reply got;
    uint64_t none, bytes;
    REQUIRE(raw_start(&a, path1) && raw_start(&b, path2));
    uint64_t mine = create(&a, 4 * MIB), p = raw_alloc(&a, MIB, NULL);
    uint64_t e = raw_handle(&a, IDM_KIND_event);
    REQUIRE(mine && p);
    EXPECT_EQ(RAW(&a, cuEventCreate, .event = e, .flags = 6).result, 0);
    EXPECT_EQ(give(&a, mine, &memory), 0);
    EXPECT_EQ(TOKEN(&a, cuIpcGetMemHandle, &range, .ptr = p), 0);
    EXPECT_EQ(TOKEN(&a, cuIpcGetEventHandle, &event, .event = e), 0);
    uint64_t before = refused(2);
    EXPECT_EQ(take(&b, &memory, &none).error, IDM_ERROR_INVALID_HANDLE);
    EXPECT(!open_at(&b, &range, &bytes, &got));
    EXPECT_EQ(got.error, IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(RAW(&b, cuIpcOpenEventHandle, .event = raw_handle(&b, IDM_KIND_event),
                  .token_low = event.low, .token_high = event.high)
                  .error,
              IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(refused(2), before + 3);
    /* In its zone neither, where it is another thing, or another token. */
    before = refused(1);
    EXPECT_EQ(take(&a, &range, &none).error, IDM_ERROR_INVALID_HANDLE);
    EXPECT(!open_at(&a, &memory, &bytes, &got));
    EXPECT(!open_at(&a, &event, &bytes, &got));
    t = (struct token){memory.low, memory.high ^ 1ull << 63};
    EXPECT_EQ(take(&a, &t, &none).error, IDM_ERROR_INVALID_HANDLE);
    t = (struct token){0, 0};
    EXPECT_EQ(take(&a, &t, &none).error, IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(refused(1), before + 5);
    EXPECT_EQ(proxy_stats(&proxy, 2).memory_used, 0);
    stop(&a);
    stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

static void test_memory_is_paid_for_once(void)
{
    struct raw a, b, c;
    struct token t, again;
    uint64_t its, more;
    REQUIRE(raw_start(&a, path1) && raw_start(&b, path1) && raw_start(&c, path1));
    uint64_t mine = create(&a, 16 * MIB);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT_EQ(give(&a, mine, &t), 0);
    EXPECT_EQ(give(&a, mine, &again), 0);
    EXPECT(t.low == again.low && t.high == again.high);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT_EQ(proxy_stats(&proxy, 1).memory_shared, 16 * MIB);
    EXPECT_EQ(proxy_stats(&proxy, 1).shared_items, 1);
    EXPECT_EQ(take(&b, &t, &its).result, 0);
    EXPECT_EQ(take(&b, &t, &more).result, 0);
    EXPECT_EQ(used(), 16 * MIB);
    /* No more than the quota, shared or not. */
    EXPECT(!raw_alloc(&c, 50 * MIB, NULL));
    uint64_t p = raw_alloc(&c, 48 * MIB, NULL);
    EXPECT(p != 0);
    EXPECT_EQ(RAW(&c, cuMemFree_v2, .ptr = p).result, 0);
    /* Who made it lets go: the others have it, may give it on, and pay. */
    EXPECT_EQ(let_go(&a, mine), 0);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT_EQ(let_go(&b, more), 0);
    EXPECT_EQ(give(&b, its, &again), 0);
    EXPECT(t.low == again.low && t.high == again.high);
    EXPECT_EQ(take(&c, &t, &more).result, 0);
    EXPECT_EQ(let_go(&b, its), 0);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT_EQ(let_go(&c, more), 0);
    EXPECT_EQ(used(), 0);
    EXPECT_EQ(take(&b, &t, &its).error, IDM_ERROR_INVALID_HANDLE);
    stop(&a);
    stop(&b);
    stop(&c);
}

static void test_whoever_dies_leaves_nothing(void)
{
    struct raw a, b;
    struct token t;
    uint64_t its, bytes;
    struct idm_reply got;
    REQUIRE(raw_start(&a, path1));
    EXPECT_EQ(give(&a, create(&a, 16 * MIB), &t), 0);
    stop(&a);
    EXPECT(WAIT_FOR(5000, used() == 0)); /* nobody else had it */
    REQUIRE(raw_start(&a, path1));
    pid_t pid = (pid_t)proxy_client(&proxy, 1).pid;
    REQUIRE(raw_start(&b, path1) && pid > 1);
    EXPECT_EQ(give(&a, create(&a, 16 * MIB), &t), 0);
    EXPECT_EQ(take(&b, &t, &its).result, 0);
    uint64_t p = raw_alloc(&a, 4 * MIB, NULL);
    EXPECT_EQ(TOKEN(&a, cuIpcGetMemHandle, &t, .ptr = p), 0);
    EXPECT(open_at(&b, &t, &bytes, &got) != 0);
    EXPECT_EQ(used(), 20 * MIB);
    EXPECT_EQ(kill(pid, SIGKILL), 0);
    EXPECT(peer_ended(&a.peer, 5000));
    EXPECT_EQ(used(), 20 * MIB); /* b has it */
    stop(&a);
    EXPECT(peer_alive(&b.peer));
    stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

static void test_ranges(void)
{
    struct raw a, b;
    struct token t;
    struct idm_reply got;
    uint64_t bytes;
    uint32_t words[4] = {1, 2, 3, 4}, seen[4] = {0};
    REQUIRE(raw_start(&a, path1) && raw_start(&b, path1));
    uint64_t p = raw_alloc(&a, 4 * MIB, NULL);
    EXPECT_EQ(TOKEN(&a, cuIpcGetMemHandle, &t, .ptr = p + 12), 0);
    EXPECT_EQ(used(), 4 * MIB);
    uint64_t q = open_at(&b, &t, &bytes, &got);
    REQUIRE(q);
    EXPECT_EQ(bytes, 4 * MIB);
    EXPECT_EQ(used(), 4 * MIB);
    EXPECT_EQ(raw_write(&b, q + 4 * MIB - sizeof(words), words, sizeof(words)).result, 0);
    EXPECT_EQ(raw_read(&a, seen, p + 4 * MIB - sizeof(words), sizeof(seen)).result, 0);
    EXPECT_EQ(memcmp(words, seen, sizeof(words)), 0);
    /* No further, and not as if it were one's own. */
    uint64_t before = proxy_stats(&proxy, 1).refused_addresses;
    EXPECT_EQ(raw_write(&b, q + 4 * MIB - 8, words, sizeof(words)).error,
              IDM_ERROR_INVALID_ADDRESS);
    EXPECT_EQ(RAW(&b, cuMemFree_v2, .ptr = q).error, IDM_ERROR_INVALID_ADDRESS);
    struct token none;
    EXPECT(TOKEN(&b, cuIpcGetMemHandle, &none, .ptr = q) > 0);
    EXPECT_EQ(RAW(&b, cuIpcCloseMemHandle, .ptr = q + 8).error, IDM_ERROR_INVALID_ADDRESS);
    EXPECT_EQ(RAW(&a, cuIpcCloseMemHandle, .ptr = p).error, IDM_ERROR_INVALID_ADDRESS);
    EXPECT_EQ(proxy_stats(&proxy, 1).refused_addresses, before + 5);
    EXPECT(!open_at(&b, &t, &bytes, &got)); /* twice: libvgpu counts */
    EXPECT(!open_at(&a, &t, &bytes, &got)); /* by who made it: as the driver has it */
    EXPECT_EQ(used(), 4 * MIB);
    EXPECT_EQ(RAW(&a, cuMemFree_v2, .ptr = p).result, 0);
    EXPECT_EQ(used(), 4 * MIB);
    EXPECT_EQ(RAW(&b, cuIpcCloseMemHandle, .ptr = q).result, 0);
    EXPECT_EQ(used(), 0);
    EXPECT_EQ(RAW(&b, cuIpcCloseMemHandle, .ptr = q).error, IDM_ERROR_INVALID_ADDRESS);
    EXPECT(!open_at(&b, &t, &bytes, &got));
    EXPECT_EQ(got.error, IDM_ERROR_INVALID_HANDLE);
    stop(&a);
    stop(&b);
}

/* raw_start()'s. */
static uint64_t context_of(const struct raw *r)
{
    return idm_handle(IDM_KIND_context, r->peer.ch.tag, 1, 1);
}

static void test_a_context_takes_its_own_with_it(void)
{
    struct raw a, b;
    struct token t;
    struct idm_reply got;
    uint64_t bytes;
    REQUIRE(raw_start(&a, path1) && raw_start(&b, path1));
    uint64_t p = raw_alloc(&a, 4 * MIB, NULL);
    EXPECT_EQ(TOKEN(&a, cuIpcGetMemHandle, &t, .ptr = p), 0);
    EXPECT(open_at(&b, &t, &bytes, &got) != 0);
    EXPECT_EQ(RAW(&a, cuDevicePrimaryCtxReset_v2, .ctx = context_of(&a)).result, 0);
    EXPECT_EQ(used(), 4 * MIB);
    EXPECT_EQ(RAW(&b, cuDevicePrimaryCtxReset_v2, .ctx = context_of(&b)).result, 0);
    EXPECT_EQ(used(), 0);
    stop(&a);
    stop(&b);
}

/* A zone shares so much and no more, and gets it back. */
static void test_limit(void)
{
    struct raw a, b;
    struct token t;
    unsigned n = 0;
    REQUIRE(raw_start(&a, path1) && raw_start(&b, path2));
    uint64_t before = proxy_stats(&proxy, 1).quota_refusals;
    int result = 0;
    while (result == 0 && n < 5000) {
        uint64_t e = raw_handle(&a, IDM_KIND_event);
        REQUIRE(RAW(&a, cuEventCreate, .event = e, .flags = 6).result == 0);
        result = TOKEN(&a, cuIpcGetEventHandle, &t, .event = e);
        n += result == 0;
    }
    EXPECT_EQ(result, CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT(n >= 64 && n <= 256); /* half of half of the broker's descriptors */
    EXPECT(proxy_stats(&proxy, 1).quota_refusals > before);
    EXPECT_EQ(give(&b, create(&b, 2 * MIB), &t), 0);
    stop(&a);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
    REQUIRE(raw_start(&a, path1));
    EXPECT_EQ(give(&a, create(&a, 2 * MIB), &t), 0);
    stop(&a);
    stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

int main(int argc, char **argv)
{
    const struct control_quota quota = {.memory_bytes = QUOTA, .max_clients = 8};
    signal(SIGPIPE, SIG_IGN);
    const struct rlimit few = {1024, 1024}; /* gpu-proxy's, too */
    setrlimit(RLIMIT_NOFILE, &few);
    if (argc < 3)
        return 2;
    if (access(argv[2], R_OK) < 0) {
        fprintf(stderr, "needs the simulated GPU: %s\n", argv[2]);
        return 77;
    }
    if (!proxy_start(&proxy, argv[1], argv[2], NULL) ||
        !proxy_zone(&proxy, 1, &quota, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &quota, path2, sizeof(path2)))
        return 1;
    MT_RUN(test_no_token_leaves_its_zone);
    MT_RUN(test_memory_is_paid_for_once);
    MT_RUN(test_whoever_dies_leaves_nothing);
    MT_RUN(test_ranges);
    MT_RUN(test_a_context_takes_its_own_with_it);
    MT_RUN(test_limit);
    EXPECT_EQ(proxy_stats(&proxy, 1).protocol_errors, 0);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
