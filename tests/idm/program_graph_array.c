/* SPDX-License-Identifier: Apache-2.0 */
/* Copies to and from arrays as nodes of graphs. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "program.h"

enum { W = 16, H = 8, D = 3 }; /* floats, rows, planes */

static float from[D][H][W], to[D][H][W];

static bool same(const float *a, const float *b, unsigned n)
{
    bool good = true;
    for (unsigned i = 0; i < n; i++)
        good = good && a[i] == b[i];
    return good;
}

/* All of an array; the other side without gaps. */
static CUDA_MEMCPY3D whole(CUarray dst, CUarray src)
{
    return (CUDA_MEMCPY3D){.dstMemoryType = CU_MEMORYTYPE_ARRAY,
                           .dstArray = dst,
                           .dstPitch = W * 4,
                           .dstHeight = H,
                           .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                           .srcArray = src,
                           .srcPitch = W * 4,
                           .srcHeight = H,
                           .WidthInBytes = W * 4,
                           .Height = H,
                           .Depth = D};
}

static void refused(CUgraph g, CUarray a, CUcontext context)
{
    CUgraphNode node = NULL;
    CUDA_MEMCPY3D c = whole(a, a);
    c.dstXInBytes = 4;
    SHOW(cuGraphAddMemcpyNode, &node, g, NULL, 0, &c, context);
    c = whole(a, a);
    c.srcZ = 1;
    SHOW(cuGraphAddMemcpyNode, &node, g, NULL, 0, &c, context);
    c.srcZ = 0;
    c.WidthInBytes = 6; /* half an element */
    SHOW(cuGraphAddMemcpyNode, &node, g, NULL, 0, &c, context);
    c = whole(a, NULL);
    SHOW(cuGraphAddMemcpyNode, &node, g, NULL, 0, &c, context);
}

/* The program's memory, an array, a part of it in another one, pinned memory; and by way of the
 * device's. */
static unsigned by_hand(CUarray a, CUarray b, CUcontext context, float *pinned, CUdeviceptr d)
{
    CUgraph g = NULL;
    CUgraphExec e = NULL;
    CUgraphNode node[4] = {NULL};
    CUDA_MEMCPY3D in = whole(a, NULL), part = whole(b, a), out = whole(NULL, b), got;
    in.srcMemoryType = CU_MEMORYTYPE_HOST;
    in.srcHost = from;
    part.dstXInBytes = 8;
    part.dstY = 1;
    part.srcZ = 1;
    part.WidthInBytes = (W - 2) * 4;
    part.Height = H - 1;
    part.Depth = D - 1;
    out.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    out.dstDevice = d;
    SHOW(cuGraphCreate, &g, 0);
    refused(g, a, context);
    SHOW(cuGraphAddMemcpyNode, &node[0], g, NULL, 0, &in, context);
    SHOW(cuGraphAddMemcpyNode, &node[1], g, &node[0], 1, &part, context);
    SHOW(cuGraphAddMemcpyNode, &node[2], g, &node[1], 1, &out, context);
    out.dstMemoryType = CU_MEMORYTYPE_HOST;
    out.dstHost = pinned;
    SHOW(cuGraphAddMemcpyNode, &node[3], g, &node[1], 1, &out, context);
    SHOW(cuGraphMemcpyNodeGetParams, node[1], &got);
    printf("%d %zu %zu %zu\n", got.dstArray == b, got.dstXInBytes, got.srcZ, got.Depth);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    for (unsigned round = 1; round <= 2; round++) {
        for (unsigned i = 0; i < W * H * D; i++)
            (&from[0][0][0])[i] = (float)(i * round);
        memset(pinned, 0, sizeof(from));
        SHOW(cuGraphLaunch, e, NULL);
        SHOW(cuStreamSynchronize, NULL);
    }
    unsigned bad = 0;
    for (unsigned z = 0; z < D - 1; z++) {
        for (unsigned y = 1; y < H; y++)
            bad += !same(&pinned[(z * H + y) * W + 2], from[z + 1][y - 1], W - 2);
    }
    show_device(d, sizeof(from));
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuGraphDestroy, g);
    return show_good("arrays by hand", bad == 0 && pinned[0] == 0);
}

static unsigned captured(CUarray a, CUarray b)
{
    CUgraph g = NULL;
    CUgraphExec e = NULL;
    CUstream s = NULL;
    CUDA_MEMCPY2D in = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = from[0],
                        .srcPitch = W * 4,
                        .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                        .dstArray = a,
                        .dstY = 2,
                        .WidthInBytes = W * 4,
                        .Height = H - 2};
    CUDA_MEMCPY3D over = whole(b, a), out = whole(NULL, b);
    out.dstMemoryType = CU_MEMORYTYPE_HOST;
    out.dstHost = to;
    SHOW(cuStreamCreate, &s, CU_STREAM_NON_BLOCKING);
    SHOW(cuStreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SHOW(cuMemcpy2DAsync_v2, &in, s);
    SHOW(cuMemcpy3DAsync_v2, &over, s);
    SHOW(cuMemcpy3DAsync_v2, &out, s);
    SHOW(cuStreamEndCapture, s, &g);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphLaunch, e, s);
    SHOW(cuStreamSynchronize, s);
    bool good = same(to[0][2], from[0][0], (H - 2) * W) && same(to[1][0], from[1][0], H * W);
    /* An array that is gone is no array of a graph to be made. */
    SHOW(cuArrayDestroy, b);
    SHOW(cuGraphExecDestroy, e);
    SHOW(cuGraphInstantiateWithFlags, &e, g, 0);
    SHOW(cuGraphDestroy, g);
    SHOW(cuStreamDestroy_v2, s);
    return show_good("arrays captured", good);
}

unsigned graphs_of_arrays(CUcontext context)
{
    CUarray a = NULL, b = NULL;
    float *pinned = NULL;
    CUdeviceptr d = 0;
    const CUDA_ARRAY3D_DESCRIPTOR box = {
        .Width = W, .Height = H, .Depth = D, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
    SHOW(cuArray3DCreate_v2, &a, &box);
    SHOW(cuArray3DCreate_v2, &b, &box);
    SHOW(cuMemHostAlloc, (void **)&pinned, sizeof(from), 0);
    SHOW(cuMemAlloc_v2, &d, sizeof(from));
    /* All zeros first: what is in a new array is not said. */
    memset(from, 0, sizeof(from));
    CUDA_MEMCPY3D in = whole(b, NULL);
    in.srcMemoryType = CU_MEMORYTYPE_HOST;
    in.srcHost = from;
    SHOW(cuMemcpy3D_v2, &in);
    unsigned wrong = by_hand(a, b, context, pinned, d);
    wrong += captured(a, b);
    SHOW(cuArrayDestroy, a);
    SHOW(cuMemFreeHost, pinned);
    SHOW(cuMemFree_v2, d);
    return wrong;
}
