/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of one process that another opens by its handle. */
#include <pthread.h>
#include <stdatomic.h>

#include "idm/cuda_abi_share.h"
#include "idm/share_table.h"
#include "pair.h"

#define LAZY CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS

/* What one tells the other. */
struct word {
    CUipcMemHandle handle;
    uint64_t bytes;
};

static CUipcMemHandle handle_of(CUdeviceptr p)
{
    CUipcMemHandle h = {{0}};
    OK(cuIpcGetMemHandle(&h, p));
    return h;
}

static void give(CUdeviceptr p, uint64_t bytes)
{
    const struct word w = {handle_of(p), bytes};
    tell(&w, sizeof(w), -1);
}

static CUdeviceptr take(void)
{
    struct word w;
    CUdeviceptr p = 0, base = 0;
    size_t bytes = 0;
    (void)hear(&w, sizeof(w));
    OK(cuIpcOpenMemHandle_v2(&p, w.handle, LAZY));
    OK(cuMemGetAddressRange(&base, &bytes, p + w.bytes - 1));
    EXPECT_EQ(base, p);
    EXPECT_EQ(bytes, w.bytes);
    return p;
}

/* Is the page at P one of the heap's memfile? */
static bool is_shared(CUdeviceptr p)
{
    char text[512];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && !found && fgets(text, sizeof(text), f)) {
        unsigned long long from = 0, to = 0;
        found = sscanf(text, "%llx-%llx", &from, &to) == 2 && p >= from && p < to &&
                strstr(text, "simulated-gpu");
    }
    if (f)
        fclose(f);
    return found;
}

static bool is_all(CUdeviceptr p, uint64_t bytes, uint32_t value)
{
    uint32_t *copy = malloc(bytes);
    OK(cuMemcpyDtoH(copy, p, bytes));
    uint64_t i = 0;
    while (i < bytes / 4 && copy[i] == value)
        i++;
    free(copy);
    return i == bytes / 4;
}

static CUdeviceptr filled(uint64_t bytes, uint32_t value)
{
    CUdeviceptr p = 0;
    OK(cuMemAlloc(&p, bytes));
    OK(cuMemsetD32(p, value, bytes / 4));
    OK(cuCtxSynchronize());
    return p;
}

/* --- There and back ------------------------------------------------------------------ */

static struct pair both_ways;

static void both_ways_other(void)
{
    CUdeviceptr b = take(), big = take();
    EXPECT(is_all(b, MIB / 2, 2));
    EXPECT(is_all(big, 5 * MIB, 3));
    OK(poke(module, b + 8));
    OK(cuMemsetD32(big + 5 * MIB - 4, 33, 1));
    OK(cuCtxSynchronize());
    nudge();
    await();
    EXPECT_EQ(word_at(b + 12), 12);
    FAILS(INVALID_VALUE, cuMemFree(b));
    CUipcMemHandle h;
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, b));
    OK(cuIpcCloseMemHandle(big));
    CUdeviceptr own = filled(64, 5);
    give(own, 64);
    await();
    EXPECT_EQ(word_at(own), 1);
    nudge(); /* the other one frees, and we still have it */
    await();
    EXPECT(is_all(b, MIB / 2, 0));
    OK(poke(module, b));
    OK(cuIpcCloseMemHandle(b));
    FAILS(INVALID_VALUE, cuIpcCloseMemHandle(b));
    FAILS(ILLEGAL_ADDRESS, poke(module, b));
    die();
}

static void there_and_back(void)
{
    pair_start(&both_ways);
    /* In one chunk, but for the big one's end. */
    CUdeviceptr a = filled(MIB / 4, 1), b = filled(MIB / 2, 2), c = filled(64, 4);
    CUdeviceptr big = filled(5 * MIB, 3);
    EXPECT(!is_shared(a));
    CUipcMemHandle whole = handle_of(b), inner = handle_of(b + 4000);
    EXPECT_EQ(memcmp(&whole, &inner, sizeof(whole)), 0);
    EXPECT(is_shared(a));
    EXPECT(!is_shared(big + 5 * MIB - 1));
    give(b, MIB / 2);
    give(big, 5 * MIB);
    EXPECT(is_shared(big + 5 * MIB - 1));
    await();
    EXPECT(is_all(a, MIB / 4, 1));
    EXPECT(is_all(c, 64, 4));
    EXPECT_EQ(word_at(b + 8), 1);
    EXPECT_EQ(word_at(b + 12), 2);
    EXPECT_EQ(word_at(big + 5 * MIB - 4), 33);
    OK(cuMemsetD32(b + 12, 12, 1));
    nudge();
    CUdeviceptr theirs = take();
    EXPECT_EQ(word_at(theirs), 5);
    OK(poke(module, theirs));
    nudge();
    await();
    OK(cuMemFree(b));
    nudge();
    pair_end(&both_ways, true);
    EXPECT_EQ(word_at(theirs), 1);
    OK(cuIpcCloseMemHandle(theirs));
    /* A neighbour's chunk stays shared, and what was freed in it is zero. */
    EXPECT(is_shared(c));
    CUdeviceptr again = 0;
    OK(cuMemAlloc(&again, MIB / 2));
    EXPECT_EQ(again, b);
    OK(cuMemFree(again));
    OK(cuMemFree(big));
    OK(cuMemFree(a));
    OK(cuMemFree(c));
}

