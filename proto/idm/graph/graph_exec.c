/* SPDX-License-Identifier: Apache-2.0 */
/* Executable graphs: made, launched, changed, ended. */
#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture.h"
#include "idm/graph/exec.h"

#define FLAGS                                                                                      \
    (CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |        \
     CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

/* --- Life ------------------------------------------------------------------------------- */

/* Without the lock. X is used no more. */
static void exec_put(struct CUgraphExec_st *x)
{
    struct CUgraph_st uses = {.uses = NULL};
    graph_lock();
    bool last = --x->refs == 0;
    if (last) {
        uses.uses = x->uses;
        graph_uses_free(&uses);
    }
    graph_unlock();
    if (!last)
        return;
    graph_backend_end(x);
    graph_lock();
    steps_free(x->steps, x->n_steps);
    graph_unlock();
    pthread_mutex_destroy(&x->lock);
    free(x);
}

CUresult exec_take(CUgraphExec handle, struct CUgraphExec_st **ret_x)
{
    graph_lock();
    bool lives = graph_lives(GRAPH_EXEC, handle);
    if (lives)
        handle->refs++;
    graph_unlock();
    if (!lives)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&handle->lock);
    *ret_x = handle;
    return CUDA_SUCCESS;
}

CUresult exec_give(struct CUgraphExec_st *x, CUresult rc)
{
    pthread_mutex_unlock(&x->lock);
    exec_put(x);
    return rc;
}

/* With the lock. */
static CUresult exec_new(CUgraph graph, struct CUgraphExec_st **ret_x, CUgraphNode *ret_bad)
{
    struct CUgraph_st uses = {.uses = NULL};
    if (!graph_lives(GRAPH_GRAPH, graph))
        return CUDA_ERROR_INVALID_VALUE;
    struct CUgraphExec_st *x = calloc(1, sizeof(*x));
    if (!x)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = steps_of(graph, &x->steps, &x->n_steps, ret_bad);
    if (rc == CUDA_SUCCESS)
        rc = graph_uses_copy(&uses, graph);
    if (rc != CUDA_SUCCESS) {
        graph_uses_free(&uses);
        steps_free(x->steps, x->n_steps);
        free(x);
        return rc;
    }
    x->uses = uses.uses;
    for (uint32_t i = 0; i < x->n_steps; i++)
        x->has_memory = x->has_memory || x->steps[i].params.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
                        x->steps[i].params.type == CU_GRAPH_NODE_TYPE_MEM_FREE;
    x->refs = 1;
    pthread_mutex_init(&x->lock, NULL);
    *ret_x = x;
    return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph, uint64_t flags, CUgraphNode *ret_bad)
{
    struct CUgraphExec_st *x = NULL;
    GRAPH_TRY(graph_enter(true));
    if (!exec || flags & ~(uint64_t)FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) /* the driver's graphs are the proxy's */
        return CUDA_ERROR_NOT_SUPPORTED;
    graph_lock();
    CUresult rc = exec_new(graph, &x, ret_bad);
    graph_unlock();
    GRAPH_TRY(rc);
    x->flags = flags;
    rc = graph_backend_make(x);
    if (rc == CUDA_SUCCESS) {
        graph_lock();
        rc = graph_born(GRAPH_EXEC, &x->head) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        graph_unlock();
    }
    if (rc == CUDA_SUCCESS)
        *exec = x;
    else
        exec_put(x);
    return rc;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    CUgraphNode bad = NULL;
    if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) /* needs a stream */
        return CUDA_ERROR_INVALID_VALUE;
    return instantiate(exec, graph, flags, &bad);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *error_node, char *log,
                               size_t bytes)
{
    CUgraphNode bad = NULL;
    CUresult rc = instantiate(exec, graph, 0, &bad);
    if (error_node)
        *error_node = bad;
    if (log && bytes)
        *log = '\0';
    return rc;
}

CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *error_node, char *log,
                            size_t bytes)
{
    return cuGraphInstantiate_v2(exec, graph, error_node, log, bytes);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    CUgraphNode bad = NULL;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = instantiate(exec, graph, params->flags, &bad);
    params->hErrNode_out = bad;
    params->result_out = rc == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS
                         : rc == CUDA_ERROR_NOT_SUPPORTED
                             ? CUDA_GRAPH_INSTANTIATE_NODE_OPERATION_NOT_SUPPORTED
                         : bad ? CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE
                               : CUDA_GRAPH_INSTANTIATE_ERROR;
    if (rc == CUDA_SUCCESS && params->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD)
        rc = cuGraphUpload(*exec, params->hUploadStream);
    return rc;
}

CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *exec, CUgraph graph,
                                           CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_GRAPH_INSTANTIATE_PARAMS mine = *params;
    mine.hUploadStream = own(mine.hUploadStream);
    CUresult rc = cuGraphInstantiateWithParams(exec, graph, &mine);
    params->hErrNode_out = mine.hErrNode_out;
    params->result_out = mine.result_out;
    return rc;
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    bool lives = graph_lives(GRAPH_EXEC, exec);
    if (lives)
        graph_died(&exec->head);
    graph_unlock();
    if (!lives)
        return CUDA_ERROR_INVALID_VALUE;
    exec_put(exec);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecGetFlags(CUgraphExec exec, uint64_t *flags)
{
    struct CUgraphExec_st *x;
    GRAPH_TRY(graph_enter(false));
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(exec_take(exec, &x));
    *flags = x->flags;
    return exec_give(x, CUDA_SUCCESS);
}

/* --- Running ------------------------------------------------------------------------------ */

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    struct CUgraphExec_st *x;
    CAPTURE_HOOK(cuGraphLaunch, exec, stream);
    GRAPH_TRY(graph_enter(true));
    GRAPH_TRY(exec_take(exec, &x));
    CUresult rc = CUDA_SUCCESS;
    if (x->has_memory) {
        graph_lock();
        rc = graph_memory_launch(x);
        graph_unlock();
    }
    return exec_give(x, rc == CUDA_SUCCESS ? graph_backend_launch(x, stream) : rc);
}

CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream)
{
    return cuGraphLaunch(exec, own(stream));
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    struct CUgraphExec_st *x;
    CAPTURE_HOOK(cuGraphUpload, exec, stream);
    GRAPH_TRY(graph_enter(true));
    GRAPH_TRY(exec_take(exec, &x));
    return exec_give(x, graph_backend_upload(x, stream));
}

CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream)
{
    return cuGraphUpload(exec, own(stream));
}

bool capture_cuGraphLaunch(CUresult *ret_rc, CUgraphExec exec, CUstream stream)
{
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_GRAPH};
    struct CUgraphExec_st *x;
    if (!capture_takes(stream, ret_rc))
        return *ret_rc != CUDA_SUCCESS;
    *ret_rc = exec_take(exec, &x);
    if (*ret_rc != CUDA_SUCCESS)
        return true;
    graph_lock();
    *ret_rc = graph_of_exec(x, &p.child);
    graph_unlock();
    if (*ret_rc == CUDA_SUCCESS)
        *ret_rc = capture_add(stream, &p);
    exec_give(x, *ret_rc);
    return true;
}

/* --- Changes ------------------------------------------------------------------------------- */

