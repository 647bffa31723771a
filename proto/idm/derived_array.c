/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about arrays that are other calls, in libvgpu and in the simulated driver. */
#include "idm/arrays.h"

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

static CUresult finish(CUresult rc, CUstream stream)
{
    return rc == CUDA_SUCCESS ? cuStreamSynchronize(stream) : rc;
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d)
{
    if (!d)
        return CUDA_ERROR_INVALID_VALUE;
    const CUDA_ARRAY3D_DESCRIPTOR box = {
        .Width = d->Width, .Height = d->Height, .Format = d->Format, .NumChannels = d->NumChannels};
    return cuArray3DCreate_v2(array, &box);
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *d, CUarray array)
{
    CUDA_ARRAY3D_DESCRIPTOR box;
    CUresult rc = d ? cuArray3DGetDescriptor_v2(&box, array) : CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS)
        *d = (CUDA_ARRAY_DESCRIPTOR){box.Width, box.Height, box.Format, box.NumChannels};
    return rc;
}

/* --- A run of bytes in a row: of one-dimensional arrays, or in the first row ------------------ */

static CUresult run(CUarray array, size_t at, CUmemorytype type, uint64_t address, size_t bytes,
                    bool to_array, CUstream stream)
{
    CUDA_MEMCPY2D c = {.WidthInBytes = bytes, .Height = 1};
    if (to_array) {
        c.dstMemoryType = CU_MEMORYTYPE_ARRAY;
        c.dstArray = array;
        c.dstXInBytes = at;
        c.srcMemoryType = type;
        c.srcHost = (const void *)(uintptr_t)address;
        c.srcDevice = address;
    } else {
        c.srcMemoryType = CU_MEMORYTYPE_ARRAY;
        c.srcArray = array;
        c.srcXInBytes = at;
        c.dstMemoryType = type;
        c.dstHost = (void *)(uintptr_t)address;
        c.dstDevice = address;
    }
    return cuMemcpy2DAsync_v2(&c, stream);
}

static CUresult between(CUarray dst, size_t to, CUarray src, size_t from, size_t bytes,
                        CUstream stream)
{
    const CUDA_MEMCPY2D c = {.dstMemoryType = CU_MEMORYTYPE_ARRAY,
                             .dstArray = dst,
                             .dstXInBytes = to,
                             .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                             .srcArray = src,
                             .srcXInBytes = from,
                             .WidthInBytes = bytes,
                             .Height = 1};
    return cuMemcpy2DAsync_v2(&c, stream);
}

/* The plain form, and the one for a thread's own stream. */
#define FORMS(name, params, call, wait)                                                            \
    CUresult name params                                                                           \
    {                                                                                              \
        const CUstream stream = NULL;                                                              \
        CUresult rc = call;                                                                        \
        return (wait) ? finish(rc, stream) : rc;                                                   \
    }                                                                                              \
    CUresult name##_ptds params                                                                    \
    {                                                                                              \
        const CUstream stream = CU_STREAM_PER_THREAD;                                              \
        CUresult rc = call;                                                                        \
        return (wait) ? finish(rc, stream) : rc;                                                   \
    }
FORMS(cuMemcpyAtoA_v2, (CUarray dst, size_t to, CUarray src, size_t from, size_t bytes),
      between(dst, to, src, from, bytes, stream), false)
FORMS(cuMemcpyAtoD_v2, (CUdeviceptr dst, CUarray src, size_t from, size_t bytes),
      run(src, from, CU_MEMORYTYPE_DEVICE, dst, bytes, false, stream), false)
FORMS(cuMemcpyDtoA_v2, (CUarray dst, size_t to, CUdeviceptr src, size_t bytes),
      run(dst, to, CU_MEMORYTYPE_DEVICE, src, bytes, true, stream), false)
FORMS(cuMemcpyAtoH_v2, (void *dst, CUarray src, size_t from, size_t bytes),
      run(src, from, CU_MEMORYTYPE_HOST, (uintptr_t)dst, bytes, false, stream), true)
FORMS(cuMemcpyHtoA_v2, (CUarray dst, size_t to, const void *src, size_t bytes),
      run(dst, to, CU_MEMORYTYPE_HOST, (uintptr_t)src, bytes, true, stream), true)

CUresult cuMemcpyAtoHAsync_v2(void *dst, CUarray src, size_t from, size_t bytes, CUstream stream)
{
    return run(src, from, CU_MEMORYTYPE_HOST, (uintptr_t)dst, bytes, false, stream);
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t to, const void *src, size_t bytes,
                              CUstream stream)
{
    return run(dst, to, CU_MEMORYTYPE_HOST, (uintptr_t)src, bytes, true, stream);
}

CUresult cuMemcpyAtoHAsync_v2_ptsz(void *dst, CUarray src, size_t from, size_t bytes,
                                   CUstream stream)
{
    return cuMemcpyAtoHAsync_v2(dst, src, from, bytes, own(stream));
}

CUresult cuMemcpyHtoAAsync_v2_ptsz(CUarray dst, size_t to, const void *src, size_t bytes,
                                   CUstream stream)
{
    return cuMemcpyHtoAAsync_v2(dst, to, src, bytes, own(stream));
}
