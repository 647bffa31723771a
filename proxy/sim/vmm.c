/* SPDX-License-Identifier: Apache-2.0 */
/* Memory is a shared mapping, which mremap shows at other addresses, too: anonymous, or of a
 * memfile if it may be exported. Where nothing is mapped, reserved addresses can't be touched. */
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "extent.h"
#include "mem.h"
#include "memfile.h"

static struct {
    pthread_mutex_t lock;
    struct extents reserved, mapped; /* mapped: flags: the access; owner: its memory */
} vmm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

/* --- Addresses -------------------------------------------------------------------- */

static CUresult find_room(uint64_t bytes, uint64_t alignment, uint64_t hint, uint64_t *ret_base)
{
    void *p = mmap(at(hint), bytes + alignment, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t got = (uint64_t)(uintptr_t)p;
    uint64_t base = (got + alignment - 1) / alignment * alignment;
    if (base > got)
        munmap(p, base - got);
    munmap(at(base + bytes), got + alignment - base);
    *ret_base = base;
    return CUDA_SUCCESS;
}

CUresult vmm_reserve(uint64_t bytes, uint64_t alignment, uint64_t hint, uint64_t *ret_base)
{
    uint64_t base = 0;
    if (alignment < VMM_GRANULE)
        alignment = VMM_GRANULE;
    if (!bytes || bytes % VMM_GRANULE || alignment & (alignment - 1) || bytes >= 1ull << 47 ||
        alignment >= 1ull << 47)
        return CUDA_ERROR_INVALID_VALUE;
    struct extent *e = extent_new();
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = find_room(bytes, alignment, hint / alignment * alignment, &base);
    if (rc != CUDA_SUCCESS) {
        extent_drop(e);
        return rc;
    }
    pthread_mutex_lock(&vmm.lock);
    extent_place(e, base, base + bytes, NULL);
    extents_insert(&vmm.reserved, e);
    pthread_mutex_unlock(&vmm.lock);
    *ret_base = base;
    return CUDA_SUCCESS;
}

CUresult vmm_unreserve(uint64_t base, uint64_t bytes)
{
    pthread_mutex_lock(&vmm.lock);
    struct extent *e = extents_at(&vmm.reserved, base);
    bool good = e && e->base == base && e->end - base == bytes &&
                !extents_overlap(&vmm.mapped, base, e->end);
    if (good) {
        extents_remove(&vmm.reserved, e);
        munmap(at(base), bytes);
        extent_drop(e);
    }
    pthread_mutex_unlock(&vmm.lock);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool vmm_reserved(uint64_t base, uint64_t end)
{
    pthread_mutex_lock(&vmm.lock);
    bool found = extents_overlap(&vmm.reserved, base, end);
    pthread_mutex_unlock(&vmm.lock);
    return found;
}

/* --- Memory -------------------------------------------------------------------------- */

static void memory_free(struct object *o)
{
    struct vmm_memory *m = (struct vmm_memory *)o;
    if (m->pages)
        munmap(m->pages, m->bytes);
    if (m->fd >= 0)
        close(m->fd);
    if (m->charged)
        mem_uncharge(m->prop.location.id, m->bytes);
    free(m);
}

static struct vmm_memory *memory_new(const CUmemAllocationProp *prop, uint64_t bytes)
{
    struct vmm_memory *m = object_new(OBJECT_MEMORY, sizeof(*m), NULL, memory_free);
    if (!m)
        return NULL;
    m->prop = *prop;
    m->bytes = bytes;
    m->fd = -1;
    m->handles = 1;
    return m;
}

/* Published when it has its pages. */
static CUresult finish(struct vmm_memory *m, struct vmm_memory **ret)
{
    if (!m->pages) {
        object_put(&m->o);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *ret = m;
    object_publish(&m->o);
    return CUDA_SUCCESS;
}

static void *anonymous(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

CUresult vmm_create(const CUmemAllocationProp *prop, uint64_t bytes, struct vmm_memory **ret)
{
    if (!bytes || bytes % VMM_GRANULE)
        return CUDA_ERROR_INVALID_VALUE;
    struct vmm_memory *m = memory_new(prop, bytes);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->charged = mem_charge(prop->location.id, bytes);
    if (m->charged && prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
        m->fd = memfile_new(MEMFILE_MEMORY, sim.physical[prop->location.id], bytes);
        m->pages = m->fd >= 0 ? memfile_map(m->fd, 0, bytes) : NULL;
    } else if (m->charged) {
        m->pages = anonymous(bytes);
    }
    return finish(m, ret);
}

int vmm_export(const struct vmm_memory *m)
{
    return m->fd >= 0 ? fcntl(m->fd, F_DUPFD_CLOEXEC, 0) : -1;
}

/* Who made it has paid for it. */
CUresult vmm_import(int fd, struct vmm_memory **ret)
{
    struct memfile file;
    cleanup_close int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0 && errno == EMFILE)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (own < 0 || !memfile_check(own, MEMFILE_MEMORY, &file) || file.bytes % VMM_GRANULE)
        return CUDA_ERROR_INVALID_VALUE;
    /* What is on a device that isn't seen here counts as the first one's. */
    const int local = device_local(file.device);
    const CUmemAllocationProp prop = {
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        .location = {CU_MEM_LOCATION_TYPE_DEVICE, local < 0 ? 0 : local}};
    void *pages = memfile_map(own, 0, file.bytes);
    if (!pages) /* sealed against writing, or open for reading only */
        return errno == ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    struct vmm_memory *m = memory_new(&prop, file.bytes);
    if (!m) {
        munmap(pages, file.bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    m->pages = pages;
    m->fd = TAKE_FD(own);
    return finish(m, ret);
}

CUresult vmm_release(struct vmm_memory *m)
{
    pthread_mutex_lock(&vmm.lock);
    bool good = m->handles > 0;
    bool last = good && --m->handles == 0;
    if (last)
        object_kill(&m->o);
    pthread_mutex_unlock(&vmm.lock);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult vmm_retain(uint64_t address, struct vmm_memory **ret)
{
    pthread_mutex_lock(&vmm.lock);
    const struct extent *e = extents_at(&vmm.mapped, address);
    struct vmm_memory *m = e ? e->owner : NULL;
    if (m && m->handles++ == 0) {
        object_hold(&m->o);
        object_publish(&m->o);
    }
    pthread_mutex_unlock(&vmm.lock);
    if (m)
        *ret = m;
    return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUmemAllocationHandleType vmm_handle_types(uint64_t address)
{
    pthread_mutex_lock(&vmm.lock);
    const struct extent *e = extents_at(&vmm.mapped, address);
    const struct vmm_memory *m = e ? e->owner : NULL;
    CUmemAllocationHandleType kinds = m ? m->prop.requestedHandleTypes : CU_MEM_HANDLE_TYPE_NONE;
    pthread_mutex_unlock(&vmm.lock);
    return kinds;
}

/* --- Mappings -------------------------------------------------------------------------- */

static bool is_free(uint64_t base, uint64_t bytes)
{
    const struct extent *e = extents_at(&vmm.reserved, base);
    return e && bytes <= e->end - base && !extents_overlap(&vmm.mapped, base, base + bytes);
}

CUresult vmm_map(uint64_t base, uint64_t bytes, struct vmm_memory *m)
{
    struct extent *e = extent_new();
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&vmm.lock);
    CUresult rc = CUDA_SUCCESS;
    if (!bytes || base % VMM_GRANULE || bytes % VMM_GRANULE || bytes > m->bytes ||
        !is_free(base, bytes))
        rc = CUDA_ERROR_INVALID_VALUE;
    /* Of length 0 it leaves the old one where it is. */
    else if (mremap(m->pages, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at(base)) == MAP_FAILED)
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (rc == CUDA_SUCCESS) {
        object_hold(&m->o);
        extent_place(e, base, base + bytes, NULL);
        e->owner = m;
        e->device = m->prop.location.id;
        extents_insert(&vmm.mapped, e);
    }
    pthread_mutex_unlock(&vmm.lock);
    if (rc != CUDA_SUCCESS)
        extent_drop(e);
    return rc;
}

/* With the lock: are they whole mappings, side by side? */
static bool are_mappings(uint64_t base, uint64_t bytes)
{
    uint64_t p = base, left = bytes;
    while (left) {
        const struct extent *e = extents_at(&vmm.mapped, p);
        if (!e || e->base != p || e->end - p > left)
            return false;
        left -= e->end - p;
        p = e->end;
    }
    return bytes != 0;
}

static void unmap_one(struct extent *e)
{
    struct vmm_memory *m = e->owner;
    if (e->flags)
        mem_unmap(e->base);
    /* Over it: the addresses stay reserved. */
    (void)mmap(at(e->base), e->end - e->base, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    extents_remove(&vmm.mapped, e);
    extent_drop(e);
    object_put(&m->o);
}

CUresult vmm_unmap(uint64_t base, uint64_t bytes)
{
    pthread_mutex_lock(&vmm.lock);
    bool good = are_mappings(base, bytes);
    for (uint64_t p = base; good && p < base + bytes;) {
        struct extent *e = extents_at(&vmm.mapped, p);
        p = e->end;
        unmap_one(e);
    }
    pthread_mutex_unlock(&vmm.lock);
    return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static bool is_access(CUmemAccess_flags flags)
{
    return flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
           flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

static CUresult check_access(const CUmemAccessDesc *access, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (access[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE)
            return CUDA_ERROR_NOT_SUPPORTED;
        if (access[i].location.id < 0 || access[i].location.id >= (int)sim.devices)
            return CUDA_ERROR_INVALID_DEVICE;
        if (!is_access(access[i].flags))
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* A mapping's flags: two bits for each device. */
static unsigned access_of(unsigned flags, int device)
{
    return flags >> 2 * device & 3;
}

static CUresult set_one(struct extent *e, const CUmemAccessDesc *access, size_t n)
{
    unsigned flags = e->flags, devices = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned at = 2 * (unsigned)access[i].location.id;
        flags = (flags & ~(3u << at)) | (unsigned)access[i].flags << at;
    }
    for (int i = 0; i < SIM_MAX_DEVICES; i++)
        devices |= access_of(flags, i) ? 1u << i : 0;
    if (flags && !e->flags)
        TRY((CUresult)mem_map(e->device, e->base, e->end));
    if (flags)
        mem_show(e->base, devices);
    else if (e->flags)
        mem_unmap(e->base);
    e->flags = flags;
    return CUDA_SUCCESS;
}

CUresult vmm_set_access(uint64_t base, uint64_t bytes, const CUmemAccessDesc *access, size_t n)
{
    pthread_mutex_lock(&vmm.lock);
    CUresult rc = are_mappings(base, bytes) ? check_access(access, n) : CUDA_ERROR_INVALID_VALUE;
    for (uint64_t p = base; rc == CUDA_SUCCESS && p < base + bytes;) {
        struct extent *e = extents_at(&vmm.mapped, p);
        p = e->end;
        rc = set_one(e, access, n);
    }
    pthread_mutex_unlock(&vmm.lock);
    return rc;
}

CUresult vmm_get_access(uint64_t address, const CUmemLocation *where, unsigned long long *ret)
{
    bool device =
        where->type == CU_MEM_LOCATION_TYPE_DEVICE && where->id >= 0 && where->id < SIM_MAX_DEVICES;
    pthread_mutex_lock(&vmm.lock);
    const struct extent *e = extents_at(&vmm.mapped, address);
    if (e)
        *ret = device ? access_of(e->flags, where->id) : 0;
    pthread_mutex_unlock(&vmm.lock);
    return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
