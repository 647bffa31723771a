/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs and host functions of a client that writes raw records: graphs that make no
 * sense are refused and counted, words about functions that were run move nobody's
 * streams but its own, and whatever it holds up ends with it.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "idm/cuda_abi.h"
#include "idm/facts.h"
#include "minitest.h"
#include "peer.h"

#define WORDS 256u
#define BYTES (WORDS * 4u)
#define QUOTA (64ull << 20)
#define LONG  60000

static struct proxy proxy;
static char path[128];
static struct raw client;
static uint64_t buffer, stream, event;

/* --- Records without an answer at once ---------------------------------------------- */

static uint64_t post(uint16_t type, const void *w, uint32_t len, bool answer)
{
    void *payload;
    const struct idm_part part = {w, len};
    if (idm_reserve(&client.out, len, &payload) < 0)
        return 0;
    idm_write_parts(payload, &part, 1);
    idm_publish(&client.out, type, ++client.seq, answer ? IDM_FLAG_WANT_REPLY : 0, len);
    return client.seq;
}

#define POST(name, answer, ...)                                                                    \
    ({                                                                                             \
        struct idm_##name post_w = {__VA_ARGS__};                                                  \
        post(IDM_##name, &post_w, sizeof(post_w), answer);                                         \
    })

/* The next answer within MS; false: none came. */
static bool next_answer(int ms, uint64_t *ret_seq, int32_t *ret_result)
{
    struct idm_header h;
    struct idm_reply head;
    uint8_t reply[512];
    if (!raw_wait(&client, ms * 1000000ll) || idm_next(&client.in, &h, reply, sizeof(reply)) != 1 ||
        h.payload_len < sizeof(head))
        return false;
    memcpy(&head, reply, sizeof(head));
    *ret_seq = h.seq_num;
    *ret_result = head.result;
    return true;
}

/* Its answer, nothing else. */
static int32_t answer_to(uint64_t seq)
{
    uint64_t got = 0;
    int32_t result = -1;
    return next_answer(LONG, &got, &result) && got == seq ? result : -1;
}

static void say_done(uint64_t n)
{
    struct idm_ring_page *page = client.ring;
    atomic_store_explicit(&page->host_done, n, memory_order_release);
}

static bool start(void)
{
    if (!raw_start(&client, path))
        return false;
    buffer = raw_alloc(&client, BYTES, NULL);
    stream = raw_handle(&client, IDM_KIND_stream);
    event = raw_handle(&client, IDM_KIND_event);
    return buffer && RAW(&client, cuStreamCreate, .stream = stream, .flags = 1).result == 0 &&
           RAW(&client, cuEventCreate, .event = event, .flags = 2).result == 0;
}

static void stop(void)
{
    raw_stop(&client);
    EXPECT(WAIT_FOR(LONG, proxy_stats(&proxy, 1).clients == 0));
    EXPECT_EQ(proxy_stats(&proxy, 1).memory_used, 0);
    EXPECT_EQ(proxy_stats(&proxy, 1).worker_crashes, 0);
}

/* --- Graphs as bytes ------------------------------------------------------------------- */

struct bytes {
    uint8_t data[4096];
    uint32_t len;
};

static void put(struct bytes *b, const void *data, size_t len)
{
    if (data)
        memcpy(b->data + b->len, data, len);
    b->len += (uint32_t)(len + 7) & ~7u;
}

static void step(struct bytes *b, uint32_t kind, const uint32_t *deps, uint32_t n)
{
    const struct idm_graph_step s = {.kind = kind, .n_deps = n, .enabled = 1};
    put(b, &s, sizeof(s));
    if (n)
        put(b, deps, n * sizeof(*deps));
}

static void head(struct bytes *b, uint32_t n)
{
    const struct idm_graph_head h = {.n_steps = n};
    memset(b, 0, sizeof(*b));
    put(b, &h, sizeof(h));
}

/* A fill, a function, a copy into the arena behind both, words, an event. */
static void good_graph(struct bytes *b)
{
    const uint32_t first[] = {0}, both[] = {0, 1}, copy[] = {2}, ops[] = {3};
    const struct idm_graph_fill f = {
        .dst = buffer, .width = WORDS, .height = 1, .value = 0x01020304, .unit = 4};
    const struct idm_graph_copy c = {
        .dst = 4096, .dst_arena = 1, .src = buffer, .width = BYTES, .height = 1, .depth = 1};
    const struct idm_graph_ops o = {.ops_len = sizeof(struct idm_memory_op)};
    const struct idm_memory_op op = {
        .operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .address = buffer, .value = 99};
    const struct idm_graph_event e = {.event = event};
    head(b, 5);
    step(b, CU_GRAPH_NODE_TYPE_MEMSET, NULL, 0);
    put(b, &f, sizeof(f));
    step(b, CU_GRAPH_NODE_TYPE_HOST, first, 1);
    step(b, CU_GRAPH_NODE_TYPE_MEMCPY, both, 2);
    put(b, &c, sizeof(c));
    step(b, CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, copy, 1);
    put(b, &o, sizeof(o));
    put(b, &op, sizeof(op));
    step(b, CU_GRAPH_NODE_TYPE_EVENT_RECORD, ops, 1);
    put(b, &e, sizeof(e));
}

static struct idm_reply make(const struct bytes *b, uint64_t exec)
{
    static uint32_t image = 100;
    image++;
    struct idm_image_part w = {.total = b->len, .image = image, .data_len = b->len};
    struct idm_part parts[2] = {{&w, sizeof(w)}, {b->data, b->len}};
    struct idm_reply r = raw_call(&client, IDM_image_part, parts, 2, NULL, 0);
    if (r.result != 0)
        return r;
    return RAW(&client, graph_make, .exec = exec, .image = image);
}

static uint64_t made(void)
{
    struct bytes b;
    uint64_t exec = raw_handle(&client, IDM_KIND_graph);
    good_graph(&b);
    return make(&b, exec).result == 0 ? exec : 0;
}

/* --- What is refused -------------------------------------------------------------------- */

static void refused(const struct bytes *b, enum idm_error error)
{
    struct idm_reply r = make(b, raw_handle(&client, IDM_KIND_graph));
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, error);
}

