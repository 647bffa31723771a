/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor maps, and clusters' occupancy: what a struct of numbers asks the driver. */
#include <string.h>

#include "client_calls.h"
#include "handles.h"

static CUresult give(CUtensorMap *map, const void *data, uint32_t len)
{
    _Static_assert(sizeof(*map) == IDM_TENSOR_MAP_BYTES, "CUtensorMap");
    if (len != sizeof(*map))
        return vg_nonsense();
    memcpy(map, data, sizeof(*map));
    return CUDA_SUCCESS;
}

/* What all have. STRIDE has one less, since the first is the element's size. */
static CUresult begin(struct idm_tensor_map *m, CUtensorMap *map, uint32_t rank, void *address,
                      const uint64_t *dim, const uint64_t *stride, const uint32_t *element_stride)
{
    memset(m, 0, sizeof(*m));
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!map || !address || !dim || !element_stride || rank < 1 || rank > IDM_TENSOR_MAP_RANK ||
        (rank > 1 && !stride))
        return CUDA_ERROR_INVALID_VALUE;
    m->address = (uint64_t)(uintptr_t)address;
    m->rank = rank;
    memcpy(m->dim, dim, rank * sizeof(*dim));
    memcpy(m->element_stride, element_stride, rank * sizeof(*element_stride));
    if (rank > 1)
        memcpy(m->stride, stride, (rank - 1) * sizeof(*stride));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap *map, unsigned int type, uint32_t rank,
                                          void *address, const uint64_t *dim,
                                          const uint64_t *stride, const uint32_t *box,
                                          const uint32_t *element_stride, unsigned int interleave,
                                          unsigned int swizzle, unsigned int promotion,
                                          unsigned int fill)
{
    struct idm_tensor_map m;
    const struct idm_cuTensorMapEncodeTiled_in in = {.w = {.what_len = sizeof(m)}, .what = &m};
    struct idm_cuTensorMapEncodeTiled_out out;
    struct vg_answer answer;
    VG_TRY(begin(&m, map, rank, address, dim, stride, element_stride));
    if (!box)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(m.box, box, rank * sizeof(*box));
    m.type = type;
    m.interleave = interleave;
    m.swizzle = swizzle;
    m.promotion = promotion;
    m.fill = fill;
    VG_TRY(vg_ask_cuTensorMapEncodeTiled(&in, &out, &answer));
    return give(map, out.map, out.w.map_len);
}

VG_EXPORT CUresult cuTensorMapEncodeIm2col(CUtensorMap *map, unsigned int type, uint32_t rank,
                                           void *address, const uint64_t *dim,
                                           const uint64_t *stride, const int *lower,
                                           const int *upper, uint32_t channels, uint32_t pixels,
                                           const uint32_t *element_stride, unsigned int interleave,
                                           unsigned int swizzle, unsigned int promotion,
                                           unsigned int fill)
{
    struct idm_tensor_map m;
    const struct idm_cuTensorMapEncodeIm2col_in in = {.w = {.what_len = sizeof(m)}, .what = &m};
    struct idm_cuTensorMapEncodeIm2col_out out;
    struct vg_answer answer;
    VG_TRY(begin(&m, map, rank, address, dim, stride, element_stride));
    if (!lower || !upper || rank < 3)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(m.lower, lower, (rank - 2) * sizeof(*lower));
    memcpy(m.upper, upper, (rank - 2) * sizeof(*upper));
    m.type = type;
    m.channels = channels;
    m.pixels = pixels;
    m.interleave = interleave;
    m.swizzle = swizzle;
    m.promotion = promotion;
    m.fill = fill;
    VG_TRY(vg_ask_cuTensorMapEncodeIm2col(&in, &out, &answer));
    return give(map, out.map, out.w.map_len);
}

VG_EXPORT CUresult cuTensorMapEncodeIm2colWide(
    CUtensorMap *map, unsigned int type, uint32_t rank, void *address, const uint64_t *dim,
    const uint64_t *stride, int lower, int upper, uint32_t channels, uint32_t pixels,
    const uint32_t *element_stride, unsigned int interleave, unsigned int mode,
    unsigned int swizzle, unsigned int promotion, unsigned int fill)
{
    struct idm_tensor_map m;
    const struct idm_cuTensorMapEncodeIm2colWide_in in = {.w = {.what_len = sizeof(m)}, .what = &m};
    struct idm_cuTensorMapEncodeIm2colWide_out out;
    struct vg_answer answer;
    VG_TRY(begin(&m, map, rank, address, dim, stride, element_stride));
    m.lower[0] = lower;
    m.upper[0] = upper;
    m.type = type;
    m.channels = channels;
    m.pixels = pixels;
    m.interleave = interleave;
    m.mode = mode;
    m.swizzle = swizzle;
    m.promotion = promotion;
    m.fill = fill;
    VG_TRY(vg_ask_cuTensorMapEncodeIm2colWide(&in, &out, &answer));
    return give(map, out.map, out.w.map_len);
}

VG_EXPORT CUresult cuTensorMapReplaceAddress(CUtensorMap *map, void *address)
{
    struct idm_cuTensorMapReplaceAddress_in in = {
        .w = {.address = (uint64_t)(uintptr_t)address, .old_len = sizeof(*map)}, .old = map};
    struct idm_cuTensorMapReplaceAddress_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!map || !address)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuTensorMapReplaceAddress(&in, &out, &answer));
    return give(map, out.map, out.w.map_len);
}
