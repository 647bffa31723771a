/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays. What one takes is the driver's to say, once it is there: what was reckoned is
 * reserved before, and what it takes more before the client hears of it.
 */
#include <stdlib.h>

#include "idm/arrays.h"
#include "internal.h"

#define ZEROS (1u << 20)

static CUresult no_room(struct worker *w)
{
    worker_count(&w->counters->quota_refusals, 1);
    w->error = IDM_ERROR_QUOTA;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* An array's or a mipmapped array's memory, kept with its object: `charged` bytes. */
static void uncharge(struct worker *w, uint64_t bytes)
{
    page_release(w->config->page, w->config->slot, bytes);
}

/* From BYTES charged to what the driver says it has TAKEN. */
static CUresult settle(struct worker *w, uint64_t taken, uint64_t *bytes)
{
    if (taken > *bytes && !page_reserve(w->config->page, w->config->slot, taken - *bytes))
        return no_room(w);
    if (taken < *bytes)
        uncharge(w, *bytes - taken);
    *bytes = taken;
    return CUDA_SUCCESS;
}

/* What was here before may have been another tenant's. From the host's zeros, in bands of
 * rows; the client learns of the array when that is done. */
static CUresult clear(struct worker *w, CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    size_t row = d->Width * array_element(d), height = d->Height ? d->Height : 1;
    if (!row)
        return CUDA_ERROR_INVALID_VALUE;
    size_t band = row < ZEROS ? ZEROS / row : 1;
    void *zeros = calloc(band < height ? band : height, row); // NOLINT(*-optin.portability.UnixAPI)
    CUresult rc = zeros ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t z = 0; z < (d->Depth ? d->Depth : 1); z++) {
        for (size_t y = 0; y < height && rc == CUDA_SUCCESS; y += band) {
            const CUDA_MEMCPY3D c = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                                     .srcHost = zeros,
                                     .srcPitch = row,
                                     .srcHeight = band,
                                     .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                                     .dstArray = array,
                                     .dstY = y,
                                     .dstZ = z,
                                     .WidthInBytes = row,
                                     .Height = band < height - y ? band : height - y,
                                     .Depth = 1};
            rc = w->cu.cuMemcpy3DAsync_v2(&c, CU_STREAM_PER_THREAD);
        }
    }
    if (rc == CUDA_SUCCESS)
        rc = w->cu.cuStreamSynchronize(CU_STREAM_PER_THREAD);
    free(zeros);
    return rc;
}

static bool has_arrays(const struct worker *w)
{
    const struct worker_driver *cu = &w->cu;
    return cu->cuArray3DCreate_v2 && cu->cuArrayDestroy && cu->cuMemcpy3DAsync_v2 &&
           cu->cuStreamSynchronize && cu->cuMipmappedArrayCreate && cu->cuMipmappedArrayGetLevel &&
           cu->cuMipmappedArrayDestroy;
}

static CUresult make_array(struct worker *w, const CUDA_ARRAY3D_DESCRIPTOR *d, uint64_t *bytes,
                           CUarray *ret)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {.size = *bytes};
    CUarray array = NULL;
    WORKER_TRY(w->cu.cuArray3DCreate_v2(&array, d));
    CUdevice dev = 0;
    CUresult rc = CUDA_SUCCESS;
    if (w->cu.cuArrayGetMemoryRequirements && w->cu.cuCtxGetDevice &&
        w->cu.cuCtxGetDevice(&dev) == CUDA_SUCCESS &&
        w->cu.cuArrayGetMemoryRequirements(&r, array, dev) == CUDA_SUCCESS)
        rc = settle(w, r.size, bytes);
    if (rc == CUDA_SUCCESS)
        rc = clear(w, array, d);
    if (rc == CUDA_SUCCESS)
        *ret = array;
    else
        w->cu.cuArrayDestroy(array);
    return rc;
}

