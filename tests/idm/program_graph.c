/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: captured from streams, made by hand, launched, changed. What they compute is
 * held against what it must be, too: both sides have the same code for descriptions. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

enum { N = 5000, BYTES = N * 4 };

static CUmodule module;
static CUfunction vec_add, saxpy;
static CUstream s, t;
static CUevent fork_event, join_event;
static CUdeviceptr x, y, z;
static float *pinned;
static float pageable[N], result[N];
static unsigned wrong;

static void check(const char *what, bool good)
{
    wrong += show_good(what, good);
}

/* Are all N of Z what they should be? */
static void check_z(const char *what, float expected)
{
    unsigned bad = 0;
    memset(result, 0xee, sizeof(result));
    SHOW(cuMemcpyDtoH_v2, result, z, BYTES);
    for (unsigned i = 0; i < N; i++)
        bad += result[i] != expected;
    printf("%g expected, %u differ, first %g\n", (double)expected, bad, (double)result[0]);
    check(what, bad == 0);
}

static void fill(float *p, float value)
{
    for (unsigned i = 0; i < N; i++)
        p[i] = value;
}

static CUresult add(CUdeviceptr a, CUdeviceptr b, CUdeviceptr c, CUstream stream)
{
    unsigned n = N;
    void *params[] = {&a, &b, &c, &n};
    return show("vec_add", cu.cuLaunchKernel(vec_add, (N + 255) / 256, 1, 1, 256, 1, 1, 0, stream,
                                             params, NULL));
}

static void set_up(void)
{
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuModuleGetFunction, &vec_add, module, "vec_add");
    SHOW(cuModuleGetFunction, &saxpy, module, "saxpy");
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &t, CU_STREAM_NON_BLOCKING);
    SHOW(cuEventCreate, &fork_event, CU_EVENT_DISABLE_TIMING);
    SHOW(cuEventCreate, &join_event, CU_EVENT_DISABLE_TIMING);
    SHOW(cuMemAlloc_v2, &x, BYTES);
    SHOW(cuMemAlloc_v2, &y, BYTES);
    SHOW(cuMemAlloc_v2, &z, BYTES);
    SHOW(cuMemAllocHost_v2, (void **)&pinned, BYTES);
}

static void tear_down(void)
{
    SHOW(cuMemFreeHost, pinned);
    SHOW(cuMemFree_v2, x);
    SHOW(cuMemFree_v2, y);
    SHOW(cuMemFree_v2, z);
    SHOW(cuEventDestroy_v2, fork_event);
    SHOW(cuEventDestroy_v2, join_event);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuStreamDestroy_v2, t);
    SHOW(cuModuleUnload, module);
}

static unsigned calls;

static void double_pinned(void *data)
{
    float *p = data;
    for (unsigned i = 0; i < N; i++)
        p[i] *= 2;
    calls++;
}

/* In one stream: z = 2 * pinned + pageable, z into pageable result. */
static void captured(void)
{
    CUgraph g = NULL;
    CUgraphExec e = NULL;
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    uint64_t id = 0;
    const CUgraphNode *deps = NULL;
    CUgraph inside = NULL;
    size_t n = 99;
    SHOW(cuStreamIsCapturing, s, &status);
    printf("%d\n", status);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    SHOW(cuLaunchHostFunc, s, double_pinned, pinned);
    SHOW(cuMemcpyHtoDAsync_v2, x, pinned, BYTES, s);
    SHOW(cuMemcpyHtoDAsync_v2, y, pageable, BYTES, s);
    add(x, y, z, s);
    SHOW(cuMemcpyDtoHAsync_v2, result, z, BYTES, s);
    SHOW(cuStreamGetCaptureInfo_v2, s, &status, &id, &inside, &deps, &n);
    printf("%d %d %d %zu\n", status, id != 0, inside != NULL, n);
    SHOW(cuStreamEndCapture, s, &g);
    check("the graph is the one the capture had", g == inside);
    SHOW(cuStreamIsCapturing, s, &status);
    printf("%d, %u calls\n", status, calls);
    n = 0;
    SHOW(cuGraphGetNodes, g, NULL, &n);
    printf("%zu nodes\n", n);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuGraphDestroy, g);
    for (int round = 1; round <= 3; round++) {
        fill(pinned, (float)round);
        fill(pageable, 100);
        memset(result, 0, sizeof(result));
        SHOW(cuGraphLaunch, e, s);
        SHOW(cuStreamSynchronize, s);
        check("pageable memory is read and written at each launch",
              result[0] == 100 + 2 * (float)round && result[N - 1] == result[0]);
        check_z("captured", 100 + 2 * (float)round);
    }
    fill(pinned, 1);
    for (int i = 0; i < 5; i++) /* behind each other */
        SHOW(cuGraphLaunch, e, i % 2 ? s : t);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuStreamSynchronize, t);
    check_z("five at once", 132);
    printf("%u calls\n", calls);
    SHOW(cuGraphUpload, e, s);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuGraphExecDestroy, e); /* it still runs */
    SHOW(cuStreamSynchronize, s);
    check_z("destroyed", 164);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuGraphExecDestroy, e);
}

