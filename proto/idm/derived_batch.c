/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between contexts and in batches, and what is asked or said about ranges of
 * managed memory, in libvgpu and in the simulated driver.
 */
#include <stdbool.h>
#include <string.h>

#include "idm/arrays.h"

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* --- Between contexts: an address says where it is --------------------------------------- */

static CUresult check_contexts(CUcontext to, CUcontext from)
{
    unsigned version;
    if (!to || !from)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult rc = cuCtxGetApiVersion(to, &version);
    return rc == CUDA_SUCCESS && from != to ? cuCtxGetApiVersion(from, &version) : rc;
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
                           size_t bytes, CUstream stream)
{
    CUresult rc = check_contexts(to, from);
    return rc == CUDA_SUCCESS ? cuMemcpyDtoDAsync_v2(dst, src, bytes, stream) : rc;
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from, size_t bytes)
{
    return cuMemcpyPeerAsync(dst, to, src, from, bytes, NULL);
}

CUresult cuMemcpyPeer_ptds(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
                           size_t bytes)
{
    return cuMemcpyPeerAsync(dst, to, src, from, bytes, CU_STREAM_PER_THREAD);
}

CUresult cuMemcpyPeerAsync_ptsz(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
                                size_t bytes, CUstream stream)
{
    return cuMemcpyPeerAsync(dst, to, src, from, bytes, own(stream));
}

/* The same but for the contexts, which are where the other one has nothing. */
_Static_assert(sizeof(CUDA_MEMCPY3D) == sizeof(CUDA_MEMCPY3D_PEER), "boxes");

static CUresult without_contexts(const CUDA_MEMCPY3D_PEER *c, CUDA_MEMCPY3D *ret)
{
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    bool src = c->srcMemoryType != CU_MEMORYTYPE_HOST, dst = c->dstMemoryType != CU_MEMORYTYPE_HOST;
    CUcontext from = src ? c->srcContext : c->dstContext;
    CUcontext to = dst ? c->dstContext : c->srcContext;
    CUresult rc = src || dst ? check_contexts(to, from) : CUDA_SUCCESS;
    memcpy(ret, c, sizeof(*ret));
    ret->reserved0 = ret->reserved1 = NULL;
    return rc;
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *c)
{
    CUDA_MEMCPY3D plain;
    CUresult rc = without_contexts(c, &plain);
    return rc == CUDA_SUCCESS ? cuMemcpy3D_v2(&plain) : rc;
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *c, CUstream stream)
{
    CUDA_MEMCPY3D plain;
    CUresult rc = without_contexts(c, &plain);
    return rc == CUDA_SUCCESS ? cuMemcpy3DAsync_v2(&plain, stream) : rc;
}

CUresult cuMemcpy3DPeer_ptds(const CUDA_MEMCPY3D_PEER *c)
{
    CUDA_MEMCPY3D plain;
    CUresult rc = without_contexts(c, &plain);
    return rc == CUDA_SUCCESS ? cuMemcpy3D_v2_ptds(&plain) : rc;
}

CUresult cuMemcpy3DPeerAsync_ptsz(const CUDA_MEMCPY3D_PEER *c, CUstream stream)
{
    return cuMemcpy3DPeerAsync(c, own(stream));
}

/* --- Batches: one after another ------------------------------------------------------------- */

static bool is_order(CUmemcpySrcAccessOrder order)
{
    return order >= CU_MEMCPY_SRC_ACCESS_ORDER_STREAM && order <= CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
}

/* Entry k is for all from AT[k] on. */
static bool are_starts(const size_t *at, size_t n, size_t count)
{
    bool good = at && n && n <= count && at[0] == 0;
    for (size_t k = 1; good && k < n; k++)
        good = at[k] > at[k - 1] && at[k] < count;
    return good;
}

static bool names_a_stream(CUstream stream)
{
    return stream && stream != CU_STREAM_LEGACY;
}

CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t n,
                            CUmemcpyAttributes *attrs, size_t *attr_at, size_t n_attrs,
                            size_t *failed, CUstream stream)
{
    CUresult rc = CUDA_SUCCESS;
    if (failed)
        *failed = SIZE_MAX;
    if (!dsts || !srcs || !sizes || !n || !attrs || !are_starts(attr_at, n_attrs, n) ||
        !names_a_stream(stream))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t k = 0; k < n_attrs; k++) {
        if (!is_order(attrs[k].srcAccessOrder))
            return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++) {
        rc =
            sizes[i] ? cuMemcpyAsync(dsts[i], srcs[i], sizes[i], stream) : CUDA_ERROR_INVALID_VALUE;
        if (rc != CUDA_SUCCESS && failed)
            *failed = i;
    }
    return rc;
}

CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t n,
                               CUmemcpyAttributes *attrs, size_t *attr_at, size_t n_attrs,
                               CUstream stream)
{
    return cuMemcpyBatchAsync(dsts, srcs, sizes, n, attrs, attr_at, n_attrs, NULL, stream);
}

CUresult cuMemcpyBatchAsync_ptsz(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t n,
                                 CUmemcpyAttributes *attrs, size_t *attr_at, size_t n_attrs,
                                 size_t *failed, CUstream stream)
{
    return cuMemcpyBatchAsync(dsts, srcs, sizes, n, attrs, attr_at, n_attrs, failed, own(stream));
}

CUresult cuMemcpyBatchAsync_v2_ptsz(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t n,
                                    CUmemcpyAttributes *attrs, size_t *attr_at, size_t n_attrs,
                                    CUstream stream)
{
    return cuMemcpyBatchAsync(dsts, srcs, sizes, n, attrs, attr_at, n_attrs, NULL, own(stream));
}

/* Bytes of an element of what the operands have arrays of; 1: of neither. */
static CUresult element_of(const CUDA_MEMCPY3D_BATCH_OP *op, size_t *ret_bytes)
{
    const CUmemcpy3DOperand *sides[] = {&op->src, &op->dst};
    *ret_bytes = 1;
    for (unsigned i = 0; i < 2; i++) {
        CUDA_ARRAY3D_DESCRIPTOR d;
        if (sides[i]->type != CU_MEMCPY_OPERAND_TYPE_ARRAY)
            continue;
        CUresult rc = cuArray3DGetDescriptor_v2(&d, sides[i]->op.array.array);
        if (rc != CUDA_SUCCESS)
            return rc;
        *ret_bytes = array_element(&d);
    }
    return *ret_bytes ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult box_of(const CUDA_MEMCPY3D_BATCH_OP *op, CUDA_MEMCPY3D *c)
{
    size_t unit;
    CUresult rc = element_of(op, &unit);
    if (rc != CUDA_SUCCESS)
        return rc;
    memset(c, 0, sizeof(*c));
    c->WidthInBytes = op->extent.width * unit;
    c->Height = op->extent.height;
    c->Depth = op->extent.depth;
#define SIDE(side)                                                                                 \
    if (op->side.type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {                                           \
        c->side##MemoryType = CU_MEMORYTYPE_ARRAY;                                                 \
        c->side##Array = op->side.op.array.array;                                                  \
        c->side##XInBytes = op->side.op.array.offset.x * unit;                                     \
        c->side##Y = op->side.op.array.offset.y;                                                   \
        c->side##Z = op->side.op.array.offset.z;                                                   \
    } else if (op->side.type == CU_MEMCPY_OPERAND_TYPE_POINTER) {                                  \
        c->side##MemoryType = CU_MEMORYTYPE_UNIFIED;                                               \
        c->side##Device = op->side.op.ptr.ptr;                                                     \
        c->side##Pitch =                                                                           \
            op->side.op.ptr.rowLength ? op->side.op.ptr.rowLength * unit : c->WidthInBytes;        \
        c->side##Height = op->side.op.ptr.layerHeight ? op->side.op.ptr.layerHeight : c->Height;   \
    } else {                                                                                       \
        return CUDA_ERROR_INVALID_VALUE;                                                           \
    }
    SIDE(src)
    SIDE(dst)
#undef SIDE
    return CUDA_SUCCESS;
}

CUresult cuMemcpy3DBatchAsync(size_t n, CUDA_MEMCPY3D_BATCH_OP *ops, size_t *failed,
                              unsigned long long flags, CUstream stream)
{
    CUresult rc = CUDA_SUCCESS;
    if (failed)
        *failed = SIZE_MAX;
    if (!n || !ops || flags || !names_a_stream(stream))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++) {
        const CUDA_MEMCPY3D_BATCH_OP *op = &ops[i];
        CUDA_MEMCPY3D c;
        bool good = is_order(op->srcAccessOrder) && op->extent.width && op->extent.height &&
                    op->extent.depth;
        rc = good ? box_of(op, &c) : CUDA_ERROR_INVALID_VALUE;
        if (rc == CUDA_SUCCESS)
            rc = cuMemcpy3DAsync_v2(&c, stream);
        if (rc != CUDA_SUCCESS && failed)
            *failed = i;
    }
    return rc;
}

CUresult cuMemcpy3DBatchAsync_v2(size_t n, CUDA_MEMCPY3D_BATCH_OP *ops, unsigned long long flags,
                                 CUstream stream)
{
    return cuMemcpy3DBatchAsync(n, ops, NULL, flags, stream);
}

CUresult cuMemcpy3DBatchAsync_ptsz(size_t n, CUDA_MEMCPY3D_BATCH_OP *ops, size_t *failed,
                                   unsigned long long flags, CUstream stream)
{
    return cuMemcpy3DBatchAsync(n, ops, failed, flags, own(stream));
}

CUresult cuMemcpy3DBatchAsync_v2_ptsz(size_t n, CUDA_MEMCPY3D_BATCH_OP *ops,
                                      unsigned long long flags, CUstream stream)
{
    return cuMemcpy3DBatchAsync(n, ops, NULL, flags, own(stream));
}

/* --- Before CUDA 6.5, by another name ------------------------------------------------------- */

#undef cuMemHostRegister
#pragma GCC visibility push(default)
CUresult cuMemHostRegister(void *p, size_t bytes, unsigned int flags);
#pragma GCC visibility pop
CUresult cuMemHostRegister(void *p, size_t bytes, unsigned int flags)
{
    return cuMemHostRegister_v2(p, bytes, flags);
}

/* --- Managed memory ----------------------------------------------------------------------- */

/* Where it is, is settled; what is discarded may as well stay. */
static CUresult check_ranges(const CUdeviceptr *ptrs, const size_t *sizes, size_t n,
                             unsigned long long flags, CUstream stream)
{
    CUresult rc = CUDA_SUCCESS;
    if (!ptrs || !sizes || !n || flags || !names_a_stream(stream))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = cuMemPrefetchAsync(ptrs[i], sizes[i], 0, stream);
    return rc;
}

CUresult cuMemPrefetchBatchAsync(CUdeviceptr *ptrs, size_t *sizes, size_t n, CUmemLocation *where,
                                 size_t *where_at, size_t n_where, unsigned long long flags,
                                 CUstream stream)
{
    return where && are_starts(where_at, n_where, n) ? check_ranges(ptrs, sizes, n, flags, stream)
                                                     : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemDiscardBatchAsync(CUdeviceptr *ptrs, size_t *sizes, size_t n,
                                unsigned long long flags, CUstream stream)
{
    return check_ranges(ptrs, sizes, n, flags, stream);
}

CUresult cuMemDiscardAndPrefetchBatchAsync(CUdeviceptr *ptrs, size_t *sizes, size_t n,
                                           CUmemLocation *where, size_t *where_at, size_t n_where,
                                           unsigned long long flags, CUstream stream)
{
    return cuMemPrefetchBatchAsync(ptrs, sizes, n, where, where_at, n_where, flags, stream);
}

CUresult cuMemPrefetchBatchAsync_ptsz(CUdeviceptr *ptrs, size_t *sizes, size_t n,
                                      CUmemLocation *where, size_t *where_at, size_t n_where,
                                      unsigned long long flags, CUstream stream)
{
    return cuMemPrefetchBatchAsync(ptrs, sizes, n, where, where_at, n_where, flags, own(stream));
}

CUresult cuMemDiscardBatchAsync_ptsz(CUdeviceptr *ptrs, size_t *sizes, size_t n,
                                     unsigned long long flags, CUstream stream)
{
    return cuMemDiscardBatchAsync(ptrs, sizes, n, flags, own(stream));
}

CUresult cuMemDiscardAndPrefetchBatchAsync_ptsz(CUdeviceptr *ptrs, size_t *sizes, size_t n,
                                                CUmemLocation *where, size_t *where_at,
                                                size_t n_where, unsigned long long flags,
                                                CUstream stream)
{
    return cuMemDiscardAndPrefetchBatchAsync(ptrs, sizes, n, where, where_at, n_where, flags,
                                             own(stream));
}

/* Hints are forgotten as they are heard: a range is as if none had been given. */
static CUresult range_attribute(int32_t *data, size_t bytes, CUmem_range_attribute what)
{
    static const int32_t no_device = -2;
    switch (what) {
    case CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY:
        if (!bytes || bytes % 4)
            return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < bytes / 4; i++)
            data[i] = no_device;
        return CUDA_SUCCESS;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION:
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION:
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID:
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID:
        *data = no_device;
        break;
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY:
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE:
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE:
        *data = 0;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemRangeGetAttribute(void *data, size_t bytes, CUmem_range_attribute what,
                                CUdeviceptr ptr, size_t count)
{
    bool list = what == CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY;
    CUresult rc = cuMemPrefetchAsync(ptr, count, 0, NULL); /* is it managed? */
    if (rc == CUDA_SUCCESS && (!data || (!list && bytes != 4)))
        rc = CUDA_ERROR_INVALID_VALUE;
    return rc == CUDA_SUCCESS ? range_attribute(data, bytes, what) : rc;
}

CUresult cuMemRangeGetAttributes(void **data, size_t *bytes, CUmem_range_attribute *what, size_t n,
                                 CUdeviceptr ptr, size_t count)
{
    CUresult rc = data && bytes && what && n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = cuMemRangeGetAttribute(data[i], bytes[i], what[i], ptr, count);
    return rc;
}
