/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libvgpu does beyond being a driver: no GPU, forks, threads, a worker's
 * death, errors that come late, a full ring, a full arena. Each test is a
 * process of its own: vgpu_test GPU-PROXY DRIVER LIBVGPU runs them all.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cu.h"
#include "demo/kernels.h"
#include "minitest.h"
#include "node.h"

#define QUOTA (256ull << 20)

static struct node node;
static struct cu cu;
static CUcontext context;
static CUmodule module;

/* The GPU as most tests want it. */
static bool begin(void)
{
    return cu.cuInit(0) == CUDA_SUCCESS && cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS &&
           cu.cuModuleLoadData(&module, PTX_ALL) == CUDA_SUCCESS;
}

static pid_t worker_pid(void)
{
    return (pid_t)proxy_client(&node.proxy, NODE_ZONE).pid;
}

/* y = 2 * y + y on the GPU, checked here. */
static bool computes(CUstream stream, unsigned n)
{
    float *v = malloc(n * sizeof(*v)), two = 2;
    CUdeviceptr p = 0;
    CUfunction fn = NULL;
    bool good = v && cu.cuMemAlloc_v2(&p, n * sizeof(*v)) == CUDA_SUCCESS &&
                cu.cuModuleGetFunction(&fn, module, "saxpy") == CUDA_SUCCESS;
    for (unsigned i = 0; good && i < n; i++)
        v[i] = (float)i;
    void *args[] = {&two, &p, &p, &n};
    good = good && cu.cuMemcpyHtoDAsync_v2(p, v, n * sizeof(*v), stream) == CUDA_SUCCESS &&
           cu.cuLaunchKernel(fn, (n + 255) / 256, 1, 1, 256, 1, 1, 0, stream, args, NULL) ==
               CUDA_SUCCESS &&
           cu.cuMemcpyDtoHAsync_v2(v, p, n * sizeof(*v), stream) == CUDA_SUCCESS &&
           cu.cuStreamSynchronize(stream) == CUDA_SUCCESS;
    for (unsigned i = 0; good && i < n; i++)
        good = v[i] == 3 * (float)i;
    if (p)
        good = cu.cuMemFree_v2(p) == CUDA_SUCCESS && good;
    free(v);
    return good;
}