/* A chunk that nobody uses is private again, and zero to the last byte. */
static void private_again(void)
{
    CUdeviceptr p = filled(6 * MIB, 9), q = 0;
    (void)handle_of(p);
    EXPECT(is_shared(p) && is_shared(p + 6 * MIB - 1));
    OK(cuMemsetD32(p, 8, 6 * MIB / 4));
    OK(cuMemFree(p));
    OK(cuMemAlloc(&q, 6 * MIB));
    EXPECT_EQ(p, q);
    EXPECT(!is_shared(q + 4 * MIB));
    EXPECT(is_all(q, 6 * MIB, 0));
    OK(cuMemsetD32(q, 7, 100));
    (void)handle_of(q); /* the same place of the file, once more */
    EXPECT(is_shared(q + 4 * MIB));
    EXPECT(is_all(q, 400, 7));
    EXPECT(is_all(q + 400, 6 * MIB - 400, 0));
    OK(cuMemFree(q));
}

/* --- Openings ---------------------------------------------------------------------------- */

static struct pair openings;

static CUcontext on_device(int device, CUmodule *ret_module)
{
    CUcontext c = NULL;
    OK(cuCtxCreate(&c, 0, device));
    OK(cuModuleLoadData(ret_module, kernels));
    return c;
}

static void openings_other(void)
{
    struct word w;
    CUdeviceptr p = 0, same = 0, far = 0;
    CUmodule m = NULL, of_b = NULL;
    int ordinal = 9;
    (void)hear(&w, sizeof(w));
    OK(cuIpcOpenMemHandle_v2(&p, w.handle, 0));
    OK(cuIpcOpenMemHandle_v2(&same, w.handle, LAZY));
    EXPECT_EQ(p, same);
    OK(cuIpcCloseMemHandle(p));
    FAILS(INVALID_VALUE, cuIpcCloseMemHandle(p + 4));
    EXPECT_EQ(word_at(p), 6);
    OK(cuIpcCloseMemHandle(p));
    FAILS(INVALID_VALUE, cuIpcCloseMemHandle(p));
    FAILS(INVALID_VALUE, cuIpcOpenMemHandle_v2(&p, w.handle, 2));
    FAILS(INVALID_VALUE, cuIpcOpenMemHandle_v2(NULL, w.handle, LAZY));
    /* Another device's context has to say so; the memory is the device's it was. */
    CUcontext a = on_device(1, &m);
    FAILS(INVALID_DEVICE, cuIpcOpenMemHandle_v2(&far, w.handle, 0));
    OK(cuIpcOpenMemHandle_v2(&far, w.handle, LAZY));
    OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, far));
    EXPECT_EQ(ordinal, 0);
    OK(poke(m, far));
    /* It is that context's, as its own memory is: its peers reach it, others don't. */
    CUcontext b = on_device(0, &of_b);
    OK(cuCtxEnablePeerAccess(a, 0));
    OK(poke(of_b, far + 4));
    OK(cuCtxDestroy(b));
    OK(cuCtxSetCurrent(a));
    OK(cuIpcOpenMemHandle_v2(&same, w.handle, LAZY));
    EXPECT_EQ(far, same);
    OK(cuCtxDestroy(a)); /* closes them */
    OK(cuCtxSetCurrent(context));
    FAILS(INVALID_VALUE, cuIpcCloseMemHandle(far));
    FAILS(ILLEGAL_ADDRESS, poke(module, far));
}

static void openings_count(void)
{
    pair_start(&openings);
    CUdeviceptr p = filled(512, 6), q = 0;
    CUipcMemHandle h = handle_of(p);
    FAILS(INVALID_CONTEXT, cuIpcOpenMemHandle_v2(&q, h, 0));
    FAILS(INVALID_VALUE, cuIpcCloseMemHandle(p));
    give(p, 512);
    pair_end(&openings, false);
    EXPECT_EQ(word_at(p), 1);
    EXPECT_EQ(word_at(p + 4), 1);
    OK(cuMemFree(p));
}

