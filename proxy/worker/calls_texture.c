/* SPDX-License-Identifier: Apache-2.0 */
/* Texture and surface objects: of arrays and memory that are the client's. */
#include "idm/arrays.h"
#include "internal.h"

/* Rows that reach over all the client says. */
static CUresult check_rows(struct worker *w, const CUDA_RESOURCE_DESC *r)
{
    const uint64_t unit = array_channel(r->res.pitch2D.format) * r->res.pitch2D.numChannels;
    uint64_t row = 0, most = 0;
    bool good =
        unit && unit <= 16 && r->res.pitch2D.width && r->res.pitch2D.height &&
        !__builtin_mul_overflow(r->res.pitch2D.width, unit, &row) &&
        !__builtin_mul_overflow(r->res.pitch2D.height - 1, r->res.pitch2D.pitchInBytes, &most) &&
        !__builtin_add_overflow(most, row, &most);
    if (!good)
        return CUDA_ERROR_INVALID_VALUE;
    return worker_check_memory(w, r->res.pitch2D.devPtr, most, 1);
}

/* What the client calls a resource, as the driver does. */
static CUresult take_resource(struct worker *w, const void *data, uint32_t len,
                              CUDA_RESOURCE_DESC *ret)
{
    void *driver = NULL;
    if (len != sizeof(*ret))
        return worker_malformed(w);
    memcpy(ret, data, sizeof(*ret));
    switch (ret->resType) {
    case CU_RESOURCE_TYPE_ARRAY:
        WORKER_TRY(worker_find(w, IDM_KIND_array, (uint64_t)(uintptr_t)ret->res.array.hArray, false,
                               &driver));
        ret->res.array.hArray = driver;
        return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
        WORKER_TRY(worker_find(w, IDM_KIND_mipmap,
                               (uint64_t)(uintptr_t)ret->res.mipmap.hMipmappedArray, false,
                               &driver));
        ret->res.mipmap.hMipmappedArray = driver;
        return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_LINEAR:
        if (!ret->res.linear.sizeInBytes)
            return CUDA_ERROR_INVALID_VALUE;
        return worker_check_memory(w, ret->res.linear.devPtr, ret->res.linear.sizeInBytes, 1);
    case CU_RESOURCE_TYPE_PITCH2D:
        return check_rows(w, ret);
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult worker_cuTexObjectCreate(struct worker *w, const struct idm_cuTexObjectCreate_in *in,
                                  struct idm_cuTexObjectCreate_out *out)
{
    struct worker_object *o;
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    CUDA_RESOURCE_VIEW_DESC view;
    CUtexObject object = 0;
    if (!w->cu.cuTexObjectCreate || !w->cu.cuTexObjectDestroy)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (in->w.texture_len != sizeof(texture) || (in->w.view_len && in->w.view_len != sizeof(view)))
        return worker_malformed(w);
    WORKER_TRY(take_resource(w, in->resource, in->w.resource_len, &resource));
    memcpy(&texture, in->texture, sizeof(texture));
    if (in->w.view_len)
        memcpy(&view, in->view, sizeof(view));
    WORKER_TRY(worker_expect(w, IDM_KIND_texture, in->w.id, &o));
    CUresult rc =
        w->cu.cuTexObjectCreate(&object, &resource, &texture, in->w.view_len ? &view : NULL);
    w->want_reply = true;                                       /* nobody uses what wasn't made */
    worker_born(w, o, in->w.id, (void *)(uintptr_t)object, rc); // NOLINT
    out->w.object = object;
    return rc;
}

CUresult worker_cuTexObjectDestroy(struct worker *w, const struct idm_cuTexObjectDestroy_in *in,
                                   struct idm_cuTexObjectDestroy_out *out)
{
    void *object;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_texture, in->w.id, false, &object));
    CUresult rc = w->cu.cuTexObjectDestroy((uintptr_t)object);
    worker_gone(w, in->w.id);
    return rc;
}

CUresult worker_cuSurfObjectCreate(struct worker *w, const struct idm_cuSurfObjectCreate_in *in,
                                   struct idm_cuSurfObjectCreate_out *out)
{
    struct worker_object *o;
    CUDA_RESOURCE_DESC resource;
    CUsurfObject object = 0;
    if (!w->cu.cuSurfObjectCreate || !w->cu.cuSurfObjectDestroy)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(take_resource(w, in->resource, in->w.resource_len, &resource));
    WORKER_TRY(worker_expect(w, IDM_KIND_surface, in->w.id, &o));
    CUresult rc = w->cu.cuSurfObjectCreate(&object, &resource);
    w->want_reply = true;
    worker_born(w, o, in->w.id, (void *)(uintptr_t)object, rc); // NOLINT
    out->w.object = object;
    return rc;
}

CUresult worker_cuSurfObjectDestroy(struct worker *w, const struct idm_cuSurfObjectDestroy_in *in,
                                    struct idm_cuSurfObjectDestroy_out *out)
{
    void *object;
    (void)out;
    WORKER_TRY(worker_find(w, IDM_KIND_surface, in->w.id, false, &object));
    CUresult rc = w->cu.cuSurfObjectDestroy((uintptr_t)object);
    worker_gone(w, in->w.id);
    return rc;
}
