/* SPDX-License-Identifier: Apache-2.0 */
/* Texture and surface objects. A kernel names one by its handle at any time, so they are found
 * like all handles, and live until no kernel runs. */
#include "texture.h"

#include <stdlib.h>

#include "array.h"
#include "mem.h"
#include "stream.h"

struct view {
    struct object o;
    struct sim_texture t;
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    struct object *of; /* the array's, held; NULL: memory */
    bool has_levels;
};

#define PUT_VIEW __attribute__((cleanup(put_view))) struct view

static void put_view(struct view **v)
{
    if (*v)
        object_put(&(*v)->o);
}

static void view_free(struct object *o)
{
    struct view *v = (struct view *)o;
    if (v->of)
        object_put(v->of);
    free(v);
}

static void set_format(struct sim_texture *t, CUarray_format format, unsigned channels)
{
    t->bytes = (uint8_t)array_channel(format);
    t->channels = (uint8_t)channels;
    t->texel = format == CU_AD_FORMAT_FLOAT || format == CU_AD_FORMAT_HALF ? TEXEL_FLOAT
               : format >= CU_AD_FORMAT_SIGNED_INT8                        ? TEXEL_SIGNED
                                                                           : TEXEL_UNSIGNED;
}

static void see_array(struct sim_texture *t, const CUDA_ARRAY3D_DESCRIPTOR *d, uint64_t base)
{
    set_format(t, d->Format, d->NumChannels);
    t->width = (uint32_t)d->Width;
    t->height = d->Height ? (uint32_t)d->Height : 1;
    t->depth = d->Depth ? (uint32_t)d->Depth : 1;
    t->layered = d->Flags & CUDA_ARRAY3D_LAYERED;
    t->row = d->Width * array_element(d);
    t->plane = t->row * t->height;
    t->base = (uint8_t *)(uintptr_t)base; // NOLINT(performance-no-int-to-ptr)
}

static CUresult see_memory(struct sim_texture *t, const struct CUctx_st *c, CUdeviceptr p,
                           CUarray_format format, unsigned channels, uint64_t bytes)
{
    enum mem_kind kind = mem_classify(p, bytes, c);
    if (!array_channel(format) || (channels != 1 && channels != 2 && channels != 4) || !bytes ||
        kind == MEM_BAD || kind == MEM_PAGEABLE)
        return CUDA_ERROR_INVALID_VALUE;
    set_format(t, format, channels);
    t->base = (uint8_t *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
    t->flat = true;
    return CUDA_SUCCESS;
}

static CUresult see(struct CUctx_st *c, struct view *v)
{
    const CUDA_RESOURCE_DESC *r = &v->resource;
    struct sim_texture *t = &v->t;
    PUT_LATER(CUarray_st) *a = NULL;
    PUT_LATER(CUmipmappedArray_st) *m = NULL;
    t->width = t->height = t->depth = 1;
    if (r->flags)
        return CUDA_ERROR_INVALID_VALUE;
    switch (r->resType) {
    case CU_RESOURCE_TYPE_ARRAY:
        TRY(array_find(c, r->res.array.hArray, &a));
        see_array(t, &a->d, a->base);
        v->of = &a->o;
        object_hold(v->of);
        return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: /* its first level */
        TRY(mipmap_find(c, r->res.mipmap.hMipmappedArray, &m));
        see_array(t, &m->d, m->base);
        v->of = &m->o;
        v->has_levels = m->levels > 1;
        object_hold(v->of);
        return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_LINEAR:
        TRY(see_memory(t, c, r->res.linear.devPtr, r->res.linear.format, r->res.linear.numChannels,
                       r->res.linear.sizeInBytes));
        t->width = (uint32_t)(r->res.linear.sizeInBytes / (t->bytes * t->channels));
        return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_PITCH2D:
        if (!r->res.pitch2D.width || !r->res.pitch2D.height ||
            r->res.pitch2D.width > ARRAY_MAX_SIDE || r->res.pitch2D.height > ARRAY_MAX_SIDE ||
            r->res.pitch2D.pitchInBytes > 1u << 30)
            return CUDA_ERROR_INVALID_VALUE;
        t->width = (uint32_t)r->res.pitch2D.width;
        t->height = (uint32_t)r->res.pitch2D.height;
        t->row = r->res.pitch2D.pitchInBytes;
        t->plane = t->row * t->height;
        return see_memory(
            t, c, r->res.pitch2D.devPtr, r->res.pitch2D.format, r->res.pitch2D.numChannels,
            t->row * (t->height - 1) + (uint64_t)t->width * array_channel(r->res.pitch2D.format) *
                                           r->res.pitch2D.numChannels);
    }
    return CUDA_ERROR_INVALID_VALUE;
}

static CUresult set_texture(struct view *v, const CUDA_TEXTURE_DESC *d)
{
    struct sim_texture *t = &v->t;
    v->texture = *d;
    if (d->flags & ~(unsigned)(CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES) ||
        d->maxAnisotropy > 1 || (v->has_levels && d->maxMipmapLevelClamp > 0))
        return CUDA_ERROR_NOT_SUPPORTED;
    for (unsigned i = 0; i < 3; i++) {
        if ((int)d->addressMode[i] < 0 || d->addressMode[i] > CU_TR_ADDRESS_MODE_BORDER)
            return CUDA_ERROR_INVALID_VALUE;
        t->edge[i] = (enum sim_edge)d->addressMode[i];
    }
    t->linear = d->filterMode == CU_TR_FILTER_MODE_LINEAR;
    t->normalized = d->flags & CU_TRSF_NORMALIZED_COORDINATES;
    t->as_integer = d->flags & CU_TRSF_READ_AS_INTEGER;
    for (unsigned i = 0; i < 4; i++)
        t->border[i] = d->borderColor[i];
    bool whole = t->texel != TEXEL_FLOAT && (t->as_integer || t->bytes == 4);
    return t->linear && whole ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult create(enum object_kind kind, const CUDA_RESOURCE_DESC *resource,
                       const CUDA_TEXTURE_DESC *texture, unsigned long long *ret)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!ret || !resource)
        return CUDA_ERROR_INVALID_VALUE;
    PUT_VIEW *v = object_new(kind, sizeof(*v), c, view_free);
    if (!v)
        return CUDA_ERROR_OUT_OF_MEMORY;
    v->resource = *resource;
    TRY(see(c, v));
    if (texture)
        TRY(set_texture(v, texture));
    object_hold(&v->o);
    object_publish(&v->o);
    *ret = (uintptr_t)v;
    return CUDA_SUCCESS;
}

