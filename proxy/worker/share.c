/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zone's share of the GPU, the worker's side (docs/decisions, "GPU time is
 * shared in slices"): counts the time with work in flight, keeps little of it in
 * flight, and gives the driver none while the zone's gate is closed.
 *
 * The gate and the slot's share word are a pair like a ring's head and asleep: the
 * worker says FLYING, then looks at the gate; the broker closes the gate, then looks
 * for FLYING. Both sequentially consistent, so one sees the other.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "internal.h"

#define FIRST_BATCH 16
#define MAX_BATCH   1024
#define BATCH_NS    (500 * 1000)
#define MAX_MARKS   2
#define PATIENCE_NS (100ll * 1000 * 1000)
#define NAP_NS      (30 * 1000)
#define LOOK_NS     (20ll * 1000 * 1000)

void share_init(struct worker *w)
{
    w->share.batch = FIRST_BATCH;
    w->share.patience = PATIENCE_NS;
}

static uint32_t gate(const struct worker *w)
{
    return atomic_load_explicit(&w->config->page->gate, memory_order_seq_cst);
}

static void ring(const struct worker *w)
{
    const uint64_t one = 1;
    if (w->config->share_bell <= 0)
        return;
    /* Non-blocking: a full counter rings, too. */
    ssize_t n = write(w->config->share_bell, &one, sizeof(one));
    (void)n;
}

void share_noted(const struct worker *w)
{
    _Atomic uint32_t *unwatched = &w->config->page->unwatched;
    if (atomic_load_explicit(unwatched, memory_order_relaxed) && atomic_exchange(unwatched, 0))
        ring(w);
}

static uint32_t said(const struct worker *w)
{
    return atomic_load_explicit(&w->counters->share, memory_order_relaxed); /* our own */
}

static void say(struct worker *w, uint32_t bits)
{
    atomic_store_explicit(&w->counters->share, bits, memory_order_seq_cst);
}

/* Does all that is in flight wait for functions of the client's? */
static bool is_held(struct worker *w)
{
    const struct share *s = &w->share;
    return !s->many_contexts && s->n_flying <= SHARE_STREAMS &&
           host_gate_holds(w->host, s->flying, s->n_flying);
}

void share_count(struct worker *w, int64_t now_ns)
{
    struct share *s = &w->share;
    if (s->work == s->done || now_ns <= s->counted_to)
        return;
    if (!is_held(w))
        worker_count(&w->counters->gpu_ns, (uint64_t)(now_ns - s->counted_to));
    s->counted_to = now_ns;
}

void share_look(struct worker *w)
{
    struct share *s = &w->share;
    bool rests = s->work != s->done && is_held(w);
    if (rests == s->resting)
        return;
    s->resting = rests;
    say(w, rests ? 0 : PAGE_SHARE_WANTS | PAGE_SHARE_FLYING);
    if (gate(w) != PAGE_GATE_FREE)
        ring(w);
}

/* Nothing is in flight any more. */
static void quiet(struct worker *w)
{
    struct share *s = &w->share;
    s->n_streams = 0;
    s->n_flying = 0;
    s->first.context = 0;
    s->many_streams = s->many_contexts = s->resting = false;
    say(w, PAGE_SHARE_WANTS);
    if (gate(w) == PAGE_GATE_CLOSED)
        ring(w);
}

/* How much is a good batch, when so much was done since the last progress? */
static void adapt(struct share *s, uint64_t count, int64_t now)
{
    int64_t since = s->progress > s->busy_from ? s->progress : s->busy_from;
    s->progress = now;
    if (count <= s->finished || now <= since)
        return;
    int64_t each = (now - since) / (int64_t)(count - s->finished) + 1;
    int64_t good = BATCH_NS / each;
    int64_t most = 2 * (int64_t)s->batch;
    good = good > most ? most : good;
    s->batch = good < 1 ? 1 : good > MAX_BATCH ? MAX_BATCH : (uint32_t)good;
    s->patience = 4 * (now - since) > PATIENCE_NS ? 4 * (now - since) : PATIENCE_NS;
    s->finished = count;
}

void share_done(struct worker *w, uint64_t count, bool mark)
{
    struct share *s = &w->share;
    int64_t now = gi_monotonic_ns();
    share_count(w, now);
    if (mark) {
        adapt(s, count, now);
        /* A mark is behind the work of the streams that were used since the one before it. */
        if (--s->marks)
            return;
        count = s->finished > count ? s->finished : count;
    }
    if (count <= s->done)
        return;
    s->done = count;
    if (s->marked < count)
        s->marked = count;
    if (s->work == s->done)
        quiet(w);
}

/* Puts a mark behind what came since the last one. */
static void mark(struct worker *w)
{
    struct share *s = &w->share;
    if (s->marked == s->work)
        return;
    s->marked = s->work;
    if (s->n_streams == 0)
        share_touch(w, NULL);
    bool marked = s->n_streams && worker_mark(w, s->streams, s->n_streams, s->work);
    s->n_streams = 0;
    if (marked)
        s->marks++;
    else if (s->marks == 0)
        share_done(w, s->work, false); /* no context, or one that answers nothing any more */
    else if (s->finished < s->work)
        s->finished = s->work; /* the marks under way will tell */
}

static void flies(struct share *s, CUstream stream)
{
    for (uint32_t i = 0; i < s->n_flying && i < SHARE_STREAMS; i++) {
        if (s->flying[i] == stream)
            return;
    }
    if (s->n_flying < SHARE_STREAMS)
        s->flying[s->n_flying] = stream;
    if (s->n_flying <= SHARE_STREAMS)
        s->n_flying++;
}

void share_touch(struct worker *w, CUstream stream)
{
    struct share *s = &w->share;
    const struct share_stream it = {w->context, w->driver_context, stream};
    if (!w->context)
        return;
    flies(s, stream);
    if (!s->first.context)
        s->first = it;
    s->many_streams = s->many_streams || s->first.stream != stream;
    s->many_contexts = s->many_contexts || s->first.context != w->context;
    for (uint32_t i = s->n_streams; i-- > 0;) {
        if (s->streams[i].stream == stream && s->streams[i].context == w->context)
            return;
    }
    if (s->n_streams == SHARE_STREAMS) {
        /* The oldest isn't looked at any more: its work may count too little. */
        memmove(s->streams, s->streams + 1, sizeof(s->streams) - sizeof(s->streams[0]));
        s->n_streams--;
    }
    s->streams[s->n_streams++] = it;
}

uint64_t share_covers(struct worker *w, bool all, CUstream stream)
{
    struct share *s = &w->share;
    if (s->work == s->done || s->many_contexts || s->first.context != w->context ||
        (!all && (s->many_streams || s->first.stream != stream)))
        return 0;
    s->covered = s->work;
    return s->work;
}

/* Something may happen meanwhile: the GPU gets something done, the gate opens. */
static void nap(struct worker *w, bool closed)
{
    bool flying = w->waits.n_items != 0;
    struct timespec t = {.tv_nsec = flying ? NAP_NS : LOOK_NS};
    share_count(w, gi_monotonic_ns());
    worker_poll_waits(w);
    if (closed)
        syscall(SYS_futex, &w->config->page->gate, FUTEX_WAIT, PAGE_GATE_CLOSED, &t, NULL, 0);
    else
        nanosleep(&t, NULL);
}

/* Too much is in flight. What is there may wait for what we hold back (a kernel that
 * spins until another stream's has run), so patience ends. */
static bool is_full(struct share *s)
{
    if (s->marks < MAX_MARKS)
        return false;
    int64_t now = gi_monotonic_ns();
    int64_t since = s->progress > s->busy_from ? s->progress : s->busy_from;
    if (now - since < s->patience)
        return true;
    s->progress = now;
    s->patience *= 2;
    return false;
}

/* Says that there will be work in flight, if there isn't. True: the gate is open. */
static bool take_off(struct worker *w)
{
    uint32_t before = said(w);
    if (!(before & PAGE_SHARE_FLYING))
        say(w, PAGE_SHARE_WANTS | PAGE_SHARE_FLYING);
    uint32_t now = gate(w);
    if (!before && now != PAGE_GATE_FREE)
        ring(w);
    return now != PAGE_GATE_CLOSED;
}

/* The slow way: something begins, is full, or is closed. */
static void enter(struct worker *w)
{
    struct share *s = &w->share;
    s->resting = false;
    for (;;) {
        bool open = take_off(w);
        if (open && !is_full(s))
            break;
        if (!open) {
            mark(w);
            if (s->work == s->done)
                quiet(w); /* we aren't flying after all */
        }
        nap(w, !open);
        if (worker_should_stop(w)) {
            w->dead = true;
            return;
        }
    }
    if (s->work == s->done)
        s->busy_from = s->counted_to = gi_monotonic_ns();
}

void share_before(struct worker *w, uint16_t type)
{
    struct share *s = &w->share;
    switch (idm_effect(type)) {
    case IDM_EFFECT_NONE:
        return;
    case IDM_EFFECT_ENDS:
        mark(w);
        s->n_streams = 0;
        return;
    case IDM_EFFECT_WORK_IN_DEFAULT:
        share_touch(w, NULL);
        break;
    case IDM_EFFECT_WORK:
        break;
    }
    if (s->work - s->marked >= s->batch)
        mark(w);
    if (s->work == s->done || s->marks >= MAX_MARKS || s->resting ||
        atomic_load_explicit(&w->config->page->gate, memory_order_relaxed) == PAGE_GATE_CLOSED)
        enter(w);
    s->work++;
}

void share_rest(struct worker *w)
{
    struct share *s = &w->share;
    if (s->work != s->marked && s->covered != s->work && s->marks == 0)
        mark(w);
}

bool share_wants(const struct worker *w)
{
    return said(w) != 0;
}

void share_leave(struct worker *w)
{
    if (w->share.work != w->share.done)
        share_done(w, w->share.work, false);
    say(w, 0);
    uint32_t now = gate(w);
    if (now == PAGE_GATE_LENT || now == PAGE_GATE_CLOSED)
        ring(w);
}
