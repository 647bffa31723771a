/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the program's own that it registers. Where it can, it becomes a part of the arena
 * (place.h): the GPU reaches it and copies it in place, it is pinned memory like cuMemHostAlloc's
 * and in the same table. Otherwise it is merely remembered: copies are staged, and who asks for
 * its device address hears that there is none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client_calls.h"
#include "host.h"
#include "idm/graph/capture.h"
#include "memory.h"
#include "place.h"

#define PAGE 4096ull

#define REGISTER_FLAGS                                                                             \
    (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY)

struct registered {
    struct registered *next;
    struct vg_memory m; /* as registered_at tells; in the table, too, if it is placed */
};

static struct {
    pthread_mutex_t lock; /* also for place.h's functions */
    struct registered *all;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool overlaps(const struct registered *r, const char *p, size_t bytes)
{
    const char *host = r->m.host;
    return host < p + bytes && p < host + r->m.bytes;
}

static bool is_mapped(uint64_t p, size_t bytes)
{
    uint64_t lo = p & ~(PAGE - 1);
    void *at = (void *)(uintptr_t)lo; // NOLINT(performance-no-int-to-ptr)
    return msync(at, (p + bytes) - lo, MS_ASYNC) == 0 || errno != ENOMEM;
}

/* Tries to. What can't be placed is registered all the same. */
static CUresult place(struct registered *r)
{
    uint64_t device;
    if (r->m.flags & CU_MEMHOSTREGISTER_READ_ONLY)
        return CUDA_SUCCESS;
    if (place_make(r->m.host, r->m.bytes, &device) != CUDA_SUCCESS)
        return CUDA_SUCCESS;
    r->m.base = device;
    r->m.flags &= ~VG_UNPLACED;
    CUresult rc = memory_add(&r->m);
    if (rc != CUDA_SUCCESS)
        place_end(r->m.host);
    return rc;
}

static CUresult add(struct registered *r)
{
    for (const struct registered *o = registry.all; o; o = o->next) {
        if (overlaps(o, r->m.host, r->m.bytes))
            return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    }
    VG_TRY(place(r));
    r->next = registry.all;
    registry.all = r;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!p || bytes == 0 || (uintptr_t)p > UINTPTR_MAX - bytes - PAGE ||
        (flags & ~(unsigned)REGISTER_FLAGS) || !is_mapped((uintptr_t)p, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (memory_pinned_at(p, &m))
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    struct registered *r = calloc(1, sizeof(*r));
    if (!r)
        return CUDA_ERROR_OUT_OF_MEMORY;
    r->m = (struct vg_memory){.base = (uintptr_t)p,
                              .bytes = bytes,
                              .context = vg_current(),
                              .id = memory_new_id(),
                              .host = p,
                              .kind = VG_PINNED,
                              .flags = flags | VG_REGISTERED | VG_UNPLACED};
    pthread_mutex_lock(&registry.lock);
    CUresult rc = add(r);
    pthread_mutex_unlock(&registry.lock);
    if (rc != CUDA_SUCCESS)
        free(r);
    return rc;
}

/* With the lock. */
static struct registered *take(const void *p)
{
    for (struct registered **at = &registry.all; *at; at = &(*at)->next) {
        struct registered *r = *at;
        if (r->m.host != p)
            continue;
        *at = r->next;
        return r;
    }
    return NULL;
}

VG_EXPORT CUresult cuMemHostUnregister(void *p)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    /* Copies may be under way to or from here. */
    bool placed = memory_pinned_at(p, &m) && (m.flags & VG_REGISTERED);
    CUresult rc = placed ? cuCtxSynchronize() : CUDA_SUCCESS;
    pthread_mutex_lock(&registry.lock);
    struct registered *r = take(p);
    if (r && !(r->m.flags & VG_UNPLACED)) {
        memory_take(r->m.base, VG_PINNED, &m);
        place_end(p);
    }
    pthread_mutex_unlock(&registry.lock);
    if (!r)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    free(r);
    return rc;
}

bool registered_at(const void *host, struct vg_memory *ret_memory)
{
    bool found = false;
    pthread_mutex_lock(&registry.lock);
    for (const struct registered *r = registry.all; r && !found; r = r->next) {
        found = overlaps(r, host, 1) && (r->m.flags & VG_UNPLACED);
        if (found)
            *ret_memory = r->m;
    }
    pthread_mutex_unlock(&registry.lock);
    return found;
}

VG_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ptr, void *p, unsigned int flags)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!ptr || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!memory_pinned_at(p, &m))
        return registered_at(p, &m) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    *ptr = m.base + (uint64_t)((uint8_t *)p - (uint8_t *)m.host);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!flags || !(memory_pinned_at(p, &m) || registered_at(p, &m)))
        return CUDA_ERROR_INVALID_VALUE;
    /* With unified addressing all of it is mapped. */
    *flags = (m.flags & 0xffffu) | CU_MEMHOSTALLOC_DEVICEMAP;
    return CUDA_SUCCESS;
}

void registered_close(void)
{
    while (registry.all) {
        struct registered *r = registry.all;
        registry.all = r->next;
        free(r);
    }
    place_close();
}

void registered_fork(void)
{
    pthread_mutex_lock(&registry.lock);
    place_fork();
}

void registered_fork_parent(void)
{
    place_fork_parent();
    pthread_mutex_unlock(&registry.lock);
}

void registered_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    place_fork_child();
    memcpy(&registry.lock, &mutex, sizeof(mutex));
}
