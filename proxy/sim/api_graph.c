/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executable graphs (proto/idm/graph) here: their steps as operations of the stream they
 * are launched in, one after the other. That is an order their edges allow.
 */
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "idm/graph/graph.h"
#include "mem.h"
#include "stream.h"

/* What a step needs besides its parameters. */
struct step {
    struct CUfunc_st *function; /* kernel: a reference */
    struct launch_shape shape;
    struct CUevent_st *event;           /* record, wait: a reference */
    struct graph_box box;               /* copy */
    struct CUarray_st *dst_in, *src_in; /* copy: references, or NULL */
    bool dst_ours, src_ours;            /* copy: memory the GPU may touch, which must be there */
};

struct exec {
    struct CUctx_st *context;    /* a reference */
    struct CUevent_st *launched; /* behind the last launch: the next one waits for it */
};

/* --- What is asked for ----------------------------------------------------------------- */

CUresult graph_enter(bool needs_context)
{
    struct CUctx_st *c;
    return needs_context ? sim_context(&c) : sim_enter();
}

CUresult graph_stream(CUstream stream, struct graph_stream *ret_stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    *ret_stream = (struct graph_stream){.key = (uintptr_t)s,
                                        .context = context_handle(s->o.context),
                                        .legacy = s->legacy,
                                        .blocking = s->blocking};
    return CUDA_SUCCESS;
}

bool graph_event(CUevent event)
{
    PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, event);
    return e != NULL;
}

/* --- Steps made ------------------------------------------------------------------------- */

static void step_free(struct step *s)
{
    if (!s)
        return;
    if (s->function)
        object_put(&s->function->o);
    if (s->event)
        object_put(&s->event->o);
    if (s->dst_in)
        object_put(&s->dst_in->o);
    if (s->src_in)
        object_put(&s->src_in->o);
    free(s);
}

static CUresult make_kernel(struct CUctx_st *c, const struct graph_kernel *k, struct step *s)
{
    struct op *op;
    uint8_t *params;
    s->shape = (struct launch_shape){.grid = {k->grid[0], k->grid[1], k->grid[2]},
                                     .block = {k->block[0], k->block[1], k->block[2]},
                                     .shared = k->shared};
    for (uint32_t i = 0; i < k->n_attributes; i++)
        TRY(launch_attribute(&k->attributes[i], &s->shape));
    TRY(function_find(c, k->func ? (const void *)k->func : (const void *)k->kern, &s->function));
    if (s->function->code->param_bytes > k->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(launch_op(c, s->function, &s->shape, &op, &params)); /* is all of it good? */
    op_free(op);
    return CUDA_SUCCESS;
}

static bool for_kernels(enum mem_kind kind)
{
    return kind != MEM_PAGEABLE && kind != MEM_BAD;
}

/* One side of a copy: is it what its type says it is? */
static CUresult check_side(struct CUctx_st *c, CUmemorytype type, uint64_t at, uint64_t bytes,
                           bool *ret_ours)
{
    enum mem_kind kind = mem_classify(at, bytes, c);
    *ret_ours = type != CU_MEMORYTYPE_HOST && for_kernels(kind);
    if (kind == MEM_BAD || (type == CU_MEMORYTYPE_DEVICE && !*ret_ours))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* A side in an array becomes rows of its memory. */
static CUresult enter_array(struct CUctx_st *c, const struct array_place *p,
                            struct CUarray_st **ret_array, uint64_t *ret_at, uint64_t *ret_pitch,
                            uint64_t *ret_plane)
{
    size_t pitch;
    TRY(array_find(c, p->array, ret_array));
    const CUDA_ARRAY3D_DESCRIPTOR *d = &(*ret_array)->d;
    *ret_at = array_address(*ret_array, p, &pitch);
    *ret_pitch = pitch;
    *ret_plane = pitch * (d->Height ? d->Height : 1);
    return CUDA_SUCCESS;
}

static CUresult make_copy(struct CUctx_st *c, const CUDA_MEMCPY3D *copy, struct step *s)
{
    uint64_t to = 0, from = 0;
    struct graph_box *b = &s->box;
    TRY(graph_box(copy, b));
    if (!graph_extent(b->dst_pitch, b->dst_plane, b, &to) ||
        !graph_extent(b->src_pitch, b->src_plane, b, &from))
        return CUDA_ERROR_INVALID_VALUE;
    if (b->dst_in.array)
        TRY(enter_array(c, &b->dst_in, &s->dst_in, &b->dst, &b->dst_pitch, &b->dst_plane));
    else
        TRY(check_side(c, b->dst_type, b->dst, to, &s->dst_ours));
    if (b->src_in.array)
        return enter_array(c, &b->src_in, &s->src_in, &b->src, &b->src_pitch, &b->src_plane);
    return check_side(c, b->src_type, b->src, from, &s->src_ours);
}

static bool fill_is_good(struct CUctx_st *c, const CUDA_MEMSET_NODE_PARAMS *f)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(f->height - 1, f->height > 1 ? f->pitch : 0, &bytes) ||
        __builtin_add_overflow(bytes, f->width * f->elementSize, &bytes))
        return false;
    return for_kernels(mem_classify(f->dst, bytes, c));
}

