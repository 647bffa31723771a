/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executable graphs as the worker gets them. Copies of pageable memory, which it can't
 * reach, go through pages of the arena: a function of ours before or behind the copy, run
 * in the guest at each launch, moves the bytes. So one step here is up to three there.
 */
#ifndef VG_GRAPH_H
#define VG_GRAPH_H

#include "connection.h"
#include "idm/graph/graph.h"

enum vg_step_kind {
    VG_STEP_PLAIN,     /* as the program gave it */
    VG_STEP_HOST,      /* a function of the program's */
    VG_STEP_MOVE,      /* a copy that the host does alone */
    VG_STEP_FROM_HOST, /* bytes gathered, then copied to the device */
    VG_STEP_TO_HOST,   /* copied from the device, then strewn */
};

struct vg_step {
    enum vg_step_kind kind;
    uint32_t first; /* of the worker's steps */
    CUhostFn fn;    /* the host's part */
    void *data;
    struct graph_box box; /* a copy: resolved; the staged side is packed */
    bool dst_arena, src_arena;
    /* The host's side of a staged copy, or both of a move. */
    uint8_t *stage;
    uint64_t stage_bytes;
    struct graph_box host_box;
    struct vg_step *retired; /* the next one that functions may still know */
};

/* How many of the worker's steps it is; which of them is the host's part, which the other. */
static inline uint32_t step_width(const struct vg_step *s)
{
    return s->kind == VG_STEP_FROM_HOST || s->kind == VG_STEP_TO_HOST ? 2 : 1;
}

static inline uint32_t step_host_part(const struct vg_step *s)
{
    return s->first + (s->kind == VG_STEP_TO_HOST);
}

static inline uint32_t step_main_part(const struct vg_step *s)
{
    return s->first + (s->kind == VG_STEP_FROM_HOST);
}

struct blob {
    uint8_t *data;
    size_t len, room;
    bool failed; /* no memory */
};

/* stream_ops.c: for the wire; INVALID_VALUE: its address is none of ours. */
CUresult memory_op(const CUstreamBatchMemOpParams *op, struct idm_memory_op *ret_op);

/* graph_wire.c: X's steps, each with its struct vg_step, as graph_make wants them. */
CUresult graph_write(const struct CUgraphExec_st *x, struct blob *b);
/* P as graph_change wants it, S being the step it is for. */
CUresult graph_write_step(const struct graph_params *p, const struct vg_step *s, struct blob *b);

#endif
