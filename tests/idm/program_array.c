/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays, copies to, from and between them; copies in batches and between contexts. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

static uint64_t sum_of(const void *p, size_t bytes)
{
    const uint8_t *b = p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

static void show_bytes(const void *p, size_t bytes)
{
    printf("  host: %zu %016llx\n", bytes, (unsigned long long)sum_of(p, bytes));
}

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i * 131 + seed);
}

static void makes(void)
{
    CUarray a = NULL;
    CUDA_ARRAY3D_DESCRIPTOR d = {.Width = 10, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1}, got;
    CUDA_ARRAY_DESCRIPTOR plain = {0, 0, CU_AD_FORMAT_HALF, 2}, flat;
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {0};
    SHOW(cuArray3DCreate_v2, NULL, &d);
    SHOW(cuArray3DCreate_v2, &a, NULL);
    d.NumChannels = 3;
    SHOW(cuArray3DCreate_v2, &a, &d);
    d.NumChannels = 4;
    d.Format = (CUarray_format)0xb0;
    SHOW(cuArray3DCreate_v2, &a, &d);
    d.Format = CU_AD_FORMAT_SIGNED_INT16;
    d.Depth = 3;
    SHOW(cuArray3DCreate_v2, &a, &d);
    d.Flags = 0x40;
    SHOW(cuArray3DCreate_v2, &a, &d);
    d.Flags = CUDA_ARRAY3D_CUBEMAP;
    SHOW(cuArray3DCreate_v2, &a, &d);
    d.Flags = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST;
    SHOW(cuArray3DCreate_v2, &a, &d);
    SHOW(cuArray3DGetDescriptor_v2, &got, a);
    printf("%zu %zu %zu %d %u %u\n", got.Width, got.Height, got.Depth, got.Format, got.NumChannels,
           got.Flags);
    SHOW(cuArrayGetMemoryRequirements, &r, a, 0);
    SHOW(cuArrayGetMemoryRequirements, &r, a, 9);
    printf("%zu %zu\n", r.size, r.alignment);
    SHOW(cuArrayDestroy, a);
    SHOW(cuArrayDestroy, a);
    SHOW(cuArray3DGetDescriptor_v2, &got, a);
    SHOW(cuArrayCreate_v2, &a, &plain);
    plain.Width = 1u << 20;
    SHOW(cuArrayCreate_v2, &a, &plain);
    plain.Width = 7;
    plain.Height = 5;
    SHOW(cuArrayCreate_v2, &a, &plain);
    SHOW(cuArrayGetDescriptor_v2, &flat, a);
    printf("%zu %zu %d %u\n", flat.Width, flat.Height, flat.Format, flat.NumChannels);
    SHOW(cuArrayDestroy, a);
}

/* A run of bytes. */
static void runs(void)
{
    CUDA_ARRAY_DESCRIPTOR d = {1000, 0, CU_AD_FORMAT_UNSIGNED_INT16, 1};
    CUarray a = NULL, b = NULL;
    CUdeviceptr p = 0;
    uint8_t host[2000], back[2000];
    fill(host, sizeof(host), 1);
    memset(back, 0, sizeof(back));
    SHOW(cuArrayCreate_v2, &a, &d);
    SHOW(cuArrayCreate_v2, &b, &d);
    SHOW(cuMemAlloc_v2, &p, 2000);
    SHOW(cuMemcpyAtoH_v2, back, a, 0, 2000);
    show_bytes(back, sizeof(back)); /* empty at first */
    SHOW(cuMemcpyHtoA_v2, a, 10, host, 1000);
    SHOW(cuMemcpyHtoA_v2, a, 1010, host, 1000);
    SHOW(cuMemcpyHtoA_v2, a, 1, host, 10);
    SHOW(cuMemcpyHtoA_v2, (CUarray)&a, 0, host, 10);
    SHOW(cuMemcpyAtoA_v2, b, 100, a, 6, 500);
    SHOW(cuMemcpyAtoA_v2, b, 100, NULL, 6, 500);
    SHOW(cuMemsetD8_v2, p, 9, 2000);
    SHOW(cuMemcpyAtoD_v2, p + 50, b, 0, 1900);
    SHOW(cuMemcpyAtoD_v2, p + 50, b, 0, 2000);
    show_device(p, 2000);
    SHOW(cuMemcpyDtoA_v2, a, 0, p, 2000);
    SHOW(cuMemcpyHtoA_v2_ptds, a, 200, host, 100);
    SHOW(cuMemcpyHtoAAsync_v2, a, 400, host, 100, NULL);
    SHOW(cuMemcpyAtoHAsync_v2, back, a, 0, 2000, NULL);
    SHOW(cuCtxSynchronize);
    show_bytes(back, sizeof(back));
    SHOW(cuMemcpyAtoHAsync_v2_ptsz, back, b, 0, 2000, NULL);
    SHOW(cuCtxSynchronize);
    show_bytes(back, sizeof(back));
    SHOW(cuMemFree_v2, p);
    SHOW(cuArrayDestroy, a);
    SHOW(cuArrayDestroy, b);
}

