/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "client_calls.h"
#include "handles.h"
#include "idm/graph/capture.h"
#include "memory.h"
#include "place.h"

#define PAGE 4096ull
/* Large enough that a message costs little beside its copy, small enough that the few under
 * way stay in the caches: what one side has written the other reads from there. */
#define MAX_SLOT (256ull << 10)

/* Free pieces of the pinned part, by offset, never adjacent. */
struct piece {
    uint64_t at;
    uint64_t bytes;
};

static struct {
    pthread_mutex_t lock;
    struct piece *pieces;
    size_t n;
    size_t room;
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

void host_open(uint64_t arena_bytes)
{
    uint64_t slot = arena_bytes / (2 * VG_SLOTS) & ~(PAGE - 1);
    vg.slot_bytes = slot < PAGE ? PAGE : slot > MAX_SLOT ? MAX_SLOT : slot;
    uint64_t used = vg.slot_bytes * VG_SLOTS;
    arena.pieces = malloc(sizeof(*arena.pieces) * 16);
    arena.room = arena.pieces ? 16 : 0;
    arena.n = 0;
    if (arena.room && arena_bytes > used)
        arena.pieces[arena.n++] = (struct piece){used, arena_bytes - used};
}

void host_close(void)
{
    free(arena.pieces);
    arena.pieces = NULL;
    arena.n = arena.room = 0;
}

void host_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&arena.lock, &mutex, sizeof(mutex));
}

bool host_in_arena(const void *p, size_t bytes, uint64_t *ret_at)
{
    uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)vg.arena);
    if (at >= vg.channel.arena_bytes)
        return place_find(p, bytes, ret_at);
    if (bytes > vg.channel.arena_bytes - at)
        return false;
    *ret_at = at;
    return true;
}

uint64_t host_pinnable(void)
{
    uint64_t slots = vg.slot_bytes * VG_SLOTS;
    return vg.channel.arena_bytes > slots ? vg.channel.arena_bytes - slots : 0;
}

/* First fit. With the lock held. */
static bool take_pages(uint64_t bytes, uint64_t *ret_at)
{
    for (size_t i = 0; i < arena.n; i++) {
        struct piece *p = &arena.pieces[i];
        if (p->bytes < bytes)
            continue;
        *ret_at = p->at;
        p->at += bytes;
        p->bytes -= bytes;
        if (p->bytes == 0)
            memmove(p, p + 1, (--arena.n - i) * sizeof(*p));
        return true;
    }
    return false;
}

static void give_pages(uint64_t at, uint64_t bytes)
{
    size_t i = 0;
    while (i < arena.n && arena.pieces[i].at < at)
        i++;
    bool left = i > 0 && arena.pieces[i - 1].at + arena.pieces[i - 1].bytes == at;
    bool right = i < arena.n && at + bytes == arena.pieces[i].at;
    if (left && right) {
        arena.pieces[i - 1].bytes += bytes + arena.pieces[i].bytes;
        memmove(&arena.pieces[i], &arena.pieces[i + 1], (--arena.n - i) * sizeof(*arena.pieces));
    } else if (left) {
        arena.pieces[i - 1].bytes += bytes;
    } else if (right) {
        arena.pieces[i].at = at;
        arena.pieces[i].bytes += bytes;
    } else {
        if (arena.n == arena.room) {
            size_t room = arena.room ? 2 * arena.room : 16;
            void *more = realloc(arena.pieces, room * sizeof(*arena.pieces));
            if (!more)
                return; /* lost to this process, harmless */
            arena.pieces = more;
            arena.room = room;
        }
        memmove(&arena.pieces[i + 1], &arena.pieces[i], (arena.n++ - i) * sizeof(*arena.pieces));
        arena.pieces[i] = (struct piece){at, bytes};
    }
}

CUresult host_pin(uint64_t at, uint64_t bytes, uint64_t *ret_device)
{
    struct idm_host_register_in in = {.w = {.at = at, .bytes = bytes}};
    struct idm_host_register_out out;
    struct vg_answer answer;
    VG_TRY(vg_ask_host_register(&in, &out, &answer));
    *ret_device = out.w.device;
    return CUDA_SUCCESS;
}

CUresult host_unpin(uint64_t at)
{
    struct idm_host_unregister_in in = {.w = {.at = at}};
    struct idm_host_unregister_out out;
    struct vg_answer answer;
    return vg_ask_host_unregister(&in, &out, &answer);
}

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

/* Whole pages are registered; the program has BYTES. */
static CUresult pin(uint64_t at, uint64_t bytes, unsigned flags, void **ret_p)
{
    struct vg_memory m = {.bytes = bytes,
                          .context = vg_current(),
                          .host = vg.arena + at,
                          .kind = VG_PINNED,
                          .flags = flags};
    VG_TRY(host_pin(at, whole_pages(bytes), &m.base));
    VG_TRY(memory_add(&m));
    *ret_p = m.host;
    return CUDA_SUCCESS;
}

