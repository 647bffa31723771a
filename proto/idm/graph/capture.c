/* SPDX-License-Identifier: Apache-2.0 */
/* Captures there are, their streams and events. */
#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture_state.h"

atomic_uint capture_things;
struct capture *captures;
__thread CUstreamCaptureMode capture_thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

static struct capture_event *events;
static uint64_t last_id;

const void *capture_thread(void)
{
    return &capture_thread_mode; /* each thread has its own */
}

/* --- Sets of nodes ------------------------------------------------------------------ */

CUresult set_add(struct node_set *s, CUgraphNode node)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->nodes[i] == node)
            return CUDA_SUCCESS;
    }
    if (s->n == s->room) {
        uint32_t room = s->room ? s->room * 2 : 4;
        CUgraphNode *nodes = realloc(s->nodes, room * sizeof(CUgraphNode));
        if (nodes)
            s->nodes = nodes;
        CUgraphEdgeData *edges = realloc(s->edges, room * sizeof(*edges));
        if (edges)
            s->edges = edges;
        if (!nodes || !edges)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memset(s->edges, 0, room * sizeof(*edges));
        s->room = room;
    }
    s->nodes[s->n++] = node;
    return CUDA_SUCCESS;
}

CUresult set_add_all(struct node_set *s, const struct node_set *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        GRAPH_TRY(set_add(s, from->nodes[i]));
    return CUDA_SUCCESS;
}

static void set_remove(struct node_set *s, const struct CUgraphNode_st *node)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->nodes[i] == node)
            s->nodes[i--] = s->nodes[--s->n];
    }
}

void set_clear(struct node_set *s)
{
    free(s->nodes);
    free(s->edges);
    *s = (struct node_set){.n = 0};
}

/* --- Streams --------------------------------------------------------------------------- */

struct capture_stream *capture_find(uint64_t key, struct capture **ret_capture)
{
    for (struct capture *c = captures; c; c = c->next) {
        for (struct capture_stream *s = c->streams; s; s = s->next) {
            if (s->stream.key == key) {
                *ret_capture = c;
                return s;
            }
        }
    }
    return NULL;
}

struct capture_stream *capture_join(struct capture *c, const struct graph_stream *stream)
{
    struct capture_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->stream = *stream;
    s->next = c->streams;
    c->streams = s;
    return s;
}

struct capture *capture_begin(const struct graph_stream *s, CUstreamCaptureMode mode,
                              struct CUgraph_st *graph)
{
    struct capture *c = calloc(1, sizeof(*c));
    if (!c || !capture_join(c, s)) {
        free(c);
        return NULL;
    }
    c->graph = graph ? graph : graph_new();
    if (!c->graph) {
        free(c->streams);
        free(c);
        return NULL;
    }
    c->owns_graph = !graph;
    c->id = ++last_id;
    c->mode = mode;
    c->thread = capture_thread();
    c->origin = s->key;
    c->next = captures;
    captures = c;
    atomic_fetch_add(&capture_things, 1);
    return c;
}

void capture_end(struct capture *c)
{
    struct capture **at = &captures;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    struct capture_stream *next;
    for (struct capture_stream *s = c->streams; s; s = next) {
        next = s->next;
        set_clear(&s->deps);
        free(s);
    }
    for (struct capture_event *e = events; e; e = e->next) {
        if (e->capture == c)
            e->capture = NULL;
    }
    if (c->owns_graph)
        graph_free(c->graph);
    free(c);
    atomic_fetch_sub(&capture_things, 1);
}

/* Marks NODE and all it depends on. STACK: room for all nodes. */
static void mark_before(struct CUgraphNode_st *node, uint64_t mark, CUgraphNode *stack)
{
    uint32_t n = 0;
    if (node->mark == mark)
        return;
    node->mark = mark;
    stack[n++] = node;
    while (n) {
        const struct CUgraphNode_st *at = stack[--n];
        for (uint32_t i = 0; i < at->n_deps; i++) {
            struct CUgraphNode_st *dep = at->deps[i].from;
            if (dep->mark == mark)
                continue;
            dep->mark = mark;
            stack[n++] = dep;
        }
    }
}

