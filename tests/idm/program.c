/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses the Driver API and writes down what it sees: every
 * result code, every value that is no address or handle, checksums of data.
 *   program LIBCUDA
 * What it prints with a driver and through libvgpu must be the same.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

struct cu cu;
static CUcontext context;
static CUmodule module;

CUresult show(const char *what, CUresult rc)
{
    printf("%s: %d\n", what, (int)rc);
    return rc;
}

unsigned show_good(const char *what, bool good)
{
    printf("%s: %s\n", what, good ? "good" : "WRONG");
    return !good;
}

static uint64_t sum(const void *data, size_t bytes)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 1099511628211u;
    return h;
}

static void *room(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        abort();
    return p;
}

void show_device(CUdeviceptr p, size_t bytes)
{
    void *copy = room(bytes);
    memset(copy, 0xee, bytes);
    CUresult rc = cu.cuMemcpyDtoH_v2(copy, p, bytes);
    printf("  data: %d %zu %016" PRIx64 "\n", (int)rc, bytes, sum(copy, bytes));
    free(copy);
}

static void before_init(void)
{
    int n = -1;
    CUcontext c = NULL;
    CUdeviceptr p = 0;
    const char *text = NULL;
    SHOW(cuDeviceGetCount, &n);
    SHOW(cuCtxGetCurrent, &c);
    SHOW(cuMemAlloc_v2, &p, 16);
    SHOW(cuInit, 1);
    for (int code = 0; code < 1000; code++) {
        if (cu.cuGetErrorName((CUresult)code, &text) == CUDA_SUCCESS)
            printf("%d %s", code, text);
        if (cu.cuGetErrorString((CUresult)code, &text) == CUDA_SUCCESS)
            printf(" %s\n", text);
    }
    SHOW(cuGetErrorName, (CUresult)12345, &text);
    SHOW(cuInit, 0);
    SHOW(cuInit, 0);
}

static void devices(void)
{
    int version = 0, n = 0, major = 0, minor = 0;
    char text[200] = "";
    size_t bytes = 0;
    CUuuid uuid = {{0}};
    CUdevice dev = -1;
    SHOW(cuDriverGetVersion, &version);
    SHOW(cuDeviceGetCount, &n);
    printf("%d %d\n", version, n);
    SHOW(cuDeviceGet, &dev, n);
    SHOW(cuDeviceGet, &dev, -1);
    SHOW(cuDeviceGet, &dev, 0);
    SHOW(cuDeviceGetName, text, sizeof(text), dev);
    printf("%s\n", text);
    SHOW(cuDeviceGetName, text, 5, dev);
    printf("%s\n", text);
    SHOW(cuDeviceGetName, text, 0, dev);
    SHOW(cuDeviceGetPCIBusId, text, sizeof(text), dev);
    printf("%s\n", text);
    dev = -1;
    SHOW(cuDeviceGetByPCIBusId, &dev, text);
    printf("%d\n", dev);
    SHOW(cuDeviceGetByPCIBusId, &dev, "0000:77:00.0");
    SHOW(cuDeviceGetByPCIBusId, &dev, "what");
    SHOW(cuDeviceGetPCIBusId, text, 4, dev);
    SHOW(cuDeviceGetUuid, &uuid, dev);
    printf("%016" PRIx64 "\n", sum(&uuid, sizeof(uuid)));
    SHOW(cuDeviceTotalMem_v2, &bytes, dev);
    SHOW(cuDeviceTotalMem_v2, &bytes, 99);
    SHOW(cuDeviceComputeCapability, &major, &minor, dev);
    printf("%d.%d\n", major, minor);
    for (int i = -1; i < 170; i++) {
        int value = -12345;
        if (i == CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM)
            continue; /* not through the proxy */
        CUresult rc = cu.cuDeviceGetAttribute(&value, (CUdevice_attribute)i, dev);
        printf("attribute %d: %d %d\n", i, (int)rc, value);
    }
}

