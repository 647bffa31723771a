/* SPDX-License-Identifier: Apache-2.0 */
/* The program's own functions in streams: in order, with what the GPU does before
 * and after them; what they may and may not. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

enum { STREAMS = 3, ROUNDS = 40, WORDS = 1000 };

static pthread_t caller;

/* What a callback saw. Said by show_told, when nothing else is said meanwhile. */
static struct {
    CUstream stream;
    CUresult status, alloc, synchronize, count;
    bool callers_thread;
} told;

static void callback(CUstream stream, CUresult status, void *data)
{
    CUdeviceptr p = 0;
    int n = 0;
    told.stream = stream;
    told.status = status;
    told.alloc = cu.cuMemAlloc_v2(&p, 16);
    told.synchronize = cu.cuCtxSynchronize();
    told.count = cu.cuDeviceGetCount(&n);
    told.callers_thread = pthread_equal(pthread_self(), caller) != 0;
    ++*(int *)data;
}

static void show_told(CUstream expected)
{
    printf("callback: its stream %d, %d; from itself: %d %d %d; the caller's thread %d\n",
           told.stream == expected, (int)told.status, (int)told.alloc, (int)told.synchronize,
           (int)told.count, told.callers_thread);
    memset(&told, 0xff, sizeof(told));
}

static void count(void *data)
{
    usleep(1000);
    __atomic_fetch_add((int *)data, 1, __ATOMIC_RELAXED); /* of two streams at once */
}

/* Between a fill, a copy out, a copy in: all in the stream's order. */
struct turn {
    uint32_t *out, *in;
    unsigned wrong;
    uint32_t expected;
};

static void take_turn(void *data)
{
    struct turn *t = data;
    for (unsigned i = 0; i < WORDS; i++)
        t->wrong += t->out[i] != t->expected;
    for (unsigned i = 0; i < WORDS; i++)
        t->in[i] = ~t->expected;
    t->expected++;
}

static void simple(void)
{
    CUstream s = NULL;
    int n = 0;
    caller = pthread_self();
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuLaunchHostFunc, s, NULL, &n);
    SHOW(cuLaunchHostFunc, (CUstream)&n, count, &n);
    SHOW(cuStreamAddCallback, s, NULL, &n, 0);
    SHOW(cuStreamAddCallback, s, callback, &n, 1);
    SHOW(cuStreamAddCallback, (CUstream)&n, callback, &n, 0);
    SHOW(cuLaunchHostFunc, s, count, &n);
    SHOW(cuStreamSynchronize, s);
    printf("%d\n", n);
    SHOW(cuStreamAddCallback, s, callback, &n, 0);
    SHOW(cuStreamSynchronize, s);
    printf("%d\n", n);
    show_told(s);
    SHOW(cuLaunchHostFunc, NULL, count, &n);
    SHOW(cuLaunchHostFunc_ptsz, NULL, count, &n);
    SHOW(cuStreamAddCallback, NULL, callback, &n, 0);
    SHOW(cuCtxSynchronize);
    printf("%d\n", n);
    show_told(NULL);
    SHOW(cuStreamAddCallback_ptsz, NULL, callback, &n, 0);
    SHOW(cuStreamSynchronize, CU_STREAM_PER_THREAD);
    printf("%d\n", n);
    show_told(NULL);
    for (int i = 0; i < 200; i++)
        cu.cuLaunchHostFunc(s, count, &n);
    /* What it was given is done. */
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuLaunchHostFunc, s, count, &n);
    SHOW(cuCtxSynchronize);
    printf("%d\n", n);
}

static void in_turns(void)
{
    static struct turn turns[STREAMS];
    CUstream s[STREAMS];
    CUdeviceptr p[STREAMS];
    for (unsigned k = 0; k < STREAMS; k++) {
        void *out, *in;
        SHOW(cuStreamCreate, &s[k], k ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT);
        SHOW(cuMemAlloc_v2, &p[k], 2 * WORDS * 4);
        SHOW(cuMemAllocHost_v2, &out, WORDS * 4);
        SHOW(cuMemAllocHost_v2, &in, WORDS * 4);
        turns[k] = (struct turn){.out = out, .in = in, .expected = 1000 * k};
    }
    unsigned bad = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < STREAMS; k++) {
            const struct turn *t = &turns[k];
            bad |= cu.cuMemsetD32Async(p[k], 1000 * k + i, WORDS, s[k]);
            bad |= cu.cuMemcpyDtoHAsync_v2(t->out, p[k], WORDS * 4, s[k]);
            bad |= cu.cuLaunchHostFunc(s[k], take_turn, &turns[k]);
            bad |= cu.cuMemcpyHtoDAsync_v2(p[k] + WORDS * 4, t->in, WORDS * 4, s[k]);
        }
    }
    printf("%u\n", bad);
    for (unsigned k = 0; k < STREAMS; k++) {
        SHOW(cuStreamSynchronize, s[k]);
        printf("%u wrong, %u\n", turns[k].wrong, turns[k].expected);
        show_device(p[k] + WORDS * 4, WORDS * 4);
        SHOW(cuMemFree_v2, p[k]);
        SHOW(cuMemFreeHost, turns[k].out);
        SHOW(cuMemFreeHost, turns[k].in);
        SHOW(cuStreamDestroy_v2, s[k]);
    }
}

static atomic_bool may_end;

static void slow(void *data)
{
    while (!may_end)
        usleep(1000);
    usleep(30000);
    *(int *)data = 1;
}

/* Calls that wait for streams while a function holds one up. */
static void held(void)
{
    CUstream s = NULL, t = NULL;
    CUevent e = NULL;
    CUcontext c = NULL;
    CUdeviceptr p = 0, q = 0;
    int done = 0, n = 0;
    unsigned bad = 0;
    SHOW(cuCtxCreate_v2, &c, 0, 0);
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &t, CU_STREAM_NON_BLOCKING);
    SHOW(cuEventCreate, &e, 0);
    SHOW(cuMemAlloc_v2, &p, 4096);
    SHOW(cuMemAlloc_v2, &q, 4096);
    SHOW(cuMemsetD8Async, p, 1, 4096, s);
    may_end = false;
    SHOW(cuLaunchHostFunc, s, slow, &done);
    SHOW(cuStreamQuery, s);
    SHOW(cuEventRecord, e, s);
    SHOW(cuStreamWaitEvent, t, e, 0);
    SHOW(cuMemcpyDtoDAsync_v2, q, p, 4096, t);
    SHOW(cuEventQuery, e);
    may_end = true;
    SHOW(cuMemFree_v2, p); /* waits, in the driver */
    SHOW(cuStreamSynchronize, t);
    printf("%d\n", done);
    show_device(q, 4096);
    SHOW(cuLaunchHostFunc, s, slow, &done);
    for (unsigned i = 0; i < 1500; i++) /* more than a stream takes at once */
        bad |= cu.cuMemsetD8Async(q, (unsigned char)i, 4096, s);
    for (unsigned i = 0; i < 20; i++)
        bad |= cu.cuLaunchHostFunc(i & 1 ? t : s, count, &n);
    SHOW(cuCtxDestroy_v2, c);
    printf("%u %d\n", bad, n);
}

void host_functions(void)
{
    simple();
    in_turns();
    held();
}

void host_functions_after_fault(void)
{
    int n = 0;
    SHOW(cuLaunchHostFunc, NULL, count, &n);
    SHOW(cuStreamAddCallback, NULL, callback, &n, 0);
    SHOW(cuCtxSynchronize);
    printf("%d\n", n);
}
