/* SPDX-License-Identifier: Apache-2.0 */
/* Memory operations in a stream, one by one; those and other calls for a thread's own
 * default stream. In libvgpu and in the simulated driver. */
#include "idm/cuda_abi.h"

static CUstream own(CUstream stream)
{
    return stream ? stream : CU_STREAM_PER_THREAD;
}

static CUresult one(CUstream stream, CUstreamBatchMemOpType what, CUdeviceptr p, uint64_t value,
                    unsigned flags)
{
    CUstreamBatchMemOpParams op = {
        .waitValue = {.operation = what, .address = p, .value64 = value, .flags = flags}};
    return cuStreamBatchMemOp_v2(stream, 1, &op, 0);
}

/* The first forms are the second ones. */
#define FORMS(name, type, what)                                                                    \
    CUresult name##_v2(CUstream stream, CUdeviceptr p, type value, unsigned int flags)             \
    {                                                                                              \
        return one(stream, what, p, value, flags);                                                 \
    }                                                                                              \
    CUresult name(CUstream stream, CUdeviceptr p, type value, unsigned int flags)                  \
    {                                                                                              \
        return one(stream, what, p, value, flags);                                                 \
    }                                                                                              \
    CUresult name##_v2_ptsz(CUstream stream, CUdeviceptr p, type value, unsigned int flags)        \
    {                                                                                              \
        return one(own(stream), what, p, value, flags);                                            \
    }                                                                                              \
    CUresult name##_ptsz(CUstream stream, CUdeviceptr p, type value, unsigned int flags)           \
    {                                                                                              \
        return one(own(stream), what, p, value, flags);                                            \
    }

FORMS(cuStreamWriteValue32, uint32_t, CU_STREAM_MEM_OP_WRITE_VALUE_32)
FORMS(cuStreamWriteValue64, uint64_t, CU_STREAM_MEM_OP_WRITE_VALUE_64)
FORMS(cuStreamWaitValue32, uint32_t, CU_STREAM_MEM_OP_WAIT_VALUE_32)
FORMS(cuStreamWaitValue64, uint64_t, CU_STREAM_MEM_OP_WAIT_VALUE_64)

CUresult cuStreamBatchMemOp(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *ops,
                            unsigned int flags)
{
    return cuStreamBatchMemOp_v2(stream, count, ops, flags);
}

CUresult cuStreamBatchMemOp_ptsz(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *ops,
                                 unsigned int flags)
{
    return cuStreamBatchMemOp_v2(own(stream), count, ops, flags);
}

CUresult cuStreamBatchMemOp_v2_ptsz(CUstream stream, unsigned int count,
                                    CUstreamBatchMemOpParams *ops, unsigned int flags)
{
    return cuStreamBatchMemOp_v2(own(stream), count, ops, flags);
}

CUresult cuStreamGetAttribute_ptsz(CUstream stream, CUstreamAttrID attr, CUstreamAttrValue *value)
{
    return cuStreamGetAttribute(own(stream), attr, value);
}

CUresult cuStreamSetAttribute_ptsz(CUstream stream, CUstreamAttrID attr,
                                   const CUstreamAttrValue *value)
{
    return cuStreamSetAttribute(own(stream), attr, value);
}

CUresult cuStreamCopyAttributes_ptsz(CUstream dst, CUstream src)
{
    return cuStreamCopyAttributes(own(dst), own(src));
}

CUresult cuStreamGetId_ptsz(CUstream stream, unsigned long long *id)
{
    return cuStreamGetId(own(stream), id);
}

CUresult cuStreamGetDevice_ptsz(CUstream stream, CUdevice *dev)
{
    return cuStreamGetDevice(own(stream), dev);
}
