/* SPDX-License-Identifier: Apache-2.0 */
/* A graph as a row of steps, each behind those it depends on; and back. */
#include <stdlib.h>
#include <string.h>

#include "idm/graph/graph.h"

struct row {
    struct graph_step *steps;
    uint32_t n, room;
    CUgraphNode bad;
};

void steps_free(struct graph_step *steps, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        params_free(&steps[i].params);
        free(steps[i].deps);
    }
    free(steps);
}

/* --- Order --------------------------------------------------------------------------- */

/* Nodes so that each is behind its dependencies; the order they were made in where that
 * is one. CUDA_ERROR_INVALID_VALUE: there is a cycle. */
static CUresult order(const struct CUgraph_st *g, CUgraphNode *ret_nodes, CUgraphNode *stack,
                      CUgraphNode *ret_bad)
{
    const uint64_t open = graph_mark(), closed = graph_mark();
    uint32_t n = 0;
    for (struct CUgraphNode_st *root = g->first; root; root = root->after) {
        uint32_t depth = 0;
        if (root->mark == closed)
            continue;
        root->mark = open;
        root->place = 0;
        stack[depth++] = root;
        while (depth) {
            struct CUgraphNode_st *node = stack[depth - 1];
            if (node->place == node->n_deps) {
                node->mark = closed;
                ret_nodes[n++] = node;
                depth--;
                continue;
            }
            struct CUgraphNode_st *dep = node->deps[node->place++].from;
            if (dep->mark == closed)
                continue;
            if (dep->mark == open) {
                *ret_bad = dep;
                return CUDA_ERROR_INVALID_VALUE;
            }
            dep->mark = open;
            dep->place = 0;
            stack[depth++] = dep;
        }
    }
    return CUDA_SUCCESS;
}

/* --- Steps ----------------------------------------------------------------------------- */

static struct graph_step *new_step(struct row *r, const struct CUgraphNode_st *node)
{
    if (r->n == GRAPH_MAX_NODES)
        return NULL;
    if (r->n == r->room) {
        uint32_t room = r->room ? r->room * 2 : 32;
        struct graph_step *steps = realloc(r->steps, room * sizeof(*steps));
        if (!steps)
            return NULL;
        r->steps = steps;
        r->room = room;
    }
    struct graph_step *s = &r->steps[r->n++];
    *s = (struct graph_step){
        .params = {.type = CU_GRAPH_NODE_TYPE_EMPTY}, .serial = node->serial, .enabled = true};
    return s;
}

