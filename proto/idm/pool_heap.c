/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Best fit in chunks of 2 MiB or more, each a cuMemAlloc or, with several devices, a mapping. A
 * freed block has an event behind the work that may still use it. Who gets it next waits for that
 * event in his own stream, which costs nothing where it is the same stream; neighbours join once
 * both are at rest.
 */
#include "idm/pool_heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define GRANULE 512u
#define CHUNK   (2ull << 20)
#define BUCKETS 4096u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool_block *buckets[BUCKETS];
static atomic_bool held;
static atomic_uint chunks_held;
static struct pool_chunk *dropped; /* mapped, of contexts that end */

void heap_lock(void)
{
    pthread_mutex_lock(&lock);
    held = true;
}

/* pthread_mutex_trylock has a new symbol version. Waits for another thread at worst. */
bool heap_lock_unless_held(void)
{
    if (held)
        return false;
    heap_lock();
    return true;
}

void heap_unlock(void)
{
    held = false;
    pthread_mutex_unlock(&lock);
}

bool heap_in_use(void)
{
    return atomic_load_explicit(&chunks_held, memory_order_relaxed) != 0;
}

bool heap_forget(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    bool sound = !held;
    held = false;
    dropped = NULL; /* the parent's */
    memcpy(&lock, &mutex, sizeof(mutex));
    if (!sound) {
        memset(buckets, 0, sizeof(buckets));
        chunks_held = 0;
    }
    return sound;
}

static struct pool_block **bucket_of(CUdeviceptr at)
{
    return &buckets[(at / GRANULE * 0x9e3779b97f4a7c15u) >> 52];
}

static void list_free(struct pool_block *b)
{
    CUmemoryPool pool = b->chunk->pool;
    b->less = NULL;
    b->more = pool->free;
    if (pool->free)
        pool->free->less = b;
    pool->free = b;
}

static void unlist_free(struct pool_block *b)
{
    *(b->less ? &b->less->more : &b->chunk->pool->free) = b->more;
    if (b->more)
        b->more->less = b->less;
}

static void unlist_used(struct pool_block *b)
{
    struct pool_block **at = bucket_of(b->at);
    while (*at != b)
        at = &(*at)->more;
    *at = b->more;
}

static void free_block(struct pool_block *b)
{
    if (b->event)
        cuEventDestroy_v2(b->event);
    free(b);
}

/* Looks whether what B waits for has come. */
static CUresult settle(struct pool_block *b)
{
    CUresult rc = b->pending ? cuEventQuery(b->event) : CUDA_SUCCESS;
    if (rc == CUDA_SUCCESS)
        b->pending = false;
    return rc;
}

/* B takes in the free block behind it. */
static void absorb(struct pool_block *b)
{
    struct pool_block *gone = b->after;
    b->bytes += gone->bytes;
    b->after = gone->after;
    if (b->after)
        b->after->before = b;
    unlist_free(gone);
    free_block(gone);
}

static bool at_rest(const struct pool_block *b)
{
    return b && !b->asked && !b->pending;
}

static void join(struct pool_block *b)
{
    if (!at_rest(b))
        return;
    while (at_rest(b->after))
        absorb(b);
    while (at_rest(b->before)) {
        b = b->before;
        absorb(b);
    }
}

/* --- Memory ----------------------------------------------------------------------- */

static CUresult let(CUdeviceptr base, size_t bytes, CUdevice dev, CUmemAccess_flags flags)
{
    const CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, dev}, flags};
    return cuMemSetAccess(base, bytes, &access, 1);
}

static CUresult let_all(CUmemoryPool pool, CUdeviceptr base, size_t bytes)
{
    CUresult rc = let(base, bytes, pool->device, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    for (CUdevice dev = 0; dev < POOL_MAX_DEVICES && rc == CUDA_SUCCESS; dev++) {
        unsigned flags = pool->access >> 2 * dev & 3u;
        if (flags)
            rc = let(base, bytes, dev, (CUmemAccess_flags)flags);
    }
    return rc;
}

static CUresult map(CUmemoryPool pool, size_t bytes, CUdeviceptr *ret_base)
{
    const CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, pool->device}};
    CUmemGenericAllocationHandle memory;
    CUdeviceptr base;
    CUresult rc = cuMemCreate(&memory, bytes, &prop, 0);
    if (rc != CUDA_SUCCESS)
        return rc;
    rc = cuMemAddressReserve(&base, bytes, 0, 0, 0);
    if (rc == CUDA_SUCCESS) {
        rc = cuMemMap(base, bytes, 0, memory, 0);
        if (rc == CUDA_SUCCESS) {
            rc = let_all(pool, base, bytes);
            if (rc != CUDA_SUCCESS)
                cuMemUnmap(base, bytes);
        }
        if (rc != CUDA_SUCCESS)
            cuMemAddressFree(base, bytes);
        else
            *ret_base = base;
    }
    cuMemRelease(memory); /* the mapping keeps it */
    return rc;
}

