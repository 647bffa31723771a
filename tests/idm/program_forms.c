/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

static void later_forms(void)
{
    CUcontext current = NULL, c = NULL;
    CUgreenCtx green = (CUgreenCtx)1;
    CUdevice dev = -1;
    CUevent a = NULL, b = NULL;
    float ms = -1;
    SHOW(cuCtxGetCurrent, &current);
    SHOW(cuCtxGetDevice_v2, &dev, NULL);
    SHOW(cuCtxGetDevice_v2, &dev, current);
    SHOW(cuCtxGetDevice_v2, NULL, current);
    SHOW(cuCtxGetDevice_v2, &dev, (CUcontext)&dev);
    printf("%d\n", dev);
    SHOW(cuCtxSynchronize_v2, NULL);
    SHOW(cuCtxSynchronize_v2, current);
    SHOW(cuCtxSynchronize_v2, (CUcontext)&dev);
    SHOW(cuStreamGetCtx_v2, NULL, &c, &green);
    printf("%d %d\n", c == current, green == NULL);
    SHOW(cuStreamGetCtx_v2, NULL, &c, NULL);
    SHOW(cuCtxCreate_v3, &c, NULL, 0, 0, 0);
    SHOW(cuCtxGetDevice_v2, &dev, current);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuCtxCreate_v3, &c, NULL, 1, 0, 0);
    CUctxCreateParams params = {.cig = &params};
    SHOW(cuCtxCreate_v4, &c, &params, 0, 0);
    SHOW(cuCtxCreate_v4, &c, NULL, 0, 0);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuEventCreate, &a, 0);
    SHOW(cuEventCreate, &b, 0);
    SHOW(cuEventRecord_ptsz, a, NULL);
    SHOW(cuEventRecord_ptsz, b, NULL);
    SHOW(cuStreamSynchronize_ptsz, NULL);
    SHOW(cuEventElapsedTime_v2, &ms, a, b);
    printf("%d\n", ms >= 0);
    SHOW(cuEventDestroy_v2, a);
    SHOW(cuEventDestroy_v2, b);
}

static CUcontext shared_context;
static CUmodule module;

static void *thread(void *result)
{
    enum { N = 1000 };
    float x[N], y[N];
    float a = 3.0f;
    unsigned n = N, flags = 9;
    int priority = 7;
    CUdeviceptr dx = 0, dy = 0;
    CUfunction fn = NULL;
    CUresult rc = cu.cuCtxSetCurrent(shared_context);
    for (unsigned i = 0; i < N; i++) {
        x[i] = (float)i;
        y[i] = 1;
    }
    rc |= cu.cuMemAlloc_v2(&dx, sizeof(x)) | cu.cuMemAlloc_v2(&dy, sizeof(y));
    rc |= cu.cuModuleGetFunction(&fn, module, "saxpy");
    rc |= cu.cuMemcpyHtoD_v2_ptds(dx, x, sizeof(x));
    rc |= cu.cuMemcpyHtoDAsync_v2_ptsz(dy, y, sizeof(y), NULL);
    void *params[] = {&a, &dx, &dy, &n};
    rc |= cu.cuLaunchKernel_ptsz(fn, 8, 1, 1, 128, 1, 1, 0, NULL, params, NULL);
    rc |= cu.cuMemsetD32_v2_ptds(dx, 0, N);
    rc |= cu.cuStreamSynchronize_ptsz(NULL);
    rc |= cu.cuStreamQuery_ptsz(NULL);
    rc |= cu.cuStreamGetFlags_ptsz(NULL, &flags) | cu.cuStreamGetPriority_ptsz(NULL, &priority);
    rc |= cu.cuMemcpyDtoH_v2_ptds(y, dy, sizeof(y)) | cu.cuMemcpyDtoH_v2_ptds(x, dx, sizeof(x));
    unsigned wrong = flags != 0 || priority != 0;
    for (unsigned i = 0; i < N; i++)
        wrong += x[i] != 0.0f || y[i] != 1.0f + 3.0f * (float)i;
    rc |= cu.cuMemFree_v2(dx) | cu.cuMemFree_v2(dy);
    *(int *)result = (int)rc * 10000 + (int)wrong;
    return NULL;
}

