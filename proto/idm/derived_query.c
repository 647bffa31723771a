/* SPDX-License-Identifier: Apache-2.0 */
/* Questions answered with other questions, and launches with attributes, in libvgpu and
 * in the simulated driver. */
#include <stdbool.h>
#include <string.h>

#include "idm/cuda_abi.h"

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* --- Pointers ------------------------------------------------------------------- */

/* Bytes of an attribute's value; 0: there is none of that number. */
static size_t attribute_bytes(int what)
{
    static const uint8_t bytes[] = {0, 8, 4, 8, 8, 16, 4, 8, 4, 4, 4,
                                    8, 8, 4, 8, 4, 4,  8, 8, 8, 8, 4};
    return what > 0 && what < (int)sizeof(bytes) ? bytes[what] : 0;
}

/* For an address that is nobody's, or an attribute it hasn't. */
static void no_attribute(CUpointer_attribute what, void *data)
{
    static const int no_device = -2;
    memset(data, 0, attribute_bytes((int)what));
    if (what == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
        memcpy(data, &no_device, sizeof(no_device));
}

CUresult cuPointerGetAttributes(unsigned int n, CUpointer_attribute *what, void **data,
                                CUdeviceptr ptr)
{
    if (!n || !what || !data)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        if (!data[i] || !attribute_bytes((int)what[i]))
            return CUDA_ERROR_INVALID_VALUE;
        CUresult rc = cuPointerGetAttribute(data[i], what[i], ptr);
        if (rc == CUDA_ERROR_INVALID_VALUE || rc == CUDA_ERROR_NOT_SUPPORTED)
            no_attribute(what[i], data[i]);
        else if (rc != CUDA_SUCCESS)
            return rc;
    }
    return CUDA_SUCCESS;
}

/* --- Captures: there are none, because nobody can begin one --------------------- */

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    unsigned flags; /* is it a stream? */
    if (!status)
        return CUDA_ERROR_INVALID_VALUE;
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return cuStreamGetFlags(stream, &flags);
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id)
{
    return cuStreamIsCapturing(stream, status);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id,
                                   void *graph, const void **dependencies, size_t *n)
{
    return cuStreamIsCapturing(stream, status);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id,
                                   void *graph, const void **dependencies, const void **edges,
                                   size_t *n)
{
    return cuStreamIsCapturing(stream, status);
}

CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status)
{
    return cuStreamIsCapturing(own(stream), status);
}

CUresult cuStreamGetCaptureInfo_ptsz(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id)
{
    return cuStreamIsCapturing(own(stream), status);
}

CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream stream, CUstreamCaptureStatus *status,
                                        uint64_t *id, void *graph, const void **dependencies,
                                        size_t *n)
{
    return cuStreamIsCapturing(own(stream), status);
}

CUresult cuStreamGetCaptureInfo_v3_ptsz(CUstream stream, CUstreamCaptureStatus *status,
                                        uint64_t *id, void *graph, const void **dependencies,
                                        const void **edges, size_t *n)
{
    return cuStreamIsCapturing(own(stream), status);
}

/* Kept for the thread, as it would matter to a capture. */
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    static __thread CUstreamCaptureMode current = CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!mode || (int)*mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = current;
    current = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

/* --- Occupancy ------------------------------------------------------------------- */

/* The largest block that isn't tried in vain. */
static CUresult largest_block(int limit, int *ret_threads, int *ret_sms)
{
    CUdevice dev;
    CUresult rc = cuCtxGetDevice(&dev);
    if (rc == CUDA_SUCCESS)
        rc = cuDeviceGetAttribute(ret_threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, dev);
    if (rc == CUDA_SUCCESS)
        rc = cuDeviceGetAttribute(ret_sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, dev);
    if (limit > 0 && limit < *ret_threads)
        *ret_threads = limit;
    return rc;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction fn,
                                                   CUoccupancyB2DSize dynamic_of, size_t dynamic,
                                                   int limit, unsigned int flags)
{
    int threads = 0, sms = 0, best = 0;
    if (!grid || !block)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = largest_block(limit, &threads, &sms);
    if (rc != CUDA_SUCCESS)
        return rc;
    int step = 32, first = (threads + step - 1) / step * step;
    for (int t = first; t > 0; t -= step) {
        int try = t < threads ? t : threads, blocks = 0;
        rc = cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
            &blocks, fn, try, dynamic_of ? dynamic_of(try) : dynamic, flags);
        if (rc != CUDA_SUCCESS)
            return rc;
        if (blocks * try > best) { /* of equals, the larger block */
            best = blocks * try;
            *block = try;
            *grid = blocks * sms;
        }
    }
    return best ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction fn,
                                          CUoccupancyB2DSize dynamic_of, size_t dynamic, int limit)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, fn, dynamic_of, dynamic, limit,
                                                     0);
}

