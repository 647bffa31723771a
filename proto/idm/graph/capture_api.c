/* SPDX-License-Identifier: Apache-2.0 */
/* Captures begun, looked at, ended. */
#include <stddef.h>

#include "idm/graph/capture_state.h"

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* --- Begin and end ------------------------------------------------------------------- */

static CUresult good_deps(const struct CUgraph_st *g, const CUgraphNode *deps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!graph_lives(GRAPH_NODE, deps[i]) || deps[i]->graph != g)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* With the lock. GRAPH NULL: a new one. */
static CUresult begin(const struct graph_stream *s, CUstreamCaptureMode mode, CUgraph graph,
                      const CUgraphNode *deps, size_t n)
{
    struct capture *c;
    if (capture_find(s->key, &c))
        return CUDA_ERROR_ILLEGAL_STATE;
    GRAPH_TRY(good_deps(graph, deps, n));
    c = capture_begin(s, mode, graph);
    if (!c)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        CUresult rc = set_add(&c->streams->deps, deps[i]);
        if (rc != CUDA_SUCCESS) {
            capture_end(c);
            return rc;
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    struct graph_stream s;
    GRAPH_TRY(graph_enter(true));
    if ((int)mode < 0 || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(graph_stream(stream, &s));
    if (s.legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    graph_lock();
    CUresult rc = begin(&s, mode, NULL, NULL, 0);
    graph_unlock();
    return rc;
}

CUresult cuStreamBeginCapture(CUstream stream)
{
    return cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *deps,
                                     const CUgraphEdgeData *edges, size_t n,
                                     CUstreamCaptureMode mode)
{
    struct graph_stream s;
    GRAPH_TRY(graph_enter(true));
    if ((int)mode < 0 || mode > CU_STREAM_CAPTURE_MODE_RELAXED || (n && !deps))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; edges && i < n; i++) {
        if (edges[i].from_port || edges[i].to_port || edges[i].type)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    GRAPH_TRY(graph_stream(stream, &s));
    if (s.legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    graph_lock();
    CUresult rc = graph_lives(GRAPH_GRAPH, graph) ? begin(&s, mode, graph, deps, n)
                                                  : CUDA_ERROR_INVALID_VALUE;
    graph_unlock();
    return rc;
}

/* With the lock. */
static CUresult end(struct capture *c, CUgraph *graph)
{
    bool joined = false;
    CUresult rc = CUDA_SUCCESS;
    if (c->invalid)
        rc = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!capture_is_joined(c, &joined))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    else if (!joined)
        rc = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    *graph = rc == CUDA_SUCCESS ? c->graph : NULL;
    if (rc == CUDA_SUCCESS)
        c->owns_graph = false; /* the program's now */
    capture_end(c);
    return rc;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    struct graph_stream s;
    struct capture *c;
    GRAPH_TRY(graph_enter(true));
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(graph_stream(stream, &s));
    graph_lock();
    CUresult rc = CUDA_ERROR_ILLEGAL_STATE;
    if (capture_find(s.key, &c)) {
        if (c->origin != s.key) {
            c->invalid = true;
            rc = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
        } else if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->thread != capture_thread()) {
            rc = CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
        } else {
            rc = end(c, graph);
        }
    }
    graph_unlock();
    return rc;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    if (!mode || (int)*mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = capture_thread_mode;
    capture_thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

/* --- Looked at ---------------------------------------------------------------------------- */

static void tell(struct capture_stream *st, const struct capture *c, CUstreamCaptureStatus *status,
                 uint64_t *id, CUgraph *graph, const CUgraphNode **deps,
                 const CUgraphEdgeData **edges, size_t *n)
{
    *status = !c           ? CU_STREAM_CAPTURE_STATUS_NONE
              : c->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                           : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return;
    if (id)
        *id = c->id;
    if (graph)
        *graph = c->graph;
    if (deps)
        *deps = st->deps.nodes;
    if (edges)
        *edges = st->deps.edges;
    if (n)
        *n = st->deps.n;
}

CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id,
                                   CUgraph *graph, const CUgraphNode **deps,
                                   const CUgraphEdgeData **edges, size_t *n)
{
    struct graph_stream s;
    struct capture *c = NULL;
    CUresult rc = CUDA_SUCCESS;
    GRAPH_TRY(graph_enter(true));
    if (!status)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(graph_stream(stream, &s));
    if (s.legacy && capture_on() && capture_legacy(&rc))
        return rc;
    graph_lock();
    struct capture_stream *st = s.legacy ? NULL : capture_find(s.key, &c);
    tell(st, c, status, id, graph, deps, edges, n);
    graph_unlock();
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id,
                                   CUgraph *graph, const CUgraphNode **deps, size_t *n)
{
    return cuStreamGetCaptureInfo_v3(stream, status, id, graph, deps, NULL, n);
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id)
{
    return cuStreamGetCaptureInfo_v3(stream, status, id, NULL, NULL, NULL, NULL);
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    return cuStreamGetCaptureInfo_v3(stream, status, NULL, NULL, NULL, NULL, NULL);
}

static CUresult update(struct capture_stream *st, const struct capture *c, const CUgraphNode *deps,
                       size_t n, unsigned flags)
{
    if (c->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    GRAPH_TRY(good_deps(c->graph, deps, n));
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
        st->deps.n = 0;
    for (size_t i = 0; i < n; i++)
        GRAPH_TRY(set_add(&st->deps, deps[i]));
    return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream stream, CUgraphNode *deps,
                                              const CUgraphEdgeData *edges, size_t n,
                                              unsigned int flags)
{
    struct graph_stream s;
    struct capture *c;
    GRAPH_TRY(graph_enter(true));
    if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (n && !deps))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; edges && i < n; i++) {
        if (edges[i].from_port || edges[i].to_port || edges[i].type)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    GRAPH_TRY(graph_stream(stream, &s));
    graph_lock();
    struct capture_stream *st = capture_find(s.key, &c);
    CUresult rc = st ? update(st, c, deps, n, flags) : CUDA_ERROR_ILLEGAL_STATE;
    graph_unlock();
    return rc;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode *deps, size_t n,
                                           unsigned int flags)
{
    return cuStreamUpdateCaptureDependencies_v2(stream, deps, NULL, n, flags);
}

/* --- For a thread's own default stream -------------------------------------------------------- */

CUresult cuStreamBeginCapture_ptsz(CUstream stream)
{
    return cuStreamBeginCapture(own(stream));
}

CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode)
{
    return cuStreamBeginCapture_v2(own(stream), mode);
}

CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode *deps,
                                          const CUgraphEdgeData *edges, size_t n,
                                          CUstreamCaptureMode mode)
{
    return cuStreamBeginCaptureToGraph(own(stream), graph, deps, edges, n, mode);
}

CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph)
{
    return cuStreamEndCapture(own(stream), graph);
}

CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status)
{
    return cuStreamIsCapturing(own(stream), status);
}

CUresult cuStreamGetCaptureInfo_ptsz(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id)
{
    return cuStreamGetCaptureInfo(own(stream), status, id);
}

CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream stream, CUstreamCaptureStatus *status,
                                        uint64_t *id, CUgraph *graph, const CUgraphNode **deps,
                                        size_t *n)
{
    return cuStreamGetCaptureInfo_v2(own(stream), status, id, graph, deps, n);
}

CUresult cuStreamGetCaptureInfo_v3_ptsz(CUstream stream, CUstreamCaptureStatus *status,
                                        uint64_t *id, CUgraph *graph, const CUgraphNode **deps,
                                        const CUgraphEdgeData **edges, size_t *n)
{
    return cuStreamGetCaptureInfo_v3(own(stream), status, id, graph, deps, edges, n);
}

CUresult cuStreamUpdateCaptureDependencies_ptsz(CUstream stream, CUgraphNode *deps, size_t n,
                                                unsigned int flags)
{
    return cuStreamUpdateCaptureDependencies(own(stream), deps, n, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2_ptsz(CUstream stream, CUgraphNode *deps,
                                                   const CUgraphEdgeData *edges, size_t n,
                                                   unsigned int flags)
{
    return cuStreamUpdateCaptureDependencies_v2(own(stream), deps, edges, n, flags);
}
