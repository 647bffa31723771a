/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs, their nodes and edges; which handles live. */
#include "idm/graph/graph.h"

#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture.h"

pthread_mutex_t graph_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
    struct graph_head **buckets;
    uint32_t n_buckets; /* a power of two */
    uint32_t n;
    uint64_t serial, mark;
} all;

void graph_lock(void)
{
    pthread_mutex_lock(&graph_mutex);
}

void graph_unlock(void)
{
    bool due = graph_destructors_due(), memory_due = graph_memory_due();
    pthread_mutex_unlock(&graph_mutex);
    if (memory_due)
        graph_memory_free_due();
    if (due)
        graph_run_destructors();
}

uint64_t graph_mark(void)
{
    return ++all.mark;
}

/* --- Handles ----------------------------------------------------------------------- */

static struct graph_head **bucket(const void *handle)
{
    uint64_t h = (uint64_t)(uintptr_t)handle * 0x9e3779b97f4a7c15u;
    return &all.buckets[(h >> 32) & (all.n_buckets - 1)];
}

bool graph_lives(enum graph_kind kind, const void *handle)
{
    if (!all.n_buckets || !handle)
        return false;
    for (const struct graph_head *o = *bucket(handle); o; o = o->next) {
        if (o == handle)
            return o->kind == kind;
    }
    return false;
}

static bool grow(void)
{
    uint32_t old = all.n_buckets, n = old ? old * 2 : 64;
    struct graph_head **buckets = calloc(n, sizeof(struct graph_head *));
    struct graph_head **before = all.buckets;
    if (!buckets)
        return old != 0;
    all.buckets = buckets;
    all.n_buckets = n;
    for (uint32_t i = 0; i < old; i++) {
        struct graph_head *next;
        for (struct graph_head *o = before[i]; o; o = next) {
            next = o->next;
            struct graph_head **b = bucket(o);
            o->next = *b;
            *b = o;
        }
    }
    free(before);
    return true;
}

bool graph_born(enum graph_kind kind, struct graph_head *o)
{
    if (all.n >= all.n_buckets && !grow())
        return false;
    struct graph_head **b = bucket(o);
    o->kind = kind;
    o->next = *b;
    *b = o;
    all.n++;
    return true;
}

void graph_died(struct graph_head *o)
{
    struct graph_head **at = bucket(o);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    all.n--;
}

/* --- Graphs ------------------------------------------------------------------------- */

struct CUgraph_st *graph_new(void)
{
    struct CUgraph_st *g = calloc(1, sizeof(*g));
    if (!g || !graph_born(GRAPH_GRAPH, &g->head)) {
        free(g);
        return NULL;
    }
    g->serial = ++all.serial;
    return g;
}

static void node_free(struct CUgraphNode_st *node)
{
    graph_died(&node->head);
    params_free(&node->params);
    free(node->deps);
    free(node);
}

void graph_free(struct CUgraph_st *g)
{
    struct CUgraphNode_st *next;
    capture_graph_gone(g);
    for (struct CUgraphNode_st *n = g->first; n; n = next) {
        next = n->after;
        node_free(n);
    }
    graph_uses_free(g);
    graph_died(&g->head);
    free(g);
}

/* --- Edges -------------------------------------------------------------------------- */

/* A node that may begin before the one it depends on is done begins when it is done. */
static bool good_edge(const struct CUgraphNode_st *from, const struct CUgraphNode_st *to,
                      const CUgraphEdgeData *e)
{
    static const unsigned char none[sizeof(e->reserved)];
    if (e->to_port || memcmp(e->reserved, none, sizeof(none)) != 0)
        return false;
    if (!e->type)
        return !e->from_port;
    return e->type == 1 && (e->from_port == 1 || e->from_port == 2) &&
           from->params.type == CU_GRAPH_NODE_TYPE_KERNEL &&
           to->params.type == CU_GRAPH_NODE_TYPE_KERNEL;
}

CUresult graph_connect(struct CUgraphNode_st *from, struct CUgraphNode_st *to,
                       const CUgraphEdgeData *data)
{
    static const CUgraphEdgeData plain;
    const CUgraphEdgeData *d = data ? data : &plain;
    if (from->graph != to->graph || from == to || !good_edge(from, to, d))
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < to->n_deps; i++) {
        if (to->deps[i].from == from)
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (to->n_deps == to->deps_room) {
        uint32_t room = to->deps_room ? to->deps_room * 2 : 2;
        struct graph_edge *deps = realloc(to->deps, room * sizeof(*deps));
        if (!deps)
            return CUDA_ERROR_OUT_OF_MEMORY;
        to->deps = deps;
        to->deps_room = room;
    }
    to->deps[to->n_deps++] = (struct graph_edge){from, *d};
    return CUDA_SUCCESS;
}

