/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of graphs' own: allocated when the node is made, so that its address is the
 * same at each launch, and there as long as a graph may use it or the program hasn't
 * freed what a launch gave it.
 */
#include <stdlib.h>

#include "idm/graph/capture_state.h"

struct graph_memory {
    struct graph_memory *next;
    CUdeviceptr ptr;
    size_t bytes;
    CUdevice device;
    CUcontext context;
    uint64_t refs; /* nodes and steps */
    bool live;     /* a launch gave it, and nobody has freed it since */
};

enum { USED, USED_HIGH, RESERVED, RESERVED_HIGH, FIGURES };

static struct graph_memory *all;
static struct graph_memory *due; /* to be freed without the lock */
static uint64_t high[2];         /* of all devices */

static uint64_t sum(bool live, CUdevice device, bool any)
{
    uint64_t bytes = 0;
    for (const struct graph_memory *m = all; m; m = m->next) {
        if ((any || m->device == device) && (m->live || !live))
            bytes += m->bytes;
    }
    return bytes;
}

static void note_high(void)
{
    uint64_t used = sum(true, 0, true), reserved = sum(false, 0, true);
    high[0] = used > high[0] ? used : high[0];
    high[1] = reserved > high[1] ? reserved : high[1];
}

/* Calls of ours are no concern of captures. */
static CUstreamCaptureMode relax(CUstreamCaptureMode mode)
{
    CUstreamCaptureMode before = capture_thread_mode;
    capture_thread_mode = mode;
    return before;
}

CUresult graph_memory_new(size_t bytes, struct graph_memory **ret_memory)
{
    struct graph_memory *m = calloc(1, sizeof(*m));
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUstreamCaptureMode before = relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    CUresult rc = cuMemAlloc_v2(&m->ptr, bytes);
    if (rc == CUDA_SUCCESS)
        rc = cuCtxGetDevice(&m->device);
    if (rc == CUDA_SUCCESS)
        rc = cuCtxGetCurrent(&m->context);
    relax(before);
    if (rc != CUDA_SUCCESS) {
        free(m);
        return rc;
    }
    m->bytes = bytes;
    m->refs = 1;
    graph_lock();
    m->next = all;
    all = m;
    note_high();
    atomic_fetch_add(&capture_things, 1);
    graph_unlock();
    *ret_memory = m;
    return CUDA_SUCCESS;
}

CUdeviceptr graph_memory_address(const struct graph_memory *m)
{
    return m->ptr;
}

void graph_memory_hold(struct graph_memory *m)
{
    m->refs++;
}

static void release(struct graph_memory *m)
{
    if (m->refs || m->live)
        return;
    struct graph_memory **at = &all;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    m->next = due;
    due = m;
    atomic_fetch_sub(&capture_things, 1);
}

void graph_memory_put(struct graph_memory *m)
{
    m->refs--;
    release(m);
}

/* Its addresses may be given out anew. */
void graph_memory_context_gone(CUcontext context)
{
    struct graph_memory *next;
    for (struct graph_memory *m = all; m; m = next) {
        next = m->next;
        if (m->context != context)
            continue;
        m->ptr = 0;
        m->live = false;
        release(m);
    }
}

bool graph_memory_due(void)
{
    return due != NULL;
}

void graph_memory_free_due(void)
{
    graph_lock();
    struct graph_memory *list = due, *next;
    due = NULL;
    graph_unlock();
    CUstreamCaptureMode before = relax(CU_STREAM_CAPTURE_MODE_RELAXED);
    for (; list; list = next) {
        next = list->next;
        if (list->ptr) /* else its context's end was its own */
            (void)cuMemFree_v2(list->ptr);
        free(list);
    }
    relax(before);
}

static struct graph_memory *find(CUdeviceptr ptr)
{
    struct graph_memory *m = all;
    while (m && (!ptr || m->ptr != ptr))
        m = m->next;
    return m;
}

bool graph_memory_is(CUdeviceptr ptr)
{
    return find(ptr) != NULL;
}

