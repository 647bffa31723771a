/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events of the simulated driver; faults. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "test_kernels.h"

static CUfunction hold, stamp;
static uint32_t *flag; /* pinned: what `hold` waits for */
static CUdeviceptr counter, stamps;

static void start_hold(CUstream s)
{
    void *params[] = {&flag};
    __atomic_store_n(flag, 0, __ATOMIC_SEQ_CST);
    OK(launch(hold, s, params));
}

static void let_go(void)
{
    __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);
}

static void put_stamp(CUstream s, unsigned i)
{
    CUdeviceptr out = stamps + 4ull * i;
    void *params[] = {&counter, &out};
    OK(launch(stamp, s, params));
    out = 0; /* parameters were copied */
}

static void clear_stamps(void)
{
    OK(cuMemsetD32(counter, 0, 1));
    OK(cuMemsetD32(stamps, 0xffffffff, 64));
    OK(cuCtxSynchronize());
}

static uint32_t stamp_of(unsigned i)
{
    uint32_t v = 0;
    OK(cuMemcpyDtoH(&v, stamps + 4ull * i, 4));
    return v;
}

static void nap(unsigned ms)
{
    usleep(ms * 1000);
}

static void streams(void)
{
    CUstream s = NULL;
    CUcontext c = NULL;
    unsigned flags = 9;
    int priority = 9;
    FAILS(INVALID_VALUE, cuStreamCreate(&s, 2));
    OK(cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, -100));
    OK(cuStreamGetFlags(s, &flags));
    EXPECT_EQ(flags, CU_STREAM_NON_BLOCKING);
    OK(cuStreamGetPriority(s, &priority));
    EXPECT_EQ(priority, -5);
    OK(cuStreamGetCtx(s, &c));
    EXPECT(c == context);
    OK(cuStreamQuery(s));
    start_hold(s);
    FAILS(NOT_READY, cuStreamQuery(s));
    OK(cuStreamQuery(NULL)); /* it doesn't synchronize */
    OK(cuStreamSynchronize(CU_STREAM_LEGACY));
    let_go();
    OK(cuStreamSynchronize(s));
    OK(cuStreamQuery(s));
    OK(cuStreamDestroy(s));
    FAILS(INVALID_HANDLE, cuStreamDestroy(s));
    FAILS(INVALID_HANDLE, cuStreamQuery(s));
    FAILS(INVALID_HANDLE, cuStreamDestroy(NULL));
    FAILS(INVALID_HANDLE, cuStreamDestroy(CU_STREAM_PER_THREAD));
}

/* In one stream in order; blocking streams and the legacy one wait for each other. */
static void order(void)
{
    CUstream a = NULL, b = NULL, other = NULL;
    OK(cuStreamCreate(&a, 0));
    OK(cuStreamCreate(&b, 0));
    OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    clear_stamps();
    start_hold(a);
    put_stamp(a, 0);
    put_stamp(NULL, 1);                 /* after a's */
    put_stamp(b, 2);                    /* after the legacy one */
    put_stamp(CU_STREAM_PER_THREAD, 3); /* so is this */
    FAILS(NOT_READY, cuStreamQuery(b));
    FAILS(NOT_READY, cuStreamQuery(NULL));
    put_stamp(other, 4);
    OK(cuStreamSynchronize(other)); /* waits for none of them */
    nap(20);
    FAILS(NOT_READY, cuStreamQuery(a));
    let_go();
    OK(cuCtxSynchronize());
    EXPECT_EQ(stamp_of(4), 0);
    EXPECT_EQ(stamp_of(0), 1);
    EXPECT_EQ(stamp_of(1), 2);
    EXPECT_EQ(stamp_of(2) + stamp_of(3), 3 + 4);
    OK(cuStreamDestroy(a));
    OK(cuStreamDestroy(b));
    OK(cuStreamDestroy(other));
}

