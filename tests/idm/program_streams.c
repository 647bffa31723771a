/* SPDX-License-Identifier: Apache-2.0 */
/* Words of memory and events in streams and graphs, the program's objects in graphs,
 * attributes of streams and launches. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

enum { N = 5000, BYTES = N * 4 };

static CUmodule module;
static CUfunction vec_add;
static CUstream s, t;
static CUevent fork_event;
static CUdeviceptr x, y, z;
static unsigned wrong;

static void check(const char *what, bool good)
{
    wrong += show_good(what, good);
}

/* Are all N of Z what they should be? */
static void check_z(const char *what, float expected)
{
    static float result[N];
    unsigned bad = 0;
    memset(result, 0xee, sizeof(result));
    SHOW(cuMemcpyDtoH_v2, result, z, BYTES);
    for (unsigned i = 0; i < N; i++)
        bad += result[i] != expected;
    check(what, bad == 0);
}

static void set_up(void)
{
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuModuleGetFunction, &vec_add, module, "vec_add");
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamCreate, &t, CU_STREAM_NON_BLOCKING);
    SHOW(cuEventCreate, &fork_event, CU_EVENT_DISABLE_TIMING);
    SHOW(cuMemAlloc_v2, &x, BYTES);
    SHOW(cuMemAlloc_v2, &y, BYTES);
    SHOW(cuMemAlloc_v2, &z, BYTES);
}

static void tear_down(void)
{
    SHOW(cuMemFree_v2, x);
    SHOW(cuMemFree_v2, y);
    SHOW(cuMemFree_v2, z);
    SHOW(cuEventDestroy_v2, fork_event);
    SHOW(cuStreamDestroy_v2, s);
    SHOW(cuStreamDestroy_v2, t);
    SHOW(cuModuleUnload, module);
}

/* Events and words of memory in graphs and streams. */
static void signals(void)
{
    CUgraph g = NULL;
    CUgraphExec e = NULL;
    CUevent ev = NULL;
    uint32_t word = 0;
    CUstreamBatchMemOpParams ops[3] = {{.waitValue = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32,
                                                      .address = x,
                                                      .value64 = 7,
                                                      .flags = CU_STREAM_WAIT_VALUE_EQ}},
                                       {.memoryBarrier = {.operation = CU_STREAM_MEM_OP_BARRIER}},
                                       {.waitValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64,
                                                      .address = x + 8,
                                                      .value64 = 0x1122334455667788u}}};
    SHOW(cuMemsetD32_v2, x, 0, N);
    SHOW(cuStreamWriteValue32_v2, s, x + 1, 7, 0);
    SHOW(cuStreamWriteValue32_v2, s, 64, 7, 0);
    SHOW(cuStreamWriteValue32_v2, s, x, 7, 9);
    SHOW(cuStreamBatchMemOp_v2, s, 0, ops, 0);
    SHOW(cuStreamBatchMemOp_v2, s, 3, ops, 0);
    SHOW(cuStreamQuery, s);
    SHOW(cuStreamWriteValue32_v2, t, x, 7, 0);
    SHOW(cuStreamSynchronize, s);
    show_device(x, 32);
    SHOW(cuStreamWaitValue32_v2, s, x, 7, CU_STREAM_WAIT_VALUE_GEQ);
    SHOW(cuStreamWaitValue32_v2, s, x, 6, CU_STREAM_WAIT_VALUE_GEQ);
    SHOW(cuStreamWaitValue32_v2, s, x, 4, CU_STREAM_WAIT_VALUE_AND);
    SHOW(cuStreamWaitValue32_v2, s, x, 8, CU_STREAM_WAIT_VALUE_NOR);
    SHOW(cuStreamWaitValue64_v2, s, x + 8, 0x1122334455667788u, CU_STREAM_WAIT_VALUE_EQ);
    SHOW(cuStreamWriteValue64_ptsz, NULL, x + 16, 9, 0);
    SHOW(cuStreamSynchronize_ptsz, NULL);
    SHOW(cuStreamSynchronize, s);
    show_device(x, 32);
    SHOW(cuEventCreate, &ev, 0);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuStreamWriteValue32_v2, s, x, 99, 0);
    SHOW(cuEventRecordWithFlags, ev, s, CU_EVENT_RECORD_EXTERNAL);
    SHOW(cuStreamWaitEvent, s, fork_event, CU_EVENT_WAIT_EXTERNAL);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuEventRecord, fork_event, t);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuEventSynchronize, ev);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuMemcpyDtoH_v2, &word, x, 4);
    printf("%u\n", word);
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuEventDestroy_v2, ev);
}