/* Two branches, with events; events of a capture are of no use outside. */
static void forked(void)
{
    CUgraph g = NULL;
    CUgraphExec e = NULL;
    CUgraphNode nodes[8];
    CUgraphNode from[8], to[8];
    size_t n = 8;
    CUDA_GRAPH_INSTANTIATE_PARAMS params = {.flags = CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD,
                                            .hUploadStream = s};
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemsetD32Async, z, 0, N, s);
    SHOW(cuEventRecord, fork_event, s);
    SHOW(cuStreamWaitEvent, t, fork_event, 0);
    SHOW(cuMemsetD32Async, x, 0x3f800000, N, s);
    SHOW(cuMemsetD32Async, y, 0x40000000, N, t);
    SHOW(cuEventRecord, join_event, t);
    SHOW(cuStreamWaitEvent, s, join_event, 0);
    add(x, y, z, s);
    SHOW(cuStreamEndCapture, t, &g);
    SHOW(cuStreamEndCapture, s, &g); /* made invalid by that */
    check("no graph", g == NULL);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemsetD32Async, z, 0, N, s);
    SHOW(cuEventRecord, fork_event, s);
    SHOW(cuStreamWaitEvent, t, fork_event, 0);
    SHOW(cuMemsetD32Async, x, 0x3f800000, N, s);
    SHOW(cuMemsetD32Async, y, 0x40000000, N, t);
    SHOW(cuEventRecord, join_event, t);
    SHOW(cuStreamWaitEvent, s, join_event, 0);
    add(x, y, z, s);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphGetNodes, g, nodes, &n);
    printf("%zu nodes\n", n);
    n = 8;
    SHOW(cuGraphGetEdges, g, from, to, &n);
    printf("%zu edges\n", n);
    SHOW(cuGraphInstantiateWithParams, &e, g, &params);
    printf("%d\n", params.result_out);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("forked", 3);
    SHOW(cuEventQuery, join_event);
    SHOW(cuEventSynchronize, join_event);
    SHOW(cuStreamWaitEvent, t, join_event, 0);
    SHOW(cuEventRecord, join_event, t);
    SHOW(cuEventSynchronize, join_event);
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuGraphDestroy, g);
}

static CUresult end_bad(const char *what)
{
    CUgraph g = (CUgraph)&wrong;
    CUresult rc = show(what, cu.cuStreamEndCapture(s, &g));
    check("no graph", g == NULL || rc == CUDA_ERROR_ILLEGAL_STATE || rc == CUDA_SUCCESS);
    if (rc == CUDA_SUCCESS)
        SHOW(cuGraphDestroy, g);
    return rc;
}

