/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two zones on one gpu-proxy. Zone 1 works; zone 2 writes raw ring bytes with
 * zone 1's handles and addresses. All of it is refused, counted and logged for
 * zone 2, and zone 1's data and counters stay as they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "harness.h"
#include "minitest.h"
#include "peer.h"

#define WORDS 1024u
#define BYTES (WORDS * 4u)
#define MIB   (1ull << 20)
#define QUOTA (64 * MIB)

/* put(p, v): *p = v */
static const char ptx[] = ".version 7.0\n.target sm_50\n.address_size 64\n"
                          ".visible .entry put(.param .u64 put_p, .param .u32 put_v)\n"
                          "{\n"
                          "  .reg .b64 %rd<3>;\n"
                          "  .reg .b32 %r<2>;\n"
                          "  ld.param.u64 %rd1, [put_p];\n"
                          "  ld.param.u32 %r1, [put_v];\n"
                          "  cvta.to.global.u64 %rd2, %rd1;\n"
                          "  st.global.u32 [%rd2], %r1;\n"
                          "  ret;\n"
                          "}\n";

struct put {
    uint64_t p;
    uint32_t v;
    uint32_t pad;
};

static struct proxy proxy;
static char path1[128];
static char path2[128];

static struct raw victim;
static struct raw attacker;
static uint64_t buffer; /* the victim's */
static uint64_t stream;
static uint64_t module;
static uint64_t fn;
static uint64_t context;
static uint32_t secret[WORDS];

static void start_victim(void)
{
    for (uint32_t i = 0; i < WORDS; i++)
        secret[i] = i * 2654435761u;
    REQUIRE(raw_start(&victim, path1));
    context = idm_handle(IDM_KIND_context, victim.peer.ch.tag, 1, 1);
    REQUIRE(raw_alloc(&victim, 3 * MIB, NULL) != 0);
    buffer = raw_alloc(&victim, BYTES, NULL);
    REQUIRE(buffer != 0);
    EXPECT_EQ(raw_write(&victim, buffer, secret, BYTES).result, 0);
    stream = raw_handle(&victim, IDM_KIND_stream);
    EXPECT_EQ(RAW(&victim, cuStreamCreate, .stream = stream).result, 0);
    REQUIRE(raw_load(&victim, ptx, "put", &module, &fn));
    struct put args = {.p = buffer, .v = 77};
    EXPECT_EQ(raw_launch(&victim, fn, stream, &args, 12).result, 0);
    EXPECT_EQ(RAW(&victim, cuStreamSynchronize, .stream = stream).result, 0);
    secret[0] = 77; /* by the kernel */
}

static void victim_is_untouched(void)
{
    static uint32_t now[WORDS];
    struct control_zone_stats s = proxy_stats(&proxy, 1);
    EXPECT_EQ(raw_read(&victim, now, buffer, BYTES).result, 0);
    EXPECT(memcmp(now, secret, BYTES) == 0);
    EXPECT_EQ(s.refused_handles + s.refused_addresses + s.protocol_errors + s.worker_crashes, 0);
    EXPECT_EQ(s.memory_used, 3 * MIB + BYTES);
    struct put args = {.p = buffer, .v = 77};
    EXPECT_EQ(raw_launch(&victim, fn, stream, &args, 12).result, 0);
    EXPECT_EQ(RAW(&victim, cuStreamSynchronize, .stream = stream).result, 0);
}

/* Each hostile message is answered with its error and counted exactly once. */
static uint64_t handles_tried;
static uint64_t addresses_tried;

static void no_handle(struct idm_reply r, enum idm_error error)
{
    handles_tried++;
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, error);
}

static void no_address(struct idm_reply r)
{
    addresses_tried++;
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, IDM_ERROR_INVALID_ADDRESS);
}

static struct idm_reply get_function(uint64_t of)
{
    struct idm_cuModuleGetFunction w = {
        .fn = raw_handle(&attacker, IDM_KIND_function), .module = of, .name_len = 4};
    struct idm_part parts[2] = {{&w, sizeof(w)}, {"put", 4}};
    return raw_call(&attacker, IDM_cuModuleGetFunction, parts, 2, NULL, 0);
}