static void contexts(void)
{
    CUcontext a = NULL, b = NULL, c = NULL;
    CUdevice dev = -1;
    unsigned flags = 0, version = 0;
    int least = 0, greatest = 0, active = -1;
    SHOW(cuCtxSynchronize);
    SHOW(cuCtxGetDevice, &dev);
    SHOW(cuCtxCreate_v2, &a, 0, 17);
    SHOW(cuCtxCreate_v2, &a, CU_CTX_SCHED_BLOCKING_SYNC, 0);
    SHOW(cuCtxCreate_v2, &b, 0, 0);
    SHOW(cuCtxGetCurrent, &c);
    printf("top is b: %d\n", c == b);
    SHOW(cuCtxGetDevice, &dev);
    printf("%d\n", dev);
    SHOW(cuCtxPopCurrent_v2, &c);
    printf("popped b: %d\n", c == b);
    SHOW(cuCtxGetFlags, &flags);
    printf("blocking: %d\n", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);
    SHOW(cuCtxGetApiVersion, a, &version);
    SHOW(cuCtxGetStreamPriorityRange, &least, &greatest);
    printf("%d %d\n", least, greatest);
    SHOW(cuCtxPushCurrent_v2, b);
    SHOW(cuCtxSetCurrent, a);
    SHOW(cuCtxDestroy_v2, b);
    SHOW(cuCtxGetCurrent, &c);
    printf("top is a: %d\n", c == a);
    SHOW(cuCtxPushCurrent_v2, b);
    SHOW(cuCtxSetCurrent, b);
    SHOW(cuCtxDestroy_v2, b);
    SHOW(cuCtxSetCurrent, NULL);
    SHOW(cuCtxPopCurrent_v2, &c);
    printf("popped a: %d\n", c == a);
    SHOW(cuCtxPopCurrent_v2, &c);
    SHOW(cuCtxPushCurrent_v2, a);
    SHOW(cuCtxDestroy_v2, a);
    SHOW(cuCtxGetCurrent, &c);
    printf("none: %d\n", c == NULL);
    SHOW(cuDevicePrimaryCtxGetState, 0, &flags, &active);
    printf("active: %d\n", active);
    SHOW(cuDevicePrimaryCtxRetain, &a, 0);
    SHOW(cuDevicePrimaryCtxRetain, &b, 0);
    printf("same: %d\n", a == b);
    SHOW(cuDevicePrimaryCtxGetState, 0, &flags, &active);
    printf("active: %d\n", active);
    SHOW(cuCtxDestroy_v2, a);
    SHOW(cuDevicePrimaryCtxRelease_v2, 0);
    SHOW(cuCtxSetCurrent, a);
    SHOW(cuCtxSynchronize);
    SHOW(cuCtxSetCurrent, NULL);
    SHOW(cuDevicePrimaryCtxRelease_v2, 0);
    SHOW(cuDevicePrimaryCtxRelease_v2, 0);
    SHOW(cuDevicePrimaryCtxRetain, &a, 5);
    SHOW(cuCtxCreate_v2, &context, 0, 0);
}

static void fill(uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i * 13 + (i >> 8) * 7 + (i >> 16));
}

static void copies(void)
{
    static const size_t sizes[] = {1,     3,      255,    4096,   8191,    8192,   8193,
                                   65536, 524287, 524288, 524289, 1048577, 5000000};
    const size_t most = 5000000;
    uint8_t *host = room(most);
    CUdeviceptr a = 0, b = 0;
    fill(host, most);
    SHOW(cuMemAlloc_v2, &a, most);
    SHOW(cuMemAlloc_v2, &b, most);
    show_device(a, 100); /* zeroed */
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        SHOW(cuMemcpyHtoD_v2, a + most - n, host, n);
        show_device(a + most - n, n);
        SHOW(cuMemcpyDtoD_v2, b, a + most - n, n);
        show_device(b, n);
        SHOW(cuMemcpyHtoDAsync_v2, b, host + most - n, n, NULL);
        memset(host + most - n, 0x11, 1); /* it has been read */
        SHOW(cuCtxSynchronize);
        show_device(b, n);
        fill(host, most);
    }
    SHOW(cuMemcpyHtoD_v2, a, host, 0);
    SHOW(cuMemcpyHtoD_v2, a + 1, host, most);
    SHOW(cuMemcpyDtoH_v2, host, a + 1, most);
    SHOW(cuMemcpyHtoD_v2, 0, host, 4);
    SHOW(cuMemcpyDtoD_v2, a, b + 1, most);
    SHOW(cuMemcpy, (CUdeviceptr)(uintptr_t)host, b, 70000);
    printf("%016" PRIx64 "\n", sum(host, 70000));
    SHOW(cuMemcpy, a, (CUdeviceptr)(uintptr_t)host, 70000);
    show_device(a, 70000);
    SHOW(cuMemcpy, b, a, 70000);
    show_device(b, 70000);
    SHOW(cuMemFree_v2, a);
    SHOW(cuMemFree_v2, b);
    free(host);
}