/* One step of KIND with BODY. */
static void refused_step(uint32_t kind, const void *body, size_t len, enum idm_error error)
{
    struct bytes b;
    head(&b, 1);
    step(&b, kind, NULL, 0);
    if (len)
        put(&b, body, len);
    refused(&b, error);
}

static void test_edges_and_ends(void)
{
    struct bytes b;
    const uint32_t self[] = {0};
    head(&b, 1u << 30); /* steps that aren't there */
    refused(&b, IDM_ERROR_MALFORMED);
    head(&b, 1);
    step(&b, CU_GRAPH_NODE_TYPE_EMPTY, self, 1);
    refused(&b, IDM_ERROR_MALFORMED);
    head(&b, 2);
    step(&b, CU_GRAPH_NODE_TYPE_EMPTY, NULL, 0);
    const uint32_t far[] = {0xffffffffu};
    step(&b, CU_GRAPH_NODE_TYPE_EMPTY, far, 1);
    refused(&b, IDM_ERROR_MALFORMED);
    head(&b, 0);
    step(&b, CU_GRAPH_NODE_TYPE_EMPTY, NULL, 0); /* more than there should be */
    refused(&b, IDM_ERROR_MALFORMED);
    refused_step(CU_GRAPH_NODE_TYPE_GRAPH, NULL, 0, IDM_ERROR_MALFORMED);
    refused_step(CU_GRAPH_NODE_TYPE_CONDITIONAL, NULL, 0, IDM_ERROR_MALFORMED);
    refused_step(77, NULL, 0, IDM_ERROR_MALFORMED);
    good_graph(&b);
    for (uint32_t cut = 8; cut < b.len; cut += 8) {
        struct bytes less = b;
        less.len -= cut;
        refused(&less, IDM_ERROR_MALFORMED);
    }
    EXPECT_EQ(
        RAW(&client, graph_make, .exec = raw_handle(&client, IDM_KIND_graph), .image = 7).result,
        CUDA_ERROR_INVALID_VALUE);
}

