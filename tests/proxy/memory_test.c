/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and addresses apart, arrays and textures, asked for by clients that write raw ring
 * bytes: foreign and stale handles and addresses are refused and counted, and whatever the order of
 * create, map, release and unmap, the zone pays for what lives.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "idm/cuda_abi.h"
#include "idm/facts.h"
#include "minitest.h"
#include "peer.h"

#define MIB   (1ull << 20)
#define GRAIN (2 * MIB)
#define QUOTA (64 * MIB)

static struct proxy proxy;
static char path[128];

static uint64_t reserve(struct raw *r, uint64_t bytes)
{
    struct idm_cuMemAddressReserve w = {.size = bytes};
    struct idm_cuMemAddressReserve_reply reply = {.ptr = 0};
    struct idm_reply got = raw_call(r, IDM_cuMemAddressReserve, &(struct idm_part){&w, sizeof(w)},
                                    1, &reply, sizeof(reply));
    return got.result == 0 ? reply.ptr : 0;
}

static uint64_t create(struct raw *r, uint64_t bytes)
{
    uint64_t handle = raw_handle(r, IDM_KIND_memory);
    return RAW(r, cuMemCreate, .handle = handle, .size = bytes).result == 0 ? handle : 0;
}

static struct idm_reply map(struct raw *r, uint64_t at, uint64_t bytes, uint64_t handle)
{
    return RAW(r, cuMemMap, .ptr = at, .size = bytes, .handle = handle);
}

static struct idm_reply give_access(struct raw *r, uint64_t at, uint64_t bytes)
{
    return RAW(r, cuMemSetAccess, .ptr = at, .size = bytes, .flags = 3);
}

static uint64_t used(void)
{
    return proxy_stats(&proxy, 1).memory_used;
}

/* Each is answered with its error and counted once. */
static uint64_t addresses;
static uint64_t handles;

static void no_address(struct idm_reply r)
{
    addresses++;
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, IDM_ERROR_INVALID_ADDRESS);
    EXPECT_EQ(proxy_stats(&proxy, 1).refused_addresses, addresses);
}

static void no_handle(struct idm_reply r, enum idm_error error)
{
    handles++;
    EXPECT(r.result > 0);
    EXPECT_EQ(r.error, error);
    EXPECT_EQ(proxy_stats(&proxy, 1).refused_handles, handles);
}

