/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "idm/cuda_abi_share.h"
#include "idm/graph/capture.h"
#include "idm/pools.h"
#include "stream.h"

#define FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

static void event_free(struct object *o)
{
    struct CUevent_st *e = (struct CUevent_st *)o;
    event_forget(e);
    if (e->place.board)
        board_leave(&e->place);
    free(o);
}

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!event || (flags & ~(unsigned)FLAGS) ||
        ((flags & CU_EVENT_INTERPROCESS) && !(flags & CU_EVENT_DISABLE_TIMING)))
        return CUDA_ERROR_INVALID_VALUE;
    struct CUevent_st *e = object_new(OBJECT_EVENT, sizeof(*e), c, event_free);
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    e->flags = flags;
    object_publish(&e->o);
    *event = e;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CAPTURE_HOOK(cuEventRecord, event, stream);
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    TRY(e ? sim_any_stream(stream, c, &s) : CUDA_ERROR_INVALID_HANDLE);
    return e->o.context == s->o.context ? event_record(e, s) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventQuery(CUevent event)
{
    CAPTURE_HOOK(cuEventQuery, event);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    return e ? event_query(e) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventSynchronize(CUevent event)
{
    CAPTURE_HOOK(cuEventSynchronize, event);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    TRY(e ? event_wait(e) : CUDA_ERROR_INVALID_HANDLE);
    pools_synchronized();
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    CAPTURE_HOOK(cuEventElapsedTime, ms, start, end);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!ms)
        return CUDA_ERROR_INVALID_VALUE;
    PUT_LATER(CUevent_st) *from = object_find(OBJECT_EVENT, start);
    PUT_LATER(CUevent_st) *to = object_find(OBJECT_EVENT, end);
    if (!from || !to || from->o.context != to->o.context ||
        ((from->flags | to->flags) & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_HANDLE;
    return event_elapsed(from, to, ms);
}

CUresult cuEventDestroy_v2(CUevent event)
{
    CAPTURE_HOOK(cuEventDestroy_v2, event);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    return e && object_kill(&e->o) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags)
{
    CAPTURE_HOOK(cuEventRecordWithFlags, event, stream, flags);
    if (flags > CU_EVENT_RECORD_EXTERNAL) /* which is a capture's business */
        return CUDA_ERROR_INVALID_VALUE;
    return cuEventRecord(event, stream);
}

/* --- Between processes --------------------------------------------------------------- */

CUresult cuIpcGetEventHandle(CUipcEventHandle *handle, CUevent event)
{
    struct CUctx_st *c;
    struct board_place place;
    struct share_handle h;
    TRY(sim_context(&c));
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    if (!e || !(e->flags & CU_EVENT_INTERPROCESS) || e->opened)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!event_is_placed(e)) {
        TRY(board_take(&place));
        if (!event_place(e, &place))
            board_leave(&place); /* another thread was first */
    }
    board_handle(&e->place, &h);
    memcpy(handle, &h, sizeof(h));
    return CUDA_SUCCESS;
}

CUresult cuIpcOpenEventHandle(CUevent *event, CUipcEventHandle handle)
{
    struct CUctx_st *c;
    struct share_handle h;
    TRY(sim_context(&c));
    if (!event)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&h, &handle, sizeof(h));
    if (!share_handle_is(&h, MEMFILE_EVENTS))
        return CUDA_ERROR_INVALID_HANDLE;
    if (share_handle_is_own(&h))
        return CUDA_ERROR_INVALID_CONTEXT;
    PUT_LATER(CUevent_st) *e = object_new(OBJECT_EVENT, sizeof(*e), c, event_free);
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    e->flags = CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING;
    e->opened = true;
    TRY(board_open(&h, &e->place));
    if (!board_has(&e->place))
        return CUDA_ERROR_INVALID_HANDLE;
    object_hold(&e->o);
    object_publish(&e->o);
    *event = e;
    return CUDA_SUCCESS;
}
