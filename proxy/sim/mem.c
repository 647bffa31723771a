/* SPDX-License-Identifier: Apache-2.0 */
/* What is where: a tree over all ranges. A device's own memory comes from its region. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "extent.h"
#include "idm/cuda_abi.h"
#include "mem.h"
#include "region.h"
#include "vmm.h"

#define GRANULE     REGION_GRANULE
#define PAGE        4096ull
#define MAX_DEVICES 8

static struct {
    pthread_mutex_t lock;
    struct region region[MAX_DEVICES];
    unsigned regions;
    struct extents live;
    uint64_t last_id;
} mem = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static uint64_t up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

int mem_init(unsigned devices, uint64_t bytes_each)
{
    int rc = 0;
    for (unsigned i = 0; i < devices && !rc; i++)
        rc = region_init(&mem.region[i], (int)i, bytes_each);
    mem.regions = devices;
    return rc;
}

int mem_alloc(void *owner, int device, enum mem_kind kind, uint64_t bytes, uint64_t *ret_address)
{
    struct region *r = &mem.region[device];
    uint64_t room = up(bytes, GRANULE);
    if (!bytes || room < bytes)
        return bytes ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    struct extent *e = extent_new();
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&mem.lock);
    uint64_t base = 0;
    int rc = room > r->total - r->used ? CUDA_ERROR_OUT_OF_MEMORY : region_take(r, room, &base);
    if (!rc) {
        /* Of an array no kernel has an address. */
        extent_place(e, base, base + bytes, kind == MEM_ARRAY ? &mem : owner);
        e->owner = owner;
        e->kind = kind;
        e->device = device;
        e->id = ++mem.last_id;
        extents_insert(&mem.live, e);
        *ret_address = base;
    }
    pthread_mutex_unlock(&mem.lock);
    if (rc)
        extent_drop(e);
    return rc;
}

/* A range that has its memory elsewhere. */
static int add_range(void *owner, int device, uint64_t base, uint64_t bytes, enum mem_kind kind,
                     uint32_t flags)
{
    struct extent *e = extent_new();
    if (!e)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&mem.lock);
    bool taken = extents_overlap(&mem.live, base, base + bytes);
    if (!taken) {
        extent_place(e, base, base + bytes, kind == MEM_OPENED ? owner : NULL);
        if (kind == MEM_MAPPED)
            e->devices = 0; /* until it is shown */
        e->owner = owner;
        e->kind = kind;
        e->device = device;
        e->flags = flags;
        e->id = ++mem.last_id;
        extents_insert(&mem.live, e);
    }
    pthread_mutex_unlock(&mem.lock);
    if (taken)
        extent_drop(e);
    return taken ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : 0;
}

