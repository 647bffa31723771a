/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays: what is known about them is kept here; copies take the ways of all copies. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "host.h"
#include "idm/arrays.h"
#include "memory.h"

#define MAX_INLINE (8u << 10)

/* What goes with an array's handle; of a level: which. */
struct known {
    CUDA_ARRAY3D_DESCRIPTOR d;
    unsigned level; /* of a mipmapped array: how many */
};

static CUresult fresh(enum idm_kind kind, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned level,
                      uint64_t parent, uint64_t *ret_id)
{
    struct known *k = malloc(sizeof(*k));
    CUresult rc = k ? vg_new(kind, ret_id) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS) {
        free(k);
        return rc;
    }
    *k = (struct known){*d, level};
    vg_describe(*ret_id, parent, 0, k);
    return CUDA_SUCCESS;
}

static CUresult known(enum idm_kind kind, const void *handle, uint64_t *ret_id, struct known *ret)
{
    VG_TRY(vg_use(kind, handle, false, ret_id));
    const struct vg_object *o = vg_find(kind, *ret_id);
    if (!o || !o->data || o->context != vg_current())
        return CUDA_ERROR_INVALID_HANDLE;
    memcpy(ret, o->data, sizeof(*ret));
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    struct idm_cuArray3DCreate_v2_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!array || !d)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(array_check(d));
    struct idm_cuArray3DCreate_v2_in in = {.w = {.width = d->Width,
                                                 .height = d->Height,
                                                 .depth = d->Depth,
                                                 .format = d->Format,
                                                 .channels = d->NumChannels,
                                                 .flags = d->Flags}};
    VG_TRY(fresh(IDM_KIND_array, d, 0, 0, &in.w.array));
    CUresult rc = vg_ask_cuArray3DCreate_v2(&in, &out, &answer);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.array);
    else
        *array = vg_pointer(in.w.array);
    return rc;
}

VG_EXPORT CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *d, CUarray array)
{
    struct known k;
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!d)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(known(IDM_KIND_array, array, &id, &k));
    *d = k.d;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuArrayDestroy(CUarray array)
{
    struct idm_cuArrayDestroy_in in = {.w = {.array = 0}};
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(known(IDM_KIND_array, array, &in.w.array, &k));
    const struct vg_object *o = vg_find(IDM_KIND_array, in.w.array);
    if (!o || o->parent) /* a level, which goes with all */
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult rc = vg_queue_cuArrayDestroy(&in);
    vg_forget(in.w.array);
    return rc;
}

/* --- With levels ------------------------------------------------------------------------- */

VG_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *d,
                                          unsigned int levels)
{
    struct idm_cuMipmappedArrayCreate_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!array || !d)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(array_check(d));
    if (!array_has_levels(d, levels))
        return CUDA_ERROR_INVALID_VALUE;
    struct idm_cuMipmappedArrayCreate_in in = {.w = {.width = d->Width,
                                                     .height = d->Height,
                                                     .depth = d->Depth,
                                                     .format = d->Format,
                                                     .channels = d->NumChannels,
                                                     .flags = d->Flags,
                                                     .levels = levels}};
    VG_TRY(fresh(IDM_KIND_mipmap, d, levels, 0, &in.w.array));
    CUresult rc = vg_ask_cuMipmappedArrayCreate(&in, &out, &answer);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.array);
    else
        *array = vg_pointer(in.w.array);
    return rc;
}

static bool is_level(const void *data, const void *arg)
{
    return ((const struct known *)data)->level == *(const unsigned *)arg;
}

/* A level has one handle, however often it is asked for. */
VG_EXPORT CUresult cuMipmappedArrayGetLevel(CUarray *level, CUmipmappedArray array, unsigned int n)
{
    struct idm_cuMipmappedArrayGetLevel_in in = {.w = {.n = n}};
    struct idm_cuMipmappedArrayGetLevel_out out;
    struct vg_answer answer;
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!level)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(known(IDM_KIND_mipmap, array, &in.w.array, &k));
    if (n >= k.level)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t id = vg_find_child(IDM_KIND_array, in.w.array, vg_current(), is_level, &n);
    if (!id) {
        const CUDA_ARRAY3D_DESCRIPTOR d = array_level(&k.d, n);
        VG_TRY(fresh(IDM_KIND_array, &d, n, in.w.array, &in.w.level));
        CUresult rc = vg_ask_cuMipmappedArrayGetLevel(&in, &out, &answer);
        if (rc != CUDA_SUCCESS) {
            vg_forget(in.w.level);
            return rc;
        }
        id = in.w.level;
    }
    *level = vg_pointer(id);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray array)
{
    struct idm_cuMipmappedArrayDestroy_in in = {.w = {.array = 0}};
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(known(IDM_KIND_mipmap, array, &in.w.array, &k));
    CUresult rc = vg_queue_cuMipmappedArrayDestroy(&in);
    vg_forget_orphans(in.w.array);
    vg_forget(in.w.array);
    return rc;
}