static CUresult find(enum object_kind kind, unsigned long long handle, struct view **ret)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    *ret = object_find(kind, (const void *)(uintptr_t)handle); // NOLINT
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult destroy(enum object_kind kind, unsigned long long handle)
{
    PUT_VIEW *v = NULL;
    TRY(find(kind, handle, &v));
    sched_drain(NULL);
    return object_kill(&v->o) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Nothing a kernel names is destroyed while it runs: the reference may go at once. */
const struct sim_texture *texture_find(void *context, uint64_t handle, bool surface)
{
    PUT_VIEW *v = object_find(surface ? OBJECT_SURFACE : OBJECT_TEXTURE,
                              (const void *)(uintptr_t)handle); // NOLINT
    return v && v->o.context == context ? &v->t : NULL;
}

CUresult cuTexObjectCreate(CUtexObject *object, const CUDA_RESOURCE_DESC *resource,
                           const CUDA_TEXTURE_DESC *texture, const CUDA_RESOURCE_VIEW_DESC *view)
{
    if (!texture)
        return CUDA_ERROR_INVALID_VALUE;
    return view ? CUDA_ERROR_NOT_SUPPORTED : create(OBJECT_TEXTURE, resource, texture, object);
}

CUresult cuTexObjectDestroy(CUtexObject object)
{
    return destroy(OBJECT_TEXTURE, object);
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUtexObject object)
{
    PUT_VIEW *v = NULL;
    TRY(find(OBJECT_TEXTURE, object, &v));
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    *resource = v->resource;
    return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *texture, CUtexObject object)
{
    PUT_VIEW *v = NULL;
    TRY(find(OBJECT_TEXTURE, object, &v));
    if (!texture)
        return CUDA_ERROR_INVALID_VALUE;
    *texture = v->texture;
    return CUDA_SUCCESS;
}

/* None has a view. */
CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *view, CUtexObject object)
{
    PUT_VIEW *v = NULL;
    TRY(find(OBJECT_TEXTURE, object, &v));
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuSurfObjectCreate(CUsurfObject *object, const CUDA_RESOURCE_DESC *resource)
{
    if (resource && resource->resType != CU_RESOURCE_TYPE_ARRAY)
        return CUDA_ERROR_INVALID_VALUE;
    return create(OBJECT_SURFACE, resource, NULL, object);
}

CUresult cuSurfObjectDestroy(CUsurfObject object)
{
    return destroy(OBJECT_SURFACE, object);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUsurfObject object)
{
    PUT_VIEW *v = NULL;
    TRY(find(OBJECT_SURFACE, object, &v));
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    *resource = v->resource;
    return CUDA_SUCCESS;
}