static void memory(void)
{
    CUdeviceptr p = 0, base = 0;
    size_t bytes = 0, free_bytes = 0, total = 0;
    unsigned type = 0;
    int ordinal = -1;
    SHOW(cuMemAlloc_v2, &p, 0);
    SHOW(cuMemAlloc_v2, NULL, 16);
    SHOW(cuMemAlloc_v2, &p, (size_t)1 << 50);
    SHOW(cuMemGetInfo_v2, &free_bytes, &total);
    printf("sane: %d\n", free_bytes <= total && total > 0);
    SHOW(cuMemAlloc_v2, &p, 1000);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, p + 999);
    printf("%d %zu\n", base == p, bytes);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, p + (1u << 30));
    SHOW(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p);
    SHOW(cuPointerGetAttribute, &ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p);
    printf("%u %d\n", type, ordinal);
    SHOW(cuMemsetD8_v2, p, 0xab, 1000);
    show_device(p, 1000);
    SHOW(cuMemsetD16_v2, p + 10, 0x1234, 400);
    show_device(p, 1000);
    SHOW(cuMemsetD32_v2, p + 100, 0xdeadbeef, 200);
    show_device(p, 1000);
    SHOW(cuMemsetD32Async, p + 400, 77, 10, NULL);
    SHOW(cuMemsetD16Async, p + 500, 78, 10, NULL);
    SHOW(cuMemsetD8Async, p + 600, 79, 10, NULL);
    show_device(p, 1000);
    SHOW(cuMemsetD8_v2, p, 1, 1001);
    SHOW(cuMemsetD32_v2, p + 4, 1, 250);
    SHOW(cuMemFree_v2, p + 16);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, 0);
}

static void pinned(void)
{
    const size_t bytes = 300000;
    uint8_t *host = NULL, *other = NULL;
    CUdeviceptr p = 0, mapped = 0;
    unsigned type = 0;
    SHOW(cuMemAllocHost_v2, (void **)&host, bytes);
    SHOW(cuMemHostAlloc, (void **)&other, bytes, CU_MEMHOSTALLOC_PORTABLE);
    SHOW(cuMemHostAlloc, (void **)&other, 10, 0x80);
    SHOW(cuMemAllocHost_v2, (void **)&other, 0);
    if (!host || !other)
        return;
    SHOW(cuMemAlloc_v2, &p, bytes);
    fill(host, bytes);
    SHOW(cuMemcpyHtoDAsync_v2, p, host, bytes, NULL);
    SHOW(cuMemcpyDtoHAsync_v2, other, p, bytes, NULL);
    SHOW(cuStreamSynchronize, NULL);
    printf("%d\n", memcmp(host, other, bytes));
    SHOW(cuMemsetD8_v2, p, 5, bytes);
    SHOW(cuMemcpyDtoH_v2, other + 7, p + 3, 1000);
    printf("%016" PRIx64 "\n", sum(other, bytes));
    SHOW(cuMemHostGetDevicePointer_v2, &mapped, host, 0);
    SHOW(cuMemHostGetDevicePointer_v2, &mapped, host + 4096, 0);
    SHOW(cuMemHostGetDevicePointer_v2, &mapped, &type, 0);
    SHOW(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
         (CUdeviceptr)(uintptr_t)host);
    printf("%u\n", type);
    SHOW(cuMemFreeHost, host + 4096);
    SHOW(cuMemFreeHost, host);
    SHOW(cuMemFreeHost, other);
    SHOW(cuMemFreeHost, other);
    SHOW(cuMemHostRegister_v2, &p, 0, 0);
    SHOW(cuMemHostUnregister, &p);
    SHOW(cuMemFree_v2, p);
}

