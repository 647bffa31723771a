/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays, for what libvgpu and the simulated driver share (derived_copy.c): how large an
 * element is, and the copies that each of them has to supply.
 */
#ifndef GI_IDM_ARRAYS_H
#define GI_IDM_ARRAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "idm/cuda_abi.h"

/* Larger in no direction; a driver may have less. */
#define ARRAY_MAX_SIDE   131072u
#define ARRAY_MAX_LEVELS 18u
#define ARRAY_FLAGS                                                                                \
    (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_CUBEMAP |                     \
     CUDA_ARRAY3D_TEXTURE_GATHER)

/* A place in an array: bytes from the left, rows, planes or layers. */
struct array_place {
    CUarray array;
    size_t x, y, z;
};

/* Rows in memory, PITCH bytes from one to the next. */
struct array_rows {
    CUmemorytype type;
    uint64_t at;
    uint64_t pitch;
};

/* Bytes of a channel; 0: of no format we know. */
static inline unsigned array_channel(CUarray_format format)
{
    switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
        return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
        return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
        return 4;
    }
    return 0;
}

/* Bytes of an element. */
static inline unsigned array_element(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    return array_channel(d->Format) * d->NumChannels;
}

/* Bytes of all elements, of an array that array_check has passed. */
static inline uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    return (uint64_t)array_element(d) * d->Width * (d->Height ? d->Height : 1) *
           (d->Depth ? d->Depth : 1);
}

static inline CUresult array_check(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    bool layered = d->Flags & CUDA_ARRAY3D_LAYERED, cube = d->Flags & CUDA_ARRAY3D_CUBEMAP;
    if (d->Flags & ~(unsigned)ARRAY_FLAGS || !array_channel(d->Format))
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!d->Width || d->Width > ARRAY_MAX_SIDE || d->Height > ARRAY_MAX_SIDE ||
        d->Depth > ARRAY_MAX_SIDE || (d->Depth && !d->Height && !layered) ||
        (layered && !d->Depth) ||
        (cube &&
         (d->Width != d->Height || !d->Depth || d->Depth % 6 || (!layered && d->Depth != 6))) ||
        (d->NumChannels != 1 && d->NumChannels != 2 && d->NumChannels != 4))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* The descriptor of level N of a mipmapped array of D. */
static inline CUDA_ARRAY3D_DESCRIPTOR array_level(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned n)
{
    CUDA_ARRAY3D_DESCRIPTOR level = *d;
    bool layers = d->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP);
    level.Width = d->Width >> n ? d->Width >> n : 1;
    level.Height = d->Height && !(d->Height >> n) ? 1 : d->Height >> n;
    if (!layers)
        level.Depth = d->Depth && !(d->Depth >> n) ? 1 : d->Depth >> n;
    return level;
}

/* Levels until all sides are 1, and more than none. */
static inline bool array_has_levels(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    bool layers = d->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP);
    size_t most = d->Width > d->Height ? d->Width : d->Height;
    if (!layers && d->Depth > most)
        most = d->Depth;
    return levels && levels <= ARRAY_MAX_LEVELS && (levels == 1 || most >> (levels - 1));
}

/* Has P's array BYTES x ROWS of PLANES from there on? INVALID_VALUE: no; INVALID_HANDLE: it is
 * none. (derived_copy.c) */
CUresult array_holds(const struct array_place *p, size_t bytes, size_t rows, size_t planes);

/* Each libcuda's own. ROWS rows of BYTES in one plane, checked, in STREAM's order; TO_ARRAY or
 * from it. What is at host addresses is as for cuMemcpyHtoDAsync and cuMemcpyDtoHAsync. */
CUresult array_copy(const struct array_place *place, const struct array_rows *memory, size_t bytes,
                    size_t rows, bool to_array, CUstream stream);
CUresult array_to_array(const struct array_place *to, const struct array_place *from, size_t bytes,
                        size_t rows, CUstream stream);

#endif
