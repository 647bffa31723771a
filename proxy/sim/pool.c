/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that run blocks. A run is in the queue while it has blocks that
 * nobody has taken; its caller takes blocks too, and leaves only when every
 * helper has left, so a run may live on its caller's stack.
 */
#include "block.h"

#include <sched.h>
#include <stdlib.h>

#include "idm/cuda_abi.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work, left;
    struct run *queue;
    bool started;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER,
          .left = PTHREAD_COND_INITIALIZER};

/* Clusters that wait for each other: each gets its turn, from whoever comes by. */
static void take_turns(struct run *run)
{
    while (atomic_load(&run->left) && !atomic_load_explicit(&run->failed, memory_order_relaxed)) {
        bool any = false;
        for (uint64_t i = 0; i < run->clusters; i++) {
            struct resident *r = &run->all[i];
            if (atomic_load(&r->ended) || atomic_exchange(&r->busy, true))
                continue;
            any = true;
            if (!atomic_load(&r->ended) && !cluster_turn(&r->cluster)) {
                atomic_store(&r->ended, true);
                atomic_fetch_sub(&run->left, 1);
            }
            atomic_store(&r->busy, false);
        }
        if (!any)
            sched_yield();
    }
}

static void take_blocks(struct run *run)
{
    uint64_t i;
    if (run->all) {
        take_turns(run);
        return;
    }
    while (!atomic_load_explicit(&run->failed, memory_order_relaxed) &&
           (i = atomic_fetch_add(&run->next, 1)) < run->clusters)
        cluster_run(run, i);
}

/* Under the lock. */
static void unqueue(struct run *run)
{
    struct run **at = &pool.queue;
    while (*at && *at != run)
        at = &(*at)->queued;
    if (*at)
        *at = run->queued;
}

static void *helper(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        struct run *run = pool.queue;
        if (!run) {
            pthread_cond_wait(&pool.work, &pool.lock);
            continue;
        }
        run->helpers++;
        pthread_mutex_unlock(&pool.lock);
        take_blocks(run);
        pthread_mutex_lock(&pool.lock);
        unqueue(run);
        if (--run->helpers == 0)
            pthread_cond_broadcast(&pool.left);
    }
    return NULL;
}

int sim_pool_start(unsigned threads)
{
    int rc = 0;
    pthread_mutex_lock(&pool.lock);
    if (!pool.started) {
        pool.started = true;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        for (unsigned i = 1; i < threads && !rc; i++) {
            pthread_t t;
            rc = pthread_create(&t, &attr, helper, NULL) ? -1 : 0;
        }
        pthread_attr_destroy(&attr);
    }
    pthread_mutex_unlock(&pool.lock);
    return rc;
}

static bool begin_all(struct run *run)
{
    run->all = calloc(run->clusters, sizeof(*run->all));
    for (uint64_t i = 0; run->all && i < run->clusters; i++)
        cluster_begin(&run->all[i].cluster, run, i);
    run->left = run->clusters;
    return run->all != NULL;
}

static void end_all(struct run *run)
{
    for (uint64_t i = 0; run->all && i < run->clusters; i++)
        cluster_end(&run->all[i].cluster);
    free(run->all);
}

int sim_run(const struct sim_launch *l, struct sim_fault *ret_fault)
{
    struct run run = {.l = l, .clusters = 1};
    for (unsigned d = 0; d < 3; d++)
        run.clusters *= l->grid[d] / launch_cluster(l, d);
    if (l->cooperative && !begin_all(&run)) {
        *ret_fault = (struct sim_fault){CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "no memory for blocks"};
        return ret_fault->error;
    }
    pthread_mutex_init(&run.lock, NULL);
    if (run.clusters > 1) {
        pthread_mutex_lock(&pool.lock);
        run.queued = pool.queue;
        pool.queue = &run;
        pthread_cond_broadcast(&pool.work);
        pthread_mutex_unlock(&pool.lock);
    }
    take_blocks(&run);
    if (run.clusters > 1) {
        pthread_mutex_lock(&pool.lock);
        unqueue(&run);
        while (run.helpers)
            pthread_cond_wait(&pool.left, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
    }
    end_all(&run);
    pthread_mutex_destroy(&run.lock);
    if (run.fault.error)
        *ret_fault = run.fault;
    return run.fault.error;
}
