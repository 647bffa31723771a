/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and fills of rectangles and boxes, row by row with plain ones, in
 * libvgpu and in the simulated driver; to and from arrays plane by plane.
 */
#include <string.h>

#include "idm/arrays.h"
#include "idm/graph/capture.h"

#define PITCH_ALIGN 512u

/* One side of a copy: rows of a plane, planes of a box. */
struct side {
    CUmemorytype type;
    uint64_t at; /* the first byte */
    uint64_t pitch, plane;
    struct array_place in; /* of an array */
};

static bool make_side(struct side *s, CUmemorytype type, const void *host, CUdeviceptr device,
                      const struct array_place *in)
{
    s->type = type;
    s->in = *in;
    if (type == CU_MEMORYTYPE_ARRAY) {
        s->at = 0;
        return in->array != NULL;
    }
    s->in.array = NULL;
    s->at = type == CU_MEMORYTYPE_HOST ? (uint64_t)(uintptr_t)host : device;
    return type == CU_MEMORYTYPE_HOST || type == CU_MEMORYTYPE_DEVICE ||
           type == CU_MEMORYTYPE_UNIFIED;
}

static CUresult copy_row(const struct side *to, uint64_t dst, const struct side *from, uint64_t src,
                         size_t bytes, CUstream stream)
{
    void *host = (void *)(uintptr_t)dst;
    const void *source = (const void *)(uintptr_t)src;
    if (to->type == CU_MEMORYTYPE_UNIFIED || from->type == CU_MEMORYTYPE_UNIFIED)
        return cuMemcpyAsync(dst, src, bytes, stream);
    if (to->type == CU_MEMORYTYPE_DEVICE && from->type == CU_MEMORYTYPE_DEVICE)
        return cuMemcpyDtoDAsync_v2(dst, src, bytes, stream);
    if (to->type == CU_MEMORYTYPE_DEVICE)
        return cuMemcpyHtoDAsync_v2(dst, source, bytes, stream);
    if (from->type == CU_MEMORYTYPE_DEVICE)
        return cuMemcpyDtoHAsync_v2(host, src, bytes, stream);
    CUresult rc = cuStreamSynchronize(stream);
    if (rc == CUDA_SUCCESS)
        memmove(host, source, bytes);
    return rc;
}

CUresult array_holds(const struct array_place *p, size_t bytes, size_t rows, size_t planes)
{
    CUDA_ARRAY3D_DESCRIPTOR d;
    CUresult rc = cuArray3DGetDescriptor_v2(&d, p->array);
    if (rc != CUDA_SUCCESS)
        return rc;
    size_t unit = array_element(&d), height = d.Height ? d.Height : 1,
           depth = d.Depth ? d.Depth : 1;
    bool good = unit && p->x % unit == 0 && bytes % unit == 0 && p->x <= d.Width * unit &&
                bytes <= d.Width * unit - p->x && p->y <= height && rows <= height - p->y &&
                p->z <= depth && planes <= depth - p->z;
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult check_array(const struct side *s, size_t bytes, size_t rows, size_t planes)
{
    return s->in.array ? array_holds(&s->in, bytes, rows, planes) : CUDA_SUCCESS;
}

/* One side at least is an array. */
static CUresult copy_planes(struct side *to, struct side *from, size_t bytes, size_t rows,
                            size_t planes, CUstream stream)
{
    CUresult rc = check_array(to, bytes, rows, planes);
    if (rc == CUDA_SUCCESS)
        rc = check_array(from, bytes, rows, planes);
    for (size_t z = 0; bytes && rows && z < planes && rc == CUDA_SUCCESS; z++) {
        const struct side *array = to->in.array ? to : from, *other = to->in.array ? from : to;
        const struct array_rows linear = {.type = other->type,
                                          .at = other->at + z * other->plane,
                                          .pitch = rows > 1 ? other->pitch : bytes};
        if (other->in.array)
            rc = array_to_array(&to->in, &from->in, bytes, rows, stream);
        else
            rc = array_copy(&array->in, &linear, bytes, rows, array == to, stream);
        to->in.z++;
        from->in.z++;
    }
    return rc;
}

static CUresult copy_box(struct side *to, struct side *from, size_t width, size_t height,
                         size_t depth, CUstream stream)
{
    if (height > 1 &&
        ((!to->in.array && to->pitch < width) || (!from->in.array && from->pitch < width)))
        return CUDA_ERROR_INVALID_VALUE;
    if (to->in.array || from->in.array)
        return copy_planes(to, from, width, height, depth, stream);
    /* Rows without gaps are one long row. */
    bool whole = to->pitch == width && from->pitch == width;
    size_t bytes = whole ? width * height : width, rows = whole ? 1 : height;
    if (whole && width && height > SIZE_MAX / width)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t z = 0; width && height && z < depth; z++) {
        for (size_t y = 0; y < rows; y++) {
            CUresult rc = copy_row(to, to->at + z * to->plane + y * to->pitch, from,
                                   from->at + z * from->plane + y * from->pitch, bytes, stream);
            if (rc != CUDA_SUCCESS)
                return rc;
        }
    }
    return CUDA_SUCCESS;
}