VG_EXPORT CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *r, CUarray array,
                                                CUdevice dev)
{
    struct idm_cuArrayGetMemoryRequirements_in in = {.w = {.array = 0}};
    struct idm_cuArrayGetMemoryRequirements_out out;
    struct vg_answer answer;
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!r)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(known(IDM_KIND_array, array, &in.w.array, &k));
    if (dev < 0 || dev >= vg.n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    VG_TRY(vg_ask_cuArrayGetMemoryRequirements(&in, &out, &answer));
    *r = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = out.w.size, .alignment = out.w.alignment};
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *r,
                                                         CUmipmappedArray array, CUdevice dev)
{
    struct idm_cuMipmappedArrayGetMemoryRequirements_in in = {.w = {.array = 0}};
    struct idm_cuMipmappedArrayGetMemoryRequirements_out out;
    struct vg_answer answer;
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!r)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(known(IDM_KIND_mipmap, array, &in.w.array, &k));
    if (dev < 0 || dev >= vg.n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    VG_TRY(vg_ask_cuMipmappedArrayGetMemoryRequirements(&in, &out, &answer));
    *r = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = out.w.size, .alignment = out.w.alignment};
    return CUDA_SUCCESS;
}

/* --- Copies -------------------------------------------------------------------------------- */

/* Rows without gaps, as the arena's copies are. */
static CUresult send(const struct idm_array_arena_in *in, struct vg_ticket *ticket)
{
    struct idm_part parts[IDM_MAX_PARTS];
    return vg_send(IDM_array_arena, parts, idm_parts_array_arena_in(in, parts), ticket);
}

static CUresult device_rows(const struct idm_array_arena_in *in, const struct array_rows *memory)
{
    uint64_t at;
    uint64_t most = (in->w.rows - 1) * memory->pitch + in->w.bytes;
    VG_TRY(vg_use_memory(memory->at, most, 1, &at));
    const struct idm_array_device_in device = {.w = {.array = in->w.array,
                                                     .x = in->w.x,
                                                     .y = in->w.y,
                                                     .z = in->w.z,
                                                     .ptr = at,
                                                     .pitch = memory->pitch,
                                                     .bytes = in->w.bytes,
                                                     .rows = in->w.rows,
                                                     .to_array = in->w.to_array,
                                                     .stream = in->w.stream}};
    return vg_queue_array_device(&device);
}

static void gather(uint8_t *to, const uint8_t *from, uint64_t pitch, size_t bytes, size_t rows)
{
    for (size_t y = 0; y < rows; y++)
        memcpy(to + y * bytes, from + y * pitch, bytes);
}

/* IN: a piece that fits a slot, or a record. */
static CUresult piece_to_array(struct idm_array_arena_in *in, const uint8_t *host, uint64_t pitch)
{
    uint8_t small[MAX_INLINE];
    size_t all = in->w.bytes * in->w.rows;
    if (all <= sizeof(small)) {
        gather(small, host, pitch, in->w.bytes, in->w.rows);
        const struct idm_array_inline_in inl = {.w = {.array = in->w.array,
                                                      .x = in->w.x,
                                                      .y = in->w.y,
                                                      .z = in->w.z,
                                                      .bytes = in->w.bytes,
                                                      .rows = in->w.rows,
                                                      .stream = in->w.stream,
                                                      .data_len = (uint32_t)all},
                                                .data = small};
        return vg_queue_array_inline(&inl);
    }
    struct vg_slot *slot = slot_take(true);
    if (!slot)
        return vg_enter(VG_ANY_CONTEXT);
    gather(slot_memory(slot), host, pitch, in->w.bytes, in->w.rows);
    in->w.at = slot_at(slot);
    slot->ticket = (struct vg_ticket){.unwatched = true};
    CUresult rc = send(in, &slot->ticket);
    if (rc != CUDA_SUCCESS)
        slot_give(slot);
    else
        slot_fly(slot);
    return rc;
}

