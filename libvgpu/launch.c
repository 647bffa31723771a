/* SPDX-License-Identifier: Apache-2.0 */
/* Launches: parameters gathered, attributes looked at, one record. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "context.h"
#include "function.h"
#include "handles.h"
#include "idm/graph/capture.h"

struct launch {
    uint64_t fn;
    uint64_t stream;
    uint32_t grid[3], block[3], shared;
    bool may_fail; /* for a reason that only the driver knows */
    uint32_t n_attributes;
    struct idm_launch_attribute attributes[IDM_MAX_ATTRIBUTES];
};

static bool fits(unsigned value, const struct idm_device_facts *d, CUdevice_attribute limit)
{
    if (value == 0)
        return false;
    return !(d->known[limit / 8] & 1u << limit % 8) || value <= (unsigned)d->attribute[limit];
}

CUresult graph_shape(const uint32_t grid[3], const uint32_t block[3])
{
    int dev = context_device();
    if (dev < 0 || dev >= vg.n_devices)
        return CUDA_ERROR_INVALID_VALUE;
    const struct idm_device_facts *d = &vg.devices[dev];
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2]; /* each is bounded first */
    bool good = fits(grid[0], d, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) &&
                fits(grid[1], d, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y) &&
                fits(grid[2], d, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z) &&
                fits(block[0], d, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X) &&
                fits(block[1], d, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y) &&
                fits(block[2], d, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z) && threads <= UINT32_MAX &&
                fits((unsigned)threads, d, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The caller packed the parameters. */
static CUresult take_extra(void **extra, const void **ret_block, size_t *ret_bytes)
{
    *ret_block = NULL;
    *ret_bytes = 0;
    while (*extra != CU_LAUNCH_PARAM_END) {
        if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            *ret_block = extra[1];
        else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[1])
            memcpy(ret_bytes, extra[1], sizeof(*ret_bytes));
        else
            return CUDA_ERROR_INVALID_VALUE;
        extra += 2;
    }
    if (*ret_bytes > IDM_MAX_PARAM_BYTES || (*ret_bytes && !*ret_block))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult gather(const struct function *f, void **params, uint8_t *block)
{
    memset(block, 0, f->param_bytes);
    for (uint32_t i = 0; params && i < f->n_params; i++) {
        if (!params[i])
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(block + f->params[i].offset, params[i], f->params[i].size);
    }
    return CUDA_SUCCESS;
}

static bool device_has(int attribute)
{
    int dev = context_device();
    if (dev < 0 || dev >= vg.n_devices)
        return false;
    const struct idm_device_facts *d = &vg.devices[dev];
    return d->known[attribute / 8] & 1u << attribute % 8 && d->attribute[attribute];
}

static bool has_clusters(void)
{
    return device_has(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH);
}

static bool is_event(uint32_t id)
{
    return id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT ||
           id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT;
}

/* Results of the driver's don't travel in a value; an event becomes its handle on the wire. */
static CUresult take_attribute(const CUlaunchAttribute *a, CUlaunchAttributeValue *v)
{
    uint64_t event;
    switch (a->id) {
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
        VG_TRY(vg_use(IDM_KIND_event, v->programmaticEvent.event, false, &event));
        memcpy(v, &event, sizeof(event));
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        return !v->cooperative || device_has(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        return has_clusters() ||
                       (v->clusterDim.x == 1 && v->clusterDim.y == 1 && v->clusterDim.z == 1)
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_NOT_SUPPORTED;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* Says nothing: one that is ignored, or what is so without it. */
static bool says_nothing(const CUlaunchAttribute *a, const CUlaunchAttributeValue *v)
{
    return a->id == CU_LAUNCH_ATTRIBUTE_IGNORE ||
           (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && !v->cooperative) ||
           (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && !has_clusters());
}

CUresult launch_attributes(const CUlaunchAttribute *all, unsigned n,
                           struct idm_launch_attribute *ret_attributes, uint32_t *ret_n)
{
    uint32_t kept = 0;
    for (unsigned i = 0; i < n; i++) {
        CUlaunchAttributeValue v;
        memcpy(&v, all[i].value, sizeof(v));
        VG_TRY(take_attribute(&all[i], &v));
        if (says_nothing(&all[i], &v))
            continue;
        if (kept == IDM_MAX_ATTRIBUTES)
            return CUDA_ERROR_INVALID_VALUE;
        struct idm_launch_attribute *a = &ret_attributes[kept++];
        *a = (struct idm_launch_attribute){.id = (uint32_t)all[i].id};
        memcpy(a->value, &v, sizeof(a->value));
    }
    *ret_n = kept;
    return CUDA_SUCCESS;
}

static void launch_shape(struct launch *l, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                         unsigned by, unsigned bz, unsigned shared)
{
    l->grid[0] = gx;
    l->grid[1] = gy;
    l->grid[2] = gz;
    l->block[0] = bx;
    l->block[1] = by;
    l->block[2] = bz;
    l->shared = shared;
    l->may_fail = false;
    l->n_attributes = 0;
}

static CUresult launch_config(struct launch *l, const CUlaunchConfig *c)
{
    if (c->numAttrs && !c->attrs)
        return CUDA_ERROR_INVALID_VALUE;
    launch_shape(l, c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ,
                 c->sharedMemBytes);
    VG_TRY(launch_attributes(c->attrs, c->numAttrs, l->attributes, &l->n_attributes));
    for (uint32_t i = 0; i < l->n_attributes; i++)
        l->may_fail = l->may_fail || is_event(l->attributes[i].id) ||
                      l->attributes[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE ||
                      l->attributes[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    return CUDA_SUCCESS;
}

/* With attributes where there are some. A cooperative launch may be too large, and the
 * program may have another way then; what an event is good for the driver knows: they wait for
 * the answer. */
static CUresult send_launch(const struct launch *l, const void *block, size_t bytes)
{
    const struct idm_cuLaunchKernel_in plain = {.w = {.fn = l->fn,
                                                      .gx = l->grid[0],
                                                      .gy = l->grid[1],
                                                      .gz = l->grid[2],
                                                      .bx = l->block[0],
                                                      .by = l->block[1],
                                                      .bz = l->block[2],
                                                      .shared = l->shared,
                                                      .stream = l->stream,
                                                      .params_len = (uint32_t)bytes},
                                                .params = block};
    if (!l->n_attributes && !l->may_fail)
        return vg_queue_cuLaunchKernel(&plain);
    struct vg_answer answer;
    struct idm_cuLaunchKernelEx_out out;
    const struct idm_cuLaunchKernelEx_in in = {
        .w = {.fn = l->fn,
              .gx = l->grid[0],
              .gy = l->grid[1],
              .gz = l->grid[2],
              .bx = l->block[0],
              .by = l->block[1],
              .bz = l->block[2],
              .shared = l->shared,
              .stream = l->stream,
              .params_len = (uint32_t)bytes,
              .attributes_len = l->n_attributes * (uint32_t)sizeof(l->attributes[0])},
        .params = block,
        .attributes = l->attributes};
    return l->may_fail ? vg_ask_cuLaunchKernelEx(&in, &out, &answer)
                       : vg_queue_cuLaunchKernelEx(&in);
}

/* A whole block of F's parameters: PARAMS, or BYTES of BUFFER, and zeros. */
static CUresult launch_block(const struct launch *l, const struct function *f, void **params,
                             const void *buffer, size_t bytes)
{
    _Alignas(16) uint8_t small[1024];
    uint8_t *block = f->param_bytes <= sizeof(small) ? small : malloc(f->param_bytes);
    if (!block)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = gather(f, params, block);
    if (buffer)
        memcpy(block, buffer, bytes);
    if (rc == CUDA_SUCCESS)
        rc = send_launch(l, block, f->param_bytes);
    if (block != small)
        free(block);
    return rc;
}

static CUresult launch_params(const struct launch *l, const struct function *f, void **params)
{
    if (f->n_params && !params)
        return CUDA_ERROR_INVALID_VALUE;
    if (!f->facts.params_known && params)
        return CUDA_ERROR_NOT_SUPPORTED; /* an old driver doesn't tell their sizes */
    return launch_block(l, f, params, NULL, 0);
}

static CUresult launch_with(const struct launch *l, const struct function *f, void **params,
                            void **extra)
{
    const void *block;
    size_t bytes;
    if (params && extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (!extra)
        return launch_params(l, f, params);
    VG_TRY(take_extra(extra, &block, &bytes));
    /* A buffer may end before the parameters do, as NCCL's does. */
    return bytes < f->param_bytes ? launch_block(l, f, NULL, block, bytes)
                                  : send_launch(l, block, bytes);
}

static CUresult launch(struct launch *l, CUfunction fn, CUstream stream, void **params,
                       void **extra)
{
    struct function *f;
    VG_TRY(function_use(IDM_KIND_code, fn, &f, &l->fn)); /* a kernel: in the current context */
    VG_TRY(vg_use_stream(stream, &l->stream));
    VG_TRY(graph_shape(l->grid, l->block));
    /* More than the function may have, as far as is known here: the driver has the word at once. */
    bool doubted = !function_may_have(f, l->block, l->shared);
    l->may_fail |= doubted;
    CUresult rc = launch_with(l, f, params, extra);
    if (doubted && rc == CUDA_SUCCESS)
        function_has(f, l->block, l->shared);
    return rc == CUDA_SUCCESS && vg.blocking ? cuStreamSynchronize(stream) : rc;
}

VG_EXPORT CUresult cuLaunchKernel(CUfunction fn, unsigned int gx, unsigned int gy, unsigned int gz,
                                  unsigned int bx, unsigned int by, unsigned int bz,
                                  unsigned int shared, CUstream stream, void **params, void **extra)
{
    struct launch l; /* not initialized whole: the attributes are large */
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuLaunchKernel, fn, gx, gy, gz, bx, by, bz, shared, stream, params, extra);
    launch_shape(&l, gx, gy, gz, bx, by, bz, shared);
    return launch(&l, fn, stream, params, extra);
}

VG_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction fn, void **params,
                                    void **extra)
{
    struct launch l;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuLaunchKernelEx, c, fn, params, extra);
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(launch_config(&l, c));
    return launch(&l, fn, c->hStream, params, extra);
}

static CUresult ask_clusters(int *ret_n, CUfunction fn, const CUlaunchConfig *c, bool potential)
{
    struct launch l;
    struct function *f;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!ret_n || !c || (c->numAttrs && !c->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_code, fn, &f, &l.fn));
    if (!has_clusters())
        return CUDA_ERROR_NOT_SUPPORTED;
    VG_TRY(launch_config(&l, c));
    const uint32_t len = l.n_attributes * (uint32_t)sizeof(l.attributes[0]);
    if (potential) {
        struct idm_cuOccupancyMaxPotentialClusterSize_out out;
        const struct idm_cuOccupancyMaxPotentialClusterSize_in in = {
            .w = {.fn = l.fn,
                  .gx = c->gridDimX,
                  .gy = c->gridDimY,
                  .gz = c->gridDimZ,
                  .bx = c->blockDimX,
                  .by = c->blockDimY,
                  .bz = c->blockDimZ,
                  .shared = c->sharedMemBytes,
                  .attributes_len = len},
            .attributes = l.attributes};
        VG_TRY(vg_ask_cuOccupancyMaxPotentialClusterSize(&in, &out, &answer));
        *ret_n = out.w.size;
        return CUDA_SUCCESS;
    }
    struct idm_cuOccupancyMaxActiveClusters_out out;
    const struct idm_cuOccupancyMaxActiveClusters_in in = {.w = {.fn = l.fn,
                                                                 .gx = c->gridDimX,
                                                                 .gy = c->gridDimY,
                                                                 .gz = c->gridDimZ,
                                                                 .bx = c->blockDimX,
                                                                 .by = c->blockDimY,
                                                                 .bz = c->blockDimZ,
                                                                 .shared = c->sharedMemBytes,
                                                                 .attributes_len = len},
                                                           .attributes = l.attributes};
    VG_TRY(vg_ask_cuOccupancyMaxActiveClusters(&in, &out, &answer));
    *ret_n = out.w.clusters;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction fn,
                                                const CUlaunchConfig *c)
{
    return ask_clusters(clusters, fn, c, false);
}

VG_EXPORT CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction fn,
                                                      const CUlaunchConfig *c)
{
    return ask_clusters(size, fn, c, true);
}