static void try_handles(enum idm_error error)
{
    struct put args = {.p = buffer, .v = 1};
    no_handle(raw_launch(&attacker, fn, 0, &args, 12), error);
    no_handle(RAW(&attacker, cuStreamDestroy_v2, .stream = stream), error);
    no_handle(RAW(&attacker, cuStreamSynchronize, .stream = stream), error);
    no_handle(RAW(&attacker, cuModuleUnload, .module = module), error);
    no_handle(get_function(module), error);
    no_handle(RAW(&attacker, cuCtxDestroy_v2, .ctx = context), error);
    no_handle(RAW(&attacker, cuCtxEnablePeerAccess, .peer = context), error);
    no_handle(RAW(&attacker, cuCtxDisablePeerAccess, .peer = context), error);
}

static void test_foreign_handles(void)
{
    REQUIRE(raw_start(&attacker, path2));
    try_handles(IDM_ERROR_PERMISSION_DENIED);
    EXPECT_EQ(proxy_stats(&proxy, 2).refused_handles, handles_tried);
    victim_is_untouched();
}

/* The victim's kind, place and generation under the attacker's own tag. */
static void test_forged_handles(void)
{
    uint64_t tag = (uint64_t)attacker.peer.ch.tag << 42;
    uint64_t *all[] = {&fn, &stream, &module, &context};
    uint64_t saved[4];
    for (size_t i = 0; i < 4; i++) {
        saved[i] = *all[i];
        /* Far above the places that the attacker has used itself. */
        *all[i] = (saved[i] & ~(0xffffull << 42)) | tag | 0x8000;
    }
    try_handles(IDM_ERROR_INVALID_HANDLE);
    /* A sound handle of the wrong kind is none either. */
    uint64_t own = idm_handle(IDM_KIND_context, attacker.peer.ch.tag, 1, 1);
    no_handle(RAW(&attacker, cuStreamSynchronize, .stream = own), IDM_ERROR_INVALID_HANDLE);
    for (size_t i = 0; i < 4; i++)
        *all[i] = saved[i];
    EXPECT_EQ(proxy_stats(&proxy, 2).refused_handles, handles_tried);
    victim_is_untouched();
}

/* Memory of the attacker's own. Two processes may well have the same addresses
 * by chance; what is tried below is one that the attacker doesn't have. */
static uint64_t own_memory(void)
{
    uint64_t p = raw_alloc(&attacker, BYTES, NULL);
    if (p != buffer)
        return p;
    uint64_t other = raw_alloc(&attacker, BYTES, NULL);
    EXPECT_EQ(RAW(&attacker, cuMemFree_v2, .ptr = p).result, 0);
    return other;
}

static void test_foreign_addresses(void)
{
    uint64_t mine = own_memory();
    REQUIRE(mine != 0 && mine != buffer);
    no_address(RAW(&attacker, cuMemFree_v2, .ptr = buffer));
    no_address(RAW(&attacker, cuMemsetD32_v2, .dst = buffer, .n = WORDS, .value = 0));
    no_address(RAW(&attacker, cuMemcpyDtoD_v2, .dst = mine, .src = buffer, .bytes = BYTES));
    no_address(RAW(&attacker, cuMemcpyDtoD_v2, .dst = buffer, .src = mine, .bytes = BYTES));
    no_address(RAW(&attacker, copy_from_device, .at = 0, .src = buffer, .bytes = BYTES));
    no_address(RAW(&attacker, copy_to_device, .dst = buffer, .at = 0, .bytes = BYTES));
    no_address(raw_write(&attacker, buffer, secret, 64));
    /* One's own, but past its end, and around the end of all addresses. */
    no_address(RAW(&attacker, cuMemsetD32_v2, .dst = mine, .n = WORDS + 1));
    no_address(RAW(&attacker, cuMemsetD32_v2, .dst = mine, .n = UINT64_MAX / 4));
    no_address(RAW(&attacker, cuMemsetD32_v2, .dst = mine - 4, .n = 2));
    no_address(RAW(&attacker, copy_from_device, .src = UINT64_MAX - 8, .bytes = 64));
    no_address(RAW(&attacker, cuMemFree_v2, .ptr = mine + 256));
    EXPECT_EQ(proxy_stats(&proxy, 2).refused_addresses, addresses_tried);
    /* Its own memory serves it still, and came to it empty. */
    uint32_t word = 1;
    EXPECT_EQ(raw_read(&attacker, &word, mine, 4).result, 0);
    EXPECT_EQ(word, 0);
    victim_is_untouched();
}