/* Where there are peers, who may be let in is each pool's business, not each context's. */
static CUresult obtain(struct pool_chunk *c)
{
    int devices = 0;
    CUresult rc = cuDeviceGetCount(&devices);
    if (rc == CUDA_SUCCESS && devices > 1) {
        rc = map(c->pool, c->bytes, &c->base);
        c->mapped = rc == CUDA_SUCCESS;
        if (rc != CUDA_ERROR_NOT_SUPPORTED || c->pool->access)
            return rc;
    }
    return cuMemAlloc_v2(&c->base, c->bytes);
}

static void discard(struct pool_chunk *c)
{
    if (!c->mapped) {
        cuMemFree_v2(c->base);
    } else {
        cuMemUnmap(c->base, c->bytes);
        cuMemAddressFree(c->base, c->bytes);
    }
    free(c);
}

CUresult heap_open(CUmemoryPool pool, CUdevice dev, CUmemAccess_flags flags)
{
    const CUmemAccess_flags before = (CUmemAccess_flags)(pool->access >> 2 * dev & 3);
    for (const struct pool_chunk *c = pool->chunks; c; c = c->next) {
        if (!c->mapped && flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
            return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED; /* none of them is, then */
        CUresult rc = c->mapped ? let(c->base, c->bytes, dev, flags) : CUDA_SUCCESS;
        if (rc == CUDA_SUCCESS)
            continue;
        /* All of the pool or none of it. */
        for (const struct pool_chunk *b = pool->chunks; b != c; b = b->next)
            (void)(b->mapped ? let(b->base, b->bytes, dev, before) : CUDA_SUCCESS);
        return rc;
    }
    pool->access = (pool->access & ~(3u << 2 * dev)) | (uint32_t)flags << 2 * dev;
    return CUDA_SUCCESS;
}

/* --- Chunks ----------------------------------------------------------------------- */

static CUresult grow(CUmemoryPool pool, CUcontext ctx, size_t bytes)
{
    if (bytes > SIZE_MAX - CHUNK)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t room = (bytes + CHUNK - 1) / CHUNK * CHUNK;
    if (pool->max && (room > pool->max || pool->reserved > pool->max - room))
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct pool_chunk *c = calloc(1, sizeof(*c));
    struct pool_block *b = calloc(1, sizeof(*b));
    CUresult rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (c && b) {
        c->pool = pool;
        c->context = ctx;
        c->bytes = room;
        rc = obtain(c);
    }
    if (rc != CUDA_SUCCESS) {
        free(c);
        free(b);
        return rc;
    }
    c->first = b;
    c->next = pool->chunks;
    pool->chunks = c;
    b->chunk = c;
    b->at = c->base;
    b->bytes = room;
    list_free(b);
    pool->reserved += room;
    if (pool->reserved > pool->reserved_high)
        pool->reserved_high = pool->reserved;
    atomic_fetch_add(&chunks_held, 1);
    return CUDA_SUCCESS;
}

/* C is out of its pool's list; its blocks go. */
static void empty_chunk(struct pool_chunk *c)
{
    struct pool_block *next;
    for (struct pool_block *b = c->first; b; b = next) {
        next = b->after;
        if (b->asked) {
            unlist_used(b);
            c->pool->used -= b->bytes;
        } else {
            unlist_free(b);
        }
        free_block(b);
    }
    c->pool->reserved -= c->bytes;
    atomic_fetch_sub(&chunks_held, 1);
}

static bool is_idle(struct pool_chunk *c)
{
    if (c->used)
        return false;
    for (struct pool_block *b = c->first; b; b = b->after) {
        if (settle(b) != CUDA_SUCCESS)
            return false;
    }
    return true;
}

struct pool_chunk *heap_trim(CUmemoryPool pool, uint64_t keep)
{
    struct pool_chunk *gone = NULL;
    for (struct pool_chunk **at = &pool->chunks; *at && pool->reserved > keep;) {
        struct pool_chunk *c = *at;
        if (pool->reserved - c->bytes < keep || !is_idle(c)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        empty_chunk(c);
        c->next = gone;
        gone = c;
    }
    return gone;
}

void heap_discard(struct pool_chunk *chunks)
{
    while (chunks) {
        struct pool_chunk *c = chunks;
        chunks = c->next;
        discard(c);
    }
}

/* Events of CTX end with it; what they are behind is done then. */
static void drop_events(struct pool_chunk *c, CUcontext ctx)
{
    for (struct pool_block *b = c->first; b; b = b->after) {
        if (!b->event || (ctx && b->event_context != ctx))
            continue;
        b->event = NULL;
        b->pending = false;
    }
}

void heap_drop(CUmemoryPool pool, CUcontext ctx)
{
    for (struct pool_chunk **at = &pool->chunks; *at;) {
        struct pool_chunk *c = *at;
        drop_events(c, ctx);
        if (ctx && c->context != ctx) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        empty_chunk(c);
        if (ctx && c->mapped) {
            c->next = dropped;
            dropped = c;
        } else {
            free(c);
        }
    }
}

struct pool_chunk *heap_dropped(void)
{
    struct pool_chunk *chunks = dropped;
    dropped = NULL;
    return chunks;
}

/* --- Allocations ------------------------------------------------------------------- */

/* Which free block to take; the later, the better. */
enum claim { CLAIM_NONE, CLAIM_OTHER, CLAIM_REST };

static enum claim claim_of(struct pool_block *b, CUcontext ctx, CUstream stream)
{
    if (b->chunk->context != ctx)
        return CLAIM_NONE;
    return !b->pending || b->stream == stream ? CLAIM_REST : CLAIM_OTHER;
}

/* The smallest that has BYTES, of those with CLAIM. */
static struct pool_block *best_fit(CUmemoryPool pool, CUcontext ctx, size_t bytes, CUstream stream,
                                   enum claim claim)
{
    struct pool_block *best = NULL;
    for (struct pool_block *b = pool->free; b; b = b->more) {
        if (b->bytes >= bytes && claim_of(b, ctx, stream) == claim &&
            (!best || b->bytes < best->bytes))
            best = b;
    }
    return best;
}

/* What has come to rest joins, so that a larger piece may be found. Each question may be
 * a round trip: no more of them once one was in vain. */
static CUresult settle_all(CUmemoryPool pool)
{
    for (struct pool_chunk *c = pool->chunks; c; c = c->next) {
        for (struct pool_block *b = c->first; b; b = b->after) {
            CUresult rc = b->asked ? CUDA_SUCCESS : settle(b);
            if (rc != CUDA_SUCCESS)
                return rc == CUDA_ERROR_NOT_READY ? CUDA_SUCCESS : rc;
            while (at_rest(b) && at_rest(b->after))
                absorb(b);
        }
    }
    return CUDA_SUCCESS;
}

static CUresult record(struct pool_block *b, CUcontext ctx, CUstream stream)
{
    if (b->event && b->event_context != ctx) {
        cuEventDestroy_v2(b->event);
        b->event = NULL;
    }
    CUresult rc = b->event ? CUDA_SUCCESS : cuEventCreate(&b->event, CU_EVENT_DISABLE_TIMING);
    b->event_context = ctx;
    b->stream = stream;
    return rc == CUDA_SUCCESS ? cuEventRecord(b->event, stream) : rc;
}

/* Cuts what B has beyond BYTES off; without memory for that B keeps it. The event is B's:
 * the rest gets one behind STREAM's wait for it. */
static void split(struct pool_block *b, size_t bytes, CUstream stream)
{
    struct pool_block *rest = b->bytes > bytes ? calloc(1, sizeof(*rest)) : NULL;
    if (!rest)
        return;
    rest->pending = b->pending;
    if (b->pending && record(rest, b->chunk->context, stream) != CUDA_SUCCESS) {
        free_block(rest);
        return;
    }
    rest->chunk = b->chunk;
    rest->at = b->at + bytes;
    rest->bytes = b->bytes - bytes;
    rest->before = b;
    rest->after = b->after;
    if (rest->after)
        rest->after->before = rest;
    b->after = rest;
    b->bytes = bytes;
    list_free(rest);
}

static CUresult take(struct pool_block *b, size_t bytes, size_t asked, CUstream stream,
                     CUdeviceptr *ret_ptr)
{
    CUmemoryPool pool = b->chunk->pool;
    if (b->pending) {
        CUresult rc = cuStreamWaitEvent(stream, b->event, 0);
        if (rc != CUDA_SUCCESS)
            return rc;
    }
    unlist_free(b);
    split(b, bytes, stream);
    b->pending = false;
    b->asked = asked;
    b->more = *bucket_of(b->at);
    *bucket_of(b->at) = b;
    b->chunk->used++;
    pool->used += b->bytes;
    if (pool->used > pool->used_high)
        pool->used_high = pool->used;
    *ret_ptr = b->at;
    return CUDA_SUCCESS;
}

/* The pool has no room: it gives back what lies about, and tries once more. */
static CUresult grow_hard(CUmemoryPool pool, CUcontext ctx, size_t bytes, CUstream stream,
                          struct pool_block **ret_block)
{
    CUresult rc = cuCtxSynchronize();
    if (rc == CUDA_SUCCESS)
        rc = settle_all(pool);
    if (rc != CUDA_SUCCESS)
        return rc;
    *ret_block = best_fit(pool, ctx, bytes, stream, CLAIM_REST);
    if (*ret_block)
        return CUDA_SUCCESS;
    struct pool_chunk *gone = heap_trim(pool, 0);
    heap_unlock();
    heap_discard(gone);
    heap_lock();
    rc = grow(pool, ctx, bytes);
    *ret_block = best_fit(pool, ctx, bytes, stream, CLAIM_REST);
    return *ret_block ? CUDA_SUCCESS : rc != CUDA_SUCCESS ? rc : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult heap_alloc(CUmemoryPool pool, CUcontext ctx, size_t bytes, CUstream stream,
                    CUdeviceptr *ret_ptr)
{
    if (bytes > SIZE_MAX - GRANULE)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t room = (bytes + GRANULE - 1) / GRANULE * GRANULE;
    CUresult rc = CUDA_SUCCESS;
    struct pool_block *b = best_fit(pool, ctx, room, stream, CLAIM_REST);
    if (!b && pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC - 1]) {
        rc = settle_all(pool);
        if (rc != CUDA_SUCCESS)
            return rc;
        b = best_fit(pool, ctx, room, stream, CLAIM_REST);
    }
    if (!b && pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES - 1])
        b = best_fit(pool, ctx, room, stream, CLAIM_OTHER);
    if (!b) {
        rc = grow(pool, ctx, room);
        if (rc == CUDA_ERROR_OUT_OF_MEMORY)
            rc = grow_hard(pool, ctx, room, stream, &b);
        if (rc != CUDA_SUCCESS)
            return rc;
        if (!b)
            b = best_fit(pool, ctx, room, stream, CLAIM_REST);
    }
    return b ? take(b, room, bytes, stream, ret_ptr) : CUDA_ERROR_OUT_OF_MEMORY;
}

static struct pool_chunk *chunk_at(CUmemoryPool pools, CUdeviceptr ptr)
{
    for (CUmemoryPool p = pools; p; p = p->next) {
        for (struct pool_chunk *c = p->chunks; c; c = c->next) {
            if (ptr - c->base < c->bytes)
                return c;
        }
    }
    return NULL;
}

struct pool_block *heap_find(CUdeviceptr ptr, CUmemoryPool pools, struct pool_chunk **ret_chunk)
{
    /* Most ask for an allocation's first byte. */
    for (struct pool_block *b = *bucket_of(ptr); b; b = b->more) {
        if (b->at == ptr) {
            *ret_chunk = b->chunk;
            return b;
        }
    }
    *ret_chunk = chunk_at(pools, ptr);
    for (struct pool_block *b = *ret_chunk ? (*ret_chunk)->first : NULL; b; b = b->after) {
        if (ptr - b->at < b->bytes)
            return b->asked && ptr - b->at < b->asked ? b : NULL;
    }
    return NULL;
}

CUresult heap_free(struct pool_block *b, CUcontext ctx, CUstream stream, bool waited)
{
    CUresult rc = waited ? CUDA_SUCCESS : record(b, ctx, stream);
    if (rc != CUDA_SUCCESS)
        return rc;
    unlist_used(b);
    b->asked = 0;
    b->pending = !waited;
    b->chunk->used--;
    b->chunk->pool->used -= b->bytes;
    list_free(b);
    join(b);
    return CUDA_SUCCESS;
}