static void test_addresses(void)
{
    struct raw r;
    REQUIRE(raw_start(&r, path));
    uint64_t p = reserve(&r, 16 * GRAIN), plain = raw_alloc(&r, GRAIN, NULL);
    uint64_t m = create(&r, 2 * GRAIN);
    REQUIRE(p && m && plain);
    no_address(map(&r, plain, GRAIN, m));
    no_address(map(&r, p + 15 * GRAIN, 2 * GRAIN, m));
    no_address(map(&r, p - GRAIN, 2 * GRAIN, m));
    no_address(map(&r, p, UINT64_MAX, m));
    no_address(map(&r, p, 0, m));
    no_address(map(&r, 0, GRAIN, m));
    EXPECT(map(&r, p, 4 * GRAIN, m).result > 0); /* more than there is */
    EXPECT_EQ(map(&r, p, 2 * GRAIN, m).result, 0);
    no_address(map(&r, p + GRAIN, GRAIN, m));
    /* Nobody has access yet to what isn't cleared, nor where nothing is mapped. */
    EXPECT(RAW(&r, cuMemsetD8_v2, .dst = p, .n = 1).result > 0);
    no_address(give_access(&r, p, 3 * GRAIN));
    no_address(give_access(&r, p, GRAIN));
    no_address(give_access(&r, p + GRAIN, GRAIN));
    no_address(give_access(&r, plain, GRAIN));
    EXPECT(RAW(&r, cuMemSetAccess, .ptr = p, .size = 2 * GRAIN, .flags = 77).result > 0);
    EXPECT(RAW(&r, cuMemSetAccess, .ptr = p, .size = GRAIN * 2, .flags = 3, .dev = 99).result > 0);
    EXPECT(RAW(&r, cuMemSetAccess, .ptr = p, .size = GRAIN * 2, .flags = 3, .dev = -1).result > 0);
    EXPECT_EQ(give_access(&r, p, 2 * GRAIN).result, 0);
    EXPECT_EQ(RAW(&r, cuMemsetD8_v2, .dst = p, .n = 2 * GRAIN).result, 0);
    no_address(RAW(&r, cuMemsetD8_v2, .dst = p, .n = 2 * GRAIN + 1));
    no_address(RAW(&r, cuMemsetD32_v2, .dst = p, .n = UINT64_MAX / 2));
    no_address(RAW(&r, cuMemFree_v2, .ptr = p));
    no_address(RAW(&r, cuMemAddressFree, .ptr = p, .size = 16 * GRAIN));
    no_address(RAW(&r, cuMemUnmap, .ptr = p, .size = GRAIN));
    no_address(RAW(&r, cuMemUnmap, .ptr = plain, .size = GRAIN));
    no_address(RAW(&r, cuMemUnmap, .ptr = p, .size = 0));
    EXPECT_EQ(RAW(&r, cuMemUnmap, .ptr = p, .size = 2 * GRAIN).result, 0);
    no_address(RAW(&r, cuMemUnmap, .ptr = p, .size = 2 * GRAIN));
    no_address(RAW(&r, cuMemsetD8_v2, .dst = p, .n = 1));
    no_address(RAW(&r, cuMemAddressFree, .ptr = p, .size = GRAIN));
    EXPECT_EQ(RAW(&r, cuMemAddressFree, .ptr = p, .size = 16 * GRAIN).result, 0);
    no_address(map(&r, p, GRAIN, m));
    raw_stop(&r);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

static void test_handles(void)
{
    struct raw a, b;
    REQUIRE(raw_start(&a, path) && raw_start(&b, path));
    uint64_t p = reserve(&b, 4 * GRAIN), m = create(&a, GRAIN), own = create(&b, GRAIN);
    REQUIRE(p && m && own);
    no_handle(map(&b, p, GRAIN, m), IDM_ERROR_PERMISSION_DENIED);
    no_handle(RAW(&b, cuMemRelease, .handle = m), IDM_ERROR_PERMISSION_DENIED);
    uint64_t stream = raw_handle(&b, IDM_KIND_stream);
    EXPECT_EQ(RAW(&b, cuStreamCreate, .stream = stream).result, 0);
    no_handle(map(&b, p, GRAIN, stream), IDM_ERROR_INVALID_HANDLE);
    no_handle(RAW(&b, cuStreamDestroy_v2, .stream = own), IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(map(&b, p, GRAIN, own).result, 0);
    EXPECT_EQ(RAW(&b, cuMemRelease, .handle = own).result, 0);
    no_handle(RAW(&b, cuMemRelease, .handle = own), IDM_ERROR_INVALID_HANDLE);
    no_handle(map(&b, p + GRAIN, GRAIN, own), IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(used(), 2 * GRAIN); /* mapped is alive */
    EXPECT_EQ(RAW(&b, cuMemUnmap, .ptr = p, .size = GRAIN).result, 0);
    EXPECT_EQ(used(), GRAIN);
    EXPECT(RAW(&b, cuMemCreate, .handle = raw_handle(&b, IDM_KIND_memory), .size = GRAIN, .dev = 99)
               .result > 0);
    EXPECT(RAW(&b, cuMemCreate, .handle = raw_handle(&b, IDM_KIND_memory), .size = GRAIN, .dev = -1)
               .result > 0);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 1));
    EXPECT_EQ(used(), GRAIN);
    raw_stop(&a);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

/* What one has written and given back, the next one doesn't see. */
static void test_cleared(void)
{
    static uint8_t dirty[4096], clean[4096], seen[4096];
    struct raw r;
    memset(dirty, 0xa5, sizeof(dirty));
    REQUIRE(raw_start(&r, path));
    uint64_t p = reserve(&r, GRAIN);
    REQUIRE(p);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t m = create(&r, GRAIN);
        REQUIRE(m);
        EXPECT_EQ(map(&r, p, GRAIN, m).result, 0);
        EXPECT_EQ(give_access(&r, p, GRAIN).result, 0);
        EXPECT_EQ(raw_read(&r, seen, p + GRAIN - 4096, 4096).result, 0);
        EXPECT(memcmp(seen, clean, 4096) == 0);
        EXPECT_EQ(raw_write(&r, p + GRAIN - 4096, dirty, 4096).result, 0);
        EXPECT_EQ(RAW(&r, cuMemUnmap, .ptr = p, .size = GRAIN).result, 0);
        EXPECT_EQ(RAW(&r, cuMemRelease, .handle = m).result, 0);
    }
    raw_stop(&r);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

static void test_quota(void)
{
    struct raw a, b;
    struct idm_reply got;
    EXPECT(WAIT_FOR(5000, proxy_stats(&proxy, 1).clients == 0)); /* those before */
    REQUIRE(raw_start(&a, path));
    pid_t pid = (pid_t)proxy_client(&proxy, 1).pid;
    REQUIRE(raw_start(&b, path));
    uint64_t refusals = proxy_stats(&proxy, 1).quota_refusals;
    EXPECT(create(&a, 40 * MIB) != 0);
    EXPECT(create(&b, 40 * MIB) == 0);
    EXPECT(create(&b, UINT64_MAX - GRAIN + 1) == 0);
    EXPECT_EQ(raw_alloc(&b, 40 * MIB, &got), 0);
    EXPECT_EQ(got.error, IDM_ERROR_QUOTA);
    EXPECT_EQ(proxy_stats(&proxy, 1).quota_refusals, refusals + 3);
    EXPECT(create(&b, 24 * MIB) != 0);
    EXPECT_EQ(used(), QUOTA);
    EXPECT(create(&b, GRAIN) == 0);
    REQUIRE(pid > 1 && kill(pid, SIGKILL) == 0);
    EXPECT(peer_ended(&a.peer, 5000));
    EXPECT_EQ(used(), 24 * MIB);
    raw_stop(&a);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

/* --- A race for the quota ------------------------------------------------------------------ */

#define RACERS 3
#define HELD   24

struct racer {
    struct raw raw;
    pthread_t thread;
    unsigned seed;
    uint64_t ledger; /* bytes it was given and has not given back */
    unsigned given, refused, other;
    struct {
        enum { NOTHING, PLAIN, PHYSICAL, ARRAY } kind;
        uint64_t id, bytes;
    } held[HELD];
};

static struct idm_reply race_take(struct raw *r, int kind, uint64_t bytes, uint64_t *ret_id)
{
    struct idm_reply got = {.result = -1};
    if (kind == PLAIN) {
        *ret_id = raw_alloc(r, bytes, &got);
        return got;
    }
    *ret_id = raw_handle(r, kind == PHYSICAL ? IDM_KIND_memory : IDM_KIND_array);
    return kind == PHYSICAL ? RAW(r, cuMemCreate, .handle = *ret_id, .size = bytes)
                            : RAW(r, cuArray3DCreate_v2, .array = *ret_id, .width = 1024,
                                  .height = bytes / 4096, .format = 0x20, .channels = 1);
}

static struct idm_reply race_give(struct raw *r, int kind, uint64_t id)
{
    return kind == PLAIN      ? RAW(r, cuMemFree_v2, .ptr = id)
           : kind == PHYSICAL ? RAW(r, cuMemRelease, .handle = id)
                              : RAW(r, cuArrayDestroy, .array = id);
}

static void *race(void *arg)
{
    struct racer *p = arg;
    for (int i = 0; i < 600; i++) {
        unsigned at = (unsigned)rand_r(&p->seed) % HELD;
        if (p->held[at].kind) {
            if (race_give(&p->raw, p->held[at].kind, p->held[at].id).result != 0)
                p->other++;
            p->ledger -= p->held[at].bytes;
            p->held[at].kind = NOTHING;
            continue;
        }
        int kind = PLAIN + rand_r(&p->seed) % 3;
        uint64_t id, bytes = GRAIN * (1 + (unsigned)rand_r(&p->seed) % 4);
        struct idm_reply got = race_take(&p->raw, kind, bytes, &id);
        if (got.result == 0) {
            p->held[at].kind = kind;
            p->held[at].id = id;
            p->held[at].bytes = bytes;
            p->ledger += bytes;
            p->given++;
        } else if (got.error == IDM_ERROR_QUOTA) {
            p->refused++;
        } else {
            p->other++;
        }
    }
    return NULL;
}

/* Three clients of one zone want more than it has, of all kinds of memory at once: never is
 * more given than the quota, and what is counted is what they have. */
static void test_quota_race(void)
{
    static struct racer racers[RACERS];
    uint64_t sum = 0, most = 0;
    for (int i = 0; i < RACERS; i++)
        REQUIRE(raw_start(&racers[i].raw, path));
    for (int i = 0; i < RACERS; i++) {
        racers[i].seed = 7u + (unsigned)i;
        REQUIRE(pthread_create(&racers[i].thread, NULL, race, &racers[i]) == 0);
    }
    for (int i = 0; i < 200; i++) {
        uint64_t now = used();
        most = now > most ? now : most;
    }
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        EXPECT_EQ(racers[i].other, 0);
        EXPECT(racers[i].given > 10 && racers[i].refused > 10);
        sum += racers[i].ledger;
    }
    EXPECT(most <= QUOTA);
    EXPECT_EQ(used(), sum);
    for (int i = 0; i < RACERS; i++)
        raw_stop(&racers[i].raw);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

/* Reservations cost memory of nobody but have a limit. */
static void test_reservations(void)
{
    struct raw r;
    unsigned n = 0;
    REQUIRE(raw_start(&r, path));
    EXPECT(reserve(&r, 0) == 0);
    EXPECT(reserve(&r, UINT64_MAX) == 0);
    EXPECT(reserve(&r, 1ull << 46) == 0);
    EXPECT(reserve(&r, 1ull << 37) != 0);
    while (n < 5000 && reserve(&r, GRAIN))
        n++;
    EXPECT_EQ(n, 4095);
    EXPECT_EQ(used(), 0);
    raw_stop(&r);
}

/* --- Arrays, textures ------------------------------------------------------------------- */

static struct idm_reply make_array(struct raw *r, uint64_t handle, uint64_t width, uint64_t height)
{
    return RAW(r, cuArray3DCreate_v2, .array = handle, .width = width, .height = height,
               .format = 0x20, .channels = 1);
}

static struct idm_reply make_texture(struct raw *r, uint64_t id, const CUDA_RESOURCE_DESC *resource,
                                     uint32_t len)
{
    CUDA_TEXTURE_DESC texture;
    memset(&texture, 0, sizeof(texture));
    struct idm_cuTexObjectCreate w = {
        .id = id, .resource_len = len, .texture_len = sizeof(texture)};
    struct idm_part parts[3] = {{&w, sizeof(w)}, {resource, len}, {&texture, sizeof(texture)}};
    return raw_call(r, IDM_cuTexObjectCreate, parts, 3, NULL, 0);
}

static void test_arrays(void)
{
    struct raw a, b;
    REQUIRE(raw_start(&a, path) && raw_start(&b, path));
    uint64_t mine = raw_handle(&a, IDM_KIND_array), its = raw_handle(&b, IDM_KIND_array);
    uint64_t p = raw_alloc(&a, 4096, NULL);
    REQUIRE(p);
    EXPECT_EQ(make_array(&a, mine, 64, 16).result, 0);
    EXPECT_EQ(make_array(&b, its, 64, 16).result, 0);
    EXPECT_EQ(used(), 3 * 4096);
    /* More than the quota, and sizes that wrap. */
    uint64_t other = raw_handle(&a, IDM_KIND_array);
    EXPECT_EQ(make_array(&a, other, 65536, 65536).error, IDM_ERROR_QUOTA);
    EXPECT(make_array(&a, raw_handle(&a, IDM_KIND_array), UINT64_MAX, 16).result > 0);
    EXPECT(make_array(&a, raw_handle(&a, IDM_KIND_array), 16, 1ull << 40).result > 0);
    EXPECT_EQ(used(), 3 * 4096);
#define DEVICE(array_, x_, y_, ptr_, pitch_, bytes_, rows_)                                        \
    RAW(&a, array_device, .array = (array_), .x = (x_), .y = (y_), .ptr = (ptr_),                  \
        .pitch = (pitch_), .bytes = (bytes_), .rows = (rows_), .to_array = 1)
    EXPECT_EQ(DEVICE(mine, 0, 0, p, 256, 256, 16).result, 0);
    no_handle(DEVICE(its, 0, 0, p, 256, 256, 16), IDM_ERROR_PERMISSION_DENIED);
    no_address(DEVICE(mine, 0, 0, p + 1, 256, 256, 16));
    no_address(DEVICE(mine, 0, 0, p, 300, 256, 16));
    EXPECT(DEVICE(mine, 0, 0, p, 1ull << 63, 256, 3).result > 0);
    EXPECT(DEVICE(mine, 0, 0, p, 256, 0, 3).result > 0);
    EXPECT(DEVICE(mine, 0, 1, p, 256, 256, 16).result > 0); /* the driver's bounds */
    EXPECT(DEVICE(mine, UINT64_MAX - 3, 0, p, 256, 256, 1).result > 0);
    no_address(
        RAW(&a, array_arena, .array = mine, .at = UINT64_MAX - 100, .bytes = 256, .rows = 16));
    no_handle(RAW(&a, array_array, .dst = mine, .src = its, .bytes = 256, .rows = 1),
              IDM_ERROR_PERMISSION_DENIED);
    no_handle(RAW(&a, cuArrayDestroy, .array = its), IDM_ERROR_PERMISSION_DENIED);
    EXPECT_EQ(RAW(&a, cuArrayDestroy, .array = mine).result, 0);
    no_handle(RAW(&a, cuArrayDestroy, .array = mine), IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(used(), 2 * 4096);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 4096));
    raw_stop(&a);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

static void test_textures(void)
{
    struct raw a, b;
    CUDA_RESOURCE_DESC r;
    memset(&r, 0, sizeof(r));
    REQUIRE(raw_start(&a, path) && raw_start(&b, path));
    uint64_t its = raw_handle(&b, IDM_KIND_array), p = raw_alloc(&a, 4096, NULL);
    REQUIRE(p && make_array(&b, its, 64, 16).result == 0);
    r.res.array.hArray = (CUarray)(uintptr_t)its;
    no_handle(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r)),
              IDM_ERROR_PERMISSION_DENIED);
    r.resType = CU_RESOURCE_TYPE_LINEAR;
    r.res.linear.devPtr = p;
    r.res.linear.format = CU_AD_FORMAT_FLOAT;
    r.res.linear.numChannels = 1;
    r.res.linear.sizeInBytes = 4097;
    no_address(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r)));
    r.res.linear.sizeInBytes = 4096;
    uint64_t t = raw_handle(&a, IDM_KIND_texture);
    EXPECT_EQ(make_texture(&a, t, &r, sizeof(r)).result, 0);
    EXPECT_EQ(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r) - 8).error,
              IDM_ERROR_MALFORMED);
    memset(&r.res, 0, sizeof(r.res));
    r.resType = CU_RESOURCE_TYPE_PITCH2D;
    r.res.pitch2D.devPtr = p;
    r.res.pitch2D.format = CU_AD_FORMAT_FLOAT;
    r.res.pitch2D.numChannels = 1;
    r.res.pitch2D.width = 64;
    r.res.pitch2D.height = 17;
    r.res.pitch2D.pitchInBytes = 256;
    no_address(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r)));
    r.res.pitch2D.pitchInBytes = UINT64_MAX / 4;
    EXPECT(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r)).result > 0);
    r.resType = (CUresourcetype)77;
    EXPECT(make_texture(&a, raw_handle(&a, IDM_KIND_texture), &r, sizeof(r)).result > 0);
    no_handle(RAW(&b, cuTexObjectDestroy, .id = t), IDM_ERROR_PERMISSION_DENIED);
    no_handle(RAW(&a, cuSurfObjectDestroy, .id = t), IDM_ERROR_INVALID_HANDLE);
    EXPECT_EQ(RAW(&a, cuTexObjectDestroy, .id = t).result, 0);
    no_handle(RAW(&a, cuTexObjectDestroy, .id = t), IDM_ERROR_INVALID_HANDLE);
    raw_stop(&a);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

