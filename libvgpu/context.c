/* SPDX-License-Identifier: Apache-2.0 */
#include "context.h"

#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "idm/export_tables.h"
#include "idm/graph/capture.h"
#include "idm/pools.h"
#include "memory.h"

/* Programs push one or two. */
#define MAX_DEPTH 64

/* What a thread has pushed belongs to one channel: after a fork, or a new
 * cuInit in its child, the stack is empty without anybody emptying it. */
static __thread struct {
    uint64_t epoch;
    uint32_t depth;
    uint64_t ids[MAX_DEPTH];
} stack;

static uint32_t depth(void)
{
    if (stack.epoch != vg.epoch) {
        stack.epoch = vg.epoch;
        stack.depth = 0;
    }
    return stack.depth;
}

uint64_t vg_current(void)
{
    uint32_t n = depth();
    return n ? stack.ids[n - 1] : 0;
}

void context_forget_thread(void)
{
    stack.depth = 0;
}

static CUresult push(uint64_t id)
{
    uint32_t n = depth();
    if (n == MAX_DEPTH)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stack.ids[n] = id;
    stack.depth = n + 1;
    return CUDA_SUCCESS;
}

CUresult context_check_current(void)
{
    uint64_t id = vg_current();
    if (!id)
        return CUDA_ERROR_INVALID_CONTEXT;
    const struct vg_object *o = vg_find(IDM_KIND_context, id);
    return o && !o->asleep ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

int context_device(void)
{
    const struct vg_object *o = vg_find(IDM_KIND_context, vg_current());
    return o ? (int)o->value : -1;
}

/* A primary context may be made current before it is retained: CUDA's runtime does. */
static CUresult may_be_current(CUcontext ctx, uint64_t *ret_id)
{
    *ret_id = (uint64_t)(uintptr_t)ctx;
    return vg_find(IDM_KIND_context, *ret_id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

VG_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(may_be_current(ctx, &id));
    return push(id);
}

VG_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *ctx)
{
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    uint64_t id = vg_current();
    if (!id)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack.depth--;
    if (ctx)
        *ctx = vg_pointer(id);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuCtxSetCurrent(CUcontext ctx)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (ctx)
        VG_TRY(may_be_current(ctx, &id));
    if (depth())
        stack.depth--;
    return ctx ? push(id) : CUDA_SUCCESS;
}

VG_EXPORT CUresult cuCtxGetCurrent(CUcontext *ctx)
{
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    *ctx = vg_pointer(vg_current());
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuCtxGetDevice(CUdevice *dev)
{
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!dev)
        return CUDA_ERROR_INVALID_VALUE;
    *dev = context_device();
    return CUDA_SUCCESS;
}

static CUresult check_device(CUdevice dev)
{
    return dev >= 0 && dev < vg.n_devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

VG_EXPORT CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev)
{
    struct idm_cuCtxCreate_v2_in in = {.w = {.flags = flags, .dev = dev}};
    struct idm_cuCtxCreate_v2_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(check_device(dev));
    if (depth() == MAX_DEPTH)
        return CUDA_ERROR_OUT_OF_MEMORY;
    VG_TRY(vg_new(IDM_KIND_context, &in.w.ctx));
    vg_describe(in.w.ctx, 0, (uint32_t)dev, NULL);
    CUresult rc = vg_ask_cuCtxCreate_v2(&in, &out, &answer);
    if (rc == CUDA_SUCCESS)
        rc = push(in.w.ctx);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.ctx);
    else
        *ctx = vg_pointer(in.w.ctx);
    return rc;
}

/* The worker has ended it: so has all that was in it. */
static void forget_content(uint64_t id)
{
    CUresult none;
    if (capture_on())
        (void)capture_context_ends(&none, vg_pointer(id));
    vg_forget_orphans(id);
    memory_orphans_gone(id);
}

static bool is_primary(uint64_t id)
{
    bool found = false;
    pthread_mutex_lock(&vg.contexts);
    for (int i = 0; i < vg.n_devices; i++)
        found = found || (vg.primary[i].id && vg.primary[i].id == id);
    pthread_mutex_unlock(&vg.contexts);
    return found;
}

VG_EXPORT CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    struct idm_cuCtxDestroy_v2_in in;
    struct idm_cuCtxDestroy_v2_out out;
    struct vg_answer answer;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(vg_use(IDM_KIND_context, ctx, false, &in.w.ctx));
    if (is_primary(in.w.ctx))
        return CUDA_ERROR_INVALID_CONTEXT;
    export_context_ends(ctx);
    pools_context_ends(ctx);
    CUresult rc = vg_ask_cuCtxDestroy_v2(&in, &out, &answer);
    forget_content(in.w.ctx);
    vg_forget(in.w.ctx);
    pools_context_ended();
    if (vg_current() == in.w.ctx)
        stack.depth--;
    return rc;
}

