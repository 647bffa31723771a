/* SPDX-License-Identifier: Apache-2.0 */
/* Words written and waited for in a stream's order. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "idm/graph/capture.h"
#include "mem.h"
#include "stream.h"

#define NAP_NS (50 * 1000)

struct memops {
    struct op op;
    struct CUctx_st *context; /* the stream's, which the operation holds */
    unsigned count;
    CUstreamBatchMemOpParams all[];
};

static bool is_wide(CUstreamBatchMemOpType what)
{
    return what == CU_STREAM_MEM_OP_WAIT_VALUE_64 || what == CU_STREAM_MEM_OP_WRITE_VALUE_64;
}

static bool is_wait(CUstreamBatchMemOpType what)
{
    return what == CU_STREAM_MEM_OP_WAIT_VALUE_32 || what == CU_STREAM_MEM_OP_WAIT_VALUE_64;
}

static bool has_address(CUstreamBatchMemOpType what)
{
    return what != CU_STREAM_MEM_OP_BARRIER && what != CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES;
}

/* Of the word as it is read: 32 bits, compared as such, or 64. */
static bool is_met(const CUstreamBatchMemOpParams *op)
{
    const void *at = (const void *)(uintptr_t)op->waitValue.address;
    uint64_t want = op->waitValue.value64;
    bool wide = is_wide(op->operation);
    mem_hold();
    uint64_t is = wide ? __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE)
                       : __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
    mem_let_go();
    if (!wide)
        want = (uint32_t)want;
    switch (op->waitValue.flags & 3) {
    case CU_STREAM_WAIT_VALUE_GEQ:
        return wide ? (int64_t)(is - want) >= 0 : (int32_t)((uint32_t)is - (uint32_t)want) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ:
        return is == want;
    case CU_STREAM_WAIT_VALUE_AND:
        return (is & want) != 0;
    default:
        return (wide ? ~(is | want) : (uint32_t) ~(is | want)) != 0;
    }
}

/* Memory may be freed while a stream waits for it. */
static bool is_there(const struct memops *m, const CUstreamBatchMemOpParams *op)
{
    enum mem_kind kind =
        mem_classify(op->waitValue.address, is_wide(op->operation) ? 8 : 4, m->context);
    return kind != MEM_PAGEABLE && kind != MEM_BAD;
}

static CUresult wait_for(const struct memops *m, const CUstreamBatchMemOpParams *op)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    for (;;) {
        if (m->context->dead) /* who waits for its end needn't wait for this */
            return CUDA_SUCCESS;
        if (!is_there(m, op))
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        if (is_met(op))
            return CUDA_SUCCESS;
        nanosleep(&nap, NULL);
    }
}

static CUresult write_to(const struct memops *m, const CUstreamBatchMemOpParams *op)
{
    void *at = (void *)(uintptr_t)op->waitValue.address;
    if (!is_there(m, op))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    mem_hold();
    if (is_wide(op->operation))
        __atomic_store_n((uint64_t *)at, op->waitValue.value64, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)at, (uint32_t)op->waitValue.value64, __ATOMIC_RELEASE);
    mem_let_go();
    return CUDA_SUCCESS;
}

static CUresult run_ops(struct op *op)
{
    const struct memops *m = (const struct memops *)op;
    for (unsigned i = 0; i < m->count; i++) {
        const CUstreamBatchMemOpParams *o = &m->all[i];
        if (has_address(o->operation))
            TRY(is_wait(o->operation) ? wait_for(m, o) : write_to(m, o));
    }
    return CUDA_SUCCESS;
}

static bool is_well_formed(const CUstreamBatchMemOpParams *op)
{
    const unsigned flush = 1u << 30; /* CU_STREAM_WAIT_VALUE_FLUSH */
    unsigned flags = op->waitValue.flags;
    return op->waitValue.address % (is_wide(op->operation) ? 8 : 4) == 0 &&
           (is_wait(op->operation) ? (flags & ~flush) <= CU_STREAM_WAIT_VALUE_NOR : flags <= 1);
}

CUresult memops_op(struct CUctx_st *c, const CUstreamBatchMemOpParams *ops, unsigned count,
                   struct op **ret_op)
{
    struct memops *m = calloc(1, sizeof(*m) + count * sizeof(m->all[0]));
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->op.run = run_ops;
    m->op.outside = true; /* but for what is_met and write_to hold */
    m->context = c;
    m->count = count;
    memcpy(m->all, ops, count * sizeof(m->all[0]));
    for (unsigned i = 0; i < count; i++) {
        if (has_address(ops[i].operation) && (!is_there(m, &ops[i]) || !is_well_formed(&ops[i]))) {
            free(m);
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    *ret_op = &m->op;
    return CUDA_SUCCESS;
}

CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *ops,
                               unsigned int flags)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    struct graph_params p;
    struct op *op;
    const CUDA_BATCH_MEM_OP_NODE_PARAMS o = {.count = count, .paramArray = ops, .flags = flags};
    CAPTURE_HOOK(cuStreamBatchMemOp_v2, stream, count, ops, flags);
    TRY(sim_context(&c));
    TRY(sim_stream(stream, c, &s));
    TRY(params_take_ops(&p, &o)); /* what they must be like */
    CUresult rc = memops_op(c, p.ops.all, count, &op);
    params_free(&p);
    TRY(rc);
    return stream_submit(s, op, SUBMIT_LATER);
}
