/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated driver without kernels: environment, devices, contexts, memory, copies, errors. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "idm/cuda_abi.h"
#include "minitest.h"

#define MIB            ((size_t)1 << 20)
#define OK(call)       EXPECT_EQ(call, CUDA_SUCCESS)
#define FAILS(e, call) EXPECT_EQ(call, CUDA_ERROR_##e)

/* cuInit's answer in a process of its own, with NAME=VALUE. */
static int init_with(const char *name, const char *value)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        setenv(name, value, 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        CUresult rc = cuInit(0);
        int n = 0;
        if (rc == CUDA_SUCCESS && cuDeviceGetCount(&n) != CUDA_SUCCESS)
            rc = CUDA_ERROR_UNKNOWN;
        _exit(rc == CUDA_SUCCESS ? 100 + n : (int)rc);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void environment(void)
{
    int n = 0;
    CUcontext c;
    FAILS(NOT_INITIALIZED, cuDeviceGetCount(&n));
    FAILS(NOT_INITIALIZED, cuCtxGetCurrent(&c));
    FAILS(NOT_INITIALIZED, cuMemFree(0));
    FAILS(INVALID_VALUE, cuInit(1));
    EXPECT_EQ(init_with("GI_SIM_DEVICES", "3"), 103);
    EXPECT_EQ(init_with("GI_SIM_DEVICES", ""), 101);
    EXPECT_EQ(init_with("GI_SIM_DEVICES", "0"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_DEVICES", "9"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_DEVICES", "-1"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_MEMORY", "1T"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_MEMORY", "99999999999999999999"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_MEMORY", "17179869184G"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_MEMORY", "2G"), 101);
    EXPECT_EQ(init_with("GI_SIM_CORES", "many"), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(init_with("GI_SIM_CORES", "1"), 101);
    EXPECT_EQ(init_with("GI_SIM_CAPABILITY", "120"), 101);
    EXPECT_EQ(init_with("GI_SIM_CAPABILITY", "74"), CUDA_ERROR_INVALID_VALUE);
}

static void errors(void)
{
    const char *text = "";
    OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    EXPECT(text && strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
    OK(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    EXPECT(text && strcmp(text, "an illegal memory access was encountered") == 0);
    FAILS(INVALID_VALUE, cuGetErrorName((CUresult)12345, &text));
    EXPECT(text == NULL);
}

static void proc_address(void)
{
    void *fn = NULL;
    CUdriverProcAddressQueryResult status;
    OK(cuGetProcAddress_v2("cuMemAlloc", &fn, 12000, 0, &status));
    EXPECT(fn == (void *)cuMemAlloc_v2);
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
    OK(cuGetProcAddress_v2("cuDeviceGetUuid", &fn, 9020, 2, NULL));
    EXPECT(fn == (void *)cuDeviceGetUuid);
    OK(cuGetProcAddress_v2("cuDeviceGetUuid", &fn, 13000, 2, NULL));
    EXPECT(fn == (void *)cuDeviceGetUuid_v2);
    FAILS(NOT_FOUND, cuGetProcAddress_v2("cuMemPoolCreate", &fn, 2000, 0, &status));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    EXPECT(!fn);
    FAILS(NOT_FOUND, cuGetProcAddress_v2("cuNothing", &fn, 13000, 0, &status));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    FAILS(INVALID_VALUE, cuGetProcAddress_v2("cuInit", &fn, 13000, 8, &status));
}

static void devices(void)
{
    int n = 0, value = 0, major = 0, minor = 0, version = 0;
    char name[64] = "", id[32] = "";
    CUdevice dev = -1;
    CUuuid a, b;
    size_t bytes = 0;
    OK(cuInit(0));
    OK(cuDriverGetVersion(&version));
    EXPECT_EQ(version, 13000);
    OK(cuDeviceGetCount(&n));
    EXPECT_EQ(n, 2);
    OK(cuDeviceGet(&dev, 1));
    FAILS(INVALID_DEVICE, cuDeviceGet(&dev, 2));
    FAILS(INVALID_DEVICE, cuDeviceGet(&dev, -1));
    OK(cuDeviceGetName(name, sizeof(name), 1));
    EXPECT(strcmp(name, "Test GPU") == 0);
    OK(cuDeviceGetName(name, 5, 1));
    EXPECT(strcmp(name, "Test") == 0);
    OK(cuDeviceTotalMem_v2(&bytes, 0));
    EXPECT_EQ(bytes, 64 * MIB);
    OK(cuDeviceComputeCapability(&major, &minor, 0));
    EXPECT_EQ(major * 10 + minor, 90);
    OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    EXPECT_EQ(value, 32);
    FAILS(INVALID_VALUE, cuDeviceGetAttribute(&value, (CUdevice_attribute)100000, 0));
    FAILS(INVALID_DEVICE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 7));
    OK(cuDeviceGetUuid(&a, 0));
    OK(cuDeviceGetUuid_v2(&b, 1));
    EXPECT(memcmp(&a, &b, sizeof(a)) != 0);
    OK(cuDeviceGetPCIBusId(id, sizeof(id), 1));
    EXPECT(strcmp(id, "0000:02:00.0") == 0);
    OK(cuDeviceGetByPCIBusId(&dev, id));
    EXPECT_EQ(dev, 1);
    OK(cuDeviceGetByPCIBusId(&dev, "01:00.0"));
    EXPECT_EQ(dev, 0);
    OK(cuDeviceGetByPCIBusId(&dev, "0000:02:00"));
    EXPECT_EQ(dev, 1);
    FAILS(INVALID_DEVICE, cuDeviceGetByPCIBusId(&dev, "0000:09:00.0"));
    FAILS(INVALID_VALUE, cuDeviceGetByPCIBusId(&dev, "gpu"));
}

static void contexts(void)
{
    CUcontext a = NULL, b = NULL, c = NULL;
    CUdevice dev = -1;
    CUdeviceptr p = 0;
    unsigned flags = 0, version = 0;
    int least = 1, greatest = 1;
    FAILS(INVALID_CONTEXT, cuMemAlloc(&p, 16));
    FAILS(INVALID_CONTEXT, cuCtxPopCurrent(&c));
    FAILS(INVALID_CONTEXT, cuCtxSynchronize());
    FAILS(INVALID_VALUE, cuCtxCreate(&a, 0x100, 0));
    FAILS(INVALID_VALUE, cuCtxCreate(&a, CU_CTX_SCHED_SPIN | CU_CTX_SCHED_YIELD, 0));
    FAILS(INVALID_DEVICE, cuCtxCreate(&a, 0, 2));
    OK(cuCtxCreate(&a, CU_CTX_SCHED_YIELD, 0));
    OK(cuCtxCreate(&b, 0, 1));
    OK(cuCtxGetCurrent(&c));
    EXPECT(c == b);
    OK(cuCtxGetDevice(&dev));
    EXPECT_EQ(dev, 1);
    OK(cuCtxPopCurrent(&c));
    EXPECT(c == b);
    OK(cuCtxGetFlags(&flags));
    EXPECT_EQ(flags, CU_CTX_SCHED_YIELD);
    OK(cuCtxGetApiVersion(a, &version));
    EXPECT_EQ(version, 3020);
    OK(cuCtxGetStreamPriorityRange(&least, &greatest));
    EXPECT(least == 0 && greatest < 0);
    OK(cuCtxSetCurrent(b));
    OK(cuCtxPopCurrent(&c));
    EXPECT(c == b);
    FAILS(INVALID_CONTEXT, cuCtxPopCurrent(&c));
    FAILS(INVALID_CONTEXT, cuCtxSetCurrent((CUcontext)0x1234560));
    OK(cuCtxPushCurrent(a));
    OK(cuCtxPushCurrent(b));
    OK(cuCtxDestroy(a));
    FAILS(INVALID_CONTEXT, cuCtxDestroy(a));
    OK(cuCtxDestroy(b)); /* current: popped */
    FAILS(CONTEXT_IS_DESTROYED, cuMemAlloc(&p, 16));
    OK(cuCtxSetCurrent(NULL));
    OK(cuCtxGetCurrent(&c));
    EXPECT(!c);
}

static void primary_contexts(void)
{
    CUcontext a = NULL, b = NULL;
    unsigned flags = 0;
    int active = 1;
    OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
    EXPECT(!active);
    OK(cuDevicePrimaryCtxSetFlags(0, CU_CTX_SCHED_BLOCKING_SYNC));
    FAILS(INVALID_CONTEXT, cuDevicePrimaryCtxRelease(0));
    OK(cuDevicePrimaryCtxRetain(&a, 0));
    OK(cuDevicePrimaryCtxRetain(&b, 0));
    EXPECT(a == b);
    OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
    EXPECT(active && flags == CU_CTX_SCHED_BLOCKING_SYNC);
    FAILS(INVALID_CONTEXT, cuCtxDestroy(a));
    OK(cuDevicePrimaryCtxRelease(0));
    OK(cuCtxSetCurrent(a));
    OK(cuDevicePrimaryCtxRelease(0));
    FAILS(CONTEXT_IS_DESTROYED, cuCtxSynchronize());
    OK(cuCtxSetCurrent(NULL));
    OK(cuDevicePrimaryCtxRetain(&a, 0));
    OK(cuDevicePrimaryCtxReset(0));
    OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
    EXPECT(!active);
    FAILS(INVALID_DEVICE, cuDevicePrimaryCtxRetain(&a, 5));
}

/* The rest runs in a context on device 0. */

static void allocation(void)
{
    CUdeviceptr a = 0, b = 0, base = 0;
    size_t before = 0, now = 0, total = 0, size = 0;
    OK(cuMemGetInfo(&before, &total));
    EXPECT_EQ(total, 64 * MIB);
    EXPECT_EQ(before, total);
    FAILS(INVALID_VALUE, cuMemAlloc(&a, 0));
    FAILS(INVALID_VALUE, cuMemAlloc(NULL, 16));
    FAILS(OUT_OF_MEMORY, cuMemAlloc(&a, 65 * MIB));
    FAILS(OUT_OF_MEMORY, cuMemAlloc(&a, SIZE_MAX));
    OK(cuMemAlloc(&a, 1000));
    OK(cuMemAlloc(&b, 3 * MIB));
    EXPECT(a % 512 == 0 && b % 512 == 0 && a != b);
    OK(cuMemGetInfo(&now, &total));
    EXPECT(now < before);
    OK(cuMemGetAddressRange(&base, &size, a + 999));
    EXPECT(base == a && size == 1000);
    FAILS(NOT_FOUND, cuMemGetAddressRange(&base, &size, a + 1000));
    FAILS(INVALID_VALUE, cuMemFree(a + 512));
    FAILS(INVALID_VALUE, cuMemFree((CUdeviceptr)(uintptr_t)&a));
    OK(cuMemFree(0));
    OK(cuMemFree(a));
    FAILS(INVALID_VALUE, cuMemFree(a));
    OK(cuMemFree(b));
    OK(cuMemGetInfo(&now, &total));
    EXPECT_EQ(now, before);
}

/* What was freed comes back as zero, whole or in parts. */
static void freed_memory_is_zero(void)
{
    static const size_t sizes[] = {512, 4096, 5000, 100000, 2 * MIB, 5 * MIB + 700};
    enum { N = sizeof(sizes) / sizeof(sizes[0]) };
    CUdeviceptr p[N];
    unsigned char *host = malloc(6 * MIB);
    REQUIRE(host);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            size_t n = sizes[(i + round) % N];
            OK(cuMemAlloc(&p[i], n));
            OK(cuMemcpyDtoH(host, p[i], n));
            unsigned char any = 0;
            for (size_t k = 0; k < n; k++)
                any |= host[k];
            EXPECT_EQ(any, 0);
            OK(cuMemsetD8(p[i], 0xa5, n));
        }
        /* Neighbours keep theirs. */
        OK(cuMemFree(p[1]));
        OK(cuMemcpyDtoH(host, p[0], sizes[round % N]));
        EXPECT_EQ(host[0], 0xa5);
        EXPECT_EQ(host[sizes[round % N] - 1], 0xa5);
        OK(cuMemcpyDtoH(host, p[2], 512));
        EXPECT_EQ(host[0], 0xa5);
        for (unsigned i = 0; i < N; i++) {
            if (i != 1)
                OK(cuMemFree(p[i]));
        }
    }
    free(host);
}

/* Random sizes and order: nothing overlaps, all of it comes back. */
static void allocator_churn(void)
{
    enum { N = 300 };
    static CUdeviceptr p[N];
    static uint32_t mark[N];
    size_t left = 0, total = 0;
    uint32_t random = 1, got = 0;
    memset(p, 0, sizeof(p));
    for (unsigned step = 0; step < 6000; step++) {
        random = random * 1664525 + 1013904223;
        unsigned i = (random >> 8) % N;
        if (p[i]) {
            OK(cuMemcpyDtoH(&got, p[i], 4));
            EXPECT_EQ(got, mark[i]);
            OK(cuMemFree(p[i]));
            p[i] = 0;
            continue;
        }
        size_t bytes = 4 + (random >> 4) % (random % 7 ? 3000 : 400000);
        if (cuMemAlloc(&p[i], bytes) != CUDA_SUCCESS) {
            p[i] = 0;
            continue;
        }
        mark[i] = random;
        OK(cuMemsetD8(p[i], 0x11, bytes));
        OK(cuMemcpyHtoD(p[i], &random, 4));
    }
    for (unsigned i = 0; i < N; i++)
        OK(cuMemFree(p[i]));
    OK(cuMemGetInfo(&left, &total));
    EXPECT_EQ(left, total);
    /* And in one piece. */
    OK(cuMemAlloc(&p[0], total));
    FAILS(OUT_OF_MEMORY, cuMemAlloc(&p[1], 1));
    OK(cuMemFree(p[0]));
}

static void copies(void)
{
    enum { N = 1000 };
    uint32_t in[N], out[N];
    CUdeviceptr a = 0, b = 0;
    for (unsigned i = 0; i < N; i++)
        in[i] = i * 2654435761u;
    OK(cuMemAlloc(&a, sizeof(in)));
    OK(cuMemAlloc(&b, sizeof(in)));
    OK(cuMemcpyHtoD(a, in, sizeof(in)));
    OK(cuMemcpyDtoD(b, a, sizeof(in)));
    OK(cuMemcpyDtoH(out, b, sizeof(out)));
    EXPECT(memcmp(in, out, sizeof(in)) == 0);
    memset(out, 0, sizeof(out));
    OK(cuMemcpy((CUdeviceptr)(uintptr_t)out, a, sizeof(out)));
    EXPECT(memcmp(in, out, sizeof(in)) == 0);
    OK(cuMemsetD8(b, 0x5a, 10));
    OK(cuMemsetD16(b + 10, 0x1234, 3));
    OK(cuMemsetD32(b + 16, 0xdeadbeef, 2));
    OK(cuMemcpyDtoH(out, b, sizeof(out)));
    EXPECT(out[0] == 0x5a5a5a5a && out[2] == 0x12345a5a && out[3] == 0x12341234);
    EXPECT(out[4] == 0xdeadbeef && out[5] == 0xdeadbeef && out[6] == in[6]);
    FAILS(INVALID_VALUE, cuMemsetD16(b + 1, 0, 1));
    FAILS(INVALID_VALUE, cuMemsetD32(b + 2, 0, 1));
    FAILS(INVALID_VALUE, cuMemsetD32(b, 0, SIZE_MAX / 2));
    FAILS(INVALID_VALUE, cuMemsetD8(b, 0, sizeof(in) + 1));
    FAILS(INVALID_VALUE, cuMemcpyHtoD(a, in, sizeof(in) + 1));
    FAILS(INVALID_VALUE, cuMemcpyHtoD(a + 1, in, sizeof(in)));
    FAILS(INVALID_VALUE, cuMemcpyHtoD(a, NULL, 4));
    FAILS(INVALID_VALUE, cuMemcpyHtoD((CUdeviceptr)(uintptr_t)out, in, 4));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(out, (CUdeviceptr)(uintptr_t)in, 4));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(out, a, SIZE_MAX));
    FAILS(INVALID_VALUE, cuMemcpyDtoD(a, b, sizeof(in) + 512));
    OK(cuMemcpyHtoD(a, NULL, 0));
    OK(cuMemFree(b));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(out, b, 4));
    FAILS(INVALID_VALUE, cuMemsetD8(b, 0, 1));
    OK(cuMemFree(a));
}

