/* SPDX-License-Identifier: Apache-2.0 */
#include "idm/graph/capture.h"
#include "idm/pools.h"
#include "stream.h"

#define GREATEST_PRIORITY (-5)

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!stream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        return CUDA_ERROR_INVALID_VALUE;
    if (priority > 0)
        priority = 0;
    if (priority < GREATEST_PRIORITY)
        priority = GREATEST_PRIORITY;
    struct CUstream_st *s = stream_new(c, flags, priority);
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_publish(&s->o);
    *stream = s;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
    return cuStreamCreateWithPriority(stream, flags, 0);
}

/* What it was given is still done. */
CUresult cuStreamDestroy_v2(CUstream stream)
{
    CAPTURE_HOOK(cuStreamDestroy_v2, stream);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUstream_st) *s = object_find(OBJECT_STREAM, stream);
    return s && object_kill(&s->o) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamQuery(CUstream stream)
{
    CAPTURE_HOOK(cuStreamQuery, stream);
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    TRY(sim_any_stream(stream, c, &s));
    return stream_query(s);
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CAPTURE_HOOK(cuStreamSynchronize, stream);
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    TRY(sim_any_stream(stream, c, &s));
    TRY(stream_wait(s));
    pools_synchronized();
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
    CAPTURE_HOOK(cuStreamWaitEvent, stream, event, flags);
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (flags > CU_EVENT_WAIT_EXTERNAL) /* which is a capture's business */
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_any_stream(stream, c, &s));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    return e ? event_wait_in(e, s) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_any_stream(stream, c, &s));
    *flags = s->flags;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream stream, int *priority)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!priority)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_any_stream(stream, c, &s));
    *priority = s->priority;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext *ctx)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_any_stream(stream, c, &s));
    *ctx = context_handle(s->o.context);
    return CUDA_SUCCESS;
}