/* Rows longer than any slot, and more of them than fit one. */
static void large(void)
{
    enum { W = 50000, H = 13 };
    CUDA_ARRAY_DESCRIPTOR d = {W, H, CU_AD_FORMAT_FLOAT, 1};
    size_t bytes = (size_t)W * 4 * H;
    uint8_t *host = malloc(bytes), *back = malloc(bytes);
    CUarray a = NULL;
    void *pinned = NULL;
    if (!host || !back)
        abort();
    fill(host, bytes, 3);
    memset(back, 0, bytes);
    CUDA_MEMCPY2D in = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = host,
                        .srcPitch = (size_t)W * 4,
                        .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                        .WidthInBytes = (size_t)W * 4,
                        .Height = H};
    CUDA_MEMCPY2D out = {.dstMemoryType = CU_MEMORYTYPE_HOST,
                         .dstHost = back,
                         .dstPitch = (size_t)W * 4,
                         .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                         .WidthInBytes = (size_t)W * 4,
                         .Height = H};
    SHOW(cuMemcpy2D_v2, &in);
    SHOW(cuArrayCreate_v2, &a, &d);
    in.dstArray = out.srcArray = a;
    SHOW(cuMemcpy2D_v2, &in);
    SHOW(cuMemcpy2D_v2, &out);
    show_bytes(back, bytes);
    in.Height = H + 1;
    SHOW(cuMemcpy2D_v2, &in);
    in.Height = H - 1;
    in.dstY = 1;
    in.dstXInBytes = 8;
    in.WidthInBytes -= 8;
    in.srcPitch -= 8;
    SHOW(cuMemcpy2D_v2, &in);
    SHOW(cuMemHostAlloc, &pinned, bytes, 0);
    out.dstHost = pinned;
    SHOW(cuMemcpy2DAsync_v2, &out, NULL);
    SHOW(cuCtxSynchronize);
    if (pinned)
        show_bytes(pinned, bytes);
    SHOW(cuMemFreeHost, pinned);
    SHOW(cuArrayDestroy, a);
    free(host);
    free(back);
}

