/* SPDX-License-Identifier: Apache-2.0 */
/* What is known about streams here; the rest of their calls is generated. */
#include "client_calls.h"
#include "handles.h"
#include "idm/graph/capture.h"

static bool good_flags(unsigned flags)
{
    return (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) == 0;
}

VG_EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
    struct idm_cuStreamCreate_in in = {.w = {.flags = flags}};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!stream || !good_flags(flags))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_new(IDM_KIND_stream, &in.w.stream));
    vg_describe(in.w.stream, 0, flags, NULL);
    CUresult rc = vg_queue_cuStreamCreate(&in);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.stream);
    else
        *stream = vg_pointer(in.w.stream);
    return rc;
}

VG_EXPORT CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
    struct idm_cuStreamCreateWithPriority_in in = {.w = {.flags = flags, .priority = priority}};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!stream || !good_flags(flags))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_new(IDM_KIND_stream, &in.w.stream));
    vg_describe(in.w.stream, 0, flags, NULL);
    CUresult rc = vg_queue_cuStreamCreateWithPriority(&in);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.stream);
    else
        *stream = vg_pointer(in.w.stream);
    return rc;
}

/* Events between processes have no timing, as CUDA asks for. */
static bool good_event_flags(unsigned flags)
{
    const unsigned all =
        CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | (unsigned)CU_EVENT_INTERPROCESS;
    return !(flags & ~all) &&
           (!(flags & CU_EVENT_INTERPROCESS) || (flags & CU_EVENT_DISABLE_TIMING));
}

VG_EXPORT CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    struct idm_cuEventCreate_in in = {.w = {.flags = flags}};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!event || !good_event_flags(flags))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_new(IDM_KIND_event, &in.w.event));
    CUresult rc = vg_queue_cuEventCreate(&in);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.event);
    else
        *event = vg_pointer(in.w.event);
    return rc;
}

VG_EXPORT CUresult cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &id));
    const struct vg_object *o = vg_find(IDM_KIND_stream, id);
    *flags = o ? o->value : CU_STREAM_DEFAULT;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuStreamGetCtx(CUstream stream, CUcontext *ctx)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &id));
    const struct vg_object *o = vg_find(IDM_KIND_stream, id);
    *ctx = vg_pointer(o ? o->context : vg_current());
    return CUDA_SUCCESS;
}

/* What is done with an event of several processes is done when the call returns: the program may
 * say so to another process at once, and that one's worker must not be ahead of ours. */
static bool is_shared(uint64_t event)
{
    const struct vg_object *o = vg_find(IDM_KIND_event, event);
    return o && o->value == VG_SHARED;
}

VG_EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
    struct idm_cuStreamWaitEvent_in in = {.w = {.flags = flags}};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuStreamWaitEvent, stream, event, flags);
    if (flags > CU_EVENT_WAIT_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    VG_TRY(vg_use(IDM_KIND_event, event, false, &in.w.event));
    struct idm_cuStreamWaitEvent_out out;
    struct vg_answer answer;
    return is_shared(in.w.event) ? vg_ask_cuStreamWaitEvent(&in, &out, &answer)
                                 : vg_queue_cuStreamWaitEvent(&in);
}

VG_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    struct idm_cuEventRecord_in in;
    struct idm_cuEventRecord_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuEventRecord, event, stream);
    VG_TRY(vg_use(IDM_KIND_event, event, false, &in.w.event));
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    return is_shared(in.w.event) ? vg_ask_cuEventRecord(&in, &out, &answer)
                                 : vg_queue_cuEventRecord(&in);
}

VG_EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags)
{
    struct idm_cuEventRecordWithFlags_in in = {.w = {.flags = flags}};
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuEventRecordWithFlags, event, stream, flags);
    if (flags > CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_event, event, false, &in.w.event));
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    struct idm_cuEventRecordWithFlags_out out;
    struct vg_answer answer;
    return is_shared(in.w.event) ? vg_ask_cuEventRecordWithFlags(&in, &out, &answer)
                                 : vg_queue_cuEventRecordWithFlags(&in);
}
