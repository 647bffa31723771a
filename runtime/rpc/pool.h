/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that run jobs: made when there is no idle one, up to a limit, and
 * ended after a while without work. Jobs beyond that wait in a bounded queue,
 * first come first served. Everything may be called from any thread.
 */
#ifndef RT_RPC_POOL_H
#define RT_RPC_POOL_H

#include <stdbool.h>

#include "base/error.h"

struct pool;

int pool_new(const char *name, unsigned max_threads, unsigned max_queued, struct pool **ret_pool,
             struct gi_error *err);
/* 0, or -RESOURCE_EXHAUSTED when the queue is full, -UNAVAILABLE after pool_stop began. */
int pool_submit(struct pool *p, void (*fn)(void *arg), void *arg);
/* Takes no more jobs, waits until all have run or TIMEOUT_MS passed; false: some
 * still run, and the pool must not be freed. */
bool pool_stop(struct pool *p, int timeout_ms);
void pool_free(struct pool *p);

#endif
