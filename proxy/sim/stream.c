/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler. One lock; every operation has a number, in the order of
 * submission over all contexts, so "all that came before" is a comparison with
 * the number at a queue's head. Threads are made when there is work for
 * them: kernels of different streams may wait for one another.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/idle.h"
#include "stream.h"

#define MAX_THREADS  32
#define THREAD_STACK (1u << 20)
#define LINGER_NS    (20 * 1000)

static struct {
    pthread_mutex_t lock;
    struct gi_idle idle; /* threads with nothing to do */
    pthread_cond_t done; /* something is done */
    struct CUstream_st *first, *last;
    uint64_t seq;
    unsigned threads;
    unsigned coming; /* threads that were woken, threads that start */
    unsigned waiters;
    unsigned touching; /* operations that run and aren't `outside` */
    bool still;        /* no more of them start */
    bool lingers;      /* one of the threads: one is enough */
    atomic_uint news;  /* times that something could start */
} sched = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void kick(unsigned more);

void sched_lock(void)
{
    pthread_mutex_lock(&sched.lock);
}

void sched_unlock(void)
{
    pthread_mutex_unlock(&sched.lock);
}

static void list_stream(struct CUstream_st *s)
{
    if (s->listed)
        return;
    s->listed = true;
    s->before = sched.last;
    s->after = NULL;
    *(sched.last ? &sched.last->after : &sched.first) = s;
    sched.last = s;
}

static void unlist_stream(struct CUstream_st *s)
{
    *(s->before ? &s->before->after : &sched.first) = s->after;
    *(s->after ? &s->after->before : &sched.last) = s->before;
    s->listed = false;
}

/* Without the lock, if it has a release. */
void op_free(struct op *op)
{
    if (op->release)
        op->release(op);
    if (op->stream)
        object_put(&op->stream->o);
    free(op);
}

/* Does S hold anything up to number SEQ? */
static bool has(const struct CUstream_st *s, uint64_t seq)
{
    return s->head && s->head->seq <= seq;
}

static bool may_start(const struct op *op)
{
    const struct CUstream_st *s = op->stream;
    const struct CUctx_st *c = s->o.context;
    if (s->running)
        return false;
    /* Who waits for a context's end needn't wait for another process. */
    if (op->point && !op->records && !op->point->done && !c->error &&
        !(c->dead && op->point->foreign))
        return false;
    if (s->legacy) {
        for (const struct CUstream_st *t = sched.first; t; t = t->after) {
            if (t->o.context == c && t->blocking && has(t, op->seq - 1))
                return false;
        }
    } else if (s->blocking) {
        return !has(c->legacy, op->seq);
    }
    return true;
}

/* Is there anything to carry out? */
static bool may_run(const struct op *op)
{
    return may_start(op) && (!sched.still || op->outside);
}

static void begin(struct op *op)
{
    op->stream->running = true;
    sched.touching += !op->outside;
}

/* S's first operation is done. The caller frees it. */
static struct op *take_head(struct CUstream_st *s)
{
    struct op *op = s->head;
    s->head = op->next;
    s->count--;
    if (!s->head) {
        s->tail = NULL;
        unlist_stream(s);
    }
    if (op->point) {
        if (op->records)
            point_reached(op->point);
        point_put(op->point);
    }
    if (sched.waiters)
        pthread_cond_broadcast(&sched.done);
    return op;
}

/* Records and waits that are due, until none is. */
static void settle(void)
{
    bool changed = true;
    while (changed) {
        changed = false;
        struct CUstream_st *next;
        for (struct CUstream_st *s = sched.first; s; s = next) {
            next = s->after;
            while (s->head && !s->head->run && may_start(s->head)) {
                /* The last one may take the stream with it. */
                bool last = s->head == s->tail;
                op_free(take_head(s));
                changed = true;
                if (last)
                    break;
            }
        }
    }
}

/* The next operation to carry out, marked as running. Streams take turns. */
static struct op *pick(void)
{
    settle();
    for (struct CUstream_st *s = sched.first; s; s = s->after) {
        if (!may_run(s->head))
            continue;
        begin(s->head);
        unlist_stream(s);
        list_stream(s);
        return s->head;
    }
    return NULL;
}