static void boxes(void)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {8, 6, 5, CU_AD_FORMAT_UNSIGNED_INT8, 4, 0};
    uint8_t host[32 * 6 * 5], back[40 * 7 * 5];
    CUarray a = NULL, level = NULL, again = NULL;
    CUmipmappedArray m = NULL;
    CUDA_ARRAY3D_DESCRIPTOR got;
    CUDA_ARRAY_MEMORY_REQUIREMENTS r = {0};
    fill(host, sizeof(host), 7);
    memset(back, 0, sizeof(back));
    SHOW(cuArray3DCreate_v2, &a, &d);
    CUDA_MEMCPY3D in = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = host,
                        .srcPitch = 32,
                        .srcHeight = 6,
                        .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                        .dstArray = a,
                        .WidthInBytes = 32,
                        .Height = 6,
                        .Depth = 5};
    CUDA_MEMCPY3D out = {.dstMemoryType = CU_MEMORYTYPE_HOST,
                         .dstHost = back,
                         .dstPitch = 40,
                         .dstHeight = 7,
                         .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                         .srcArray = a,
                         .srcXInBytes = 4,
                         .srcY = 1,
                         .srcZ = 1,
                         .WidthInBytes = 24,
                         .Height = 5,
                         .Depth = 3};
    SHOW(cuMemcpy3D_v2, &in);
    SHOW(cuMemcpy3D_v2, &out);
    show_bytes(back, sizeof(back));
    in.dstZ = 1;
    SHOW(cuMemcpy3D_v2, &in);
    SHOW(cuArrayDestroy, a);
    SHOW(cuMipmappedArrayCreate, &m, &d, 5);
    SHOW(cuMipmappedArrayCreate, &m, &d, 0);
    SHOW(cuMipmappedArrayCreate, &m, &d, 4);
    SHOW(cuMipmappedArrayGetMemoryRequirements, &r, m, 0);
    printf("%zu\n", r.size);
    for (unsigned i = 0; i < 5; i++) {
        SHOW(cuMipmappedArrayGetLevel, &level, m, i);
        SHOW(cuMipmappedArrayGetLevel, &again, m, i);
        SHOW(cuArray3DGetDescriptor_v2, &got, level);
        printf("%d %zu %zu %zu\n", level == again, got.Width, got.Height, got.Depth);
    }
    SHOW(cuMemcpyHtoA_v2, level, 0, host, 4);
    SHOW(cuMemcpyAtoH_v2, back, level, 0, 4);
    show_bytes(back, 4);
    SHOW(cuArrayDestroy, level);
    SHOW(cuMipmappedArrayDestroy, m);
    SHOW(cuMipmappedArrayDestroy, m);
    SHOW(cuArray3DGetDescriptor_v2, &got, level);
}