static void own_streams(void)
{
    enum { THREADS = 4 };
    pthread_t t[THREADS];
    int result[THREADS];
    SHOW(cuCtxGetCurrent, &shared_context);
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuStreamDestroy_v2, CU_STREAM_PER_THREAD);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < THREADS; i++)
            pthread_create(&t[i], NULL, thread, &result[i]);
        for (unsigned i = 0; i < THREADS; i++) {
            pthread_join(t[i], NULL);
            printf("thread: %d\n", result[i]);
        }
    }
    SHOW(cuModuleUnload, module);
}

static void questions(void)
{
    size_t value = 0;
    CUfunc_cache cache = (CUfunc_cache)99;
    CUsharedconfig banks = (CUsharedconfig)99;
    CUmoduleLoadingMode mode = (CUmoduleLoadingMode)99;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)99;
    CUstreamCaptureMode capture = CU_STREAM_CAPTURE_MODE_RELAXED;
    int can = 9;
    uint64_t id = 0;
    for (int i = -1; i < 12; i++) {
        CUresult rc = cu.cuCtxGetLimit(&value, (CUlimit)i);
        printf("limit %d: %d %zu\n", i, (int)rc, value);
    }
    SHOW(cuCtxSetLimit, CU_LIMIT_STACK_SIZE, 8192);
    SHOW(cuCtxGetLimit, &value, CU_LIMIT_STACK_SIZE);
    printf("%zu\n", value);
    SHOW(cuCtxSetLimit, (CUlimit)77, 1);
    SHOW(cuCtxSetCacheConfig, (CUfunc_cache)2);
    SHOW(cuCtxSetCacheConfig, (CUfunc_cache)9);
    SHOW(cuCtxGetCacheConfig, &cache);
    SHOW(cuCtxSetSharedMemConfig, (CUsharedconfig)1);
    SHOW(cuCtxGetSharedMemConfig, &banks);
    SHOW(cuModuleGetLoadingMode, &mode);
    SHOW(cuDeviceCanAccessPeer, &can, 0, 0);
    SHOW(cuDeviceCanAccessPeer, &can, 0, 99);
    printf("%d %d %d\n", cache, mode, can);
    SHOW(cuStreamIsCapturing, NULL, &status);
    SHOW(cuStreamIsCapturing, (CUstream)&status, &status);
    SHOW(cuStreamIsCapturing, NULL, NULL);
    SHOW(cuStreamGetCaptureInfo_v3, NULL, &status, &id, NULL, NULL, NULL, NULL);
    SHOW(cuThreadExchangeStreamCaptureMode, &capture);
    SHOW(cuThreadExchangeStreamCaptureMode, &capture);
    printf("%d %d\n", status, capture);
}

