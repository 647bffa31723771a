/* SPDX-License-Identifier: Apache-2.0 */
/* What is in modules and libraries; clusters' occupancy and tensor maps, of which the driver
 * computes something from numbers. */
#include <stdlib.h>

#include "internal.h"

#define MAX_LISTED 65536u
#define MAX_NAMES  8192u /* bytes of names in one answer; one name has at most 4096 */

/* From the FIRST of N things on. */
static uint32_t collect_names(struct worker *w, void *const *things, uint32_t n, uint32_t first,
                              CUresult (*name_of)(struct worker *w, const char **name, void *thing))
{
    uint32_t len = 0;
    for (uint32_t i = first; i < n; i++) {
        const char *name = NULL;
        if (name_of(w, &name, things[i]) != CUDA_SUCCESS || !name)
            break;
        size_t bytes = strnlen(name, 4096) + 1;
        if (bytes > 4096 || bytes > MAX_NAMES - len)
            break;
        memcpy(w->names + len, name, bytes);
        len += (uint32_t)bytes;
    }
    return len;
}

static CUresult kernel_name(struct worker *w, const char **name, void *kernel)
{
    return w->cu.cuKernelGetName ? w->cu.cuKernelGetName(name, kernel) : CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult function_name(struct worker *w, const char **name, void *fn)
{
    return w->cu.cuFuncGetName ? w->cu.cuFuncGetName(name, fn) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult worker_cuLibraryEnumerateKernels(struct worker *w,
                                          const struct idm_cuLibraryEnumerateKernels_in *in,
                                          struct idm_cuLibraryEnumerateKernels_out *out)
{
    void *library;
    unsigned n = 0;
    WORKER_TRY(worker_find(w, IDM_KIND_library, in->w.library, false, &library));
    if (!w->cu.cuLibraryGetKernelCount || !w->cu.cuLibraryEnumerateKernels)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuLibraryGetKernelCount(&n, library));
    n = n < MAX_LISTED ? n : MAX_LISTED;
    if (in->w.first >= n)
        return CUDA_SUCCESS;
    CUkernel *all = calloc(n, sizeof(CUkernel));
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = w->cu.cuLibraryEnumerateKernels(all, n, library);
    if (rc == CUDA_SUCCESS)
        out->w.names_len = collect_names(w, (void **)all, n, in->w.first, kernel_name);
    out->names = w->names;
    free(all);
    return rc;
}

CUresult worker_cuModuleEnumerateFunctions(struct worker *w,
                                           const struct idm_cuModuleEnumerateFunctions_in *in,
                                           struct idm_cuModuleEnumerateFunctions_out *out)
{
    void *module;
    unsigned n = 0;
    WORKER_TRY(worker_find(w, IDM_KIND_module, in->w.module, false, &module));
    if (!w->cu.cuModuleGetFunctionCount || !w->cu.cuModuleEnumerateFunctions)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuModuleGetFunctionCount(&n, module));
    n = n < MAX_LISTED ? n : MAX_LISTED;
    if (in->w.first >= n)
        return CUDA_SUCCESS;
    CUfunction *all = calloc(n, sizeof(CUfunction));
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = w->cu.cuModuleEnumerateFunctions(all, n, module);
    if (rc == CUDA_SUCCESS)
        out->w.names_len = collect_names(w, (void **)all, n, in->w.first, function_name);
    out->names = w->names;
    free(all);
    return rc;
}

/* --- Tensor maps ---------------------------------------------------------------------- */

/* The address is a number to the driver as well: who may read there is asked when a kernel
 * does, by the client's own page tables. */
static CUresult take_map(struct worker *w, const void *data, uint32_t len, uint32_t least_rank,
                         struct idm_tensor_map *ret)
{
    *ret = (struct idm_tensor_map){0};
    if (len != sizeof(*ret))
        return worker_malformed(w);
    memcpy(ret, data, sizeof(*ret));
    /* The driver believes it about the lengths of what follows. */
    return ret->rank >= least_rank && ret->rank <= IDM_TENSOR_MAP_RANK ? CUDA_SUCCESS
                                                                       : CUDA_ERROR_INVALID_VALUE;
}

