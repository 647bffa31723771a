/* SPDX-License-Identifier: Apache-2.0 */
/* Devices as each other's peers: what may be asked, what kernels reach, and until when. */
#include <stdlib.h>
#include <string.h>

#include "test_kernels.h"

/* A context on DEV with the kernels, current. */
static CUcontext context_on(CUdevice dev, CUmodule *ret_module)
{
    CUcontext c = NULL;
    OK(cuCtxCreate(&c, 0, dev));
    OK(cuModuleLoadData(ret_module, kernels));
    return c;
}

/* What a kernel that stores to AT in the context C has for a result; C is current. */
static CUresult poke(CUmodule m, CUdeviceptr at)
{
    CUfunction f = NULL;
    void *params[] = {&at};
    OK(cuModuleGetFunction(&f, m, "poke"));
    OK(launch(f, NULL, params));
    return cuCtxSynchronize();
}

static uint32_t word_at(CUdeviceptr at)
{
    uint32_t word = 77;
    OK(cuMemcpyDtoH(&word, at, 4));
    return word;
}

static void questions(void)
{
    int value = 9;
    OK(cuDeviceCanAccessPeer(&value, 0, 1));
    EXPECT_EQ(value, 1);
    OK(cuDeviceCanAccessPeer(&value, 2, 2));
    EXPECT_EQ(value, 0);
    FAILS(INVALID_DEVICE, cuDeviceCanAccessPeer(&value, 0, 3));
    FAILS(INVALID_DEVICE, cuDeviceCanAccessPeer(&value, -1, 0));
    FAILS(INVALID_VALUE, cuDeviceCanAccessPeer(NULL, 0, 1));
    static const int expected[] = {0, 1, 1, 0, 0};
    for (int what = 1; what <= 5; what++) {
        OK(cuDeviceGetP2PAttribute(&value, what, 1, 2));
        EXPECT_EQ(value, expected[what - 1]);
    }
    FAILS(INVALID_VALUE, cuDeviceGetP2PAttribute(&value, 0, 0, 1));
    FAILS(INVALID_VALUE, cuDeviceGetP2PAttribute(&value, 6, 0, 1));
    FAILS(INVALID_VALUE, cuDeviceGetP2PAttribute(NULL, 2, 0, 1));
    FAILS(INVALID_DEVICE, cuDeviceGetP2PAttribute(&value, 2, 1, 1));
    FAILS(INVALID_DEVICE, cuDeviceGetP2PAttribute(&value, 2, 1, 3));
}

static void errors(void)
{
    CUcontext a = NULL, b = NULL, same = NULL, primary = NULL;
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess(NULL, 0));
    OK(cuCtxCreate(&b, 0, 1));
    OK(cuCtxCreate(&same, 0, 0));
    OK(cuCtxCreate(&a, 0, 0));
    FAILS(INVALID_VALUE, cuCtxEnablePeerAccess(b, 1));
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess(NULL, 0));
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess(a, 0));
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess((CUcontext)&a, 0));
    FAILS(PEER_ACCESS_UNSUPPORTED, cuCtxEnablePeerAccess(same, 0));
    FAILS(PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(b));
    FAILS(INVALID_CONTEXT, cuCtxDisablePeerAccess(NULL));
    OK(cuCtxEnablePeerAccess(b, 0));
    FAILS(PEER_ACCESS_ALREADY_ENABLED, cuCtxEnablePeerAccess(b, 0));
    /* One direction. */
    OK(cuCtxSetCurrent(b));
    FAILS(PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(a));
    OK(cuCtxSetCurrent(a));
    OK(cuCtxDisablePeerAccess(b));
    FAILS(PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(b));
    /* A primary context is a peer while it lives; another life knows nothing of it. */
    OK(cuDevicePrimaryCtxRetain(&primary, 2));
    OK(cuCtxEnablePeerAccess(primary, 0));
    OK(cuDevicePrimaryCtxReset(2));
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess(primary, 0));
    OK(cuDevicePrimaryCtxRetain(&primary, 2));
    FAILS(PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(primary));
    OK(cuCtxEnablePeerAccess(primary, 0));
    OK(cuDevicePrimaryCtxRelease(2));
    OK(cuCtxEnablePeerAccess(b, 0));
    OK(cuCtxDestroy(b));
    FAILS(INVALID_CONTEXT, cuCtxDisablePeerAccess(b));
    OK(cuCtxDestroy(a));
    OK(cuCtxDestroy(same));
    OK(cuCtxSetCurrent(NULL)); /* was b */
    OK(cuCtxPopCurrent(&a));
    EXPECT_EQ(a, context);
    FAILS(INVALID_CONTEXT, cuCtxEnablePeerAccess(context, 0));
    FAILS(INVALID_CONTEXT, cuCtxDisablePeerAccess(context));
    OK(cuCtxPushCurrent(context));
}