static void host_memory(void)
{
    void *p = NULL;
    CUdeviceptr d = 0, a = 0;
    unsigned flags = 0, type = 0;
    OK(cuMemHostAlloc(&p, 5000, CU_MEMHOSTALLOC_PORTABLE));
    EXPECT((uintptr_t)p % 4096 == 0);
    OK(cuMemHostGetDevicePointer(&d, (char *)p + 8, 0));
    EXPECT_EQ(d, (uintptr_t)p + 8);
    FAILS(INVALID_VALUE, cuMemHostGetDevicePointer(&d, p, 1));
    FAILS(INVALID_VALUE, cuMemHostGetDevicePointer(&d, &p, 0));
    OK(cuMemHostGetFlags(&flags, p));
    EXPECT_EQ(flags, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)p));
    EXPECT_EQ(type, CU_MEMORYTYPE_HOST);
    memset(p, 7, 5000);
    OK(cuMemAlloc(&a, 5000));
    OK(cuMemcpyDtoD(a, (uintptr_t)p, 5000)); /* pinned memory is the GPU's, too */
    OK(cuMemsetD8((uintptr_t)p, 0, 5000));
    OK(cuMemcpyDtoH(p, a, 5000));
    EXPECT_EQ(((char *)p)[4999], 7);
    FAILS(INVALID_VALUE, cuMemcpyDtoH((char *)p + 1, a, 5000));
    FAILS(INVALID_VALUE, cuMemFree((uintptr_t)p));
    FAILS(HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(p));
    OK(cuMemFreeHost(p));
    FAILS(INVALID_VALUE, cuMemFreeHost(p));
    OK(cuMemFreeHost(NULL));
    FAILS(INVALID_VALUE, cuMemHostAlloc(&p, 0, 0));
    FAILS(INVALID_VALUE, cuMemHostAlloc(&p, 16, 0x80));
    OK(cuMemFree(a));
}