CUresult exec_find_step(const struct CUgraphExec_st *x, CUgraphNode node, uint32_t *ret_step)
{
    graph_lock();
    uint64_t serial = graph_lives(GRAPH_NODE, node) ? node->serial : 0;
    graph_unlock();
    for (uint32_t i = 0; serial && i < x->n_steps; i++) {
        if (x->steps[i].serial == serial) {
            *ret_step = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult exec_change(struct CUgraphExec_st *x, uint32_t step, struct graph_params *p, bool enabled)
{
    struct graph_step *s = &x->steps[step];
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    bool fixed = s->child || p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
                 p->type == CU_GRAPH_NODE_TYPE_MEM_FREE;
    if (p->type == s->params.type && !fixed)
        rc = graph_backend_change(x, step, p, enabled);
    if (rc != CUDA_SUCCESS) {
        params_free(p);
        return rc;
    }
    params_free(&s->params);
    s->params = *p;
    s->enabled = enabled;
    return CUDA_SUCCESS;
}

/* The attributes of a kernel's launch stay what they were. */
static CUresult keep_attributes(const struct graph_step *s, struct graph_params *p)
{
    if (p->type != CU_GRAPH_NODE_TYPE_KERNEL || s->params.type != p->type)
        return CUDA_SUCCESS;
    for (uint32_t i = 0; i < s->params.kernel.n_attributes; i++)
        GRAPH_TRY(params_set_attribute(&p->kernel, &s->params.kernel.attributes[i]));
    return CUDA_SUCCESS;
}

/* Takes P over, if TAKEN says that there is something in it. */
static CUresult set_params(CUgraphExec exec, CUgraphNode node, CUresult taken,
                           struct graph_params *p)
{
    struct CUgraphExec_st *x;
    uint32_t step;
    GRAPH_TRY(taken);
    CUresult rc = exec_take(exec, &x);
    if (rc != CUDA_SUCCESS) {
        params_free(p);
        return rc;
    }
    rc = exec_find_step(x, node, &step);
    if (rc == CUDA_SUCCESS)
        rc = keep_attributes(&x->steps[step], p);
    if (rc == CUDA_SUCCESS)
        rc = exec_change(x, step, p, x->steps[step].enabled);
    else
        params_free(p);
    return exec_give(x, rc);
}

#define SET_PARAMS(take, ...)                                                                      \
    do {                                                                                           \
        struct graph_params p_;                                                                    \
        GRAPH_TRY(graph_enter(true));                                                              \
        CUresult taken_ = take(&p_, __VA_ARGS__);                                                  \
        return set_params(exec, node, taken_, &p_);                                                \
    } while (0)

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS *params)
{
    SET_PARAMS(params_take_kernel, params);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    CUDA_KERNEL_NODE_PARAMS later = {.kern = NULL};
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&later, params, sizeof(*params));
    SET_PARAMS(params_take_kernel, &later);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D *params, CUcontext ctx)
{
    (void)ctx;
    SET_PARAMS(params_take_copy, params);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS *params, CUcontext ctx)
{
    (void)ctx;
    SET_PARAMS(params_take_fill, params);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS *params)
{
    SET_PARAMS(params_take_host, params);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event)
{
    SET_PARAMS(params_take_event, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event)
{
    SET_PARAMS(params_take_event, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphExecBatchMemOpNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                            const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
    SET_PARAMS(params_take_ops, params);
}

CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *params)
{
    if (params && params->type == CU_GRAPH_NODE_TYPE_GRAPH)
        return cuGraphExecChildGraphNodeSetParams(exec, node, params->graph.graph);
    SET_PARAMS(params_take, params);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int enabled)
{
    struct CUgraphExec_st *x;
    struct graph_params p;
    uint32_t step;
    GRAPH_TRY(graph_enter(true));
    GRAPH_TRY(exec_take(exec, &x));
    CUresult rc = exec_find_step(x, node, &step);
    if (rc == CUDA_SUCCESS && x->steps[step].params.type > CU_GRAPH_NODE_TYPE_MEMSET)
        rc = CUDA_ERROR_INVALID_VALUE; /* of kernels, copies and fills alone */
    if (rc == CUDA_SUCCESS)
        rc = params_copy(&p, &x->steps[step].params);
    if (rc == CUDA_SUCCESS)
        rc = exec_change(x, step, &p, enabled != 0);
    return exec_give(x, rc);
}

CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned int *enabled)
{
    struct CUgraphExec_st *x;
    uint32_t step;
    GRAPH_TRY(graph_enter(false));
    if (!enabled)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(exec_take(exec, &x));
    CUresult rc = exec_find_step(x, node, &step);
    if (rc == CUDA_SUCCESS && x->steps[step].params.type > CU_GRAPH_NODE_TYPE_MEMSET)
        rc = CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS)
        *enabled = x->steps[step].enabled;
    return exec_give(x, rc);
}
