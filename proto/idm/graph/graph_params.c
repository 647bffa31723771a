/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes do: taken from the program, copied, compared. */
#include <stdlib.h>
#include <string.h>

#include "idm/graph/graph.h"

/* --- Kernels ------------------------------------------------------------------------ */

static CUresult param_info(const struct graph_kernel *k, bool kernel, size_t i, size_t *offset,
                           size_t *size)
{
    if (kernel)
        return cuKernelGetParamInfo(k->kern ? k->kern : (CUkernel)k->func, i, offset, size);
    return cuFuncGetParamInfo(k->func, i, offset, size);
}

struct layout {
    uint32_t n, bytes;
    bool kernel; /* its handle is one */
};

/* A function's handle may be a kernel's. */
static CUresult layout_of(const struct graph_kernel *k, struct layout *ret_layout)
{
    struct layout l = {.kernel = k->func == NULL};
    for (;;) {
        size_t offset = 0, size = 0;
        CUresult rc = param_info(k, l.kernel, l.n, &offset, &size);
        if (rc == CUDA_ERROR_INVALID_HANDLE && !l.kernel && l.n == 0) {
            l.kernel = true;
            continue;
        }
        if (rc == CUDA_ERROR_INVALID_VALUE)
            break;
        GRAPH_TRY(rc);
        if (offset > GRAPH_MAX_PARAM_BYTES || size > GRAPH_MAX_PARAM_BYTES - offset)
            return CUDA_ERROR_INVALID_VALUE;
        l.n++;
        l.bytes = offset + size > l.bytes ? (uint32_t)(offset + size) : l.bytes;
    }
    *ret_layout = l;
    return CUDA_SUCCESS;
}

static CUresult read_extra(void **extra, uint32_t bytes, uint8_t *values)
{
    const void *buffer = NULL;
    size_t size = 0;
    for (unsigned i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (i >= 8)
            return CUDA_ERROR_INVALID_VALUE;
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1])
            memcpy(&size, extra[i + 1], sizeof(size));
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (size < bytes || (bytes && !buffer))
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes)
        memcpy(values, buffer, bytes);
    return CUDA_SUCCESS;
}

static CUresult read_params(struct graph_kernel *k, const struct layout *l, void **params,
                            void **extra)
{
    if ((params && extra) || (!params && !extra && l->n))
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < l->n; i++) {
        size_t offset = 0, size = 0;
        GRAPH_TRY(param_info(k, l->kernel, i, &offset, &size));
        k->params[i] = k->values + offset;
        if (params && !params[i])
            return CUDA_ERROR_INVALID_VALUE;
        if (params)
            memcpy(k->params[i], params[i], size);
    }
    return extra ? read_extra(extra, l->bytes, k->values) : CUDA_SUCCESS;
}

/* The pointers, then the values: aligned as any parameter may have to be. */
static bool room_for_params(struct graph_kernel *k, uint32_t n, uint32_t bytes)
{
    size_t pointers = ((size_t)n * sizeof(void *) + 15) & ~(size_t)15;
    k->params = calloc(1, pointers + bytes + 16);
    if (!k->params)
        return false;
    k->values = (uint8_t *)k->params + pointers;
    k->n_params = n;
    k->bytes = bytes;
    return true;
}