CUresult worker_cuArray3DCreate_v2(struct worker *w, const struct idm_cuArray3DCreate_v2_in *in,
                                   struct idm_cuArray3DCreate_v2_out *out)
{
    const CUDA_ARRAY3D_DESCRIPTOR d = {.Width = in->w.width,
                                       .Height = in->w.height,
                                       .Depth = in->w.depth,
                                       .Format = (CUarray_format)in->w.format,
                                       .NumChannels = in->w.channels,
                                       .Flags = in->w.flags};
    struct worker_object *o;
    CUarray array = NULL;
    (void)out;
    if (!has_arrays(w))
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    WORKER_TRY(array_check(&d));
    WORKER_TRY(worker_expect(w, IDM_KIND_array, in->w.array, &o));
    uint64_t bytes = array_bytes(&d);
    if (!page_reserve(w->config->page, w->config->slot, bytes))
        return no_room(w);
    CUresult rc = make_array(w, &d, &bytes, &array);
    w->want_reply = true; /* nobody uses what wasn't made */
    worker_born(w, o, in->w.array, array, rc);
    if (rc == CUDA_SUCCESS)
        o->charged = bytes;
    else
        uncharge(w, bytes);
    return rc;
}

CUresult worker_cuArrayDestroy(struct worker *w, const struct idm_cuArrayDestroy_in *in,
                               struct idm_cuArrayDestroy_out *out)
{
    struct worker_object *o;
    (void)out;
    WORKER_TRY(worker_find_object(w, IDM_KIND_array, in->w.array, &o));
    if (o->parent) /* a level, which goes with all */
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult rc = w->cu.cuArrayDestroy(o->driver);
    worker_gone(w, in->w.array); /* its charge, too */
    return rc;
}

/* --- With levels -------------------------------------------------------------------------- */

static CUresult clear_levels(struct worker *w, CUmipmappedArray array,
                             const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    for (unsigned i = 0; i < levels; i++) {
        const CUDA_ARRAY3D_DESCRIPTOR level = array_level(d, i);
        CUarray a = NULL;
        WORKER_TRY(w->cu.cuMipmappedArrayGetLevel(&a, array, i));
        WORKER_TRY(clear(w, a, &level));
    }
    return CUDA_SUCCESS;
}

static CUresult make_mipmap(struct worker *w, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels,
                            uint64_t *bytes, CUmipmappedArray *ret)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {.size = *bytes};
    CUmipmappedArray array = NULL;
    CUdevice dev = 0;
    CUresult rc = CUDA_SUCCESS;
    WORKER_TRY(w->cu.cuMipmappedArrayCreate(&array, d, levels));
    if (w->cu.cuMipmappedArrayGetMemoryRequirements && w->cu.cuCtxGetDevice &&
        w->cu.cuCtxGetDevice(&dev) == CUDA_SUCCESS &&
        w->cu.cuMipmappedArrayGetMemoryRequirements(&r, array, dev) == CUDA_SUCCESS)
        rc = settle(w, r.size, bytes);
    if (rc == CUDA_SUCCESS)
        rc = clear_levels(w, array, d, levels);
    if (rc == CUDA_SUCCESS)
        *ret = array;
    else
        w->cu.cuMipmappedArrayDestroy(array);
    return rc;
}

CUresult worker_cuMipmappedArrayCreate(struct worker *w,
                                       const struct idm_cuMipmappedArrayCreate_in *in,
                                       struct idm_cuMipmappedArrayCreate_out *out)
{
    const CUDA_ARRAY3D_DESCRIPTOR d = {.Width = in->w.width,
                                       .Height = in->w.height,
                                       .Depth = in->w.depth,
                                       .Format = (CUarray_format)in->w.format,
                                       .NumChannels = in->w.channels,
                                       .Flags = in->w.flags};
    struct worker_object *o;
    CUmipmappedArray array = NULL;
    (void)out;
    if (!has_arrays(w))
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    WORKER_TRY(array_check(&d));
    if (!array_has_levels(&d, in->w.levels))
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(worker_expect(w, IDM_KIND_mipmap, in->w.array, &o));
    uint64_t bytes = 0;
    for (unsigned i = 0; i < in->w.levels; i++) {
        const CUDA_ARRAY3D_DESCRIPTOR level = array_level(&d, i);
        bytes += array_bytes(&level);
    }
    if (!page_reserve(w->config->page, w->config->slot, bytes))
        return no_room(w);
    CUresult rc = make_mipmap(w, &d, in->w.levels, &bytes, &array);
    w->want_reply = true;
    worker_born(w, o, in->w.array, array, rc);
    if (rc == CUDA_SUCCESS)
        o->charged = bytes;
    else
        uncharge(w, bytes);
    return rc;
}

