/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between host and device. Pinned memory is in the arena: the GPU
 * copies it in place. Small pageable sources travel in the record. All other
 * pageable memory goes through the arena's slots in chunks, of which several are
 * under way while the next is filled or emptied here.
 */
#include <string.h>

#include "base/stream_copy.h"
#include "client_calls.h"
#include "handles.h"
#include "host.h"
#include "idm/graph/capture.h"
#include "memory.h"

#define MAX_INLINE (8u << 10)
/* Chunks of one copy under way at a time: enough to overlap, not enough to
 * leave other threads without. */
#define WINDOW 8
/* From this size on nobody finds the beginning of a copy in a cache when its end has come. */
#define STREAM_BYTES (4u << 20)

static CUresult send_to_device(const struct idm_copy_to_device_in *in, struct vg_ticket *ticket)
{
    struct idm_part parts[IDM_MAX_PARTS];
    return vg_send(IDM_copy_to_device, parts, idm_parts_copy_to_device_in(in, parts), ticket);
}

static CUresult send_from_device(const struct idm_copy_from_device_in *in, struct vg_ticket *ticket)
{
    struct idm_part parts[IDM_MAX_PARTS];
    return vg_send(IDM_copy_from_device, parts, idm_parts_copy_from_device_in(in, parts), ticket);
}

static CUresult stage_to_device(uint64_t dst, const char *src, size_t bytes, uint64_t stream)
{
    while (bytes) {
        size_t chunk = bytes < vg.slot_bytes ? bytes : vg.slot_bytes;
        struct vg_slot *slot = slot_take(true);
        if (!slot)
            return vg_enter(VG_ANY_CONTEXT);
        memcpy(slot_memory(slot), src, chunk);
        const struct idm_copy_to_device_in in = {
            .w = {.dst = dst, .at = slot_at(slot), .bytes = chunk, .stream = stream}};
        slot->ticket = (struct vg_ticket){.unwatched = true};
        CUresult rc = send_to_device(&in, &slot->ticket);
        if (rc != CUDA_SUCCESS) {
            slot_give(slot);
            return rc;
        }
        slot_fly(slot);
        dst += chunk;
        src += chunk;
        bytes -= chunk;
    }
    return CUDA_SUCCESS;
}

static CUresult pinned_to_device(uint64_t dst, uint64_t at, size_t bytes, uint64_t stream,
                                 bool wait)
{
    const struct idm_copy_to_device_in in = {
        .w = {.dst = dst, .at = at, .bytes = bytes, .stream = stream}};
    struct vg_ticket ticket = {.seq = 0};
    if (!wait)
        return vg_queue_copy_to_device(&in);
    VG_TRY(send_to_device(&in, &ticket));
    return vg_point(vg_await(&ticket));
}

static CUresult to_device(CUdeviceptr dst, const void *src, size_t bytes, CUstream s, bool wait)
{
    uint64_t at, to, stream;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(vg_use_stream(s, &stream));
    VG_TRY(vg_use_memory(dst, bytes, 1, &to));
    if (bytes == 0)
        return CUDA_SUCCESS;
    if (!src)
        return CUDA_ERROR_INVALID_VALUE;
    if (host_in_arena(src, bytes, &at))
        return pinned_to_device(to, at, bytes, stream, wait);
    if (bytes <= MAX_INLINE) {
        const struct idm_copy_inline_in in = {
            .w = {.dst = to, .stream = stream, .data_len = (uint32_t)bytes}, .data = src};
        return vg_queue_copy_inline(&in);
    }
    return stage_to_device(to, src, bytes, stream);
}

struct chunk {
    struct vg_slot *slot;
    char *dst;
    size_t bytes;
    bool stream; /* past the caches */
};

static CUresult start_chunk(struct chunk *c, uint64_t src, uint64_t stream)
{
    const struct idm_copy_from_device_in in = {
        .w = {.at = slot_at(c->slot), .src = src, .bytes = c->bytes, .stream = stream}};
    c->slot->ticket = (struct vg_ticket){.seq = 0};
    return send_from_device(&in, &c->slot->ticket);
}

static CUresult finish_chunk(const struct chunk *c, CUresult before)
{
    CUresult rc = vg_await(&c->slot->ticket);
    if (rc == CUDA_SUCCESS && before == CUDA_SUCCESS) {
        if (c->stream)
            gi_stream_copy(c->dst, slot_memory(c->slot), c->bytes);
        else
            memcpy(c->dst, slot_memory(c->slot), c->bytes);
    }
    slot_give(c->slot);
    return before != CUDA_SUCCESS ? before : rc;
}

