/* SPDX-License-Identifier: Apache-2.0 */
/* Memory by other ways than cuMemAlloc. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

#define MIB (1ull << 20)

static void show_pool(CUmemoryPool pool)
{
    for (int i = 0; i < 10; i++) {
        uint64_t v = 0;
        CUresult rc = cu.cuMemPoolGetAttribute(pool, (CUmemPool_attribute)i, &v);
        printf("pool attribute %d: %d %llu\n", i, (int)rc, (unsigned long long)v);
    }
}

static void pool_handles(void)
{
    CUmemoryPool first = NULL, pool = NULL, mine = NULL;
    CUmemLocation here = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, host = {CU_MEM_LOCATION_TYPE_HOST, 0};
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here};
    SHOW(cuDeviceGetDefaultMemPool, &first, 0);
    SHOW(cuDeviceGetDefaultMemPool, &pool, 99);
    SHOW(cuDeviceGetDefaultMemPool, NULL, 0);
    SHOW(cuDeviceGetMemPool, &pool, 0);
    printf("%d\n", pool == first);
    SHOW(cuMemGetDefaultMemPool, &pool, &here, CU_MEM_ALLOCATION_TYPE_PINNED);
    SHOW(cuMemGetDefaultMemPool, &pool, &host, CU_MEM_ALLOCATION_TYPE_PINNED);
    printf("%d\n", pool == first);
    SHOW(cuMemPoolCreate, &mine, &props);
    SHOW(cuMemPoolCreate, NULL, &props);
    props.location.id = 77;
    SHOW(cuMemPoolCreate, &pool, &props);
    props.location.id = 0;
    props.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    SHOW(cuMemPoolCreate, &pool, &props);
    SHOW(cuDeviceSetMemPool, 0, mine);
    SHOW(cuDeviceSetMemPool, 0, (CUmemoryPool)&props);
    SHOW(cuMemGetMemPool, &pool, &here, CU_MEM_ALLOCATION_TYPE_PINNED);
    printf("%d\n", pool == mine);
    CUmemAccessDesc access = {.location = here, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    SHOW(cuMemPoolSetAccess, mine, &access, 1);
    SHOW(cuMemPoolSetAccess, mine, NULL, 1);
    SHOW(cuMemPoolGetAccess, &flags, mine, &here);
    printf("%d\n", (int)flags);
    SHOW(cuMemPoolGetAccess, &flags, mine, &host);
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    SHOW(cuMemPoolSetAccess, mine, &access, 1);
    access.location.id = 1;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
    SHOW(cuMemPoolSetAccess, mine, &access, 1);
    SHOW(cuMemPoolDestroy, first);
    SHOW(cuMemPoolDestroy, mine);
    SHOW(cuMemPoolDestroy, mine);
    SHOW(cuMemPoolTrimTo, mine, 0);
    SHOW(cuDeviceGetMemPool, &pool, 0);
    printf("%d\n", pool == first);
}

static void pool_memory(void)
{
    CUmemoryPool pool = NULL, of = NULL;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                            .maxSize = 64 * MIB};
    CUdeviceptr a = 0, b = 0, c = 0, base = 0;
    CUstream s = NULL, t = NULL;
    size_t bytes = 0;
    uint64_t keep = 8 * MIB, zero = 0;
    int no = 0;
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &t, CU_STREAM_NON_BLOCKING);
    SHOW(cuMemPoolCreate, &pool, &props);
    SHOW(cuMemAllocFromPoolAsync, &a, 1000, pool, s);
    SHOW(cuMemAllocFromPoolAsync, &b, 3 * MIB, pool, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 100 * MIB, pool, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 0, pool, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 10, NULL, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 10, pool, (CUstream)&c);
    show_pool(pool);
    SHOW(cuMemsetD8Async, b, 5, 3 * MIB, s);
    SHOW(cuStreamSynchronize, s);
    show_device(b, 3 * MIB);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, a + 999);
    printf("%d %zu\n", base == a, bytes);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, a + 1000);
    SHOW(cuPointerGetAttribute, &of, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, b);
    SHOW(cuPointerGetAttribute, &bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, b);
    printf("%d %zu\n", of == pool, bytes);
    /* What one stream has freed it gets again at once, another one when it may. */
    SHOW(cuMemFreeAsync, b, s);
    SHOW(cuMemFreeAsync, b, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 3 * MIB, pool, s);
    printf("again: %d\n", c == b);
    SHOW(cuMemFreeAsync, c, s);
    SHOW(cuMemAllocFromPoolAsync, &c, 2 * MIB, pool, t);
    SHOW(cuMemsetD8Async, c, 9, 2 * MIB, t);
    SHOW(cuStreamSynchronize, t);
    show_device(c, 2 * MIB);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &no);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &zero);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &keep);
    SHOW(cuMemPoolSetAttribute, pool, (CUmemPool_attribute)9, &zero);
    SHOW(cuMemFreeAsync, c, t);
    SHOW(cuMemFree_v2, a + 512);
    SHOW(cuMemFree_v2, a);
    SHOW(cuCtxSynchronize);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero);
    show_pool(pool);
    SHOW(cuMemPoolTrimTo, pool, 0);
    SHOW(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &zero);
    show_pool(pool);
    /* An allocation outlives its pool's handle. */
    SHOW(cuMemAllocFromPoolAsync_ptsz, &a, 100, pool, NULL);
    SHOW(cuMemPoolDestroy, pool);
    SHOW(cuMemsetD8_v2, a, 4, 100);
    show_device(a, 100);
    SHOW(cuMemFreeAsync_ptsz, a, NULL);
    SHOW(cuMemAllocFromPoolAsync, &a, 100, pool, NULL);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuStreamDestroy_v2, t);
    SHOW(cuCtxSynchronize);
}

