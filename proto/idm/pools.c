/* SPDX-License-Identifier: Apache-2.0 */
/* The calls about memory pools, in libvgpu and in the simulated driver. */
#include "idm/pools.h"

#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture.h"
#include "idm/pool_heap.h"

#define MAX_POOLS 1024u /* that programs make */

/* Under the heap's lock. */
static struct {
    struct CUmemPoolHandle_st first[POOL_MAX_DEVICES]; /* the default ones, once asked for */
    CUmemoryPool current[POOL_MAX_DEVICES];
    CUmemoryPool all;
    unsigned made;
} pools;

static void init_pool(CUmemoryPool p, CUdevice dev, uint64_t max)
{
    memset(p, 0, sizeof(*p));
    p->device = dev;
    p->max = max;
    p->reuse[0] = p->reuse[1] = p->reuse[2] = 1;
    p->next = pools.all;
    pools.all = p;
}

static CUresult check_device(CUdevice dev)
{
    int n = 0;
    CUresult rc = cuDeviceGetCount(&n);
    if (rc != CUDA_SUCCESS)
        return rc;
    return dev >= 0 && dev < n && dev < POOL_MAX_DEVICES ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* With the lock. */
static CUmemoryPool default_of(CUdevice dev)
{
    CUmemoryPool p = &pools.first[dev];
    if (!pools.current[dev]) {
        init_pool(p, dev, 0);
        pools.current[dev] = p;
    }
    return p;
}

static bool is_default(CUmemoryPool p)
{
    return p == &pools.first[p->device];
}

/* With the lock: is it a pool? */
static bool is_pool(CUmemoryPool pool)
{
    CUmemoryPool p = pools.all;
    while (p && p != pool)
        p = p->next;
    return p && !p->destroyed;
}

static CUresult pool_of(CUmemoryPool *pool, CUdevice dev, bool current)
{
    CUresult rc = check_device(dev);
    if (rc != CUDA_SUCCESS)
        return rc;
    if (!pool)
        return CUDA_ERROR_INVALID_VALUE;
    heap_lock();
    CUmemoryPool first = default_of(dev);
    *pool = current ? pools.current[dev] : first;
    heap_unlock();
    return CUDA_SUCCESS;
}

/* Memory elsewhere than on a device has no pools here. */
static CUresult check_place(const CUmemLocation *where, CUmemAllocationType type)
{
    if (!where)
        return CUDA_ERROR_INVALID_VALUE;
    return where->type == CU_MEM_LOCATION_TYPE_DEVICE && type == CU_MEM_ALLOCATION_TYPE_PINNED
               ? CUDA_SUCCESS
               : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev)
{
    return pool_of(pool, dev, false);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
    return pool_of(pool, dev, true);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
    CUresult rc = check_device(dev);
    if (rc != CUDA_SUCCESS)
        return rc;
    heap_lock();
    default_of(dev);
    if (!is_pool(pool) || pool->device != dev)
        rc = CUDA_ERROR_INVALID_VALUE;
    else
        pools.current[dev] = pool;
    heap_unlock();
    return rc;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *where, CUmemAllocationType type)
{
    CUresult rc = check_place(where, type);
    return rc == CUDA_SUCCESS ? pool_of(pool, where->id, false) : rc;
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *where, CUmemAllocationType type)
{
    CUresult rc = check_place(where, type);
    return rc == CUDA_SUCCESS ? pool_of(pool, where->id, true) : rc;
}

CUresult cuMemSetMemPool(CUmemLocation *where, CUmemAllocationType type, CUmemoryPool pool)
{
    CUresult rc = check_place(where, type);
    return rc == CUDA_SUCCESS ? cuDeviceSetMemPool(where->id, pool) : rc;
}

/* --- Making and ending -------------------------------------------------------------- */

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
    if (!pool || !props)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = check_place(&props->location, props->allocType);
    if (rc == CUDA_SUCCESS)
        rc = check_device(props->location.id);
    if (rc != CUDA_SUCCESS)
        return rc;
    /* No other process can be given its memory. */
    if (props->handleTypes != CU_MEM_HANDLE_TYPE_NONE || props->usage)
        return CUDA_ERROR_NOT_SUPPORTED;
    CUmemoryPool p = malloc(sizeof(*p));
    heap_lock();
    if (p && pools.made < MAX_POOLS) {
        init_pool(p, props->location.id, props->maxSize);
        pools.made++;
        *pool = p;
        p = NULL;
    } else {
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    heap_unlock();
    free(p);
    return rc;
}

/* With the lock: a destroyed pool goes when it holds nothing. */
static void bury(CUmemoryPool pool)
{
    if (!pool->destroyed || pool->chunks)
        return;
    CUmemoryPool *at = &pools.all;
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    pools.made--;
    free(pool);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
    struct pool_chunk *gone = NULL;
    CUresult rc = CUDA_SUCCESS;
    heap_lock();
    if (!is_pool(pool) || is_default(pool)) {
        rc = CUDA_ERROR_INVALID_VALUE;
    } else {
        pool->destroyed = true;
        if (pools.current[pool->device] == pool)
            pools.current[pool->device] = &pools.first[pool->device];
        gone = heap_trim(pool, 0);
        bury(pool);
    }
    heap_unlock();
    heap_discard(gone);
    return rc;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
    struct pool_chunk *gone = NULL;
    heap_lock();
    bool good = is_pool(pool);
    if (good)
        gone = heap_trim(pool, keep);
    heap_unlock();
    heap_discard(gone);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* --- Attributes ----------------------------------------------------------------------- */

static CUresult set_attribute(CUmemoryPool p, CUmemPool_attribute what, const void *value)
{
    uint64_t wide = 0;
    int narrow = 0;
    if (what <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) {
        memcpy(&narrow, value, sizeof(narrow));
        p->reuse[what - 1] = narrow != 0;
        return CUDA_SUCCESS;
    }
    memcpy(&wide, value, sizeof(wide));
    if (what == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
        p->threshold = wide;
        return CUDA_SUCCESS;
    }
    /* Marks of the highest can be taken back to what is. */
    if (wide != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (what == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)
        p->reserved_high = p->reserved;
    else if (what == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
        p->used_high = p->used;
    else
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult get_attribute(CUmemoryPool p, CUmemPool_attribute what, void *value)
{
    const uint64_t wide[] = {p->threshold, p->reserved, p->reserved_high, p->used, p->used_high};
    if (what <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
        memcpy(value, &p->reuse[what - 1], sizeof(int));
    else
        memcpy(value, &wide[what - CU_MEMPOOL_ATTR_RELEASE_THRESHOLD], sizeof(uint64_t));
    return CUDA_SUCCESS;
}

static bool is_attribute(CUmemPool_attribute what)
{
    return (int)what >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
           what <= CU_MEMPOOL_ATTR_USED_MEM_HIGH;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute what, void *value)
{
    if (!value || !is_attribute(what))
        return CUDA_ERROR_INVALID_VALUE;
    heap_lock();
    CUresult rc = is_pool(pool) ? set_attribute(pool, what, value) : CUDA_ERROR_INVALID_VALUE;
    heap_unlock();
    return rc;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute what, void *value)
{
    if (!value || !is_attribute(what))
        return CUDA_ERROR_INVALID_VALUE;
    heap_lock();
    CUresult rc = is_pool(pool) ? get_attribute(pool, what, value) : CUDA_ERROR_INVALID_VALUE;
    heap_unlock();
    return rc;
}

/* With the lock. Its own device always has access. */
static CUresult set_access(CUmemoryPool pool, const CUmemAccessDesc *a)
{
    CUdevice dev = a->location.id;
    if (a->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (a->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && a->flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
        a->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = check_device(dev);
    if (rc != CUDA_SUCCESS)
        return rc;
    if (dev == pool->device)
        return a->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? CUDA_SUCCESS
                                                              : CUDA_ERROR_INVALID_VALUE;
    int can = 1;
    if (a->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
        rc = cuDeviceCanAccessPeer(&can, dev, pool->device);
    if (rc == CUDA_SUCCESS && !can)
        rc = CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    return rc == CUDA_SUCCESS ? heap_open(pool, dev, a->flags) : rc;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *access, size_t n)
{
    CUresult rc = n && !access ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    heap_lock();
    if (!is_pool(pool))
        rc = CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = set_access(pool, &access[i]);
    heap_unlock();
    return rc;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool pool, CUmemLocation *where)
{
    CUresult rc = CUDA_SUCCESS;
    if (!flags || !where)
        return CUDA_ERROR_INVALID_VALUE;
    heap_lock();
    if (!is_pool(pool))
        rc = CUDA_ERROR_INVALID_VALUE;
    else if (where->type == CU_MEM_LOCATION_TYPE_DEVICE && where->id == pool->device)
        *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    else if (where->type == CU_MEM_LOCATION_TYPE_DEVICE && where->id >= 0 &&
             where->id < POOL_MAX_DEVICES)
        *flags = (CUmemAccess_flags)(pool->access >> 2 * where->id & 3u);
    else
        *flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    heap_unlock();
    return rc;
}

/* --- Allocation --------------------------------------------------------------------------- */

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* STREAM is one, of the current context, and captures nothing. */
static CUresult check_stream(CUstream stream, CUcontext *ret_context)
{
    unsigned flags; /* is it a stream? */
    *ret_context = NULL;
    CAPTURE_HOOK(stream, stream);
    CUresult rc = cuStreamGetFlags(stream, &flags);
    return rc == CUDA_SUCCESS ? cuCtxGetCurrent(ret_context) : rc;
}

/* POOL NULL: the device's current one. */
static CUresult allocate(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CUcontext ctx;
    CUdevice dev;
    CUdeviceptr p = 0;
    CUresult rc = check_stream(stream, &ctx);
    if (rc == CUDA_SUCCESS)
        rc = cuCtxGetDevice(&dev);
    if (rc != CUDA_SUCCESS)
        return rc;
    if (!ptr || !bytes || dev >= POOL_MAX_DEVICES)
        return CUDA_ERROR_INVALID_VALUE;
    heap_lock();
    default_of(dev);
    if (!pool)
        pool = pools.current[dev];
    rc = is_pool(pool) && pool->device == dev ? heap_alloc(pool, ctx, bytes, stream, &p)
                                              : CUDA_ERROR_INVALID_VALUE;
    heap_unlock();
    if (rc == CUDA_SUCCESS)
        *ptr = p;
    return rc;
}

CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemAllocAsync, ptr, bytes, stream);
    return allocate(ptr, bytes, NULL, stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CAPTURE_HOOK(cuMemAllocAsync, ptr, bytes, stream);
    return pool ? allocate(ptr, bytes, pool, stream) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult release(CUdeviceptr ptr, CUcontext ctx, CUstream stream, bool waited)
{
    struct pool_chunk *c = NULL, *gone = NULL;
    heap_lock();
    struct pool_block *b = heap_find(ptr, pools.all, &c);
    CUresult rc = b && b->at == ptr ? heap_free(b, ctx, stream, waited) : CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS && c->pool->destroyed) {
        CUmemoryPool pool = c->pool;
        gone = heap_trim(pool, 0);
        bury(pool);
    }
    heap_unlock();
    heap_discard(gone);
    return rc;
}

CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream)
{
    CUcontext ctx;
    CAPTURE_HOOK(cuMemFreeAsync, ptr, stream);
    CUresult rc = check_stream(stream, &ctx);
    return rc == CUDA_SUCCESS ? release(ptr, ctx, stream, false) : rc;
}

CUresult pools_free(CUdeviceptr ptr)
{
    CUresult rc = cuCtxSynchronize();
    return rc == CUDA_SUCCESS ? release(ptr, NULL, NULL, true) : rc;
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
    return cuMemAllocAsync(ptr, bytes, own(stream));
}

CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool,
                                      CUstream stream)
{
    return cuMemAllocFromPoolAsync(ptr, bytes, pool, own(stream));
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr ptr, CUstream stream)
{
    return cuMemFreeAsync(ptr, own(stream));
}

/* --- For the libcuda it is in ----------------------------------------------------------- */

bool pools_at(CUdeviceptr ptr, struct pool_place *ret_place)
{
    struct pool_chunk *c = NULL;
    if (!heap_in_use())
        return false;
    heap_lock();
    const struct pool_block *b = heap_find(ptr, pools.all, &c);
    if (c)
        *ret_place = (struct pool_place){c->pool, b ? b->at : 0, b ? b->asked : 0};
    heap_unlock();
    return c != NULL;
}

bool pools_attribute(void *data, CUpointer_attribute what, CUdeviceptr ptr)
{
    struct pool_place place;
    if (!pools_at(ptr, &place) || !place.base)
        return false;
    switch (what) {
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        memcpy(data, &place.base, sizeof(place.base));
        return true;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        memcpy(data, &place.bytes, sizeof(place.bytes));
        return true;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        memcpy(data, &place.pool, sizeof(CUmemoryPool)); // NOLINT(bugprone-sizeof-expression)
        return true;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        memset(data, 0, sizeof(int)); /* nobody but the pool may give it away */
        return true;
    default:
        return false;
    }
}

void pools_synchronized(void)
{
    struct pool_chunk *gone = NULL;
    /* Who holds the lock may be the one who waited: a pool that makes room. */
    if (!heap_in_use() || !heap_lock_unless_held())
        return;
    for (CUmemoryPool next, p = pools.all; p; p = next) {
        next = p->next;
        struct pool_chunk *some = p->reserved > p->threshold || p->destroyed
                                      ? heap_trim(p, p->destroyed ? 0 : p->threshold)
                                      : NULL;
        while (some) {
            struct pool_chunk *c = some;
            some = c->next;
            c->next = gone;
            gone = c;
        }
        bury(p);
    }
    heap_unlock();
    heap_discard(gone);
}

void pools_context_ends(CUcontext ctx)
{
    if (!heap_in_use())
        return;
    heap_lock();
    for (CUmemoryPool next, p = pools.all; p; p = next) {
        next = p->next;
        heap_drop(p, ctx);
        bury(p);
    }
    heap_unlock();
}

void pools_context_ended(void)
{
    heap_lock();
    struct pool_chunk *gone = heap_dropped();
    heap_unlock();
    heap_discard(gone);
}

void pools_forget(void)
{
    bool sound = heap_forget();
    while (sound && pools.all) {
        CUmemoryPool p = pools.all;
        pools.all = p->next;
        heap_drop(p, NULL);
        if (!is_default(p))
            free(p);
    }
    memset(&pools, 0, sizeof(pools));
}