static CUresult make_event(CUevent event, struct step *s)
{
    s->event = object_find(OBJECT_EVENT, event);
    return s->event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult make_ops(struct CUctx_st *c, const struct graph_ops *ops)
{
    struct op *op;
    TRY(memops_op(c, ops->all, ops->count, &op));
    op_free(op);
    return CUDA_SUCCESS;
}

static CUresult make_step(struct CUctx_st *c, const struct graph_params *p, struct step **ret_step)
{
    struct step *s = calloc(1, sizeof(*s));
    CUresult rc = CUDA_SUCCESS;
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (p->type == CU_GRAPH_NODE_TYPE_KERNEL)
        rc = make_kernel(c, &p->kernel, s);
    else if (p->type == CU_GRAPH_NODE_TYPE_MEMCPY)
        rc = make_copy(c, &p->copy, s);
    else if (p->type == CU_GRAPH_NODE_TYPE_MEMSET)
        rc = fill_is_good(c, &p->fill) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    else if (p->type == CU_GRAPH_NODE_TYPE_EVENT_RECORD || p->type == CU_GRAPH_NODE_TYPE_WAIT_EVENT)
        rc = make_event(p->event, s);
    else if (p->type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP)
        rc = make_ops(c, &p->ops);
    if (rc == CUDA_SUCCESS)
        *ret_step = s;
    else
        step_free(s);
    return rc;
}

static void event_free(struct object *o)
{
    event_forget((struct CUevent_st *)o);
    free(o);
}

CUresult graph_backend_make(struct CUgraphExec_st *x)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    struct exec *e = calloc(1, sizeof(*e));
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    x->own = e;
    object_hold(&c->o);
    e->context = c;
    e->launched = object_new(OBJECT_EVENT, sizeof(*e->launched), c, event_free);
    if (!e->launched)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < x->n_steps; i++) {
        struct step *s;
        TRY(make_step(c, &x->steps[i].params, &s));
        x->steps[i].own = s;
    }
    return CUDA_SUCCESS;
}

CUresult graph_backend_change(struct CUgraphExec_st *x, uint32_t step,
                              const struct graph_params *params, bool enabled)
{
    const struct exec *e = x->own;
    struct step *s;
    (void)enabled; /* a launch looks */
    TRY(make_step(e->context, params, &s));
    step_free(x->steps[step].own);
    x->steps[step].own = s;
    return CUDA_SUCCESS;
}

void graph_backend_end(struct CUgraphExec_st *x)
{
    struct exec *e = x->own;
    for (uint32_t i = 0; i < x->n_steps; i++)
        step_free(x->steps[i].own);
    if (!e)
        return;
    if (e->launched)
        object_put(&e->launched->o);
    object_put(&e->context->o);
    free(e);
}

/* --- Steps run ---------------------------------------------------------------------------- */

struct box_op {
    struct op op;
    struct graph_box box;
    bool dst_ours, src_ours;
    struct CUarray_st *in[2]; /* references, or NULL */
};

static void release_box(struct op *op)
{
    const struct box_op *o = (const struct box_op *)op;
    for (unsigned i = 0; i < 2; i++) {
        if (o->in[i])
            object_put(&o->in[i]->o);
    }
}

/* Memory may have gone since the graph was made. */
static bool still_there(const struct op *op, bool ours, uint64_t at, uint64_t pitch, uint64_t plane,
                        const struct graph_box *b)
{
    uint64_t bytes;
    return !ours || (graph_extent(pitch, plane, b, &bytes) &&
                     for_kernels(mem_classify(at, bytes, op->stream->o.context)));
}