static void test_foreign_things(void)
{
    const uint64_t nobody = idm_handle(IDM_KIND_function, client.peer.ch.tag + 1u, 1, 3);
    const struct idm_graph_kernel k = {
        .code = nobody, .grid = {1, 1, 1}, .block = {1, 1, 1}, .params_len = 0};
    refused_step(CU_GRAPH_NODE_TYPE_KERNEL, &k, sizeof(k), IDM_ERROR_PERMISSION_DENIED);
    const struct idm_graph_kernel long_k = {.code = nobody, .params_len = 0xfffffff0u};
    refused_step(CU_GRAPH_NODE_TYPE_KERNEL, &long_k, sizeof(long_k), IDM_ERROR_MALFORMED);
    const struct idm_graph_event e = {.event = stream};
    refused_step(CU_GRAPH_NODE_TYPE_WAIT_EVENT, &e, sizeof(e), IDM_ERROR_INVALID_HANDLE);
    struct idm_graph_fill f = {.dst = 4096, .width = 8, .height = 1, .unit = 4};
    refused_step(CU_GRAPH_NODE_TYPE_MEMSET, &f, sizeof(f), IDM_ERROR_INVALID_ADDRESS);
    f = (struct idm_graph_fill){.dst = buffer, .width = WORDS + 1, .height = 1, .unit = 4};
    refused_step(CU_GRAPH_NODE_TYPE_MEMSET, &f, sizeof(f), IDM_ERROR_INVALID_ADDRESS);
    f = (struct idm_graph_fill){
        .dst = buffer, .pitch = 1ull << 63, .width = 1, .height = 4, .unit = 1};
    refused_step(CU_GRAPH_NODE_TYPE_MEMSET, &f, sizeof(f), IDM_ERROR_MALFORMED);
    struct idm_graph_copy c = {.dst = buffer,
                               .src = client.peer.ch.arena_bytes - 8,
                               .src_arena = 1,
                               .width = 16,
                               .height = 1,
                               .depth = 1};
    refused_step(CU_GRAPH_NODE_TYPE_MEMCPY, &c, sizeof(c), IDM_ERROR_INVALID_ADDRESS);
    c.src = UINT64_MAX - 8;
    refused_step(CU_GRAPH_NODE_TYPE_MEMCPY, &c, sizeof(c), IDM_ERROR_INVALID_ADDRESS);
    c = (struct idm_graph_copy){.dst = buffer,
                                .src = 0,
                                .src_arena = 1,
                                .dst_pitch = 16,
                                .src_pitch = 16,
                                .width = 16,
                                .height = WORDS,
                                .depth = 1};
    refused_step(CU_GRAPH_NODE_TYPE_MEMCPY, &c, sizeof(c), IDM_ERROR_INVALID_ADDRESS);
    c.height = 2;
    c.depth = 2; /* planes that don't hold two rows */
    c.dst_plane = c.src_plane = 16;
    refused_step(CU_GRAPH_NODE_TYPE_MEMCPY, &c, sizeof(c), IDM_ERROR_MALFORMED);
    struct {
        struct idm_graph_ops o;
        struct idm_memory_op op;
    } o = {{.ops_len = sizeof(struct idm_memory_op)},
           {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64, .address = buffer + BYTES - 4}};
    refused_step(CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, &o, sizeof(o), IDM_OK); /* crooked */
    o.op.address = buffer + BYTES;
    refused_step(CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, &o, sizeof(o), IDM_ERROR_INVALID_ADDRESS);
}