/* Many of them, in an order of our own; each keeps what is its own. */
static void pool_churn(void)
{
    enum { SLOTS = 40, ROUNDS = 400 };
    CUdeviceptr p[SLOTS] = {0};
    uint8_t mark[SLOTS] = {0};
    size_t bytes[SLOTS] = {0};
    CUstream s[3];
    unsigned wrong = 0, random = 12345;
    CUresult rc = CUDA_SUCCESS;
    for (unsigned i = 0; i < 3; i++)
        rc |= cu.cuStreamCreate(&s[i], CU_STREAM_NON_BLOCKING);
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1103515245u + 12345u;
        unsigned k = (random >> 16) % SLOTS;
        CUstream stream = s[k % 3];
        if (p[k]) {
            uint8_t seen[2] = {0, 0};
            rc |= cu.cuMemcpyDtoHAsync_v2(&seen[0], p[k], 1, stream);
            rc |= cu.cuMemcpyDtoHAsync_v2(&seen[1], p[k] + bytes[k] - 1, 1, stream);
            rc |= cu.cuStreamSynchronize(stream);
            wrong += seen[0] != mark[k] || seen[1] != mark[k];
            rc |= cu.cuMemFreeAsync(p[k], stream);
            p[k] = 0;
            continue;
        }
        bytes[k] = 1 + (random >> 8) % (300u << (random >> 28));
        mark[k] = (uint8_t)i;
        rc |= cu.cuMemAllocAsync(&p[k], bytes[k], stream);
        rc |= cu.cuMemsetD8Async(p[k], mark[k], bytes[k], stream);
    }
    for (unsigned k = 0; k < SLOTS; k++)
        rc |= p[k] ? cu.cuMemFreeAsync(p[k], s[k % 3]) : CUDA_SUCCESS;
    for (unsigned i = 0; i < 3; i++)
        rc |= cu.cuStreamDestroy_v2(s[i]);
    rc |= cu.cuCtxSynchronize();
    printf("churn: %d %u\n", (int)rc, wrong);
}

