/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work is held back while much is in flight. That must not stop programs whose
 * work under way waits for work they submit later, nor lose anything.
 *   flow_test GPU-PROXY DRIVER LIBVGPU
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cu.h"
#include "minitest.h"
#include "node.h"

/* void await(unsigned *flag): until *flag isn't 0. void add(unsigned *sum): one more. */
static const char ptx[] = ".version 6.4\n.target sm_70\n.address_size 64\n"
                          ".visible .entry await(.param .u64 pf)\n{\n"
                          "  .reg .pred %p<2>;\n  .reg .b32 %r<2>;\n  .reg .b64 %rd<2>;\n"
                          "  ld.param.u64 %rd1, [pf];\n"
                          "LOOP:\n"
                          "  ld.volatile.global.u32 %r1, [%rd1];\n"
                          "  setp.eq.u32 %p1, %r1, 0;\n"
                          "  @%p1 bra LOOP;\n"
                          "  ret;\n}\n"
                          ".visible .entry add(.param .u64 ps)\n{\n"
                          "  .reg .b32 %r<2>;\n  .reg .b64 %rd<2>;\n"
                          "  ld.param.u64 %rd1, [ps];\n"
                          "  atom.global.add.u32 %r1, [%rd1], 1;\n"
                          "  ret;\n}\n";

static struct node node;
static struct cu cu;
static CUcontext context;
static CUfunction await, add;
static CUdeviceptr words; /* flag, sum */

static bool begin(void)
{
    CUmodule module;
    return cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS &&
           cu.cuModuleLoadData(&module, ptx) == CUDA_SUCCESS &&
           cu.cuModuleGetFunction(&await, module, "await") == CUDA_SUCCESS &&
           cu.cuModuleGetFunction(&add, module, "add") == CUDA_SUCCESS &&
           cu.cuMemAlloc_v2(&words, 8) == CUDA_SUCCESS &&
           cu.cuMemsetD8_v2(words, 0, 8) == CUDA_SUCCESS && cu.cuCtxSynchronize() == CUDA_SUCCESS;
}

static CUresult launch(CUfunction fn, CUdeviceptr p, CUstream stream)
{
    void *args[] = {&p};
    return cu.cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL);
}

static unsigned sum(void)
{
    unsigned n = 0;
    EXPECT_EQ(cu.cuMemcpyDtoH_v2(&n, words + 4, sizeof(n)), CUDA_SUCCESS);
    return n;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One kernel spins until another stream, long after it, has written a word. */
static void test_waits_for_later_work(void)
{
    CUstream a, b;
    REQUIRE(begin());
    REQUIRE(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    REQUIRE(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    double began = seconds();
    EXPECT_EQ(launch(await, words, a), CUDA_SUCCESS);
    for (int i = 0; i < 300; i++)
        EXPECT_EQ(launch(add, words + 4, b), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemsetD8Async(words, 1, 4, b), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(sum(), 300);
    printf("  %.3f s\n", seconds() - began);
    EXPECT(seconds() - began < 5);
}

/* The same when each stream has little: many streams behind one that spins. */
static void test_many_streams(void)
{
    CUstream streams[24];
    REQUIRE(begin());
    for (int i = 0; i < 24; i++)
        REQUIRE(cu.cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    EXPECT_EQ(launch(await, words, streams[0]), CUDA_SUCCESS);
    for (int i = 0; i < 400; i++) {
        EXPECT_EQ(launch(add, words + 4, streams[1 + i % 23]), CUDA_SUCCESS);
        if (i % 100 == 99) /* streams that go meanwhile */
            EXPECT_EQ(cu.cuStreamDestroy_v2(streams[1 + i % 23]), CUDA_SUCCESS);
        if (i % 100 == 99)
            EXPECT_EQ(cu.cuStreamCreate(&streams[1 + i % 23], CU_STREAM_NON_BLOCKING),
                      CUDA_SUCCESS);
    }
    EXPECT_EQ(cu.cuMemsetD8Async(words, 1, 4, streams[1]), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(sum(), 400);
}

static uint64_t gpu_ns(void)
{
    return proxy_stats(&node.proxy, NODE_ZONE).gpu_ns;
}

/* What the counter says is the time that kernels took: not the pauses, and all of them. */
static void test_time_is_counted(void)
{
    CUstream s;
    REQUIRE(begin() && cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    uint64_t before = gpu_ns();
    usleep(100 * 1000);
    EXPECT(gpu_ns() - before < 20 * 1000 * 1000);
    /* A long kernel, nobody waiting for it; told while it runs, and no more than it is. */
    before = gpu_ns();
    double began = seconds();
    EXPECT_EQ(launch(await, words, s), CUDA_SUCCESS);
    uint64_t running = 0;
    EXPECT(WAIT_FOR(20000, (running = gpu_ns() - before) > 100ull * 1000 * 1000));
    EXPECT((double)running / 1e9 <= seconds() - began + 0.02);
    EXPECT_EQ(cu.cuMemsetD8_v2(words, 1, 4), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    before = gpu_ns();
    usleep(100 * 1000);
    EXPECT(gpu_ns() - before < 5 * 1000 * 1000);
}

/* Contexts that end with work in flight leave no time running and nothing waiting. */
static void test_context_ends(void)
{
    for (int i = 0; i < 5; i++) {
        REQUIRE(begin());
        for (int k = 0; k < 50; k++)
            EXPECT_EQ(launch(add, words + 4, NULL), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuCtxDestroy_v2(context), CUDA_SUCCESS);
    }
    REQUIRE(begin());
    EXPECT_EQ(launch(add, words + 4, NULL), CUDA_SUCCESS);
    EXPECT_EQ(sum(), 1);
    uint64_t before = gpu_ns();
    usleep(100 * 1000);
    EXPECT(gpu_ns() - before < 5 * 1000 * 1000);
}

NODE_APART(&node, test_waits_for_later_work)
NODE_APART(&node, test_many_streams)
NODE_APART(&node, test_time_is_counted)
NODE_APART(&node, test_context_ends)

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    if (!node_has_driver(argv[2]))
        return 77;
    if (!cu_load(&cu, argv[3]) || !node_start(&node, argv[1], argv[2], 64 << 20))
        return 1;
    MT_RUN(apart_test_waits_for_later_work);
    MT_RUN(apart_test_many_streams);
    MT_RUN(apart_test_time_is_counted);
    MT_RUN(apart_test_context_ends);
    EXPECT_EQ(node_stop(&node), 0);
    return mt_done();
}
