/* SPDX-License-Identifier: Apache-2.0 */
/* Two devices: what is known between them, and kernels in each other's memory. */
#include <stdio.h>
#include <string.h>

#include "program.h"

/* *to = *from + 1 */
static const char next_ptx[] =
    ".version 7.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry next(.param .u64 to, .param .u64 from)\n{\n"
    "  .reg .b64 %rd<3>;\n  .reg .b32 %r1;\n"
    "  ld.param.u64 %rd1, [to];\n  ld.param.u64 %rd2, [from];\n"
    "  ld.global.u32 %r1, [%rd2];\n  add.u32 %r1, %r1, 1;\n  st.global.u32 [%rd1], %r1;\n"
    "  ret;\n}\n";

static void questions(void)
{
    int value = 9;
    for (int peer = -1; peer < 3; peer++) {
        SHOW(cuDeviceCanAccessPeer, &value, 0, peer);
        printf("%d\n", value);
    }
    SHOW(cuDeviceCanAccessPeer, NULL, 0, 1);
    for (int what = 0; what < 7; what++) {
        SHOW(cuDeviceGetP2PAttribute, &value, what, 1, 0);
        printf("%d\n", value);
    }
    SHOW(cuDeviceGetP2PAttribute, NULL, 2, 1, 0);
    SHOW(cuDeviceGetP2PAttribute, &value, 2, 1, 7);
}

static CUfunction load(CUmodule *ret_module)
{
    CUfunction fn = NULL;
    SHOW(cuModuleLoadData, ret_module, next_ptx);
    SHOW(cuModuleGetFunction, &fn, *ret_module, "next");
    return fn;
}

static void access_to(CUcontext here, CUcontext there)
{
    CUstream s = NULL;
    SHOW(cuCtxEnablePeerAccess, there, 1);
    SHOW(cuCtxEnablePeerAccess, here, 0);
    SHOW(cuCtxEnablePeerAccess, NULL, 0);
    SHOW(cuStreamCreate, &s, 0);
    SHOW(cuCtxEnablePeerAccess, (CUcontext)s, 0);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuCtxDisablePeerAccess, there);
    SHOW(cuCtxEnablePeerAccess, there, 0);
    SHOW(cuCtxEnablePeerAccess, there, 0);
}

static void mapped(CUdeviceptr own, CUfunction fn)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}};
    CUmemAccessDesc access[] = {
        {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
        {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READ}};
    CUmemGenericAllocationHandle memory = 0;
    CUdeviceptr p = 0;
    unsigned long long flags = 9;
    size_t bytes = 2 << 20;
    void *params[] = {&own, &p};
    SHOW(cuMemAddressReserve, &p, bytes, 0, 0, 0);
    SHOW(cuMemCreate, &memory, bytes, &prop, 0);
    SHOW(cuMemMap, p, bytes, 0, memory, 0);
    access[1].location.id = 5;
    SHOW(cuMemSetAccess, p, bytes, access, 2);
    access[1].location.id = 0;
    SHOW(cuMemSetAccess, p, bytes, &access[1], 1);
    show_device(p, bytes);
    SHOW(cuMemSetAccess, p, bytes, access, 2);
    for (int i = 0; i < 4; i++) {
        const CUmemLocation where = {CU_MEM_LOCATION_TYPE_DEVICE, i - 1};
        SHOW(cuMemGetAccess, &flags, &where, p);
        printf("%llu\n", flags);
    }
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    show_device(own, 64);
    access[0].flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    SHOW(cuMemSetAccess, p, bytes, access, 1);
    SHOW(cuMemGetAccess, &flags, &access[0].location, p);
    printf("%llu\n", flags);
    SHOW(cuMemUnmap, p, bytes);
    SHOW(cuMemRelease, memory);
    SHOW(cuMemAddressFree, p, bytes);
}

