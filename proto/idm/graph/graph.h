/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUDA graphs and captures, for every libcuda of ours: descriptions in the
 * program's own process, of which the driver behind learns when a graph is made
 * executable. What a libcuda does its own way is at the end. Everything but the
 * API itself is called with graph_lock held, unless it says otherwise.
 */
#ifndef GI_GRAPH_H
#define GI_GRAPH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "idm/arrays.h"
#include "idm/cuda_abi.h"

#define GRAPH_MAX_NODES       (1u << 17) /* of one graph, those of its children included */
#define GRAPH_MAX_NESTING     16u
#define GRAPH_MAX_OPS         256u
#define GRAPH_MAX_ATTRIBUTES  16u
#define GRAPH_MAX_PARAM_BYTES 32768u

#define GRAPH_TRY(expression)                                                                      \
    do {                                                                                           \
        CUresult try_ = (expression);                                                              \
        if (try_ != CUDA_SUCCESS)                                                                  \
            return try_;                                                                           \
    } while (0)

/* --- What a node does (graph_params.c) -------------------------------------------- */

struct graph_kernel {
    CUfunction func; /* as the program gave them: */
    CUkernel kern;   /* one may be NULL, func may be a kernel */
    CUcontext ctx;
    uint32_t grid[3], block[3], shared;
    uint32_t bytes; /* of the parameters' block */
    uint32_t n_params;
    void **params; /* heap, with the block behind: each one's place in it */
    uint8_t *values;
    uint32_t n_attributes;
    CUlaunchAttribute *attributes; /* heap */
};

struct graph_ops {
    CUcontext ctx;
    uint32_t count, flags;
    CUstreamBatchMemOpParams *all; /* heap */
};

struct graph_memory;
struct CUgraphExec_st;

struct graph_params {
    CUgraphNodeType type;
    union {
        struct graph_kernel kernel;
        CUDA_MEMCPY3D copy;
        CUDA_MEMSET_NODE_PARAMS fill;
        CUDA_HOST_NODE_PARAMS host;
        struct CUgraph_st *child; /* the node's own */
        CUevent event;            /* records and waits */
        struct graph_ops ops;
        struct {
            CUDA_MEM_ALLOC_NODE_PARAMS what;
            struct graph_memory *memory;
        } alloc;
        CUdeviceptr freed;
    };
};

/* All that take: RET_PARAMS is untouched on failure, else for params_free. */
CUresult params_take_kernel(struct graph_params *ret_params, const CUDA_KERNEL_NODE_PARAMS *k);
CUresult params_take_copy(struct graph_params *ret_params, const CUDA_MEMCPY3D *c);
CUresult params_take_fill(struct graph_params *ret_params, const CUDA_MEMSET_NODE_PARAMS *f);
CUresult params_take_host(struct graph_params *ret_params, const CUDA_HOST_NODE_PARAMS *h);
CUresult params_take_event(struct graph_params *ret_params, CUgraphNodeType type, CUevent event);
CUresult params_take_child(struct graph_params *ret_params, struct CUgraph_st *graph);
CUresult params_take_ops(struct graph_params *ret_params, const CUDA_BATCH_MEM_OP_NODE_PARAMS *o);
/* Without the lock; A's dptr is set. */
CUresult params_take_alloc(struct graph_params *ret_params, CUDA_MEM_ALLOC_NODE_PARAMS *a);
CUresult params_take(struct graph_params *ret_params, const CUgraphNodeParams *from);
/* The attribute takes the place of one with the same id. */
CUresult params_set_attribute(struct graph_kernel *k, const CUlaunchAttribute *a);
CUresult params_copy(struct graph_params *ret_params, const struct graph_params *from);
void params_free(struct graph_params *p);
/* Children are not looked into. */
bool params_equal(const struct graph_params *a, const struct graph_params *b);

/* A copy without its origins: both sides' first bytes, rows of planes. A side in an array is its
 * place there, and its first byte, pitch and plane are 0. */
struct graph_box {
    CUmemorytype dst_type, src_type;
    uint64_t dst, src;
    uint64_t dst_pitch, src_pitch, dst_plane, src_plane;
    uint64_t width, height, depth;     /* bytes, rows, planes; none is 0 unless all are */
    struct array_place dst_in, src_in; /* without an array: not in one */
};

CUresult graph_box(const CUDA_MEMCPY3D *c, struct graph_box *ret_box);
/* Bytes from the first to the last of a side; false: more than there can be. */
bool graph_extent(uint64_t pitch, uint64_t plane, const struct graph_box *b, uint64_t *ret_bytes);

/* --- Graphs and nodes (graph.c) ----------------------------------------------------- */

enum graph_kind { GRAPH_GRAPH = 1, GRAPH_NODE, GRAPH_EXEC, GRAPH_USER };

/* What handles point to begins with it. */
struct graph_head {
    enum graph_kind kind;
    struct graph_head *next;
};

struct graph_edge {
    struct CUgraphNode_st *from;
    CUgraphEdgeData data;
};

struct CUgraphNode_st {
    struct graph_head head;
    struct CUgraph_st *graph;
    struct CUgraphNode_st *before, *after; /* in the order they were made in */
    uint64_t serial;                       /* no other node has or had it */
    uint64_t original;                     /* the serial of what it is a clone of; 0: of none */
    struct graph_params params;
    struct graph_edge *deps;
    uint32_t n_deps, deps_room;
    uint64_t mark; /* who walks the graph notes something here */
    uint32_t place;
};