/* With the lock; lets go of it meanwhile. OP is at its stream's head and running.
 * MORE: 1 if the caller looks for another one then. */
static void carry_out(struct op *op, unsigned more)
{
    struct CUstream_st *s = op->stream;
    struct CUctx_st *c = s->o.context;
    CUresult rc = CUDA_SUCCESS;
    if (!c->error || op->always) {
        pthread_mutex_unlock(&sched.lock);
        rc = op->run(op);
        pthread_mutex_lock(&sched.lock);
    }
    if (rc != CUDA_SUCCESS && !c->error)
        c->error = rc;
    s->running = false;
    sched.touching -= !op->outside;
    take_head(s);
    kick(more);
    pthread_mutex_unlock(&sched.lock);
    op_free(op);
    pthread_mutex_lock(&sched.lock);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * With the lock, given up meanwhile: looks a moment longer before it sleeps. Who submits one
 * small kernel after the other would else wake a thread for each of them, and be preempted by
 * it where processors are few.
 */
static void linger(void)
{
    unsigned news = sched.news;
    int64_t until = now_ns() + LINGER_NS;
    sched.lingers = true;
    sched.coming++;
    pthread_mutex_unlock(&sched.lock);
    do
        sched_yield();
    while (atomic_load_explicit(&sched.news, memory_order_relaxed) == news && now_ns() < until);
    pthread_mutex_lock(&sched.lock);
    sched.coming--;
    sched.lingers = false;
}

static void *executor(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&sched.lock);
    sched.coming--;
    for (;;) {
        struct op *op = pick();
        if (!op && !sched.lingers) {
            linger();
            op = pick();
        }
        if (op) {
            kick(0);
            carry_out(op, 1);
            continue;
        }
        gi_idle_sleep(&sched.idle, &sched.lock, NULL);
        sched.coming--;
    }
    return NULL;
}

bool thread_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    if (pthread_attr_init(&attr) != 0)
        return false;
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool good = pthread_create(&thread, &attr, run, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return good;
}

static bool start_thread(void)
{
    bool good = thread_start(executor, NULL);
    sched.threads += good;
    sched.coming += good;
    return good;
}

/* Sees to it that somebody comes for everything that may start; MORE come anyway. */
static void kick(unsigned more)
{
    settle();
    unsigned ready = 0;
    for (const struct CUstream_st *s = sched.first; s && ready < MAX_THREADS; s = s->after)
        ready += may_run(s->head);
    if (ready)
        atomic_fetch_add_explicit(&sched.news, 1, memory_order_relaxed);
    while (ready > sched.coming + more) {
        if (gi_idle_wake(&sched.idle))
            sched.coming++;
        else if (sched.threads == MAX_THREADS || !start_thread())
            return; /* those that are busy come by */
    }
}

void sched_news(void)
{
    kick(0);
    if (sched.waiters)
        pthread_cond_broadcast(&sched.done);
}