static void modules(void)
{
    CUfunction fn = NULL, again = NULL;
    CUmodule other = NULL;
    CUdeviceptr p = 0;
    size_t bytes = 0;
    SHOW(cuModuleLoadData, &other, "this is no PTX");
    SHOW(cuModuleLoadData, &other, PTX_HEADER ".visible .entry e() { nonsense.u32 %r1; }");
    char log[512] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_OPTIMIZATION_LEVEL};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log), (void *)(uintptr_t)3};
    SHOW(cuModuleLoadDataEx, &other, PTX_HEADER ".visible .entry e() { nonsense; }", 3, options,
         values);
    printf("log: %s\n%d\n", log, (uintptr_t)values[1] == strlen(log));
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuModuleGetFunction, &fn, module, "nobody");
    SHOW(cuModuleGetFunction, &fn, module, "saxpy");
    SHOW(cuModuleGetFunction, &again, module, "saxpy");
    SHOW(cuFuncGetModule, &other, fn);
    printf("its module: %d\n", other == module);
    for (int i = -1; i < 20; i++) {
        int value = -1;
        CUresult rc = cu.cuFuncGetAttribute(&value, (CUfunction_attribute)i, fn);
        printf("attribute %d: %d %d\n", i, (int)rc, value);
    }
    for (size_t i = 0; i < 6; i++) {
        size_t offset = 0, size = 0;
        CUresult rc = cu.cuFuncGetParamInfo(fn, i, &offset, &size);
        printf("parameter %zu: %d %zu %zu\n", i, (int)rc, offset, size);
    }
    SHOW(cuFuncSetAttribute, fn, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 60000);
    int value = 0;
    SHOW(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, fn);
    printf("%d\n", value);
    SHOW(cuFuncSetAttribute, fn, CU_FUNC_ATTRIBUTE_NUM_REGS, 1);
    SHOW(cuModuleGetGlobal_v2, &p, &bytes, module, "nobody");
    SHOW(cuModuleLoadData, &other,
         PTX_HEADER ".visible .global .align 4 .u32 table[4] = {1, 2, 3, 4};\n");
    SHOW(cuModuleGetGlobal_v2, &p, &bytes, other, "table");
    printf("%zu\n", bytes);
    show_device(p, 16);
    SHOW(cuMemcpyHtoD_v2, p, "0123456789abcdef", 16);
    show_device(p, 16);
    SHOW(cuMemFree_v2, p);
    SHOW(cuModuleUnload, other);
    SHOW(cuModuleUnload, other);
    SHOW(cuMemcpyHtoD_v2, p, "x", 1);
}

static CUfunction function(const char *name)
{
    CUfunction fn = NULL;
    cu.cuModuleGetFunction(&fn, module, name);
    return fn;
}

static CUdeviceptr floats(unsigned n)
{
    CUdeviceptr p = 0;
    float *v = room(n * sizeof(*v));
    for (unsigned i = 0; i < n; i++)
        v[i] = (float)(int)((i * 37) % 1001) / 8.0f;
    cu.cuMemAlloc_v2(&p, n * sizeof(*v));
    cu.cuMemcpyHtoD_v2(p, v, n * sizeof(*v));
    free(v);
    return p;
}

static void launches(void)
{
    unsigned n = 10000, size = 48;
    float a = 1.5f;
    CUdeviceptr x = floats(n), y = floats(n), z = floats(n);
    CUfunction fn = function("vec_add");
    void *vec[] = {&x, &y, &z, &n};
    SHOW(cuLaunchKernel, fn, 40, 1, 1, 256, 1, 1, 0, NULL, vec, NULL);
    show_device(z, n * 4);
    void *sax[] = {&a, &x, &y, &n};
    SHOW(cuLaunchKernel, function("saxpy"), 40, 1, 1, 256, 1, 1, 0, NULL, sax, NULL);
    show_device(y, n * 4);
    void *red[] = {&x, &z, &n};
    SHOW(cuLaunchKernel, function("reduce_f32"), 40, 1, 1, 256, 1, 1, 0, NULL, red, NULL);
    show_device(z, 40 * 4);
    SHOW(cuLaunchKernel, function("reduce_i32"), 40, 1, 1, 256, 1, 1, 0, NULL, red, NULL);
    show_device(z, 40 * 4);
    void *mat[] = {&x, &y, &z, &size, &size, &size};
    SHOW(cuLaunchKernel, function("matmul_f32"), 3, 3, 1, 16, 16, 1, 0, NULL, mat, NULL);
    show_device(z, size * size * 4);
    SHOW(cuLaunchKernel, function("matmul_i32"), 3, 3, 1, 16, 16, 1, 0, NULL, mat, NULL);
    show_device(z, size * size * 4);
    struct {
        CUdeviceptr a, b, c;
        unsigned n;
    } block = {x, y, z, n};
    size_t bytes = 28;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    SHOW(cuLaunchKernel, fn, 40, 1, 1, 256, 1, 1, 0, NULL, NULL, extra);
    show_device(z, n * 4);
    SHOW(cuLaunchKernel, fn, 40, 1, 1, 256, 1, 1, 0, NULL, vec, extra);
    bytes = 8;
    SHOW(cuLaunchKernel, fn, 40, 1, 1, 256, 1, 1, 0, NULL, NULL, extra);
    SHOW(cuLaunchKernel, fn, 40, 1, 1, 256, 1, 1, 0, NULL, NULL, NULL);
    SHOW(cuLaunchKernel, fn, 0, 1, 1, 256, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 2048, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 64, 64, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, fn, 1, 70000, 1, 64, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, NULL, 1, 1, 1, 64, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, (CUfunction)module, 1, 1, 1, 64, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 64, 1, 1, 0, (CUstream)module, vec, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuMemFree_v2, x);
    SHOW(cuMemFree_v2, y);
    SHOW(cuMemFree_v2, z);
}

