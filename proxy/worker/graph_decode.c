/* SPDX-License-Identifier: Apache-2.0 */
/* The client's bytes are a private copy; lengths in them are held against what there is. */
#include "graph_decode.h"

#include "launch.h"

static CUresult take_kernel(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    struct idm_graph_kernel k;
    struct worker_object *code;
    const void *params, *attributes;
    if (!idm_take_fixed(c, &k, sizeof(k)) || !idm_take_bytes(c, k.params_len, &params) ||
        !idm_take_bytes(c, k.attributes_len, &attributes))
        return worker_malformed(w);
    WORKER_TRY(worker_find_code(w, k.code, &code));
    if (k.params_len < code->value || k.params_len > IDM_MAX_PARAM_BYTES)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(worker_launch_attributes(w, attributes, k.attributes_len, s->kernel.attributes,
                                        &s->kernel.n_attributes));
    s->kernel.params_bytes = k.params_len;
    s->kernel.extra[0] = CU_LAUNCH_PARAM_BUFFER_POINTER;
    s->kernel.extra[1] = (void *)params;
    s->kernel.extra[2] = CU_LAUNCH_PARAM_BUFFER_SIZE;
    s->kernel.extra[3] = &s->kernel.params_bytes;
    s->kernel.extra[4] = CU_LAUNCH_PARAM_END;
    const bool is_kernel = idm_handle_kind(k.code) == IDM_KIND_kernel;
    s->kernel.params = (CUDA_KERNEL_NODE_PARAMS){
        .func = is_kernel ? NULL : code->driver,
        .kern = is_kernel ? code->driver : NULL,
        .gridDimX = k.grid[0],
        .gridDimY = k.grid[1],
        .gridDimZ = k.grid[2],
        .blockDimX = k.block[0],
        .blockDimY = k.block[1],
        .blockDimZ = k.block[2],
        .sharedMemBytes = k.shared,
        .extra = k.params_len ? s->kernel.extra : NULL,
    };
    return CUDA_SUCCESS;
}

/* Bytes from the first to the last of rows of planes; false: more than there can be. */
static bool extent(const struct idm_graph_copy *b, uint64_t pitch, uint64_t plane,
                   uint64_t *ret_bytes)
{
    uint64_t rows, planes;
    return !__builtin_mul_overflow(b->height - 1, pitch, &rows) &&
           !__builtin_mul_overflow(b->depth - 1, plane, &planes) &&
           !__builtin_add_overflow(rows, planes, &rows) &&
           !__builtin_add_overflow(rows, b->width, ret_bytes);
}

/* One side of a copy as the client describes it. */
struct copy_side {
    uint64_t at, pitch, plane;
    uint64_t array, y, z;
    bool arena;
};

/* Where it is for the driver. */
struct driver_side {
    CUmemorytype type;
    void *host;
    CUdeviceptr device;
    CUarray array;
    size_t x, y, z, pitch, rows;
};

/* Planes are whole rows, and hold their box. */
static bool good_planes(const struct idm_graph_copy *k, uint64_t pitch, uint64_t plane)
{
    if (k->height > 1 && pitch < k->width)
        return false;
    return k->depth == 1 ||
           (pitch && plane % pitch == 0 && plane / pitch >= k->height && pitch >= k->width);
}

/* In an array of the client's, whose bounds the driver knows; in the arena; or in device memory
 * that is the client's. */
static CUresult take_side(struct worker *w, const struct idm_graph_copy *k,
                          const struct copy_side *s, struct driver_side *ret)
{
    uint64_t bytes;
    void *array;
    if (s->array) {
        WORKER_TRY(worker_find(w, IDM_KIND_array, s->array, false, &array));
        *ret = (struct driver_side){
            .type = CU_MEMORYTYPE_ARRAY, .array = array, .x = s->at, .y = s->y, .z = s->z};
        return CUDA_SUCCESS;
    }
    if (!good_planes(k, s->pitch, s->plane) || !extent(k, s->pitch, s->plane, &bytes))
        return worker_malformed(w);
    *ret = (struct driver_side){.type = s->arena ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
                                .pitch = s->pitch,
                                .rows = k->depth > 1 ? s->plane / s->pitch : 0};
    if (!s->arena) {
        ret->device = s->at;
        return worker_check_memory(w, s->at, bytes, 1);
    }
    if (s->at > w->config->arena_bytes || bytes > w->config->arena_bytes - s->at)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "copy beyond the arena");
    ret->host = w->arena + s->at;
    return CUDA_SUCCESS;
}