static CUresult piece_from_array(struct idm_array_arena_in *in, uint8_t *host, uint64_t pitch)
{
    struct vg_slot *slot = slot_take(true);
    if (!slot)
        return vg_enter(VG_ANY_CONTEXT);
    in->w.at = slot_at(slot);
    slot->ticket = (struct vg_ticket){.seq = 0};
    CUresult rc = send(in, &slot->ticket);
    if (rc == CUDA_SUCCESS)
        rc = vg_await(&slot->ticket);
    for (size_t y = 0; rc == CUDA_SUCCESS && y < in->w.rows; y++)
        memcpy(host + y * pitch, slot_memory(slot) + y * in->w.bytes, in->w.bytes);
    slot_give(slot);
    return rc;
}

/* As many rows at a time as a slot has room for; of longer rows, pieces. */
static CUresult host_rows(const struct idm_array_arena_in *whole, uint8_t *host, uint64_t pitch)
{
    size_t width = whole->w.bytes < vg.slot_bytes ? whole->w.bytes : vg.slot_bytes;
    size_t band = width < whole->w.bytes ? 1 : vg.slot_bytes / width;
    for (size_t y = 0; y < whole->w.rows; y += band) {
        for (size_t x = 0; x < whole->w.bytes; x += width) {
            struct idm_array_arena_in in = *whole;
            uint8_t *at = host + y * pitch + x;
            in.w.x += x;
            in.w.y += y;
            in.w.bytes = width < whole->w.bytes - x ? width : whole->w.bytes - x;
            in.w.rows = band < whole->w.rows - y ? band : whole->w.rows - y;
            VG_TRY(in.w.to_array ? piece_to_array(&in, at, pitch)
                                 : piece_from_array(&in, at, pitch));
        }
    }
    return whole->w.to_array ? CUDA_SUCCESS : vg_point(CUDA_SUCCESS);
}

CUresult array_copy(const struct array_place *place, const struct array_rows *memory, size_t bytes,
                    size_t rows, bool to_array, CUstream stream)
{
    struct idm_array_arena_in in = {.w = {.x = place->x,
                                          .y = place->y,
                                          .z = place->z,
                                          .bytes = bytes,
                                          .rows = rows,
                                          .to_array = to_array}};
    struct vg_memory m;
    struct known k;
    uint64_t at = memory->at;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(known(IDM_KIND_array, place->array, &in.w.array, &k));
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    if (rows > 1 && memory->pitch > (1ull << 40) / rows)
        return CUDA_ERROR_INVALID_VALUE;
    bool ours = memory->type != CU_MEMORYTYPE_HOST && memory_at(at, &m);
    if (memory->type == CU_MEMORYTYPE_DEVICE || (ours && m.kind != VG_PINNED))
        return device_rows(&in, memory);
    if (!at)
        return CUDA_ERROR_INVALID_VALUE;
    uint8_t *host = ours ? (uint8_t *)m.host + (at - m.base) : (uint8_t *)(uintptr_t)at; // NOLINT
    /* Pinned memory is copied in place, in its turn. */
    bool pinned =
        (rows == 1 || memory->pitch == bytes) && host_in_arena(host, bytes * rows, &in.w.at);
    return pinned ? vg_queue_array_arena(&in) : host_rows(&in, host, memory->pitch);
}

CUresult array_to_array(const struct array_place *to, const struct array_place *from, size_t bytes,
                        size_t rows, CUstream stream)
{
    struct idm_array_array_in in = {.w = {.to_x = to->x,
                                          .to_y = to->y,
                                          .to_z = to->z,
                                          .from_x = from->x,
                                          .from_y = from->y,
                                          .from_z = from->z,
                                          .bytes = bytes,
                                          .rows = rows}};
    struct known k;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(known(IDM_KIND_array, to->array, &in.w.dst, &k));
    VG_TRY(known(IDM_KIND_array, from->array, &in.w.src, &k));
    VG_TRY(vg_use_stream(stream, &in.w.stream));
    return vg_queue_array_array(&in);
}