static void registered_memory(void)
{
    CUdeviceptr d = 0;
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    FAILS(HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(p));
    OK(cuMemHostRegister(p + 100, 4000, CU_MEMHOSTREGISTER_DEVICEMAP));
    FAILS(HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(p, 8192, 0));
    OK(cuMemHostRegister(p + 4100, 100, 0));
    OK(cuMemHostGetDevicePointer(&d, p + 200, 0));
    EXPECT_EQ(d, (uintptr_t)p + 200);
    FAILS(INVALID_VALUE, cuMemFreeHost(p + 100));
    OK(cuMemHostUnregister(p + 100));
    FAILS(INVALID_VALUE, cuMemHostGetDevicePointer(&d, p + 200, 0));
    OK(cuMemHostUnregister(p + 4100));
    munmap(p, 8192);
    FAILS(INVALID_VALUE, cuMemHostRegister(p, 8192, 0)); /* nothing there */
    FAILS(INVALID_VALUE, cuMemHostRegister(NULL, 8192, 0));
    FAILS(INVALID_VALUE, cuMemHostRegister(p, 0, 0));
}

static void pointers(void)
{
    CUdeviceptr a = 0, base = 0;
    CUcontext mine = NULL, c = NULL;
    unsigned type = 0;
    int ordinal = -1;
    size_t size = 0;
    void *host = NULL;
    OK(cuCtxGetCurrent(&mine));
    OK(cuMemAlloc(&a, 700));
    OK(cuPointerGetAttribute(&c, CU_POINTER_ATTRIBUTE_CONTEXT, a + 1));
    EXPECT(c == mine);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a));
    EXPECT_EQ(type, CU_MEMORYTYPE_DEVICE);
    OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, a));
    EXPECT_EQ(ordinal, 0);
    OK(cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, a + 600));
    EXPECT_EQ(base, a);
    OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, a));
    EXPECT_EQ(size, 700);
    FAILS(INVALID_VALUE, cuPointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_HOST_POINTER, a));
    FAILS(INVALID_VALUE,
          cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)&a));
    OK(cuMemFree(a));
}

