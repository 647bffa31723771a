/* SPDX-License-Identifier: Apache-2.0 */
/* What calls do while there are captures: become nodes, or are refused. A call that a
 * capture can't have makes it invalid. */
#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture_state.h"

/* --- Calls that become nodes ------------------------------------------------------------ */

/* TAKE's parameters become a node, if STREAM is captured. */
#define RECORD(stream, take, ...)                                                                  \
    do {                                                                                           \
        struct graph_params p_;                                                                    \
        if (!capture_takes(stream, ret_rc))                                                        \
            return *ret_rc != CUDA_SUCCESS;                                                        \
        *ret_rc = take(&p_, __VA_ARGS__);                                                          \
        if (*ret_rc == CUDA_SUCCESS)                                                               \
            *ret_rc = capture_add(stream, &p_);                                                    \
        return true;                                                                               \
    } while (0)

bool capture_cuLaunchKernel(CUresult *ret_rc, CUfunction fn, unsigned gx, unsigned gy, unsigned gz,
                            unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,
                            void **params, void **extra)
{
    const CUDA_KERNEL_NODE_PARAMS k = {.func = fn,
                                       .gridDimX = gx,
                                       .gridDimY = gy,
                                       .gridDimZ = gz,
                                       .blockDimX = bx,
                                       .blockDimY = by,
                                       .blockDimZ = bz,
                                       .sharedMemBytes = shared,
                                       .kernelParams = params,
                                       .extra = extra};
    RECORD(stream, params_take_kernel, &k);
}

static bool is_event(CUlaunchAttributeID id)
{
    return id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT ||
           id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT;
}

/* Between nodes each waits for those before it to be done, whatever a launch would allow. */
static bool is_for_nodes(CUlaunchAttributeID id)
{
    return id != CU_LAUNCH_ATTRIBUTE_IGNORE && !is_event(id) &&
           id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
           id != CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY;
}

static CUresult take_launch(struct graph_params *ret_params, const CUlaunchConfig *c, CUfunction fn,
                            void **params, void **extra)
{
    const CUDA_KERNEL_NODE_PARAMS k = {.func = fn,
                                       .gridDimX = c->gridDimX,
                                       .gridDimY = c->gridDimY,
                                       .gridDimZ = c->gridDimZ,
                                       .blockDimX = c->blockDimX,
                                       .blockDimY = c->blockDimY,
                                       .blockDimZ = c->blockDimZ,
                                       .sharedMemBytes = c->sharedMemBytes,
                                       .kernelParams = params,
                                       .extra = extra};
    struct graph_params p;
    if (c->numAttrs && !c->attrs)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(params_take_kernel(&p, &k));
    CUresult rc = CUDA_SUCCESS;
    for (unsigned i = 0; i < c->numAttrs && rc == CUDA_SUCCESS; i++) {
        if (is_for_nodes(c->attrs[i].id))
            rc = params_set_attribute(&p.kernel, &c->attrs[i]);
    }
    if (rc == CUDA_SUCCESS)
        *ret_params = p;
    else
        params_free(&p);
    return rc;
}

bool capture_cuMemcpy3DAsync_v2(CUresult *ret_rc, const CUDA_MEMCPY3D *c, CUstream stream)
{
    if (c && (!c->WidthInBytes || !c->Height || !c->Depth)) {
        (void)capture_takes(stream, ret_rc);
        return *ret_rc != CUDA_SUCCESS; /* nothing: no node either */
    }
    RECORD(stream, params_take_copy, c);
}

bool capture_cuMemcpy2DAsync_v2(CUresult *ret_rc, const CUDA_MEMCPY2D *c, CUstream stream)
{
    if (!c)
        return false;
    const CUDA_MEMCPY3D box = {.srcXInBytes = c->srcXInBytes,
                               .srcY = c->srcY,
                               .srcMemoryType = c->srcMemoryType,
                               .srcHost = c->srcHost,
                               .srcDevice = c->srcDevice,
                               .srcArray = c->srcArray,
                               .srcPitch = c->srcPitch,
                               .dstXInBytes = c->dstXInBytes,
                               .dstY = c->dstY,
                               .dstMemoryType = c->dstMemoryType,
                               .dstHost = c->dstHost,
                               .dstDevice = c->dstDevice,
                               .dstArray = c->dstArray,
                               .dstPitch = c->dstPitch,
                               .WidthInBytes = c->WidthInBytes,
                               .Height = c->Height,
                               .Depth = 1};
    return capture_cuMemcpy3DAsync_v2(ret_rc, &box, stream);
}

