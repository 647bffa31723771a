/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures: what streams are given becomes nodes instead. Calls that a capture
 * concerns begin with a hook; while there is no capture, and no event that was
 * last recorded in one, that is one load.
 */
#ifndef GI_GRAPH_CAPTURE_H
#define GI_GRAPH_CAPTURE_H

#include <stdatomic.h>

#include "idm/graph/graph.h"

/* Captures there are, events that were last recorded in one, memory that is graphs' own. */
extern atomic_uint capture_things;

static inline bool capture_on(void)
{
    return atomic_load_explicit(&capture_things, memory_order_acquire) != 0;
}

/* capture_CALL returns true: then that was the call. */
#define CAPTURE_HOOK(call, ...)                                                                    \
    do {                                                                                           \
        CUresult hooked_ = CUDA_SUCCESS;                                                           \
        if (capture_on() && capture_##call(&hooked_, ##__VA_ARGS__))                               \
            return hooked_;                                                                        \
    } while (0)

/* A call that works in the legacy stream. */
#define CAPTURE_HOOK_LEGACY() CAPTURE_HOOK(legacy)
/* A call that may have to wait for what streams do. */
#define CAPTURE_HOOK_UNSAFE() CAPTURE_HOOK(unsafe)

bool capture_legacy(CUresult *ret_rc);
bool capture_unsafe(CUresult *ret_rc);

bool capture_cuLaunchKernel(CUresult *ret_rc, CUfunction fn, unsigned gx, unsigned gy, unsigned gz,
                            unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,
                            void **params, void **extra);
bool capture_cuLaunchKernelEx(CUresult *ret_rc, const CUlaunchConfig *c, CUfunction fn,
                              void **params, void **extra);
bool capture_cuMemcpyAsync(CUresult *ret_rc, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                           CUstream stream);
bool capture_cuMemcpyHtoDAsync_v2(CUresult *ret_rc, CUdeviceptr dst, const void *src, size_t bytes,
                                  CUstream stream);
bool capture_cuMemcpyDtoHAsync_v2(CUresult *ret_rc, void *dst, CUdeviceptr src, size_t bytes,
                                  CUstream stream);
bool capture_cuMemcpyDtoDAsync_v2(CUresult *ret_rc, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                                  CUstream stream);
bool capture_cuMemcpy3DAsync_v2(CUresult *ret_rc, const CUDA_MEMCPY3D *c, CUstream stream);
bool capture_cuMemcpy2DAsync_v2(CUresult *ret_rc, const CUDA_MEMCPY2D *c, CUstream stream);
bool capture_fill(CUresult *ret_rc, CUdeviceptr dst, size_t pitch, unsigned value, unsigned unit,
                  size_t width, size_t height, CUstream stream);
bool capture_cuMemsetD8Async(CUresult *ret_rc, CUdeviceptr dst, unsigned char value, size_t n,
                             CUstream stream);
bool capture_cuMemsetD16Async(CUresult *ret_rc, CUdeviceptr dst, unsigned short value, size_t n,
                              CUstream stream);
bool capture_cuMemsetD32Async(CUresult *ret_rc, CUdeviceptr dst, unsigned value, size_t n,
                              CUstream stream);
bool capture_cuLaunchHostFunc(CUresult *ret_rc, CUstream stream, CUhostFn fn, void *data);
bool capture_cuStreamBatchMemOp_v2(CUresult *ret_rc, CUstream stream, unsigned count,
                                   CUstreamBatchMemOpParams *ops, unsigned flags);
bool capture_cuEventRecord(CUresult *ret_rc, CUevent event, CUstream stream);
bool capture_cuEventRecordWithFlags(CUresult *ret_rc, CUevent event, CUstream stream,
                                    unsigned flags);
bool capture_cuStreamWaitEvent(CUresult *ret_rc, CUstream stream, CUevent event, unsigned flags);
bool capture_cuMemAllocAsync(CUresult *ret_rc, CUdeviceptr *ptr, size_t bytes, CUstream stream);
bool capture_cuMemFreeAsync(CUresult *ret_rc, CUdeviceptr ptr, CUstream stream);
/* May be a graph's. */
bool capture_cuMemFree_v2(CUresult *ret_rc, CUdeviceptr ptr);
bool capture_cuGraphLaunch(CUresult *ret_rc, CUgraphExec exec, CUstream stream);
/* Not while STREAM is captured. */
bool capture_stream(CUresult *ret_rc, CUstream stream);
bool capture_cuGraphUpload(CUresult *ret_rc, CUgraphExec exec, CUstream stream);
bool capture_cuStreamQuery(CUresult *ret_rc, CUstream stream);
bool capture_cuStreamSynchronize(CUresult *ret_rc, CUstream stream);
bool capture_cuEventQuery(CUresult *ret_rc, CUevent event);
bool capture_cuEventSynchronize(CUresult *ret_rc, CUevent event);
bool capture_cuEventElapsedTime(CUresult *ret_rc, float *ms, CUevent start, CUevent end);
bool capture_cuCtxSynchronize(CUresult *ret_rc);
/* Never true: what ends is forgotten. */
bool capture_cuStreamDestroy_v2(CUresult *ret_rc, CUstream stream);
bool capture_cuEventDestroy_v2(CUresult *ret_rc, CUevent event);
bool capture_context_ends(CUresult *ret_rc, CUcontext context);

/* --- capture.c, for the hooks ---------------------------------------------------------- */

/* Without graph_lock. True: STREAM is captured. False with an error: it is the legacy stream,
 * for which a captured one would have to wait. */
bool capture_takes(CUstream stream, CUresult *ret_rc);
/* Without graph_lock: a node behind what STREAM, which is captured, has so far. Takes P over. */
CUresult capture_add(CUstream stream, struct graph_params *p);

/* With graph_lock. */
void capture_graph_gone(const struct CUgraph_st *g);
void capture_node_gone(const struct CUgraphNode_st *node);
/* In a fork's child: nobody holds the lock, nothing is captured. */
void graph_forked(void);

#endif
