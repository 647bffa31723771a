/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients of one zone share: memory by descriptor (cuMem*), by handle (cuIpc*), events. The
 * driver's handles and descriptors go from worker to worker by way of the zone's shelf
 * (shelf.h); a client has the token only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "idm/share_table.h"
#include "internal.h"

_Static_assert(SHELF_HANDLE_BYTES == CU_IPC_HANDLE_SIZE, "a handle of the driver's");

#define BY_DESCRIPTOR CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static bool has_shelf(const struct worker *w)
{
    return w->config->shelf > 0;
}

static struct shelf_token token_of(uint64_t low, uint64_t high)
{
    return (struct shelf_token){{low, high}};
}

/* The simulated GPU's, or NULL. */
static const struct share_table *share_table(const struct worker *w)
{
    static const CUuuid id = SHARE_TABLE_ID;
    const void *table = NULL;
    if (!w->cu.cuGetExportTable || w->cu.cuGetExportTable(&table, &id) != CUDA_SUCCESS)
        return NULL;
    const struct share_table *t = table;
    return t && t->bytes >= sizeof(*t) ? t : NULL;
}

/* A handle of the driver's, with what it stands for where the driver has such a thing. */
static CUresult put_handle(struct worker *w, const struct shelf_item *item,
                           struct shelf_token *ret_token)
{
    const struct share_table *t = share_table(w);
    return shelf_put(w, item, t ? t->descriptor(item->handle) : -1, ret_token);
}

/* --- Memory by descriptor ------------------------------------------------------------ */

CUresult worker_cuMemExportToShareableHandle(struct worker *w,
                                             const struct idm_cuMemExportToShareableHandle_in *in,
                                             struct idm_cuMemExportToShareableHandle_out *out)
{
    void *p;
    cleanup_close int fd = -1;
    WORKER_TRY(worker_find(w, IDM_KIND_memory, in->w.handle, false, &p));
    struct allocation *a = p;
    if (!has_shelf(w) || !w->cu.cuMemExportToShareableHandle)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!shelf_token_set(&a->shared)) {
        const struct shelf_item item = {.kind = SHELF_MEMORY, .dev = a->dev, .bytes = a->bytes};
        /* Who takes it may map it before this client does. */
        WORKER_TRY(worker_clear_whole(w, a));
        WORKER_TRY(w->cu.cuMemExportToShareableHandle(&fd, a->driver, BY_DESCRIPTOR, 0));
        WORKER_TRY(shelf_put(w, &item, fd, &a->shared));
        page_release(w->config->page, w->config->slot, a->bytes);
    }
    out->w.token_low = a->shared.word[0];
    out->w.token_high = a->shared.word[1];
    return CUDA_SUCCESS;
}

static CUresult import(struct worker *w, const struct shelf_token *token, struct allocation **ret)
{
    struct shelf_item item;
    cleanup_close int fd = -1;
    CUmemGenericAllocationHandle memory;
    struct allocation *a = calloc(1, sizeof(*a));
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = shelf_get(w, token, SHELF_MEMORY, &item, &fd);
    if (rc == CUDA_ERROR_INVALID_HANDLE)
        rc = CUDA_ERROR_INVALID_VALUE; /* as CUDA has it for a descriptor */
    if (rc == CUDA_SUCCESS) {
        rc = w->cu.cuMemImportFromShareableHandle(&memory, (void *)(intptr_t)fd, // NOLINT
                                                  BY_DESCRIPTOR);
        if (rc != CUDA_SUCCESS)
            shelf_drop(w, token);
    }
    if (rc != CUDA_SUCCESS) {
        free(a);
        return rc;
    }
    *a = (struct allocation){.driver = memory,
                             .bytes = item.bytes,
                             .cleared = item.bytes, /* before it was put there */
                             .shared = *token,
                             .refs = 1,
                             .dev = item.dev};
    *ret = a;
    return CUDA_SUCCESS;
}

CUresult
worker_cuMemImportFromShareableHandle(struct worker *w,
                                      const struct idm_cuMemImportFromShareableHandle_in *in,
                                      struct idm_cuMemImportFromShareableHandle_out *out)
{
    struct worker_object *o;
    struct allocation *a = NULL;
    const struct shelf_token token = token_of(in->w.token_low, in->w.token_high);
    if (!has_shelf(w) || !w->cu.cuMemImportFromShareableHandle || !w->cu.cuMemRelease)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_expect(w, IDM_KIND_memory, in->w.handle, &o));
    CUresult rc = import(w, &token, &a);
    w->want_reply = true;
    worker_born(w, o, in->w.handle, a, rc);
    if (rc != CUDA_SUCCESS)
        return rc;
    o->context = 0;
    out->w.dev = a->dev;
    out->w.bytes = a->bytes;
    return CUDA_SUCCESS;
}

/* --- Memory by handle ---------------------------------------------------------------- */

CUresult worker_cuIpcGetMemHandle(struct worker *w, const struct idm_cuIpcGetMemHandle_in *in,
                                  struct idm_cuIpcGetMemHandle_out *out)
{
    struct range *range = ranges_at(&w->ranges, in->w.ptr);
    CUdevice dev = 0;
    if (!has_shelf(w) || !w->cu.cuIpcGetMemHandle || !w->cu.cuCtxGetDevice)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!range || range->kind != RANGE_ALLOCATION)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "sharing of what isn't the client's");
    if (!shelf_token_set(&range->shared)) {
        CUipcMemHandle handle;
        struct shelf_item item = {.kind = SHELF_RANGE, .bytes = range->bytes};
        WORKER_TRY(w->cu.cuCtxGetDevice(&dev));
        WORKER_TRY(w->cu.cuIpcGetMemHandle(&handle, range->base));
        item.dev = dev;
        memcpy(item.handle, &handle, sizeof(handle));
        WORKER_TRY(put_handle(w, &item, &range->shared));
        page_release(w->config->page, w->config->slot, range->bytes);
    }
    out->w.token_low = range->shared.word[0];
    out->w.token_high = range->shared.word[1];
    return CUDA_SUCCESS;
}