CUresult params_take_kernel(struct graph_params *ret_params, const CUDA_KERNEL_NODE_PARAMS *from)
{
    struct layout l;
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
    if (!from || (!from->func && !from->kern))
        return CUDA_ERROR_INVALID_VALUE;
    p.kernel = (struct graph_kernel){
        .func = from->func,
        .kern = from->kern,
        .ctx = from->ctx,
        .grid = {from->gridDimX, from->gridDimY, from->gridDimZ},
        .block = {from->blockDimX, from->blockDimY, from->blockDimZ},
        .shared = from->sharedMemBytes,
    };
    GRAPH_TRY(layout_of(&p.kernel, &l));
    GRAPH_TRY(graph_shape(p.kernel.grid, p.kernel.block));
    if (!room_for_params(&p.kernel, l.n, l.bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = read_params(&p.kernel, &l, from->kernelParams, from->extra);
    if (rc == CUDA_SUCCESS)
        *ret_params = p;
    else
        params_free(&p);
    return rc;
}

CUresult params_set_attribute(struct graph_kernel *k, const CUlaunchAttribute *a)
{
    for (uint32_t i = 0; i < k->n_attributes; i++) {
        if (k->attributes[i].id == a->id) {
            k->attributes[i] = *a;
            return CUDA_SUCCESS;
        }
    }
    if (k->n_attributes == GRAPH_MAX_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    CUlaunchAttribute *all = realloc(k->attributes, (k->n_attributes + 1) * sizeof(*all));
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    all[k->n_attributes++] = *a;
    k->attributes = all;
    return CUDA_SUCCESS;
}

/* --- Copies and fills ----------------------------------------------------------------- */

/* One side of a copy. */
struct box_side {
    CUmemorytype type;
    const void *host;
    CUdeviceptr device;
    struct array_place in;
    uint64_t pitch, rows; /* from row to row, of a plane */
};

/* *AT += x + y * pitch + z * plane, and the plane; false: more than there can be. */
static bool go_to(uint64_t *at, uint64_t x, uint64_t y, uint64_t z, uint64_t pitch, uint64_t rows,
                  uint64_t *ret_plane)
{
    uint64_t line, plane;
    if (__builtin_mul_overflow(pitch, rows, ret_plane) || __builtin_mul_overflow(y, pitch, &line) ||
        __builtin_mul_overflow(z, *ret_plane, &plane))
        return false;
    return !__builtin_add_overflow(*at, x, at) && !__builtin_add_overflow(*at, line, at) &&
           !__builtin_add_overflow(*at, plane, at);
}

bool graph_extent(uint64_t pitch, uint64_t plane, const struct graph_box *b, uint64_t *ret_bytes)
{
    uint64_t rows, planes;
    return !__builtin_mul_overflow(b->height - 1, pitch, &rows) &&
           !__builtin_mul_overflow(b->depth - 1, plane, &planes) &&
           !__builtin_add_overflow(rows, planes, &rows) &&
           !__builtin_add_overflow(rows, b->width, ret_bytes);
}

/* Of the box B the side S: its first byte and plane. */
static CUresult take_side(const struct box_side *s, const struct graph_box *b, uint64_t *ret_at,
                          uint64_t *ret_pitch, uint64_t *ret_plane, struct array_place *ret_in)
{
    uint64_t bytes;
    if (s->type == CU_MEMORYTYPE_ARRAY) {
        if (!s->in.array)
            return CUDA_ERROR_INVALID_VALUE;
        GRAPH_TRY(array_holds(&s->in, b->width, b->height, b->depth));
        *ret_in = s->in;
        return CUDA_SUCCESS;
    }
    *ret_at = s->type == CU_MEMORYTYPE_HOST ? (uint64_t)(uintptr_t)s->host : s->device;
    *ret_pitch = s->pitch;
    bool good = *ret_at && (s->type == CU_MEMORYTYPE_HOST || s->type == CU_MEMORYTYPE_DEVICE ||
                            s->type == CU_MEMORYTYPE_UNIFIED);
    good = good && ((b->height <= 1 && b->depth <= 1) || s->pitch >= b->width) &&
           (b->depth <= 1 || s->rows >= b->height) &&
           go_to(ret_at, s->in.x, s->in.y, s->in.z, s->pitch, s->rows, ret_plane) &&
           graph_extent(s->pitch, *ret_plane, b, &bytes);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult graph_box(const CUDA_MEMCPY3D *c, struct graph_box *ret_box)
{
    struct graph_box b = {.dst_type = c->dstMemoryType,
                          .src_type = c->srcMemoryType,
                          .width = c->WidthInBytes,
                          .height = c->Height,
                          .depth = c->Depth};
    const struct box_side to = {.type = c->dstMemoryType,
                                .host = c->dstHost,
                                .device = c->dstDevice,
                                .in = {c->dstArray, c->dstXInBytes, c->dstY, c->dstZ},
                                .pitch = c->dstPitch,
                                .rows = c->dstHeight};
    const struct box_side from = {.type = c->srcMemoryType,
                                  .host = c->srcHost,
                                  .device = c->srcDevice,
                                  .in = {c->srcArray, c->srcXInBytes, c->srcY, c->srcZ},
                                  .pitch = c->srcPitch,
                                  .rows = c->srcHeight};
    if (c->srcLOD || c->dstLOD || !b.width || !b.height || !b.depth)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(take_side(&to, &b, &b.dst, &b.dst_pitch, &b.dst_plane, &b.dst_in));
    GRAPH_TRY(take_side(&from, &b, &b.src, &b.src_pitch, &b.src_plane, &b.src_in));
    *ret_box = b;
    return CUDA_SUCCESS;
}

CUresult params_take_copy(struct graph_params *ret_params, const CUDA_MEMCPY3D *c)
{
    struct graph_box b;
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(graph_box(c, &b));
    *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_MEMCPY, .copy = *c};
    return CUDA_SUCCESS;
}

CUresult params_take_fill(struct graph_params *ret_params, const CUDA_MEMSET_NODE_PARAMS *f)
{
    uint64_t bytes;
    if (!f || !f->dst || !f->width || !f->height ||
        (f->elementSize != 1 && f->elementSize != 2 && f->elementSize != 4) ||
        f->dst % f->elementSize || __builtin_mul_overflow(f->width, f->elementSize, &bytes) ||
        (f->height > 1 && f->pitch < bytes) ||
        (f->elementSize < 4 && f->value >> (f->elementSize * 8)))
        return CUDA_ERROR_INVALID_VALUE;
    *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_MEMSET, .fill = *f};
    return CUDA_SUCCESS;
}

/* --- The others ------------------------------------------------------------------------- */

CUresult params_take_host(struct graph_params *ret_params, const CUDA_HOST_NODE_PARAMS *h)
{
    if (!h || !h->fn)
        return CUDA_ERROR_INVALID_VALUE;
    *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_HOST, .host = *h};
    return CUDA_SUCCESS;
}

CUresult params_take_event(struct graph_params *ret_params, CUgraphNodeType type, CUevent event)
{
    if (!graph_event(event))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_params = (struct graph_params){.type = type, .event = event};
    return CUDA_SUCCESS;
}

CUresult params_take_child(struct graph_params *ret_params, struct CUgraph_st *graph)
{
    struct CUgraph_st *clone;
    if (!graph_lives(GRAPH_GRAPH, graph))
        return CUDA_ERROR_INVALID_VALUE;
    GRAPH_TRY(graph_clone(graph, &clone));
    *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = clone};
    return CUDA_SUCCESS;
}

