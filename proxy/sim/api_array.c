/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "mem.h"
#include "stream.h"

#define STAGED_BYTES (4u << 20) /* what is put aside for later rather than waited for */

/* --- Making and ending ---------------------------------------------------------------- */

static void array_free(struct object *o)
{
    struct CUarray_st *a = (struct CUarray_st *)o;
    if (a->of)
        object_put(&a->of->o);
    else if (a->base)
        mem_release(a->base, MEM_ARRAY, NULL);
    free(a);
}

static void mipmap_free(struct object *o)
{
    struct CUmipmappedArray_st *m = (struct CUmipmappedArray_st *)o;
    if (m->base)
        mem_release(m->base, MEM_ARRAY, NULL);
    free(m);
}

CUresult array_find(struct CUctx_st *c, CUarray handle, struct CUarray_st **ret)
{
    struct CUarray_st *a = object_find(OBJECT_ARRAY, handle);
    if (a && a->o.context == c) {
        *ret = a;
        return CUDA_SUCCESS;
    }
    if (a)
        object_put(&a->o);
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult mipmap_find(struct CUctx_st *c, CUmipmappedArray handle, struct CUmipmappedArray_st **ret)
{
    struct CUmipmappedArray_st *m = object_find(OBJECT_MIPMAP, handle);
    if (m && m->o.context == c) {
        *ret = m;
        return CUDA_SUCCESS;
    }
    if (m)
        object_put(&m->o);
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!array || !d)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(array_check(d));
    PUT_LATER(CUarray_st) *a = object_new(OBJECT_ARRAY, sizeof(*a), c, array_free);
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    a->d = *d;
    TRY((CUresult)mem_alloc(NULL, c->device, MEM_ARRAY, array_bytes(d), &a->base));
    object_hold(&a->o);
    object_publish(&a->o);
    *array = a;
    return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *d, CUarray array)
{
    struct CUctx_st *c;
    PUT_LATER(CUarray_st) *a = NULL;
    TRY(sim_context(&c));
    if (!d)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(array_find(c, array, &a));
    *d = a->d;
    return CUDA_SUCCESS;
}

CUresult cuArrayDestroy(CUarray array)
{
    struct CUctx_st *c;
    PUT_LATER(CUarray_st) *a = NULL;
    TRY(sim_context(&c));
    TRY(array_find(c, array, &a));
    if (a->of) /* goes with all levels */
        return CUDA_ERROR_INVALID_HANDLE;
    sched_drain(NULL);
    return object_kill(&a->o) ? c->error : CUDA_ERROR_INVALID_HANDLE;
}

static uint64_t mipmap_bytes(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < levels; i++) {
        const CUDA_ARRAY3D_DESCRIPTOR level = array_level(d, i);
        sum += (array_bytes(&level) + 15) & ~15ull;
    }
    return sum;
}

/* All levels' arrays, published; each holds M. */
static CUresult make_levels(struct CUctx_st *c, struct CUmipmappedArray_st *m)
{
    uint64_t base = m->base;
    for (unsigned i = 0; i < m->levels; i++) {
        struct CUarray_st *a = object_new(OBJECT_ARRAY, sizeof(*a), c, array_free);
        if (!a)
            return CUDA_ERROR_OUT_OF_MEMORY;
        a->d = array_level(&m->d, i);
        a->base = base;
        a->of = m;
        object_hold(&m->o);
        base += (array_bytes(&a->d) + 15) & ~15ull;
        m->level[i] = a;
    }
    for (unsigned i = 0; i < m->levels; i++)
        object_publish(&m->level[i]->o);
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *d,
                                unsigned int levels)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!array || !d)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(array_check(d));
    if (!array_has_levels(d, levels))
        return CUDA_ERROR_INVALID_VALUE;
    PUT_LATER(CUmipmappedArray_st) *m = object_new(OBJECT_MIPMAP, sizeof(*m), c, mipmap_free);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->d = *d;
    m->levels = levels;
    TRY((CUresult)mem_alloc(NULL, c->device, MEM_ARRAY, mipmap_bytes(d, levels), &m->base));
    CUresult rc = make_levels(c, m);
    if (rc != CUDA_SUCCESS) {
        for (unsigned i = 0; i < levels && m->level[i]; i++)
            object_put(&m->level[i]->o);
        return rc;
    }
    object_hold(&m->o);
    object_publish(&m->o);
    *array = m;
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(CUarray *level, CUmipmappedArray array, unsigned int n)
{
    struct CUctx_st *c;
    PUT_LATER(CUmipmappedArray_st) *m = NULL;
    TRY(sim_context(&c));
    if (!level)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(mipmap_find(c, array, &m));
    if (n >= m->levels)
        return CUDA_ERROR_INVALID_VALUE;
    *level = m->level[n];
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray array)
{
    struct CUctx_st *c;
    PUT_LATER(CUmipmappedArray_st) *m = NULL;
    TRY(sim_context(&c));
    TRY(mipmap_find(c, array, &m));
    sched_drain(NULL);
    if (!object_kill(&m->o))
        return CUDA_ERROR_INVALID_HANDLE;
    for (unsigned i = 0; i < m->levels; i++)
        object_kill(&m->level[i]->o);
    return c->error;
}

static CUresult requirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *r, uint64_t bytes, CUdevice dev)
{
    if (dev < 0 || dev >= (int)sim.devices)
        return CUDA_ERROR_INVALID_DEVICE;
    *r = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = (bytes + 511) & ~511ull, .alignment = 512};
    return CUDA_SUCCESS;
}

CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *r, CUarray array,
                                      CUdevice dev)
{
    struct CUctx_st *c;
    PUT_LATER(CUarray_st) *a = NULL;
    TRY(sim_context(&c));
    if (!r)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(array_find(c, array, &a));
    return requirements(r, array_bytes(&a->d), dev);
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *r,
                                               CUmipmappedArray array, CUdevice dev)
{
    struct CUctx_st *c;
    PUT_LATER(CUmipmappedArray_st) *m = NULL;
    TRY(sim_context(&c));
    if (!r)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(mipmap_find(c, array, &m));
    return requirements(r, mipmap_bytes(&m->d, m->levels), dev);
}

/* --- Copies ----------------------------------------------------------------------------- */

struct rows_copy {
    struct op op;
    struct CUarray_st *hold[2];
    uint8_t *dst;
    const uint8_t *src;
    size_t dst_pitch, src_pitch, bytes, rows;
    uint8_t *staged; /* heap */
};

static CUresult run_rows(struct op *op)
{
    const struct rows_copy *r = (const struct rows_copy *)op;
    for (size_t y = 0; y < r->rows; y++)
        memmove(r->dst + y * r->dst_pitch, r->src + y * r->src_pitch, r->bytes);
    return CUDA_SUCCESS;
}

static void release_rows(struct op *op)
{
    const struct rows_copy *r = (const struct rows_copy *)op;
    for (unsigned i = 0; i < 2; i++) {
        if (r->hold[i])
            object_put(&r->hold[i]->o);
    }
    free(r->staged);
}

/* What is pageable now may be changed when the call returns. */
static bool stage(struct rows_copy *r)
{
    r->staged = malloc(r->bytes * r->rows);
    for (size_t y = 0; r->staged && y < r->rows; y++)
        memcpy(r->staged + y * r->bytes, r->src + y * r->src_pitch, r->bytes);
    if (!r->staged)
        return false;
    r->src = r->staged;
    r->src_pitch = r->bytes;
    return true;
}

uint64_t array_address(const struct CUarray_st *a, const struct array_place *p, size_t *ret_pitch)
{
    size_t row = a->d.Width * array_element(&a->d), height = a->d.Height ? a->d.Height : 1;
    *ret_pitch = row;
    return a->base + (p->z * height + p->y) * row + p->x;
}

static uint8_t *address_in(const struct CUarray_st *a, const struct array_place *p,
                           size_t *ret_pitch)
{
    return (uint8_t *)(uintptr_t)array_address(a, p, ret_pitch); // NOLINT
}

static struct rows_copy *rows_new(size_t bytes, size_t rows)
{
    struct rows_copy *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->op.run = run_rows;
    r->op.release = release_rows;
    r->bytes = bytes;
    r->rows = rows;
    return r;
}

/* Is the memory what its type says? Pageable memory is read now, or written when all is done. */
static CUresult check_memory(const struct array_rows *m, size_t bytes, size_t rows,
                             const struct CUctx_st *c, bool *ret_pageable)
{
    if (rows > 1 && m->pitch > (1ull << 40) / rows)
        return CUDA_ERROR_INVALID_VALUE;
    enum mem_kind kind = mem_classify(m->at, (rows - 1) * m->pitch + bytes, c);
    *ret_pageable = kind == MEM_PAGEABLE;
    return kind == MEM_BAD || kind == MEM_ARRAY ||
                   (m->type == CU_MEMORYTYPE_DEVICE && kind == MEM_PAGEABLE)
               ? CUDA_ERROR_INVALID_VALUE
               : CUDA_SUCCESS;
}

CUresult array_copy(const struct array_place *place, const struct array_rows *memory, size_t bytes,
                    size_t rows, bool to_array, CUstream stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    PUT_LATER(CUarray_st) *a = NULL;
    bool pageable;
    size_t pitch;
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    TRY(array_find(c, place->array, &a));
    TRY(check_memory(memory, bytes, rows, c, &pageable));
    struct rows_copy *r = rows_new(bytes, rows);
    if (!r)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_hold(&a->o);
    r->hold[0] = a;
    uint8_t *in = address_in(a, place, &pitch);
    uint8_t *out = (uint8_t *)(uintptr_t)memory->at; // NOLINT(performance-no-int-to-ptr)
    r->dst = to_array ? in : out;
    r->src = to_array ? out : in;
    r->dst_pitch = to_array ? pitch : memory->pitch;
    r->src_pitch = to_array ? memory->pitch : pitch;
    bool wait = pageable && (!to_array || bytes * rows > STAGED_BYTES || !stage(r));
    return stream_submit(s, &r->op, wait ? SUBMIT_WAIT : SUBMIT_LATER);
}

CUresult array_to_array(const struct array_place *to, const struct array_place *from, size_t bytes,
                        size_t rows, CUstream stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    PUT_LATER(CUarray_st) *a = NULL;
    PUT_LATER(CUarray_st) *b = NULL;
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    TRY(array_find(c, to->array, &a));
    TRY(array_find(c, from->array, &b));
    struct rows_copy *r = rows_new(bytes, rows);
    if (!r)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_hold(&a->o);
    object_hold(&b->o);
    r->hold[0] = a;
    r->hold[1] = b;
    r->dst = address_in(a, to, &r->dst_pitch);
    r->src = address_in(b, from, &r->src_pitch);
    return stream_submit(s, &r->op, SUBMIT_LATER);
}