struct graph_use;

struct CUgraph_st {
    struct graph_head head;
    struct CUgraphNode_st *first, *last;
    struct CUgraphNode_st *owner; /* a child's node; it lives as long */
    uint32_t n_nodes;
    uint64_t serial, original;
    struct graph_use *uses; /* of the program's objects */
};

extern pthread_mutex_t graph_mutex;
/* Without it. graph_unlock runs what came due. */
void graph_lock(void);
void graph_unlock(void);

/* Is HANDLE one of KIND that lives? */
bool graph_lives(enum graph_kind kind, const void *handle);
/* O's handle lives; false: no memory. */
bool graph_born(enum graph_kind kind, struct graph_head *o);
void graph_died(struct graph_head *o);

struct CUgraph_st *graph_new(void);
void graph_free(struct CUgraph_st *g);
CUresult graph_clone(const struct CUgraph_st *g, struct CUgraph_st **ret_clone);
/* Takes P over, also on failure. The edges' data may be NULL. */
CUresult graph_add(struct CUgraph_st *g, const CUgraphNode *deps, const CUgraphEdgeData *edges,
                   size_t n, struct graph_params *p, struct CUgraphNode_st **ret_node);
CUresult graph_connect(struct CUgraphNode_st *from, struct CUgraphNode_st *to,
                       const CUgraphEdgeData *data);
void graph_remove(struct CUgraphNode_st *node);
/* A number no walk had before. */
uint64_t graph_mark(void);

/* Memory of graphs' own (graph_memory.c). New without the lock: one reference, the caller's. */
CUresult graph_memory_new(size_t bytes, struct graph_memory **ret_memory);
CUdeviceptr graph_memory_address(const struct graph_memory *m);
void graph_memory_hold(struct graph_memory *m);
void graph_memory_put(struct graph_memory *m);
bool graph_memory_is(CUdeviceptr ptr);
/* X is launched: what it allocates is the program's then. INVALID_VALUE: it still is. */
CUresult graph_memory_launch(const struct CUgraphExec_st *x);
void graph_memory_context_gone(CUcontext context);
bool graph_memory_due(void);
/* Without the lock. */
void graph_memory_free_due(void);

/* The program's objects that graphs keep (graph_user.c). */
void graph_uses_free(struct CUgraph_st *g);
CUresult graph_uses_copy(struct CUgraph_st *to, const struct CUgraph_st *from);
bool graph_destructors_due(void);
/* Without the lock: destructors of objects that nobody uses any more. */
void graph_run_destructors(void);

/* --- Executable graphs (graph_flat.c, graph_exec.c) ---------------------------------- */

/* A node where it comes in turn, children's nodes among those of their parents. */
struct graph_step {
    struct graph_params params; /* its own; a child's end is an empty one */
    uint64_t serial;            /* the node's */
    uint32_t *deps;             /* steps before it; heap */
    uint32_t n_deps;
    uint32_t child; /* a child's end: how many steps are its nodes */
    bool enabled;
    void *own; /* the libcuda's */
};

struct CUgraphExec_st {
    struct graph_head head;
    pthread_mutex_t lock; /* launches and changes, one at a time */
    unsigned refs;        /* under graph_lock */
    uint64_t flags;
    struct graph_step *steps;
    uint32_t n_steps;
    bool has_memory; /* steps that allocate or free */
    struct graph_use *uses;
    void *own; /* the libcuda's */
};

/* RET_BAD: the node that is to blame, or NULL. The steps are for steps_free. */
CUresult steps_of(const struct CUgraph_st *g, struct graph_step **ret_steps, uint32_t *ret_n,
                  CUgraphNode *ret_bad);
void steps_free(struct graph_step *steps, uint32_t n);
/* A graph that does what X does. */
CUresult graph_of_exec(const struct CUgraphExec_st *x, struct CUgraph_st **ret_graph);

/* --- What each libcuda does its own way ------------------------------------------------ */

struct graph_stream {
    uint64_t key; /* the same stream has the same one */
    CUcontext context;
    bool legacy;
    bool blocking; /* synchronizes with the legacy one */
};

/* Without the lock: may the caller call at all? */
CUresult graph_enter(bool needs_context);
CUresult graph_stream(CUstream stream, struct graph_stream *ret_stream);
bool graph_event(CUevent event);
/* Of blocks and grids what is known to be wrong before anybody is asked. */
CUresult graph_shape(const uint32_t grid[3], const uint32_t block[3]);
/* All with X's lock alone: X has just been made, a step of it has other parameters or was
 * switched (false: they stay as they were), it runs, it ends. */
CUresult graph_backend_make(struct CUgraphExec_st *x);
CUresult graph_backend_change(struct CUgraphExec_st *x, uint32_t step,
                              const struct graph_params *params, bool enabled);
CUresult graph_backend_launch(struct CUgraphExec_st *x, CUstream stream);
CUresult graph_backend_upload(struct CUgraphExec_st *x, CUstream stream);
void graph_backend_end(struct CUgraphExec_st *x);

#endif