/* --- A module's variables ----------------------------------------------------------------- */

static const char small_ptx[] = ".version 7.0\n.target sm_50\n.address_size 64\n"
                                ".visible .global .align 4 .b8 room[16777216];\n"
                                ".visible .entry none()\n{\n  ret;\n}\n";
static const char large_ptx[] = ".version 7.0\n.target sm_50\n.address_size 64\n"
                                ".visible .global .align 4 .b8 room[134217728];\n"
                                ".visible .entry none()\n{\n  ret;\n}\n";

static void test_variables(void)
{
    struct raw r;
    uint64_t module, fn;
    REQUIRE(raw_start(&r, path));
    uint64_t refusals = proxy_stats(&proxy, 1).quota_refusals;
    EXPECT(raw_load(&r, small_ptx, "none", &module, &fn));
    EXPECT_EQ(used(), 16 * MIB);
    uint64_t other_module, other_fn;
    EXPECT(!raw_load(&r, large_ptx, "none", &other_module, &other_fn));
    EXPECT_EQ(proxy_stats(&proxy, 1).quota_refusals, refusals + 1);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT(raw_alloc(&r, 50 * MIB, NULL) == 0);
    EXPECT_EQ(RAW(&r, cuModuleUnload, .module = module).result, 0);
    EXPECT_EQ(used(), 0);
    EXPECT(raw_alloc(&r, 50 * MIB, NULL) != 0);
    raw_stop(&r);
    EXPECT(WAIT_FOR(5000, used() == 0));
}