static void test_no_gpu(void)
{
    int n = -1;
    unsetenv("GI_GPU_SOCKET"); /* nothing listens at the default place */
    EXPECT_EQ(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
    EXPECT_EQ(cu.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
    setenv("GI_GPU_SOCKET", "/nonexistent/gpu.sock", 1);
    EXPECT_EQ(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
    char longer[300];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    setenv("GI_GPU_SOCKET", longer, 1);
    EXPECT_EQ(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
    /* And when there is one later, it is found. */
    setenv("GI_GPU_SOCKET", node.agent.path, 1);
    EXPECT_EQ(cu.cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuDeviceGetCount(&n), CUDA_SUCCESS);
    EXPECT_EQ(n, 1);
}

static void test_quota_is_the_memory(void)
{
    size_t total = 0, left = 0;
    CUdeviceptr p = 0, q = 0;
    REQUIRE(begin());
    EXPECT_EQ(cu.cuDeviceTotalMem_v2(&total, 0), CUDA_SUCCESS);
    EXPECT_EQ(total, QUOTA);
    EXPECT_EQ(cu.cuMemAlloc_v2(&p, QUOTA / 2), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemGetInfo_v2(&left, &total), CUDA_SUCCESS);
    EXPECT_EQ(left, QUOTA / 2);
    EXPECT_EQ(cu.cuMemAlloc_v2(&q, QUOTA / 2 + 1), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cu.cuMemFree_v2(p), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemAlloc_v2(&q, QUOTA), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemFree_v2(q), CUDA_SUCCESS);
}

/* --- Forks ---------------------------------------------------------------------- */

static int wait_for(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void test_fork(void)
{
    CUcontext c = NULL;
    CUdeviceptr p = 0;
    int before = descriptors();
    REQUIRE(begin());
    EXPECT(descriptors() > before);
    pid_t pid = fork();
    if (pid == 0) {
        /* The parent's channel isn't the child's, not even its descriptors. */
        EXPECT_EQ(descriptors(), before);
        EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_NOT_INITIALIZED);
        EXPECT_EQ(cu.cuMemAlloc_v2(&p, 16), CUDA_ERROR_NOT_INITIALIZED);
        EXPECT_EQ(cu.cuCtxSetCurrent(context), CUDA_ERROR_NOT_INITIALIZED);
        EXPECT_EQ(cu.cuInit(0), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuCtxGetCurrent(&c), CUDA_SUCCESS);
        EXPECT(c == NULL);
        EXPECT_EQ(cu.cuCtxSetCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
        EXPECT_EQ(proxy_stats(&node.proxy, NODE_ZONE).clients, 2);
        EXPECT(begin() && computes(NULL, 1000));
        _exit(mt_failed != 0);
    }
    EXPECT(computes(NULL, 1000)); /* meanwhile */
    EXPECT_EQ(wait_for(pid), 0);
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 1));
    EXPECT(computes(NULL, 1000));
}

/* A child that lives on doesn't keep its parent's worker. */
static void test_child_outlives(void)
{
    int hold[2], done[2];
    char byte = 0;
    REQUIRE(pipe(hold) == 0 && pipe(done) == 0);
    pid_t parent = fork();
    if (parent == 0) {
        close(hold[1]);
        bool good = begin();
        if (fork() == 0) {
            (void)!read(hold[0], &byte, 1);
            (void)!write(done[1], &byte, 1);
            _exit(0);
        }
        _exit(!good);
    }
    close(hold[0]);
    EXPECT_EQ(wait_for(parent), 0);
    EXPECT(WAIT_FOR(5000, proxy_stats(&node.proxy, NODE_ZONE).clients == 0));
    EXPECT(write(hold[1], "x", 1) == 1);
    EXPECT(read(done[0], &byte, 1) == 1);
}

/* --- Threads --------------------------------------------------------------------- */

static void *compute(void *unused)
{
    CUstream stream = NULL;
    uintptr_t wrong = 0;
    (void)unused;
    wrong += cu.cuCtxSynchronize() != CUDA_ERROR_INVALID_CONTEXT; /* each has its own */
    wrong += cu.cuCtxSetCurrent(context) != CUDA_SUCCESS;
    wrong += cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS;
    for (unsigned i = 0; i < 20 && !wrong; i++)
        wrong += !computes(stream, 5000 + i * 1000);
    wrong += cu.cuStreamDestroy_v2(stream) != CUDA_SUCCESS;
    return (void *)wrong;
}

/* In a context of its own, so that the worker is told to change all the time. */
static void *compute_apart(void *unused)
{
    CUcontext own = NULL;
    CUdeviceptr p = 0;
    uint32_t word = 0;
    uintptr_t wrong = 0;
    (void)unused;
    wrong += cu.cuCtxCreate_v2(&own, 0, 0) != CUDA_SUCCESS;
    for (unsigned i = 0; i < 200 && !wrong; i++) {
        wrong += cu.cuMemAlloc_v2(&p, 4096) != CUDA_SUCCESS;
        wrong += cu.cuMemsetD32_v2(p, i, 1024) != CUDA_SUCCESS;
        wrong += cu.cuMemcpyDtoH_v2(&word, p + 4092, 4) != CUDA_SUCCESS || word != i;
        wrong += cu.cuMemFree_v2(p) != CUDA_SUCCESS;
    }
    wrong += cu.cuCtxDestroy_v2(own) != CUDA_SUCCESS;
    return (void *)wrong;
}

static void test_threads(void)
{
    pthread_t threads[4];
    REQUIRE(begin());
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, i < 3 ? compute : compute_apart, NULL) == 0);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong = (void *)1;
        pthread_join(threads[i], &wrong);
        EXPECT(wrong == NULL);
    }
}

static void *open_it(void *ret_rc)
{
    *(CUresult *)ret_rc = cu.cuInit(0);
    return NULL;
}

static void test_threads_init(void)
{
    pthread_t threads[4];
    CUresult rc[4];
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, open_it, &rc[i]) == 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_EQ(rc[i], CUDA_SUCCESS);
    }
    EXPECT_EQ(proxy_stats(&node.proxy, NODE_ZONE).clients, 1);
}

/* --- Errors ---------------------------------------------------------------------- */

/* What only the driver can know to be wrong comes with the next call that
 * waits, once. */