static CUresult run_box(struct op *op)
{
    const struct box_op *o = (const struct box_op *)op;
    const struct graph_box *b = &o->box;
    if (!still_there(op, o->dst_ours, b->dst, b->dst_pitch, b->dst_plane, b) ||
        !still_there(op, o->src_ours, b->src, b->src_pitch, b->src_plane, b))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    for (uint64_t z = 0; z < b->depth; z++) {
        for (uint64_t y = 0; y < b->height; y++) {
            uint64_t dst = b->dst + z * b->dst_plane + y * b->dst_pitch;
            uint64_t src = b->src + z * b->src_plane + y * b->src_pitch;
            memmove((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, b->width);
        }
    }
    return CUDA_SUCCESS;
}

struct fill_op {
    struct op op;
    CUDA_MEMSET_NODE_PARAMS fill;
};

static void fill_row(uint64_t at, const CUDA_MEMSET_NODE_PARAMS *f)
{
    void *p = (void *)(uintptr_t)at;
    if (f->elementSize == 1)
        memset(p, (int)f->value, f->width);
    for (size_t i = 0; f->elementSize == 2 && i < f->width; i++)
        ((uint16_t *)p)[i] = (uint16_t)f->value;
    for (size_t i = 0; f->elementSize == 4 && i < f->width; i++)
        ((uint32_t *)p)[i] = f->value;
}

static CUresult run_fill(struct op *op)
{
    const CUDA_MEMSET_NODE_PARAMS *f = &((const struct fill_op *)op)->fill;
    if (!fill_is_good(op->stream->o.context, f))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    for (size_t y = 0; y < f->height; y++)
        fill_row(f->dst + y * f->pitch, f);
    return CUDA_SUCCESS;
}

static CUresult launch_kernel(struct CUctx_st *c, struct CUstream_st *stream,
                              const struct graph_kernel *k, const struct step *s)
{
    struct op *op;
    uint8_t *params;
    TRY(launch_op(c, s->function, &s->shape, &op, &params));
    memcpy(params, k->values, s->function->code->param_bytes);
    return stream_submit(stream, op, SUBMIT_LATER);
}

static CUresult launch_box(struct CUstream_st *stream, const struct step *s)
{
    struct box_op *o = calloc(1, sizeof(*o));
    if (!o)
        return CUDA_ERROR_OUT_OF_MEMORY;
    o->op.run = run_box;
    o->box = s->box;
    o->dst_ours = s->dst_ours;
    o->src_ours = s->src_ours;
    o->in[0] = s->dst_in;
    o->in[1] = s->src_in;
    for (unsigned i = 0; i < 2; i++) {
        if (o->in[i])
            object_hold(&o->in[i]->o);
    }
    o->op.release = release_box;
    return stream_submit(stream, &o->op, SUBMIT_LATER);
}

static CUresult launch_fill(struct CUstream_st *stream, const CUDA_MEMSET_NODE_PARAMS *f)
{
    struct fill_op *o = calloc(1, sizeof(*o));
    if (!o)
        return CUDA_ERROR_OUT_OF_MEMORY;
    o->op.run = run_fill;
    o->fill = *f;
    return stream_submit(stream, &o->op, SUBMIT_LATER);
}

static CUresult launch_ops(struct CUctx_st *c, struct CUstream_st *stream,
                           const struct graph_ops *ops)
{
    struct op *op;
    TRY(memops_op(c, ops->all, ops->count, &op));
    return stream_submit(stream, op, SUBMIT_LATER);
}

static CUresult launch_step(struct CUctx_st *c, struct CUstream_st *stream,
                            const struct graph_step *step)
{
    const struct graph_params *p = &step->params;
    const struct step *s = step->own;
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return launch_kernel(c, stream, &p->kernel, s);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return launch_box(stream, s);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return launch_fill(stream, &p->fill);
    case CU_GRAPH_NODE_TYPE_HOST:
        return host_call(stream, p->host.fn, p->host.userData);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return event_record(s->event, stream);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return event_wait_in(s->event, stream);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return launch_ops(c, stream, &p->ops);
    default:
        return CUDA_SUCCESS; /* empty */
    }
}

CUresult graph_backend_launch(struct CUgraphExec_st *x, CUstream stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    const struct exec *e = x->own;
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    if (c != e->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    TRY(event_wait_in(e->launched, s));
    for (uint32_t i = 0; i < x->n_steps; i++) {
        if (x->steps[i].enabled)
            TRY(launch_step(c, s, &x->steps[i]));
    }
    return event_record(e->launched, s);
}

CUresult graph_backend_upload(struct CUgraphExec_st *x, CUstream stream)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    (void)x; /* it is where it runs */
    TRY(sim_context(&c));
    return sim_stream(stream, c, &s);
}
