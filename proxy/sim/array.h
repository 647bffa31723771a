/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays: planes of rows in device memory, which programs see through copies and textures only. */
#ifndef SIM_ARRAY_H
#define SIM_ARRAY_H

#include "driver.h"
#include "idm/arrays.h"

struct CUarray_st {
    struct object o;
    CUDA_ARRAY3D_DESCRIPTOR d;
    uint64_t base;                  /* elements without gaps; in no kernel's reach */
    struct CUmipmappedArray_st *of; /* whose level it is, and whose the memory is; held */
};

struct CUmipmappedArray_st {
    struct object o;
    CUDA_ARRAY3D_DESCRIPTOR d;
    uint64_t base;
    unsigned levels;
    struct CUarray_st *level[ARRAY_MAX_LEVELS]; /* not held: they hold this */
};

PUT(CUarray_st)
PUT(CUmipmappedArray_st)

/* HANDLE's, of context C, held; INVALID_HANDLE. */
CUresult array_find(struct CUctx_st *c, CUarray handle, struct CUarray_st **ret);
/* Where P is in A's memory; *RET_PITCH: bytes from row to row. */
uint64_t array_address(const struct CUarray_st *a, const struct array_place *p, size_t *ret_pitch);
CUresult mipmap_find(struct CUctx_st *c, CUmipmappedArray handle, struct CUmipmappedArray_st **ret);

#endif