CUresult sched_start(void)
{
    pthread_mutex_lock(&sched.lock);
    bool good = sched.threads || start_thread();
    pthread_mutex_unlock(&sched.lock);
    return good ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

void sched_wait(void)
{
    sched.waiters++;
    pthread_cond_wait(&sched.done, &sched.lock);
    sched.waiters--;
}

static void stream_free(struct object *o)
{
    free(o);
}

struct CUstream_st *stream_new(struct CUctx_st *context, unsigned flags, int priority)
{
    struct CUstream_st *s = object_new(OBJECT_STREAM, sizeof(*s), context, stream_free);
    if (!s)
        return NULL;
    s->flags = flags;
    s->priority = priority;
    s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
    static _Atomic uint64_t last_id;
    s->id = ++last_id;
    stream_attributes_init(s);
    return s;
}

void sched_append(struct CUstream_st *s, struct op *op)
{
    object_hold(&s->o);
    op->stream = s;
    op->seq = ++sched.seq;
    op->next = NULL;
    *(s->tail ? &s->tail->next : &s->head) = op;
    s->tail = op;
    s->count++;
    list_stream(s);
}

CUresult sched_room(struct CUstream_st *s)
{
    const struct CUctx_st *c = s->o.context;
    while (s->count >= STREAM_MAX_OPS && !c->dead)
        sched_wait();
    return c->dead ? CUDA_ERROR_CONTEXT_IS_DESTROYED : c->error;
}

CUresult stream_submit(struct CUstream_st *s, struct op *op, enum submit_mode mode)
{
    pthread_mutex_lock(&sched.lock);
    CUresult rc = sched_room(s);
    if (rc != CUDA_SUCCESS) {
        pthread_mutex_unlock(&sched.lock);
        op_free(op);
        return rc;
    }
    sched_append(s, op);
    uint64_t seq = op->seq;
    settle();
    if (mode != SUBMIT_LATER && s->head == op && may_run(op)) {
        begin(op);
        kick(0);
        carry_out(op, 0);
    } else {
        kick(0);
        while (mode == SUBMIT_WAIT && has(s, seq))
            sched_wait();
    }
    rc = s->o.context->error;
    pthread_mutex_unlock(&sched.lock);
    return rc;
}

/* Is anything up to SEQ left that S's users would wait for? */
static bool busy(const struct CUstream_st *s, uint64_t seq)
{
    if (!s->legacy)
        return has(s, seq);
    for (const struct CUstream_st *t = sched.first; t; t = t->after) {
        if (t->o.context == s->o.context && t->blocking && has(t, seq))
            return true;
    }
    return false;
}

CUresult stream_query(struct CUstream_st *s)
{
    pthread_mutex_lock(&sched.lock);
    settle();
    CUresult rc = busy(s, sched.seq) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
    if (s->o.context->error)
        rc = s->o.context->error;
    pthread_mutex_unlock(&sched.lock);
    return rc;
}

CUresult stream_wait(struct CUstream_st *s)
{
    pthread_mutex_lock(&sched.lock);
    uint64_t seq = sched.seq;
    while (busy(s, seq))
        sched_wait();
    CUresult rc = s->o.context->error;
    pthread_mutex_unlock(&sched.lock);
    return rc;
}

static bool context_busy(const struct CUctx_st *context, uint64_t seq)
{
    for (const struct CUstream_st *t = sched.first; t; t = t->after) {
        if ((!context || t->o.context == context) && has(t, seq))
            return true;
    }
    return false;
}

void sched_drain(const struct CUctx_st *context)
{
    pthread_mutex_lock(&sched.lock);
    uint64_t seq = sched.seq;
    while (context_busy(context, seq))
        sched_wait();
    pthread_mutex_unlock(&sched.lock);
}

/* Waits until nothing touches memory, for NS at most. With the lock. */
static bool comes_to_rest(uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    int rc = 0;
    sched.waiters++;
    while (sched.touching && rc == 0)
        rc = pthread_cond_timedwait(&sched.done, &sched.lock, &until);
    sched.waiters--;
    return !sched.touching;
}

/* What runs may be waiting for something that can't start meanwhile: they take turns, and what
 * runs gets more and more time to end. */
void sched_still(void)
{
    const uint64_t most_ns = 5000000000u;
    pthread_mutex_lock(&sched.lock);
    for (uint64_t ns = 10000000;; ns = ns < most_ns ? 2 * ns : ns) {
        while (sched.still)
            sched_wait();
        sched.still = true;
        if (comes_to_rest(ns))
            break;
        sched.still = false;
        kick(0);
        sched_wait();
    }
    pthread_mutex_unlock(&sched.lock);
}

void sched_go_on(void)
{
    pthread_mutex_lock(&sched.lock);
    sched.still = false;
    kick(0);
    pthread_cond_broadcast(&sched.done);
    pthread_mutex_unlock(&sched.lock);
}

void sched_close(struct CUctx_st *context)
{
    pthread_mutex_lock(&sched.lock);
    context->dead = true;
    pthread_cond_broadcast(&sched.done); /* who waits for room */
    kick(0);
    while (context_busy(context, UINT64_MAX))
        sched_wait();
    pthread_mutex_unlock(&sched.lock);
}
