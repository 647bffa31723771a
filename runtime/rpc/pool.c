/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/idle.h"
#include "base/io.h"

#define STACK_BYTES  (512u << 10)
#define IDLE_SECONDS 10

struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
};

struct pool {
    char name[16];
    unsigned max_threads, max_queued;
    pthread_mutex_t lock;
    pthread_cond_t gone; /* a thread ended */
    /* under lock: */
    struct gi_idle idle; /* woken when a job came, or stopping */
    struct job *first, **last;
    unsigned queued, threads;
    bool stopping;
};

static void deadline_in(struct timespec *ts, int64_t ms)
{
    int64_t at = gi_monotonic_ns() + ms * 1000000;
    ts->tv_sec = at / 1000000000;
    ts->tv_nsec = at % 1000000000;
}

/* With the lock held. NULL: this thread is to end. */
static struct job *take_job(struct pool *p)
{
    struct timespec until;
    deadline_in(&until, IDLE_SECONDS * 1000);
    while (!p->first) {
        if (p->stopping)
            return NULL;
        if (!gi_idle_sleep(&p->idle, &p->lock, &until))
            return NULL;
    }
    struct job *j = p->first;
    p->first = j->next;
    if (!p->first)
        p->last = &p->first;
    p->queued--;
    return j;
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *j = take_job(p);
        if (!j)
            break;
        pthread_mutex_unlock(&p->lock);
        j->fn(j->arg);
        free(j);
        pthread_mutex_lock(&p->lock);
    }
    p->threads--;
    pthread_cond_broadcast(&p->gone);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static bool start_thread(struct pool *p)
{
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, thread_main, p);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

int pool_new(const char *name, unsigned max_threads, unsigned max_queued, struct pool **ret_pool,
             struct gi_error *err)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->max_threads = max_threads;
    p->max_queued = max_queued;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->gone, &attr);
    pthread_condattr_destroy(&attr);
    *ret_pool = p;
    return 0;
}

int pool_submit(struct pool *p, void (*fn)(void *arg), void *arg)
{
    struct job *j = malloc(sizeof(*j));
    if (!j)
        return -GI_RESOURCE_EXHAUSTED;
    *j = (struct job){.fn = fn, .arg = arg};
    GI_LOCK_SCOPE(&p->lock);
    int rc = p->stopping ? -GI_UNAVAILABLE : 0;
    if (rc == 0 && p->queued >= p->max_queued)
        rc = -GI_RESOURCE_EXHAUSTED;
    /* Who was woken for an earlier job doesn't count as idle any more. */
    if (rc == 0 && p->idle.n == 0 && p->threads < p->max_threads) {
        if (start_thread(p))
            p->threads++;
        else if (p->threads == 0)
            rc = -GI_RESOURCE_EXHAUSTED;
    }
    if (rc < 0) {
        free(j);
        return rc;
    }
    *p->last = j;
    p->last = &j->next;
    p->queued++;
    gi_idle_wake(&p->idle);
    return 0;
}

bool pool_stop(struct pool *p, int timeout_ms)
{
    struct timespec until;
    deadline_in(&until, timeout_ms);
    GI_LOCK_SCOPE(&p->lock);
    p->stopping = true;
    while (gi_idle_wake(&p->idle))
        continue;
    while (p->threads > 0) {
        if (pthread_cond_timedwait(&p->gone, &p->lock, &until) == ETIMEDOUT)
            return p->threads == 0;
    }
    return true;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    /* The last thread may still be about to release the lock. */
    pthread_mutex_lock(&p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&p->gone);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