static CUresult connect_all(struct CUgraphNode_st *node, const CUgraphNode *deps,
                            const CUgraphEdgeData *edges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!graph_lives(GRAPH_NODE, deps[i]))
            return CUDA_ERROR_INVALID_VALUE;
        GRAPH_TRY(graph_connect(deps[i], node, edges ? &edges[i] : NULL));
    }
    return CUDA_SUCCESS;
}

/* --- Nodes -------------------------------------------------------------------------- */

static void append(struct CUgraph_st *g, struct CUgraphNode_st *node)
{
    node->before = g->last;
    node->after = NULL;
    *(g->last ? &g->last->after : &g->first) = node;
    g->last = node;
    g->n_nodes++;
}

CUresult graph_add(struct CUgraph_st *g, const CUgraphNode *deps, const CUgraphEdgeData *edges,
                   size_t n, struct graph_params *p, struct CUgraphNode_st **ret_node)
{
    struct CUgraphNode_st *node = calloc(1, sizeof(*node));
    if (!node || g->n_nodes >= GRAPH_MAX_NODES || !graph_born(GRAPH_NODE, &node->head)) {
        params_free(p);
        free(node);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    node->graph = g;
    node->serial = ++all.serial;
    node->params = *p;
    CUresult rc = n && !deps ? CUDA_ERROR_INVALID_VALUE : connect_all(node, deps, edges, n);
    if (rc != CUDA_SUCCESS) {
        node_free(node);
        return rc;
    }
    if (p->type == CU_GRAPH_NODE_TYPE_GRAPH)
        p->child->owner = node;
    append(g, node);
    *ret_node = node;
    return CUDA_SUCCESS;
}

static void disconnect(struct CUgraphNode_st *to, const struct CUgraphNode_st *from)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < to->n_deps; i++) {
        if (to->deps[i].from != from)
            to->deps[kept++] = to->deps[i];
    }
    to->n_deps = kept;
}

void graph_remove(struct CUgraphNode_st *node)
{
    struct CUgraph_st *g = node->graph;
    for (struct CUgraphNode_st *n = g->first; n; n = n->after)
        disconnect(n, node);
    capture_node_gone(node);
    *(node->before ? &node->before->after : &g->first) = node->after;
    *(node->after ? &node->after->before : &g->last) = node->before;
    g->n_nodes--;
    node_free(node);
}

/* --- Clones ------------------------------------------------------------------------- */

static CUresult clone_node(struct CUgraph_st *to, struct CUgraphNode_st *node,
                           struct CUgraphNode_st **ret_node)
{
    struct graph_params p;
    GRAPH_TRY(params_copy(&p, &node->params));
    GRAPH_TRY(graph_add(to, NULL, NULL, 0, &p, ret_node));
    (*ret_node)->original = node->serial;
    return CUDA_SUCCESS;
}

static CUresult clone_edges(const struct CUgraphNode_st *node, CUgraphNode *clones)
{
    for (uint32_t i = 0; i < node->n_deps; i++)
        GRAPH_TRY(graph_connect(clones[node->deps[i].from->place], clones[node->place],
                                &node->deps[i].data));
    return CUDA_SUCCESS;
}

static CUresult clone_into(struct CUgraph_st *to, const struct CUgraph_st *g, CUgraphNode *clones)
{
    uint32_t i = 0;
    for (struct CUgraphNode_st *n = g->first; n; n = n->after) {
        n->place = i;
        GRAPH_TRY(clone_node(to, n, &clones[i++]));
    }
    for (const struct CUgraphNode_st *n = g->first; n; n = n->after)
        GRAPH_TRY(clone_edges(n, clones));
    return graph_uses_copy(to, g);
}

/* An address is one graph's. */
static bool has_memory(const struct CUgraph_st *g)
{
    for (const struct CUgraphNode_st *n = g->first; n; n = n->after) {
        if (n->params.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
            n->params.type == CU_GRAPH_NODE_TYPE_MEM_FREE)
            return true;
    }
    return false;
}

CUresult graph_clone(const struct CUgraph_st *g, struct CUgraph_st **ret_clone)
{
    if (has_memory(g))
        return CUDA_ERROR_NOT_SUPPORTED;
    struct CUgraph_st *clone = graph_new();
    CUgraphNode *clones = calloc(g->n_nodes + 1, sizeof(CUgraphNode));
    CUresult rc = clone && clones ? clone_into(clone, g, clones) : CUDA_ERROR_OUT_OF_MEMORY;
    free(clones);
    if (rc == CUDA_SUCCESS) {
        clone->original = g->serial;
        *ret_clone = clone;
    } else if (clone) {
        graph_free(clone);
    }
    return rc;
}