CUresult worker_cuMipmappedArrayGetLevel(struct worker *w,
                                         const struct idm_cuMipmappedArrayGetLevel_in *in,
                                         struct idm_cuMipmappedArrayGetLevel_out *out)
{
    struct worker_object *o;
    void *array;
    CUarray level = NULL;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_mipmap, in->w.array, false, &array));
    WORKER_TRY(worker_expect(w, IDM_KIND_array, in->w.level, &o));
    CUresult rc = w->cu.cuMipmappedArrayGetLevel(&level, array, in->w.n);
    w->want_reply = true;
    worker_born(w, o, in->w.level, level, rc);
    if (rc == CUDA_SUCCESS)
        o->parent = in->w.array;
    return rc;
}

CUresult worker_cuMipmappedArrayDestroy(struct worker *w,
                                        const struct idm_cuMipmappedArrayDestroy_in *in,
                                        struct idm_cuMipmappedArrayDestroy_out *out)
{
    void *array;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_mipmap, in->w.array, false, &array));
    CUresult rc = w->cu.cuMipmappedArrayDestroy(array);
    worker_orphans_gone(w, in->w.array);
    worker_gone(w, in->w.array);
    return rc;
}

CUresult worker_cuArrayGetMemoryRequirements(struct worker *w,
                                             const struct idm_cuArrayGetMemoryRequirements_in *in,
                                             struct idm_cuArrayGetMemoryRequirements_out *out)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {.size = 0};
    CUdevice dev = 0;
    void *array;
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.array, false, &array));
    if (!w->cu.cuArrayGetMemoryRequirements || !w->cu.cuCtxGetDevice)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuCtxGetDevice(&dev));
    WORKER_TRY(w->cu.cuArrayGetMemoryRequirements(&r, array, dev));
    out->w.size = r.size;
    out->w.alignment = r.alignment;
    return CUDA_SUCCESS;
}

CUresult worker_cuMipmappedArrayGetMemoryRequirements(
    struct worker *w, const struct idm_cuMipmappedArrayGetMemoryRequirements_in *in,
    struct idm_cuMipmappedArrayGetMemoryRequirements_out *out)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {.size = 0};
    CUdevice dev = 0;
    void *array;
    WORKER_TRY(worker_find(w, IDM_KIND_mipmap, in->w.array, false, &array));
    if (!w->cu.cuMipmappedArrayGetMemoryRequirements || !w->cu.cuCtxGetDevice)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuCtxGetDevice(&dev));
    WORKER_TRY(w->cu.cuMipmappedArrayGetMemoryRequirements(&r, array, dev));
    out->w.size = r.size;
    out->w.alignment = r.alignment;
    return CUDA_SUCCESS;
}

/* --- Copies: the driver knows an array's bounds ------------------------------------------------
 */

/* BYTES x ROWS at PITCH: how far they reach; 0: no such rectangle. */
static uint64_t reach(uint64_t bytes, uint64_t rows, uint64_t pitch)
{
    uint64_t most = 0;
    bool good = bytes && rows && (rows == 1 || pitch >= bytes) &&
                !__builtin_mul_overflow(rows - 1, pitch, &most) &&
                !__builtin_add_overflow(most, bytes, &most);
    return good ? most : 0;
}

static CUresult copied(struct worker *w, const CUDA_MEMCPY3D *c, CUstream stream)
{
    if (!w->cu.cuMemcpy3DAsync_v2)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuMemcpy3DAsync_v2(c, stream));
    return w->want_reply ? worker_wait_stream(w, stream) : CUDA_SUCCESS;
}

