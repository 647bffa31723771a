/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and fills. A copy that involves pageable host memory is as
 * synchronous as CUDA's: its source may be changed when the call returns, its
 * destination is filled when the call returns.
 */
#include <stdlib.h>
#include <string.h>

#include "base/stream_copy.h"
#include "idm/graph/capture.h"
#include "mem.h"
#include "stream.h"

#define EAGER_BYTES  (256u << 10) /* what the caller may as well do itself */
#define STAGED_BYTES (4u << 20)   /* what is put aside for later rather than waited for */

struct copy {
    struct op op;
    void *dst;
    const void *src;
    size_t bytes;
    bool upload; /* from the host's memory to the device's */
    uint8_t staged[];
};

struct fill {
    struct op op;
    void *dst;
    uint32_t value;
    unsigned unit;
    size_t n;
};

static CUresult run_copy(struct op *op)
{
    const struct copy *c = (const struct copy *)op;
    /* A GPU's copy engine leaves no trace in the CPU's caches. */
    if (c->upload)
        gi_stream_copy(c->dst, c->src, c->bytes);
    else
        memmove(c->dst, c->src, c->bytes);
    return CUDA_SUCCESS;
}

static CUresult run_fill(struct op *op)
{
    const struct fill *f = (const struct fill *)op;
    if (f->unit == 1) {
        memset(f->dst, (int)f->value, f->n);
    } else if (f->unit == 2) {
        for (size_t i = 0; i < f->n; i++)
            ((uint16_t *)f->dst)[i] = (uint16_t)f->value;
    } else {
        for (size_t i = 0; i < f->n; i++)
            ((uint32_t *)f->dst)[i] = f->value;
    }
    return CUDA_SUCCESS;
}

static bool for_kernels(enum mem_kind kind)
{
    return kind != MEM_PAGEABLE && kind != MEM_BAD;
}

static bool of_device(enum mem_kind kind)
{
    return kind == MEM_DEVICE || kind == MEM_GLOBAL || kind == MEM_MAPPED || kind == MEM_OPENED;
}

enum copy_how { COPY_STAGED = 1, COPY_UPLOAD = 2 };

static CUresult submit_copy(struct CUstream_st *s, uint64_t dst, uint64_t src, size_t bytes,
                            unsigned how, enum submit_mode mode)
{
    struct copy *c = calloc(1, sizeof(*c) + (how & COPY_STAGED ? bytes : 0));
    if (!c)
        return CUDA_ERROR_OUT_OF_MEMORY;
    c->op.run = run_copy;
    c->dst = (void *)(uintptr_t)dst;
    c->src = (const void *)(uintptr_t)src;
    c->bytes = bytes;
    c->upload = how & COPY_UPLOAD;
    if (how & COPY_STAGED) {
        memcpy(c->staged, c->src, bytes);
        c->src = c->staged;
    }
    return stream_submit(s, &c->op, mode);
}

/* Which sides must be the GPU's. */
enum sides { SIDE_DST = 1, SIDE_SRC = 2 };

static CUresult copy(uint64_t dst, uint64_t src, size_t bytes, unsigned sides, CUstream stream,
                     bool wait)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    TRY(sim_any_stream(stream, c, &s)); /* (Programming Guide, "Stream and Event Behavior") */
    if (!bytes)
        return CUDA_SUCCESS;
    enum mem_kind to = mem_classify(dst, bytes, s->o.context);
    enum mem_kind from = mem_classify(src, bytes, s->o.context);
    if (to == MEM_BAD || from == MEM_BAD || ((sides & SIDE_DST) && !for_kernels(to)) ||
        ((sides & SIDE_SRC) && !for_kernels(from)))
        return CUDA_ERROR_INVALID_VALUE;
    unsigned how = of_device(to) && !of_device(from) ? COPY_UPLOAD : 0;
    if (wait || to == MEM_PAGEABLE)
        return submit_copy(s, dst, src, bytes, how, SUBMIT_WAIT);
    if (from == MEM_PAGEABLE) {
        if (bytes > STAGED_BYTES || stream_query(s) == CUDA_SUCCESS)
            return submit_copy(s, dst, src, bytes, how, SUBMIT_WAIT);
        return submit_copy(s, dst, src, bytes, how | COPY_STAGED, SUBMIT_LATER);
    }
    return submit_copy(s, dst, src, bytes, how, bytes <= EAGER_BYTES ? SUBMIT_EAGER : SUBMIT_LATER);
}

static CUresult fill(CUdeviceptr dst, uint32_t value, unsigned unit, size_t n, CUstream stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    if (dst % unit || n > SIZE_MAX / unit)
        return CUDA_ERROR_INVALID_VALUE;
    if (!n)
        return CUDA_SUCCESS;
    if (!for_kernels(mem_classify(dst, n * unit, c)))
        return CUDA_ERROR_INVALID_VALUE;
    struct fill *f = calloc(1, sizeof(*f));
    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    f->op.run = run_fill;
    f->dst = (void *)(uintptr_t)dst;
    f->value = value;
    f->unit = unit;
    f->n = n;
    return stream_submit(s, &f->op, n * unit <= EAGER_BYTES ? SUBMIT_EAGER : SUBMIT_LATER);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return copy(dst, src, bytes, 0, CU_STREAM_LEGACY, true);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyAsync, dst, src, bytes, stream);
    return copy(dst, src, bytes, 0, stream, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return copy(dst, (uintptr_t)src, bytes, SIDE_DST, CU_STREAM_LEGACY, true);
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return copy((uintptr_t)dst, src, bytes, SIDE_SRC, CU_STREAM_LEGACY, true);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    CAPTURE_HOOK_LEGACY();
    return copy(dst, src, bytes, SIDE_DST | SIDE_SRC, CU_STREAM_LEGACY, false);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyHtoDAsync_v2, dst, src, bytes, stream);
    return copy(dst, (uintptr_t)src, bytes, SIDE_DST, stream, false);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyDtoHAsync_v2, dst, src, bytes, stream);
    return copy((uintptr_t)dst, src, bytes, SIDE_SRC, stream, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    CAPTURE_HOOK(cuMemcpyDtoDAsync_v2, dst, src, bytes, stream);
    return copy(dst, src, bytes, SIDE_DST | SIDE_SRC, stream, false);
}

CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t n)
{
    CAPTURE_HOOK_LEGACY();
    return fill(dst, value, 1, n, CU_STREAM_LEGACY);
}

CUresult cuMemsetD16_v2(CUdeviceptr dst, unsigned short value, size_t n)
{
    CAPTURE_HOOK_LEGACY();
    return fill(dst, value, 2, n, CU_STREAM_LEGACY);
}

CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t n)
{
    CAPTURE_HOOK_LEGACY();
    return fill(dst, value, 4, n, CU_STREAM_LEGACY);
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t n, CUstream stream)
{
    CAPTURE_HOOK(cuMemsetD8Async, dst, value, n, stream);
    return fill(dst, value, 1, n, stream);
}

CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t n, CUstream stream)
{
    CAPTURE_HOOK(cuMemsetD16Async, dst, value, n, stream);
    return fill(dst, value, 2, n, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t n, CUstream stream)
{
    CAPTURE_HOOK(cuMemsetD32Async, dst, value, n, stream);
    return fill(dst, value, 4, n, stream);
}
