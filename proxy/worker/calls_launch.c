/* SPDX-License-Identifier: Apache-2.0 */
/* Launches with attributes; memory operations and attributes of streams. */
#include "launch.h"

/* Other values are handles, or places the driver writes to. */
static bool is_number(uint32_t id)
{
    return id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE ||
           id == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY ||
           id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION ||
           id == CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE ||
           id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION ||
           id == CU_LAUNCH_ATTRIBUTE_PRIORITY || id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
           id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN ||
           id == CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION ||
           id == CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT ||
           id == CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING;
}

/* An event of the client's, or a window on its own memory. */
static CUresult take_value(struct worker *w, uint32_t id, CUlaunchAttributeValue *v)
{
    uint64_t event;
    void *driver;
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
        memcpy(&event, v, sizeof(event));
        WORKER_TRY(worker_find(w, IDM_KIND_event, event, false, &driver));
        v->programmaticEvent.event = driver;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        return worker_check_memory(w, (uintptr_t)v->accessPolicyWindow.base_ptr,
                                   v->accessPolicyWindow.num_bytes, 1);
    default:
        return is_number(id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult worker_launch_attributes(struct worker *w, const void *data, uint32_t len,
                                  CUlaunchAttribute *ret_attributes, uint32_t *ret_n)
{
    uint32_t n = len / (uint32_t)sizeof(struct idm_launch_attribute);
    if (n > IDM_MAX_ATTRIBUTES || len % sizeof(struct idm_launch_attribute))
        return worker_malformed(w);
    for (uint32_t i = 0; i < n; i++) {
        struct idm_launch_attribute a;
        memcpy(&a, (const char *)data + i * sizeof(a), sizeof(a));
        CUlaunchAttributeValue v;
        memcpy(&v, a.value, sizeof(v));
        WORKER_TRY(take_value(w, a.id, &v));
        ret_attributes[i] = (CUlaunchAttribute){.id = (CUlaunchAttributeID)a.id};
        memcpy(ret_attributes[i].value, &v, sizeof(v));
    }
    *ret_n = n;
    return CUDA_SUCCESS;
}

CUresult worker_cuLaunchKernelEx(struct worker *w, const struct idm_cuLaunchKernelEx_in *in,
                                 struct idm_cuLaunchKernelEx_out *out)
{
    struct worker_object *fn;
    CUstream stream;
    CUlaunchAttribute attributes[IDM_MAX_ATTRIBUTES];
    uint32_t n = 0;
    (void)out;
    WORKER_TRY(worker_find_code(w, in->w.fn, &fn));
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_launch_attributes(w, in->attributes, in->w.attributes_len, attributes, &n));
    if (in->w.params_len < fn->value || in->w.params_len > IDM_MAX_PARAM_BYTES)
        return CUDA_ERROR_INVALID_VALUE;
    if (!w->cu.cuLaunchKernelEx)
        return CUDA_ERROR_NOT_SUPPORTED;
    size_t size = in->w.params_len;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)in->params,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    const CUlaunchConfig c = {.gridDimX = in->w.gx,
                              .gridDimY = in->w.gy,
                              .gridDimZ = in->w.gz,
                              .blockDimX = in->w.bx,
                              .blockDimY = in->w.by,
                              .blockDimZ = in->w.bz,
                              .sharedMemBytes = in->w.shared,
                              .hStream = stream,
                              .attrs = attributes,
                              .numAttrs = n};
    worker_count(&w->counters->launches, 1);
    return w->cu.cuLaunchKernelEx(&c, fn->driver, NULL, size ? extra : NULL);
}

CUresult worker_cuOccupancyMaxActiveClusters(struct worker *w,
                                             const struct idm_cuOccupancyMaxActiveClusters_in *in,
                                             struct idm_cuOccupancyMaxActiveClusters_out *out)
{
    struct worker_object *fn;
    CUlaunchAttribute attributes[IDM_MAX_ATTRIBUTES];
    uint32_t n = 0;
    int clusters = 0;
    WORKER_TRY(worker_find_code(w, in->w.fn, &fn));
    WORKER_TRY(worker_launch_attributes(w, in->attributes, in->w.attributes_len, attributes, &n));
    if (!w->cu.cuOccupancyMaxActiveClusters)
        return CUDA_ERROR_NOT_SUPPORTED;
    const CUlaunchConfig c = {.gridDimX = in->w.gx,
                              .gridDimY = in->w.gy,
                              .gridDimZ = in->w.gz,
                              .blockDimX = in->w.bx,
                              .blockDimY = in->w.by,
                              .blockDimZ = in->w.bz,
                              .sharedMemBytes = in->w.shared,
                              .attrs = attributes,
                              .numAttrs = n};
    CUresult rc = w->cu.cuOccupancyMaxActiveClusters(&clusters, fn->driver, &c);
    out->w.clusters = clusters;
    return rc;
}

