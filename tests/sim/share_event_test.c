/* SPDX-License-Identifier: Apache-2.0 */
/* Events of one process that another waits for, and records. */
#include <time.h>

#include "idm/cuda_abi_share.h"
#include "idm/share_table.h"
#include "pair.h"

#define FLAGS (CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING)

static CUevent event_new(CUipcEventHandle *ret_handle)
{
    CUevent e = NULL;
    OK(cuEventCreate(&e, FLAGS));
    OK(cuIpcGetEventHandle(ret_handle, e));
    return e;
}

/* An event of ours for the other process. */
static CUevent give(void)
{
    CUipcEventHandle h;
    CUevent e = event_new(&h);
    tell(&h, sizeof(h), -1);
    return e;
}

static CUevent take(void)
{
    CUipcEventHandle h = {{0}};
    CUevent e = NULL;
    (void)hear(&h, sizeof(h));
    OK(cuIpcOpenEventHandle(&e, h));
    return e;
}

static CUstream stream_new(void)
{
    CUstream s = NULL;
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    return s;
}

static CUdeviceptr word_new(void)
{
    CUdeviceptr p = 0;
    OK(cuMemAlloc(&p, 4));
    OK(cuMemsetD32(p, 0, 1));
    OK(cuCtxSynchronize());
    return p;
}

static void start(const char *kernel, CUstream s, CUdeviceptr p)
{
    void *params[] = {&p};
    OK(launch(function(kernel), s, params));
}

/* One word, whatever other streams do. */
static void set(CUdeviceptr p)
{
    CUstream s = stream_new();
    start("poke", s, p);
    OK(cuStreamSynchronize(s));
    OK(cuStreamDestroy(s));
}

static uint32_t now_at(CUdeviceptr p)
{
    uint32_t word = 77;
    CUstream s = stream_new();
    OK(cuMemcpyDtoHAsync(&word, p, 4, s));
    OK(cuStreamSynchronize(s));
    OK(cuStreamDestroy(s));
    return word;
}

/* --- There and back -------------------------------------------------------------------- */

/* Who waits for what the other one records. STOPS: the other one's kernel ends when told. */
static void waits(CUevent e)
{
    CUstream s = stream_new(), other = stream_new();
    CUdeviceptr p = word_new(), q = word_new();
    await(); /* recorded, and held up */
    FAILS(NOT_READY, cuEventQuery(e));
    OK(cuStreamWaitEvent(s, e, 0));
    start("poke", s, p);
    start("poke", other, q);
    OK(cuStreamSynchronize(other));
    EXPECT_EQ(now_at(q), 1);
    usleep(20000);
    FAILS(NOT_READY, cuStreamQuery(s));
    EXPECT_EQ(now_at(p), 0);
    nudge(); /* go on */
    OK(cuStreamSynchronize(s));
    EXPECT_EQ(now_at(p), 1);
    OK(cuEventSynchronize(e));
    OK(cuEventQuery(e));
    OK(cuStreamDestroy(s));
    OK(cuStreamDestroy(other));
    OK(cuMemFree(p));
    OK(cuMemFree(q));
}

static void records(CUevent e)
{
    CUstream s = stream_new();
    CUdeviceptr flag = word_new();
    start("hold", s, flag);
    OK(cuEventRecord(e, s));
    FAILS(NOT_READY, cuEventQuery(e));
    nudge();
    await();
    set(flag);
    OK(cuEventSynchronize(e));
    OK(cuStreamDestroy(s));
    OK(cuMemFree(flag));
}

static struct pair both_ways;

static void both_ways_other(void)
{
    CUevent theirs = take();
    OK(cuEventQuery(theirs)); /* never recorded */
    OK(cuEventSynchronize(theirs));
    CUevent ours = give();
    waits(theirs);
    records(ours);
    records(theirs);
    waits(ours);
    OK(cuEventDestroy(theirs));
    nudge();
    await();
    /* Known to others when it was recorded already, and still under way. */
    CUdeviceptr flag = word_new();
    CUstream s = stream_new();
    CUipcEventHandle h;
    CUevent late = NULL;
    OK(cuEventCreate(&late, FLAGS));
    start("hold", s, flag);
    OK(cuEventRecord(late, s));
    OK(cuIpcGetEventHandle(&h, late));
    tell(&h, sizeof(h), -1);
    await();
    set(flag);
    OK(cuStreamSynchronize(s));
    await();
}

static void there_and_back(void)
{
    pair_start(&both_ways);
    CUevent ours = give(), theirs = take();
    records(ours);
    waits(theirs);
    waits(ours);
    records(theirs);
    await();
    OK(cuEventRecord(ours, NULL));
    OK(cuEventSynchronize(ours));
    OK(cuEventDestroy(ours));
    OK(cuEventDestroy(theirs));
    nudge();
    CUevent late = take();
    FAILS(NOT_READY, cuEventQuery(late));
    nudge();
    OK(cuEventSynchronize(late));
    nudge();
    OK(cuEventDestroy(late));
    pair_end(&both_ways, false);
}