static void destroyed(void *data)
{
    ++*(int *)data;
}

static void user_objects(void)
{
    CUuserObject o = NULL;
    CUgraph g = NULL, clone = NULL;
    CUgraphExec e = NULL;
    CUgraphNode node;
    static int gone;
    SHOW(cuUserObjectCreate, &o, &gone, destroyed, 2, 0);
    SHOW(cuUserObjectCreate, &o, &gone, destroyed, 2, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    SHOW(cuGraphCreate, &g, 0);
    SHOW(cuGraphAddEmptyNode, &node, g, NULL, 0);
    SHOW(cuGraphRetainUserObject, g, o, 3, CU_GRAPH_USER_OBJECT_MOVE);
    SHOW(cuGraphRetainUserObject, g, o, 1, CU_GRAPH_USER_OBJECT_MOVE);
    SHOW(cuUserObjectRelease, o, 2);
    SHOW(cuUserObjectRelease, o, 1);
    SHOW(cuGraphClone, &clone, g);
    SHOW(cuGraphDestroy, g);
    SHOW(cuGraphInstantiateWithFlags, &e, clone, 0);
    SHOW(cuGraphDestroy, clone);
    check("an executable keeps it", gone == 0);
    SHOW(cuGraphExecDestroy, e);
    check("nobody keeps it", gone == 1);
}

static void attributes(void)
{
    CUstreamAttrValue v = {.syncPolicy = 0};
    unsigned long long a = 0, b = 0;
    CUdevice dev = -1;
    SHOW(cuStreamGetAttribute, s, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v);
    printf("%d\n", v.syncPolicy);
    v.syncPolicy = 4;
    SHOW(cuStreamSetAttribute, s, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v);
    SHOW(cuStreamCopyAttributes, t, s);
    SHOW(cuStreamGetAttribute, t, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &v);
    printf("%d\n", v.syncPolicy);
    SHOW(cuStreamGetAttribute, t, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &v);
    SHOW(cuStreamGetId, s, &a);
    SHOW(cuStreamGetId, t, &b);
    check("each has its number", a != b);
    SHOW(cuStreamGetDevice, s, &dev);
    printf("%d\n", dev);
}

/* C's first attribute is to be an event of the launch. */
static void launch_events(CUlaunchConfig *c, void **params)
{
    CUevent timed = NULL, begun = NULL;
    CUstream other = NULL;
    CUgraph graph = NULL;
    CUlaunchAttributeValue v = {.pad = {0}};
    size_t nodes = 0, edges = 0;
    SHOW(cuEventCreate, &timed, 0);
    SHOW(cuEventCreate, &begun, CU_EVENT_DISABLE_TIMING);
    SHOW(cuStreamCreate, &other, CU_STREAM_NON_BLOCKING);
    for (int id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT;
         id <= CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT;
         id +=
         CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT - CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT) {
        c->attrs[0].id = (CUlaunchAttributeID)id;
        v.programmaticEvent.event = timed;
        memcpy(c->attrs[0].value, &v, sizeof(v));
        SHOW(cuLaunchKernelEx, c, vec_add, params, NULL);
        v.programmaticEvent.event = (CUevent)other;
        memcpy(c->attrs[0].value, &v, sizeof(v));
        SHOW(cuLaunchKernelEx, c, vec_add, params, NULL);
        v.programmaticEvent.event = begun;
        memcpy(c->attrs[0].value, &v, sizeof(v));
        SHOW(cuMemsetD32_v2, z, 0, N);
        SHOW(cuLaunchKernelEx, c, vec_add, params, NULL);
        SHOW(cuStreamWaitEvent, other, begun, 0);
        SHOW(cuStreamSynchronize, other);
        SHOW(cuEventQuery, begun);
        SHOW(cuStreamSynchronize, s);
        check_z("with an event", 3);
    }
    /* Captured, the event takes the other stream along. */
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_RELAXED);
    SHOW(cuLaunchKernelEx, c, vec_add, params, NULL);
    SHOW(cuStreamWaitEvent, other, begun, 0);
    SHOW(cuMemsetD32Async, x, 0x40400000, N, other);
    SHOW(cuEventRecord, begun, other);
    SHOW(cuStreamWaitEvent, s, begun, 0);
    SHOW(cuStreamEndCapture, s, &graph);
    SHOW(cuGraphGetNodes, graph, NULL, &nodes);
    SHOW(cuGraphGetEdges, graph, NULL, NULL, &edges);
    printf("%zu %zu\n", nodes, edges);
    SHOW(cuGraphDestroy, graph);
    SHOW(cuLaunchKernelEx, c, vec_add, params, NULL);
    SHOW(cuEventSynchronize, begun);
    SHOW(cuStreamDestroy_v2, other);
    SHOW(cuEventDestroy_v2, begun);
    SHOW(cuEventDestroy_v2, timed);
}

