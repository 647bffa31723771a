/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "idm/graph/capture.h"
#include "mem.h"
#include "stream.h"
#include "texture.h"

#define MAX_GRID_X    0x7fffffffu
#define MAX_GRID_YZ   65535u
#define MAX_BLOCK_Z   64u
#define MAX_EXTRA     16
#define MEETING_BYTES 8

struct launch {
    struct op op;
    struct CUfunc_st *function; /* a reference */
    struct sim_memory memory;
    struct sim_launch what;
    _Alignas(16) uint8_t params[];
};

static CUresult run(struct op *op)
{
    const struct launch *l = (const struct launch *)op;
    struct sim_fault fault = {.text = ""};
    int rc = sim_run(&l->what, &fault);
    if (rc)
        fprintf(stderr, "simulated GPU: kernel %.200s: %s\n", l->what.func->name, fault.text);
    return (CUresult)rc;
}

static void release(struct op *op)
{
    struct launch *l = (struct launch *)op;
    if (l->what.meeting)
        mem_release(l->what.meeting, MEM_GLOBAL, l->function->o.context);
    object_put(&l->function->o);
}

/* Eight blocks on any device; as many as there can be where the function allows it. */
unsigned function_max_cluster(const struct CUfunc_st *f)
{
    return f->set.non_portable ? SIM_MAX_CLUSTER : SIM_PORTABLE_CLUSTER;
}

CUresult launch_cluster_of(const struct CUfunc_st *f, const struct launch_shape *s,
                           uint32_t ret_cluster[3])
{
    uint64_t blocks = 1;
    for (unsigned d = 0; d < 3; d++) {
        uint32_t own = f->code->cluster[d], asked = s->cluster[d];
        if (own && asked && own != asked)
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        ret_cluster[d] = own ? own : asked;
        if (ret_cluster[d] > SIM_MAX_CLUSTER)
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        if (ret_cluster[d] && s->grid[d] % ret_cluster[d])
            return CUDA_ERROR_INVALID_VALUE;
        blocks *= ret_cluster[d] ? ret_cluster[d] : 1;
    }
    return blocks > function_max_cluster(f) ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

static CUresult check_shape(const struct CUfunc_st *f, const struct launch_shape *s)
{
    const uint32_t *block = s->block;
    TRY(graph_shape(s->grid, block));
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (s->shared > f->set.max_dynamic)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads > (uint64_t)function_max_threads(f->code) ||
        static_shared(f->code) + s->shared > SIM_MAX_SHARED)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    uint64_t resident = (uint64_t)function_blocks(f->code, (unsigned)threads, s->shared) * SIM_SMS;
    if (s->cooperative && (uint64_t)s->grid[0] * s->grid[1] * s->grid[2] > resident)
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return CUDA_SUCCESS;
}

