/* SPDX-License-Identifier: Apache-2.0 */
/* An executable graph takes over the parameters of another graph of the same shape. */
#include <string.h>

#include "idm/graph/exec.h"

/* CU_GRAPH_EXEC_UPDATE_SUCCESS, or what is different at step RET_AT of the new ones. */
static CUgraphExecUpdateResult compare(const struct graph_step *old, const struct graph_step *new,
                                       uint32_t n, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < n; i++) {
        *ret_at = i;
        if (old[i].n_deps != new[i].n_deps || old[i].child != new[i].child)
            return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        for (uint32_t k = 0; k < old[i].n_deps; k++) {
            /* Places among the steps of one child, or of the whole. */
            if (old[i].deps[k] != new[i].deps[k])
                return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        }
        if (old[i].params.type != new[i].params.type)
            return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
    }
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

/* Steps [FIRST, FIRST + N) of X become what NEW says. */
static CUresult replace(struct CUgraphExec_st *x, uint32_t first, struct graph_step *new,
                        uint32_t n, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < n; i++) {
        struct graph_step *s = &x->steps[first + i];
        *ret_at = i;
        if (s->child || params_equal(&s->params, &new[i].params))
            continue;
        struct graph_params p = new[i].params;
        new[i].params.type = CU_GRAPH_NODE_TYPE_EMPTY; /* taken */
        GRAPH_TRY(exec_change(x, first + i, &p, s->enabled));
    }
    return CUDA_SUCCESS;
}

static CUgraphNode node_of(CUgraph graph, uint64_t serial)
{
    for (struct CUgraphNode_st *n = graph->first; n; n = n->after) {
        if (n->serial == serial)
            return n;
    }
    return NULL; /* a child's, of which the caller has no handle */
}

static CUgraphExecUpdateResult update(struct CUgraphExec_st *x, CUgraph graph, CUgraphNode *ret_bad)
{
    struct graph_step *steps = NULL;
    uint32_t n = 0, at = 0;
    graph_lock();
    CUresult rc = graph_lives(GRAPH_GRAPH, graph) ? steps_of(graph, &steps, &n, ret_bad)
                                                  : CUDA_ERROR_INVALID_VALUE;
    graph_unlock();
    if (rc != CUDA_SUCCESS)
        return CU_GRAPH_EXEC_UPDATE_ERROR;
    CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    bool same_length = n == x->n_steps;
    if (same_length)
        result = compare(x->steps, steps, n, &at);
    if (result == CU_GRAPH_EXEC_UPDATE_SUCCESS && replace(x, 0, steps, n, &at) != CUDA_SUCCESS)
        result = CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    graph_lock();
    if (result != CU_GRAPH_EXEC_UPDATE_SUCCESS && same_length && n &&
        graph_lives(GRAPH_GRAPH, graph))
        *ret_bad = node_of(graph, steps[at].serial);
    steps_free(steps, n);
    graph_unlock();
    return result;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
    struct CUgraphExec_st *x;
    CUgraphExecUpdateResultInfo said = {.result = CU_GRAPH_EXEC_UPDATE_ERROR};
    GRAPH_TRY(graph_enter(true));
    if (!info)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(exec_take(exec, &x));
    said.result = update(x, graph, &said.errorNode);
    *info = said;
    return exec_give(x, said.result == CU_GRAPH_EXEC_UPDATE_SUCCESS
                            ? CUDA_SUCCESS
                            : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode *error_node,
                           CUgraphExecUpdateResult *result)
{
    CUgraphExecUpdateResultInfo info = {.result = CU_GRAPH_EXEC_UPDATE_ERROR};
    CUresult rc = cuGraphExecUpdate_v2(exec, graph, &info);
    if (error_node)
        *error_node = info.errorNode;
    if (result)
        *result = info.result;
    return rc;
}

/* A child's steps depend on each other, and the first ones on what is before the child. */
static CUgraphExecUpdateResult compare_child(const struct graph_step *old, uint32_t first,
                                             const struct graph_step *new, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct graph_step *o = &old[first + i];
        bool root = o->n_deps == 0 || o->deps[0] < first;
        if (o->params.type != new[i].params.type || o->child != new[i].child ||
            (root ? new[i].n_deps != 0 : new[i].n_deps != o->n_deps))
            return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        for (uint32_t k = 0; k < new[i].n_deps; k++) {
            if (o->deps[k] != first + new[i].deps[k])
                return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        }
    }
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

static CUresult set_child(struct CUgraphExec_st *x, CUgraphNode node, CUgraph child)
{
    struct graph_step *steps = NULL;
    uint32_t n = 0, end, at;
    CUgraphNode bad = NULL;
    GRAPH_TRY(exec_find_step(x, node, &end));
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_GRAPH, child) && graph_lives(GRAPH_NODE, node) &&
        node->params.type == CU_GRAPH_NODE_TYPE_GRAPH)
        rc = steps_of(child, &steps, &n, &bad);
    graph_unlock();
    GRAPH_TRY(rc);
    rc = CUDA_ERROR_INVALID_VALUE;
    if (n == x->steps[end].child &&
        compare_child(x->steps, end - n, steps, n) == CU_GRAPH_EXEC_UPDATE_SUCCESS)
        rc = replace(x, end - n, steps, n, &at);
    graph_lock();
    steps_free(steps, n);
    graph_unlock();
    return rc;
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraph child)
{
    struct CUgraphExec_st *x;
    GRAPH_TRY(graph_enter(true));
    GRAPH_TRY(exec_take(exec, &x));
    return exec_give(x, set_child(x, node, child));
}
