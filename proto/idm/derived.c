/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are other calls: those for a thread's own default stream, and
 * forms of calls that came later or went earlier. libvgpu and the simulated
 * driver both have this file; the calls it makes are each one's own.
 */
#include "idm/cuda_abi.h"
#include "idm/graph/capture.h"

/* --- A thread's own default stream -------------------------------------------- */

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* What the host sees is done when the call returns. */
static CUresult finish(CUresult rc)
{
    return rc == CUDA_SUCCESS ? cuStreamSynchronize(CU_STREAM_PER_THREAD) : rc;
}

CUresult cuMemcpy_ptds(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    return finish(cuMemcpyAsync(dst, src, bytes, CU_STREAM_PER_THREAD));
}

CUresult cuMemcpyHtoD_v2_ptds(CUdeviceptr dst, const void *src, size_t bytes)
{
    return finish(cuMemcpyHtoDAsync_v2(dst, src, bytes, CU_STREAM_PER_THREAD));
}

CUresult cuMemcpyDtoH_v2_ptds(void *dst, CUdeviceptr src, size_t bytes)
{
    return finish(cuMemcpyDtoHAsync_v2(dst, src, bytes, CU_STREAM_PER_THREAD));
}

CUresult cuMemcpyDtoD_v2_ptds(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    return cuMemcpyDtoDAsync_v2(dst, src, bytes, CU_STREAM_PER_THREAD);
}

CUresult cuMemsetD8_v2_ptds(CUdeviceptr dst, unsigned char value, size_t n)
{
    return cuMemsetD8Async(dst, value, n, CU_STREAM_PER_THREAD);
}

CUresult cuMemsetD16_v2_ptds(CUdeviceptr dst, unsigned short value, size_t n)
{
    return cuMemsetD16Async(dst, value, n, CU_STREAM_PER_THREAD);
}

CUresult cuMemsetD32_v2_ptds(CUdeviceptr dst, unsigned int value, size_t n)
{
    return cuMemsetD32Async(dst, value, n, CU_STREAM_PER_THREAD);
}

CUresult cuMemcpyAsync_ptsz(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    return cuMemcpyAsync(dst, src, bytes, own(stream));
}

CUresult cuMemcpyHtoDAsync_v2_ptsz(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream)
{
    return cuMemcpyHtoDAsync_v2(dst, src, bytes, own(stream));
}

CUresult cuMemcpyDtoHAsync_v2_ptsz(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    return cuMemcpyDtoHAsync_v2(dst, src, bytes, own(stream));
}

CUresult cuMemcpyDtoDAsync_v2_ptsz(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    return cuMemcpyDtoDAsync_v2(dst, src, bytes, own(stream));
}

CUresult cuMemsetD8Async_ptsz(CUdeviceptr dst, unsigned char value, size_t n, CUstream stream)
{
    return cuMemsetD8Async(dst, value, n, own(stream));
}

CUresult cuMemsetD16Async_ptsz(CUdeviceptr dst, unsigned short value, size_t n, CUstream stream)
{
    return cuMemsetD16Async(dst, value, n, own(stream));
}

CUresult cuMemsetD32Async_ptsz(CUdeviceptr dst, unsigned int value, size_t n, CUstream stream)
{
    return cuMemsetD32Async(dst, value, n, own(stream));
}

CUresult cuLaunchKernel_ptsz(CUfunction fn, unsigned int gx, unsigned int gy, unsigned int gz,
                             unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                             CUstream stream, void **params, void **extra)
{
    return cuLaunchKernel(fn, gx, gy, gz, bx, by, bz, shared, own(stream), params, extra);
}

CUresult cuStreamQuery_ptsz(CUstream stream)
{
    return cuStreamQuery(own(stream));
}

CUresult cuStreamSynchronize_ptsz(CUstream stream)
{
    return cuStreamSynchronize(own(stream));
}

CUresult cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned int flags)
{
    return cuStreamWaitEvent(own(stream), event, flags);
}

CUresult cuStreamGetFlags_ptsz(CUstream stream, unsigned int *flags)
{
    return cuStreamGetFlags(own(stream), flags);
}

CUresult cuStreamGetPriority_ptsz(CUstream stream, int *priority)
{
    return cuStreamGetPriority(own(stream), priority);
}