/* Kernels of different streams run side by side; one may wait for another's doing. */
static void side_by_side(void)
{
    CUstream a = NULL, b = NULL;
    CUdeviceptr f = (CUdeviceptr)(uintptr_t)flag;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    start_hold(a);
    start_hold(b);
    void *params[] = {&f};
    OK(launch(function("poke"), CU_STREAM_PER_THREAD, params));
    OK(cuCtxSynchronize());
    OK(cuStreamDestroy(a));
    OK(cuStreamDestroy(b));
}

static void asynchronous_copies(void)
{
    CUstream s = NULL;
    CUdeviceptr p = 0;
    uint32_t word = 1, got = 0, *pinned = NULL;
    OK(cuMemAlloc(&p, 64));
    OK(cuMemHostAlloc((void **)&pinned, 4096, 0));
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    start_hold(s);
    OK(cuMemcpyHtoDAsync(p, &word, 4, s)); /* pageable: put aside */
    word = 2;
    pinned[0] = 3;
    OK(cuMemcpyHtoDAsync(p + 4, pinned, 4, s)); /* pinned: read when its turn comes */
    pinned[0] = 4;
    OK(cuMemsetD8Async(p + 8, 5, 4, s));
    OK(cuMemcpyDtoDAsync(p + 12, p, 4, s));
    OK(cuMemcpyDtoHAsync(pinned + 1, p, 16, s));
    FAILS(NOT_READY, cuStreamQuery(s));
    let_go();
    OK(cuMemcpyDtoHAsync(&got, p, 4, s)); /* pageable: done on return */
    EXPECT_EQ(got, 1);
    EXPECT_EQ(pinned[1], 1);
    EXPECT_EQ(pinned[2], 4);
    EXPECT_EQ(pinned[3], 0x05050505);
    EXPECT_EQ(pinned[4], 1);
    OK(cuStreamDestroy(s));
    OK(cuMemFreeHost(pinned));
    OK(cuMemFree(p));
}

static void events(void)
{
    CUstream s = NULL, t = NULL;
    CUevent a = NULL, b = NULL, untimed = NULL;
    float ms = -1;
    FAILS(INVALID_VALUE, cuEventCreate(&a, 0x80));
    FAILS(INVALID_VALUE, cuEventCreate(&a, CU_EVENT_INTERPROCESS));
    OK(cuEventCreate(&a, 0));
    OK(cuEventCreate(&b, CU_EVENT_BLOCKING_SYNC));
    OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
    OK(cuEventQuery(a)); /* never recorded */
    OK(cuEventSynchronize(a));
    FAILS(INVALID_HANDLE, cuEventElapsedTime(&ms, a, b));
    OK(cuStreamWaitEvent(t, a, 0));
    OK(cuStreamQuery(t));
    clear_stamps();
    OK(cuEventRecord(a, s));
    start_hold(s);
    put_stamp(s, 0);
    OK(cuEventRecord(b, s));
    OK(cuStreamWaitEvent(t, b, 0));
    OK(cuEventRecord(untimed, s)); /* a later recording changes nothing for t */
    put_stamp(t, 1);
    FAILS(NOT_READY, cuEventQuery(b));
    FAILS(NOT_READY, cuEventElapsedTime(&ms, a, b));
    FAILS(INVALID_HANDLE, cuEventElapsedTime(&ms, a, untimed));
    FAILS(NOT_READY, cuStreamQuery(t));
    nap(20);
    let_go();
    OK(cuEventSynchronize(b));
    OK(cuEventQuery(b));
    OK(cuEventElapsedTime(&ms, a, b));
    EXPECT(ms >= 19 && ms < 60000);
    OK(cuStreamSynchronize(t));
    EXPECT_EQ(stamp_of(0), 0);
    EXPECT_EQ(stamp_of(1), 1);
    /* Recorded anew: what waits for the first recording isn't held up. */
    OK(cuEventRecord(b, t));
    OK(cuStreamWaitEvent(s, b, 0));
    start_hold(t);
    OK(cuEventRecord(b, t));
    OK(cuStreamSynchronize(s));
    FAILS(NOT_READY, cuEventQuery(b));
    OK(cuEventDestroy(b)); /* while pending */
    let_go();
    OK(cuCtxSynchronize());
    FAILS(INVALID_HANDLE, cuEventQuery(b));
    FAILS(INVALID_VALUE, cuStreamWaitEvent(s, a, 7));
    FAILS(INVALID_HANDLE, cuEventRecord(a, (CUstream)0x1000));
    OK(cuEventDestroy(a));
    OK(cuEventDestroy(untimed));
    OK(cuStreamDestroy(s));
    OK(cuStreamDestroy(t));
}

