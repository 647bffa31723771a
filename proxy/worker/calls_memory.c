/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory with its quota, pinned pieces of the arena, copies. */
#include "internal.h"

/*
 * What was here before may have been another tenant's. Zeroed on a stream of
 * its own, so that it doesn't queue behind the client's kernels; the client
 * learns the address when that is done.
 */
static CUresult scrub(struct worker *w, CUdeviceptr p, size_t bytes)
{
    struct worker_object *context;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, w->context, &context));
    if (!context->scrubber) {
        CUstream stream;
        WORKER_TRY(w->cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        context->scrubber = stream;
    }
    WORKER_TRY(w->cu.cuMemsetD8Async(p, 0, bytes, context->scrubber));
    return worker_wait_stream(w, context->scrubber);
}

static void undo(struct worker *w, CUdeviceptr p, uint64_t bytes)
{
    struct range *range = ranges_at(&w->ranges, p);
    if (range)
        ranges_remove(&w->ranges, range);
    w->cu.cuMemFree_v2(p);
    page_release(w->config->page, w->config->slot, bytes);
}

CUresult worker_cuMemAlloc_v2(struct worker *w, const struct idm_cuMemAlloc_v2_in *in,
                              struct idm_cuMemAlloc_v2_out *out)
{
    CUdeviceptr p = 0;
    uint64_t bytes = in->w.bytes;
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!page_reserve(w->config->page, w->config->slot, bytes)) {
        worker_count(&w->counters->quota_refusals, 1);
        w->error = IDM_ERROR_QUOTA;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult rc = w->cu.cuMemAlloc_v2(&p, bytes);
    if (rc != CUDA_SUCCESS) {
        page_release(w->config->page, w->config->slot, bytes);
        return rc;
    }
    struct range range = {
        .base = p, .bytes = bytes, .context = w->context, .kind = RANGE_ALLOCATION};
    rc = ranges_add(&w->ranges, &range) < 0 ? CUDA_ERROR_OUT_OF_MEMORY : scrub(w, p, bytes);
    if (rc != CUDA_SUCCESS && rc != WORKER_LATER) {
        undo(w, p, bytes);
        return rc;
    }
    out->w.ptr = p;
    return rc;
}

CUresult worker_cuMemFree_v2(struct worker *w, const struct idm_cuMemFree_v2_in *in,
                             struct idm_cuMemFree_v2_out *out)
{
    if (in->w.ptr == 0)
        return CUDA_SUCCESS;
    struct range *range = ranges_at(&w->ranges, in->w.ptr);
    if (!range || range->base != in->w.ptr || range->kind != RANGE_ALLOCATION)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "free of what isn't the client's");
    uint64_t bytes = range->bytes;
    const struct shelf_token shared = range->shared;
    CUresult rc = w->cu.cuMemFree_v2(in->w.ptr);
    if (rc != CUDA_SUCCESS)
        return rc;
    /* The driver may move the array, not the other way round. */
    ranges_remove(&w->ranges, range);
    worker_uncharge(w, bytes, &shared);
    return CUDA_SUCCESS;
}

CUresult worker_cuMemGetInfo_v2(struct worker *w, const struct idm_cuMemGetInfo_v2_in *in,
                                struct idm_cuMemGetInfo_v2_out *out)
{
    size_t unused = 0, total = 0;
    WORKER_TRY(w->cu.cuMemGetInfo_v2(&unused, &total));
    uint64_t quota = atomic_load(&w->config->page->memory_quota);
    uint64_t used = page_memory_used(w->config->page);
    uint64_t left = used < quota ? quota - used : 0;
    out->w.total = total < quota ? total : quota;
    out->w.free = unused < left ? unused : left;
    return CUDA_SUCCESS;
}

static bool in_arena(const struct worker *w, uint64_t at, uint64_t bytes)
{
    return at <= w->config->arena_bytes && bytes <= w->config->arena_bytes - at;
}

CUresult worker_host_register(struct worker *w, const struct idm_host_register_in *in,
                              struct idm_host_register_out *out)
{
    uint64_t at = in->w.at;
    uint64_t bytes = in->w.bytes;
    if (!in_arena(w, at, bytes) || at % 4096 || bytes % 4096 || !bytes)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "piece outside of the arena");
    uint8_t *p = w->arena + at;
    CUdeviceptr device = 0;
    WORKER_TRY(w->cu.cuMemHostRegister_v2(
        p, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP));
    CUresult rc = w->cu.cuMemHostGetDevicePointer_v2(&device, p, 0);
    struct range range = {.base = device, .bytes = bytes, .owner = at, .kind = RANGE_HOST};
    /* Portable: it belongs to no context and outlives this one. */
    if (rc == CUDA_SUCCESS && ranges_add(&w->ranges, &range) < 0)
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS) {
        w->cu.cuMemHostUnregister(p);
        return rc;
    }
    out->w.device = device;
    return CUDA_SUCCESS;
}

CUresult worker_host_unregister(struct worker *w, const struct idm_host_unregister_in *in,
                                struct idm_host_unregister_out *out)
{
    for (uint32_t i = 0; i < w->ranges.n; i++) {
        struct range *range = &w->ranges.all[i];
        if (range->kind != RANGE_HOST || range->owner != in->w.at)
            continue;
        CUresult rc = w->cu.cuMemHostUnregister(w->arena + in->w.at);
        ranges_remove(&w->ranges, range);
        return rc;
    }
    return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "piece that isn't pinned");
}

/* A copy that the client waits for is answered when it is done. */
static CUresult copied(struct worker *w, CUresult rc, CUstream stream, _Atomic uint64_t *counter,
                       uint64_t bytes)
{
    if (rc != CUDA_SUCCESS)
        return rc;
    worker_count(counter, bytes);
    return w->want_reply ? worker_wait_stream(w, stream) : CUDA_SUCCESS;
}

CUresult worker_copy_to_device(struct worker *w, const struct idm_copy_to_device_in *in,
                               struct idm_copy_to_device_out *out)
{
    CUstream stream;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_check_memory(w, in->w.dst, in->w.bytes, 1));
    if (!in_arena(w, in->w.at, in->w.bytes))
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "copy from outside of the arena");
    CUresult rc = w->cu.cuMemcpyHtoDAsync_v2(in->w.dst, w->arena + in->w.at, in->w.bytes, stream);
    return copied(w, rc, stream, &w->counters->bytes_to_device, in->w.bytes);
}

CUresult worker_copy_from_device(struct worker *w, const struct idm_copy_from_device_in *in,
                                 struct idm_copy_from_device_out *out)
{
    CUstream stream;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_check_memory(w, in->w.src, in->w.bytes, 1));
    if (!in_arena(w, in->w.at, in->w.bytes))
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "copy to outside of the arena");
    CUresult rc = w->cu.cuMemcpyDtoHAsync_v2(w->arena + in->w.at, in->w.src, in->w.bytes, stream);
    return copied(w, rc, stream, &w->counters->bytes_from_device, in->w.bytes);
}

/* The record is pageable memory, which the driver has read when it returns. */
CUresult worker_copy_inline(struct worker *w, const struct idm_copy_inline_in *in,
                            struct idm_copy_inline_out *out)
{
    CUstream stream;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_check_memory(w, in->w.dst, in->w.data_len, 1));
    CUresult rc = w->cu.cuMemcpyHtoDAsync_v2(in->w.dst, in->data, in->w.data_len, stream);
    return copied(w, rc, stream, &w->counters->bytes_to_device, in->w.data_len);
}