/* A client may say that it is zone 1; the channel knows better. */
static void test_forged_source_zone(void)
{
    uint64_t before = proxy_stats(&proxy, 2).protocol_errors;
    attacker.out.src_zone = 1;
    struct idm_reply r = RAW(&attacker, cuMemFree_v2, .ptr = buffer);
    attacker.out.src_zone = 2;
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, IDM_ERROR_PERMISSION_DENIED);
    EXPECT_EQ(proxy_stats(&proxy, 2).protocol_errors, before + 1);
    victim_is_untouched();
}

static void test_logged_for_the_right_zone(void)
{
    EXPECT(WAIT_FOR(3000, proxy_log_has(&proxy, "refused handles zone=2 label=test/pod-2")));
    EXPECT(
        WAIT_FOR(3000, proxy_log_has(&proxy, "refused device addresses zone=2 label=test/pod-2")));
    EXPECT(WAIT_FOR(3000, proxy_log_has(&proxy, "protocol errors zone=2 label=test/pod-2")));
    EXPECT(!proxy_log_has(&proxy, "refused handles zone=1"));
}

/* A kernel of the attacker's that stores to the victim's address stores into
 * the attacker's own address space, or faults there. */
static void test_kernel_with_a_foreign_address(void)
{
    uint64_t its_module;
    uint64_t its_fn;
    REQUIRE(raw_load(&attacker, ptx, "put", &its_module, &its_fn));
    struct put args = {.p = buffer, .v = 0xdeadbeef};
    raw_launch(&attacker, its_fn, 0, &args, 12);
    RAW(&attacker, cuCtxSynchronize);
    victim_is_untouched();
}

/* Access to everything that it has on both devices is access to nothing of others'. */
static void test_peers(void)
{
    uint64_t own = idm_handle(IDM_KIND_context, attacker.peer.ch.tag, 1, 1);
    uint64_t away = raw_handle(&attacker, IDM_KIND_context);
    const int32_t no_devices[] = {-1, 2, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(no_devices) / sizeof(no_devices[0]); i++) {
        int32_t no = no_devices[i];
        EXPECT(RAW(&attacker, cuDeviceCanAccessPeer, .dev = no, .peer = 0).result > 0);
        EXPECT(RAW(&attacker, cuDeviceCanAccessPeer, .dev = 0, .peer = no).result > 0);
        EXPECT(RAW(&attacker, cuDeviceGetP2PAttribute, .what = 1, .src = no).result > 0);
        EXPECT(RAW(&attacker, cuDeviceGetP2PAttribute, .what = no, .dst = 1).result > 0 || no == 2);
        EXPECT(RAW(&attacker, cuCtxCreate_v2, .ctx = raw_handle(&attacker, IDM_KIND_context),
                   .dev = no)
                   .result > 0);
    }
    EXPECT_EQ(RAW(&attacker, cuCtxCreate_v2, .ctx = away, .dev = 1).result, 0);
    RAW(&attacker, select_context, .context = away);
    EXPECT(RAW(&attacker, cuCtxEnablePeerAccess, .peer = own, .flags = 1).result > 0);
    EXPECT(RAW(&attacker, cuCtxEnablePeerAccess, .peer = away).result > 0);
    EXPECT_EQ(RAW(&attacker, cuCtxEnablePeerAccess, .peer = own).result, 0);
    EXPECT(RAW(&attacker, cuCtxEnablePeerAccess, .peer = own).result > 0);
    test_kernel_with_a_foreign_address();
    RAW(&attacker, select_context, .context = own);
    EXPECT_EQ(proxy_stats(&proxy, 2).worker_crashes, 0);
}

