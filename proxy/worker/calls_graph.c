/* SPDX-License-Identifier: Apache-2.0 */
/* Executable graphs. The client has the descriptions; here are the driver's graph and the
 * executable made from it, for as long as that lives. */
#include <stdlib.h>

#include "graph_decode.h"
#include "graph_host.h"

struct worker_graph {
    CUgraph graph;
    CUgraphExec exec;
    CUgraphNode *nodes;
    uint8_t *types; /* CUgraphNodeType of each */
    bool *enabled;
    uint32_t n;
    struct graph_functions *functions; /* NULL: it has none */
};

void worker_graph_free(struct worker *w, struct worker_graph *g)
{
    if (g->exec)
        w->cu.cuGraphExecDestroy(g->exec);
    if (g->graph)
        w->cu.cuGraphDestroy(g->graph);
    if (g->functions)
        graph_functions_end(g->functions);
    free(g->nodes);
    free(g->types);
    free(g->enabled);
    free(g);
}

/* --- Making --------------------------------------------------------------------------- */

static CUresult add_kernel(struct worker *w, CUgraphNode *node, CUgraph graph,
                           const CUgraphNode *deps, const struct graph_step *s)
{
    WORKER_TRY(w->cu.cuGraphAddKernelNode_v2(node, graph, deps, s->n_deps, &s->kernel.params));
    for (uint32_t i = 0; i < s->kernel.n_attributes; i++) {
        const CUlaunchAttribute *a = &s->kernel.attributes[i];
        CUkernelNodeAttrValue value;
        memcpy(&value, a->value, sizeof(value));
        if (!w->cu.cuGraphKernelNodeSetAttribute)
            return CUDA_ERROR_NOT_SUPPORTED;
        WORKER_TRY(w->cu.cuGraphKernelNodeSetAttribute(*node, a->id, &value));
    }
    return CUDA_SUCCESS;
}

static CUresult add_host(struct worker *w, struct worker_graph *g, uint32_t i,
                         const CUgraphNode *deps, size_t n)
{
    if (!g->functions)
        g->functions = graph_functions_new(w, g->n);
    if (!g->functions)
        return CUDA_ERROR_OUT_OF_MEMORY;
    const CUDA_HOST_NODE_PARAMS h = {.fn = graph_function_reached,
                                     .userData = graph_function_step(g->functions, i)};
    return w->cu.cuGraphAddHostNode(&g->nodes[i], g->graph, deps, n, &h);
}

static CUresult add_node(struct worker *w, struct worker_graph *g, uint32_t i,
                         const CUgraphNode *deps, const struct graph_step *s)
{
    CUgraphNode *node = &g->nodes[i];
    switch (s->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return add_kernel(w, node, g->graph, deps, s);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return w->cu.cuGraphAddMemcpyNode(node, g->graph, deps, s->n_deps, &s->copy,
                                          w->driver_context);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return w->cu.cuGraphAddMemsetNode(node, g->graph, deps, s->n_deps, &s->fill,
                                          w->driver_context);
    case CU_GRAPH_NODE_TYPE_HOST:
        return add_host(w, g, i, deps, s->n_deps);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return w->cu.cuGraphAddEventRecordNode(node, g->graph, deps, s->n_deps, s->event);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return w->cu.cuGraphAddEventWaitNode(node, g->graph, deps, s->n_deps, s->event);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        if (!w->cu.cuGraphAddBatchMemOpNode)
            return CUDA_ERROR_NOT_SUPPORTED;
        return w->cu.cuGraphAddBatchMemOpNode(node, g->graph, deps, s->n_deps, &s->ops.params);
    default:
        return w->cu.cuGraphAddEmptyNode(node, g->graph, deps, s->n_deps);
    }
}

static CUresult add_step(struct worker *w, struct worker_graph *g, struct idm_cursor *c, uint32_t i)
{
    struct graph_step s;
    WORKER_TRY(worker_graph_step(w, c, i, &s));
    CUgraphNode *deps = calloc(s.n_deps + 1, sizeof(CUgraphNode));
    if (!deps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t k = 0; k < s.n_deps; k++)
        deps[k] = g->nodes[s.deps[k]];
    CUresult rc = add_node(w, g, i, deps, &s);
    free(deps);
    g->types[i] = (uint8_t)s.type;
    g->enabled[i] = true;
    return rc;
}

