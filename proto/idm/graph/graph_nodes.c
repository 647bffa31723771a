/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs made by hand: their nodes, what each does. */
#include <string.h>

#include "idm/graph/graph.h"

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags)
{
    GRAPH_TRY(graph_enter(false));
    if (!graph || flags)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    CUgraph g = graph_new();
    graph_unlock();
    if (!g)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *graph = g;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    bool good = graph_lives(GRAPH_GRAPH, graph) && !graph->owner;
    if (good)
        graph_free(graph);
    graph_unlock();
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphClone(CUgraph *clone, CUgraph graph)
{
    GRAPH_TRY(graph_enter(false));
    if (!clone)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_GRAPH, graph))
        rc = graph_clone(graph, clone);
    graph_unlock();
    return rc;
}

/* --- Adding -------------------------------------------------------------------------- */

/* With the lock. Takes P over, if TAKEN says that there is something in it. */
static CUresult add(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
                    const CUgraphEdgeData *edges, size_t n, CUresult taken, struct graph_params *p)
{
    GRAPH_TRY(taken);
    if (node && graph_lives(GRAPH_GRAPH, graph))
        return graph_add(graph, deps, edges, n, p, node);
    params_free(p);
    return CUDA_ERROR_INVALID_VALUE;
}

#define ADD(edges, take, ...)                                                                      \
    do {                                                                                           \
        struct graph_params p_;                                                                    \
        GRAPH_TRY(graph_enter(true));                                                              \
        graph_lock();                                                                              \
        CUresult rc_ = take(&p_, __VA_ARGS__);                                                     \
        rc_ = add(node, graph, deps, edges, n, rc_, &p_);                                          \
        graph_unlock();                                                                            \
        return rc_;                                                                                \
    } while (0)

CUresult cuGraphAddKernelNode_v2(CU_GRAPH_ADD, const CUDA_KERNEL_NODE_PARAMS *params)
{
    ADD(NULL, params_take_kernel, params);
}

CUresult cuGraphAddKernelNode(CU_GRAPH_ADD, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    CUDA_KERNEL_NODE_PARAMS later = {.kern = NULL};
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&later, params, sizeof(*params));
    return cuGraphAddKernelNode_v2(node, graph, deps, n, &later);
}

CUresult cuGraphAddMemcpyNode(CU_GRAPH_ADD, const CUDA_MEMCPY3D *params, CUcontext ctx)
{
    (void)ctx; /* addresses say where they are */
    ADD(NULL, params_take_copy, params);
}

CUresult cuGraphAddMemsetNode(CU_GRAPH_ADD, const CUDA_MEMSET_NODE_PARAMS *params, CUcontext ctx)
{
    (void)ctx;
    ADD(NULL, params_take_fill, params);
}

CUresult cuGraphAddHostNode(CU_GRAPH_ADD, const CUDA_HOST_NODE_PARAMS *params)
{
    ADD(NULL, params_take_host, params);
}

CUresult cuGraphAddChildGraphNode(CU_GRAPH_ADD, CUgraph child)
{
    ADD(NULL, params_take_child, child);
}

CUresult cuGraphAddEmptyNode(CU_GRAPH_ADD)
{
    const CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
    ADD(NULL, params_take, &params);
}