static bool copy(CUresult *ret_rc, CUmemorytype to, uint64_t dst, CUmemorytype from, uint64_t src,
                 size_t bytes, CUstream stream)
{
    const CUDA_MEMCPY3D c = {.srcMemoryType = from,
                             .srcHost = (const void *)(uintptr_t)src,
                             .srcDevice = src,
                             .dstMemoryType = to,
                             .dstHost = (void *)(uintptr_t)dst,
                             .dstDevice = dst,
                             .WidthInBytes = bytes,
                             .Height = 1,
                             .Depth = 1};
    return capture_cuMemcpy3DAsync_v2(ret_rc, &c, stream);
}

bool capture_cuMemcpyAsync(CUresult *ret_rc, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                           CUstream stream)
{
    return copy(ret_rc, CU_MEMORYTYPE_UNIFIED, dst, CU_MEMORYTYPE_UNIFIED, src, bytes, stream);
}

bool capture_cuMemcpyHtoDAsync_v2(CUresult *ret_rc, CUdeviceptr dst, const void *src, size_t bytes,
                                  CUstream stream)
{
    return copy(ret_rc, CU_MEMORYTYPE_DEVICE, dst, CU_MEMORYTYPE_HOST, (uintptr_t)src, bytes,
                stream);
}

bool capture_cuMemcpyDtoHAsync_v2(CUresult *ret_rc, void *dst, CUdeviceptr src, size_t bytes,
                                  CUstream stream)
{
    return copy(ret_rc, CU_MEMORYTYPE_HOST, (uintptr_t)dst, CU_MEMORYTYPE_DEVICE, src, bytes,
                stream);
}

bool capture_cuMemcpyDtoDAsync_v2(CUresult *ret_rc, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                                  CUstream stream)
{
    return copy(ret_rc, CU_MEMORYTYPE_DEVICE, dst, CU_MEMORYTYPE_DEVICE, src, bytes, stream);
}

bool capture_fill(CUresult *ret_rc, CUdeviceptr dst, size_t pitch, unsigned value, unsigned unit,
                  size_t width, size_t height, CUstream stream)
{
    const CUDA_MEMSET_NODE_PARAMS f = {.dst = dst,
                                       .pitch = pitch,
                                       .value = value,
                                       .elementSize = unit,
                                       .width = width,
                                       .height = height};
    if (!width || !height) {
        (void)capture_takes(stream, ret_rc);
        return *ret_rc != CUDA_SUCCESS;
    }
    RECORD(stream, params_take_fill, &f);
}

bool capture_cuMemsetD8Async(CUresult *ret_rc, CUdeviceptr dst, unsigned char value, size_t n,
                             CUstream stream)
{
    return capture_fill(ret_rc, dst, 0, value, 1, n, 1, stream);
}

bool capture_cuMemsetD16Async(CUresult *ret_rc, CUdeviceptr dst, unsigned short value, size_t n,
                              CUstream stream)
{
    return capture_fill(ret_rc, dst, 0, value, 2, n, 1, stream);
}

bool capture_cuMemsetD32Async(CUresult *ret_rc, CUdeviceptr dst, unsigned value, size_t n,
                              CUstream stream)
{
    return capture_fill(ret_rc, dst, 0, value, 4, n, 1, stream);
}

bool capture_cuLaunchHostFunc(CUresult *ret_rc, CUstream stream, CUhostFn fn, void *data)
{
    const CUDA_HOST_NODE_PARAMS h = {.fn = fn, .userData = data};
    RECORD(stream, params_take_host, &h);
}

bool capture_cuStreamBatchMemOp_v2(CUresult *ret_rc, CUstream stream, unsigned count,
                                   CUstreamBatchMemOpParams *ops, unsigned flags)
{
    const CUDA_BATCH_MEM_OP_NODE_PARAMS o = {.count = count, .paramArray = ops, .flags = flags};
    RECORD(stream, params_take_ops, &o);
}

/* --- Events ---------------------------------------------------------------------------------- */

