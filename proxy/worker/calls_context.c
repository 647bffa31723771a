/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts. The client's threads each have a current one; the worker has one
 * thread, so a message says when it changes (select_context). */
#include "internal.h"

void worker_restore_context(struct worker *w)
{
    w->cu.cuCtxSetCurrent(w->driver_context);
}

static void set_context(struct worker *w, uint64_t id, CUcontext driver)
{
    w->context = id;
    w->driver_context = driver;
    worker_restore_context(w);
}

CUresult worker_select_context(struct worker *w, const struct idm_select_context_in *in,
                               struct idm_select_context_out *out)
{
    void *driver;
    CUresult rc = worker_find(w, IDM_KIND_context, in->w.context, true, &driver);
    /* Never leave the calls that follow to a context they don't mean. */
    if (rc != CUDA_SUCCESS)
        set_context(w, 0, NULL);
    else
        set_context(w, in->w.context, driver);
    return rc;
}

/* What a context takes of the device itself was reserved before; it is O's now or given back. */
static void settle(struct worker *w, struct worker_object *o, CUresult rc)
{
    if (rc == CUDA_SUCCESS)
        o->charged = w->config->context_memory;
    else
        page_release(w->config->page, w->config->slot, w->config->context_memory);
}

static void born(struct worker *w, struct worker_object *o, uint64_t id, CUcontext driver,
                 CUresult rc, uint32_t value)
{
    worker_born(w, o, id, driver, rc);
    settle(w, o, rc);
    if (o->id == id) {
        o->context = id;
        o->value = value;
    }
}

CUresult worker_cuCtxCreate_v2(struct worker *w, const struct idm_cuCtxCreate_v2_in *in,
                               struct idm_cuCtxCreate_v2_out *out)
{
    struct worker_object *o;
    CUcontext driver = NULL;
    CUcontext popped;
    w->want_reply = true; /* there is no context to fail later in */
    WORKER_TRY(worker_expect(w, IDM_KIND_context, in->w.ctx, &o));
    WORKER_TRY(charge_reserve(w, w->config->context_memory));
    CUresult rc = w->cu.cuCtxCreate_v2(&driver, in->w.flags, in->w.dev);
    if (rc == CUDA_SUCCESS)
        w->cu.cuCtxPopCurrent_v2(&popped);
    worker_restore_context(w);
    born(w, o, in->w.ctx, driver, rc, 0);
    return rc;
}

/* DEV's primary context, ended, whose handle is ID for whenever it is retained again. */
static struct worker_object *asleep(struct worker *w, uint64_t id, int dev)
{
    uint32_t index = idm_handle_index(id);
    struct worker_object *o = index < w->objects.max ? &w->objects.places[index] : NULL;
    return o && id && o->id == id && idm_handle_kind(id) == IDM_KIND_context &&
                   o->failed == CUDA_ERROR_CONTEXT_IS_DESTROYED && o->value == 1 + (uint32_t)dev
               ? o
               : NULL;
}