/* --- Ping-pong ----------------------------------------------------------------------------- */

#define ROUNDS 300

static struct pair table_tennis;

/* Each round one adds to the word, which both have, when the other one has. */
static void play(CUdeviceptr word, CUevent mine, CUevent theirs, bool first)
{
    CUstream s = stream_new();
    CUdeviceptr out = 0;
    void *params[] = {&word, &out};
    CUfunction f = function("stamp");
    OK(cuMemAlloc(&out, 4));
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!first || i) {
            await(); /* it's recorded, not done */
            OK(cuStreamWaitEvent(s, theirs, 0));
        }
        OK(launch(f, s, params));
        OK(cuEventRecord(mine, s));
        nudge();
        if (i % 50 == 49) {
            uint32_t n = 0;
            OK(cuMemcpyDtoHAsync(&n, out, 4, s));
            OK(cuStreamSynchronize(s));
            EXPECT_EQ(n, 2 * i + !first);
        }
    }
    if (first)
        await();
    OK(cuStreamSynchronize(s));
    OK(cuStreamDestroy(s));
    OK(cuMemFree(out));
}

static void table_tennis_other(void)
{
    CUipcMemHandle h = {{0}};
    CUdeviceptr word = 0;
    CUevent theirs = take(), ours = give();
    (void)hear(&h, sizeof(h));
    OK(cuIpcOpenMemHandle_v2(&word, h, 0));
    play(word, ours, theirs, false);
}

static void ping_pong(void)
{
    CUipcMemHandle h = {{0}};
    CUdeviceptr word = word_new();
    pair_start(&table_tennis);
    CUevent ours = give(), theirs = take();
    OK(cuIpcGetMemHandle(&h, word));
    tell(&h, sizeof(h), -1);
    play(word, ours, theirs, true);
    pair_end(&table_tennis, false);
    EXPECT_EQ(now_at(word), 2 * ROUNDS);
    OK(cuEventDestroy(ours));
    OK(cuEventDestroy(theirs));
    OK(cuMemFree(word));
}

/* --- The other one's end ------------------------------------------------------------------- */

static struct pair dying;