/* For the answer, whose place has no alignment of its own. */
static CUresult give(struct worker *w, const CUtensorMap *map, CUresult rc)
{
    if (rc == CUDA_SUCCESS)
        memcpy(w->tensor_map, map, sizeof(*map));
    return rc;
}

static void *address_of(const struct idm_tensor_map *m)
{
    return (void *)(uintptr_t)m->address;
}

CUresult worker_cuTensorMapEncodeTiled(struct worker *w,
                                       const struct idm_cuTensorMapEncodeTiled_in *in,
                                       struct idm_cuTensorMapEncodeTiled_out *out)
{
    struct idm_tensor_map m;
    CUtensorMap map;
    WORKER_TRY(take_map(w, in->what, in->w.what_len, 1, &m));
    if (!w->cu.cuTensorMapEncodeTiled)
        return CUDA_ERROR_NOT_SUPPORTED;
    out->map = w->tensor_map;
    out->w.map_len = sizeof(w->tensor_map);
    return give(w, &map,
                w->cu.cuTensorMapEncodeTiled(&map, m.type, m.rank, address_of(&m), m.dim, m.stride,
                                             m.box, m.element_stride, m.interleave, m.swizzle,
                                             m.promotion, m.fill));
}

CUresult worker_cuTensorMapEncodeIm2col(struct worker *w,
                                        const struct idm_cuTensorMapEncodeIm2col_in *in,
                                        struct idm_cuTensorMapEncodeIm2col_out *out)
{
    struct idm_tensor_map m;
    CUtensorMap map;
    WORKER_TRY(take_map(w, in->what, in->w.what_len, 3, &m));
    if (!w->cu.cuTensorMapEncodeIm2col)
        return CUDA_ERROR_NOT_SUPPORTED;
    out->map = w->tensor_map;
    out->w.map_len = sizeof(w->tensor_map);
    return give(w, &map,
                w->cu.cuTensorMapEncodeIm2col(&map, m.type, m.rank, address_of(&m), m.dim, m.stride,
                                              m.lower, m.upper, m.channels, m.pixels,
                                              m.element_stride, m.interleave, m.swizzle,
                                              m.promotion, m.fill));
}

CUresult worker_cuTensorMapEncodeIm2colWide(struct worker *w,
                                            const struct idm_cuTensorMapEncodeIm2colWide_in *in,
                                            struct idm_cuTensorMapEncodeIm2colWide_out *out)
{
    struct idm_tensor_map m;
    CUtensorMap map;
    WORKER_TRY(take_map(w, in->what, in->w.what_len, 3, &m));
    if (!w->cu.cuTensorMapEncodeIm2colWide)
        return CUDA_ERROR_NOT_SUPPORTED;
    out->map = w->tensor_map;
    out->w.map_len = sizeof(w->tensor_map);
    return give(w, &map,
                w->cu.cuTensorMapEncodeIm2colWide(&map, m.type, m.rank, address_of(&m), m.dim,
                                                  m.stride, m.lower[0], m.upper[0], m.channels,
                                                  m.pixels, m.element_stride, m.interleave, m.mode,
                                                  m.swizzle, m.promotion, m.fill));
}

CUresult worker_cuTensorMapReplaceAddress(struct worker *w,
                                          const struct idm_cuTensorMapReplaceAddress_in *in,
                                          struct idm_cuTensorMapReplaceAddress_out *out)
{
    CUtensorMap map;
    if (in->w.old_len != sizeof(w->tensor_map))
        return worker_malformed(w);
    if (!w->cu.cuTensorMapReplaceAddress)
        return CUDA_ERROR_NOT_SUPPORTED;
    memcpy(&map, in->old, sizeof(map));
    out->map = w->tensor_map;
    out->w.map_len = sizeof(w->tensor_map);
    return give(w, &map, w->cu.cuTensorMapReplaceAddress(&map, (void *)(uintptr_t)in->w.address));
}
