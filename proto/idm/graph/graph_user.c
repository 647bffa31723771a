/* SPDX-License-Identifier: Apache-2.0 */
/* The program's objects that live as long as graphs that use them. */
#include <stdlib.h>

#include "idm/graph/graph.h"

struct CUuserObject_st {
    struct graph_head head;
    void *ptr;
    CUhostFn destroy;
    uint64_t refs;                /* the program's and all graphs' */
    uint64_t own;                 /* the program's */
    struct CUuserObject_st *next; /* whose destructor is due */
};

/* A graph's references to an object. */
struct graph_use {
    struct graph_use *next;
    struct CUuserObject_st *object;
    uint64_t count;
};

static struct CUuserObject_st *due;

static void put(struct CUuserObject_st *o, uint64_t count)
{
    o->refs -= count;
    if (o->refs)
        return;
    graph_died(&o->head);
    o->next = due;
    due = o;
}

bool graph_destructors_due(void)
{
    return due != NULL;
}

void graph_run_destructors(void)
{
    pthread_mutex_lock(&graph_mutex);
    struct CUuserObject_st *all = due, *next;
    due = NULL;
    pthread_mutex_unlock(&graph_mutex);
    for (; all; all = next) {
        next = all->next;
        all->destroy(all->ptr);
        free(all);
    }
}

void graph_uses_free(struct CUgraph_st *g)
{
    struct graph_use *next;
    for (struct graph_use *u = g->uses; u; u = next) {
        next = u->next;
        put(u->object, u->count);
        free(u);
    }
    g->uses = NULL;
}

static CUresult use(struct CUgraph_st *g, struct CUuserObject_st *o, uint64_t count)
{
    struct graph_use *u = g->uses;
    while (u && u->object != o)
        u = u->next;
    if (!u) {
        u = calloc(1, sizeof(*u));
        if (!u)
            return CUDA_ERROR_OUT_OF_MEMORY;
        u->object = o;
        u->next = g->uses;
        g->uses = u;
    }
    u->count += count;
    return CUDA_SUCCESS;
}

CUresult graph_uses_copy(struct CUgraph_st *to, const struct CUgraph_st *from)
{
    for (const struct graph_use *u = from->uses; u; u = u->next) {
        GRAPH_TRY(use(to, u->object, u->count));
        u->object->refs += u->count;
    }
    for (const struct CUgraphNode_st *n = from->first; n; n = n->after) {
        /* A child's are its own, and it lives as long: but not longer than an executable. */
        if (n->params.type == CU_GRAPH_NODE_TYPE_GRAPH && !to->head.kind)
            GRAPH_TRY(graph_uses_copy(to, n->params.child));
    }
    return CUDA_SUCCESS;
}

CUresult cuUserObjectCreate(CUuserObject *object, void *ptr, CUhostFn destroy, unsigned int count,
                            unsigned int flags)
{
    GRAPH_TRY(graph_enter(false));
    if (!object || !destroy || !count || flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
        return CUDA_ERROR_INVALID_VALUE;
    struct CUuserObject_st *o = calloc(1, sizeof(*o));
    if (!o)
        return CUDA_ERROR_OUT_OF_MEMORY;
    o->ptr = ptr;
    o->destroy = destroy;
    o->refs = o->own = count;
    graph_lock();
    bool born = graph_born(GRAPH_USER, &o->head);
    graph_unlock();
    if (born)
        *object = o;
    else
        free(o);
    return born ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    bool good = count && graph_lives(GRAPH_USER, object);
    if (good) {
        object->refs += count;
        object->own += count;
    }
    graph_unlock();
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned int count)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    bool good = count && graph_lives(GRAPH_USER, object) && object->own >= count;
    if (good) {
        object->own -= count;
        put(object, count);
    }
    graph_unlock();
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count,
                                 unsigned int flags)
{
    bool moves = flags == CU_GRAPH_USER_OBJECT_MOVE;
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    if (count && flags <= CU_GRAPH_USER_OBJECT_MOVE && graph_lives(GRAPH_GRAPH, graph) &&
        graph_lives(GRAPH_USER, object) && (!moves || object->own >= count))
        rc = use(graph, object, count);
    if (rc == CUDA_SUCCESS && moves)
        object->own -= count;
    else if (rc == CUDA_SUCCESS)
        object->refs += count;
    graph_unlock();
    return rc;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count)
{
    GRAPH_TRY(graph_enter(false));
    graph_lock();
    CUresult rc = CUDA_ERROR_INVALID_VALUE;
    struct graph_use **at = graph_lives(GRAPH_GRAPH, graph) ? &graph->uses : NULL;
    while (at && *at && (*at)->object != object)
        at = &(*at)->next;
    if (at && *at && count && (*at)->count >= count) {
        struct graph_use *u = *at;
        u->count -= count;
        put(u->object, count);
        if (!u->count) {
            *at = u->next;
            free(u);
        }
        rc = CUDA_SUCCESS;
    }
    graph_unlock();
    return rc;
}