static bool good_op(const CUstreamBatchMemOpParams *op)
{
    const unsigned flags = op->waitValue.flags;
    switch (op->operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
        return op->waitValue.address % 4 == 0 && (flags & ~CU_STREAM_WAIT_VALUE_FLUSH) <= 3;
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
        return op->waitValue.address % 8 == 0 && (flags & ~CU_STREAM_WAIT_VALUE_FLUSH) <= 3;
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        return op->waitValue.address % 4 == 0 && flags <= CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        return op->waitValue.address % 8 == 0 && flags <= CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER;
    case CU_STREAM_MEM_OP_BARRIER:
        return op->memoryBarrier.flags <= 1;
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES: /* no other device writes to a zone's memory */
        return op->memoryBarrier.flags == 0;
    }
    return false;
}

CUresult params_take_ops(struct graph_params *ret_params, const CUDA_BATCH_MEM_OP_NODE_PARAMS *o)
{
    struct graph_params p = {.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP};
    if (!o || !o->count || o->count > GRAPH_MAX_OPS || !o->paramArray || o->flags)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < o->count; i++) {
        if (!good_op(&o->paramArray[i]))
            return CUDA_ERROR_INVALID_VALUE;
    }
    p.ops = (struct graph_ops){.ctx = o->ctx, .count = o->count};
    p.ops.all = malloc(o->count * sizeof(*p.ops.all));
    if (!p.ops.all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(p.ops.all, o->paramArray, o->count * sizeof(*p.ops.all));
    *ret_params = p;
    return CUDA_SUCCESS;
}

CUresult params_take_alloc(struct graph_params *ret_params, CUDA_MEM_ALLOC_NODE_PARAMS *a)
{
    struct graph_memory *m;
    if (!a || !a->bytesize)
        return CUDA_ERROR_INVALID_VALUE;
    if (a->accessDescCount || a->poolProps.handleTypes) /* peers; other processes */
        return CUDA_ERROR_NOT_SUPPORTED;
    GRAPH_TRY(graph_memory_new(a->bytesize, &m));
    a->dptr = graph_memory_address(m);
    *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC,
                                        .alloc = {.what = *a, .memory = m}};
    return CUDA_SUCCESS;
}