/* The kernel NAME of a library of its own, made from PTX; the driver loads it when it is
 * first used. 0: no. */
static uint64_t lazy_kernel(struct raw *r, const char *ptx, const char *name)
{
    static uint8_t reply[16384];
    const uint32_t len = (uint32_t)strlen(ptx);
    const struct idm_image_part image = {.total = len, .image = 2, .data_len = len};
    const struct idm_part image_parts[] = {{&image, sizeof(image)}, {ptx, len}};
    const struct idm_cuLibraryLoadData load = {.library = raw_handle(r, IDM_KIND_library),
                                               .image = 2};
    const struct idm_part load_part = {&load, sizeof(load)};
    struct idm_cuLibraryLoadData_reply loaded = {.load_result = -1};
    const struct idm_cuLibraryGetKernel get = {.kernel = raw_handle(r, IDM_KIND_kernel),
                                               .library = load.library,
                                               .name_len = (uint32_t)strlen(name) + 1};
    const struct idm_part get_parts[] = {{&get, sizeof(get)}, {name, get.name_len}};
    if (raw_call(r, IDM_image_part, image_parts, 2, NULL, 0).result != 0 ||
        raw_call(r, IDM_cuLibraryLoadData, &load_part, 1, &loaded, sizeof(loaded)).result != 0 ||
        loaded.load_result != 0 ||
        raw_call(r, IDM_cuLibraryGetKernel, get_parts, 2, reply, sizeof(reply)).result != 0)
        return 0;
    return get.kernel;
}