/* BYTES x ROWS at P of TYPE, to or from a place in ARRAY. */
static CUDA_MEMCPY3D box(void *array, uint64_t x, uint64_t y, uint64_t z, CUmemorytype type,
                         uint64_t p, uint64_t pitch, uint64_t bytes, uint64_t rows, bool to_array)
{
    CUDA_MEMCPY3D c = {.WidthInBytes = bytes, .Height = rows, .Depth = 1};
    void *host = (void *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
#define SIDES(in, out)                                                                             \
    c.in##MemoryType = CU_MEMORYTYPE_ARRAY;                                                        \
    c.in##Array = array;                                                                           \
    c.in##XInBytes = x;                                                                            \
    c.in##Y = y;                                                                                   \
    c.in##Z = z;                                                                                   \
    c.out##MemoryType = type;                                                                      \
    c.out##Host = host;                                                                            \
    c.out##Device = p;                                                                             \
    c.out##Pitch = pitch;                                                                          \
    c.out##Height = rows;
    if (to_array) {
        SIDES(dst, src)
    } else {
        SIDES(src, dst)
    }
#undef SIDES
    return c;
}

CUresult worker_array_device(struct worker *w, const struct idm_array_device_in *in,
                             struct idm_array_device_out *out)
{
    CUstream stream;
    void *array;
    uint64_t pitch = in->w.rows > 1 ? in->w.pitch : in->w.bytes;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.array, false, &array));
    uint64_t most = reach(in->w.bytes, in->w.rows, pitch);
    if (!most)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(worker_check_memory(w, in->w.ptr, most, 1));
    const CUDA_MEMCPY3D c = box(array, in->w.x, in->w.y, in->w.z, CU_MEMORYTYPE_DEVICE, in->w.ptr,
                                pitch, in->w.bytes, in->w.rows, in->w.to_array != 0);
    return copied(w, &c, stream);
}

CUresult worker_array_arena(struct worker *w, const struct idm_array_arena_in *in,
                            struct idm_array_arena_out *out)
{
    CUstream stream;
    void *array;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.array, false, &array));
    uint64_t most = reach(in->w.bytes, in->w.rows, in->w.bytes);
    if (!most || in->w.at > w->config->arena_bytes || most > w->config->arena_bytes - in->w.at)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "array copy outside of the arena");
    _Atomic uint64_t *counter =
        in->w.to_array ? &w->counters->bytes_to_device : &w->counters->bytes_from_device;
    worker_count(counter, most);
    const CUDA_MEMCPY3D c = box(array, in->w.x, in->w.y, in->w.z, CU_MEMORYTYPE_HOST,
                                (uint64_t)(uintptr_t)(w->arena + in->w.at), in->w.bytes,
                                in->w.bytes, in->w.rows, in->w.to_array != 0);
    return copied(w, &c, stream);
}

/* The record is pageable memory, which the driver has read when it returns. */
CUresult worker_array_inline(struct worker *w, const struct idm_array_inline_in *in,
                             struct idm_array_inline_out *out)
{
    CUstream stream;
    void *array;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.array, false, &array));
    uint64_t most = reach(in->w.bytes, in->w.rows, in->w.bytes);
    if (!most || most != in->w.data_len)
        return worker_malformed(w);
    worker_count(&w->counters->bytes_to_device, most);
    const CUDA_MEMCPY3D c =
        box(array, in->w.x, in->w.y, in->w.z, CU_MEMORYTYPE_HOST, (uint64_t)(uintptr_t)in->data,
            in->w.bytes, in->w.bytes, in->w.rows, true);
    return copied(w, &c, stream);
}

CUresult worker_array_array(struct worker *w, const struct idm_array_array_in *in,
                            struct idm_array_array_out *out)
{
    CUstream stream;
    void *dst, *src;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.dst, false, &dst));
    WORKER_TRY(worker_find(w, IDM_KIND_array, in->w.src, false, &src));
    const CUDA_MEMCPY3D c = {.dstMemoryType = CU_MEMORYTYPE_ARRAY,
                             .dstArray = dst,
                             .dstXInBytes = in->w.to_x,
                             .dstY = in->w.to_y,
                             .dstZ = in->w.to_z,
                             .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                             .srcArray = src,
                             .srcXInBytes = in->w.from_x,
                             .srcY = in->w.from_y,
                             .srcZ = in->w.from_z,
                             .WidthInBytes = in->w.bytes,
                             .Height = in->w.rows,
                             .Depth = 1};
    return copied(w, &c, stream);
}