CUresult params_take(struct graph_params *ret_params, const CUgraphNodeParams *from)
{
    if (!from)
        return CUDA_ERROR_INVALID_VALUE;
    switch (from->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return params_take_kernel(ret_params, &from->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return params_take_copy(ret_params, &from->memcpy.copyParams);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return params_take_fill(ret_params, &from->memset.params);
    case CU_GRAPH_NODE_TYPE_HOST:
        return params_take_host(ret_params, &from->host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return from->graph.ownership ? CUDA_ERROR_NOT_SUPPORTED
                                     : params_take_child(ret_params, from->graph.graph);
    case CU_GRAPH_NODE_TYPE_EMPTY:
        *ret_params = (struct graph_params){.type = CU_GRAPH_NODE_TYPE_EMPTY};
        return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return params_take_event(ret_params, from->type, from->event.event);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return params_take_ops(ret_params, &from->memOp);
    default: /* conditions, other APIs' semaphores, memory of a graph's own */
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* --- All ---------------------------------------------------------------------------------- */

static CUresult copy_kernel(struct graph_kernel *to, const struct graph_kernel *from)
{
    *to = *from;
    to->attributes = NULL;
    to->n_attributes = 0;
    if (!room_for_params(to, from->n_params, from->bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(to->values, from->values, from->bytes);
    for (uint32_t i = 0; i < from->n_params; i++)
        to->params[i] = to->values + ((uint8_t *)from->params[i] - from->values);
    for (uint32_t i = 0; i < from->n_attributes; i++) {
        CUresult rc = params_set_attribute(to, &from->attributes[i]);
        if (rc != CUDA_SUCCESS) {
            free(to->params);
            free(to->attributes);
            return rc;
        }
    }
    return CUDA_SUCCESS;
}

CUresult params_copy(struct graph_params *ret_params, const struct graph_params *from)
{
    struct graph_params p = *from;
    if (p.type == CU_GRAPH_NODE_TYPE_KERNEL)
        GRAPH_TRY(copy_kernel(&p.kernel, &from->kernel));
    if (p.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
        graph_memory_hold(p.alloc.memory);
    if (p.type == CU_GRAPH_NODE_TYPE_GRAPH)
        GRAPH_TRY(graph_clone(from->child, &p.child));
    if (p.type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP) {
        p.ops.all = malloc(p.ops.count * sizeof(*p.ops.all));
        if (!p.ops.all)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(p.ops.all, from->ops.all, p.ops.count * sizeof(*p.ops.all));
    }
    *ret_params = p;
    return CUDA_SUCCESS;
}

void params_free(struct graph_params *p)
{
    if (p->type == CU_GRAPH_NODE_TYPE_KERNEL) {
        free(p->kernel.params);
        free(p->kernel.attributes);
    }
    if (p->type == CU_GRAPH_NODE_TYPE_GRAPH)
        graph_free(p->child);
    if (p->type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP)
        free(p->ops.all);
    if (p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
        graph_memory_put(p->alloc.memory);
    p->type = CU_GRAPH_NODE_TYPE_EMPTY;
}

static bool kernels_equal(const struct graph_kernel *a, const struct graph_kernel *b)
{
    return a->func == b->func && a->kern == b->kern && a->ctx == b->ctx &&
           memcmp(a->grid, b->grid, sizeof(a->grid)) == 0 &&
           memcmp(a->block, b->block, sizeof(a->block)) == 0 && a->shared == b->shared &&
           a->bytes == b->bytes && memcmp(a->values, b->values, a->bytes) == 0 &&
           a->n_attributes == b->n_attributes &&
           (!a->n_attributes ||
            memcmp(a->attributes, b->attributes, a->n_attributes * sizeof(*a->attributes)) == 0);
}

static bool places_equal(const struct array_place *a, const struct array_place *b)
{
    return a->array == b->array && (!a->array || (a->x == b->x && a->y == b->y && a->z == b->z));
}

static bool copies_equal(const CUDA_MEMCPY3D *a, const CUDA_MEMCPY3D *b)
{
    struct graph_box x, y;
    return graph_box(a, &x) == CUDA_SUCCESS && graph_box(b, &y) == CUDA_SUCCESS &&
           x.dst_type == y.dst_type && x.src_type == y.src_type && x.dst == y.dst &&
           x.src == y.src && x.dst_pitch == y.dst_pitch && x.src_pitch == y.src_pitch &&
           x.dst_plane == y.dst_plane && x.src_plane == y.src_plane && x.width == y.width &&
           x.height == y.height && x.depth == y.depth && places_equal(&x.dst_in, &y.dst_in) &&
           places_equal(&x.src_in, &y.src_in);
}

static bool fills_equal(const CUDA_MEMSET_NODE_PARAMS *a, const CUDA_MEMSET_NODE_PARAMS *b)
{
    return a->dst == b->dst && a->pitch == b->pitch && a->value == b->value &&
           a->elementSize == b->elementSize && a->width == b->width && a->height == b->height;
}

bool params_equal(const struct graph_params *a, const struct graph_params *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return kernels_equal(&a->kernel, &b->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return copies_equal(&a->copy, &b->copy);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return fills_equal(&a->fill, &b->fill);
    case CU_GRAPH_NODE_TYPE_HOST:
        return a->host.fn == b->host.fn && a->host.userData == b->host.userData;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return a->event == b->event;
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return a->ops.count == b->ops.count &&
               memcmp(a->ops.all, b->ops.all, a->ops.count * sizeof(*a->ops.all)) == 0;
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
        return a->alloc.memory == b->alloc.memory;
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
        return a->freed == b->freed;
    default:
        return true;
    }
}