static CUresult set_deps(struct graph_step *s, const uint32_t *deps, uint32_t n)
{
    s->deps = malloc((n ? n : 1) * sizeof(*s->deps));
    if (!s->deps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (n)
        memcpy(s->deps, deps, n * sizeof(*s->deps));
    s->n_deps = n;
    return CUDA_SUCCESS;
}

static CUresult lay(struct row *r, const struct CUgraph_st *g, const uint32_t *before,
                    uint32_t n_before, unsigned nesting);

/* Steps nobody in [FIRST, r->n) depends on: a child's end depends on them. */
static CUresult leaves(const struct row *r, uint32_t first, uint32_t **ret_leaves, uint32_t *ret_n)
{
    uint32_t n = r->n - first, kept = 0;
    uint8_t *used = calloc(n + 1, 1);
    uint32_t *all = malloc((n + 1) * sizeof(*all));
    if (!used || !all) {
        free(used);
        free(all);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (uint32_t i = first; i < r->n; i++) {
        for (uint32_t k = 0; k < r->steps[i].n_deps; k++) {
            if (r->steps[i].deps[k] >= first)
                used[r->steps[i].deps[k] - first] = 1;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!used[i])
            all[kept++] = first + i;
    }
    free(used);
    *ret_leaves = all;
    *ret_n = kept;
    return CUDA_SUCCESS;
}

static CUresult lay_child(struct row *r, const struct CUgraphNode_st *node, const uint32_t *deps,
                          uint32_t n, unsigned nesting)
{
    uint32_t first = r->n, n_last = 0;
    uint32_t *last = NULL;
    GRAPH_TRY(lay(r, node->params.child, deps, n, nesting + 1));
    GRAPH_TRY(leaves(r, first, &last, &n_last));
    uint32_t inside = r->n - first;
    struct graph_step *end = new_step(r, node);
    CUresult rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (end) {
        end->child = inside;
        rc = inside ? set_deps(end, last, n_last) : set_deps(end, deps, n);
    }
    free(last);
    return rc;
}

static CUresult lay_node(struct row *r, struct CUgraphNode_st *node, const uint32_t *deps,
                         uint32_t n, unsigned nesting)
{
    CUresult rc;
    if (node->params.type == CU_GRAPH_NODE_TYPE_GRAPH) {
        rc = lay_child(r, node, deps, n, nesting);
    } else {
        struct graph_step *s = new_step(r, node);
        rc = s ? set_deps(s, deps, n) : CUDA_ERROR_OUT_OF_MEMORY;
        if (rc == CUDA_SUCCESS)
            rc = params_copy(&s->params, &node->params);
    }
    if (rc != CUDA_SUCCESS && !r->bad)
        r->bad = node;
    return rc;
}

/* A root of a child depends on what the child depends on. */
static CUresult lay_in_order(struct row *r, const CUgraphNode *nodes, uint32_t n_nodes,
                             const uint32_t *before, uint32_t n_before, uint32_t *place,
                             unsigned nesting)
{
    for (uint32_t i = 0; i < n_nodes; i++) {
        struct CUgraphNode_st *node = nodes[i];
        uint32_t *deps = node ? malloc((node->n_deps + 1) * sizeof(*deps)) : NULL;
        if (!deps)
            return CUDA_ERROR_OUT_OF_MEMORY;
        node->place = i;
        for (uint32_t k = 0; k < node->n_deps; k++)
            deps[k] = place[node->deps[k].from->place];
        CUresult rc = node->n_deps ? lay_node(r, node, deps, node->n_deps, nesting)
                                   : lay_node(r, node, before, n_before, nesting);
        free(deps);
        GRAPH_TRY(rc);
        place[i] = r->n - 1;
    }
    return CUDA_SUCCESS;
}

static CUresult lay(struct row *r, const struct CUgraph_st *g, const uint32_t *before,
                    uint32_t n_before, unsigned nesting)
{
    if (nesting == GRAPH_MAX_NESTING)
        return CUDA_ERROR_NOT_SUPPORTED;
    CUgraphNode *nodes = calloc(2 * (size_t)g->n_nodes + 1, sizeof(CUgraphNode));
    uint32_t *place = calloc(g->n_nodes + 1, sizeof(*place));
    CUresult rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (nodes && place)
        rc = order(g, nodes, nodes + g->n_nodes, &r->bad);
    if (rc == CUDA_SUCCESS)
        rc = lay_in_order(r, nodes, g->n_nodes, before, n_before, place, nesting);
    free(nodes);
    free(place);
    return rc;
}

CUresult steps_of(const struct CUgraph_st *g, struct graph_step **ret_steps, uint32_t *ret_n,
                  CUgraphNode *ret_bad)
{
    struct row r = {.n = 0};
    CUresult rc = lay(&r, g, NULL, 0, 0);
    if (rc == CUDA_SUCCESS) {
        *ret_steps = r.steps;
        *ret_n = r.n;
    } else {
        *ret_bad = r.bad;
        steps_free(r.steps, r.n);
    }
    return rc;
}

/* --- And back ---------------------------------------------------------------------------- */

static CUresult add_step(struct CUgraph_st *g, const struct graph_step *s, CUgraphNode *nodes,
                         uint32_t i)
{
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_EMPTY};
    CUgraphNode *deps = calloc(s->n_deps + 1, sizeof(CUgraphNode));
    if (!deps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t k = 0; k < s->n_deps; k++)
        deps[k] = nodes[s->deps[k]];
    CUresult rc = s->enabled ? params_copy(&p, &s->params) : CUDA_SUCCESS;
    if (rc == CUDA_SUCCESS)
        rc = graph_add(g, deps, NULL, s->n_deps, &p, &nodes[i]);
    free(deps);
    return rc;
}

CUresult graph_of_exec(const struct CUgraphExec_st *x, struct CUgraph_st **ret_graph)
{
    struct CUgraph_st *g = graph_new();
    CUgraphNode *nodes = calloc(x->n_steps + 1, sizeof(CUgraphNode));
    CUresult rc = g && nodes ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < x->n_steps && rc == CUDA_SUCCESS; i++)
        rc = add_step(g, &x->steps[i], nodes, i);
    free(nodes);
    if (rc == CUDA_SUCCESS)
        *ret_graph = g;
    else if (g)
        graph_free(g);
    return rc;
}