static void dying_other(void)
{
    CUevent theirs = take(), ours = give();
    CUstream s = stream_new();
    start("hold", s, word_new());
    OK(cuEventRecord(theirs, s));
    OK(cuEventRecord(ours, s));
    nudge();
    await();
    die();
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits take no time of the processor's, and end with who they wait for: even one that nobody
 * has buried yet. */
static void end_of_the_other(void)
{
    pair_start(&dying);
    CUevent ours = give(), theirs = take();
    CUstream s = stream_new();
    CUdeviceptr p = word_new();
    CUcontext doomed = NULL;
    await();
    OK(cuStreamWaitEvent(s, theirs, 0));
    start("poke", s, p);
    FAILS(NOT_READY, cuEventQuery(ours));
    double before = cpu_seconds();
    usleep(1000000);
    EXPECT(cpu_seconds() - before < 0.05);
    FAILS(NOT_READY, cuEventQuery(ours));
    FAILS(NOT_READY, cuStreamQuery(s));
    /* A context that waits can end before. */
    OK(cuCtxCreate(&doomed, 0, 0));
    OK(cuStreamWaitEvent(NULL, theirs, 0));
    FAILS(NOT_READY, cuStreamQuery(NULL));
    OK(cuCtxDestroy(doomed));
    FAILS(NOT_READY, cuStreamQuery(s));
    nudge();
    OK(cuEventSynchronize(ours));
    OK(cuStreamSynchronize(s));
    EXPECT_EQ(now_at(p), 1);
    OK(cuEventQuery(theirs));
    pair_end(&dying, true);
    OK(cuEventRecord(ours, s));
    OK(cuEventRecord(theirs, s));
    OK(cuEventSynchronize(theirs));
    OK(cuEventSynchronize(ours));
    OK(cuEventDestroy(ours));
    OK(cuEventDestroy(theirs));
    OK(cuStreamDestroy(s));
    OK(cuMemFree(p));
}

/* --- Garbage -----------------------------------------------------------------------------------
 */

static struct pair garbage;

static void garbage_other(void)
{
    CUipcEventHandle h = {{0}}, wrong;
    CUipcMemHandle memory = {{0}};
    CUevent e = NULL;
    CUdeviceptr p = 0;
    unsigned opened = 0;
    (void)hear(&h, sizeof(h));
    (void)hear(&memory, sizeof(memory));
    for (unsigned i = 0; i < 8 * sizeof(h); i++) {
        wrong = h;
        wrong.reserved[i / 8] = (char)(wrong.reserved[i / 8] ^ 1 << i % 8);
        if (cuIpcOpenEventHandle(&e, wrong) != CUDA_SUCCESS)
            continue;
        OK(cuEventQuery(e));
        OK(cuEventDestroy(e));
        opened++;
    }
    EXPECT(opened < 32); /* the number of a thread is as good as its process's */
    memcpy(&wrong, &memory, sizeof(wrong));
    FAILS(INVALID_HANDLE, cuIpcOpenEventHandle(&e, wrong));
    memcpy(&memory, &h, sizeof(memory));
    FAILS(INVALID_HANDLE, cuIpcOpenMemHandle_v2(&p, memory, 0));
    FAILS(INVALID_VALUE, cuIpcOpenEventHandle(NULL, h));
    OK(cuIpcOpenEventHandle(&e, h));
    FAILS(INVALID_HANDLE, cuIpcGetEventHandle(&wrong, e));
    nudge();
    await(); /* it's destroyed */
    OK(cuEventQuery(e));
    OK(cuEventSynchronize(e));
    OK(cuEventRecord(e, NULL));
    OK(cuEventSynchronize(e));
    OK(cuEventDestroy(e));
    FAILS(INVALID_HANDLE, cuIpcOpenEventHandle(&e, h));
}

static void wrong_handles(void)
{
    CUipcEventHandle h, same, other;
    CUipcMemHandle memory;
    CUevent e = event_new(&h), plain = NULL, opened = NULL;
    CUdeviceptr p = word_new();
    OK(cuIpcGetEventHandle(&same, e));
    EXPECT_EQ(memcmp(&h, &same, sizeof(h)), 0);
    OK(cuEventCreate(&plain, CU_EVENT_DISABLE_TIMING));
    FAILS(INVALID_HANDLE, cuIpcGetEventHandle(&other, plain));
    FAILS(INVALID_HANDLE, cuIpcGetEventHandle(&other, (CUevent)&e));
    FAILS(INVALID_VALUE, cuIpcGetEventHandle(NULL, e));
    FAILS(INVALID_CONTEXT, cuIpcOpenEventHandle(&opened, h));
    OK(cuIpcGetMemHandle(&memory, p));
    pair_start(&garbage);
    tell(&h, sizeof(h), -1);
    tell(&memory, sizeof(memory), -1);
    await();
    OK(cuEventDestroy(e));
    e = event_new(&other); /* in the same place */
    EXPECT(memcmp(&h, &other, sizeof(h)) != 0);
    nudge();
    pair_end(&garbage, false);
    OK(cuEventDestroy(e));
    OK(cuEventDestroy(plain));
    OK(cuMemFree(p));
}

/* As many as there is room for, and not one more; then again. */
static void many(void)
{
    static CUevent all[4097];
    CUipcEventHandle h;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 4097; i++) {
            OK(cuEventCreate(&all[i], FLAGS));
            EXPECT_EQ(cuIpcGetEventHandle(&h, all[i]),
                      i < 4096 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
        }
        OK(cuIpcGetEventHandle(&h, all[0])); /* it has its place */
        for (unsigned i = 0; i < 4097; i++)
            OK(cuEventDestroy(all[i]));
    }
}

/* --- The descriptor beside the handle ------------------------------------------------------- */

static struct pair beside;

static void beside_other(void)
{
    CUipcEventHandle h;
    CUevent e = NULL;
    int fd = hear(&h, sizeof(h));
    EXPECT_EQ(share_table()->descriptor(&h), -1);
    share_table()->replace(&h, STDERR_FILENO);
    FAILS(INVALID_HANDLE, cuIpcOpenEventHandle(&e, h));
    share_table()->replace(&h, fd);
    OK(cuIpcOpenEventHandle(&e, h));
    EXPECT_EQ(close(fd), 0);
    waits(e);
}

static void descriptor_beside(void)
{
    CUipcEventHandle h;
    CUevent e = event_new(&h);
    int fd = share_table()->descriptor(&h);
    EXPECT(fd >= 0);
    pair_start(&beside);
    tell(&h, sizeof(h), fd);
    records(e);
    pair_end(&beside, false);
    OK(cuEventDestroy(e));
    EXPECT_EQ(share_table()->descriptor(&h), -1);
}

int main(void)
{
    struct pair *pairs[] = {&both_ways, &table_tennis, &dying, &garbage, &beside};
    void (*const bodies[])(void) = {both_ways_other, table_tennis_other, dying_other, garbage_other,
                                    beside_other};
    for (unsigned i = 0; i < 5; i++) {
        pairs[i]->body = bodies[i];
        pair_fork(pairs[i]);
    }
    if (set_up() < 0)
        return 1;
    MT_RUN(there_and_back);
    MT_RUN(ping_pong);
    MT_RUN(end_of_the_other);
    MT_RUN(wrong_handles);
    MT_RUN(many);
    MT_RUN(descriptor_beside);
    cuCtxDestroy(context);
    return mt_done();
}