/* A full queue makes its producer wait, and nobody else. */
static void long_queue(void)
{
    CUstream s = NULL;
    enum { N = 3000 };
    uint32_t n = 0;
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    clear_stamps();
    for (unsigned i = 0; i < N; i++)
        put_stamp(s, i % 64);
    OK(cuStreamDestroy(s)); /* its work is still done */
    OK(cuCtxSynchronize());
    OK(cuMemcpyDtoH(&n, counter, 4));
    EXPECT_EQ(n, N);
}

/* Freeing waits for the kernels that may use the memory. */
static void free_waits(void)
{
    CUdeviceptr p = 0;
    CUstream s = NULL;
    OK(cuMemAlloc(&p, 4));
    OK(cuMemsetD32(p, 1, 1)); /* nothing to wait for, but it reads */
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    void *params[] = {&p};
    for (unsigned i = 0; i < 50; i++)
        OK(launch(hold, s, params));
    OK(cuMemFree(p));
    OK(cuCtxSynchronize());
    OK(cuStreamDestroy(s));
}

/* A fault stays with its context, and ends with it. */
static void sticky_errors(void)
{
    CUcontext c = NULL;
    CUmodule m = NULL, mine = module;
    CUfunction poke = NULL;
    CUdeviceptr p = 0, bad = 0;
    CUevent e = NULL;
    CUstream s = NULL;
    OK(cuMemAlloc(&bad, 4)); /* another context's */
    OK(cuCtxCreate(&c, 0, 0));
    OK(cuModuleLoadData(&m, kernels));
    OK(cuModuleGetFunction(&poke, m, "poke"));
    OK(cuMemAlloc(&p, 4));
    OK(cuEventCreate(&e, 0));
    OK(cuStreamCreate(&s, 0));
    void *params[] = {&bad};
    OK(launch(poke, s, params));
    FAILS(ILLEGAL_ADDRESS, cuStreamSynchronize(s));
    FAILS(ILLEGAL_ADDRESS, cuCtxSynchronize());
    FAILS(ILLEGAL_ADDRESS, cuMemFree(p));
    FAILS(ILLEGAL_ADDRESS, cuEventRecord(e, s));
    FAILS(ILLEGAL_ADDRESS, cuEventQuery(e));
    FAILS(ILLEGAL_ADDRESS, launch(poke, NULL, params));
    FAILS(ILLEGAL_ADDRESS, cuModuleUnload(m));
    OK(cuCtxDestroy(c));
    /* This one knows nothing of it. */
    module = mine;
    OK(cuCtxSynchronize());
    OK(cuMemFree(bad));
}

static void destruction_waits(void)
{
    CUcontext c = NULL;
    CUmodule m = NULL;
    CUfunction f = NULL;
    uint32_t *host = NULL, zero = 0;
    CUdeviceptr d = 0;
    OK(cuMemHostAlloc((void **)&host, 4096, 0)); /* this context's, and good in the other */
    OK(cuCtxCreate(&c, 0, 0));
    OK(cuModuleLoadData(&m, kernels));
    OK(cuModuleGetFunction(&f, m, "stamp"));
    OK(cuMemAlloc(&d, 4));
    OK(cuMemcpyHtoD(d, &zero, 4));
    for (unsigned i = 0; i < 200; i++) {
        CUdeviceptr out = (CUdeviceptr)(uintptr_t)&host[i];
        void *params[] = {&d, &out};
        OK(launch(f, i % 2 ? NULL : CU_STREAM_PER_THREAD, params));
    }
    OK(cuCtxDestroy(c));
    for (unsigned i = 0; i < 200; i++)
        EXPECT_EQ(host[i], i);
    FAILS(INVALID_HANDLE, launch(f, NULL, NULL));
    OK(cuMemFreeHost(host));
}

