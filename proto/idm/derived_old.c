/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are other calls, for libvgpu and the simulated driver: forms of before
 * CUDA 4, and questions whose answer follows from others.
 */
#include <limits.h>
#include <string.h>

#include "idm/cuda_abi.h"

/* --- Forms of before CUDA 4 -------------------------------------------------------- */

CUresult cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev)
{
    return cuCtxCreate_v2(ctx, flags, dev);
}

CUresult cuCtxDestroy(CUcontext ctx)
{
    return cuCtxDestroy_v2(ctx);
}

/* The last user of a context ends it; attaching is refused, so there is but one. */
CUresult cuCtxDetach(CUcontext ctx)
{
    return cuCtxDestroy_v2(ctx);
}

CUresult cuCtxPopCurrent(CUcontext *ctx)
{
    return cuCtxPopCurrent_v2(ctx);
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
    return cuCtxPushCurrent_v2(ctx);
}

CUresult cuEventDestroy(CUevent event)
{
    return cuEventDestroy_v2(event);
}

CUresult cuStreamDestroy(CUstream stream)
{
    return cuStreamDestroy_v2(stream);
}

CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice dev)
{
    size_t all = 0;
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = cuDeviceTotalMem_v2(&all, dev);
    if (rc == CUDA_SUCCESS)
        *bytes = all < UINT_MAX ? (unsigned)all : UINT_MAX;
    return rc;
}

CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice dev)
{
    CUdevprop p;
    const struct {
        CUdevice_attribute what;
        int *where;
    } all[] = {
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &p.maxThreadsPerBlock},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, &p.maxThreadsDim[0]},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, &p.maxThreadsDim[1]},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, &p.maxThreadsDim[2]},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, &p.maxGridSize[0]},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, &p.maxGridSize[1]},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, &p.maxGridSize[2]},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, &p.sharedMemPerBlock},
        {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, &p.totalConstantMemory},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, &p.SIMDWidth},
        {CU_DEVICE_ATTRIBUTE_MAX_PITCH, &p.memPitch},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, &p.regsPerBlock},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, &p.clockRate},
        {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, &p.textureAlign},
    };
    if (!properties)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CUresult rc = cuDeviceGetAttribute(all[i].where, all[i].what, dev);
        if (rc != CUDA_SUCCESS)
            return rc;
    }
    *properties = p;
    return CUDA_SUCCESS;
}

/* --- Between devices, and with the host --------------------------------------------- */

/* No operation, in no size. */
static CUresult no_atomics(unsigned int *capabilities, const int *operations, unsigned int n)
{
    if (!capabilities || !operations || !n)
        return CUDA_ERROR_INVALID_VALUE;
    memset(capabilities, 0, n * sizeof(*capabilities));
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAtomicCapabilities(unsigned int *capabilities, const int *operations,
                                          unsigned int n, CUdevice src, CUdevice dst)
{
    int can;
    CUresult rc = cuDeviceCanAccessPeer(&can, src, dst);
    if (rc == CUDA_SUCCESS && src == dst)
        rc = CUDA_ERROR_INVALID_DEVICE;
    return rc == CUDA_SUCCESS ? no_atomics(capabilities, operations, n) : rc;
}

CUresult cuDeviceGetHostAtomicCapabilities(unsigned int *capabilities, const int *operations,
                                           unsigned int n, CUdevice dev)
{
    int unused; /* is it a device? */
    CUresult rc = cuDeviceGetAttribute(&unused, CU_DEVICE_ATTRIBUTE_WARP_SIZE, dev);
    return rc == CUDA_SUCCESS ? no_atomics(capabilities, operations, n) : rc;
}

CUresult cuDeviceGetExecAffinitySupport(int *has, int type, CUdevice dev)
{
    int unused; /* is it a device? */
    if (!has || type != 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = cuDeviceGetAttribute(&unused, CU_DEVICE_ATTRIBUTE_WARP_SIZE, dev);
    if (rc == CUDA_SUCCESS)
        *has = 0;
    return rc;
}

/* --- Earlier forms of linking -------------------------------------------------------- */

CUresult cuLinkCreate(unsigned int n, CUjit_option *options, void **values, CUlinkState *state)
{
    return cuLinkCreate_v2(n, options, values, state);
}

CUresult cuLinkAddData(CUlinkState state, CUjitInputType type, void *data, size_t bytes,
                       const char *name, unsigned int n, CUjit_option *options, void **values)
{
    return cuLinkAddData_v2(state, type, data, bytes, name, n, options, values);
}

CUresult cuLinkAddFile(CUlinkState state, CUjitInputType type, const char *path, unsigned int n,
                       CUjit_option *options, void **values)
{
    return cuLinkAddFile_v2(state, type, path, n, options, values);
}
