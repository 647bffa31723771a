/* SPDX-License-Identifier: Apache-2.0 */
/* What streams are told of how to work, which changes nothing here; their numbers. */
#include <string.h>

#include "stream.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void stream_attributes_init(struct CUstream_st *s)
{
    s->attributes[CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY].syncPolicy = 1; /* automatic */
    s->attributes[CU_LAUNCH_ATTRIBUTE_PRIORITY].priority = s->priority;
}

static bool is_for_streams(CUstreamAttrID attr)
{
    return attr == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW ||
           attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY ||
           attr == CU_LAUNCH_ATTRIBUTE_PRIORITY ||
           attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP ||
           attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN;
}

CUresult cuStreamGetAttribute(CUstream stream, CUstreamAttrID attr, CUstreamAttrValue *value)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!value || !is_for_streams(attr))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_stream(stream, c, &s));
    pthread_mutex_lock(&lock);
    *value = s->attributes[attr];
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream stream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!value || !is_for_streams(attr))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_stream(stream, c, &s));
    pthread_mutex_lock(&lock);
    s->attributes[attr] = *value;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *to = NULL, *from = NULL;
    TRY(sim_context(&c));
    TRY(sim_stream(dst, c, &to));
    TRY(sim_stream(src, c, &from));
    pthread_mutex_lock(&lock);
    memmove(to->attributes, from->attributes, sizeof(to->attributes));
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream stream, unsigned long long *id)
{
    struct CUctx_st *c;
    PUT_LATER(CUstream_st) *s = NULL;
    TRY(sim_context(&c));
    if (!id)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(sim_stream(stream, c, &s));
    *id = s->id;
    return CUDA_SUCCESS;
}