static void launches(void)
{
    unsigned n = N;
    int clusters = 9;
    void *params[] = {&x, &y, &z, &n};
    CUlaunchAttribute a[3] = {{.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION},
                              {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION}};
    const unsigned one[3] = {1, 1, 1}, two[3] = {2, 1, 1};
    CUlaunchConfig c = {.gridDimX = (N + 255) / 256,
                        .gridDimY = 1,
                        .gridDimZ = 1,
                        .blockDimX = 256,
                        .blockDimY = 1,
                        .blockDimZ = 1,
                        .hStream = s,
                        .attrs = a,
                        .numAttrs = 2};
    memset(a[0].value, 1, 1);
    memcpy(a[1].value, one, sizeof(one));
    SHOW(cuMemsetD32_v2, x, 0x3f800000, N);
    SHOW(cuMemsetD32_v2, y, 0x3f800000, N);
    SHOW(cuLaunchKernelEx, &c, vec_add, params, NULL);
    SHOW(cuStreamSynchronize, s);
    check_z("with attributes", 2);
    memcpy(a[1].value, two, sizeof(two));
    SHOW(cuLaunchKernelEx, &c, vec_add, params, NULL);
    SHOW(cuStreamSynchronize, s);
    SHOW(cuOccupancyMaxActiveClusters, &clusters, vec_add, &c);
    SHOW(cuOccupancyMaxPotentialClusterSize, &clusters, vec_add, &c);
    SHOW(cuMemsetD32_v2, y, 0x40000000, N);
    SHOW(cuLaunchCooperativeKernel, vec_add, (N + 255) / 256, 1, 1, 256, 1, 1, 0, s, params);
    SHOW(cuStreamSynchronize, s);
    check_z("cooperative", 3);
    SHOW(cuLaunchCooperativeKernel, vec_add, 100000, 1, 1, 256, 1, 1, 0, s, params);
    a[1].id = CU_LAUNCH_ATTRIBUTE_IGNORE;
    launch_events(&c, params);
}

unsigned streams_more(void)
{
    set_up();
    signals();
    user_objects();
    attributes();
    launches();
    tear_down();
    return wrong;
}
