/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and addresses apart: what is known about them here, so that a wrong one is told
 * at once and the plain questions need no worker. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "memory.h"

#define MAX_RESERVED 4096u

static struct {
    pthread_mutex_t lock;
    struct reserved {
        uint64_t base, bytes;
    } * all;
    uint32_t n, room;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

void vmm_close(void)
{
    free(table.all);
    table.all = NULL;
    table.n = table.room = 0;
}

void vmm_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&table.lock, &mutex, sizeof(mutex));
}

static CUresult remember(uint64_t base, uint64_t bytes)
{
    CUresult rc = CUDA_SUCCESS;
    pthread_mutex_lock(&table.lock);
    if (table.n == table.room) {
        uint32_t room = table.room ? 2 * table.room : 16;
        void *all = room <= MAX_RESERVED ? realloc(table.all, room * sizeof(*table.all)) : NULL;
        if (all) {
            table.all = all;
            table.room = room;
        } else {
            rc = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    if (rc == CUDA_SUCCESS)
        table.all[table.n++] = (struct reserved){base, bytes};
    pthread_mutex_unlock(&table.lock);
    return rc;
}

/* Is BYTES from BASE inside a reservation? With WHOLE it must be one, and FORGET drops it. */
static bool is_reserved(uint64_t base, uint64_t bytes, bool whole, bool forget)
{
    bool found = false;
    pthread_mutex_lock(&table.lock);
    for (uint32_t i = 0; i < table.n && !found; i++) {
        const struct reserved *r = &table.all[i];
        found = whole ? r->base == base && r->bytes == bytes
                      : base - r->base < r->bytes && bytes <= r->bytes - (base - r->base);
        if (found && forget)
            table.all[i] = table.all[--table.n];
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

VG_EXPORT CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment,
                                       CUdeviceptr addr, unsigned long long flags)
{
    const struct idm_cuMemAddressReserve_in in = {
        .w = {.size = size, .alignment = alignment, .addr = addr, .flags = flags}};
    struct idm_cuMemAddressReserve_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!ptr || size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuMemAddressReserve(&in, &out, &answer));
    CUresult rc = remember(out.w.ptr, size);
    if (rc == CUDA_SUCCESS)
        *ptr = out.w.ptr;
    return rc;
}

VG_EXPORT CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
    const struct idm_cuMemAddressFree_in in = {.w = {.ptr = ptr, .size = size}};
    struct idm_cuMemAddressFree_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!is_reserved(ptr, size, true, false) || !memory_is_empty(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuMemAddressFree(&in, &out, &answer));
    is_reserved(ptr, size, true, true);
    return CUDA_SUCCESS;
}

/* --- Memory ---------------------------------------------------------------------------- */

static CUresult check_prop(const CUmemAllocationProp *prop)
{
    if (!prop)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
        prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (prop->location.id < 0 || prop->location.id >= vg.n_devices)
        return CUDA_ERROR_INVALID_DEVICE;
    return CUDA_SUCCESS;
}

/* Other kinds need what no zone has. */
static CUresult check_handle_types(const CUmemAllocationProp *prop)
{
    return prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE ||
                   prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
               ? CUDA_SUCCESS
               : CUDA_ERROR_NOT_SUPPORTED;
}

/*
 * What is known about a handle's memory. It is the same handle for as long as anybody uses it:
 * who asks for a mapping's gets the one it was mapped with (CUDA: cuMemRetainAllocationHandle),
 * and the worker hears of the last release only.
 */
struct allocation {
    CUmemAllocationProp prop;
    unsigned refs, maps; /* the program's, and mappings; under the table's lock */
};

CUresult vmm_new(const CUmemAllocationProp *prop, uint64_t *ret_id)
{
    struct allocation *mine = malloc(sizeof(*mine));
    CUresult rc = mine ? vg_new(IDM_KIND_memory, ret_id) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS) {
        free(mine);
        return rc;
    }
    *mine = (struct allocation){.prop = *prop, .refs = 1};
    vg_describe(*ret_id, 0, (uint32_t)prop->location.id, mine);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
                               const CUmemAllocationProp *prop, unsigned long long flags)
{
    struct idm_cuMemCreate_in in = {.w = {.size = size}};
    struct idm_cuMemCreate_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!handle || size == 0 || flags)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(check_prop(prop));
    VG_TRY(check_handle_types(prop));
    in.w.dev = prop->location.id;
    in.w.kinds = prop->requestedHandleTypes;
    VG_TRY(vmm_new(prop, &in.w.handle));
    CUresult rc = vg_ask_cuMemCreate(&in, &out, &answer);
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.handle);
    else
        *handle = in.w.handle;
    return rc;
}

