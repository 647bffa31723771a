/* SPDX-License-Identifier: Apache-2.0 */
/* Memory operations in streams, streams' attributes. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "graph.h"
#include "handles.h"
#include "idm/graph/capture.h"
#include "memory.h"

CUresult memory_op(const CUstreamBatchMemOpParams *op, struct idm_memory_op *ret_op)
{
    struct idm_memory_op w = {.operation = (uint32_t)op->operation};
    if (op->operation == CU_STREAM_MEM_OP_BARRIER ||
        op->operation == CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES) {
        w.flags = op->memoryBarrier.flags;
    } else {
        bool wide = op->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 ||
                    op->operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;
        VG_TRY(vg_use_memory(op->waitValue.address, 1, wide ? 8 : 4, &w.address));
        w.flags = op->waitValue.flags;
        w.value = wide ? op->waitValue.value64 : (uint32_t)op->waitValue.value64;
    }
    *ret_op = w;
    return CUDA_SUCCESS;
}

static CUresult send(const struct graph_ops *ops, uint64_t stream)
{
    struct idm_memory_op few[8];
    struct idm_memory_op *all =
        ops->count <= 8 ? few : malloc(ops->count * sizeof(struct idm_memory_op));
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = CUDA_SUCCESS;
    for (uint32_t i = 0; i < ops->count && rc == CUDA_SUCCESS; i++)
        rc = memory_op(&ops->all[i], &all[i]);
    const struct idm_cuStreamBatchMemOp_v2_in in = {
        .w = {.stream = stream, .ops_len = ops->count * (uint32_t)sizeof(all[0])}, .ops = all};
    if (rc == CUDA_SUCCESS)
        rc = vg_queue_cuStreamBatchMemOp_v2(&in);
    if (all != few)
        free(all);
    return rc;
}

VG_EXPORT CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count,
                                         CUstreamBatchMemOpParams *ops, unsigned int flags)
{
    const CUDA_BATCH_MEM_OP_NODE_PARAMS o = {.count = count, .paramArray = ops, .flags = flags};
    struct graph_params p;
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuStreamBatchMemOp_v2, stream, count, ops, flags);
    VG_TRY(vg_use_stream(stream, &id));
    VG_TRY(params_take_ops(&p, &o)); /* what they must be like */
    CUresult rc = send(&p.ops, id);
    params_free(&p);
    return rc;
}

VG_EXPORT CUresult cuStreamGetAttribute(CUstream stream, CUstreamAttrID attr,
                                        CUstreamAttrValue *value)
{
    struct idm_cuStreamGetAttribute_in in = {.w = {.attr = (int32_t)attr}};
    struct idm_cuStreamGetAttribute_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    VG_TRY(vg_ask_cuStreamGetAttribute(&in, &out, &answer));
    if (out.w.value_len != sizeof(*value))
        return vg_nonsense();
    memcpy(value, out.value, sizeof(*value));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuStreamSetAttribute(CUstream stream, CUstreamAttrID attr,
                                        const CUstreamAttrValue *value)
{
    struct idm_cuStreamSetAttribute_in in = {
        .w = {.attr = (int32_t)attr, .value_len = sizeof(*value)}, .value = value};
    struct idm_cuStreamSetAttribute_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    return vg_ask_cuStreamSetAttribute(&in, &out, &answer);
}
