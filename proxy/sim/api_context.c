/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts, each device's primary one among them. */
#include <pthread.h>
#include <stdlib.h>

#include "idm/export_tables.h"
#include "idm/graph/capture.h"
#include "idm/pools.h"
#include "mem.h"
#include "share.h"
#include "stream.h"

#define API_VERSION       3020
#define GREATEST_PRIORITY (-5)

static struct {
    pthread_mutex_t lock;
    struct {
        struct CUctx_st *context; /* the table's reference */
        unsigned retained, flags;
    } of[SIM_MAX_DEVICES];
} primary = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A primary context's handle stays the same through all its lives: its place in the table. */
CUcontext context_handle(const struct CUctx_st *c)
{
    return c->primary ? (CUcontext)&primary.of[c->device] : (CUcontext)c;
}

struct CUctx_st *context_life(int device)
{
    pthread_mutex_lock(&primary.lock);
    struct CUctx_st *c = primary.of[device].context;
    if (c)
        object_hold(&c->o);
    pthread_mutex_unlock(&primary.lock);
    return c;
}

/* The device whose primary context has HANDLE; -1: none. */
static int primary_device(CUcontext handle)
{
    for (int i = 0; i < (int)sim.devices; i++) {
        if (handle == (CUcontext)&primary.of[i])
            return i;
    }
    return -1;
}

struct CUctx_st *context_find(CUcontext handle)
{
    int device = primary_device(handle);
    if (device >= 0)
        return context_life(device);
    struct CUctx_st *c = object_find(OBJECT_CONTEXT, handle);
    if (c && c->primary) { /* no program has that address from us */
        object_put(&c->o);
        c = NULL;
    }
    return c;
}

static void context_free(struct object *o)
{
    free(o);
}