/* A context's memory goes with it; another device has its own. */
static void memory_of_contexts(void)
{
    CUcontext c = NULL;
    CUdeviceptr p = 0, q = 0;
    size_t left = 0, total = 0;
    uint32_t word = 42, got = 0;
    OK(cuMemAlloc(&q, 4));
    OK(cuCtxCreate(&c, 0, 1));
    OK(cuMemAlloc(&p, 60 * MIB));
    OK(cuMemcpyHtoD(p, &word, 4));
    OK(cuMemcpyDtoD(q, p, 4)); /* across devices: one address space */
    OK(cuMemcpyDtoH(&got, q, 4));
    EXPECT_EQ(got, 42);
    OK(cuCtxDestroy(c));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(&got, p, 4));
    OK(cuCtxCreate(&c, 0, 1));
    OK(cuMemGetInfo(&left, &total));
    EXPECT_EQ(left, total);
    OK(cuCtxDestroy(c));
    OK(cuMemFree(q));
}

static void *churn(void *context)
{
    uint64_t failures = 0;
    failures += cuCtxSetCurrent(context) != CUDA_SUCCESS;
    for (unsigned i = 0; i < 300; i++) {
        CUdeviceptr p = 0;
        uint32_t in = i * 77, out = 0;
        failures += cuMemAlloc(&p, 64 + i * 40) != CUDA_SUCCESS;
        failures += cuMemcpyHtoDAsync(p, &in, 4, CU_STREAM_PER_THREAD) != CUDA_SUCCESS;
        failures += cuMemcpyDtoHAsync(&out, p, 4, CU_STREAM_PER_THREAD) != CUDA_SUCCESS;
        failures += out != in;
        failures += cuMemFree(p) != CUDA_SUCCESS;
    }
    return (void *)(uintptr_t)failures;
}