CUresult graph_shape(const uint32_t grid[3], const uint32_t block[3])
{
    if (!grid[0] || !grid[1] || !grid[2] || !block[0] || !block[1] || !block[2] ||
        grid[0] > MAX_GRID_X || grid[1] > MAX_GRID_YZ || grid[2] > MAX_GRID_YZ ||
        block[0] > SIM_MAX_THREADS || block[1] > SIM_MAX_THREADS || block[2] > MAX_BLOCK_Z ||
        (uint64_t)block[0] * block[1] * block[2] > SIM_MAX_THREADS)
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

/* The buffer form of parameters. */
static CUresult read_extra(void **extra, const void **ret_buffer, size_t *ret_size)
{
    const void *buffer = NULL;
    const size_t *size = NULL;
    for (unsigned i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (i >= MAX_EXTRA)
            return CUDA_ERROR_INVALID_VALUE;
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size = extra[i + 1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (!buffer || !size || *size > SIM_MAX_PARAM_BUFFER)
        return CUDA_ERROR_INVALID_VALUE;
    *ret_buffer = buffer;
    *ret_size = *size;
    return CUDA_SUCCESS;
}

static CUresult gather(const struct sim_func *f, void **params, void **extra, uint8_t *ret_params)
{
    if (params && extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (extra) {
        const void *buffer;
        size_t size;
        TRY(read_extra(extra, &buffer, &size));
        /* It may end before the parameters do, as NCCL's does: what it hasn't is zero. */
        memcpy(ret_params, buffer, size < f->param_bytes ? size : f->param_bytes);
        return CUDA_SUCCESS;
    }
    if (!params && f->nparams)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < f->nparams; i++) {
        if (!params[i])
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(ret_params + f->params[i].offset, params[i], f->params[i].size);
    }
    return CUDA_SUCCESS;
}

CUresult launch_op(struct CUctx_st *c, struct CUfunc_st *f, const struct launch_shape *s,
                   struct op **ret_op, uint8_t **ret_params)
{
    uint32_t cluster[3];
    TRY(check_shape(f, s));
    TRY(launch_cluster_of(f, s, cluster));
    struct launch *l = calloc(1, sizeof(*l) + f->code->param_bytes);
    if (!l)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_hold(&f->o);
    l->op.run = run;
    l->op.release = release;
    l->function = f;
    l->memory = (struct sim_memory){.find = mem_find, .texture = texture_find, .context = c};
    l->what = (struct sim_launch){.module = f->module->code,
                                  .func = f->code,
                                  .grid = {s->grid[0], s->grid[1], s->grid[2]},
                                  .block = {s->block[0], s->block[1], s->block[2]},
                                  .cluster = {cluster[0], cluster[1], cluster[2]},
                                  .dynamic_shared = s->shared,
                                  .params = l->params,
                                  .memory = &l->memory,
                                  .max_steps = sim.max_steps,
                                  .sms = SIM_SMS,
                                  .cooperative = s->cooperative};
    int rc = 0;
    if (s->cooperative)
        rc = mem_alloc(c, c->device, MEM_GLOBAL, MEETING_BYTES, &l->what.meeting);
    if (rc) {
        op_free(&l->op);
        return (CUresult)rc;
    }
    *ret_op = &l->op;
    *ret_params = l->params;
    return CUDA_SUCCESS;
}

static CUresult launch(CUfunction fn, const struct launch_shape *shape, CUstream stream,
                       void **params, void **extra)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    PUT_LATER(CUstream_st) *s = NULL;
    struct op *op;
    uint8_t *values;
    TRY(sim_context(&c));
    TRY(function_find(c, fn, &f));
    TRY(sim_stream(stream, c, &s));
    TRY(launch_op(c, f, shape, &op, &values));
    CUresult rc = gather(f->code, params, extra, values);
    if (rc != CUDA_SUCCESS) {
        op_free(op);
        return rc;
    }
    return stream_submit(s, op, sim.blocking ? SUBMIT_WAIT : SUBMIT_LATER);
}

CUresult cuLaunchKernel(CUfunction fn, unsigned int gx, unsigned int gy, unsigned int gz,
                        unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                        CUstream stream, void **params, void **extra)
{
    CAPTURE_HOOK(cuLaunchKernel, fn, gx, gy, gz, bx, by, bz, shared, stream, params, extra);
    const struct launch_shape s = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared};
    return launch(fn, &s, stream, params, extra);
}

/* Some say how to be faster: those may be passed over. */
CUresult launch_attribute(const CUlaunchAttribute *a, struct launch_shape *s)
{
    CUlaunchAttributeValue v;
    memcpy(&v, a->value, sizeof(v));
    switch (a->id) {
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
        if (s->n_events == sizeof(s->events) / sizeof(s->events[0]))
            return CUDA_ERROR_INVALID_VALUE;
        s->events[s->n_events++] = v.programmaticEvent.event;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        s->cooperative = v.cooperative != 0;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        if (sim.capability < 90)
            return CUDA_ERROR_NOT_SUPPORTED;
        if (!v.clusterDim.x || !v.clusterDim.y || !v.clusterDim.z)
            return CUDA_ERROR_INVALID_VALUE;
        s->cluster[0] = v.clusterDim.x;
        s->cluster[1] = v.clusterDim.y;
        s->cluster[2] = v.clusterDim.z;
        return CUDA_SUCCESS;
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

/* They are for order, not for time, and of this process. */
static CUresult check_events(const struct launch_shape *s)
{
    for (unsigned i = 0; i < s->n_events; i++) {
        PUT_LATER(CUevent_st) *e = object_find(OBJECT_EVENT, s->events[i]);
        TRY(e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
        if (!(e->flags & CU_EVENT_DISABLE_TIMING) || (e->flags & CU_EVENT_INTERPROCESS))
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction fn, void **params, void **extra)
{
    CAPTURE_HOOK(cuLaunchKernelEx, c, fn, params, extra);
    if (!c || (c->numAttrs && !c->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    struct launch_shape s = {.grid = {c->gridDimX, c->gridDimY, c->gridDimZ},
                             .block = {c->blockDimX, c->blockDimY, c->blockDimZ},
                             .shared = c->sharedMemBytes};
    for (unsigned i = 0; i < c->numAttrs; i++)
        TRY(launch_attribute(&c->attrs[i], &s));
    TRY(check_events(&s));
    TRY(launch(fn, &s, c->hStream, params, extra));
    /* A device would say so earlier: when all blocks have begun, or wherever they are then. */
    for (unsigned i = 0; i < s.n_events; i++)
        TRY(cuEventRecord(s.events[i], c->hStream));
    return CUDA_SUCCESS;
}
