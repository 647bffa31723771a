/* SPDX-License-Identifier: Apache-2.0 */
/* A graph's steps for the worker: facts.h has the structs. */
#include <stdlib.h>
#include <string.h>

#include "function.h"
#include "graph.h"
#include "handles.h"
#include "memory.h"

static void put(struct blob *b, const void *data, size_t len)
{
    static const uint8_t zero[8];
    size_t padded = (len + 7) & ~(size_t)7;
    if (b->failed)
        return;
    if (padded > b->room - b->len) {
        size_t room = (b->room ? b->room * 2 : 4096) + padded;
        uint8_t *grown = realloc(b->data, room);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->room = room;
    }
    if (len)
        memcpy(b->data + b->len, data, len);
    memcpy(b->data + b->len + len, zero, padded - len);
    b->len += padded;
}

static CUresult put_kernel(struct blob *b, const struct graph_kernel *k)
{
    struct idm_launch_attribute attributes[IDM_MAX_ATTRIBUTES];
    uint32_t n = 0;
    struct idm_graph_kernel w = {.shared = k->shared, .params_len = k->bytes};
    VG_TRY(vg_use(IDM_KIND_code, k->func ? (const void *)k->func : (const void *)k->kern, false,
                  &w.code));
    VG_TRY(launch_attributes(k->attributes, k->n_attributes, attributes, &n));
    memcpy(w.grid, k->grid, sizeof(w.grid));
    memcpy(w.block, k->block, sizeof(w.block));
    w.attributes_len = n * (uint32_t)sizeof(attributes[0]);
    put(b, &w, sizeof(w));
    put(b, k->values, k->bytes);
    put(b, attributes, w.attributes_len);
    return CUDA_SUCCESS;
}

/* A side in an array. */
static CUresult put_place(const struct array_place *p, uint64_t *ret_array, uint64_t *ret_x,
                          uint64_t *ret_y, uint64_t *ret_z)
{
    if (!p->array)
        return CUDA_SUCCESS;
    *ret_x = p->x;
    *ret_y = p->y;
    *ret_z = p->z;
    return vg_use(IDM_KIND_array, p->array, false, ret_array);
}

static CUresult put_copy(struct blob *b, const struct vg_step *s)
{
    const struct graph_box *box = &s->box;
    struct idm_graph_copy w = {.dst = box->dst,
                               .src = box->src,
                               .dst_pitch = box->dst_pitch,
                               .dst_plane = box->dst_plane,
                               .src_pitch = box->src_pitch,
                               .src_plane = box->src_plane,
                               .width = box->width,
                               .height = box->height,
                               .depth = box->depth,
                               .dst_arena = s->dst_arena,
                               .src_arena = s->src_arena};
    VG_TRY(put_place(&box->dst_in, &w.dst_array, &w.dst, &w.dst_y, &w.dst_z));
    VG_TRY(put_place(&box->src_in, &w.src_array, &w.src, &w.src_y, &w.src_z));
    put(b, &w, sizeof(w));
    return CUDA_SUCCESS;
}

static CUresult put_fill(struct blob *b, const CUDA_MEMSET_NODE_PARAMS *f)
{
    const struct idm_graph_fill w = {.dst = f->dst,
                                     .pitch = f->pitch,
                                     .width = f->width,
                                     .height = f->height,
                                     .value = f->value,
                                     .unit = f->elementSize};
    uint64_t rows, at;
    if (__builtin_mul_overflow(f->height - 1, f->height > 1 ? f->pitch : 0, &rows) ||
        __builtin_add_overflow(rows, f->width * f->elementSize, &rows))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_memory(f->dst, rows, 1, &at));
    put(b, &w, sizeof(w));
    return CUDA_SUCCESS;
}

static CUresult put_ops(struct blob *b, const struct graph_ops *ops)
{
    const struct idm_graph_ops w = {.ops_len = ops->count * (uint32_t)sizeof(struct idm_memory_op)};
    put(b, &w, sizeof(w));
    for (uint32_t i = 0; i < ops->count; i++) {
        struct idm_memory_op op;
        VG_TRY(memory_op(&ops->all[i], &op));
        put(b, &op, sizeof(op));
    }
    return CUDA_SUCCESS;
}

static CUresult put_event(struct blob *b, CUevent event)
{
    struct idm_graph_event w;
    VG_TRY(vg_use(IDM_KIND_event, event, false, &w.event));
    put(b, &w, sizeof(w));
    return CUDA_SUCCESS;
}

static void put_head(struct blob *b, uint32_t kind, const uint32_t *deps, uint32_t n, bool enabled)
{
    const struct idm_graph_step w = {.kind = kind, .n_deps = n, .enabled = enabled};
    put(b, &w, sizeof(w));
    put(b, deps, n * sizeof(*deps));
}

static CUresult put_body(struct blob *b, const struct graph_params *p, const struct vg_step *s)
{
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return put_kernel(b, &p->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return put_copy(b, s);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return put_fill(b, &p->fill);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return put_event(b, p->event);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return put_ops(b, &p->ops);
    default:
        return CUDA_SUCCESS; /* nothing, or a function of the host's */
    }
}

CUresult graph_write_step(const struct graph_params *p, const struct vg_step *s, struct blob *b)
{
    put_head(b, p->type, NULL, 0, true);
    VG_TRY(put_body(b, p, s));
    return b->failed ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

/* The steps before are there with their last ones. */
static CUresult put_step(struct blob *b, const struct CUgraphExec_st *x, uint32_t i)
{
    const struct graph_step *step = &x->steps[i];
    const struct vg_step *s = step->own;
    uint32_t *deps = malloc((step->n_deps + 1) * sizeof(*deps));
    if (!deps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t k = 0; k < step->n_deps; k++) {
        const struct vg_step *dep = x->steps[step->deps[k]].own;
        deps[k] = dep->first + step_width(dep) - 1;
    }
    CUresult rc = CUDA_SUCCESS;
    /* Memory of a graph's own is a matter of this side. */
    uint32_t kind =
        s->kind == VG_STEP_PLAIN ? (uint32_t)step->params.type : CU_GRAPH_NODE_TYPE_HOST;
    if (s->kind == VG_STEP_TO_HOST)
        kind = CU_GRAPH_NODE_TYPE_MEMCPY;
    if (kind == CU_GRAPH_NODE_TYPE_MEM_ALLOC || kind == CU_GRAPH_NODE_TYPE_MEM_FREE)
        kind = CU_GRAPH_NODE_TYPE_EMPTY;
    put_head(b, kind, deps, step->n_deps, true);
    if (kind != CU_GRAPH_NODE_TYPE_HOST)
        rc = put_body(b, &step->params, s);
    free(deps);
    if (step_width(s) == 1 || rc != CUDA_SUCCESS)
        return rc;
    if (s->kind == VG_STEP_FROM_HOST) {
        put_head(b, CU_GRAPH_NODE_TYPE_MEMCPY, &s->first, 1, true);
        rc = put_copy(b, s);
    } else {
        put_head(b, CU_GRAPH_NODE_TYPE_HOST, &s->first, 1, true);
    }
    return rc;
}

CUresult graph_write(const struct CUgraphExec_st *x, struct blob *b)
{
    struct idm_graph_head head = {.flags = (uint32_t)x->flags};
    for (uint32_t i = 0; i < x->n_steps; i++)
        head.n_steps += step_width(x->steps[i].own);
    put(b, &head, sizeof(head));
    for (uint32_t i = 0; i < x->n_steps; i++)
        VG_TRY(put_step(b, x, i));
    return b->failed ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