static struct idm_reply launch_ex(struct raw *r, uint64_t kernel)
{
    return RAW(r, cuLaunchKernelEx, .fn = kernel, .gx = 1, .gy = 1, .gz = 1, .bx = 1, .by = 1,
               .bz = 1);
}

static struct idm_reply graph_of(struct raw *r, uint64_t kernel)
{
    const struct {
        struct idm_graph_head head;
        struct idm_graph_step step;
        struct idm_graph_kernel kernel;
    } bytes = {.head = {.n_steps = 1},
               .step = {.kind = CU_GRAPH_NODE_TYPE_KERNEL, .enabled = 1},
               .kernel = {.code = kernel, .grid = {1, 1, 1}, .block = {1, 1, 1}}};
    const struct idm_image_part image = {
        .total = sizeof(bytes), .image = 3, .data_len = sizeof(bytes)};
    const struct idm_part parts[] = {{&image, sizeof(image)}, {&bytes, sizeof(bytes)}};
    struct idm_reply got = raw_call(r, IDM_image_part, parts, 2, NULL, 0);
    if (got.result != 0)
        return got;
    return RAW(r, graph_make, .exec = raw_handle(r, IDM_KIND_graph), .image = 3);
}

/* However a kernel is first used, its library's memory is the zone's to pay. */
static void test_kernels_of_libraries(void)
{
    static struct idm_reply (*const use[])(struct raw * r, uint64_t kernel) = {launch_ex, graph_of};
    for (size_t i = 0; i < sizeof(use) / sizeof(use[0]); i++) {
        struct raw r;
        REQUIRE(raw_start(&r, path));
        const uint64_t refusals = proxy_stats(&proxy, 1).quota_refusals;
        uint64_t small = lazy_kernel(&r, small_ptx, "none");
        uint64_t large = lazy_kernel(&r, large_ptx, "none");
        REQUIRE(small && large);
        EXPECT_EQ(used(), 0);
        EXPECT_EQ(use[i](&r, small).result, 0);
        EXPECT_EQ(used(), 16 * MIB);
        EXPECT_EQ(use[i](&r, large).result, CUDA_ERROR_OUT_OF_MEMORY);
        EXPECT_EQ(proxy_stats(&proxy, 1).quota_refusals, refusals + 1);
        EXPECT_EQ(used(), 16 * MIB);
        raw_stop(&r);
        EXPECT(WAIT_FOR(5000, used() == 0));
    }
}