/*
 * Threads that use each other's streams and events at random: in every stream
 * each fill is followed by the copy that was submitted after it.
 */
enum { STORM_THREADS = 4, STORM_STEPS = 400 };

static struct storm {
    CUstream stream;
    CUevent event;
    CUdeviceptr word, trail;
} storm[STORM_THREADS];

static void *storm_thread(void *data)
{
    const struct storm *mine = data;
    uint32_t random = (uint32_t)(mine - storm) + 1;
    uint64_t failures = cuCtxSetCurrent(context) != CUDA_SUCCESS;
    for (uint32_t i = 0; i < STORM_STEPS; i++) {
        random = random * 1664525 + 1013904223;
        const struct storm *other = &storm[(random >> 8) % STORM_THREADS];
        failures += cuMemsetD32Async(mine->word, i, 1, mine->stream) != CUDA_SUCCESS;
        if ((random >> 12) % 4 == 0)
            failures += cuEventRecord(mine->event, mine->stream) != CUDA_SUCCESS;
        if ((random >> 14) % 4 == 0)
            failures += cuStreamWaitEvent(mine->stream, other->event, 0) != CUDA_SUCCESS;
        if ((random >> 16) % 32 == 0)
            failures += cuEventSynchronize(other->event) != CUDA_SUCCESS;
        if ((random >> 21) % 64 == 0)
            failures += cuStreamSynchronize(NULL) != CUDA_SUCCESS;
        put_stamp((random >> 27) % 4 ? mine->stream : NULL, 0);
        failures +=
            cuMemcpyDtoDAsync(mine->trail + 4ull * i, mine->word, 4, mine->stream) != CUDA_SUCCESS;
    }
    return (void *)(uintptr_t)failures;
}

static void threads(void)
{
    pthread_t t[STORM_THREADS];
    uint32_t got[STORM_STEPS], n = 0;
    clear_stamps();
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        OK(cuStreamCreate(&storm[i].stream, i % 2 ? CU_STREAM_NON_BLOCKING : 0));
        OK(cuEventCreate(&storm[i].event, 0));
        OK(cuMemAlloc(&storm[i].word, 4));
        OK(cuMemAlloc(&storm[i].trail, sizeof(got)));
    }
    for (unsigned i = 0; i < STORM_THREADS; i++)
        REQUIRE(pthread_create(&t[i], NULL, storm_thread, &storm[i]) == 0);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        void *failures = NULL;
        pthread_join(t[i], &failures);
        EXPECT_EQ((uintptr_t)failures, 0);
    }
    OK(cuCtxSynchronize());
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        OK(cuMemcpyDtoH(got, storm[i].trail, sizeof(got)));
        for (uint32_t k = 0; k < STORM_STEPS; k++)
            EXPECT_EQ(got[k], k);
        OK(cuStreamDestroy(storm[i].stream));
        OK(cuEventDestroy(storm[i].event));
        OK(cuMemFree(storm[i].word));
        OK(cuMemFree(storm[i].trail));
    }
    OK(cuMemcpyDtoH(&n, counter, 4));
    EXPECT_EQ(n, STORM_THREADS * STORM_STEPS);
}

int main(void)
{
    if (set_up() < 0)
        return 1;
    hold = function("hold");
    stamp = function("stamp");
    if (cuMemHostAlloc((void **)&flag, 4096, 0) != CUDA_SUCCESS ||
        cuMemAlloc(&counter, 4) != CUDA_SUCCESS || cuMemAlloc(&stamps, 256) != CUDA_SUCCESS)
        return 1;
    MT_RUN(streams);
    MT_RUN(order);
    MT_RUN(side_by_side);
    MT_RUN(asynchronous_copies);
    MT_RUN(events);
    MT_RUN(long_queue);
    MT_RUN(free_waits);
    MT_RUN(threads);
    MT_RUN(sticky_errors);
    MT_RUN(destruction_waits);
    cuCtxDestroy(context);
    return mt_done();
}