static CUresult finish(CUresult rc, CUstream stream)
{
    return rc == CUDA_SUCCESS ? cuStreamSynchronize(stream) : rc;
}

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpy2DAsync_v2, c, stream);
    struct side to, from;
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    const struct array_place in = {c->dstArray, c->dstXInBytes, c->dstY, 0};
    const struct array_place out = {c->srcArray, c->srcXInBytes, c->srcY, 0};
    if (!make_side(&to, c->dstMemoryType, c->dstHost, c->dstDevice, &in) ||
        !make_side(&from, c->srcMemoryType, c->srcHost, c->srcDevice, &out))
        return CUDA_ERROR_INVALID_VALUE;
    to.at += c->dstXInBytes + c->dstY * c->dstPitch;
    from.at += c->srcXInBytes + c->srcY * c->srcPitch;
    to.pitch = c->dstPitch;
    from.pitch = c->srcPitch;
    to.plane = from.plane = 0;
    return copy_box(&to, &from, c->WidthInBytes, c->Height, 1, stream);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpy3DAsync_v2, c, stream);
    struct side to, from;
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    const struct array_place in = {c->dstArray, c->dstXInBytes, c->dstY, c->dstZ};
    const struct array_place out = {c->srcArray, c->srcXInBytes, c->srcY, c->srcZ};
    if (c->srcLOD || c->dstLOD ||
        !make_side(&to, c->dstMemoryType, c->dstHost, c->dstDevice, &in) ||
        !make_side(&from, c->srcMemoryType, c->srcHost, c->srcDevice, &out))
        return CUDA_ERROR_INVALID_VALUE;
    to.pitch = c->dstPitch;
    from.pitch = c->srcPitch;
    to.plane = c->dstPitch * c->dstHeight;
    from.plane = c->srcPitch * c->srcHeight;
    to.at += c->dstXInBytes + c->dstY * to.pitch + c->dstZ * to.plane;
    from.at += c->srcXInBytes + c->srcY * from.pitch + c->srcZ * from.plane;
    if (c->Depth > 1 && ((!to.in.array && c->dstHeight < c->Height) ||
                         (!from.in.array && c->srcHeight < c->Height)))
        return CUDA_ERROR_INVALID_VALUE;
    return copy_box(&to, &from, c->WidthInBytes, c->Height, c->Depth, stream);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *c)
{
    return finish(cuMemcpy2DAsync_v2(c, NULL), NULL);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *c)
{
    return cuMemcpy2D_v2(c);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *c)
{
    return finish(cuMemcpy3DAsync_v2(c, NULL), NULL);
}

CUresult cuMemcpy2DAsync_v2_ptsz(const CUDA_MEMCPY2D *c, CUstream stream)
{
    return cuMemcpy2DAsync_v2(c, own(stream));
}

CUresult cuMemcpy3DAsync_v2_ptsz(const CUDA_MEMCPY3D *c, CUstream stream)
{
    return cuMemcpy3DAsync_v2(c, own(stream));
}

CUresult cuMemcpy2D_v2_ptds(const CUDA_MEMCPY2D *c)
{
    return finish(cuMemcpy2DAsync_v2(c, CU_STREAM_PER_THREAD), CU_STREAM_PER_THREAD);
}

CUresult cuMemcpy2DUnaligned_v2_ptds(const CUDA_MEMCPY2D *c)
{
    return cuMemcpy2D_v2_ptds(c);
}

CUresult cuMemcpy3D_v2_ptds(const CUDA_MEMCPY3D *c)
{
    return finish(cuMemcpy3DAsync_v2(c, CU_STREAM_PER_THREAD), CU_STREAM_PER_THREAD);
}

/* --- Pitched memory ------------------------------------------------------------- */

CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height,
                            unsigned int element)
{
    if (!ptr || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    if (width > SIZE_MAX - PITCH_ALIGN)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t row = (width + PITCH_ALIGN - 1) / PITCH_ALIGN * PITCH_ALIGN;
    if (height > SIZE_MAX / row)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = cuMemAlloc_v2(ptr, row * height);
    if (rc == CUDA_SUCCESS)
        *pitch = row;
    return rc;
}

CUresult cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream)
{
    CUresult rc = height > 1 && pitch < width ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    for (size_t y = 0; y < height && rc == CUDA_SUCCESS; y++)
        rc = cuMemsetD8Async(dst + y * pitch, value, width, stream);
    return rc;
}

CUresult cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream)
{
    CUresult rc = height > 1 && pitch / 2 < width ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    for (size_t y = 0; y < height && rc == CUDA_SUCCESS; y++)
        rc = cuMemsetD16Async(dst + y * pitch, value, width, stream);
    return rc;
}

CUresult cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width,
                            size_t height, CUstream stream)
{
    CUresult rc = height > 1 && pitch / 4 < width ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    for (size_t y = 0; y < height && rc == CUDA_SUCCESS; y++)
        rc = cuMemsetD32Async(dst + y * pitch, value, width, stream);
    return rc;
}

/* The other forms of each. */
#define FILLS(bits, type)                                                                          \
    CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst, size_t pitch, type value, size_t width,       \
                                    size_t height)                                                 \
    {                                                                                              \
        return cuMemsetD2D##bits##Async(dst, pitch, value, width, height, NULL);                   \
    }                                                                                              \
    CUresult cuMemsetD2D##bits##_v2_ptds(CUdeviceptr dst, size_t pitch, type value, size_t width,  \
                                         size_t height)                                            \
    {                                                                                              \
        return cuMemsetD2D##bits##Async(dst, pitch, value, width, height, CU_STREAM_PER_THREAD);   \
    }                                                                                              \
    CUresult cuMemsetD2D##bits##Async_ptsz(CUdeviceptr dst, size_t pitch, type value,              \
                                           size_t width, size_t height, CUstream stream)           \
    {                                                                                              \
        return cuMemsetD2D##bits##Async(dst, pitch, value, width, height, own(stream));            \
    }
FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