static bool has_graphs(const struct worker *w)
{
    return w->cu.cuGraphCreate && w->cu.cuGraphDestroy && w->cu.cuGraphAddKernelNode_v2 &&
           w->cu.cuGraphAddMemcpyNode && w->cu.cuGraphAddMemsetNode && w->cu.cuGraphAddHostNode &&
           w->cu.cuGraphAddEmptyNode && w->cu.cuGraphAddEventRecordNode &&
           w->cu.cuGraphAddEventWaitNode && w->cu.cuGraphInstantiateWithFlags &&
           w->cu.cuGraphLaunch && w->cu.cuGraphUpload && w->cu.cuGraphExecDestroy &&
           w->cu.cuStreamAddCallback;
}

static CUresult build(struct worker *w, struct worker_graph *g, struct idm_cursor *c,
                      uint32_t flags)
{
    if (!g->nodes || !g->types || !g->enabled)
        return CUDA_ERROR_OUT_OF_MEMORY;
    WORKER_TRY(w->cu.cuGraphCreate(&g->graph, 0));
    for (uint32_t i = 0; i < g->n; i++)
        WORKER_TRY(add_step(w, g, c, i));
    if (c->left)
        return worker_malformed(w);
    return w->cu.cuGraphInstantiateWithFlags(&g->exec, g->graph, flags);
}

static CUresult make(struct worker *w, const struct image *image, struct worker_graph **ret_graph)
{
    struct idm_cursor c = {(const uint8_t *)image->data, (uint32_t)image->bytes};
    struct idm_graph_head head;
    const uint32_t known = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                           CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    if (image->got != image->bytes || image->bytes > UINT32_MAX ||
        !idm_take_fixed(&c, &head, sizeof(head)) || head.n_steps > IDM_MAX_GRAPH_STEPS ||
        head.n_steps > c.left / sizeof(struct idm_graph_step))
        return worker_malformed(w);
    if (!has_graphs(w))
        return CUDA_ERROR_NOT_SUPPORTED;
    struct worker_graph *g = calloc(1, sizeof(*g));
    if (!g)
        return CUDA_ERROR_OUT_OF_MEMORY;
    g->n = head.n_steps;
    g->nodes = calloc(g->n + 1, sizeof(CUgraphNode));
    g->types = calloc(g->n + 1, 1);
    g->enabled = calloc(g->n + 1, sizeof(bool));
    CUresult rc = build(w, g, &c, head.flags & known);
    if (rc == CUDA_SUCCESS)
        *ret_graph = g;
    else
        worker_graph_free(w, g);
    return rc;
}

CUresult worker_graph_make(struct worker *w, const struct idm_graph_make_in *in,
                           struct idm_graph_make_out *out)
{
    struct worker_object *o;
    struct worker_graph *g = NULL;
    (void)out;
    struct image *image = worker_find_image(w, in->w.image);
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult rc =
        w->context ? worker_expect(w, IDM_KIND_graph, in->w.exec, &o) : CUDA_ERROR_INVALID_CONTEXT;
    if (rc == CUDA_SUCCESS) {
        rc = make(w, image, &g);
        w->want_reply = true; /* nobody uses what wasn't made */
        worker_born(w, o, in->w.exec, g, rc);
    }
    worker_drop_image(image);
    return rc;
}

void worker_graphs_end(struct worker *w, uint64_t context)
{
    uint32_t left = w->objects.used;
    for (uint32_t i = 0; i < w->objects.max && left; i++) {
        const struct worker_object *o = &w->objects.places[i];
        if (!o->id)
            continue;
        left--;
        if (idm_handle_kind(o->id) == IDM_KIND_graph && o->context == context)
            worker_gone(w, o->id);
    }
}

CUresult worker_graph_end(struct worker *w, const struct idm_graph_end_in *in,
                          struct idm_graph_end_out *out)
{
    void *g;
    (void)out;
    WORKER_TRY(worker_find_last(w, IDM_KIND_graph, in->w.exec, &g));
    worker_gone(w, in->w.exec);
    return CUDA_SUCCESS;
}

/* --- Running -------------------------------------------------------------------------------- */

