/* SPDX-License-Identifier: Apache-2.0 */
/* Captures from inside. With graph_lock held. */
#ifndef GI_GRAPH_CAPTURE_STATE_H
#define GI_GRAPH_CAPTURE_STATE_H

#include "idm/graph/capture.h"

/* Nodes, each once. */
struct node_set {
    CUgraphNode *nodes;
    CUgraphEdgeData *edges; /* all plain, for who asks for them */
    uint32_t n, room;
};

/* A stream that is captured: the one it began with, or one that joined. */
struct capture_stream {
    struct capture_stream *next;
    struct graph_stream stream;
    struct node_set deps; /* what the next node depends on */
};

struct capture {
    struct capture *next;
    uint64_t id;
    CUstreamCaptureMode mode;
    const void *thread; /* that began it */
    uint64_t origin;    /* the key of the stream it began with */
    struct CUgraph_st *graph;
    bool owns_graph; /* until the end */
    bool invalid;
    struct capture_stream *streams;
};

/* An event last recorded in a capture. */
struct capture_event {
    struct capture_event *next;
    CUevent event;
    CUcontext context;
    struct capture *capture; /* NULL: it has ended */
    struct node_set deps;
};

extern struct capture *captures;

/* The calling thread's mark and mode. */
const void *capture_thread(void);
extern __thread CUstreamCaptureMode capture_thread_mode;

CUresult set_add(struct node_set *s, CUgraphNode node);
CUresult set_add_all(struct node_set *s, const struct node_set *from);
void set_clear(struct node_set *s);

struct capture_stream *capture_find(uint64_t key, struct capture **ret_capture);
struct capture_event *capture_find_event(CUevent event);
void capture_drop_event(CUevent event);
/* NULL: no memory. GRAPH NULL: one of its own. */
struct capture *capture_begin(const struct graph_stream *s, CUstreamCaptureMode mode,
                              struct CUgraph_st *graph);
struct capture_stream *capture_join(struct capture *c, const struct graph_stream *s);
/* Its streams are free again; its graph goes if it is its own. */
void capture_end(struct capture *c);
/* Is everything that was captured before what the first stream has at the end? */
bool capture_is_joined(const struct capture *c, bool *ret_joined);
/* EVENT was recorded in ST of C. */
CUresult capture_mark_event(CUevent event, struct capture *c, const struct capture_stream *st);
void capture_drop_events(CUcontext context);

#endif