static const CUmemLocation on[] = {{CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                   {CU_MEM_LOCATION_TYPE_DEVICE, 1}};

/* What a device may do with a pool's memory, before and after it is given out. */
static void pooled(CUcontext here, CUcontext there, CUdeviceptr own, CUfunction fn)
{
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = on[1]};
    CUmemAccessDesc access = {on[0], CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    CUmemLocation where = on[0];
    CUmemoryPool pool = NULL;
    CUdeviceptr p = 0, q = 0;
    CUcontext owner = NULL;
    int device = -1;
    void *params[] = {&q, &p};
    SHOW(cuMemPoolCreate, &pool, &props);
    SHOW(cuCtxSetCurrent, there);
    SHOW(cuMemAllocFromPoolAsync, &p, 64, pool, NULL);
    SHOW(cuMemsetD32_v2, p, 100, 16);
    SHOW(cuMemPoolSetAccess, pool, &access, 1);
    SHOW(cuMemAllocFromPoolAsync, &q, 4 << 20, pool, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuPointerGetAttribute, &owner, CU_POINTER_ATTRIBUTE_CONTEXT, p);
    SHOW(cuPointerGetAttribute, &device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p);
    printf("%d %d\n", owner == NULL, device);
    SHOW(cuCtxSetCurrent, here);
    SHOW(cuMemPoolGetAccess, &flags, pool, &where);
    printf("%d\n", (int)flags);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    params[0] = &own;
    params[1] = &q;
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    show_device(own, 64);
    show_device(q, 64);
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    SHOW(cuMemPoolSetAccess, pool, &access, 1);
    SHOW(cuMemPoolGetAccess, &flags, pool, &where);
    printf("%d\n", (int)flags);
    access.flags = (CUmemAccess_flags)2;
    SHOW(cuMemPoolSetAccess, pool, &access, 1);
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
    access.location.id = 3;
    SHOW(cuMemPoolSetAccess, pool, &access, 1);
    access.location.id = 1;
    SHOW(cuMemPoolSetAccess, pool, &access, 1);
    SHOW(cuCtxSetCurrent, there);
    SHOW(cuMemFreeAsync, q, NULL);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemPoolDestroy, pool);
    SHOW(cuCtxSetCurrent, here);
}

/* What a pool holds when its context ends goes with it. */
static void pool_of_a_context_that_ends(void)
{
    size_t before = 0, after = 0, total = 0;
    CUcontext c = NULL;
    CUdeviceptr p = 0;
    SHOW(cuCtxCreate_v2, &c, 0, 1);
    SHOW(cuMemAllocAsync, &p, 64, NULL);
    SHOW(cuMemGetInfo_v2, &before, &total);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuCtxCreate_v2, &c, 0, 1);
    SHOW(cuMemGetInfo_v2, &after, &total);
    printf("%zu\n", after - before);
    SHOW(cuMemAllocAsync, &p, 64, NULL);
    show_device(p, 64);
    SHOW(cuCtxDestroy_v2, c);
}