static void pointers(void)
{
    CUdeviceptr p = 0, start = 1, local = (uintptr_t)&p;
    unsigned type = 9;
    int ordinal = 9;
    size_t size = 9;
    CUpointer_attribute what[] = {
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
    void *data[] = {&type, &ordinal, &start, &size};
    SHOW(cuMemAlloc_v2, &p, 5000);
    SHOW(cuPointerGetAttributes, 4, what, data, p + 100);
    printf("%u %d %d %zu\n", type, ordinal, start == p, size);
    SHOW(cuPointerGetAttributes, 4, what, data, local);
    printf("%u %d %d %zu\n", type, ordinal, start == 0, size);
    SHOW(cuPointerGetAttributes, 0, what, data, p);
    what[1] = (CUpointer_attribute)999;
    SHOW(cuPointerGetAttributes, 4, what, data, p);
    SHOW(cuMemFree_v2, p);
}

static void managed(void)
{
    CUdeviceptr p = 0;
    CUmemLocation where = {1, 0};
    unsigned is = 9, type = 9;
    unsigned n = 1000;
    float a = 2;
    CUfunction fn = NULL;
    SHOW(cuMemAllocManaged, &p, 0, CU_MEM_ATTACH_GLOBAL);
    SHOW(cuMemAllocManaged, &p, n * sizeof(float), 0);
    SHOW(cuMemAllocManaged, &p, n * sizeof(float), CU_MEM_ATTACH_GLOBAL);
    float *v = (float *)(uintptr_t)p;
    float before = v[5] + v[999];
    for (unsigned i = 0; i < n; i++)
        v[i] = (float)i;
    SHOW(cuPointerGetAttribute, &is, CU_POINTER_ATTRIBUTE_IS_MANAGED, p);
    SHOW(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p);
    SHOW(cuMemPrefetchAsync, p, 4000, 0, NULL);
    SHOW(cuMemPrefetchAsync_v2, p, 4000, where, 0, NULL);
    SHOW(cuMemAdvise, p, 4000, 1, 0);
    SHOW(cuMemAdvise, p, 1 << 30, 1, 0);
    SHOW(cuMemAdvise, (uintptr_t)&where, 4, 1, 0);
    SHOW(cuStreamAttachMemAsync, NULL, p, 0, 1);
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuModuleGetFunction, &fn, module, "saxpy");
    void *params[] = {&a, &p, &p, &n};
    SHOW(cuLaunchKernel, fn, 8, 1, 1, 128, 1, 1, 0, NULL, params, NULL);
    SHOW(cuCtxSynchronize);
    printf("%u %u %g %g %g\n", is, type, before, v[1], v[999]);
    SHOW(cuMemsetD32_v2, p, 0, 10);
    SHOW(cuCtxSynchronize);
    printf("%g %g\n", v[9], v[10]);
    SHOW(cuMemFree_v2, p + 4);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, p);
    SHOW(cuModuleUnload, module);
}

static void in_order(void)
{
    CUdeviceptr p = 0;
    SHOW(cuMemAllocAsync, &p, 100, NULL);
    SHOW(cuMemAllocAsync, NULL, 100, NULL);
    SHOW(cuMemAllocAsync, &p, 100, (CUstream)&p);
    SHOW(cuMemsetD8Async, p, 3, 100, NULL);
    show_device(p, 100);
    SHOW(cuMemFreeAsync, p, (CUstream)&p);
    SHOW(cuMemFreeAsync, p, NULL);
    SHOW(cuMemFreeAsync, p, NULL);
    SHOW(cuMemFreeAsync, 0, NULL);
}