static CUresult record(const struct graph_stream *s, CUevent event)
{
    struct capture *c;
    const struct capture_stream *st = capture_find(s->key, &c);
    if (!st || c->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    return capture_mark_event(event, c, st);
}

bool capture_cuEventRecordWithFlags(CUresult *ret_rc, CUevent event, CUstream stream,
                                    unsigned flags)
{
    struct graph_stream s;
    if (flags > CU_EVENT_RECORD_EXTERNAL)
        return false;
    if (!capture_takes(stream, ret_rc)) {
        if (*ret_rc != CUDA_SUCCESS)
            return true;
        graph_lock();
        capture_drop_event(event);
        graph_unlock();
        return false;
    }
    if (flags)
        RECORD(stream, params_take_event, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
    *ret_rc = graph_event(event) ? graph_stream(stream, &s) : CUDA_ERROR_INVALID_HANDLE;
    graph_lock();
    if (*ret_rc == CUDA_SUCCESS)
        *ret_rc = record(&s, event);
    graph_unlock();
    return true;
}

bool capture_cuEventRecord(CUresult *ret_rc, CUevent event, CUstream stream)
{
    return capture_cuEventRecordWithFlags(ret_rc, event, stream, 0);
}

/* Events of the launch are recorded behind it. */
static CUresult record_launch_events(const CUlaunchConfig *c, CUresult rc)
{
    for (unsigned i = 0; i < c->numAttrs && rc == CUDA_SUCCESS; i++) {
        CUlaunchAttributeValue v;
        memcpy(&v, c->attrs[i].value, sizeof(v));
        if (is_event(c->attrs[i].id))
            (void)capture_cuEventRecord(&rc, v.programmaticEvent.event, c->hStream);
    }
    return rc;
}

static bool capture_launch(CUresult *ret_rc, const CUlaunchConfig *c, CUfunction fn, void **params,
                           void **extra)
{
    RECORD(c->hStream, take_launch, c, fn, params, extra);
}

bool capture_cuLaunchKernelEx(CUresult *ret_rc, const CUlaunchConfig *c, CUfunction fn,
                              void **params, void **extra)
{
    if (!c || (c->numAttrs && !c->attrs))
        return false;
    bool captured = capture_launch(ret_rc, c, fn, params, extra);
    /* Of a stream that isn't captured this forgets which capture had them. */
    CUresult rc = record_launch_events(c, *ret_rc);
    if (captured)
        *ret_rc = rc;
    return captured;
}

/* A captured stream is to wait for EVENT. */
static CUresult wait_inside(struct capture *c, struct capture_stream *st,
                            const struct capture_event *e)
{
    CUresult rc = CUDA_SUCCESS;
    if (c->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!e || !e->capture)
        rc = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    else if (e->capture != c)
        rc = CUDA_ERROR_STREAM_CAPTURE_MERGE;
    else
        return set_add_all(&st->deps, &e->deps);
    c->invalid = true;
    if (e && e->capture)
        e->capture->invalid = true;
    return rc;
}

/* A stream that isn't captured is to wait for an event that is: it joins. */
static CUresult wait_outside(const struct graph_stream *s, const struct capture_event *e)
{
    struct capture *c = e->capture;
    if (!c)
        return CUDA_ERROR_CAPTURED_EVENT;
    if (c->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (s->legacy) {
        c->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    struct capture_stream *st = capture_join(c, s);
    CUresult rc = st ? set_add_all(&st->deps, &e->deps) : CUDA_ERROR_OUT_OF_MEMORY;
    c->invalid = rc != CUDA_SUCCESS;
    return rc;
}

bool capture_cuStreamWaitEvent(CUresult *ret_rc, CUstream stream, CUevent event, unsigned flags)
{
    struct graph_stream s;
    struct capture *c;
    if (flags > CU_EVENT_WAIT_EXTERNAL || !graph_event(event) ||
        graph_stream(stream, &s) != CUDA_SUCCESS)
        return false;
    if (flags)
        RECORD(stream, params_take_event, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
    graph_lock();
    struct capture_stream *st = s.legacy ? NULL : capture_find(s.key, &c);
    const struct capture_event *e = capture_find_event(event);
    if (st)
        *ret_rc = wait_inside(c, st, e);
    else if (e)
        *ret_rc = wait_outside(&s, e);
    graph_unlock();
    if (!st && !e)
        (void)capture_takes(stream, ret_rc); /* the legacy stream? */
    return st || e || *ret_rc != CUDA_SUCCESS;
}

/* --- Calls that no capture can have ------------------------------------------------------------
 */

bool capture_legacy(CUresult *ret_rc)
{
    CUcontext current = NULL;
    if (cuCtxGetCurrent(&current) != CUDA_SUCCESS)
        return false;
    graph_lock();
    for (struct capture *c = captures; c; c = c->next) {
        for (const struct capture_stream *s = c->streams; s; s = s->next) {
            if (!s->stream.blocking || s->stream.context != current)
                continue;
            c->invalid = true;
            *ret_rc = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    }
    graph_unlock();
    return *ret_rc != CUDA_SUCCESS;
}

/* Does the calling thread's mode forbid it while C is going on? */
static bool forbids(const struct capture *c)
{
    bool own = c->thread == capture_thread();
    if (capture_thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return false;
    if (own)
        return c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    return capture_thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
           c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

bool capture_unsafe(CUresult *ret_rc)
{
    graph_lock();
    for (struct capture *c = captures; c; c = c->next) {
        if (!forbids(c))
            continue;
        c->invalid = true;
        *ret_rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    graph_unlock();
    return *ret_rc != CUDA_SUCCESS;
}

bool capture_stream(CUresult *ret_rc, CUstream stream)
{
    struct graph_stream s;
    struct capture *c;
    if (!capture_takes(stream, ret_rc))
        return *ret_rc != CUDA_SUCCESS;
    if (graph_stream(stream, &s) != CUDA_SUCCESS)
        return false;
    graph_lock();
    if (capture_find(s.key, &c))
        c->invalid = true;
    graph_unlock();
    *ret_rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return true;
}

bool capture_cuGraphUpload(CUresult *ret_rc, CUgraphExec exec, CUstream stream)
{
    (void)exec;
    return capture_stream(ret_rc, stream);
}

bool capture_cuStreamQuery(CUresult *ret_rc, CUstream stream)
{
    return capture_stream(ret_rc, stream) || capture_unsafe(ret_rc);
}

bool capture_cuStreamSynchronize(CUresult *ret_rc, CUstream stream)
{
    return capture_cuStreamQuery(ret_rc, stream);
}

static bool captured(CUresult *ret_rc, CUevent event)
{
    graph_lock();
    const struct capture_event *e = capture_find_event(event);
    if (e && e->capture)
        e->capture->invalid = true;
    if (e)
        *ret_rc = CUDA_ERROR_CAPTURED_EVENT;
    graph_unlock();
    return e != NULL;
}

bool capture_cuEventQuery(CUresult *ret_rc, CUevent event)
{
    return captured(ret_rc, event) || capture_unsafe(ret_rc);
}

bool capture_cuEventSynchronize(CUresult *ret_rc, CUevent event)
{
    return capture_cuEventQuery(ret_rc, event);
}

bool capture_cuEventElapsedTime(CUresult *ret_rc, float *ms, CUevent start, CUevent end)
{
    (void)ms;
    return captured(ret_rc, start) || captured(ret_rc, end);
}

bool capture_cuCtxSynchronize(CUresult *ret_rc)
{
    CUcontext current = NULL;
    if (cuCtxGetCurrent(&current) != CUDA_SUCCESS)
        return false;
    graph_lock();
    for (struct capture *c = captures; c; c = c->next) {
        for (const struct capture_stream *s = c->streams; s; s = s->next) {
            if (s->stream.context != current)
                continue;
            c->invalid = true;
            *ret_rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    graph_unlock();
    return *ret_rc != CUDA_SUCCESS;
}

/* --- What ends
 * ------------------------------------------------------------------------------------ */

/* A capture goes with the stream it began with. */
static void stream_ends(uint64_t key)
{
    struct capture *c;
    struct capture_stream *st = capture_find(key, &c);
    if (!st)
        return;
    if (c->origin == key) {
        capture_end(c);
        return;
    }
    c->invalid = true;
    struct capture_stream **at = &c->streams;
    while (*at != st)
        at = &(*at)->next;
    *at = st->next;
    set_clear(&st->deps);
    free(st);
}

bool capture_cuStreamDestroy_v2(CUresult *ret_rc, CUstream stream)
{
    struct graph_stream s;
    (void)ret_rc;
    if ((uintptr_t)stream <= 2 || graph_stream(stream, &s) != CUDA_SUCCESS)
        return false;
    graph_lock();
    stream_ends(s.key);
    graph_unlock();
    return false;
}

bool capture_cuEventDestroy_v2(CUresult *ret_rc, CUevent event)
{
    (void)ret_rc;
    graph_lock();
    capture_drop_event(event);
    graph_unlock();
    return false;
}

static const struct capture_stream *stream_in(const struct capture *c, CUcontext context)
{
    const struct capture_stream *s = c->streams;
    while (s && s->stream.context != context)
        s = s->next;
    return s;
}

bool capture_context_ends(CUresult *ret_rc, CUcontext context)
{
    (void)ret_rc;
    graph_lock();
    struct capture *next;
    for (struct capture *c = captures; c; c = next) {
        next = c->next;
        const struct capture_stream *s;
        while ((s = stream_in(c, context))) {
            bool first = s->stream.key == c->origin;
            stream_ends(s->stream.key);
            if (first)
                break; /* C is gone */
        }
    }
    capture_drop_events(context);
    graph_memory_context_gone(context);
    graph_unlock();
    return false;
}