CUresult cuGraphAddEventRecordNode(CU_GRAPH_ADD, CUevent event)
{
    ADD(NULL, params_take_event, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphAddEventWaitNode(CU_GRAPH_ADD, CUevent event)
{
    ADD(NULL, params_take_event, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphAddBatchMemOpNode(CU_GRAPH_ADD, const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
    ADD(NULL, params_take_ops, params);
}

CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps,
                           const CUgraphEdgeData *edges, size_t n, CUgraphNodeParams *params)
{
    if (params && params->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
        return cuGraphAddMemAllocNode(node, graph, deps, n, &params->alloc);
    if (params && params->type == CU_GRAPH_NODE_TYPE_MEM_FREE)
        return cuGraphAddMemFreeNode(node, graph, deps, n, params->free.dptr);
    ADD(edges, params_take, params);
}

CUresult cuGraphAddNode(CU_GRAPH_ADD, CUgraphNodeParams *params)
{
    return cuGraphAddNode_v2(node, graph, deps, NULL, n, params);
}

CUresult cuGraphDestroyNode(CUgraphNode node)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    bool lives = graph_lives(GRAPH_NODE, node);
    if (lives)
        graph_remove(node);
    graph_unlock();
    return lives ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* --- What a node does ------------------------------------------------------------------ */

/* With the lock; NULL, without it: there is no such node. */
static struct CUgraphNode_st *node_take(CUgraphNode node, CUgraphNodeType type)
{
    graph_lock();
    if (graph_lives(GRAPH_NODE, node) && node->params.type == type)
        return node;
    graph_unlock();
    return NULL;
}

#define GET(wanted, target, value)                                                                 \
    do {                                                                                           \
        GRAPH_TRY(graph_enter(false));                                                             \
        if (!(target) || !node_take(node, CU_GRAPH_NODE_TYPE_##wanted))                            \
            return CUDA_ERROR_INVALID_VALUE;                                                       \
        *(target) = (value);                                                                       \
        graph_unlock();                                                                            \
        return CUDA_SUCCESS;                                                                       \
    } while (0)

static CUDA_KERNEL_NODE_PARAMS kernel_params(const struct graph_kernel *k)
{
    return (CUDA_KERNEL_NODE_PARAMS){.func = k->func,
                                     .gridDimX = k->grid[0],
                                     .gridDimY = k->grid[1],
                                     .gridDimZ = k->grid[2],
                                     .blockDimX = k->block[0],
                                     .blockDimY = k->block[1],
                                     .blockDimZ = k->block[2],
                                     .sharedMemBytes = k->shared,
                                     .kernelParams = k->n_params ? k->params : NULL,
                                     .kern = k->kern,
                                     .ctx = k->ctx};
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *params)
{
    GET(KERNEL, params, kernel_params(&node->params.kernel));
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    CUDA_KERNEL_NODE_PARAMS later;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(cuGraphKernelNodeGetParams_v2(node, &later));
    memcpy(params, &later, sizeof(*params));
    return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode node, CUDA_MEMCPY3D *params)
{
    GET(MEMCPY, params, node->params.copy);
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode node, CUDA_MEMSET_NODE_PARAMS *params)
{
    GET(MEMSET, params, node->params.fill);
}

CUresult cuGraphHostNodeGetParams(CUgraphNode node, CUDA_HOST_NODE_PARAMS *params)
{
    GET(HOST, params, node->params.host);
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *graph)
{
    GET(GRAPH, graph, node->params.child);
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode node, CUevent *event)
{
    GET(EVENT_RECORD, event, node->params.event);
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent *event)
{
    GET(WAIT_EVENT, event, node->params.event);
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
    GET(MEM_ALLOC, params, node->params.alloc.what);
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode node, CUdeviceptr *ptr)
{
    GET(MEM_FREE, ptr, node->params.freed);
}

CUresult cuGraphBatchMemOpNodeGetParams(CUgraphNode node, CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
    GET(BATCH_MEM_OP, params,
        ((CUDA_BATCH_MEM_OP_NODE_PARAMS){.ctx = node->params.ops.ctx,
                                         .count = node->params.ops.count,
                                         .paramArray = node->params.ops.all,
                                         .flags = node->params.ops.flags}));
}

/* The attributes of a kernel's launch stay what they were. Takes P over, if TAKEN says
 * that there is something in it. */
static CUresult set(CUgraphNode node, CUresult taken, struct graph_params *p)
{
    GRAPH_TRY(taken);
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_NODE, node) && node->params.type == p->type &&
        p->type != CU_GRAPH_NODE_TYPE_GRAPH) {
        if (p->type == CU_GRAPH_NODE_TYPE_KERNEL) {
            p->kernel.attributes = node->params.kernel.attributes;
            p->kernel.n_attributes = node->params.kernel.n_attributes;
            node->params.kernel.attributes = NULL;
        }
        params_free(&node->params);
        node->params = *p;
        rc = CUDA_SUCCESS;
    } else {
        params_free(p);
    }
    graph_unlock();
    return rc;
}

#define SET(take, ...)                                                                             \
    do {                                                                                           \
        struct graph_params p_;                                                                    \
        GRAPH_TRY(graph_enter(true));                                                              \
        CUresult taken_ = take(&p_, __VA_ARGS__);                                                  \
        return set(node, taken_, &p_);                                                             \
    } while (0)

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    SET(params_take_kernel, params);
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
    CUDA_KERNEL_NODE_PARAMS later = {.kern = NULL};
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&later, params, sizeof(*params));
    return cuGraphKernelNodeSetParams_v2(node, &later);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *params)
{
    SET(params_take_copy, params);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params)
{
    SET(params_take_fill, params);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *params)
{
    SET(params_take_host, params);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event)
{
    SET(params_take_event, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event)
{
    SET(params_take_event, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphBatchMemOpNodeSetParams(CUgraphNode node,
                                        const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
    SET(params_take_ops, params);
}

CUresult cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *params)
{
    if (params && params->type == CU_GRAPH_NODE_TYPE_GRAPH) /* a child stays what it is */
        return CUDA_ERROR_INVALID_VALUE;
    SET(params_take, params);
}

/* --- Attributes of a kernel's launch ------------------------------------------------------ */

static bool good_attribute(CUkernelNodeAttrID attr)
{
    return attr == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW ||
           attr == CU_LAUNCH_ATTRIBUTE_COOPERATIVE ||
           attr == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION ||
           attr == CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE ||
           attr == CU_LAUNCH_ATTRIBUTE_PRIORITY ||
           attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
           attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN ||
           attr == CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode node, CUkernelNodeAttrID attr,
                                       CUkernelNodeAttrValue *value)
{
    GRAPH_TRY(graph_enter(false));
    if (!value || !good_attribute(attr) || !node_take(node, CU_GRAPH_NODE_TYPE_KERNEL))
        return CUDA_ERROR_INVALID_VALUE;
    const struct graph_kernel *k = &node->params.kernel;
    memset(value, 0, sizeof(*value));
    for (uint32_t i = 0; i < k->n_attributes; i++) {
        if (k->attributes[i].id == attr)
            memcpy(value, k->attributes[i].value, sizeof(*value));
    }
    graph_unlock();
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode node, CUkernelNodeAttrID attr,
                                       const CUkernelNodeAttrValue *value)
{
    CUlaunchAttribute a = {.id = attr};
    GRAPH_TRY(graph_enter(false));
    if (!value || !good_attribute(attr) || !node_take(node, CU_GRAPH_NODE_TYPE_KERNEL))
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(a.value, value, sizeof(a.value));
    CUresult rc = params_set_attribute(&node->params.kernel, &a);
    graph_unlock();
    return rc;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src)
{
    GRAPH_TRY(graph_enter(false));
    if (!node_take(dst, CU_GRAPH_NODE_TYPE_KERNEL))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_NODE, src) && src->params.type == CU_GRAPH_NODE_TYPE_KERNEL)
        rc = CUDA_SUCCESS;
    for (uint32_t i = 0; rc == CUDA_SUCCESS && i < src->params.kernel.n_attributes; i++)
        rc = params_set_attribute(&dst->params.kernel, &src->params.kernel.attributes[i]);
    graph_unlock();
    return rc;
}