/* Pages of the host's as a range of KIND. */
static int add_pages(void *owner, int device, uint64_t bytes, enum mem_kind kind, uint32_t flags,
                     void **ret_p)
{
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > UINT64_MAX - PAGE)
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *p =
        mmap(NULL, up(bytes, PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    int rc = add_range(owner, device, (uint64_t)(uintptr_t)p, bytes, kind, flags);
    if (rc)
        munmap(p, up(bytes, PAGE));
    else
        *ret_p = p;
    return rc;
}

int mem_host_alloc(void *owner, int device, uint64_t bytes, uint32_t flags, void **ret_p)
{
    return add_pages(owner, device, bytes, MEM_HOST, flags, ret_p);
}

int mem_managed_alloc(void *owner, int device, uint64_t bytes, uint64_t *ret_address)
{
    void *p = NULL;
    if (bytes > UINT64_MAX - PAGE || !mem_charge(device, up(bytes, PAGE)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    int rc = add_pages(owner, device, bytes, MEM_GLOBAL, MEM_FLAG_MANAGED, &p);
    if (rc)
        mem_uncharge(device, up(bytes, PAGE));
    else
        *ret_address = (uint64_t)(uintptr_t)p;
    return rc;
}

/* Is every page there? (Not: may it be written. The program says so.) */
static bool mapped(uint64_t base, uint64_t end)
{
    unsigned char pages[512];
    for (uint64_t p = base / PAGE * PAGE; p < end; p += sizeof(pages) * PAGE) {
        uint64_t n = end - p < sizeof(pages) * PAGE ? end - p : sizeof(pages) * PAGE;
        if (mincore(at(p), n, pages) < 0)
            return false;
    }
    return true;
}

static bool in_region(uint64_t base, uint64_t end)
{
    for (unsigned i = 0; i < mem.regions; i++) {
        if (base < mem.region[i].end && end > mem.region[i].base)
            return true;
    }
    return false;
}

int mem_host_register(void *owner, int device, void *p, uint64_t bytes, uint32_t flags)
{
    uint64_t base = (uint64_t)(uintptr_t)p;
    if (!p || !bytes || bytes > UINT64_MAX - base || in_region(base, base + bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (!mapped(base, base + bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return add_range(owner, device, base, bytes, MEM_REGISTERED, flags);
}

/* E, already out of the tree and forgotten by all. */
static void dispose(struct extent *e)
{
    switch ((enum mem_kind)e->kind) {
    case MEM_DEVICE:
    case MEM_GLOBAL:
    case MEM_ARRAY:
        if (e->flags & MEM_FLAG_MANAGED) {
            mem.region[e->device].used -= up(e->end - e->base, PAGE);
            munmap(at(e->base), up(e->end - e->base, PAGE));
            break;
        }
        region_give_back(&mem.region[e->device], e->base, up(e->end, GRANULE), e);
        return;
    case MEM_HOST:
        munmap(at(e->base), up(e->end - e->base, PAGE));
        break;
    case MEM_OPENED:
        munmap(at(e->base / PAGE * PAGE), up(e->end, PAGE) - e->base / PAGE * PAGE);
        break;
    default:
        break;
    }
    extent_drop(e);
}

bool mem_release(uint64_t address, enum mem_kind kind, const void *owner)
{
    pthread_mutex_lock(&mem.lock);
    struct extent *e = extents_at(&mem.live, address);
    bool good =
        e && e->base == address && e->kind == (uint32_t)kind && (!owner || e->owner == owner);
    if (good) {
        extents_remove(&mem.live, e);
        dispose(e);
    }
    pthread_mutex_unlock(&mem.lock);
    return good;
}

void mem_release_all(const void *owner)
{
    pthread_mutex_lock(&mem.lock);
    struct extent *next;
    for (struct extent *e = extents_list(&mem.live); e; e = next) {
        next = e->next;
        if (e->owner != owner)
            continue;
        extents_remove(&mem.live, e);
        dispose(e);
    }
    pthread_mutex_unlock(&mem.lock);
}

bool mem_at(uint64_t address, struct mem_range *ret_range)
{
    pthread_mutex_lock(&mem.lock);
    const struct extent *e = extents_at(&mem.live, address);
    if (e && e->kind == MEM_ARRAY)
        e = NULL;
    if (e)
        *ret_range = (struct mem_range){e->base,  e->end,    e->owner, (enum mem_kind)e->kind,
                                        e->flags, e->device, e->id};
    pthread_mutex_unlock(&mem.lock);
    return e != NULL;
}

void mem_write(uint64_t address, const void *data, uint64_t bytes)
{
    pthread_mutex_lock(&mem.lock);
    memcpy(at(address), data, bytes);
    pthread_mutex_unlock(&mem.lock);
}

void mem_hold(void)
{
    pthread_mutex_lock(&mem.lock);
}

void mem_let_go(void)
{
    pthread_mutex_unlock(&mem.lock);
}

bool mem_charge(int device, uint64_t bytes)
{
    struct region *r = &mem.region[device];
    pthread_mutex_lock(&mem.lock);
    bool good = bytes <= r->total - r->used;
    r->used += good ? bytes : 0;
    pthread_mutex_unlock(&mem.lock);
    return good;
}

void mem_uncharge(int device, uint64_t bytes)
{
    pthread_mutex_lock(&mem.lock);
    mem.region[device].used -= bytes;
    pthread_mutex_unlock(&mem.lock);
}

int mem_map(int device, uint64_t base, uint64_t end)
{
    int rc = add_range(NULL, device, base, end - base, MEM_MAPPED, 0);
    return rc == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED ? CUDA_ERROR_INVALID_VALUE : rc;
}

void mem_show(uint64_t base, uint32_t devices)
{
    pthread_mutex_lock(&mem.lock);
    struct extent *e = extents_at(&mem.live, base);
    if (e && e->kind == MEM_MAPPED)
        extents_show(&mem.live, e, devices);
    pthread_mutex_unlock(&mem.lock);
}

void mem_unmap(uint64_t base)
{
    mem_release(base, MEM_MAPPED, NULL);
}

/* The piece with [address, address + bytes): more than one where they are mapped side by
 * side, then the first. With the lock held. */
static struct extent *piece_of(uint64_t address, uint64_t bytes)
{
    struct extent *first = extents_at(&mem.live, address), *e = first;
    while (e && bytes > e->end - address) {
        bytes -= e->end - address;
        address = e->end;
        e = e->kind == MEM_MAPPED ? extents_at(&mem.live, address) : NULL;
        if (e && e->kind != MEM_MAPPED)
            e = NULL;
    }
    return e ? first : NULL;
}

enum mem_kind mem_classify(uint64_t address, uint64_t bytes, const void *user)
{
    /* The first page is never mapped; above are the interpreter's windows. */
    if (address < PAGE || bytes > UINT64_MAX - address || address + bytes > SIM_SHARED_BASE)
        return MEM_BAD;
    enum mem_kind kind = MEM_PAGEABLE;
    pthread_mutex_lock(&mem.lock);
    struct extent *e = piece_of(address, bytes);
    if (e && e->kind == MEM_ARRAY) {
        kind = MEM_BAD;
    } else if (e) {
        kind = (enum mem_kind)e->kind;
        if (e->owner != user)
            e->shared = true;
    } else {
        e = extents_at(&mem.live, address);
        if (in_region(address, address + bytes) || (e && e->kind == MEM_HOST))
            kind = MEM_BAD;
    }
    pthread_mutex_unlock(&mem.lock);
    /* Not with our lock: vmm.c takes it with its own. */
    return kind == MEM_PAGEABLE && vmm_reserved(address, address + bytes) ? MEM_BAD : kind;
}

bool mem_is_shared(uint64_t address)
{
    pthread_mutex_lock(&mem.lock);
    const struct extent *e = extents_at(&mem.live, address);
    const struct CUctx_st *owner = e ? e->owner : NULL;
    bool shared = e && (e->shared || !owner || owner->reached || e->kind == MEM_HOST ||
                        e->kind == MEM_REGISTERED);
    pthread_mutex_unlock(&mem.lock);
    return shared;
}

void mem_info(int device, uint64_t *ret_free, uint64_t *ret_total)
{
    pthread_mutex_lock(&mem.lock);
    const struct region *r = &mem.region[device];
    *ret_free = r->total - r->used;
    *ret_total = r->total;
    pthread_mutex_unlock(&mem.lock);
}

bool mem_find(void *context, uint64_t address, uint64_t *ret_base, uint64_t *ret_end)
{
    const struct CUctx_st *c = context;
    struct extent_view v;
    int found = extents_peek(&mem.live, address, &v);
    if (found < 0) {
        pthread_mutex_lock(&mem.lock);
        const struct extent *e = extents_at(&mem.live, address);
        found = e != NULL;
        if (e)
            v = (struct extent_view){e->base, e->end, e->visible, e->devices};
        pthread_mutex_unlock(&mem.lock);
    }
    if (!found)
        return false;
    bool good =
        v.visible ? v.visible == c || peers_reach(c, v.visible) : v.devices >> c->device & 1;
    if (good) {
        *ret_base = v.base;
        *ret_end = v.end;
    }
    return good;
}

/* --- Shared with other processes ------------------------------------------------------- */

/* With the lock: the allocation that ADDRESS is in. */
static const struct extent *allocation_at(uint64_t address)
{
    const struct extent *e = extents_at(&mem.live, address);
    return e && e->kind == MEM_DEVICE ? e : NULL;
}

int mem_share(uint64_t address, bool still, struct mem_shared *ret_shared)
{
    pthread_mutex_lock(&mem.lock);
    const struct extent *e = allocation_at(address);
    struct region *r = e ? &mem.region[e->device] : NULL;
    int rc = e ? 0 : CUDA_ERROR_INVALID_VALUE;
    if (e && !region_is_shared(r, e->base, e->end))
        rc = still ? region_share(r, e->base, e->end) : CUDA_ERROR_NOT_READY;
    if (!rc)
        *ret_shared = (struct mem_shared){.fd = r->fd,
                                          .device = e->device,
                                          .offset = e->base - r->base,
                                          .bytes = e->end - e->base,
                                          .id = e->id};
    pthread_mutex_unlock(&mem.lock);
    return rc;
}

int mem_shared_fd(int device, uint64_t offset, uint64_t id)
{
    int fd = -1;
    pthread_mutex_lock(&mem.lock);
    const struct region *r =
        device >= 0 && (unsigned)device < mem.regions ? &mem.region[device] : NULL;
    if (r && offset < r->end - r->base) {
        const struct extent *e = allocation_at(r->base + offset);
        if (e && e->id == id && region_is_shared(r, e->base, e->end))
            fd = r->fd;
    }
    pthread_mutex_unlock(&mem.lock);
    return fd;
}

int mem_opened(void *owner, int device, uint64_t base, uint64_t bytes)
{
    return add_range(owner, device, base, bytes, MEM_OPENED, 0);
}