/* --- What the driver takes for a context --------------------------------------------------- */

static int create_context(struct raw *r, uint64_t *ret_ctx, struct idm_reply *ret_reply)
{
    *ret_ctx = raw_handle(r, IDM_KIND_context);
    *ret_reply = RAW(r, cuCtxCreate_v2, .ctx = *ret_ctx, .flags = 0, .dev = 0);
    return ret_reply->result;
}

/* With --context-memory 8Mi. */
static void test_contexts(void)
{
    struct raw a, b;
    struct idm_reply got;
    uint64_t ctx, more[8];
    unsigned n = 0;
    REQUIRE(raw_start(&a, path));
    const uint64_t primary = idm_handle(IDM_KIND_context, a.peer.ch.tag, 1, 1); /* raw_start()'s */
    EXPECT_EQ(used(), 8 * MIB);
    EXPECT_EQ(create_context(&a, &ctx, &got), 0);
    EXPECT_EQ(used(), 16 * MIB);
    EXPECT_EQ(RAW(&a, cuCtxDestroy_v2, .ctx = ctx).result, 0);
    EXPECT_EQ(used(), 8 * MIB);
    /* One that the driver can't make costs nothing. */
    EXPECT(RAW(&a, cuCtxCreate_v2, .ctx = raw_handle(&a, IDM_KIND_context), .dev = 7).result > 0);
    EXPECT_EQ(used(), 8 * MIB);
    /* It ends and begins anew. */
    EXPECT_EQ(RAW(&a, cuDevicePrimaryCtxReset_v2, .ctx = primary).result, 0);
    EXPECT_EQ(used(), 0);
    EXPECT_EQ(RAW(&a, cuDevicePrimaryCtxRetain, .ctx = primary).result, 0);
    EXPECT_EQ(used(), 8 * MIB);
    /* Eight of them are the quota, whoever of the zone has them. */
    REQUIRE(raw_start(&b, path));
    while (n < 8 && create_context(&b, &more[n], &got) == 0)
        n++;
    EXPECT_EQ(n, 6);
    EXPECT_EQ(got.result, CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(got.error, IDM_ERROR_QUOTA);
    EXPECT_EQ(used(), QUOTA);
    EXPECT(raw_alloc(&a, 512, NULL) == 0);
    raw_stop(&b);
    EXPECT(WAIT_FOR(5000, used() == 8 * MIB));
    raw_stop(&a);
    EXPECT(WAIT_FOR(5000, used() == 0));
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
        !proxy_zone(&proxy, 1, &q, path, sizeof(path)))
        return 1;
    MT_RUN(test_addresses);
    MT_RUN(test_handles);
    MT_RUN(test_cleared);
    MT_RUN(test_quota);
    MT_RUN(test_quota_race);
    MT_RUN(test_reservations);
    MT_RUN(test_arrays);
    MT_RUN(test_textures);
    MT_RUN(test_variables);
    MT_RUN(test_kernels_of_libraries);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    const char *const contexts[] = {"--context-memory", "8Mi", NULL};
    if (!proxy_start(&proxy, argc > 1 ? argv[1] : "gpu-proxy",
                     argc > 2 ? argv[2] : "libcuda-sim.so", contexts) ||
        !proxy_zone(&proxy, 1, &q, path, sizeof(path)))
        return 1;
    MT_RUN(test_contexts);
    EXPECT_EQ(proxy_stop(&proxy), 0);
    return mt_done();
}