CUresult context_new(int device, unsigned flags, bool is_primary, struct CUctx_st **ret_context)
{
    struct CUctx_st *c = object_new(OBJECT_CONTEXT, sizeof(*c), NULL, context_free);
    if (!c)
        return CUDA_ERROR_OUT_OF_MEMORY;
    static atomic_ullong last_id;
    c->id = ++last_id;
    c->device = device;
    c->flags = flags;
    c->primary = is_primary;
    c->legacy = stream_new(c, CU_STREAM_DEFAULT, 0);
    if (!c->legacy) {
        object_put(&c->o);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    c->legacy->legacy = true;
    limits_init(c);
    object_publish(&c->o);
    *ret_context = c;
    return CUDA_SUCCESS;
}

/* The same for making it current: that may be done with a primary context before it is
 * retained (CUDA's runtime does). A dead one stands for it on the stack until then. */
static struct CUctx_st *find_current(CUcontext handle)
{
    struct CUctx_st *c = context_find(handle);
    int device = primary_device(handle);
    if (c || device < 0)
        return c;
    c = object_new(OBJECT_CONTEXT, sizeof(*c), NULL, context_free);
    if (c) {
        c->device = device;
        c->primary = true;
        c->dead = true;
    }
    return c;
}

CUresult context_destroy(struct CUctx_st *c)
{
    CAPTURE_HOOK(context_ends, context_handle(c));
    export_context_ends(context_handle(c));
    pools_context_ends(context_handle(c));
    object_hold(&c->o);
    bool first = object_kill(&c->o);
    if (first) {
        sched_close(c);
        if (c->reached) /* other contexts' kernels may be in its memory */
            sched_drain(NULL);
        pools_context_ended();
        object_kill_all(c, NULL);
        peers_end(c);
        opened_end(c);
        mem_release_all(c);
        /* Its users are gone, but for threads that still hold the context: they meet `dead`. */
        object_put(&c->legacy->o);
    }
    object_put(&c->o);
    return first ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult check_device(CUdevice dev)
{
    TRY(sim_enter());
    return dev >= 0 && dev < (int)sim.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* One way of scheduling at most, nothing unknown. */
static CUresult check_flags(unsigned flags)
{
    unsigned way = flags & CU_CTX_SCHED_MASK;
    return (flags & ~(unsigned)CU_CTX_FLAGS_MASK) || (way & (way - 1)) ? CUDA_ERROR_INVALID_VALUE
                                                                       : CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev)
{
    struct CUctx_st *c;
    TRY(sim_enter());
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_flags(flags));
    TRY(check_device(dev));
    TRY(context_new(dev, flags, false, &c));
    CUresult rc = thread_push(c);
    if (rc != CUDA_SUCCESS) {
        context_destroy(c);
        return rc;
    }
    *ctx = c;
    return CUDA_SUCCESS;
}

CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    TRY(sim_enter());
    PUT_LATER(CUctx_st) *c = context_find(ctx);
    if (!c || c->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult rc = context_destroy(c);
    if (rc == CUDA_SUCCESS && thread_top() == c)
        thread_pop();
    return rc;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx)
{
    TRY(sim_enter());
    PUT_LATER(CUctx_st) *c = find_current(ctx);
    return c ? thread_push(c) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPopCurrent_v2(CUcontext *ctx)
{
    TRY(sim_enter());
    struct CUctx_st *c = thread_top();
    if (!c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx)
        *ctx = context_handle(c);
    thread_pop();
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
    TRY(sim_enter());
    const struct CUctx_st *top = thread_top();
    if (ctx && top && (top->primary || !top->dead) && ctx == context_handle(top))
        return CUDA_SUCCESS;
    PUT_LATER(CUctx_st) *c = ctx ? find_current(ctx) : NULL;
    if (ctx && !c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (thread_top())
        thread_pop();
    return c ? thread_push(c) : CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *ctx)
{
    TRY(sim_enter());
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    const struct CUctx_st *c = thread_top();
    *ctx = c ? context_handle(c) : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *dev)
{
    TRY(sim_enter());
    const struct CUctx_st *c = thread_top();
    if (!c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!dev)
        return CUDA_ERROR_INVALID_VALUE;
    if (c->dead)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    *dev = c->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = c->flags;
    return CUDA_SUCCESS;
}

/* Of the flags of its creation those that say how to wait. */
CUresult cuCtxSetFlags(unsigned int flags)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    TRY(check_flags(flags));
    c->flags = flags;
    return CUDA_SUCCESS;
}

/* CTX's, or the current context, held. */
static CUresult given_context(CUcontext ctx, struct CUctx_st **ret)
{
    TRY(sim_enter());
    struct CUctx_st *c = ctx ? context_find(ctx) : thread_top();
    if (!c)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!ctx)
        object_hold(&c->o);
    *ret = c;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long *id)
{
    PUT_LATER(CUctx_st) *c = NULL;
    TRY(given_context(ctx, &c));
    if (!id)
        return CUDA_ERROR_INVALID_VALUE;
    *id = c->id;
    return CUDA_SUCCESS;
}

/* All its streams, by waiting for them: later than a GPU would, never earlier. */
CUresult cuCtxRecordEvent(CUcontext ctx, CUevent event)
{
    PUT_LATER(CUctx_st) *c = NULL;
    TRY(given_context(ctx, &c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    if (!e || e->o.context != c)
        return CUDA_ERROR_INVALID_HANDLE;
    sched_drain(c);
    return event_record(e, c->legacy);
}

CUresult cuCtxWaitEvent(CUcontext ctx, CUevent event)
{
    PUT_LATER(CUctx_st) *c = NULL;
    TRY(given_context(ctx, &c));
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    return e ? event_wait(e) : CUDA_ERROR_INVALID_HANDLE;
}

/* Nobody listens. */
CUresult cuProfilerStart(void)
{
    struct CUctx_st *c;
    return sim_context(&c);
}

CUresult cuProfilerStop(void)
{
    struct CUctx_st *c;
    return sim_context(&c);
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    TRY(sim_enter());
    PUT_LATER(CUctx_st) *c = ctx ? context_find(ctx) : NULL;
    if (ctx ? !c : !thread_top())
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = API_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (least)
        *least = 0;
    if (greatest)
        *greatest = GREATEST_PRIORITY;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
    CAPTURE_HOOK(cuCtxSynchronize);
    struct CUctx_st *c;
    TRY(sim_context(&c));
    sched_drain(c);
    if (c->error == CUDA_SUCCESS)
        pools_synchronized();
    return c->error;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
    CUresult rc = CUDA_SUCCESS;
    TRY(sim_enter());
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device(dev));
    pthread_mutex_lock(&primary.lock);
    if (!primary.of[dev].context)
        rc = context_new(dev, primary.of[dev].flags, true, &primary.of[dev].context);
    if (rc == CUDA_SUCCESS) {
        primary.of[dev].retained++;
        *ctx = (CUcontext)&primary.of[dev];
    }
    pthread_mutex_unlock(&primary.lock);
    return rc;
}

CUresult export_primary_context(CUcontext *ctx, CUdevice dev)
{
    TRY(check_device(dev));
    *ctx = (CUcontext)&primary.of[dev];
    return CUDA_SUCCESS;
}

/* The context, if it is to go now. */
static struct CUctx_st *let_go(CUdevice dev)
{
    struct CUctx_st *c = primary.of[dev].context;
    primary.of[dev].context = NULL;
    primary.of[dev].retained = 0;
    return c;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    struct CUctx_st *gone = NULL;
    TRY(check_device(dev));
    pthread_mutex_lock(&primary.lock);
    CUresult rc = primary.of[dev].retained ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (rc == CUDA_SUCCESS && --primary.of[dev].retained == 0)
        gone = let_go(dev);
    pthread_mutex_unlock(&primary.lock);
    if (gone)
        context_destroy(gone);
    return rc;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    TRY(check_device(dev));
    pthread_mutex_lock(&primary.lock);
    struct CUctx_st *gone = let_go(dev);
    pthread_mutex_unlock(&primary.lock);
    if (gone)
        context_destroy(gone);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
    TRY(check_device(dev));
    TRY(check_flags(flags));
    pthread_mutex_lock(&primary.lock);
    primary.of[dev].flags = flags;
    pthread_mutex_unlock(&primary.lock);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    TRY(check_device(dev));
    if (!flags || !active)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&primary.lock);
    *flags = primary.of[dev].flags;
    *active = primary.of[dev].context != NULL;
    pthread_mutex_unlock(&primary.lock);
    return CUDA_SUCCESS;
}