static void rectangles(void)
{
    uint8_t host[30 * 20], back[30 * 20];
    CUdeviceptr p = 0;
    size_t pitch = 0;
    for (unsigned i = 0; i < sizeof(host); i++)
        host[i] = (uint8_t)(i * 7);
    memset(back, 0, sizeof(back));
    SHOW(cuMemAllocPitch_v2, &p, &pitch, 30, 20, 3);
    SHOW(cuMemAllocPitch_v2, &p, &pitch, 30, 20, 4);
    printf("%zu\n", pitch);
    SHOW(cuMemsetD2D8_v2, p, pitch, 1, 30, 20);
    SHOW(cuMemsetD2D16_v2_ptds, p, pitch, 0x102, 10, 20);
    SHOW(cuMemsetD2D32Async_ptsz, p, pitch, 7, 3, 10, NULL);
    SHOW(cuMemsetD2D32Async, p, 8, 7, 3, 10, NULL);
    SHOW(cuMemsetD2D8_v2, p, pitch, 1, 30, 21);
    SHOW(cuCtxSynchronize);
    show_device(p, pitch * 19 + 30);
    CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = host,
                       .srcPitch = 30,
                       .srcXInBytes = 2,
                       .srcY = 1,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                       .dstDevice = p,
                       .dstPitch = pitch,
                       .dstY = 3,
                       .WidthInBytes = 20,
                       .Height = 10};
    SHOW(cuMemcpy2D_v2, &c);
    SHOW(cuMemcpy2D_v2_ptds, &c);
    show_device(p, pitch * 19 + 30);
    c.dstPitch = 19;
    SHOW(cuMemcpy2DAsync_v2, &c, NULL);
    c.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    SHOW(cuMemcpy2D_v2, &c);
    c.dstMemoryType = (CUmemorytype)9;
    SHOW(cuMemcpy2D_v2, &c);
    SHOW(cuMemcpy2D_v2, NULL);
    CUDA_MEMCPY3D b = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                       .srcDevice = p,
                       .srcPitch = pitch,
                       .srcHeight = 10,
                       .dstMemoryType = CU_MEMORYTYPE_HOST,
                       .dstHost = back,
                       .dstPitch = 30,
                       .dstHeight = 10,
                       .WidthInBytes = 30,
                       .Height = 10,
                       .Depth = 2};
    SHOW(cuMemcpy3D_v2, &b);
    unsigned sum = 0;
    for (unsigned i = 0; i < sizeof(back); i++)
        sum = sum * 31 + back[i];
    printf("%u\n", sum);
    b.srcHeight = 9;
    SHOW(cuMemcpy3D_v2, &b);
    SHOW(cuMemFree_v2, p);
}

static void occupancy(void)
{
    static const int sizes[] = {0, 1, 32, 33, 256, 1000, 1024, 1025};
    CUlibrary library = NULL;
    CUkernel kernel = NULL;
    CUfunction fn = NULL;
    int grid = 0, block = 0;
    size_t bytes = 0;
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuLibraryLoadData, &library, PTX_ALL, NULL, NULL, 0, NULL, NULL, 0);
    SHOW(cuLibraryGetKernel, &kernel, library, "reduce_f32");
    SHOW(cuModuleGetFunction, &fn, module, "reduce_f32");
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int a = -1, b = -1;
        CUresult rc = cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&a, fn, sizes[i], 1000);
        CUresult second = cu.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
            &b, (CUfunction)kernel, sizes[i], 1000, 0);
        printf("blocks of %d: %d %d, %d %d\n", sizes[i], (int)rc, a, (int)second, b);
    }
    SHOW(cuOccupancyMaxActiveBlocksPerMultiprocessor, &grid, (CUfunction)module, 32, 0);
    SHOW(cuOccupancyMaxPotentialBlockSize, &grid, &block, fn, NULL, 0, 0);
    printf("%d %d\n", grid, block);
    SHOW(cuOccupancyMaxPotentialBlockSize, &grid, &block, (CUfunction)kernel, NULL, 20000, 100);
    printf("%d %d\n", grid, block);
    SHOW(cuOccupancyAvailableDynamicSMemPerBlock, &bytes, fn, 4, 128);
    printf("%zu\n", bytes);
    SHOW(cuOccupancyAvailableDynamicSMemPerBlock, &bytes, fn, 4000, 128);
    SHOW(cuFuncSetCacheConfig, fn, (CUfunc_cache)1);
    SHOW(cuFuncSetCacheConfig, NULL, (CUfunc_cache)1);
    SHOW(cuKernelSetCacheConfig, kernel, (CUfunc_cache)1, 0);
    SHOW(cuFuncSetSharedMemConfig, (CUfunction)kernel, (CUsharedconfig)1);
    SHOW(cuLibraryUnload, library);
    SHOW(cuModuleUnload, module);
}

void forms(void)
{
    questions();
    pointers();
    managed();
    in_order();
    rectangles();
    occupancy();
    later_forms();
    own_streams();
}