/* --- Launches with attributes ---------------------------------------------------- */

/* Some say how to be faster: those may be passed over. */
static CUresult check_attribute(const CUlaunchAttribute *a)
{
    unsigned dims[3];
    int cooperative;
    switch (a->id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        memcpy(&cooperative, a->value, sizeof(cooperative));
        return cooperative ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        memcpy(dims, a->value, sizeof(dims));
        return dims[0] == 1 && dims[1] == 1 && dims[2] == 1 ? CUDA_SUCCESS
                                                            : CUDA_ERROR_NOT_SUPPORTED;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction fn, void **params, void **extra)
{
    if (!c || (c->numAttrs && !c->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < c->numAttrs; i++) {
        CUresult rc = check_attribute(&c->attrs[i]);
        if (rc != CUDA_SUCCESS)
            return rc;
    }
    return cuLaunchKernel(fn, c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY,
                          c->blockDimZ, c->sharedMemBytes, c->hStream, params, extra);
}

CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *c, CUfunction fn, void **params, void **extra)
{
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    CUlaunchConfig mine = *c;
    mine.hStream = own(mine.hStream);
    return cuLaunchKernelEx(&mine, fn, params, extra);
}

CUresult cuEventRecordWithFlags_ptsz(CUevent event, CUstream stream, unsigned int flags)
{
    return cuEventRecordWithFlags(event, own(stream), flags);
}

/* --- Managed memory ---------------------------------------------------------------- */

/* Where it is, is settled: hints about it are heard, and nothing follows. */
static CUresult check_managed(CUdeviceptr ptr, size_t bytes)
{
    unsigned managed = 0;
    CUdeviceptr base = 0;
    size_t size = 0;
    CUresult rc = cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, ptr);
    if (rc == CUDA_SUCCESS)
        rc = cuMemGetAddressRange_v2(&base, &size, ptr);
    if (rc != CUDA_SUCCESS)
        return rc;
    return managed && bytes && bytes <= size - (ptr - base) ? CUDA_SUCCESS
                                                            : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAdvise(CUdeviceptr ptr, size_t bytes, int advice, CUdevice dev)
{
    return check_managed(ptr, bytes);
}

CUresult cuMemAdvise_v2(CUdeviceptr ptr, size_t bytes, int advice, CUmemLocation where)
{
    return check_managed(ptr, bytes);
}

CUresult cuMemPrefetchAsync(CUdeviceptr ptr, size_t bytes, CUdevice dev, CUstream stream)
{
    return check_managed(ptr, bytes);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr ptr, size_t bytes, CUmemLocation where,
                               unsigned int flags, CUstream stream)
{
    return flags ? CUDA_ERROR_INVALID_VALUE : check_managed(ptr, bytes);
}

CUresult cuMemPrefetchAsync_ptsz(CUdeviceptr ptr, size_t bytes, CUdevice dev, CUstream stream)
{
    return check_managed(ptr, bytes);
}

CUresult cuMemPrefetchAsync_v2_ptsz(CUdeviceptr ptr, size_t bytes, CUmemLocation where,
                                    unsigned int flags, CUstream stream)
{
    return cuMemPrefetchAsync_v2(ptr, bytes, where, flags, stream);
}

/* Every stream and the host may use it at any time. */
CUresult cuStreamAttachMemAsync(CUstream stream, CUdeviceptr ptr, size_t bytes, unsigned int flags)
{
    return check_managed(ptr, bytes ? bytes : 1);
}

CUresult cuStreamAttachMemAsync_ptsz(CUstream stream, CUdeviceptr ptr, size_t bytes,
                                     unsigned int flags)
{
    return cuStreamAttachMemAsync(stream, ptr, bytes, flags);
}