static void streams(void)
{
    CUstream s = NULL, t = NULL;
    CUevent begin = NULL, end = NULL, quiet = NULL;
    CUcontext c = NULL;
    unsigned flags = 99, n = 5000;
    int priority = 99;
    float ms = -1;
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &t, 8);
    SHOW(cuStreamCreateWithPriority, &t, 0, 0);
    SHOW(cuStreamGetFlags, s, &flags);
    printf("%u\n", flags);
    SHOW(cuStreamGetPriority, t, &priority);
    printf("%d\n", priority);
    SHOW(cuStreamGetCtx, s, &c);
    printf("%d\n", c == context);
    SHOW(cuEventCreate, &begin, 0);
    SHOW(cuEventCreate, &end, CU_EVENT_BLOCKING_SYNC);
    SHOW(cuEventCreate, &quiet, CU_EVENT_DISABLE_TIMING);
    CUdeviceptr x = floats(n), y = floats(n), z = floats(n);
    void *vec[] = {&x, &y, &z, &n};
    SHOW(cuEventRecord, begin, s);
    for (int i = 0; i < 20; i++)
        cu.cuLaunchKernel(function("vec_add"), 20, 1, 1, 256, 1, 1, 0, s, vec, NULL);
    SHOW(cuEventRecord, end, s);
    SHOW(cuStreamWaitEvent, t, end, 0);
    SHOW(cuMemsetD32Async, x, 0, n, t);
    SHOW(cuEventRecord, quiet, t);
    SHOW(cuEventSynchronize, quiet);
    SHOW(cuEventQuery, quiet);
    SHOW(cuEventQuery, end);
    SHOW(cuStreamQuery, s);
    SHOW(cuStreamSynchronize, t);
    SHOW(cuEventElapsedTime, &ms, begin, end);
    printf("%d\n", ms >= 0);
    SHOW(cuEventElapsedTime, &ms, begin, quiet);
    show_device(z, n * 4);
    show_device(x, n * 4);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuStreamDestroy_v2, t);
    SHOW(cuEventDestroy_v2, begin);
    SHOW(cuEventDestroy_v2, end);
    SHOW(cuEventDestroy_v2, quiet);
    SHOW(cuEventQuery, quiet);
    SHOW(cuMemFree_v2, x);
    SHOW(cuMemFree_v2, y);
    SHOW(cuMemFree_v2, z);
}

/* A kernel's fault ends its context; a new one starts clean. */
static void fault(void)
{
    unsigned n = 1;
    CUdeviceptr nowhere = 64, p = 0;
    CUcontext other = NULL;
    void *vec[] = {&nowhere, &nowhere, &nowhere, &n};
    SHOW(cuCtxCreate_v2, &other, 0, 1);
    SHOW(cuMemAlloc_v2, &nowhere, 64); /* of a device whose access isn't enabled */
    SHOW(cuCtxPopCurrent_v2, &other);
    SHOW(cuMemAlloc_v2, &p, 64);
    SHOW(cuLaunchKernel, function("vec_add"), 1, 1, 1, 32, 1, 1, 0, NULL, vec, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuMemcpyHtoD_v2, p, &n, 4);
    SHOW(cuMemsetD8_v2, p, 0, 4);
    SHOW(cuMemcpyDtoH_v2, &n, p, 4);
    SHOW(cuCtxSynchronize);
    host_functions_after_fault();
    SHOW(cuCtxDestroy_v2, other);
    SHOW(cuCtxDestroy_v2, context);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2 || !cu_load(&cu, argv[1]))
        return 2;
    before_init();
    devices();
    contexts();
    memory();
    copies();
    pinned();
    modules();
    launches();
    libraries();
    linking();
    forms();
    more_memory();
    registered(module);
    arrays();
    peers();
    host_functions();
    streams();
    unsigned wrong = graphs() + graphs_of_arrays(context);
    SHOW(cuModuleUnload, module);
    cu.cuModuleLoadData(&module, PTX_ALL);
    fault();
    return wrong ? 1 : 0;
}
