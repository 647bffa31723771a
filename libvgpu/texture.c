/* SPDX-License-Identifier: Apache-2.0 */
/* Texture and surface objects: programs and kernels know them by the driver's numbers, the
 * worker by handles of ours. What they were made of is kept here. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "idm/arrays.h"
#include "memory.h"

struct known {
    uint64_t object; /* the driver's number */
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    CUDA_RESOURCE_VIEW_DESC view;
    bool has_view;
};

/* A wrong one is told at once. */
static CUresult check_resource(const CUDA_RESOURCE_DESC *r)
{
    uint64_t id;
    switch (r->resType) {
    case CU_RESOURCE_TYPE_ARRAY:
        return vg_use(IDM_KIND_array, r->res.array.hArray, false, &id);
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
        return vg_use(IDM_KIND_mipmap, r->res.mipmap.hMipmappedArray, false, &id);
    case CU_RESOURCE_TYPE_LINEAR:
        return r->res.linear.sizeInBytes
                   ? vg_use_memory(r->res.linear.devPtr, r->res.linear.sizeInBytes, 1, &id)
                   : CUDA_ERROR_INVALID_VALUE;
    case CU_RESOURCE_TYPE_PITCH2D: {
        uint64_t row = r->res.pitch2D.width * array_channel(r->res.pitch2D.format) *
                       r->res.pitch2D.numChannels;
        if (!row || !r->res.pitch2D.height || r->res.pitch2D.width > ARRAY_MAX_SIDE ||
            r->res.pitch2D.height > ARRAY_MAX_SIDE || r->res.pitch2D.pitchInBytes > 1u << 30)
            return CUDA_ERROR_INVALID_VALUE;
        uint64_t most = (r->res.pitch2D.height - 1) * r->res.pitch2D.pitchInBytes + row;
        return vg_use_memory(r->res.pitch2D.devPtr, most, 1, &id);
    }
    }
    return CUDA_ERROR_INVALID_VALUE;
}

static CUresult fresh(enum idm_kind kind, const CUDA_RESOURCE_DESC *resource, uint64_t *ret_id,
                      struct known **ret)
{
    VG_TRY(check_resource(resource));
    struct known *k = calloc(1, sizeof(*k));
    CUresult rc = k ? vg_new(kind, ret_id) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS) {
        free(k);
        return rc;
    }
    k->resource = *resource;
    vg_describe(*ret_id, 0, 0, k);
    *ret = k;
    return CUDA_SUCCESS;
}

static bool is_object(const void *data, const void *arg)
{
    const struct known *k = data;
    return k && k->object && k->object == *(const uint64_t *)arg;
}

static CUresult find(enum idm_kind kind, uint64_t object, uint64_t *ret_id, struct known *ret)
{
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    *ret_id = vg_find_child(kind, 0, vg_current(), is_object, &object);
    const struct vg_object *o = *ret_id ? vg_find(kind, *ret_id) : NULL;
    if (!o || !o->data)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(ret, o->data, sizeof(*ret));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuTexObjectCreate(CUtexObject *object, const CUDA_RESOURCE_DESC *resource,
                                     const CUDA_TEXTURE_DESC *texture,
                                     const CUDA_RESOURCE_VIEW_DESC *view)
{
    struct idm_cuTexObjectCreate_in in = {.w = {.resource_len = sizeof(*resource),
                                                .texture_len = sizeof(*texture),
                                                .view_len = view ? sizeof(*view) : 0},
                                          .resource = resource,
                                          .texture = texture,
                                          .view = view};
    struct idm_cuTexObjectCreate_out out;
    struct vg_answer answer;
    struct known *k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!object || !resource || !texture)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(fresh(IDM_KIND_texture, resource, &in.w.id, &k));
    k->texture = *texture;
    k->has_view = view != NULL;
    if (view)
        k->view = *view;
    CUresult rc = vg_ask_cuTexObjectCreate(&in, &out, &answer);
    if (rc != CUDA_SUCCESS) {
        vg_forget(in.w.id);
        return rc;
    }
    k->object = out.w.object;
    *object = out.w.object;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuTexObjectDestroy(CUtexObject object)
{
    struct idm_cuTexObjectDestroy_in in = {.w = {.id = 0}};
    struct known k;
    VG_TRY(find(IDM_KIND_texture, object, &in.w.id, &k));
    CUresult rc = vg_queue_cuTexObjectDestroy(&in);
    vg_forget(in.w.id);
    return rc;
}

VG_EXPORT CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUtexObject object)
{
    struct known k;
    uint64_t id;
    VG_TRY(find(IDM_KIND_texture, object, &id, &k));
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    *resource = k.resource;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *texture, CUtexObject object)
{
    struct known k;
    uint64_t id;
    VG_TRY(find(IDM_KIND_texture, object, &id, &k));
    if (!texture)
        return CUDA_ERROR_INVALID_VALUE;
    *texture = k.texture;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *view, CUtexObject object)
{
    struct known k;
    uint64_t id;
    VG_TRY(find(IDM_KIND_texture, object, &id, &k));
    if (!view || !k.has_view)
        return CUDA_ERROR_INVALID_VALUE;
    *view = k.view;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuSurfObjectCreate(CUsurfObject *object, const CUDA_RESOURCE_DESC *resource)
{
    struct idm_cuSurfObjectCreate_in in = {.w = {.resource_len = sizeof(*resource)},
                                           .resource = resource};
    struct idm_cuSurfObjectCreate_out out;
    struct vg_answer answer;
    struct known *k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!object || !resource || resource->resType != CU_RESOURCE_TYPE_ARRAY)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(fresh(IDM_KIND_surface, resource, &in.w.id, &k));
    CUresult rc = vg_ask_cuSurfObjectCreate(&in, &out, &answer);
    if (rc != CUDA_SUCCESS) {
        vg_forget(in.w.id);
        return rc;
    }
    k->object = out.w.object;
    *object = out.w.object;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuSurfObjectDestroy(CUsurfObject object)
{
    struct idm_cuSurfObjectDestroy_in in = {.w = {.id = 0}};
    struct known k;
    VG_TRY(find(IDM_KIND_surface, object, &in.w.id, &k));
    CUresult rc = vg_queue_cuSurfObjectDestroy(&in);
    vg_forget(in.w.id);
    return rc;
}

VG_EXPORT CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUsurfObject object)
{
    struct known k;
    uint64_t id;
    VG_TRY(find(IDM_KIND_surface, object, &id, &k));
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    *resource = k.resource;
    return CUDA_SUCCESS;
}