/* What a capture can't have makes it invalid. */
static void forbidden(void)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUstreamCaptureStatus status;
    CUdeviceptr p = 0;
    CUstream blocking = NULL;
    SHOW(cuStreamBeginCapture_v2, NULL, CU_STREAM_CAPTURE_MODE_GLOBAL);
    end_bad("nothing was begun");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuStreamIsCapturing, s, &status);
    printf("%d\n", status);
    SHOW(cuMemsetD32Async, z, 0, N, s);
    end_bad("synchronized");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuStreamQuery, s);
    end_bad("queried");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemAlloc_v2, &p, 256);
    end_bad("allocated");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuThreadExchangeStreamCaptureMode, &mode);
    SHOW(cuMemAlloc_v2, &p, 256);
    SHOW(cuMemFree_v2, p);
    SHOW(cuThreadExchangeStreamCaptureMode, &mode);
    end_bad("allocated, relaxed");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuMemAlloc_v2, &p, 256);
    SHOW(cuMemFree_v2, p);
    end_bad("allocated in a relaxed one");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuCtxSynchronize);
    end_bad("context synchronized");
    SHOW(cuEventRecord, fork_event, t);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuStreamWaitEvent, s, fork_event, 0);
    end_bad("waited for what is outside");
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuMemsetD32Async, z, 0, N, s);
    SHOW(cuEventRecord, fork_event, s);
    SHOW(cuStreamWaitEvent, t, fork_event, 0);
    SHOW(cuMemsetD32Async, z, 0, N, t);
    end_bad("not joined");
    SHOW(cuStreamIsCapturing, t, &status);
    printf("%d\n", status);
    SHOW(cuStreamCreate, &blocking, 0);
    SHOW(cuStreamBeginCapture_v2, blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuStreamIsCapturing, NULL, &status);
    SHOW(cuStreamDestroy_v2, blocking);
    SHOW(cuStreamCreate, &blocking, 0);
    SHOW(cuStreamBeginCapture_v2, blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuMemsetD32_v2, z, 0, N);
    SHOW(cuMemsetD32Async, z, 0, N, NULL);
    SHOW(cuMemcpyHtoD_v2, z, result, 16);
    SHOW(cuStreamIsCapturing, blocking, &status);
    printf("%d\n", status);
    SHOW(cuStreamDestroy_v2, blocking);
    SHOW(cuMemsetD32_v2, z, 0, N);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuStreamBeginCapture_v2, t, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuEventRecord, fork_event, s);
    SHOW(cuStreamWaitEvent, t, fork_event, 0);
    end_bad("merged");
    CUgraph g;
    SHOW(cuStreamEndCapture, t, &g);
    SHOW(cuStreamAddCallback, s, NULL, NULL, 0);
}

static void *other_thread(void *data)
{
    CUdeviceptr p = 0;
    CUgraph g = NULL;
    SHOW(cuCtxSetCurrent, data);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuMemAlloc_v2, &p, 256);
    SHOW(cuMemFree_v2, p);
    return NULL;
}

static void other_threads(void)
{
    CUcontext context = NULL;
    CUgraph g = NULL;
    pthread_t thread;
    SHOW(cuCtxGetCurrent, &context);
    for (int mode = 0; mode < 3; mode++) {
        SHOW(cuStreamBeginCapture_v2, s, (CUstreamCaptureMode)mode);
        if (pthread_create(&thread, NULL, other_thread, context) == 0)
            pthread_join(thread, NULL);
        SHOW(cuStreamEndCapture, s, &g);
        if (g)
            SHOW(cuGraphDestroy, g);
    }
}

/* --- By hand ------------------------------------------------------------------------------ */

static CUDA_MEMCPY3D copy_of(CUdeviceptr dst, const void *src)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_HOST,
                           .srcHost = src,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstDevice = dst,
                           .WidthInBytes = BYTES,
                           .Height = 1,
                           .Depth = 1};
}