/* --- Primary contexts: counted here, one retain in the worker. ------------ */

/* With the lock held. One handle for good, whether the context lives or not. */
static CUresult handle_of(CUdevice dev, uint64_t *ret_id)
{
    struct vg_primary *p = &vg.primary[dev];
    if (!p->id) {
        VG_TRY(vg_new(IDM_KIND_context, &p->id));
        vg_describe(p->id, 0, (uint32_t)dev, NULL);
        vg_sleep(p->id, true);
    }
    *ret_id = p->id;
    return CUDA_SUCCESS;
}

static CUresult first_retain(CUdevice dev)
{
    struct idm_cuDevicePrimaryCtxRetain_in in = {.w = {.dev = dev}};
    struct idm_cuDevicePrimaryCtxRetain_out out;
    struct vg_answer answer;
    VG_TRY(handle_of(dev, &in.w.ctx));
    VG_TRY(vg_ask_cuDevicePrimaryCtxRetain(&in, &out, &answer));
    vg_sleep(in.w.ctx, false);
    return CUDA_SUCCESS;
}

/* The worker has ended it, and has no context selected if it was this one. */
static void put_to_sleep(uint64_t id)
{
    vg_sleep(id, true);
    forget_content(id);
    pthread_mutex_lock(&vg.lock);
    if (vg.selected == id)
        vg.selected = 0;
    pthread_mutex_unlock(&vg.lock);
}

CUresult export_primary_context(CUcontext *ctx, CUdevice dev)
{
    uint64_t id = 0;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(check_device(dev));
    pthread_mutex_lock(&vg.contexts);
    CUresult rc = handle_of(dev, &id);
    pthread_mutex_unlock(&vg.contexts);
    if (rc == CUDA_SUCCESS)
        *ctx = vg_pointer(id);
    return rc;
}

VG_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
    CUresult rc = CUDA_SUCCESS;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(check_device(dev));
    pthread_mutex_lock(&vg.contexts);
    struct vg_primary *p = &vg.primary[dev];
    if (p->count == 0)
        rc = first_retain(dev);
    if (rc == CUDA_SUCCESS) {
        p->count++;
        *ctx = vg_pointer(p->id);
    }
    pthread_mutex_unlock(&vg.contexts);
    return rc;
}

static CUresult last_release(CUdevice dev, uint64_t id)
{
    const struct idm_cuDevicePrimaryCtxRelease_v2_in in = {.w = {.ctx = id, .dev = dev}};
    struct idm_cuDevicePrimaryCtxRelease_v2_out out;
    struct vg_answer answer;
    CUresult rc = vg_ask_cuDevicePrimaryCtxRelease_v2(&in, &out, &answer);
    put_to_sleep(id);
    return rc;
}

/* Whoever keeps something with DEV's primary context hears of its end before it, without
 * the lock, if no more than COUNT retain it. */
static void announce_end(CUdevice dev, uint32_t count)
{
    pthread_mutex_lock(&vg.contexts);
    const struct vg_primary *p = &vg.primary[dev];
    uint64_t id = p->count && p->count <= count ? p->id : 0;
    pthread_mutex_unlock(&vg.contexts);
    if (!id)
        return;
    export_context_ends(vg_pointer(id));
    pools_context_ends(vg_pointer(id));
}

VG_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    CUresult rc = CUDA_SUCCESS;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(check_device(dev));
    announce_end(dev, 1);
    pthread_mutex_lock(&vg.contexts);
    struct vg_primary *p = &vg.primary[dev];
    if (p->count == 0) {
        rc = CUDA_ERROR_INVALID_CONTEXT;
    } else if (--p->count == 0) {
        rc = last_release(dev, p->id);
    }
    pthread_mutex_unlock(&vg.contexts);
    pools_context_ended();
    return rc;
}

VG_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    CUresult rc = CUDA_SUCCESS;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(check_device(dev));
    announce_end(dev, UINT32_MAX);
    pthread_mutex_lock(&vg.contexts);
    struct vg_primary *p = &vg.primary[dev];
    if (p->count) {
        const struct idm_cuDevicePrimaryCtxReset_v2_in in = {.w = {.ctx = p->id, .dev = dev}};
        struct idm_cuDevicePrimaryCtxReset_v2_out out;
        struct vg_answer answer;
        rc = vg_ask_cuDevicePrimaryCtxReset_v2(&in, &out, &answer);
        p->count = 0;
        put_to_sleep(p->id);
    }
    pthread_mutex_unlock(&vg.contexts);
    pools_context_ended();
    return rc;
}