static struct allocation *allocation_of(uint64_t id)
{
    const struct vg_object *o = vg_find(IDM_KIND_memory, id);
    return o ? o->data : NULL;
}

/* cuMem*'s handles are numbers. One that only mappings have left is no handle any more. */
static CUresult use(CUmemGenericAllocationHandle handle, uint64_t *ret_id)
{
    if (vg_use(IDM_KIND_memory, vg_pointer(handle), false, ret_id) != CUDA_SUCCESS)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&table.lock);
    const struct allocation *a = allocation_of(*ret_id);
    bool held = a && a->refs;
    pthread_mutex_unlock(&table.lock);
    return held ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void vmm_place(uint64_t id, int dev)
{
    struct allocation *a = allocation_of(id);
    if (!a)
        return;
    a->prop.location.id = dev;
    vg_describe(id, 0, (uint32_t)dev, a);
}

CUresult vmm_use(CUmemGenericAllocationHandle handle, uint64_t *ret_id,
                 CUmemAllocationProp *ret_prop)
{
    uint64_t id;
    VG_TRY(use(handle, &id));
    const struct allocation *a = allocation_of(id);
    if (!a)
        return CUDA_ERROR_INVALID_VALUE;
    *ret_prop = a->prop;
    *ret_id = id;
    return CUDA_SUCCESS;
}

/* One more user of allocation ID. */
static void hold(uint64_t id, bool mapping)
{
    pthread_mutex_lock(&table.lock);
    struct allocation *a = allocation_of(id);
    if (a)
        ++*(mapping ? &a->maps : &a->refs);
    pthread_mutex_unlock(&table.lock);
}

/* One user fewer. */
static CUresult let_go(uint64_t id, bool mapping)
{
    const struct idm_cuMemRelease_in in = {.w = {.handle = id}};
    pthread_mutex_lock(&table.lock);
    struct allocation *a = allocation_of(id);
    unsigned *users = !a ? NULL : mapping ? &a->maps : &a->refs;
    bool held = users && *users;
    if (held)
        --*users;
    bool last = held && !a->maps && !a->refs;
    pthread_mutex_unlock(&table.lock);
    if (!last)
        return held ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    CUresult rc = vg_queue_cuMemRelease(&in);
    vg_forget(id);
    return rc;
}

VG_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(use(handle, &id));
    return let_go(id, false);
}

VG_EXPORT CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
                                                          CUmemGenericAllocationHandle handle)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    return prop ? vmm_use(handle, &id, prop) : CUDA_ERROR_INVALID_VALUE;
}

VG_EXPORT CUresult cuMemGetAllocationGranularity(size_t *granularity,
                                                 const CUmemAllocationProp *prop,
                                                 CUmemAllocationGranularity_flags option)
{
    struct idm_cuMemGetAllocationGranularity_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!granularity)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(check_prop(prop));
    const struct idm_cuMemGetAllocationGranularity_in in = {
        .w = {.dev = prop->location.id, .option = (int32_t)option}};
    VG_TRY(vg_ask_cuMemGetAllocationGranularity(&in, &out, &answer));
    *granularity = out.w.granularity;
    return CUDA_SUCCESS;
}

