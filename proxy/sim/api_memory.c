/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations, pinned host memory, what a pointer is. */
#include <string.h>

#include "idm/graph/capture.h"
#include "idm/pointer_attributes.h"
#include "idm/pools.h"
#include "mem.h"
#include "stream.h"
#include "vmm.h"

#define MANAGED MEM_FLAG_MANAGED
#define ALLOC_FLAGS                                                                                \
    (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define REGISTER_FLAGS                                                                             \
    (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY)

/* What C got just now, unless it was destroyed meanwhile: then nobody else frees it. */
static CUresult keep(const struct CUctx_st *c, uint64_t address, enum mem_kind kind)
{
    if (!c->dead)
        return CUDA_SUCCESS;
    mem_release(address, kind, c);
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    uint64_t address = 0;
    TRY(sim_context(&c));
    if (!ptr || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    TRY((CUresult)mem_alloc(c, c->device, MEM_DEVICE, bytes, &address));
    TRY(keep(c, address, MEM_DEVICE));
    *ptr = address;
    return CUDA_SUCCESS;
}

/* Waits until nothing queued so far can touch the range at R. */
static void let_rest(const struct mem_range *r)
{
    sched_drain(mem_is_shared(r->base) ? NULL : r->owner);
}

static bool is_managed(const struct mem_range *r)
{
    return (r->kind == MEM_HOST || r->kind == MEM_GLOBAL) && (r->flags & MANAGED);
}

CUresult cuMemFree_v2(CUdeviceptr ptr)
{
    CAPTURE_HOOK(cuMemFree_v2, ptr);
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!ptr)
        return CUDA_SUCCESS;
    if (mem_at(ptr, &r) && r.base == ptr && r.kind == MEM_HOST && is_managed(&r))
        return cuMemFreeHost((void *)(uintptr_t)ptr);
    struct pool_place pooled;
    if (pools_at(ptr, &pooled))
        return pools_free(ptr);
    if (!mem_at(ptr, &r) || r.base != ptr || r.kind != MEM_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    let_rest(&r);
    return mem_release(ptr, MEM_DEVICE, r.owner) ? c->error : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
    struct CUctx_st *c;
    uint64_t left, all;
    TRY(sim_context(&c));
    if (!free || !total)
        return CUDA_ERROR_INVALID_VALUE;
    mem_info(c->device, &left, &all);
    *free = left;
    *total = all;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr ptr)
{
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    struct pool_place pooled;
    bool found = mem_at(ptr, &r);
    if (found && pools_at(ptr, &pooled)) {
        r.base = pooled.base;
        r.end = pooled.base + pooled.bytes;
        found = pooled.base != 0;
    }
    if (!found)
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = r.base;
    if (size)
        *size = r.end - r.base;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned int flags)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!p || !bytes || (flags & ~(unsigned)ALLOC_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    void *memory = NULL;
    TRY((CUresult)mem_host_alloc(c, c->device, bytes, flags, &memory));
    TRY(keep(c, (uintptr_t)memory, MEM_HOST));
    *p = memory;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t bytes, unsigned int flags)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!ptr || !bytes || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    void *memory = NULL;
    TRY((CUresult)mem_host_alloc(c, c->device, bytes, MANAGED, &memory));
    TRY(keep(c, (uintptr_t)memory, MEM_HOST));
    memset(memory, 0, bytes);
    *ptr = (uintptr_t)memory;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void **p, size_t bytes)
{
    return cuMemHostAlloc(p, bytes, 0);
}

CUresult cuMemFreeHost(void *p)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!p)
        return CUDA_SUCCESS;
    if (!mem_at((uintptr_t)p, &r) || r.base != (uintptr_t)p || r.kind != MEM_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    let_rest(&r);
    return mem_release((uintptr_t)p, MEM_HOST, NULL) ? c->error : CUDA_ERROR_INVALID_VALUE;
}

static bool pinned_at(const void *p, struct mem_range *ret_range)
{
    return mem_at((uintptr_t)p, ret_range) &&
           (ret_range->kind == MEM_HOST || ret_range->kind == MEM_REGISTERED);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ptr, void *p, unsigned int flags)
{
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!ptr || flags || !pinned_at(p, &r))
        return CUDA_ERROR_INVALID_VALUE;
    *ptr = (uintptr_t)p;
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!flags || !pinned_at(p, &r))
        return CUDA_ERROR_INVALID_VALUE;
    /* With unified addressing all of it is mapped. */
    *flags = (r.flags & ~MANAGED) | CU_MEMHOSTALLOC_DEVICEMAP;
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!p || !bytes || (flags & ~(unsigned)REGISTER_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    TRY((CUresult)mem_host_register(c, c->device, p, bytes, flags));
    return keep(c, (uintptr_t)p, MEM_REGISTERED);
}

CUresult cuMemHostUnregister(void *p)
{
    CAPTURE_HOOK_UNSAFE();
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (!mem_at((uintptr_t)p, &r) || r.base != (uintptr_t)p || r.kind != MEM_REGISTERED)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    let_rest(&r);
    return mem_release((uintptr_t)p, MEM_REGISTERED, NULL) ? c->error
                                                           : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    struct CUctx_st *c;
    struct mem_range r;
    TRY(sim_context(&c));
    if (!data || !mem_at(ptr, &r))
        return CUDA_ERROR_INVALID_VALUE;
    if (pools_attribute(data, attribute, ptr))
        return CUDA_SUCCESS;
    bool device = r.kind == MEM_DEVICE || r.kind == MEM_GLOBAL || r.kind == MEM_MAPPED ||
                  r.kind == MEM_OPENED;
    bool managed = is_managed(&r);
    struct CUctx_st *owner = r.owner;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)data = owner ? context_handle(owner) : NULL;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned int *)data = device || managed ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)data = ptr;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (device && !managed)
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)data = (void *)(uintptr_t)ptr;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned int *)data = managed;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = r.device;
        return CUDA_SUCCESS;
    default:
        return pointer_attribute(data, attribute,
                                 &(struct pointer_range){.base = r.base,
                                                         .bytes = r.end - r.base,
                                                         .id = r.id,
                                                         .ipc = r.kind == MEM_DEVICE,
                                                         .kinds = vmm_handle_types(ptr)});
    }
}