/* As PyTorch's expandable segments: addresses once, memory in pieces. */
static void mapped(void)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAllocationProp got = {.type = (CUmemAllocationType)0};
    CUmemAccessDesc access = {.location = prop.location,
                              .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemGenericAllocationHandle a = 0, b = 0, again = 0;
    CUdeviceptr p = 0, base = 0;
    size_t grain = 0, bytes = 0, free_before = 0, free_now = 0, total = 0;
    unsigned long long flags = 9;
    SHOW(cuMemGetAllocationGranularity, &grain, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    SHOW(cuMemGetAllocationGranularity, &grain, NULL, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    SHOW(cuMemGetAllocationGranularity, &grain, &prop, (CUmemAllocationGranularity_flags)7);
    SHOW(cuMemGetInfo_v2, &free_before, &total);
    SHOW(cuMemAddressReserve, &p, 0, 0, 0, 0);
    SHOW(cuMemAddressReserve, &p, grain + 1, 0, 0, 0);
    SHOW(cuMemAddressReserve, &p, 1024 * grain, 0, 0, 0);
    SHOW(cuMemCreate, &a, 10, &prop, 0);
    SHOW(cuMemCreate, &a, 2 * grain, &prop, 0);
    SHOW(cuMemCreate, &b, grain, &prop, 0);
    SHOW(cuMemCreate, &again, 1ull << 50, &prop, 0);
    prop.location.id = 9;
    SHOW(cuMemCreate, &again, grain, &prop, 0);
    prop.location.id = 0;
    prop.requestedHandleTypes = (CUmemAllocationHandleType)8;
    SHOW(cuMemCreate, &again, grain, &prop, 0);
    SHOW(cuMemGetAllocationPropertiesFromHandle, &got, a);
    SHOW(cuMemGetAllocationPropertiesFromHandle, &got, (uintptr_t)&got);
    printf("%zu %d %d\n", grain, got.type, got.requestedHandleTypes);
    SHOW(cuMemMap, p, 2 * grain, 0, a, 0);
    SHOW(cuMemMap, p, grain, 0, b, 0);
    SHOW(cuMemMap, p + 2 * grain, grain, 0, (uintptr_t)&b, 0);
    SHOW(cuMemMap, p + 2 * grain, 2 * grain, 0, b, 0);
    SHOW(cuMemMap, p + 1024 * grain, grain, 0, b, 0);
    SHOW(cuMemMap, p + 2 * grain + 4096, grain, 0, b, 0);
    SHOW(cuMemMap, p + 2 * grain, grain, 0, b, 0);
    SHOW(cuMemGetAccess, &flags, &prop.location, p);
    SHOW(cuMemGetAccess, &flags, &prop.location, p + 3 * grain);
    printf("%llu\n", flags);
    SHOW(cuMemSetAccess, p, 4 * grain, &access, 1);
    SHOW(cuMemSetAccess, p, grain, &access, 1);
    SHOW(cuMemSetAccess, p, 3 * grain, &access, 0);
    SHOW(cuMemSetAccess, p, 3 * grain, &access, 1);
    SHOW(cuMemGetAccess, &flags, &prop.location, p + 2 * grain);
    printf("%llu\n", flags);
    /* One memory, over the seam; zero before it is used. */
    show_device(p, 3 * grain);
    SHOW(cuMemsetD32_v2, p + 2 * grain - 400, 0x1234567, 200);
    SHOW(cuMemsetD8_v2, p + grain, 1, 2 * grain + 1);
    show_device(p, 3 * grain);
    SHOW(cuMemcpyDtoD_v2, p, p + 2 * grain - 400, 800);
    show_device(p, 1000);
    SHOW(cuMemGetAddressRange_v2, &base, &bytes, p + 5);
    SHOW(cuPointerGetAttribute, &total, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 2 * grain);
    printf("%d %zu %zu\n", base == p, bytes, total);
    SHOW(cuMemFree_v2, p);
    /* A mapping's memory has one handle, which counts. */
    SHOW(cuMemRetainAllocationHandle, &again, (void *)(uintptr_t)(p + grain));
    printf("%d\n", again == a);
    SHOW(cuMemRelease, again);
    /* Memory lives while it is mapped. */
    SHOW(cuMemRelease, a);
    SHOW(cuMemRelease, a);
    SHOW(cuMemRetainAllocationHandle, &again, (void *)(uintptr_t)(p + grain));
    printf("%d\n", again == a);
    SHOW(cuMemRetainAllocationHandle, &a, (void *)(uintptr_t)(p + 3 * grain));
    SHOW(cuMemUnmap, p, grain);
    SHOW(cuMemUnmap, p, 2 * grain);
    SHOW(cuMemUnmap, p, 2 * grain);
    SHOW(cuMemsetD8_v2, p, 1, 1);
    SHOW(cuMemMap, p + 8 * grain, 2 * grain, 0, again, 0);
    SHOW(cuMemSetAccess, p + 8 * grain, 2 * grain, &access, 1);
    show_device(p + 8 * grain, 2 * grain);
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    SHOW(cuMemSetAccess, p + 8 * grain, 2 * grain, &access, 1);
    access.location.id = 3;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
    SHOW(cuMemSetAccess, p + 8 * grain, 2 * grain, &access, 1);
    SHOW(cuMemAddressFree, p, 1024 * grain);
    SHOW(cuMemUnmap, p + 8 * grain, 2 * grain);
    SHOW(cuMemUnmap, p + 2 * grain, grain);
    SHOW(cuMemRelease, again);
    SHOW(cuMemRelease, b);
    SHOW(cuMemAddressFree, p, grain);
    SHOW(cuMemAddressFree, p, 1024 * grain);
    SHOW(cuMemAddressFree, p, 1024 * grain);
    SHOW(cuMemGetInfo_v2, &free_now, &total);
    printf("%d\n", free_now == free_before);
}

void more_memory(void)
{
    mapped();
    pool_handles();
    pool_memory();
    pool_churn();
}