static void by_hand(void)
{
    CUgraph g = NULL, clone = NULL, got = NULL;
    CUgraphNode set, copy, kernel, host, empty, found, child, bad;
    CUgraphExec e = NULL;
    CUgraphNodeType type;
    unsigned n = N, enabled = 9;
    void *params[] = {&x, &y, &z, &n};
    CUDA_KERNEL_NODE_PARAMS k = {.func = vec_add,
                                 .gridDimX = (N + 255) / 256,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 256,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .kernelParams = params};
    CUDA_MEMSET_NODE_PARAMS ones = {
        .dst = x, .value = 0x3f800000, .elementSize = 4, .width = N, .height = 1};
    CUDA_MEMCPY3D in = copy_of(y, pageable);
    CUDA_HOST_NODE_PARAMS h = {.fn = double_pinned, .userData = pageable};
    SHOW(cuGraphCreate, &g, 1);
    SHOW(cuGraphCreate, &g, 0);
    SHOW(cuGraphAddMemsetNode, &set, g, NULL, 0, &ones, NULL);
    SHOW(cuGraphAddHostNode, &host, g, NULL, 0, &h);
    SHOW(cuGraphAddMemcpyNode, &copy, g, &host, 1, &in, NULL);
    CUgraphNode both[] = {set, copy};
    SHOW(cuGraphAddKernelNode_v2, &kernel, g, both, 2, &k);
    SHOW(cuGraphAddEmptyNode, &empty, g, &kernel, 1);
    SHOW(cuGraphAddKernelNode_v2, &bad, g, (CUgraphNode *)&g, 1, &k);
    CUgraphNode twice[] = {set, set};
    SHOW(cuGraphAddEmptyNode, &bad, g, twice, 2);
    k.blockDimX = 0;
    SHOW(cuGraphAddKernelNode_v2, &bad, g, both, 2, &k);
    k.blockDimX = 256;
    SHOW(cuGraphNodeGetType, kernel, &type);
    printf("%d\n", type);
    SHOW(cuGraphNodeGetType, (CUgraphNode)&type, &type);
    SHOW(cuGraphAddDependencies, g, &empty, &set, 1); /* a circle */
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphRemoveDependencies, g, &empty, &set, 1);
    SHOW(cuGraphRemoveDependencies, g, &empty, &set, 1);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    fill(pageable, 3);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("by hand", 7);
    /* The executable has its own. */
    ones.value = 0x40000000;
    SHOW(cuGraphMemsetNodeSetParams, set, &ones);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("node changed", 13);
    SHOW(cuGraphExecMemsetNodeSetParams, e, set, &ones, NULL);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("executable changed", 26);
    h.userData = pinned;
    SHOW(cuGraphExecHostNodeSetParams, e, host, &h);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("another function", 26);
    in = copy_of(y, pinned);
    SHOW(cuGraphExecMemcpyNodeSetParams, e, copy, &in, NULL);
    in = copy_of(y, result);
    fill(result, 5);
    SHOW(cuGraphExecMemcpyNodeSetParams, e, copy, &in, NULL);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("another source", 7);
    SHOW(cuGraphNodeSetEnabled, e, copy, 0);
    SHOW(cuGraphNodeGetEnabled, e, copy, &enabled);
    printf("%u\n", enabled);
    SHOW(cuGraphNodeSetEnabled, e, host, 0);
    fill(result, 50);
    SHOW(cuMemsetD32_v2, y, 0x41200000, N);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("copy switched off", 12);
    SHOW(cuGraphNodeSetEnabled, e, copy, 1);
    void *other[] = {&x, &x, &z, &n};
    k.kernelParams = other;
    SHOW(cuGraphExecKernelNodeSetParams_v2, e, kernel, &k);
    SHOW(cuGraphExecKernelNodeSetParams_v2, e, set, &k);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("another kernel's parameters", 4);
    SHOW(cuGraphClone, &clone, g);
    SHOW(cuGraphNodeFindInClone, &found, kernel, clone);
    SHOW(cuGraphNodeFindInClone, &bad, found, clone);
    SHOW(cuGraphKernelNodeGetParams_v2, found, &k);
    printf("%u %u %d\n", k.gridDimX, k.blockDimX, *(CUdeviceptr *)k.kernelParams[2] == z);
    SHOW(cuGraphDestroyNode, found);
    size_t count = 0;
    SHOW(cuGraphGetNodes, clone, NULL, &count);
    printf("%zu nodes\n", count);
    SHOW(cuGraphGetRootNodes, clone, NULL, &count);
    printf("%zu roots\n", count);
    CUgraphExecUpdateResultInfo info;
    SHOW(cuGraphExecUpdate_v2, e, clone, &info);
    printf("%d\n", info.result);
    SHOW(cuGraphExecUpdate_v2, e, g, &info);
    printf("%d\n", info.result);
    fill(pageable, 1);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("updated", 4);
    SHOW(cuGraphExecDestroy, e);
    /* As a part of another. */
    SHOW(cuGraphDestroy, clone);
    SHOW(cuGraphCreate, &clone, 0);
    SHOW(cuGraphAddMemsetNode, &set, clone, NULL, 0, &ones, NULL);
    SHOW(cuGraphAddChildGraphNode, &child, clone, &set, 1, g);
    ones.dst = z;
    SHOW(cuGraphAddMemsetNode, &set, clone, &child, 1, &ones, NULL);
    SHOW(cuGraphChildGraphNodeGetGraph, child, &got);
    SHOW(cuGraphGetNodes, got, NULL, &count);
    printf("%zu in the child\n", count);
    SHOW(cuGraphDestroy, got);
    SHOW(cuGraphInstantiateWithFlags, &e, clone, 0);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    check_z("behind its child", 2);
    show_device(y, BYTES);
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuGraphDestroy, clone);
    SHOW(cuGraphDestroy, g);
    SHOW(cuGraphNodeGetType, kernel, &type);
}