static void test_late_error(void)
{
    CUcontext other;
    CUevent event;
    REQUIRE(begin());
    REQUIRE(cu.cuCtxCreate_v2(&other, 0, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuEventCreate(&event, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuCtxSetCurrent(context) == CUDA_SUCCESS);
    EXPECT_EQ(cu.cuEventRecord(event, NULL), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxDestroy_v2(other), CUDA_SUCCESS);
    EXPECT(computes(NULL, 100));
}

static void test_sticky_error(void)
{
    CUfunction fn = NULL;
    unsigned n = 1;
    CUdeviceptr nowhere = 64, p = 0, theirs = 0;
    CUcontext dead, other;
    REQUIRE(begin());
    REQUIRE(cu.cuCtxCreate_v2(&other, 0, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemAlloc_v2(&theirs, 4096) == CUDA_SUCCESS);
    REQUIRE(cu.cuCtxSetCurrent(context) == CUDA_SUCCESS);
    REQUIRE(cu.cuModuleGetFunction(&fn, module, "vec_add") == CUDA_SUCCESS);
    void *args[] = {&nowhere, &nowhere, &nowhere, &n};
    EXPECT_EQ(cu.cuLaunchKernel(fn, 1, 1, 1, 32, 1, 1, 0, NULL, args, NULL), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    /* Every call says so, queued ones too. */
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(cu.cuMemAlloc_v2(&p, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(cu.cuLaunchKernel(fn, 1, 1, 1, 32, 1, 1, 0, NULL, args, NULL),
              CUDA_ERROR_ILLEGAL_ADDRESS);
    /* Another context is as it was. */
    EXPECT_EQ(cu.cuCtxSetCurrent(other), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemsetD8_v2(theirs, 1, 4096), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    dead = context;
    cu.cuCtxDestroy_v2(dead);
    EXPECT_EQ(cu.cuCtxSetCurrent(other), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemsetD8_v2(theirs, 2, 4096), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxDestroy_v2(other), CUDA_SUCCESS);
}

static void test_worker_dies(void)
{
    CUdeviceptr p = 0;
    int n = 0;
    REQUIRE(begin());
    REQUIRE(cu.cuMemAlloc_v2(&p, 4096) == CUDA_SUCCESS);
    pid_t pid = worker_pid();
    REQUIRE(pid > 1 && kill(pid, SIGKILL) == 0);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuMemAlloc_v2(&p, 4096), CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuMemsetD8_v2(p, 0, 16), CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuDeviceGetCount(&n), CUDA_ERROR_DEVICE_UNAVAILABLE);
    EXPECT_EQ(cu.cuInit(0), CUDA_ERROR_DEVICE_UNAVAILABLE);
}

/* Who only queues hears of it as well. */
static void test_worker_dies_unasked(void)
{
    CUdeviceptr p = 0;
    CUresult rc = CUDA_SUCCESS;
    REQUIRE(begin());
    REQUIRE(cu.cuMemAlloc_v2(&p, 4096) == CUDA_SUCCESS);
    pid_t pid = worker_pid();
    REQUIRE(pid > 1 && kill(pid, SIGKILL) == 0);
    for (unsigned i = 0; i < 10000000 && rc == CUDA_SUCCESS; i++)
        rc = cu.cuMemsetD8_v2(p, 0, 16);
    EXPECT_EQ(rc, CUDA_ERROR_DEVICE_UNAVAILABLE);
}

/* What can't be made is refused at once, and leaves nothing. */
static void test_failed_creation(void)
{
    CUevent event = NULL, other = NULL;
    REQUIRE(begin());
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(cu.cuEventCreate(&event, 0x4000), CUDA_ERROR_INVALID_VALUE);
        EXPECT_EQ(cu.cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
        EXPECT_EQ(cu.cuEventCreate(&other, 0), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuStreamWaitEvent(NULL, other, 0x4000), CUDA_ERROR_INVALID_VALUE);
        EXPECT_EQ(cu.cuEventRecord(other, NULL), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuEventSynchronize(other), CUDA_SUCCESS);
        EXPECT_EQ(cu.cuEventDestroy_v2(other), CUDA_SUCCESS);
    }
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuStreamDestroy_v2(NULL), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cu.cuStreamDestroy_v2(CU_STREAM_LEGACY), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cu.cuStreamDestroy_v2(CU_STREAM_PER_THREAD), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(proxy_stats(&node.proxy, NODE_ZONE).refused_handles, 0);
}

/* A stream may go while it has work: synchronizing the context waits for that, too. */
static void test_destroyed_stream(void)
{
    enum { N = 1 << 20, TIMES = 10 };
    unsigned n = N;
    float two = 2, *v = malloc(N * sizeof(*v));
    CUdeviceptr p = 0;
    CUfunction fn = NULL;
    CUstream stream = NULL;
    REQUIRE(v && begin());
    for (unsigned i = 0; i < N; i++)
        v[i] = 1;
    REQUIRE(cu.cuMemAlloc_v2(&p, N * sizeof(*v)) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemcpyHtoD_v2(p, v, N * sizeof(*v)) == CUDA_SUCCESS);
    REQUIRE(cu.cuModuleGetFunction(&fn, module, "saxpy") == CUDA_SUCCESS);
    REQUIRE(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    void *args[] = {&two, &p, &p, &n};
    for (int i = 0; i < TIMES; i++)
        EXPECT_EQ(cu.cuLaunchKernel(fn, N / 256, 1, 1, 256, 1, 1, 0, stream, args, NULL),
                  CUDA_SUCCESS);
    EXPECT_EQ(cu.cuStreamDestroy_v2(stream), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemcpyDtoH_v2(v, p, N * sizeof(*v)), CUDA_SUCCESS);
    unsigned wrong = 0;
    for (unsigned i = 0; i < N; i++)
        wrong += v[i] != 59049.0f; /* three to the tenth */
    EXPECT_EQ(wrong, 0);
    free(v);
}

/* --- Limits ---------------------------------------------------------------------- */

static void test_full_ring(void)
{
    enum { WORDS = 1000 };
    static uint32_t words[WORDS];
    CUdeviceptr p = 0;
    REQUIRE(begin());
    REQUIRE(cu.cuMemAlloc_v2(&p, sizeof(words)) == CUDA_SUCCESS);
    /* Far more than the ring holds, and in order. */
    for (uint32_t i = 0; i < 60 * WORDS; i++)
        REQUIRE(cu.cuMemsetD32_v2(p + i % WORDS * 4, i, 1) == CUDA_SUCCESS);
    REQUIRE(cu.cuMemcpyDtoH_v2(words, p, sizeof(words)) == CUDA_SUCCESS);
    for (uint32_t i = 0; i < WORDS; i++)
        EXPECT_EQ(words[i], 59 * WORDS + i);
}

static void test_full_arena(void)
{
    void *p[64];
    unsigned n = 0;
    REQUIRE(begin());
    while (n < 64 && cu.cuMemAllocHost_v2(&p[n], 4 << 20) == CUDA_SUCCESS)
        memset(p[n++], 0x5a, 4 << 20);
    EXPECT(n >= 10 && n < 64); /* of 64 MiB */
    EXPECT_EQ(cu.cuMemAllocHost_v2(&p[63], 4 << 20), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT(computes(NULL, 100000)); /* staging has room of its own */
    for (unsigned i = 0; i < n; i += 2)
        EXPECT_EQ(cu.cuMemFreeHost(p[i]), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemAllocHost_v2(&p[63], 8 << 20), CUDA_ERROR_OUT_OF_MEMORY); /* in pieces */
    for (unsigned i = 1; i < n; i += 2)
        EXPECT_EQ(cu.cuMemFreeHost(p[i]), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemAllocHost_v2(&p[0], n * (size_t)(4 << 20)), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuMemFreeHost(p[0]), CUDA_SUCCESS);
}

/* An address of pinned memory is the device's address too. */
static void test_pinned_in_kernels(void)
{
    float *v = NULL, two = 2;
    unsigned n = 1000;
    CUdeviceptr p = 0;
    CUfunction fn = NULL;
    REQUIRE(begin());
    REQUIRE(cu.cuMemHostAlloc((void **)&v, n * sizeof(*v), CU_MEMHOSTALLOC_DEVICEMAP) ==
            CUDA_SUCCESS);
    REQUIRE(cu.cuMemHostGetDevicePointer_v2(&p, v, 0) == CUDA_SUCCESS);
    REQUIRE(cu.cuModuleGetFunction(&fn, module, "saxpy") == CUDA_SUCCESS);
    for (unsigned i = 0; i < n; i++)
        v[i] = (float)i;
    void *args[] = {&two, &p, &p, &n};
    EXPECT_EQ(cu.cuLaunchKernel(fn, 4, 1, 1, 256, 1, 1, 0, NULL, args, NULL), CUDA_SUCCESS);
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    unsigned wrong = 0;
    for (unsigned i = 0; i < n; i++)
        wrong += v[i] != 3 * (float)i;
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(p, (uintptr_t)v);
    EXPECT_EQ(cu.cuMemFreeHost(v), CUDA_SUCCESS);
}

/* More loads and look-ups than there are handles: none leaks. */
static void test_handles_come_back(void)
{
    CUfunction fn = NULL, first = NULL;
    CUevent event = NULL;
    CUmodule m = NULL;
    REQUIRE(begin());
    for (unsigned i = 0; i < 70000; i++) {
        REQUIRE(cu.cuModuleGetFunction(&fn, module, "saxpy") == CUDA_SUCCESS);
        first = first ? first : fn;
        REQUIRE(fn == first);
        REQUIRE(cu.cuEventCreate(&event, 0) == CUDA_SUCCESS);
        REQUIRE(cu.cuEventDestroy_v2(event) == CUDA_SUCCESS);
    }
    for (unsigned i = 0; i < 20; i++) {
        REQUIRE(cu.cuModuleLoadData(&m, PTX_HEADER PTX_VEC_ADD) == CUDA_SUCCESS);
        REQUIRE(cu.cuModuleGetFunction(&fn, m, "vec_add") == CUDA_SUCCESS);
        REQUIRE(cu.cuModuleUnload(m) == CUDA_SUCCESS);
    }
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT(proxy_client(&node.proxy, NODE_ZONE).handles < 10);
}

static void *use_own_stream(void *its_context)
{
    CUresult rc = cu.cuCtxSetCurrent(its_context);
    return (void *)(uintptr_t)(rc | cu.cuStreamSynchronize_ptsz(NULL));
}

/* A thread's own stream goes, if not with it, then with the next one's. */
static void test_own_streams_end(void)
{
    CUcontext mine = NULL;
    REQUIRE(begin());
    REQUIRE(cu.cuCtxGetCurrent(&mine) == CUDA_SUCCESS);
    for (unsigned i = 0; i < 40; i++) {
        pthread_t t;
        void *rc = (void *)1;
        REQUIRE(pthread_create(&t, NULL, use_own_stream, mine) == 0);
        pthread_join(t, &rc);
        EXPECT(rc == NULL);
    }
    EXPECT_EQ(cu.cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT(proxy_client(&node.proxy, NODE_ZONE).handles < 10);
}

NODE_APART(&node, test_no_gpu)
NODE_APART(&node, test_quota_is_the_memory)
NODE_APART(&node, test_fork)
NODE_APART(&node, test_child_outlives)
NODE_APART(&node, test_threads)
NODE_APART(&node, test_threads_init)
NODE_APART(&node, test_late_error)
NODE_APART(&node, test_sticky_error)
NODE_APART(&node, test_failed_creation)
NODE_APART(&node, test_worker_dies)
NODE_APART(&node, test_worker_dies_unasked)
NODE_APART(&node, test_destroyed_stream)
NODE_APART(&node, test_full_ring)
NODE_APART(&node, test_full_arena)
NODE_APART(&node, test_pinned_in_kernels)
NODE_APART(&node, test_handles_come_back)
NODE_APART(&node, test_own_streams_end)

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    if (!node_has_driver(argv[2]))
        return 77;
    if (!cu_load(&cu, argv[3]) || !node_start(&node, argv[1], argv[2], QUOTA))
        return 1;
    MT_RUN(apart_test_no_gpu);
    MT_RUN(apart_test_quota_is_the_memory);
    MT_RUN(apart_test_fork);
    MT_RUN(apart_test_child_outlives);
    MT_RUN(apart_test_threads);
    MT_RUN(apart_test_threads_init);
    MT_RUN(apart_test_late_error);
    MT_RUN(apart_test_sticky_error);
    MT_RUN(apart_test_failed_creation);
    MT_RUN(apart_test_worker_dies);
    MT_RUN(apart_test_worker_dies_unasked);
    MT_RUN(apart_test_destroyed_stream);
    MT_RUN(apart_test_full_ring);
    MT_RUN(apart_test_full_arena);
    MT_RUN(apart_test_pinned_in_kernels);
    MT_RUN(apart_test_handles_come_back);
    MT_RUN(apart_test_own_streams_end);
    EXPECT_EQ(node_stop(&node), 0);
    return mt_done();
}
