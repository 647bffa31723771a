/* SPDX-License-Identifier: Apache-2.0 */
/* Questions answered with other questions, and launches with attributes, in libvgpu and
 * in the simulated driver. */
#include <stdbool.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "idm/pointer_attributes.h"

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

static void answer(void *data, CUpointer_attribute what, uint64_t value)
{
    memcpy(data, &value, attribute_bytes((int)what));
}

/* CUDA 13.0: cuPointerGetAttribute. */
CUresult pointer_attribute(void *data, CUpointer_attribute what, const struct pointer_range *r)
{
    switch (what) {
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        answer(data, what, r->id);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        answer(data, what, r->base);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        answer(data, what, r->bytes);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        answer(data, what, 1);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        answer(data, what, 3); /* CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE */
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        answer(data, what, r->ipc);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
        answer(data, what, r->kinds);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: /* of a pool: pools_attribute */
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        answer(data, what, 0);
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
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

CUresult cuLaunchCooperativeKernel(CUfunction fn, unsigned int gx, unsigned int gy, unsigned int gz,
                                   unsigned int bx, unsigned int by, unsigned int bz,
                                   unsigned int shared, CUstream stream, void **params)
{
    CUlaunchAttribute cooperative = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE};
    const int yes = 1;
    memcpy(cooperative.value, &yes, sizeof(yes));
    const CUlaunchConfig c = {.gridDimX = gx,
                              .gridDimY = gy,
                              .gridDimZ = gz,
                              .blockDimX = bx,
                              .blockDimY = by,
                              .blockDimZ = bz,
                              .sharedMemBytes = shared,
                              .hStream = stream,
                              .attrs = &cooperative,
                              .numAttrs = 1};
    return cuLaunchKernelEx(&c, fn, params, NULL);
}

CUresult cuLaunchCooperativeKernel_ptsz(CUfunction fn, unsigned int gx, unsigned int gy,
                                        unsigned int gz, unsigned int bx, unsigned int by,
                                        unsigned int bz, unsigned int shared, CUstream stream,
                                        void **params)
{
    return cuLaunchCooperativeKernel(fn, gx, gy, gz, bx, by, bz, shared, own(stream), params);
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

/* --- Streams ---------------------------------------------------------------------- */

CUresult cuStreamGetDevice(CUstream stream, CUdevice *dev)
{
    CUcontext context;
    if (!dev)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = cuStreamGetCtx(stream, &context);
    return rc == CUDA_SUCCESS ? cuCtxGetDevice_v2(dev, context) : rc;
}

CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx *green)
{
    CUcontext context;
    return cuStreamGetCtx_v2(stream, &context, green);
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
