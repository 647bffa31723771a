/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs looked at: nodes, edges, clones; edges made and cut by hand. */
#include <string.h>

#include "idm/graph/graph.h"

/* What is asked for is counted where there is no room for it, and given where there is. */
struct list {
    CUgraphNode *nodes, *others;
    CUgraphEdgeData *edges;
    size_t room, n;
    bool lossy; /* there is data of an edge for which the caller has no place */
};

static void list_add(struct list *l, CUgraphNode node, CUgraphNode other,
                     const CUgraphEdgeData *edge)
{
    static const CUgraphEdgeData plain;
    if (l->n < l->room && l->nodes)
        l->nodes[l->n] = node;
    if (l->n < l->room && l->others)
        l->others[l->n] = other;
    if (l->n < l->room && l->edges && edge)
        l->edges[l->n] = *edge;
    l->lossy = l->lossy || (edge && !l->edges && memcmp(edge, &plain, sizeof(plain)) != 0);
    l->n++;
}

/* What isn't there is NULL. */
static CUresult list_end(struct list *l, size_t *n)
{
    if (!l->nodes) {
        *n = l->n;
        return l->lossy && l->others ? CUDA_ERROR_LOSSY_QUERY : CUDA_SUCCESS;
    }
    for (size_t i = l->n; i < l->room; i++) {
        l->nodes[i] = NULL;
        if (l->others)
            l->others[i] = NULL;
    }
    *n = l->n < l->room ? l->n : l->room;
    return l->lossy ? CUDA_ERROR_LOSSY_QUERY : CUDA_SUCCESS;
}

static struct list list_for(CUgraphNode *nodes, CUgraphNode *others, CUgraphEdgeData *edges,
                            const size_t *n)
{
    return (struct list){.nodes = nodes, .others = others, .edges = edges, .room = nodes ? *n : 0};
}

static CUresult list_nodes(CUgraph graph, bool roots, CUgraphNode *nodes, size_t *n)
{
    GRAPH_TRY(graph_enter(false));
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = list_for(nodes, NULL, NULL, n);
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_GRAPH, graph)) {
        for (struct CUgraphNode_st *node = graph->first; node; node = node->after) {
            if (!roots || !node->n_deps)
                list_add(&l, node, NULL, NULL);
        }
        rc = list_end(&l, n);
    }
    graph_unlock();
    return rc;
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
    return list_nodes(graph, false, nodes, n);
}

CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
    return list_nodes(graph, true, nodes, n);
}

static CUresult list_edges(CUgraph graph, struct list *l, size_t *n)
{
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_GRAPH, graph)) {
        for (struct CUgraphNode_st *to = graph->first; to; to = to->after) {
            for (uint32_t i = 0; i < to->n_deps; i++)
                list_add(l, to->deps[i].from, to, &to->deps[i].data);
        }
        rc = list_end(l, n);
    }
    graph_unlock();
    return rc;
}

CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode *from, CUgraphNode *to,
                            CUgraphEdgeData *edges, size_t *n)
{
    GRAPH_TRY(graph_enter(false));
    if (!n || !from != !to)
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = list_for(from, to, edges, n);
    return list_edges(graph, &l, n);
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *n)
{
    return cuGraphGetEdges_v2(graph, from, to, NULL, n);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *deps, CUgraphEdgeData *edges,
                                       size_t *n)
{
    GRAPH_TRY(graph_enter(false));
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = list_for(deps, NULL, edges, n);
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_NODE, node)) {
        for (uint32_t i = 0; i < node->n_deps; i++)
            list_add(&l, node->deps[i].from, NULL, &node->deps[i].data);
        rc = list_end(&l, n);
    }
    graph_unlock();
    return rc;
}

CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *deps, size_t *n)
{
    return cuGraphNodeGetDependencies_v2(node, deps, NULL, n);
}

static void list_dependents(struct list *l, const struct CUgraphNode_st *node)
{
    for (struct CUgraphNode_st *to = node->graph->first; to; to = to->after) {
        for (uint32_t i = 0; i < to->n_deps; i++) {
            if (to->deps[i].from == node)
                list_add(l, to, NULL, &to->deps[i].data);
        }
    }
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *dependents,
                                         CUgraphEdgeData *edges, size_t *n)
{
    GRAPH_TRY(graph_enter(false));
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = list_for(dependents, NULL, edges, n);
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_NODE, node)) {
        list_dependents(&l, node);
        rc = list_end(&l, n);
    }
    graph_unlock();
    return rc;
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *dependents, size_t *n)
{
    return cuGraphNodeGetDependentNodes_v2(node, dependents, NULL, n);
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
    GRAPH_TRY(graph_enter(false));
    if (!type)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    bool lives = graph_lives(GRAPH_NODE, node);
    if (lives)
        *type = node->params.type;
    graph_unlock();
    return lives ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphNodeFindInClone(CUgraphNode *node, CUgraphNode original, CUgraph clone)
{
    GRAPH_TRY(graph_enter(false));
    if (!node)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (graph_lives(GRAPH_NODE, original) && graph_lives(GRAPH_GRAPH, clone)) {
        for (struct CUgraphNode_st *n = clone->first; n && rc != CUDA_SUCCESS; n = n->after) {
            if (n->original == original->serial) {
                *node = n;
                rc = CUDA_SUCCESS;
            }
        }
    }
    graph_unlock();
    return rc;
}

/* --- Edges by hand --------------------------------------------------------------------- */

static bool in_graph(CUgraph graph, const CUgraphNode *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!graph_lives(GRAPH_NODE, nodes[i]) || nodes[i]->graph != graph)
            return false;
    }
    return true;
}

static bool good_lists(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
    return graph_lives(GRAPH_GRAPH, graph) && (!n || (from && to)) && in_graph(graph, from, n) &&
           in_graph(graph, to, n);
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *edges, size_t n)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    CUresult rc = good_lists(graph, from, to, n) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = graph_connect(from[i], to[i], edges ? &edges[i] : NULL);
    graph_unlock();
    return rc;
}

CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                size_t n)
{
    return cuGraphAddDependencies_v2(graph, from, to, NULL, n);
}

static CUresult cut(const struct CUgraphNode_st *from, struct CUgraphNode_st *to,
                    const CUgraphEdgeData *edge)
{
    for (uint32_t i = 0; i < to->n_deps; i++) {
        if (to->deps[i].from != from ||
            (edge && memcmp(&to->deps[i].data, edge, sizeof(*edge)) != 0))
            continue;
        memmove(&to->deps[i], &to->deps[i + 1], (--to->n_deps - i) * sizeof(*to->deps));
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                      const CUgraphEdgeData *edges, size_t n)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    CUresult rc = good_lists(graph, from, to, n) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = cut(from[i], to[i], edges ? &edges[i] : NULL);
    graph_unlock();
    return rc;
}

CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   size_t n)
{
    return cuGraphRemoveDependencies_v2(graph, from, to, NULL, n);
}
