/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "idm/graph/capture.h"
#include "idm/pointer_attributes.h"
#include "idm/pools.h"
#include "mirror.h"

static struct {
    pthread_mutex_t lock;
    struct vg_memory *all; /* by base, disjoint */
    uint32_t n;
    uint32_t room;
    _Atomic uint64_t last_id;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

void memory_close(void)
{
    vmm_close();
    mirror_close();
    free(table.all);
    table.all = NULL;
    table.n = table.room = 0;
}

void memory_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    vmm_forked();
    share_forked();
    mirror_forked();
    memcpy(&table.lock, &mutex, sizeof(mutex));
}

/* Index of the first entry whose base is beyond ADDRESS. With the lock held, as
 * all that follow. */
static uint32_t after(uint64_t address)
{
    uint32_t low = 0, high = table.n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (table.all[mid].base <= address)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct vg_memory *find(uint64_t address)
{
    uint32_t i = after(address);
    if (i == 0)
        return NULL;
    struct vg_memory *m = &table.all[i - 1];
    return address - m->base < m->bytes ? m : NULL;
}

static void take_out(uint32_t i)
{
    table.n--;
    memmove(&table.all[i], &table.all[i + 1], (table.n - i) * sizeof(*table.all));
}

uint64_t memory_new_id(void)
{
    return ++table.last_id;
}

static CUresult add(const struct vg_memory *m)
{
    uint32_t i = after(m->base);
    if (i > 0 && table.all[i - 1].base == m->base)
        return CUDA_SUCCESS; /* a module's global, asked for again */
    if (table.n == table.room) {
        uint32_t room = table.room ? table.room * 2 : 64;
        void *all = realloc(table.all, room * sizeof(*table.all));
        if (!all)
            return CUDA_ERROR_OUT_OF_MEMORY;
        table.all = all;
        table.room = room;
    }
    memmove(&table.all[i + 1], &table.all[i], (table.n - i) * sizeof(*table.all));
    table.all[i] = *m;
    table.all[i].id = memory_new_id();
    table.n++;
    return CUDA_SUCCESS;
}

CUresult memory_add(const struct vg_memory *m)
{
    pthread_mutex_lock(&table.lock);
    CUresult rc = add(m);
    pthread_mutex_unlock(&table.lock);
    return rc;
}

bool memory_take(uint64_t base, enum vg_memory_kind kind, struct vg_memory *ret_memory)
{
    pthread_mutex_lock(&table.lock);
    const struct vg_memory *m = find(base);
    bool found = m && m->base == base && m->kind == kind;
    if (found) {
        *ret_memory = *m;
        take_out((uint32_t)(m - table.all));
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

bool memory_at(uint64_t address, struct vg_memory *ret_memory)
{
    pthread_mutex_lock(&table.lock);
    const struct vg_memory *m = find(address);
    if (m)
        *ret_memory = *m;
    pthread_mutex_unlock(&table.lock);
    return m != NULL;
}

bool memory_pinned_at(const void *host, struct vg_memory *ret_memory)
{
    bool found = false;
    pthread_mutex_lock(&table.lock);
    for (uint32_t i = 0; i < table.n && !found; i++) {
        const struct vg_memory *m = &table.all[i];
        uintptr_t at = (uintptr_t)host - (uintptr_t)m->host;
        found = m->kind == VG_PINNED && at < m->bytes;
        if (found)
            *ret_memory = *m;
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

bool memory_reopen(const uint64_t token[2], uint64_t *ret_ptr)
{
    bool found = false;
    pthread_mutex_lock(&table.lock);
    for (uint32_t i = 0; i < table.n && !found; i++) {
        struct vg_memory *m = &table.all[i];
        found = m->kind == VG_OPENED && m->token[0] == token[0] && m->token[1] == token[1] &&
                m->context == vg_current();
        if (found) {
            m->opens++;
            *ret_ptr = m->base;
        }
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

bool memory_unopen(uint64_t base, bool *ret_last)
{
    pthread_mutex_lock(&table.lock);
    struct vg_memory *m = find(base);
    bool found = m && m->base == base && m->kind == VG_OPENED;
    if (found) {
        *ret_last = --m->opens == 0;
        if (*ret_last)
            take_out((uint32_t)(m - table.all));
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

void memory_orphans_gone(uint64_t id)
{
    mirror_orphans_gone(id);
    pthread_mutex_lock(&table.lock);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table.n; i++) {
        const struct vg_memory *m = &table.all[i];
        /* Pinned memory outlives its context: programs hold its host address. */
        bool gone = m->kind != VG_PINNED && (m->context == id || m->module == id);
        if (!gone)
            table.all[kept++] = *m;
    }
    table.n = kept;
    pthread_mutex_unlock(&table.lock);
}

bool memory_is_empty(uint64_t base, uint64_t bytes)
{
    pthread_mutex_lock(&table.lock);
    uint32_t i = after(base);
    bool empty = !find(base) && (i == table.n || table.all[i].base - base >= bytes);
    pthread_mutex_unlock(&table.lock);
    return empty;
}

/* The mapping right behind M's. With the lock held. */
static struct vg_memory *mapped_next(struct vg_memory *m)
{
    struct vg_memory *next = m + 1;
    bool follows = m->kind == VG_MAPPED && next < table.all + table.n && next->kind == VG_MAPPED &&
                   next->base == m->base + m->bytes;
    return follows ? next : NULL;
}

bool memory_mappings(uint64_t base, uint64_t bytes,
                     void (*do_it)(struct vg_memory *m, unsigned arg), unsigned arg)
{
    pthread_mutex_lock(&table.lock);
    struct vg_memory *first = bytes ? find(base) : NULL;
    uint32_t n = 0;
    uint64_t left = bytes;
    for (struct vg_memory *m = first && first->base == base ? first : NULL; m && left;
         m = mapped_next(m), n++) {
        if (m->kind != VG_MAPPED || m->bytes > left)
            break;
        left -= m->bytes;
    }
    bool good = first && left == 0;
    for (uint32_t i = 0; good && i < n; i++)
        do_it(&first[i], arg);
    pthread_mutex_unlock(&table.lock);
    return good;
}

CUresult vg_use_memory(CUdeviceptr address, uint64_t count, uint32_t unit, uint64_t *ret_address)
{
    uint64_t bytes;
    *ret_address = address;
    if (address % unit)
        return CUDA_ERROR_INVALID_VALUE;
    if (count == 0)
        return CUDA_SUCCESS;
    if (__builtin_mul_overflow(count, unit, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&table.lock);
    /* Mappings side by side are one memory. */
    struct vg_memory *m = find(address);
    while (m && bytes > m->bytes - (address - m->base)) {
        bytes -= m->bytes - (address - m->base);
        address = m->base + m->bytes;
        m = mapped_next(m);
    }
    pthread_mutex_unlock(&table.lock);
    return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VG_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes)
{
    struct idm_cuMemAlloc_v2_in in = {.w = {.bytes = bytes}};
    struct idm_cuMemAlloc_v2_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!ptr || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_ask_cuMemAlloc_v2(&in, &out, &answer));
    const struct vg_memory m = {
        .base = out.w.ptr, .bytes = bytes, .context = vg_current(), .kind = VG_DEVICE};
    VG_TRY(memory_add(&m));
    *ptr = out.w.ptr;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemFree_v2(CUdeviceptr ptr)
{
    struct idm_cuMemFree_v2_in in = {.w = {.ptr = ptr}};
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK(cuMemFree_v2, ptr);
    if (ptr == 0)
        return CUDA_SUCCESS;
    if (memory_at(ptr, &m) && m.kind == VG_PINNED && m.base == ptr && (m.flags & VG_MANAGED))
        return cuMemFreeHost(m.host);
    struct pool_place pooled;
    if (pools_at(ptr, &pooled))
        return pools_free(ptr);
    if (!memory_take(ptr, VG_DEVICE, &m))
        return CUDA_ERROR_INVALID_VALUE;
    return vg_queue_cuMemFree_v2(&in);
}

VG_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr ptr)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    struct pool_place pooled;
    bool found = memory_at(ptr, &m);
    if (found && pools_at(ptr, &pooled)) {
        m.base = pooled.base;
        m.bytes = pooled.bytes;
        found = pooled.base != 0;
    }
    if (!found)
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = m.base;
    if (size)
        *size = m.bytes;
    return CUDA_SUCCESS;
}

static bool is_managed(const struct vg_memory *m)
{
    return (m->kind == VG_PINNED || m->kind == VG_GLOBAL) && (m->flags & VG_MANAGED);
}

static CUresult attribute(void *data, CUpointer_attribute what, const struct vg_memory *m,
                          CUdeviceptr ptr)
{
    const struct vg_object *context = vg_find(IDM_KIND_context, m->context);
    switch (what) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)data = vg_pointer(m->context);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned int *)data =
            m->kind == VG_PINNED && !is_managed(m) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        if (m->flags & VG_UNPLACED)
            return CUDA_ERROR_INVALID_VALUE;
        *(CUdeviceptr *)data = ptr;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (m->kind != VG_PINNED && !is_managed(m))
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)data = (char *)m->host + (ptr - m->base);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned int *)data = is_managed(m);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = context ? (int)context->value : m->prop.location.id;
        return CUDA_SUCCESS;
    default:
        return pointer_attribute(data, what,
                                 &(struct pointer_range){.base = m->base,
                                                         .bytes = m->bytes,
                                                         .id = m->id,
                                                         .ipc = m->kind == VG_DEVICE,
                                                         .kinds = m->kind == VG_MAPPED
                                                                      ? m->prop.requestedHandleTypes
                                                                      : CU_MEM_HANDLE_TYPE_NONE});
    }
}

VG_EXPORT CUresult cuPointerGetAttribute(void *data, CUpointer_attribute what, CUdeviceptr ptr)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!data)
        return CUDA_ERROR_INVALID_VALUE;
    if (pools_attribute(data, what, ptr))
        return CUDA_SUCCESS;
    if (memory_at(ptr, &m))
        return attribute(data, what, &m, ptr);
    if (memory_pinned_at((const void *)(uintptr_t)ptr, &m))
        return attribute(data, what, &m, m.base + ((uintptr_t)ptr - (uintptr_t)m.host));
    if (registered_at((const void *)(uintptr_t)ptr, &m))
        return attribute(data, what, &m, ptr);
    return CUDA_ERROR_INVALID_VALUE;
}
