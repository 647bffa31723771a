/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a memory pool (pools.c). One lock for all, held by the caller: heap_lock. */
#ifndef GI_IDM_POOL_HEAP_H
#define GI_IDM_POOL_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "idm/pools.h"

#define POOL_MAX_DEVICES 8 /* others have no pools */

/* A piece of a chunk, allocated or free. A free one may still be in use by what was
 * given to a stream before its event. */
struct pool_block {
    struct pool_block *before, *after; /* in its chunk, by address */
    struct pool_block *less, *more;    /* free: in the pool's list; used: in `more` its bucket's */
    struct pool_chunk *chunk;
    CUdeviceptr at;
    size_t bytes;
    size_t asked;    /* 0: free */
    CUstream stream; /* of `event`; a preference only */
    CUevent event;   /* kept for the next free */
    CUcontext event_context;
    bool pending; /* the event may not have come yet */
};

/* What the driver gave at once. */
struct pool_chunk {
    struct pool_chunk *next;
    CUmemoryPool pool;
    CUcontext context;
    CUdeviceptr base;
    size_t bytes;
    struct pool_block *first;
    uint32_t used; /* blocks that are allocated */
    bool mapped;   /* by cuMemMap, so that peers may be let in */
};

struct CUmemPoolHandle_st {
    struct CUmemPoolHandle_st *next;
    CUdevice device;
    bool destroyed;  /* goes with its last allocation */
    int reuse[3];    /* of the first three attributes */
    uint32_t access; /* what other devices may do, two bits each */
    uint64_t threshold, reserved, reserved_high, used, used_high, max;
    struct pool_chunk *chunks;
    struct pool_block *free;
};

void heap_lock(void);
void heap_unlock(void);
/* False: somebody holds it, maybe the caller. */
bool heap_lock_unless_held(void);

/* BYTES of POOL for STREAM, in the current context CTX. */
CUresult heap_alloc(CUmemoryPool pool, CUcontext ctx, size_t bytes, CUstream stream,
                    CUdeviceptr *ret_ptr);
/* The allocation of one of POOLS that contains PTR, NULL: there is none; *ret_chunk: the
 * chunk that does. */
struct pool_block *heap_find(CUdeviceptr ptr, CUmemoryPool pools, struct pool_chunk **ret_chunk);
/* After all that STREAM was given so far; WAITED: nothing is left to wait for. */
CUresult heap_free(struct pool_block *b, CUcontext ctx, CUstream stream, bool waited);
/* Chunks nobody uses, taken out while more than KEEP bytes are reserved. The caller frees
 * their memory with heap_discard, without the lock. */
struct pool_chunk *heap_trim(CUmemoryPool pool, uint64_t keep);
void heap_discard(struct pool_chunk *chunks);
/* Lets device DEV do FLAGS with what POOL holds and will hold. */
CUresult heap_open(CUmemoryPool pool, CUdevice dev, CUmemAccess_flags flags);
/* Drops what is CTX's (NULL: everything), whose memory goes by itself, but for what is mapped:
 * that is discarded by who calls heap_dropped once CTX is gone. */
void heap_drop(CUmemoryPool pool, CUcontext ctx);
struct pool_chunk *heap_dropped(void);
/* Is anything held by any pool? A guess without the lock. */
bool heap_in_use(void);
/* After a fork, in the child: the lock is free. False: a thread that is no more was changing
 * the lists, which are left where they are. */
bool heap_forget(void);

#endif