/* Rectangles of pageable memory; a launch into a stream that is captured. */
static void boxes(void)
{
    enum { W = 40, H = 30, PITCH = 64 };
    static uint8_t from[PITCH * H], to[PITCH * H];
    CUgraph g = NULL;
    CUgraphExec e = NULL, outer = NULL;
    CUDA_MEMCPY2D in = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = from,
                        .srcPitch = PITCH,
                        .srcXInBytes = 3,
                        .srcY = 1,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = x,
                        .dstPitch = 100,
                        .WidthInBytes = W,
                        .Height = H - 1};
    CUDA_MEMCPY2D out = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                         .srcDevice = x,
                         .srcPitch = 100,
                         .dstMemoryType = CU_MEMORYTYPE_HOST,
                         .dstHost = to,
                         .dstPitch = PITCH,
                         .dstXInBytes = 8,
                         .WidthInBytes = W,
                         .Height = H - 1};
    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemcpy2DAsync_v2, &in, s);
    SHOW(cuMemsetD2D8Async, x + 10, 100, 0x55, 4, 5, s);
    SHOW(cuMemcpy2DAsync_v2, &out, s);
    SHOW(cuMemcpyAsync, (CUdeviceptr)(uintptr_t)result, (CUdeviceptr)(uintptr_t)pageable, BYTES, s);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuGraphUpload, e, t);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphInstantiateWithFlags, &outer, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuGraphExecDestroy, e);
    fill(pageable, 77);
    memset(to, 1, sizeof(to));
    SHOW(cuGraphLaunch, outer, s);
    SHOW(cuStreamSynchronize, s);
    unsigned bad = 0;
    for (unsigned r = 0; r < H - 1; r++) {
        for (unsigned c = 0; c < W; c++) {
            bool set = r < 5 && c >= 10 && c < 14;
            bad += to[r * PITCH + 8 + c] != (set ? 0x55 : from[(r + 1) * PITCH + 3 + c]);
        }
    }
    check("rectangles", bad == 0 && to[7] == 1 && to[8 + W] == 1);
    check("from host to host", result[N - 1] == 77);
    SHOW(cuGraphExecDestroy, outer);
}

/* Memory that graphs allocate: the program's after a launch, until it is freed. */
static void memory(void)
{
    CUgraph g = NULL, clone = NULL;
    CUgraphExec e = NULL;
    CUdeviceptr inner = 0, outer = 0;
    uint64_t used = 99;
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemAllocAsync, &inner, BYTES, s);
    SHOW(cuMemAllocAsync, &outer, BYTES, s);
    SHOW(cuMemsetD32Async, inner, 0x3f800000, N, s);
    add(inner, inner, outer, s);
    SHOW(cuMemFreeAsync, inner, s);
    SHOW(cuMemFreeAsync, x, s);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphClone, &clone, g);
    SHOW(cuMemFree_v2, outer); /* it isn't allocated yet */
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuGraphLaunch, e, s); /* it still is */
    SHOW(cuStreamSynchronize, s);
    SHOW(cuMemcpyDtoD_v2, z, outer, BYTES);
    check_z("a graph's memory", 2);
    SHOW(cuDeviceGetGraphMemAttribute, 0, 0, &used);
    printf("%d\n", used == BYTES);
    SHOW(cuMemFreeAsync, outer, s);
    SHOW(cuMemFreeAsync, outer, s);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuMemcpyDtoD_v2, z, outer, BYTES); /* the program's, still */
    SHOW(cuMemFree_v2, outer);
    SHOW(cuMemFree_v2, outer);
    SHOW(cuDeviceGraphMemTrim, 0);
    SHOW(cuDeviceGetGraphMemAttribute, 0, 2, &used);
    check("nothing is kept", used == 0);
}

unsigned graphs(void)
{
    set_up();
    captured();
    forked();
    forbidden();
    other_threads();
    by_hand();
    boxes();
    memory();
    tear_down();
    return wrong + streams_more();
}