CUresult cuStreamGetCtx_ptsz(CUstream stream, CUcontext *ctx)
{
    return cuStreamGetCtx(own(stream), ctx);
}

CUresult cuStreamGetCtx_v2_ptsz(CUstream stream, CUcontext *ctx, CUgreenCtx *green)
{
    return cuStreamGetCtx_v2(own(stream), ctx, green);
}

CUresult cuEventRecord_ptsz(CUevent event, CUstream stream)
{
    return cuEventRecord(event, own(stream));
}

/* --- Allocation in a stream's order ---------------------------------------------- */

/* What is there at once is there in time. */
CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
    unsigned flags; /* is it a stream? */
    CAPTURE_HOOK(cuMemAllocAsync, ptr, bytes, stream);
    CUresult rc = cuStreamGetFlags(stream, &flags);
    return rc == CUDA_SUCCESS ? cuMemAlloc_v2(ptr, bytes) : rc;
}

/* Nothing that was given to STREAM before may meet it gone. */
CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream)
{
    CAPTURE_HOOK(cuMemFreeAsync, ptr, stream);
    CUresult rc = ptr ? cuStreamSynchronize(stream) : CUDA_ERROR_INVALID_VALUE;
    return rc == CUDA_SUCCESS ? cuMemFree_v2(ptr) : rc;
}

CUresult cuMemAllocAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
    return cuMemAllocAsync(ptr, bytes, own(stream));
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr ptr, CUstream stream)
{
    return cuMemFreeAsync(ptr, own(stream));
}

/* --- Later and earlier forms --------------------------------------------------- */

CUresult cuGetProcAddress(const char *symbol, void **fn, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, fn, version, flags, NULL);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice dev)
{
    return cuDevicePrimaryCtxRelease_v2(dev);
}

CUresult cuDevicePrimaryCtxReset(CUdevice dev)
{
    return cuDevicePrimaryCtxReset_v2(dev);
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
    return cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

/* A context on a part of the device is none that can be had. */
CUresult cuCtxCreate_v3(CUcontext *ctx, CUexecAffinityParam *affinity, int n, unsigned int flags,
                        CUdevice dev)
{
    if (n < 0 || (n > 0 && !affinity))
        return CUDA_ERROR_INVALID_VALUE;
    return n ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : cuCtxCreate_v2(ctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *ctx, CUctxCreateParams *params, unsigned int flags, CUdevice dev)
{
    if (params && params->cig)
        return CUDA_ERROR_NOT_SUPPORTED;
    return cuCtxCreate_v3(ctx, params ? params->affinity : NULL, params ? params->n_affinity : 0,
                          flags, dev);
}

CUresult cuLaunchHostFunc_ptsz(CUstream stream, CUhostFn fn, void *data)
{
    return cuLaunchHostFunc(own(stream), fn, data);
}

CUresult cuStreamAddCallback_ptsz(CUstream stream, CUstreamCallback callback, void *data,
                                  unsigned int flags)
{
    return cuStreamAddCallback(own(stream), callback, data, flags);
}

/* NULL is the current context, as for all that takes one. */
static CUresult enter(CUcontext ctx)
{
    return ctx ? cuCtxPushCurrent_v2(ctx) : CUDA_SUCCESS;
}

static CUresult leave(CUcontext ctx, CUresult rc)
{
    CUcontext popped;
    CUresult pop = ctx ? cuCtxPopCurrent_v2(&popped) : CUDA_SUCCESS;
    return rc != CUDA_SUCCESS ? rc : pop;
}

CUresult cuCtxSynchronize_v2(CUcontext ctx)
{
    CUresult rc = enter(ctx);
    return rc == CUDA_SUCCESS ? leave(ctx, cuCtxSynchronize()) : rc;
}

CUresult cuCtxGetDevice_v2(CUdevice *dev, CUcontext ctx)
{
    CUresult rc = enter(ctx);
    return rc == CUDA_SUCCESS ? leave(ctx, cuCtxGetDevice(dev)) : rc;
}

CUresult cuStreamGetCtx_v2(CUstream stream, CUcontext *ctx, CUgreenCtx *green)
{
    if (!ctx || !green)
        return CUDA_ERROR_INVALID_VALUE;
    *green = NULL; /* there are none */
    return cuStreamGetCtx(stream, ctx);
}

CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
    return cuEventElapsedTime(ms, start, end);
}