CUresult graph_memory_launch(const struct CUgraphExec_st *x)
{
    const bool again = x->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    for (uint32_t i = 0; i < x->n_steps; i++) {
        const struct graph_params *p = &x->steps[i].params;
        if (p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && p->alloc.memory->live && !again)
            return CUDA_ERROR_INVALID_VALUE;
    }
    for (uint32_t i = 0; i < x->n_steps; i++) {
        const struct graph_params *p = &x->steps[i].params;
        if (p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
            p->alloc.memory->live = true;
    }
    note_high();
    for (uint32_t i = 0; i < x->n_steps; i++) {
        const struct graph_params *p = &x->steps[i].params;
        struct graph_memory *m = p->type == CU_GRAPH_NODE_TYPE_MEM_FREE ? find(p->freed) : NULL;
        if (m) {
            m->live = false;
            release(m);
        }
    }
    return CUDA_SUCCESS;
}

/* --- By the program ------------------------------------------------------------------ */

static bool freed(CUresult *ret_rc, CUdeviceptr ptr)
{
    graph_lock();
    struct graph_memory *m = find(ptr);
    if (m) {
        *ret_rc = m->live ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
        m->live = false;
        release(m);
    }
    graph_unlock();
    return m != NULL;
}

bool capture_cuMemFree_v2(CUresult *ret_rc, CUdeviceptr ptr)
{
    return freed(ret_rc, ptr) || capture_unsafe(ret_rc);
}

bool capture_cuMemAllocAsync(CUresult *ret_rc, CUdeviceptr *ptr, size_t bytes, CUstream stream)
{
    CUDA_MEM_ALLOC_NODE_PARAMS a = {.bytesize = bytes};
    struct graph_params p;
    if (!capture_takes(stream, ret_rc))
        return *ret_rc != CUDA_SUCCESS;
    *ret_rc = ptr ? params_take_alloc(&p, &a) : CUDA_ERROR_INVALID_VALUE;
    if (*ret_rc == CUDA_SUCCESS)
        *ret_rc = capture_add(stream, &p);
    if (*ret_rc == CUDA_SUCCESS)
        *ptr = a.dptr;
    return true;
}

bool capture_cuMemFreeAsync(CUresult *ret_rc, CUdeviceptr ptr, CUstream stream)
{
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .freed = ptr};
    if (!capture_takes(stream, ret_rc))
        return *ret_rc != CUDA_SUCCESS || freed(ret_rc, ptr);
    graph_lock();
    bool is = graph_memory_is(ptr);
    graph_unlock();
    *ret_rc = is ? capture_add(stream, &p) : CUDA_ERROR_INVALID_VALUE;
    return true;
}

CUresult cuGraphAddMemAllocNode(CU_GRAPH_ADD, CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
    struct graph_params p;
    GRAPH_TRY(graph_enter(true));
    GRAPH_TRY(params_take_alloc(&p, params));
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (node && graph_lives(GRAPH_GRAPH, graph))
        rc = graph_add(graph, deps, NULL, n, &p, node);
    else
        params_free(&p);
    graph_unlock();
    return rc;
}

CUresult cuGraphAddMemFreeNode(CU_GRAPH_ADD, CUdeviceptr ptr)
{
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .freed = ptr};
    GRAPH_TRY(graph_enter(true));
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (node && graph_lives(GRAPH_GRAPH, graph) && graph_memory_is(ptr))
        rc = graph_add(graph, deps, NULL, n, &p, node);
    graph_unlock();
    return rc;
}

/* --- Figures ---------------------------------------------------------------------------- */

static CUresult check_device(CUdevice dev)
{
    int n = 0;
    CUresult rc = cuDeviceGetCount(&n);
    if (rc == CUDA_SUCCESS && (dev < 0 || dev >= n))
        rc = CUDA_ERROR_INVALID_DEVICE;
    return rc;
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice dev, int attribute, void *value)
{
    GRAPH_TRY(check_device(dev));
    if (!value || attribute < 0 || attribute >= FIGURES)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    uint64_t v = attribute == USED       ? sum(true, dev, false)
                 : attribute == RESERVED ? sum(false, dev, false)
                                         : high[attribute == RESERVED_HIGH];
    graph_unlock();
    *(uint64_t *)value = v;
    return CUDA_SUCCESS;
}

/* The high marks begin anew. */
CUresult cuDeviceSetGraphMemAttribute(CUdevice dev, int attribute, void *value)
{
    GRAPH_TRY(check_device(dev));
    if (!value || (attribute != USED_HIGH && attribute != RESERVED_HIGH) ||
        *(const uint64_t *)value)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    high[attribute == RESERVED_HIGH] = 0;
    note_high();
    graph_unlock();
    return CUDA_SUCCESS;
}

/* What isn't used is never kept. */
CUresult cuDeviceGraphMemTrim(CUdevice dev)
{
    return check_device(dev);
}