/* More peers than there is room for; those that have ended take none. */
static void many(void)
{
    CUcontext all[17], a = NULL;
    unsigned enabled = 0;
    OK(cuCtxCreate(&a, 0, 0));
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 17; i++) {
            OK(cuCtxCreate(&all[i], 0, 1 + i % 2));
            OK(cuCtxSetCurrent(a));
            CUresult rc = cuCtxEnablePeerAccess(all[i], 0);
            EXPECT(rc == CUDA_SUCCESS || (i == 16 && rc == CUDA_ERROR_TOO_MANY_PEERS));
            enabled += rc == CUDA_SUCCESS;
        }
        for (unsigned i = 0; i < 17; i++)
            OK(cuCtxDestroy(all[i]));
    }
    EXPECT_EQ(enabled, 32);
    OK(cuCtxDestroy(a));
}

/* A kernel reaches what it may, be it allocated before or after; without a word it faults. */
static void kernels_across(void)
{
    CUcontext a = NULL, b = NULL, c = NULL;
    CUmodule of_a = NULL, of_b = NULL, of_c = NULL;
    CUdeviceptr before = 0, after = 0, own = 0;
    b = context_on(1, &of_b);
    OK(cuMemAlloc(&before, 64));
    OK(cuMemsetD32(before, 0, 16));
    a = context_on(0, &of_a);
    OK(cuMemAlloc(&own, 64));
    OK(cuCtxEnablePeerAccess(b, 0));
    OK(poke(of_a, before));
    EXPECT_EQ(word_at(before), 1);
    OK(cuCtxSetCurrent(b));
    OK(cuMemAlloc(&after, 64));
    OK(cuCtxSetCurrent(a));
    OK(poke(of_a, after));
    EXPECT_EQ(word_at(after), 1);
    /* The other way it wasn't enabled, nor on another context of the same device. */
    OK(cuCtxSetCurrent(b));
    FAILS(ILLEGAL_ADDRESS, poke(of_b, own));
    c = context_on(0, &of_c);
    FAILS(ILLEGAL_ADDRESS, poke(of_c, before));
    OK(cuCtxSetCurrent(a));
    OK(cuCtxDisablePeerAccess(b));
    FAILS(ILLEGAL_ADDRESS, poke(of_a, before));
    OK(cuCtxDestroy(a));
    OK(cuCtxDestroy(b));
    OK(cuCtxDestroy(c));
}

/* A kernel on each of two devices, which wait for each other in each other's memory. */
static void side_by_side(void)
{
    CUcontext side[2] = {NULL, NULL};
    CUmodule m[2] = {NULL, NULL};
    CUdeviceptr flag[2] = {0, 0};
    CUfunction hold[2] = {NULL, NULL}, store[2] = {NULL, NULL};
    CUstream s[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        side[i] = context_on(i, &m[i]);
        OK(cuMemAlloc(&flag[i], 4));
        OK(cuMemsetD32(flag[i], 0, 1));
        OK(cuModuleGetFunction(&hold[i], m[i], "hold"));
        OK(cuModuleGetFunction(&store[i], m[i], "poke"));
        OK(cuStreamCreate(&s[i], CU_STREAM_NON_BLOCKING));
    }
    for (int i = 0; i < 2; i++) {
        OK(cuCtxSetCurrent(side[i]));
        OK(cuCtxEnablePeerAccess(side[!i], 0));
    }
    /* 0 waits for 1, which waits for a store of 0's: by a second stream. */
    void *at[2][1] = {{&flag[0]}, {&flag[1]}};
    OK(cuCtxSetCurrent(side[0]));
    OK(launch(hold[0], s[0], at[1])); /* until 1's memory says so */
    OK(cuCtxSetCurrent(side[1]));
    OK(launch(hold[1], s[1], at[0])); /* until 0's does */
    OK(launch(store[1], s[1], at[1]));
    EXPECT_EQ(cuStreamQuery(s[1]), CUDA_ERROR_NOT_READY);
    OK(cuCtxSetCurrent(side[0]));
    EXPECT_EQ(cuStreamQuery(s[0]), CUDA_ERROR_NOT_READY);
    CUstream other = NULL;
    OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    OK(launch(store[0], other, at[0]));
    OK(cuStreamSynchronize(s[0]));
    OK(cuCtxDestroy(side[0]));
    OK(cuCtxDestroy(side[1]));
}