static void batches(void)
{
    CUDA_ARRAY_DESCRIPTOR d = {8, 4, CU_AD_FORMAT_FLOAT, 1};
    CUmemcpyAttributes attr = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
    CUcontext ctx = NULL;
    CUdeviceptr p = 0, q = 0, managed = 0;
    CUstream s = NULL;
    CUarray a = NULL;
    uint8_t host[128], back[128];
    size_t first = 0, failed = 0;
    int value[4] = {7, 7, 7, 7};
    fill(host, sizeof(host), 11);
    memset(back, 0, sizeof(back));
    SHOW(cuCtxGetCurrent, &ctx);
    SHOW(cuStreamCreate, &s, 0);
    SHOW(cuMemAlloc_v2, &p, 128);
    SHOW(cuMemAlloc_v2, &q, 128);
    CUdeviceptr dsts[] = {p, q, (uintptr_t)back};
    CUdeviceptr srcs[] = {(uintptr_t)host, p, q};
    size_t sizes[] = {128, 100, 90};
    SHOW(cuMemcpyBatchAsync_v2, dsts, srcs, sizes, 3, &attr, &first, 1, s);
    SHOW(cuStreamSynchronize, s);
    show_bytes(back, sizeof(back));
    SHOW(cuMemcpyBatchAsync_v2, dsts, srcs, sizes, 3, &attr, &first, 1, NULL);
    SHOW(cuMemcpyBatchAsync_v2_ptsz, dsts, srcs, sizes, 3, &attr, &first, 1, NULL);
    SHOW(cuMemcpyBatchAsync_v2, dsts, srcs, sizes, 3, &attr, &first, 0, s);
    sizes[1] = 129;
    SHOW(cuMemcpyBatchAsync, dsts, srcs, sizes, 3, &attr, &first, 1, &failed, s);
    printf("%zu\n", failed);
    SHOW(cuArrayCreate_v2, &a, &d);
    CUDA_MEMCPY3D_BATCH_OP ops[2];
    memset(ops, 0, sizeof(ops));
    ops[0].src.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    ops[0].src.op.ptr.ptr = p;
    ops[0].dst.type = CU_MEMCPY_OPERAND_TYPE_ARRAY;
    ops[0].dst.op.array.array = a;
    ops[0].extent = (CUextent3D){8, 4, 1};
    ops[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
    ops[1].src.type = CU_MEMCPY_OPERAND_TYPE_ARRAY;
    ops[1].src.op.array.array = a;
    ops[1].src.op.array.offset = (CUoffset3D){1, 1, 0};
    ops[1].dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    ops[1].dst.op.ptr.ptr = (uintptr_t)back;
    ops[1].dst.op.ptr.rowLength = 8;
    ops[1].dst.op.ptr.layerHeight = 4;
    ops[1].extent = (CUextent3D){5, 3, 1};
    ops[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    SHOW(cuMemcpy3DBatchAsync_v2, 2, ops, 0, s);
    SHOW(cuStreamSynchronize, s);
    show_bytes(back, sizeof(back));
    ops[1].extent.width = 8;
    SHOW(cuMemcpy3DBatchAsync_v2, 2, ops, 0, s);
    SHOW(cuMemcpyPeer, q, ctx, p, ctx, 128);
    SHOW(cuMemcpyPeerAsync, q, ctx, p + 4, ctx, 100, s);
    SHOW(cuMemcpyPeer, q, ctx, p, NULL, 128);
    SHOW(cuMemcpyPeer, q, ctx, p, (CUcontext)&ctx, 128);
    CUDA_MEMCPY3D_PEER peer = {.srcMemoryType = CU_MEMORYTYPE_ARRAY,
                               .srcArray = a,
                               .srcContext = ctx,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = q,
                               .dstContext = ctx,
                               .dstPitch = 32,
                               .dstHeight = 4,
                               .WidthInBytes = 12,
                               .Height = 4,
                               .Depth = 1};
    SHOW(cuMemcpy3DPeer, &peer);
    show_device(q, 128);
    SHOW(cuMemAllocManaged, &managed, 10000, CU_MEM_ATTACH_GLOBAL);
    CUmemLocation here = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    size_t all = 10000;
    SHOW(cuMemPrefetchBatchAsync, &managed, &all, 1, &here, &first, 1, 0, s);
    SHOW(cuMemPrefetchBatchAsync, &p, &all, 1, &here, &first, 1, 0, s);
    SHOW(cuMemDiscardBatchAsync, &managed, &all, 1, 0, s);
    SHOW(cuMemRangeGetAttribute, value, 16, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, managed, all);
    SHOW(cuMemRangeGetAttribute, value, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, all);
    SHOW(cuMemRangeGetAttribute, value, 8, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, all);
    SHOW(cuMemRangeGetAttribute, value, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, p, 10);
    printf("%d %d %d\n", value[0], value[1], value[3]);
    SHOW(cuMemFree_v2, managed);
    SHOW(cuArrayDestroy, a);
    SHOW(cuMemFree_v2, p);
    SHOW(cuMemFree_v2, q);
    SHOW(cuStreamDestroy_v2, s);
}

/* out[i] = the texture at 0.75 i, along the diagonal; the surface's row 1 = its row 0 + 1. */
static const char look_ptx[] =
    ".version 7.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry look(.param .u64 t, .param .u64 s, .param .u64 out)\n{\n"
    "  .reg .b64 %rd<5>;\n  .reg .b32 %r<8>;\n  .reg .f32 %f<8>;\n"
    "  ld.param.u64 %rd1, [t];\n  ld.param.u64 %rd2, [s];\n  ld.param.u64 %rd3, [out];\n"
    "  mov.u32 %r1, %tid.x;\n  cvt.rn.f32.u32 %f1, %r1;\n  mul.f32 %f1, %f1, 0f3F400000;\n"
    "  tex.2d.v4.f32.f32 {%f2, %f3, %f4, %f5}, [%rd1, {%f1, %f1}];\n"
    "  mul.wide.u32 %rd4, %r1, 4;\n  add.s64 %rd4, %rd3, %rd4;\n  st.global.f32 [%rd4], %f2;\n"
    "  shl.b32 %r2, %r1, 2;\n  mov.u32 %r4, 0;\n  mov.u32 %r5, 1;\n"
    "  suld.b.2d.b32.clamp {%r3}, [%rd2, {%r2, %r4}];\n  add.u32 %r3, %r3, 1;\n"
    "  sust.b.2d.b32.zero [%rd2, {%r2, %r5}], {%r3};\n  ret;\n}\n";

static void textures(void)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {.Width = 8,
                                 .Height = 8,
                                 .Format = CU_AD_FORMAT_FLOAT,
                                 .NumChannels = 1,
                                 .Flags = CUDA_ARRAY3D_SURFACE_LDST};
    CUDA_RESOURCE_DESC r, got;
    CUDA_TEXTURE_DESC how, said;
    CUDA_RESOURCE_VIEW_DESC view;
    CUmodule module = NULL;
    CUfunction fn = NULL;
    CUarray a = NULL, b = NULL;
    CUtexObject t = 0;
    CUsurfObject s = 0;
    CUdeviceptr p = 0;
    float host[64];
    for (unsigned i = 0; i < 64; i++)
        host[i] = (float)i;
    memset(&r, 0, sizeof(r));
    memset(&how, 0, sizeof(how));
    memset(&view, 0, sizeof(view));
    how.addressMode[0] = how.addressMode[1] = CU_TR_ADDRESS_MODE_BORDER;
    how.filterMode = CU_TR_FILTER_MODE_LINEAR;
    SHOW(cuModuleLoadData, &module, look_ptx);
    SHOW(cuModuleGetFunction, &fn, module, "look");
    SHOW(cuMemAlloc_v2, &p, 256);
    SHOW(cuArray3DCreate_v2, &a, &d);
    SHOW(cuArray3DCreate_v2, &b, &d);
    SHOW(cuTexObjectCreate, &t, &r, &how, NULL);
    r.res.array.hArray = a;
    SHOW(cuTexObjectCreate, NULL, &r, &how, NULL);
    SHOW(cuTexObjectCreate, &t, &r, NULL, NULL);
    SHOW(cuTexObjectCreate, &t, &r, &how, NULL);
    r.res.array.hArray = b;
    SHOW(cuSurfObjectCreate, &s, &r);
    SHOW(cuTexObjectGetResourceDesc, &got, t);
    printf("%d %d\n", got.resType, got.res.array.hArray == a);
    SHOW(cuTexObjectGetTextureDesc, &said, t);
    printf("%d %d\n", said.addressMode[0], said.filterMode);
    SHOW(cuTexObjectGetResourceViewDesc, &view, t);
    SHOW(cuSurfObjectGetResourceDesc, &got, s);
    printf("%d\n", got.res.array.hArray == b);
    SHOW(cuSurfObjectGetResourceDesc, &got, t);
    CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = host,
                       .srcPitch = 32,
                       .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                       .dstArray = a,
                       .WidthInBytes = 32,
                       .Height = 8};
    SHOW(cuMemcpy2D_v2, &c);
    c.dstArray = b;
    SHOW(cuMemcpy2D_v2, &c);
    void *params[] = {&t, &s, &p};
    SHOW(cuMemsetD8_v2, p, 0, 256);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 16, 1, 1, 0, NULL, params, NULL);
    SHOW(cuMemcpyDtoH_v2, host, p, 64);
    for (unsigned i = 0; i < 16; i++)
        printf("%g ", (double)host[i]);
    printf("\n");
    c = (CUDA_MEMCPY2D){.dstMemoryType = CU_MEMORYTYPE_HOST,
                        .dstHost = host,
                        .dstPitch = 32,
                        .srcMemoryType = CU_MEMORYTYPE_ARRAY,
                        .srcArray = b,
                        .WidthInBytes = 32,
                        .Height = 8};
    SHOW(cuMemcpy2D_v2, &c);
    show_bytes(host, sizeof(host));
    r.resType = CU_RESOURCE_TYPE_LINEAR;
    r.res.linear.devPtr = p;
    r.res.linear.format = CU_AD_FORMAT_FLOAT;
    r.res.linear.numChannels = 1;
    r.res.linear.sizeInBytes = 1000;
    SHOW(cuTexObjectCreate, &t, &r, &how, NULL);
    SHOW(cuSurfObjectCreate, &s, &r);
    SHOW(cuTexObjectDestroy, t);
    SHOW(cuTexObjectDestroy, t);
    SHOW(cuSurfObjectDestroy, s);
    SHOW(cuArrayDestroy, a);
    SHOW(cuArrayDestroy, b);
    SHOW(cuMemFree_v2, p);
    SHOW(cuModuleUnload, module);
}

void arrays(void)
{
    makes();
    runs();
    large();
    boxes();
    batches();
    textures();
}