/* Indices that no ring has: the client's end, and nobody's crash. */
static void test_broken_ring(void)
{
    struct raw r;
    struct control_zone_stats before = proxy_stats(&proxy, 2);
    REQUIRE(raw_start(&r, path2));
    struct idm_ring_page *page = r.ring;
    uint64_t one = 1;
    atomic_store(&page->submission.head, UINT64_MAX - 100);
    EXPECT(write(r.peer.ch.to_proxy, &one, sizeof(one)) == sizeof(one));
    EXPECT(peer_ended(&r.peer, 5000));
    raw_stop(&r);
    struct control_zone_stats after = proxy_stats(&proxy, 2);
    EXPECT_EQ(after.protocol_errors, before.protocol_errors + 1);
    EXPECT_EQ(after.worker_crashes, before.worker_crashes);
    victim_is_untouched();
}

static void test_attacker_ends(void)
{
    raw_stop(&attacker);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 2).clients == 0));
    struct control_zone_stats s = proxy_stats(&proxy, 2);
    EXPECT_EQ(s.memory_used, 0);
    /* What it did stays on record. */
    EXPECT_EQ(s.refused_handles, handles_tried);
    EXPECT_EQ(s.refused_addresses, addresses_tried);
    victim_is_untouched();
}

/* The quota is the zone's, over all its workers, and a killed worker's part
 * comes back to the others. */
static void test_memory_quota_over_workers(void)
{
    struct raw a;
    struct raw b;
    struct idm_reply r;
    REQUIRE(raw_start(&a, path2));
    pid_t pid = (pid_t)proxy_client(&proxy, 2).pid;
    REQUIRE(raw_start(&b, path2));
    uint64_t refusals = proxy_stats(&proxy, 2).quota_refusals;
    EXPECT(raw_alloc(&a, 40 * MIB, NULL) != 0);
    EXPECT_EQ(raw_alloc(&b, 40 * MIB, &r), 0);
    EXPECT_EQ(r.error, IDM_ERROR_QUOTA);
    EXPECT_EQ(raw_alloc(&b, QUOTA + 1, &r), 0);
    EXPECT_EQ(raw_alloc(&b, UINT64_MAX - 4095, &r), 0);
    EXPECT(raw_alloc(&b, 8 * MIB, NULL) != 0);
    struct control_zone_stats s = proxy_stats(&proxy, 2);
    EXPECT_EQ(s.memory_used, 48 * MIB);
    EXPECT_EQ(s.quota_refusals, refusals + 3);
    REQUIRE(pid > 1 && kill(pid, SIGKILL) == 0);
    EXPECT(peer_ended(&a.peer, 5000));
    EXPECT_EQ(proxy_stats(&proxy, 2).memory_used, 8 * MIB);
    EXPECT_EQ(proxy_stats(&proxy, 2).worker_crashes, s.worker_crashes + 1);
    EXPECT(raw_alloc(&b, 40 * MIB, NULL) != 0);
    raw_stop(&a);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 2).memory_used == 0));
    victim_is_untouched();
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && access(argv[2], R_OK) < 0) {
        printf("needs the simulated GPU, %s\n", argv[2]);
        return 77;
    }
    struct control_quota q = {.memory_bytes = QUOTA, .max_clients = 4};
    setenv("GI_SIM_DEVICES", "2", 1);
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy",
                     argc > 2 ? argv[2] : "libcuda-sim.so", NULL) ||
        !proxy_zone(&proxy, 1, &q, path1, sizeof(path1)) ||
        !proxy_zone(&proxy, 2, &q, path2, sizeof(path2)))
        return 1;
    MT_RUN(start_victim);
    if (!mt_failed) {
        MT_RUN(test_foreign_handles);
        MT_RUN(test_forged_handles);
        MT_RUN(test_foreign_addresses);
        MT_RUN(test_forged_source_zone);
        MT_RUN(test_logged_for_the_right_zone);
        MT_RUN(test_peers);
        MT_RUN(test_kernel_with_a_foreign_address);
        MT_RUN(test_broken_ring);
        MT_RUN(test_attacker_ends);
        MT_RUN(test_memory_quota_over_workers);
        raw_stop(&victim);
        EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0));
        EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, 0);
    }
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