CUresult worker_cuOccupancyMaxPotentialClusterSize(
    struct worker *w, const struct idm_cuOccupancyMaxPotentialClusterSize_in *in,
    struct idm_cuOccupancyMaxPotentialClusterSize_out *out)
{
    struct worker_object *fn;
    CUlaunchAttribute attributes[IDM_MAX_ATTRIBUTES];
    uint32_t n = 0;
    int size = 0;
    WORKER_TRY(worker_find_code(w, in->w.fn, &fn));
    WORKER_TRY(worker_launch_attributes(w, in->attributes, in->w.attributes_len, attributes, &n));
    if (!w->cu.cuOccupancyMaxPotentialClusterSize)
        return CUDA_ERROR_NOT_SUPPORTED;
    const CUlaunchConfig c = {.gridDimX = in->w.gx,
                              .gridDimY = in->w.gy,
                              .gridDimZ = in->w.gz,
                              .blockDimX = in->w.bx,
                              .blockDimY = in->w.by,
                              .blockDimZ = in->w.bz,
                              .sharedMemBytes = in->w.shared,
                              .attrs = attributes,
                              .numAttrs = n};
    CUresult rc = w->cu.cuOccupancyMaxPotentialClusterSize(&size, fn->driver, &c);
    out->w.size = size;
    return rc;
}

/* --- Memory operations ------------------------------------------------------------------ */

static CUresult take_op(struct worker *w, const struct idm_memory_op *op,
                        CUstreamBatchMemOpParams *ret_op)
{
    uint32_t bytes = 4;
    memset(ret_op, 0, sizeof(*ret_op));
    ret_op->operation = (CUstreamBatchMemOpType)op->operation;
    switch (ret_op->operation) {
    case CU_STREAM_MEM_OP_BARRIER:
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
        ret_op->memoryBarrier.flags = op->flags;
        return CUDA_SUCCESS;
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        bytes = 8;
        break;
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (op->address % bytes)
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(worker_check_memory(w, op->address, bytes, 1));
    ret_op->waitValue.address = op->address;
    ret_op->waitValue.value64 = op->value;
    ret_op->waitValue.flags = op->flags;
    return CUDA_SUCCESS;
}

CUresult worker_memory_ops(struct worker *w, const void *data, uint32_t len,
                           CUstreamBatchMemOpParams *ret_ops, uint32_t *ret_n)
{
    uint32_t n = len / (uint32_t)sizeof(struct idm_memory_op);
    if (n == 0 || n > IDM_MAX_MEMORY_OPS || len % sizeof(struct idm_memory_op))
        return worker_malformed(w);
    for (uint32_t i = 0; i < n; i++) {
        struct idm_memory_op op;
        memcpy(&op, (const char *)data + i * sizeof(op), sizeof(op));
        WORKER_TRY(take_op(w, &op, &ret_ops[i]));
    }
    *ret_n = n;
    return CUDA_SUCCESS;
}

CUresult worker_cuStreamBatchMemOp_v2(struct worker *w,
                                      const struct idm_cuStreamBatchMemOp_v2_in *in,
                                      struct idm_cuStreamBatchMemOp_v2_out *out)
{
    CUstream stream;
    CUstreamBatchMemOpParams ops[IDM_MAX_MEMORY_OPS];
    uint32_t n = 0;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    WORKER_TRY(worker_memory_ops(w, in->ops, in->w.ops_len, ops, &n));
    if (!w->cu.cuStreamBatchMemOp_v2)
        return CUDA_ERROR_NOT_SUPPORTED;
    return w->cu.cuStreamBatchMemOp_v2(stream, n, ops, 0);
}

/* --- Streams' attributes ------------------------------------------------------------------- */

static bool is_streams(uint32_t id)
{
    return is_number(id) || id == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW;
}

CUresult worker_cuStreamGetAttribute(struct worker *w, const struct idm_cuStreamGetAttribute_in *in,
                                     struct idm_cuStreamGetAttribute_out *out)
{
    CUstream stream;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    if (!is_streams((uint32_t)in->w.attr))
        return CUDA_ERROR_INVALID_VALUE;
    if (!w->cu.cuStreamGetAttribute)
        return CUDA_ERROR_NOT_SUPPORTED;
    memset(&w->attribute, 0, sizeof(w->attribute));
    WORKER_TRY(w->cu.cuStreamGetAttribute(stream, (CUstreamAttrID)in->w.attr, &w->attribute));
    out->value = &w->attribute;
    out->w.value_len = sizeof(w->attribute);
    return CUDA_SUCCESS;
}

CUresult worker_cuStreamSetAttribute(struct worker *w, const struct idm_cuStreamSetAttribute_in *in,
                                     struct idm_cuStreamSetAttribute_out *out)
{
    CUstream stream;
    CUstreamAttrValue value;
    (void)out;
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    if (in->w.value_len != sizeof(value))
        return worker_malformed(w);
    memcpy(&value, in->value, sizeof(value));
    if (!is_streams((uint32_t)in->w.attr))
        return CUDA_ERROR_INVALID_VALUE;
    WORKER_TRY(take_value(w, (uint32_t)in->w.attr, &value));
    if (!w->cu.cuStreamSetAttribute)
        return CUDA_ERROR_NOT_SUPPORTED;
    return w->cu.cuStreamSetAttribute(stream, (CUstreamAttrID)in->w.attr, &value);
}