CUresult worker_graph_launch(struct worker *w, const struct idm_graph_launch_in *in,
                             struct idm_graph_launch_out *out)
{
    struct worker_graph *g;
    CUstream stream;
    void *driver;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_graph, in->w.exec, false, &driver));
    g = driver;
    CUresult rc = worker_find_stream(w, in->w.stream, &stream);
    if (rc == CUDA_SUCCESS && g->functions)
        graph_functions_launch(g->functions, stream);
    if (rc == CUDA_SUCCESS) {
        worker_count(&w->counters->launches, 1);
        rc = w->cu.cuGraphLaunch(g->exec, stream);
    }
    if (g->functions)
        graph_functions_launched(w, g->functions, stream, rc);
    return rc;
}

CUresult worker_graph_upload(struct worker *w, const struct idm_graph_upload_in *in,
                             struct idm_graph_upload_out *out)
{
    CUstream stream;
    void *driver;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_graph, in->w.exec, false, &driver));
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    return w->cu.cuGraphUpload(((struct worker_graph *)driver)->exec, stream);
}

CUresult worker_graph_host(struct worker *w, const struct idm_graph_host_in *in,
                           struct idm_graph_host_out *out)
{
    const struct worker_graph *g;
    void *driver;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_graph, in->w.exec, false, &driver));
    g = driver;
    if (!g->functions || in->w.step >= g->n || g->types[in->w.step] != CU_GRAPH_NODE_TYPE_HOST)
        return worker_malformed(w);
    return graph_function_announce(w, g->functions, in->w.step);
}

/* --- Changes -----------------------------------------------------------------------------------
 */

static CUresult set(struct worker *w, const struct worker_graph *g, CUgraphNode node,
                    const struct graph_step *s)
{
    switch (s->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return w->cu.cuGraphExecKernelNodeSetParams_v2
                   ? w->cu.cuGraphExecKernelNodeSetParams_v2(g->exec, node, &s->kernel.params)
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return w->cu.cuGraphExecMemcpyNodeSetParams
                   ? w->cu.cuGraphExecMemcpyNodeSetParams(g->exec, node, &s->copy,
                                                          w->driver_context)
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return w->cu.cuGraphExecMemsetNodeSetParams
                   ? w->cu.cuGraphExecMemsetNodeSetParams(g->exec, node, &s->fill,
                                                          w->driver_context)
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return w->cu.cuGraphExecEventRecordNodeSetEvent
                   ? w->cu.cuGraphExecEventRecordNodeSetEvent(g->exec, node, s->event)
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return w->cu.cuGraphExecEventWaitNodeSetEvent
                   ? w->cu.cuGraphExecEventWaitNodeSetEvent(g->exec, node, s->event)
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return w->cu.cuGraphExecBatchMemOpNodeSetParams
                   ? w->cu.cuGraphExecBatchMemOpNodeSetParams(g->exec, node, &s->ops.params)
                   : CUDA_ERROR_NOT_SUPPORTED;
    default: /* nothing to say about others */
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult enable(struct worker *w, struct worker_graph *g, uint32_t step, bool enabled)
{
    if (g->enabled[step] == enabled)
        return CUDA_SUCCESS;
    if (g->types[step] > CU_GRAPH_NODE_TYPE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    if (!w->cu.cuGraphNodeSetEnabled)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(w->cu.cuGraphNodeSetEnabled(g->exec, g->nodes[step], enabled));
    g->enabled[step] = enabled;
    return CUDA_SUCCESS;
}

CUresult worker_graph_change(struct worker *w, const struct idm_graph_change_in *in,
                             struct idm_graph_change_out *out)
{
    struct worker_graph *g;
    struct graph_step s;
    struct idm_cursor c = {in->record, in->w.record_len};
    void *driver;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_graph, in->w.exec, false, &driver));
    g = driver;
    if (in->w.step >= g->n)
        return worker_malformed(w);
    WORKER_TRY(worker_graph_step(w, &c, 0, &s));
    if (c.left || s.type != (CUgraphNodeType)g->types[in->w.step])
        return worker_malformed(w);
    WORKER_TRY(set(w, g, g->nodes[in->w.step], &s));
    return enable(w, g, in->w.step, in->w.enabled != 0);
}