static void test_messages(void)
{
    uint64_t exec = made();
    REQUIRE(exec != 0);
    EXPECT(RAW(&client, graph_make, .exec = exec, .image = 1).result > 0);
    EXPECT(RAW(&client, graph_launch, .exec = stream, .stream = stream).result > 0);
    EXPECT(RAW(&client, graph_launch, .exec = exec, .stream = exec).result > 0);
    EXPECT(RAW(&client, graph_host, .exec = exec, .step = 0).result > 0); /* no function */
    EXPECT(RAW(&client, graph_host, .exec = exec, .step = 5).result > 0);
    EXPECT(RAW(&client, graph_host, .exec = exec, .step = UINT32_MAX).result > 0);
    EXPECT_EQ(RAW(&client, graph_change, .exec = exec, .step = 5, .enabled = 1).error,
              IDM_ERROR_MALFORMED);
    EXPECT_EQ(RAW(&client, graph_change, .exec = exec, .step = 0, .enabled = 1).error,
              IDM_ERROR_MALFORMED);
    EXPECT_EQ(RAW(&client, graph_end, .exec = exec).result, 0);
    EXPECT(RAW(&client, graph_end, .exec = exec).result > 0);
    EXPECT(RAW(&client, graph_launch, .exec = exec, .stream = stream).result > 0);
}

/* Bits turned over at random, from a fixed seed: nothing but an answer may come of it. */
static void test_turned_bits(void)
{
    struct bytes good;
    uint64_t x = 88172645463325252u;
    unsigned kept = 0;
    good_graph(&good);
    for (unsigned i = 0; i < 3000; i++) {
        struct bytes b = good;
        for (unsigned k = 0; k <= i % 4; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            b.data[x % b.len] ^= (uint8_t)(1u << (x >> 32) % 8);
        }
        uint64_t exec = raw_handle(&client, IDM_KIND_graph);
        struct idm_reply r = make(&b, exec);
        REQUIRE(r.result >= 0);
        if (r.result == 0) {
            kept++;
            EXPECT_EQ(RAW(&client, graph_end, .exec = exec).result, 0);
        }
    }
    EXPECT(kept > 0 && kept < 3000);
    EXPECT(peer_alive(&client.peer));
}

/* --- Functions ------------------------------------------------------------------------------ */

