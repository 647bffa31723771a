/* SPDX-License-Identifier: Apache-2.0 */
/* A graph as text for dot. */
#include <errno.h>
#include <stdio.h>

#include "idm/graph/graph.h"

static const char *const type_names[] = {
    "KERNEL",       "MEMCPY",       "MEMSET",           "HOST",           "GRAPH",     "EMPTY",
    "WAIT_EVENT",   "EVENT_RECORD", "EXT_SEMAS_SIGNAL", "EXT_SEMAS_WAIT", "MEM_ALLOC", "MEM_FREE",
    "BATCH_MEM_OP", "CONDITIONAL"};

static void describe(FILE *f, const struct graph_params *p)
{
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
        const struct graph_kernel *k = &p->kernel;
        const char *name = NULL;
        if (!k->func || cuFuncGetName(&name, k->func) != CUDA_SUCCESS)
            (void)cuKernelGetName(&name, k->func ? (CUkernel)k->func : k->kern);
        fprintf(f, "\\n%s\\n<<<(%u,%u,%u),(%u,%u,%u),%u>>>", name ? name : "", k->grid[0],
                k->grid[1], k->grid[2], k->block[0], k->block[1], k->block[2], k->shared);
        return;
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        fprintf(f, "\\n%zu x %zu x %zu", p->copy.WidthInBytes, p->copy.Height, p->copy.Depth);
        return;
    case CU_GRAPH_NODE_TYPE_MEMSET:
        fprintf(f, "\\n%#x, %zu x %zu of %u", p->fill.value, p->fill.width, p->fill.height,
                p->fill.elementSize);
        return;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        fprintf(f, "\\n%u", p->ops.count);
        return;
    default:
        return;
    }
}

/* Nodes have the number of their graph and their own. */
static void print(FILE *f, const struct CUgraph_st *g, unsigned number, unsigned *next)
{
    unsigned i = 0;
    fprintf(f, "subgraph cluster_%u {\nlabel=\"graph_%u\"\n", number, number);
    for (struct CUgraphNode_st *n = g->first; n; n = n->after) {
        n->place = i++;
        fprintf(f, "\"graph_%u_node_%u\"[shape=\"rectangle\" label=\"%u\\n%s", number, n->place,
                n->place, type_names[n->params.type]);
        describe(f, &n->params);
        fprintf(f, "\"];\n");
    }
    for (const struct CUgraphNode_st *n = g->first; n; n = n->after) {
        for (uint32_t k = 0; k < n->n_deps; k++)
            fprintf(f, "\"graph_%u_node_%u\" -> \"graph_%u_node_%u\";\n", number,
                    n->deps[k].from->place, number, n->place);
    }
    fprintf(f, "}\n");
    for (const struct CUgraphNode_st *n = g->first; n; n = n->after) {
        if (n->params.type == CU_GRAPH_NODE_TYPE_GRAPH)
            print(f, n->params.child, ++*next, next);
    }
}

CUresult cuGraphDebugDotPrint(CUgraph graph, const char *path, unsigned int flags)
{
    unsigned next = 0;
    (void)flags; /* how much is told of a node; here it is little */
    GRAPH_TRY(graph_enter(false));
    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    graph_lock();
    FILE *f = graph_lives(GRAPH_GRAPH, graph) ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "digraph dot {\n");
        print(f, graph, 0, &next);
        fprintf(f, "}\n");
    }
    CUresult rc = !f && !graph_lives(GRAPH_GRAPH, graph) ? CUDA_ERROR_INVALID_VALUE
                  : !f || fclose(f) != 0                 ? CUDA_ERROR_OPERATING_SYSTEM
                                                         : CUDA_SUCCESS;
    graph_unlock();
    return rc;
}