CUresult worker_cuDevicePrimaryCtxRetain(struct worker *w,
                                         const struct idm_cuDevicePrimaryCtxRetain_in *in,
                                         struct idm_cuDevicePrimaryCtxRetain_out *out)
{
    struct worker_object *o;
    CUcontext driver = NULL;
    w->want_reply = true;
    if (in->w.dev < 0 || in->w.dev >= w->n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    o = asleep(w, in->w.ctx, in->w.dev);
    if (!o)
        WORKER_TRY(worker_expect(w, IDM_KIND_context, in->w.ctx, &o));
    WORKER_TRY(charge_reserve(w, w->config->context_memory));
    CUresult rc = w->cu.cuDevicePrimaryCtxRetain(&driver, in->w.dev);
    if (o->id) {
        settle(w, o, rc);
        o->driver = driver;
        o->failed = rc == CUDA_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
        return rc;
    }
    born(w, o, in->w.ctx, driver, rc, 1 + (uint32_t)in->w.dev);
    return rc;
}

/* Everything that lived in the context ID, after the driver has ended it. */
static void forget_content(struct worker *w, uint64_t id)
{
    worker_waits_context_gone(w, id);
    worker_orphans_gone(w, id);
    worker_ranges_gone(w, id);
    if (w->context == id)
        set_context(w, 0, NULL);
}

static CUresult end_context(struct worker *w, struct worker_object *o)
{
    uint64_t id = o->id;
    CUresult rc;
    worker_graphs_end(w, id);
    worker_end_links(w, id);
    if (!o->value) {
        rc = w->cu.cuCtxDestroy_v2(o->driver);
        forget_content(w, id);
        worker_gone(w, id);
    } else {
        /* The reset frees what is in it even if somebody else retained it. */
        int dev = (int)o->value - 1;
        rc = w->cu.cuDevicePrimaryCtxReset_v2(dev);
        w->cu.cuDevicePrimaryCtxRelease_v2(dev);
        forget_content(w, id);
        page_release(w->config->page, w->config->slot, o->charged);
        o->charged = 0;
        o->driver = NULL;
        o->scrubber = NULL;
        o->graveyard = NULL;
        o->failed = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return rc;
}

CUresult worker_cuCtxDestroy_v2(struct worker *w, const struct idm_cuCtxDestroy_v2_in *in,
                                struct idm_cuCtxDestroy_v2_out *out)
{
    struct worker_object *o;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, in->w.ctx, &o));
    if (o->value)
        return CUDA_ERROR_INVALID_CONTEXT; /* a primary one is released */
    return end_context(w, o);
}

CUresult worker_cuDevicePrimaryCtxRelease_v2(struct worker *w,
                                             const struct idm_cuDevicePrimaryCtxRelease_v2_in *in,
                                             struct idm_cuDevicePrimaryCtxRelease_v2_out *out)
{
    struct worker_object *o;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, in->w.ctx, &o));
    if (o->value != 1 + (uint32_t)in->w.dev)
        return CUDA_ERROR_INVALID_CONTEXT;
    return end_context(w, o);
}

CUresult worker_cuDevicePrimaryCtxReset_v2(struct worker *w,
                                           const struct idm_cuDevicePrimaryCtxReset_v2_in *in,
                                           struct idm_cuDevicePrimaryCtxReset_v2_out *out)
{
    struct worker_object *o;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, in->w.ctx, &o));
    if (o->value != 1 + (uint32_t)in->w.dev)
        return CUDA_ERROR_INVALID_CONTEXT;
    return end_context(w, o);
}

CUresult worker_cuCtxSynchronize(struct worker *w, const struct idm_cuCtxSynchronize_in *in,
                                 struct idm_cuCtxSynchronize_out *out)
{
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    return worker_wait_context(w);
}

CUresult worker_cuStreamSynchronize(struct worker *w, const struct idm_cuStreamSynchronize_in *in,
                                    struct idm_cuStreamSynchronize_out *out)
{
    CUstream stream;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    return worker_wait_stream(w, stream);
}

CUresult worker_cuEventSynchronize(struct worker *w, const struct idm_cuEventSynchronize_in *in,
                                   struct idm_cuEventSynchronize_out *out)
{
    void *event;
    WORKER_TRY(worker_find(w, IDM_KIND_event, in->w.event, false, &event));
    return worker_wait_event(w, event);
}

void worker_end_contexts(struct worker *w)
{
    for (uint32_t i = 0; i < w->objects.max && w->objects.used; i++) {
        struct worker_object *o = &w->objects.places[i];
        if (o->id && o->failed == CUDA_SUCCESS && idm_handle_kind(o->id) == IDM_KIND_context)
            end_context(w, o);
    }
}

/* ---- streams ---- */

CUresult worker_cuStreamDestroy_v2(struct worker *w, const struct idm_cuStreamDestroy_v2_in *in,
                                   struct idm_cuStreamDestroy_v2_out *out)
{
    void *stream;
    struct worker_object *o;
    (void)out;
    WORKER_TRY(worker_find_last(w, IDM_KIND_stream, in->w.stream, &stream));
    WORKER_TRY(worker_find_object(w, IDM_KIND_stream, in->w.stream, &o));
    CUresult later = worker_wait_later(w, o->context, stream);
    CUresult rc = w->cu.cuStreamDestroy_v2(stream);
    worker_gone(w, in->w.stream);
    return rc != CUDA_SUCCESS ? rc : later;
}