static void many_threads(void)
{
    pthread_t t[8];
    CUcontext c = NULL;
    OK(cuCtxGetCurrent(&c));
    for (unsigned i = 0; i < 8; i++)
        REQUIRE(pthread_create(&t[i], NULL, churn, c) == 0);
    for (unsigned i = 0; i < 8; i++) {
        void *failures = NULL;
        pthread_join(t[i], &failures);
        EXPECT_EQ((uintptr_t)failures, 0);
    }
}

static void fork_child_has_no_driver(void)
{
    int status = 0, n;
    pid_t child = fork();
    if (child == 0)
        _exit(cuDeviceGetCount(&n) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

int main(void)
{
    CUcontext c;
    MT_RUN(environment);
    MT_RUN(errors);
    MT_RUN(proc_address);
    setenv("GI_SIM_DEVICES", "2", 1);
    setenv("GI_SIM_MEMORY", "64M", 1);
    setenv("GI_SIM_NAME", "Test GPU", 1);
    MT_RUN(devices);
    MT_RUN(contexts);
    MT_RUN(primary_contexts);
    if (cuCtxCreate(&c, 0, 0) != CUDA_SUCCESS)
        return 1;
    MT_RUN(allocation);
    MT_RUN(freed_memory_is_zero);
    MT_RUN(allocator_churn);
    MT_RUN(copies);
    MT_RUN(host_memory);
    MT_RUN(registered_memory);
    MT_RUN(pointers);
    MT_RUN(memory_of_contexts);
    MT_RUN(many_threads);
    MT_RUN(fork_child_has_no_driver);
    cuCtxDestroy(c);
    return mt_done();
}