/* A stream and an event of a context that isn't current are asked and waited for. */
static void streams_of(CUcontext there)
{
    CUstream s = NULL, mine = NULL;
    CUevent its = NULL, my = NULL;
    CUcontext popped = NULL;
    CUdeviceptr flag = 0, p = 0;
    unsigned flags = 99;
    SHOW(cuStreamCreate, &mine, CU_STREAM_NON_BLOCKING);
    SHOW(cuEventCreate, &my, CU_EVENT_DISABLE_TIMING);
    SHOW(cuCtxPushCurrent_v2, there);
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuEventCreate, &its, CU_EVENT_DISABLE_TIMING);
    SHOW(cuMemAlloc_v2, &flag, 4);
    SHOW(cuMemAlloc_v2, &p, 32 << 20);
    SHOW(cuMemsetD32_v2, flag, 0, 1);
    SHOW(cuStreamWaitValue32_v2, s, flag, 1, CU_STREAM_WAIT_VALUE_EQ);
    for (unsigned i = 0; i < 8; i++)
        SHOW(cuMemsetD8Async, p, (unsigned char)i, 32 << 20, s);
    SHOW(cuEventRecord, its, s);
    SHOW(cuCtxPopCurrent_v2, &popped);
    SHOW(cuStreamQuery, s);
    SHOW(cuEventQuery, its);
    SHOW(cuStreamGetFlags, s, &flags);
    printf("%u\n", flags);
    SHOW(cuStreamGetCtx, s, &popped);
    printf("%d\n", popped == there);
    SHOW(cuStreamWaitEvent, mine, its, 0);
    SHOW(cuStreamQuery, mine);
    SHOW(cuCtxPushCurrent_v2, there);
    SHOW(cuStreamWriteValue32_v2, NULL, flag, 1, 0);
    SHOW(cuCtxPopCurrent_v2, &popped);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuStreamQuery, s);
    SHOW(cuEventSynchronize, its);
    SHOW(cuStreamSynchronize, mine);
    SHOW(cuStreamWaitEvent, s, my, 0);
    /* Copies go into it; an event of the stream's context is recorded in it. */
    unsigned char here[4096];
    memset(here, 0x5a, sizeof(here));
    SHOW(cuMemcpyHtoDAsync_v2, p, here, sizeof(here), s);
    SHOW(cuMemcpyDtoDAsync_v2, p + 4096, p, 4096, s);
    memset(here, 0, sizeof(here));
    SHOW(cuMemcpyDtoHAsync_v2, here, p + 4096, sizeof(here), s);
    SHOW(cuEventRecord, its, s);
    SHOW(cuEventSynchronize, its);
    printf("%d %d\n", here[0], here[4095]);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuEventDestroy_v2, its);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, flag);
    SHOW(cuStreamDestroy_v2, mine);
    SHOW(cuEventDestroy_v2, my);
}

void peers(void)
{
    CUcontext before = NULL, here = NULL, there = NULL, popped = NULL;
    CUmodule module = NULL;
    CUdeviceptr own = 0, p = 0, q = 0;
    int devices = 0;
    questions();
    SHOW(cuDeviceGetCount, &devices);
    if (devices < 2)
        return;
    SHOW(cuCtxGetCurrent, &before);
    SHOW(cuCtxCreate_v2, &there, 0, 1);
    SHOW(cuMemAlloc_v2, &p, 64);
    SHOW(cuMemsetD32_v2, p, 41, 16);
    SHOW(cuCtxSynchronize);
    SHOW(cuCtxEnablePeerAccess, before, 0);
    SHOW(cuCtxDisablePeerAccess, before);
    SHOW(cuCtxCreate_v2, &here, 0, 0);
    SHOW(cuCtxEnablePeerAccess, before, 0); /* on the same device */
    access_to(here, there);
    CUfunction fn = load(&module);
    SHOW(cuMemAlloc_v2, &own, 64);
    SHOW(cuMemsetD8_v2, own, 0, 64);
    void *params[] = {&own, &p};
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    show_device(own, 64);
    /* What comes later is in reach, too. */
    SHOW(cuCtxPushCurrent_v2, there);
    SHOW(cuMemAlloc_v2, &q, 64);
    SHOW(cuMemsetD8_v2, q, 0, 64);
    SHOW(cuCtxPopCurrent_v2, &popped);
    params[0] = &q;
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    show_device(q, 64);
    mapped(own, fn);
    streams_of(there);
    pooled(here, there, own, fn);
    pool_of_a_context_that_ends();
    SHOW(cuCtxDisablePeerAccess, there);
    SHOW(cuCtxDisablePeerAccess, there);
    SHOW(cuCtxDestroy_v2, here);
    SHOW(cuCtxDestroy_v2, there);
    SHOW(cuCtxGetCurrent, &popped);
    printf("%d\n", popped == before);
    SHOW(cuCtxEnablePeerAccess, there, 0);
    SHOW(cuCtxDisablePeerAccess, there);
}
