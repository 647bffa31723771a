/* SPDX-License-Identifier: Apache-2.0 */
/* The program's functions in a stream's order, on the scheduler's threads. */
#include <stdlib.h>

#include "idm/graph/capture.h"
#include "stream.h"

struct host_call {
    struct op op;
    CUhostFn fn; /* or */
    CUstreamCallback callback;
    CUstream handle; /* as the program named it */
    void *data;
};

static CUresult run_call(struct op *op)
{
    const struct host_call *h = (const struct host_call *)op;
    sim_callback_begins();
    if (h->fn)
        h->fn(h->data);
    else
        h->callback(h->handle, op->stream->o.context->error, h->data);
    sim_callback_ends();
    return CUDA_SUCCESS;
}

static CUresult put(struct CUstream_st *s, CUstream stream, CUhostFn fn, CUstreamCallback callback,
                    void *data)
{
    struct host_call *h = calloc(1, sizeof(*h));
    if (!h)
        return CUDA_ERROR_OUT_OF_MEMORY;
    h->op.run = run_call;
    h->op.outside = true;
    h->op.always = callback != NULL; /* it is told of errors */
    h->fn = fn;
    h->callback = callback;
    h->handle = stream;
    h->data = data;
    return stream_submit(s, &h->op, SUBMIT_LATER);
}

CUresult host_call(struct CUstream_st *s, CUhostFn fn, void *data)
{
    return put(s, NULL, fn, NULL, data);
}

static CUresult submit(CUstream stream, CUhostFn fn, CUstreamCallback callback, void *data)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!fn && !callback)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_stream(stream, c, &s));
    return put(s, stream, fn, callback, data);
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data)
{
    CAPTURE_HOOK(cuLaunchHostFunc, stream, fn, data);
    return submit(stream, fn, NULL, data);
}

CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *data,
                             unsigned int flags)
{
    CAPTURE_HOOK(stream, stream);
    if (flags)
        callback = NULL; /* reserved */
    return submit(stream, NULL, callback, data);
}