/* Launches that nobody announced a function for go on; those announced wait for the word. */
static void test_functions_of_graphs(void)
{
    uint32_t *words = (uint32_t *)(client.arena + 4096);
    uint64_t got;
    int32_t result;
    uint64_t exec = made();
    REQUIRE(exec != 0);
    say_done(0);
    EXPECT_EQ(answer_to(POST(graph_launch, true, .exec = exec, .stream = stream)), 0);
    EXPECT_EQ(answer_to(POST(cuStreamSynchronize, true, .stream = stream)), 0);
    EXPECT_EQ(words[WORDS - 1], 0x01020304);
    words[WORDS - 1] = 0;
    uint64_t function = POST(graph_host, true, .exec = exec, .step = 1);
    EXPECT(POST(graph_launch, false, .exec = exec, .stream = stream) != 0);
    EXPECT_EQ(answer_to(function), 0); /* order 1 */
    uint64_t synchronized = POST(cuStreamSynchronize, true, .stream = stream);
    EXPECT(!next_answer(50, &got, &result));
    EXPECT_EQ(words[WORDS - 1], 0);
    say_done(1);
    EXPECT_EQ(answer_to(synchronized), 0);
    EXPECT_EQ(words[WORDS - 1], 0x01020304);
    /* Announced, and never launched: answered with the graph's end. */
    function = POST(graph_host, true, .exec = exec, .step = 1);
    uint64_t second = POST(graph_host, true, .exec = exec, .step = 1);
    EXPECT(POST(graph_end, false, .exec = exec) != 0);
    EXPECT_EQ(answer_to(function), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(answer_to(second), CUDA_ERROR_INVALID_HANDLE);
}

/* Ended while a launch is under way: that still comes to its end. */
static void test_ends_under_way(void)
{
    uint64_t exec = made();
    REQUIRE(exec != 0);
    say_done(1);
    uint64_t function = POST(graph_host, true, .exec = exec, .step = 1);
    EXPECT(POST(graph_launch, false, .exec = exec, .stream = stream) != 0);
    EXPECT_EQ(answer_to(function), 0); /* order 2 */
    EXPECT(POST(graph_end, false, .exec = exec) != 0);
    uint64_t synchronized = POST(cuStreamSynchronize, true, .stream = stream);
    say_done(2);
    EXPECT_EQ(answer_to(synchronized), 0);
}

/* Words of a client that lies about what it has run: forward, backward, to the end of the
 * numbers. They concern its own streams; the worker goes on. */
static void test_lies_about_host_functions(void)
{
    uint64_t got;
    int32_t result;
    say_done(2);
    EXPECT_EQ(answer_to(POST(host_function, true, .stream = stream)), 0); /* order 3 */
    say_done(0);                                                          /* never was */
    uint64_t synchronized = POST(cuStreamSynchronize, true, .stream = stream);
    EXPECT(!next_answer(50, &got, &result));
    /* Another stream of its own is not held up, nor its worker. */
    EXPECT_EQ(answer_to(POST(cuStreamSynchronize, true, .stream = 0)), 0);
    say_done(UINT64_MAX);
    EXPECT_EQ(answer_to(synchronized), 0);
    for (unsigned i = 0; i < 100; i++) /* nothing waits any more */
        EXPECT_EQ(answer_to(POST(host_function, true, .stream = stream)), 0);
    EXPECT_EQ(answer_to(POST(cuStreamSynchronize, true, .stream = stream)), 0);
    say_done(0);
    /* Nobody would run it. */
    EXPECT(POST(host_function, false, .stream = stream) != 0);
    EXPECT_EQ(answer_to(POST(cuStreamSynchronize, true, .stream = stream)), 0);
    EXPECT_EQ(RAW(&client, host_function, .stream = client.seq << 40).error,
              IDM_ERROR_PERMISSION_DENIED);
    EXPECT(peer_alive(&client.peer));
}

/* What waits for a function of the client's isn't on the GPU: its time is not the zone's. */
static void test_held_work_is_not_gpu_time(void)
{
    uint64_t order = 0;
    raw_stop(&client);
    EXPECT(WAIT_FOR(LONG, proxy_stats(&proxy, 1).clients == 0));
    REQUIRE(start());
    EXPECT_EQ(answer_to(POST(cuStreamSynchronize, true, .stream = stream)), 0);
    uint64_t before = proxy_stats(&proxy, 1).gpu_ns;
    EXPECT_EQ(answer_to(POST(host_function, true, .stream = stream)), 0);
    order++;
    EXPECT(POST(cuMemsetD8Async, false, .dst = buffer, .value = 1, .n = BYTES, .stream = stream));
    uint64_t synchronized = POST(cuStreamSynchronize, true, .stream = stream);
    usleep(600 * 1000);
    uint64_t held = proxy_stats(&proxy, 1).gpu_ns - before;
    printf("  %llu us of 600000 counted\n", (unsigned long long)held / 1000);
    EXPECT(held < 300u * 1000 * 1000);
    say_done(order);
    EXPECT_EQ(answer_to(synchronized), 0);
}

/* More functions than a stream takes, none of them run: the worker waits in the driver, and
 * the ring fills. Then the client goes, and all goes with it. */
static void test_flood_and_gone(void)
{
    unsigned posted = 0;
    say_done(0);
    while (posted < 6000 && POST(host_function, true, .stream = stream))
        posted++;
    EXPECT(posted > 100);
    stop();
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2 && access(argv[2], R_OK) < 0) {
        printf("needs the simulated GPU, %s\n", argv[2]);
        return 77;
    }
    struct control_quota q = {.memory_bytes = QUOTA, .max_clients = 4};
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy",
                     argc > 2 ? argv[2] : "libcuda-sim.so", NULL) ||
        !proxy_zone(&proxy, 1, &q, path, sizeof(path)) || !start())
        return 1;
    MT_RUN(test_edges_and_ends);
    MT_RUN(test_foreign_things);
    MT_RUN(test_messages);
    MT_RUN(test_turned_bits);
    MT_RUN(test_functions_of_graphs);
    MT_RUN(test_ends_under_way);
    MT_RUN(test_lies_about_host_functions);
    MT_RUN(test_held_work_is_not_gpu_time);
    MT_RUN(test_flood_and_gone);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