/* Freeing waits for the peer's kernels, and so do the end of access and of a context. */
static void ends_wait(void)
{
    CUcontext a = NULL, b = NULL;
    CUmodule of_a = NULL, of_b = NULL;
    CUdeviceptr p = 0, q = 0;
    CUfunction f = NULL;
    b = context_on(1, &of_b);
    OK(cuMemAlloc(&p, 4 << 20));
    OK(cuMemAlloc(&q, 4 << 20));
    a = context_on(0, &of_a);
    OK(cuCtxEnablePeerAccess(b, 0));
    OK(cuModuleGetFunction(&f, of_a, "poke"));
    void *to_q[] = {&q};
    for (unsigned i = 0; i < 200; i++)
        OK(launch(f, NULL, to_q));
    OK(cuCtxDisablePeerAccess(b));
    OK(cuCtxSynchronize());
    OK(cuCtxEnablePeerAccess(b, 0));
    for (unsigned round = 0; round < 2; round++) {
        void *params[] = {round ? (void *)&q : (void *)&p};
        OK(cuCtxSetCurrent(a));
        for (unsigned i = 0; i < 200; i++)
            OK(launch(f, NULL, params));
        OK(cuCtxSetCurrent(b));
        OK(round ? cuCtxDestroy(b) : cuMemFree(p));
        OK(cuCtxSetCurrent(a));
        OK(cuCtxSynchronize());
    }
    FAILS(ILLEGAL_ADDRESS, poke(of_a, q));
    OK(cuCtxDestroy(a));
}

/* Mapped memory is its devices' that were named, whatever contexts have enabled. */
static void mapped(void)
{
    const size_t bytes = 2 << 20;
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}};
    CUmemAccessDesc access[] = {
        {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
        {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READ}};
    CUmemGenericAllocationHandle memory = 0;
    CUdeviceptr p = 0;
    unsigned long long flags = 9;
    CUmodule m = NULL;
    OK(cuMemAddressReserve(&p, bytes, 0, 0, 0));
    OK(cuMemCreate(&memory, bytes, &prop, 0));
    OK(cuMemMap(p, bytes, 0, memory, 0));
    access[0].location.id = 3;
    FAILS(INVALID_DEVICE, cuMemSetAccess(p, bytes, access, 2));
    access[0].location.id = 0;
    OK(cuMemSetAccess(p, bytes, access, 2));
    OK(cuMemGetAccess(&flags, &access[0].location, p));
    EXPECT_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    OK(cuMemGetAccess(&flags, &access[1].location, p));
    EXPECT_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READ);
    CUcontext c = context_on(0, &m);
    OK(poke(m, p));
    EXPECT_EQ(word_at(p), 1);
    OK(cuCtxDestroy(c));
    c = context_on(2, &m);
    FAILS(ILLEGAL_ADDRESS, poke(m, p));
    OK(cuCtxDestroy(c));
    access[0].flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    OK(cuMemSetAccess(p, bytes, access, 1));
    c = context_on(0, &m);
    FAILS(ILLEGAL_ADDRESS, poke(m, p));
    OK(cuCtxDestroy(c));
    c = context_on(1, &m);
    OK(poke(m, p));
    OK(cuCtxDestroy(c));
    OK(cuMemUnmap(p, bytes));
    OK(cuMemRelease(memory));
    OK(cuMemAddressFree(p, bytes));
}

int main(void)
{
    setenv("GI_SIM_DEVICES", "3", 1);
    if (set_up() < 0)
        return 1;
    MT_RUN(questions);
    MT_RUN(errors);
    MT_RUN(many);
    MT_RUN(kernels_across);
    MT_RUN(side_by_side);
    MT_RUN(ends_wait);
    MT_RUN(mapped);
    cuCtxDestroy(context);
    return mt_done();
}