static CUresult take_copy(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    struct idm_graph_copy k;
    struct driver_side to, from;
    if (!idm_take_fixed(c, &k, sizeof(k)) || !k.width || !k.height || !k.depth)
        return worker_malformed(w);
    const struct copy_side dst = {k.dst,   k.dst_pitch, k.dst_plane,     k.dst_array,
                                  k.dst_y, k.dst_z,     k.dst_arena != 0};
    const struct copy_side src = {k.src,   k.src_pitch, k.src_plane,     k.src_array,
                                  k.src_y, k.src_z,     k.src_arena != 0};
    WORKER_TRY(take_side(w, &k, &dst, &to));
    WORKER_TRY(take_side(w, &k, &src, &from));
    s->copy = (CUDA_MEMCPY3D){
        .dstMemoryType = to.type,
        .dstHost = to.host,
        .dstDevice = to.device,
        .dstArray = to.array,
        .dstXInBytes = to.x,
        .dstY = to.y,
        .dstZ = to.z,
        .dstPitch = to.pitch,
        .dstHeight = to.rows,
        .srcMemoryType = from.type,
        .srcHost = from.host,
        .srcDevice = from.device,
        .srcArray = from.array,
        .srcXInBytes = from.x,
        .srcY = from.y,
        .srcZ = from.z,
        .srcPitch = from.pitch,
        .srcHeight = from.rows,
        .WidthInBytes = k.width,
        .Height = k.height,
        .Depth = k.depth,
    };
    return CUDA_SUCCESS;
}

static CUresult take_fill(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    struct idm_graph_fill f;
    uint64_t row, rows, bytes;
    if (!idm_take_fixed(c, &f, sizeof(f)) || !f.width || !f.height ||
        (f.unit != 1 && f.unit != 2 && f.unit != 4) || f.dst % f.unit ||
        __builtin_mul_overflow(f.width, f.unit, &row) ||
        __builtin_mul_overflow(f.height - 1, f.height > 1 ? f.pitch : 0, &rows) ||
        __builtin_add_overflow(rows, row, &bytes) || (f.height > 1 && f.pitch < row))
        return worker_malformed(w);
    WORKER_TRY(worker_check_memory(w, f.dst, bytes, 1));
    s->fill = (CUDA_MEMSET_NODE_PARAMS){.dst = f.dst,
                                        .pitch = f.pitch,
                                        .value = f.value,
                                        .elementSize = f.unit,
                                        .width = f.width,
                                        .height = f.height};
    return CUDA_SUCCESS;
}

static CUresult take_event(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    struct idm_graph_event e;
    void *event;
    if (!idm_take_fixed(c, &e, sizeof(e)))
        return worker_malformed(w);
    WORKER_TRY(worker_find(w, IDM_KIND_event, e.event, false, &event));
    s->event = event;
    return CUDA_SUCCESS;
}

static CUresult take_ops(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    struct idm_graph_ops o;
    const void *ops;
    uint32_t n = 0;
    if (!idm_take_fixed(c, &o, sizeof(o)) || !idm_take_bytes(c, o.ops_len, &ops))
        return worker_malformed(w);
    WORKER_TRY(worker_memory_ops(w, ops, o.ops_len, s->ops.all, &n));
    s->ops.params = (CUDA_BATCH_MEM_OP_NODE_PARAMS){
        .ctx = w->driver_context, .count = n, .paramArray = s->ops.all};
    return CUDA_SUCCESS;
}

static CUresult take_body(struct worker *w, struct idm_cursor *c, struct graph_step *s)
{
    switch (s->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return take_kernel(w, c, s);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return take_copy(w, c, s);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return take_fill(w, c, s);
    case CU_GRAPH_NODE_TYPE_HOST:
    case CU_GRAPH_NODE_TYPE_EMPTY:
        return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return take_event(w, c, s);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return take_ops(w, c, s);
    default:
        return worker_malformed(w);
    }
}

CUresult worker_graph_step(struct worker *w, struct idm_cursor *c, uint32_t index,
                           struct graph_step *ret_step)
{
    struct idm_graph_step head;
    const void *deps;
    if (!idm_take_fixed(c, &head, sizeof(head)) || head.n_deps > index ||
        !idm_take_bytes(c, head.n_deps * (uint32_t)sizeof(uint32_t), &deps))
        return worker_malformed(w);
    ret_step->type = (CUgraphNodeType)head.kind;
    ret_step->enabled = head.enabled != 0;
    ret_step->deps = deps;
    ret_step->n_deps = head.n_deps;
    for (uint32_t i = 0; i < head.n_deps; i++) {
        if (ret_step->deps[i] >= index)
            return worker_malformed(w);
    }
    return take_body(w, c, ret_step);
}