/* --- Mappings ------------------------------------------------------------------------------ */

VG_EXPORT CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset,
                            CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    struct idm_cuMemMap_in in = {.w = {.ptr = ptr, .size = size}};
    struct idm_cuMemMap_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(use(handle, &in.w.handle));
    if (flags || offset || !size || !is_reserved(ptr, size, false, false) ||
        !memory_is_empty(ptr, size))
        return CUDA_ERROR_INVALID_VALUE;
    const struct allocation *a = allocation_of(in.w.handle);
    if (!a)
        return CUDA_ERROR_INVALID_VALUE;
    const struct vg_memory m = {
        .base = ptr, .bytes = size, .kind = VG_MAPPED, .memory = in.w.handle, .prop = a->prop};
    VG_TRY(memory_add(&m));
    hold(in.w.handle, true); /* before the worker maps it: another thread may release it */
    CUresult rc = vg_ask_cuMemMap(&in, &out, &answer);
    struct vg_memory gone;
    if (rc != CUDA_SUCCESS && memory_take(ptr, VG_MAPPED, &gone))
        let_go(gone.memory, true);
    return rc;
}

static void nothing(struct vg_memory *m, unsigned arg)
{
    (void)m;
    (void)arg;
}

VG_EXPORT CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    const struct idm_cuMemUnmap_in in = {.w = {.ptr = ptr, .size = size}};
    struct idm_cuMemUnmap_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!memory_mappings(ptr, size, nothing, 0))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuMemUnmap(&in, &out, &answer));
    struct vg_memory m;
    CUresult rc = CUDA_SUCCESS;
    for (uint64_t at = ptr; at < ptr + size && memory_take(at, VG_MAPPED, &m);) {
        CUresult released = let_go(m.memory, true);
        rc = rc == CUDA_SUCCESS ? released : rc;
        at += m.bytes;
    }
    return rc;
}

static CUresult check_access(const CUmemAccessDesc *access, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const CUmemAccessDesc *a = &access[i];
        if (a->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
            return CUDA_ERROR_NOT_SUPPORTED;
        if (a->location.id < 0 || a->location.id >= vg.n_devices)
            return CUDA_ERROR_INVALID_DEVICE;
        if (a->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
            a->flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
            a->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* A mapping's flags: two bits for each device. */
static unsigned access_bits(int dev, unsigned access)
{
    return access << 2 * dev;
}

static void take_access(struct vg_memory *m, unsigned bits)
{
    m->flags &= ~bits;
}

static void give_access(struct vg_memory *m, unsigned bits)
{
    m->flags |= bits;
}

VG_EXPORT CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *access,
                                  size_t n)
{
    struct idm_cuMemSetAccess_in in = {.w = {.ptr = ptr, .size = size}};
    struct idm_cuMemSetAccess_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!access || !n || !memory_mappings(ptr, size, nothing, 0))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(check_access(access, n));
    for (size_t i = 0; i < n; i++) {
        in.w.dev = access[i].location.id;
        in.w.flags = access[i].flags;
        VG_TRY(vg_ask_cuMemSetAccess(&in, &out, &answer));
        memory_mappings(ptr, size, take_access, access_bits(in.w.dev, 3));
        memory_mappings(ptr, size, give_access, access_bits(in.w.dev, in.w.flags));
    }
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *where,
                                  CUdeviceptr ptr)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!flags || !where || !memory_at(ptr, &m) || m.kind != VG_MAPPED)
        return CUDA_ERROR_INVALID_VALUE;
    bool known =
        where->type == CU_MEM_LOCATION_TYPE_DEVICE && where->id >= 0 && where->id < vg.n_devices;
    *flags = known ? m.flags >> 2 * where->id & 3 : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!handle || !memory_at((uintptr_t)addr, &m) || m.kind != VG_MAPPED)
        return CUDA_ERROR_INVALID_VALUE;
    hold(m.memory, false);
    *handle = m.memory;
    return CUDA_SUCCESS;
}