/* What the driver gave for ITEM, taken for TOKEN, is the client's from now on. */
static CUresult open_range(struct worker *w, const struct shelf_token *token,
                           struct shelf_item *item, int fd, unsigned flags, struct range *ret_range)
{
    const struct share_table *t = share_table(w);
    CUdeviceptr p = 0, base = 0;
    size_t bytes = 0;
    CUipcMemHandle handle;
    if (t && fd >= 0)
        t->replace(item->handle, fd);
    memcpy(&handle, item->handle, sizeof(handle));
    WORKER_TRY(w->cu.cuIpcOpenMemHandle_v2(&p, handle, flags));
    /* How much it is, the driver knows best. */
    CUresult rc = w->cu.cuMemGetAddressRange_v2(&base, &bytes, p);
    struct range range = {.base = p,
                          .bytes = base + bytes - p,
                          .context = w->context,
                          .shared = *token,
                          .kind = RANGE_OPENED};
    if (rc == CUDA_SUCCESS && (ranges_at(&w->ranges, p) || ranges_add(&w->ranges, &range) < 0))
        rc = CUDA_ERROR_ALREADY_MAPPED;
    if (rc != CUDA_SUCCESS)
        w->cu.cuIpcCloseMemHandle(p);
    else
        *ret_range = range;
    return rc;
}

CUresult worker_cuIpcOpenMemHandle_v2(struct worker *w,
                                      const struct idm_cuIpcOpenMemHandle_v2_in *in,
                                      struct idm_cuIpcOpenMemHandle_v2_out *out)
{
    const struct shelf_token token = token_of(in->w.token_low, in->w.token_high);
    struct shelf_item item;
    struct range range;
    cleanup_close int fd = -1;
    if (!has_shelf(w) || !w->cu.cuIpcOpenMemHandle_v2 || !w->cu.cuIpcCloseMemHandle ||
        !w->cu.cuMemGetAddressRange_v2)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!w->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    WORKER_TRY(shelf_get(w, &token, SHELF_RANGE, &item, &fd));
    CUresult rc = open_range(w, &token, &item, fd, in->w.flags, &range);
    if (rc != CUDA_SUCCESS) {
        shelf_drop(w, &token);
        return rc;
    }
    out->w.ptr = range.base;
    out->w.bytes = range.bytes;
    return CUDA_SUCCESS;
}

CUresult worker_cuIpcCloseMemHandle(struct worker *w, const struct idm_cuIpcCloseMemHandle_in *in,
                                    struct idm_cuIpcCloseMemHandle_out *out)
{
    struct range *range = ranges_at(&w->ranges, in->w.ptr);
    (void)out;
    if (!range || range->base != in->w.ptr || range->kind != RANGE_OPENED)
        return worker_refuse(w, IDM_ERROR_INVALID_ADDRESS, "closing of what isn't open");
    const struct shelf_token token = range->shared;
    WORKER_TRY(w->cu.cuIpcCloseMemHandle(in->w.ptr));
    ranges_remove(&w->ranges, range);
    shelf_drop(w, &token);
    return CUDA_SUCCESS;
}

/* --- Events ---------------------------------------------------------------------------- */

CUresult worker_cuIpcGetEventHandle(struct worker *w, const struct idm_cuIpcGetEventHandle_in *in,
                                    struct idm_cuIpcGetEventHandle_out *out)
{
    struct worker_object *o;
    WORKER_TRY(worker_find_object(w, IDM_KIND_event, in->w.event, &o));
    if (!has_shelf(w) || !w->cu.cuIpcGetEventHandle)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!shelf_token_set(&o->shared)) {
        CUipcEventHandle handle;
        struct shelf_item item = {.kind = SHELF_EVENT};
        WORKER_TRY(w->cu.cuIpcGetEventHandle(&handle, o->driver));
        memcpy(item.handle, &handle, sizeof(handle));
        WORKER_TRY(put_handle(w, &item, &o->shared));
    }
    out->w.token_low = o->shared.word[0];
    out->w.token_high = o->shared.word[1];
    return CUDA_SUCCESS;
}

static CUresult open_event(struct worker *w, const struct shelf_token *token, CUevent *ret_event)
{
    const struct share_table *t = share_table(w);
    struct shelf_item item;
    CUipcEventHandle handle;
    cleanup_close int fd = -1;
    WORKER_TRY(shelf_get(w, token, SHELF_EVENT, &item, &fd));
    if (t && fd >= 0)
        t->replace(item.handle, fd);
    memcpy(&handle, item.handle, sizeof(handle));
    CUresult rc = w->cu.cuIpcOpenEventHandle(ret_event, handle);
    if (rc != CUDA_SUCCESS)
        shelf_drop(w, token);
    return rc;
}

CUresult worker_cuIpcOpenEventHandle(struct worker *w, const struct idm_cuIpcOpenEventHandle_in *in,
                                     struct idm_cuIpcOpenEventHandle_out *out)
{
    const struct shelf_token token = token_of(in->w.token_low, in->w.token_high);
    struct worker_object *o;
    CUevent event = NULL;
    (void)out;
    if (!has_shelf(w) || !w->cu.cuIpcOpenEventHandle)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_expect(w, IDM_KIND_event, in->w.event, &o));
    CUresult rc = open_event(w, &token, &event);
    w->want_reply = true;
    worker_born(w, o, in->w.event, event, rc);
    if (rc == CUDA_SUCCESS)
        o->shared = token;
    return rc;
}