static CUresult allocate(void **p, size_t bytes, unsigned flags)
{
    uint64_t at = 0;
    if (bytes > vg.channel.arena_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t pages = whole_pages(bytes);
    pthread_mutex_lock(&arena.lock);
    bool found = take_pages(pages, &at);
    pthread_mutex_unlock(&arena.lock);
    if (!found)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = pin(at, bytes, flags, p);
    if (rc != CUDA_SUCCESS) {
        pthread_mutex_lock(&arena.lock);
        give_pages(at, pages);
        pthread_mutex_unlock(&arena.lock);
    }
    return rc;
}

CUresult host_stage(size_t bytes, void **ret_p)
{
    uint64_t at = 0, pages = whole_pages(bytes);
    if (bytes > vg.channel.arena_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&arena.lock);
    bool found = take_pages(pages, &at);
    pthread_mutex_unlock(&arena.lock);
    if (!found)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *ret_p = vg.arena + at;
    return CUDA_SUCCESS;
}

void host_unstage(void *p, size_t bytes)
{
    pthread_mutex_lock(&arena.lock);
    give_pages((uint64_t)((uint8_t *)p - vg.arena), whole_pages(bytes));
    pthread_mutex_unlock(&arena.lock);
}

VG_EXPORT CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned int flags)
{
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!p || bytes == 0 || (flags & ~7u))
        return CUDA_ERROR_INVALID_VALUE;
    return allocate(p, bytes, flags);
}

/* Pinned memory has one address for both if the worker could map the arena where it is here. */
VG_EXPORT CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t bytes, unsigned int flags)
{
    struct vg_memory m;
    void *p = NULL;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!ptr || !bytes || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(allocate(&p, bytes, VG_MANAGED));
    if (!memory_pinned_at(p, &m) || m.base != (uintptr_t)p) {
        cuMemFreeHost(p);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    memset(p, 0, bytes);
    *ptr = m.base;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuMemAllocHost_v2(void **p, size_t bytes)
{
    return cuMemHostAlloc(p, bytes, 0);
}

VG_EXPORT CUresult cuMemFreeHost(void *p)
{
    struct vg_memory m;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    CAPTURE_HOOK_UNSAFE();
    if (!p)
        return CUDA_SUCCESS;
    if (!memory_pinned_at(p, &m) || m.host != p || (m.flags & VG_REGISTERED))
        return CUDA_ERROR_INVALID_VALUE;
    /* Copies may be under way to or from here. */
    CUresult rc = cuCtxSynchronize();
    if (!memory_take(m.base, VG_PINNED, &m))
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t at = (uint64_t)((uint8_t *)m.host - vg.arena);
    CUresult gone = host_unpin(at);
    pthread_mutex_lock(&arena.lock);
    give_pages(at, whole_pages(m.bytes));
    pthread_mutex_unlock(&arena.lock);
    return rc != CUDA_SUCCESS ? rc : gone;
}

/* The slots are pinned with the first copy; a driver that can't goes on
 * without, only slower. */
static void pin_slots(void)
{
    uint64_t device;
    bool first = false;
    pthread_mutex_lock(&vg.lock);
    first = !vg.slots_pinned;
    vg.slots_pinned = true;
    pthread_mutex_unlock(&vg.lock);
    if (first)
        host_pin(0, vg.slot_bytes * VG_SLOTS, &device);
}

struct vg_slot *slot_take(bool may_wait)
{
    struct vg_slot *found = NULL;
    pin_slots();
    pthread_mutex_lock(&vg.lock);
    /* The slot that was free last is warm still: ask for news before taking a colder one. */
    vg_glance();
    while (!found && atomic_load(&vg.state) == VG_OPEN) {
        bool flying = false;
        for (unsigned i = 0; i < VG_SLOTS && !found; i++) {
            struct vg_slot *s = &vg.slots[i];
            if (s->state == VG_SLOT_FLYING && s->ticket.done)
                s->state = VG_SLOT_FREE;
            flying = flying || s->state == VG_SLOT_FLYING;
            if (s->state == VG_SLOT_FREE)
                found = s;
        }
        if (found || !may_wait)
            break;
        if (flying) {
            vg_pump();
        } else {
            vg.waiting++;
            pthread_cond_wait(&vg.changed, &vg.lock);
            vg.waiting--;
        }
    }
    if (found)
        found->state = VG_SLOT_OWNED;
    pthread_mutex_unlock(&vg.lock);
    return found;
}

void slot_give(struct vg_slot *slot)
{
    pthread_mutex_lock(&vg.lock);
    slot->state = VG_SLOT_FREE;
    if (vg.waiting)
        pthread_cond_broadcast(&vg.changed);
    pthread_mutex_unlock(&vg.lock);
}

void slot_fly(struct vg_slot *slot)
{
    pthread_mutex_lock(&vg.lock);
    slot->state = VG_SLOT_FLYING;
    if (vg.waiting)
        pthread_cond_broadcast(&vg.changed);
    pthread_mutex_unlock(&vg.lock);
}

uint64_t slot_at(const struct vg_slot *slot)
{
    return (uint64_t)(slot - vg.slots) * vg.slot_bytes;
}

uint8_t *slot_memory(const struct vg_slot *slot)
{
    return vg.arena + slot_at(slot);
}