bool capture_is_joined(const struct capture *c, bool *ret_joined)
{
    const uint64_t mark = graph_mark();
    CUgraphNode *stack = calloc(c->graph->n_nodes + 1, sizeof(CUgraphNode));
    if (!stack)
        return false;
    bool joined = true;
    for (const struct capture_stream *s = c->streams; s; s = s->next) {
        for (uint32_t i = 0; s->stream.key == c->origin && i < s->deps.n; i++)
            mark_before(s->deps.nodes[i], mark, stack);
    }
    for (const struct capture_stream *s = c->streams; s; s = s->next) {
        for (uint32_t i = 0; i < s->deps.n; i++)
            joined = joined && s->deps.nodes[i]->mark == mark;
    }
    free(stack);
    *ret_joined = joined;
    return true;
}

bool capture_takes(CUstream stream, CUresult *ret_rc)
{
    struct graph_stream s;
    struct capture *c;
    *ret_rc = CUDA_SUCCESS;
    if (graph_stream(stream, &s) != CUDA_SUCCESS)
        return false; /* the call itself will say so */
    if (s.legacy) {
        (void)capture_legacy(ret_rc);
        return false;
    }
    graph_lock();
    bool found = capture_find(s.key, &c) != NULL;
    graph_unlock();
    return found;
}

static CUresult add(const struct graph_stream *s, struct graph_params *p)
{
    struct capture *c;
    CUgraphNode node;
    struct capture_stream *st = capture_find(s->key, &c);
    if (!st || c->invalid) {
        params_free(p);
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    CUresult rc = graph_add(c->graph, st->deps.nodes, NULL, st->deps.n, p, &node);
    if (rc == CUDA_SUCCESS) {
        st->deps.n = 0;
        rc = set_add(&st->deps, node);
    }
    c->invalid = rc != CUDA_SUCCESS;
    return rc;
}

CUresult capture_add(CUstream stream, struct graph_params *p)
{
    struct graph_stream s;
    CUresult rc = graph_stream(stream, &s);
    graph_lock();
    if (rc == CUDA_SUCCESS)
        rc = add(&s, p);
    else
        params_free(p);
    graph_unlock();
    return rc;
}

/* --- Events ------------------------------------------------------------------------------ */

struct capture_event *capture_find_event(CUevent event)
{
    struct capture_event *e = events;
    while (e && e->event != event)
        e = e->next;
    return e;
}

static void drop(struct capture_event **at)
{
    struct capture_event *e = *at;
    *at = e->next;
    set_clear(&e->deps);
    free(e);
    atomic_fetch_sub(&capture_things, 1);
}

void capture_drop_event(CUevent event)
{
    struct capture_event **at = &events;
    while (*at && (*at)->event != event)
        at = &(*at)->next;
    if (*at)
        drop(at);
}

void capture_drop_events(CUcontext context)
{
    struct capture_event **at = &events;
    while (*at) {
        if ((*at)->context == context)
            drop(at);
        else
            at = &(*at)->next;
    }
}

CUresult capture_mark_event(CUevent event, struct capture *c, const struct capture_stream *st)
{
    struct capture_event *e = capture_find_event(event);
    if (!e) {
        e = calloc(1, sizeof(*e));
        if (!e)
            return CUDA_ERROR_OUT_OF_MEMORY;
        e->event = event;
        e->next = events;
        events = e;
        atomic_fetch_add(&capture_things, 1);
    }
    e->capture = c;
    e->context = st->stream.context;
    e->deps.n = 0;
    return set_add_all(&e->deps, &st->deps);
}

/* --- What goes ------------------------------------------------------------------------------ */

void capture_graph_gone(const struct CUgraph_st *g)
{
    for (struct capture *c = captures; c; c = c->next) {
        if (c->graph != g)
            continue;
        c->graph = NULL;
        c->owns_graph = false;
        c->invalid = true;
        for (struct capture_stream *s = c->streams; s; s = s->next)
            s->deps.n = 0;
        for (struct capture_event *e = events; e; e = e->next) {
            if (e->capture == c)
                e->deps.n = 0;
        }
    }
}

void capture_node_gone(const struct CUgraphNode_st *node)
{
    for (struct capture *c = captures; c; c = c->next) {
        for (struct capture_stream *s = c->streams; s; s = s->next)
            set_remove(&s->deps, node);
    }
    for (struct capture_event *e = events; e; e = e->next)
        set_remove(&e->deps, node);
}

void graph_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&graph_mutex, &mutex, sizeof(mutex));
    captures = NULL;
    events = NULL;
    atomic_store(&capture_things, 0); /* memory of graphs is the parent's */
}