/* --- Garbage ----------------------------------------------------------------------------- */

static struct pair garbage;

static void garbage_other(void)
{
    struct word w;
    CUdeviceptr p = 0;
    unsigned opened = 0;
    CUipcMemHandle none = {{0}};
    FAILS(INVALID_HANDLE, cuIpcOpenMemHandle_v2(&p, none, 0));
    memset(&none, 0xff, sizeof(none));
    FAILS(INVALID_HANDLE, cuIpcOpenMemHandle_v2(&p, none, 0));
    (void)hear(&w, sizeof(w));
    for (unsigned i = 0; i < 8 * sizeof(w.handle); i++) {
        CUipcMemHandle h = w.handle;
        h.reserved[i / 8] = (char)(h.reserved[i / 8] ^ 1 << i % 8);
        if (cuIpcOpenMemHandle_v2(&p, h, LAZY) != CUDA_SUCCESS)
            continue;
        (void)word_at(p);
        OK(cuIpcCloseMemHandle(p));
        opened++;
    }
    /* Other places of the same memory are within what we were given; the rest isn't. */
    EXPECT(opened < 8 * 24);
    OK(cuIpcOpenMemHandle_v2(&p, w.handle, 0));
    EXPECT_EQ(word_at(p), 3);
}

static void wrong_handles(void)
{
    CUipcMemHandle h;
    CUdeviceptr p = filled(3 * MIB, 3), variable = 0;
    size_t bytes = 0;
    void *host = NULL;
    pair_start(&garbage);
    give(p, 3 * MIB);
    pair_end(&garbage, false);
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(NULL, p));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, 0));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, (uintptr_t)&h));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, p + 3 * MIB));
    OK(cuModuleGetGlobal_v2(&variable, &bytes, module, "table"));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, variable));
    OK(cuMemHostAlloc(&host, 64, 0));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, (uintptr_t)host));
    OK(cuMemFreeHost(host));
    OK(cuMemFree(p));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, p));
    OK(cuMemAllocManaged(&p, 64, CU_MEM_ATTACH_GLOBAL));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, p));
    OK(cuMemFree(p));
    OK(cuMemAllocAsync(&p, 64, NULL));
    FAILS(INVALID_VALUE, cuIpcGetMemHandle(&h, p));
    OK(cuMemFreeAsync(p, NULL));
    OK(cuCtxSynchronize());
}

/* --- The descriptor beside the handle ------------------------------------------------------- */

static struct pair beside;

static void beside_other(void)
{
    struct word w;
    CUdeviceptr p = 0;
    int fd = hear(&w, sizeof(w));
    EXPECT_EQ(share_table()->descriptor(&w.handle), -1);
    share_table()->replace(&w.handle, -1);
    FAILS(INVALID_HANDLE, cuIpcOpenMemHandle_v2(&p, w.handle, 0));
    share_table()->replace(&w.handle, STDERR_FILENO);
    FAILS(INVALID_HANDLE, cuIpcOpenMemHandle_v2(&p, w.handle, 0));
    share_table()->replace(&w.handle, fd);
    OK(cuIpcOpenMemHandle_v2(&p, w.handle, 0));
    EXPECT_EQ(close(fd), 0);
    EXPECT_EQ(word_at(p), 4);
    die();
}

static void descriptor_beside(void)
{
    const struct share_table *t = share_table();
    EXPECT_EQ(t->bytes, sizeof(*t));
    CUdeviceptr p = filled(64, 4), kept = filled(64, 4);
    struct word w = {handle_of(p), 64};
    (void)handle_of(kept);
    int fd = t->descriptor(&w.handle);
    EXPECT(fd >= 0);
    pair_start(&beside);
    tell(&w, sizeof(w), fd);
    pair_end(&beside, true);
    CUipcMemHandle none = {{0}};
    EXPECT_EQ(t->descriptor(&none), -1);
    OK(cuMemFree(p));
    EXPECT_EQ(t->descriptor(&w.handle), -1);
    OK(cuMemAlloc(&p, 64)); /* at the same place */
    EXPECT_EQ(t->descriptor(&w.handle), -1);
    OK(cuMemFree(p));
    OK(cuMemFree(kept));
}

/* --- Sharing while all goes on ---------------------------------------------------------------- */