/* The caller keeps its slots OWNED: their tickets are awaited here. */
static CUresult stage_from_device(char *dst, uint64_t src, size_t bytes, uint64_t stream)
{
    struct chunk chunks[WINDOW];
    unsigned first = 0, n = 0;
    const bool past_caches = bytes >= STREAM_BYTES;
    CUresult rc = CUDA_SUCCESS;
    while (n || (bytes && rc == CUDA_SUCCESS)) {
        while (bytes && n < WINDOW && rc == CUDA_SUCCESS) {
            /* Who holds one already must not wait for another. */
            struct vg_slot *slot = slot_take(n == 0);
            if (!slot)
                break;
            struct chunk *c = &chunks[(first + n) % WINDOW];
            *c = (struct chunk){slot, dst, bytes < vg.slot_bytes ? bytes : vg.slot_bytes,
                                past_caches};
            rc = start_chunk(c, src, stream);
            if (rc != CUDA_SUCCESS) {
                slot_give(slot);
                break;
            }
            n++;
            dst += c->bytes;
            src += c->bytes;
            bytes -= c->bytes;
        }
        if (n == 0)
            return rc != CUDA_SUCCESS ? rc : vg_enter(VG_ANY_CONTEXT);
        rc = finish_chunk(&chunks[first], rc);
        first = (first + 1) % WINDOW;
        n--;
    }
    return rc;
}

static CUresult pinned_from_device(uint64_t at, uint64_t src, size_t bytes, uint64_t stream,
                                   bool wait)
{
    const struct idm_copy_from_device_in in = {
        .w = {.at = at, .src = src, .bytes = bytes, .stream = stream}};
    struct vg_ticket ticket = {.seq = 0};
    if (!wait)
        return vg_queue_copy_from_device(&in);
    VG_TRY(send_from_device(&in, &ticket));
    return vg_point(vg_await(&ticket));
}

static CUresult from_device(void *dst, CUdeviceptr src, size_t bytes, CUstream s, bool wait)
{
    uint64_t at, from, stream;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(vg_use_stream(s, &stream));
    VG_TRY(vg_use_memory(src, bytes, 1, &from));
    if (bytes == 0)
        return CUDA_SUCCESS;
    if (!dst)
        return CUDA_ERROR_INVALID_VALUE;
    if (host_in_arena(dst, bytes, &at))
        return pinned_from_device(at, from, bytes, stream, wait);
    return vg_point(stage_from_device(dst, from, bytes, stream));
}

VG_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return to_device(dst, src, bytes, NULL, true);
}

VG_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes,
                                        CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyHtoDAsync_v2, dst, src, bytes, stream);
    return to_device(dst, src, bytes, stream, false);
}

VG_EXPORT CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return from_device(dst, src, bytes, NULL, true);
}

VG_EXPORT CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyDtoHAsync_v2, dst, src, bytes, stream);
    return from_device(dst, src, bytes, stream, false);
}

/* An address that may be the device's or the host's. Pinned memory counts as
 * the host's: then no CPU copies it either. */
struct place {
    bool device;
    void *host;
};

static struct place place_of(CUdeviceptr p)
{
    struct vg_memory m;
    if (!memory_at(p, &m))
        return (struct place){.host = (void *)(uintptr_t)p};
    if (m.kind == VG_PINNED)
        return (struct place){.host = (char *)m.host + (p - m.base)};
    return (struct place){.device = true};
}

static CUresult unified(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream, bool wait)
{
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    struct place to = place_of(dst);
    struct place from = place_of(src);
    if (to.device && from.device)
        return cuMemcpyDtoDAsync_v2(dst, src, bytes, stream);
    if (to.device)
        return to_device(dst, from.host, bytes, stream, wait);
    if (from.device)
        return from_device(to.host, src, bytes, stream, wait);
    /* From host to host, in the stream's order. */
    VG_TRY(cuStreamSynchronize(stream));
    memmove(to.host, from.host, bytes);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return unified(dst, src, bytes, NULL, true);
}

VG_EXPORT CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyAsync, dst, src, bytes, stream);
    return unified(dst, src, bytes, stream, false);
}