static CUdeviceptr counter, copied;
static atomic_bool stop;

static void *count_on(void *arg)
{
    unsigned *launched = arg;
    CUstream s = NULL;
    CUdeviceptr out = counter + 4;
    void *params[] = {&counter, &out};
    OK(cuCtxSetCurrent(context));
    CUfunction f = function("stamp");
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    for (; !stop; ++*launched)
        OK(launch(f, s, params));
    OK(cuStreamDestroy(s));
    return NULL;
}

static void *copy_on(void *arg)
{
    uint32_t words[1024], back[1024];
    OK(cuCtxSetCurrent(context));
    for (uint32_t n = 1; !stop; n++) {
        for (unsigned i = 0; i < 1024; i++)
            words[i] = n * i;
        OK(cuMemcpyHtoD(copied, words, sizeof(words)));
        OK(cuMemcpyDtoH(back, copied, sizeof(back)));
        EXPECT_EQ(memcmp(words, back, sizeof(words)), 0);
    }
    return arg;
}

/* Memory that kernels and copies are busy with moves into a file under them. */
static void busy(void)
{
    for (unsigned round = 0; round < 10; round++) {
        pthread_t counts, copies;
        unsigned launched = 0;
        stop = false;
        CUdeviceptr fresh = filled(8 * MIB, 0); /* has chunks of its own */
        counter = fresh + 4 * MIB;
        copied = fresh + 4 * MIB + 4096;
        EXPECT_EQ(pthread_create(&counts, NULL, count_on, &launched), 0);
        EXPECT_EQ(pthread_create(&copies, NULL, copy_on, NULL), 0);
        usleep(3000);
        EXPECT(!is_shared(copied));
        (void)handle_of(fresh);
        EXPECT(is_shared(copied));
        usleep(1000);
        stop = true;
        pthread_join(counts, NULL);
        pthread_join(copies, NULL);
        OK(cuCtxSynchronize());
        EXPECT_EQ(word_at(counter), launched);
        OK(cuMemFree(fresh));
    }
}

static void *get_handle(void *p)
{
    OK(cuCtxSetCurrent(context));
    (void)handle_of(*(const CUdeviceptr *)p);
    return NULL;
}

/* A kernel that waits for a later one's word doesn't hold it up for ever, nor does a stream that
 * waits for the program's. */
static void waiting(void)
{
    pthread_t gets;
    CUstream s[3];
    CUdeviceptr word = filled(4, 0), other = filled(8 * MIB, 0), fresh = filled(8 * MIB, 0);
    CUdeviceptr flag = fresh + 4 * MIB;
    void *params[] = {&flag};
    for (unsigned i = 0; i < 3; i++)
        OK(cuStreamCreate(&s[i], CU_STREAM_NON_BLOCKING));
    OK(cuStreamWaitValue32(s[2], word, 1, CU_STREAM_WAIT_VALUE_EQ));
    EXPECT_EQ(pthread_create(&gets, NULL, get_handle, &other), 0);
    pthread_join(gets, NULL);
    OK(launch(function("hold"), s[0], params));
    usleep(5000); /* it runs, most likely */
    EXPECT_EQ(pthread_create(&gets, NULL, get_handle, &fresh), 0);
    usleep(30000);
    OK(launch(function("poke"), s[1], params));
    pthread_join(gets, NULL);
    EXPECT(is_shared(flag));
    EXPECT_EQ(cuStreamQuery(s[2]), CUDA_ERROR_NOT_READY);
    OK(cuStreamWriteValue32(s[0], word, 1, 0));
    OK(cuCtxSynchronize());
    for (unsigned i = 0; i < 3; i++)
        OK(cuStreamDestroy(s[i]));
    OK(cuMemFree(fresh));
    OK(cuMemFree(word));
    OK(cuMemFree(other));
}

int main(void)
{
    struct pair *pairs[] = {&both_ways, &openings, &garbage, &beside};
    void (*const bodies[])(void) = {both_ways_other, openings_other, garbage_other, beside_other};
    setenv("GI_SIM_DEVICES", "2", 1);
    for (unsigned i = 0; i < 4; i++) {
        pairs[i]->body = bodies[i];
        pair_fork(pairs[i]);
    }
    if (set_up() < 0)
        return 1;
    MT_RUN(there_and_back);
    MT_RUN(private_again);
    MT_RUN(openings_count);
    MT_RUN(wrong_handles);
    MT_RUN(descriptor_beside);
    MT_RUN(busy);
    MT_RUN(waiting);
    cuCtxDestroy(context);
    return mt_done();
}
