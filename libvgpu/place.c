/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page's content is copied into the arena, then the arena's page is moved to where it was.
 * What another thread writes in between would be lost, so it is held up meanwhile (hold_writers),
 * and where it can't be, nothing is done. Invariants:
 *   1. Places are disjoint. One with users is registered with the driver; one without is idle:
 *      its pages couldn't be given back yet, or are gone with the program's mapping.
 *   2. A place of two pages or more is two mappings of different flags: no mremap(2) of the
 *      program's makes it larger, into other pieces of the arena.
 *   3. The pieces of all places are half of what can be pinned, at most.
 */
#include "place.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"
#include "maps.h"

#define PAGE 4096ull

struct place {
    struct place *next;
    uint64_t lo, hi; /* pages of the program's */
    uint64_t at;     /* in the arena */
    uint64_t device; /* LO's device address */
    unsigned users;
};

static struct {
    pthread_mutex_t lock; /* of the list; who changes it is alone anyway */
    struct place *all;
    uint64_t bytes;
    _Atomic bool any;
} places = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *address(uint64_t at)
{
    return (void *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr)
}

/* Whole pages: what is around the program's bytes may be a sanitizer's, who would object. */
#define WHOLE_PAGES __attribute__((no_sanitize("address", "thread"), noinline))

WHOLE_PAGES static void copy_pages(void *to, const void *from, uint64_t len)
{
    uint64_t *t = to;
    const uint64_t *f = from;
    for (uint64_t n = len / sizeof(*t); n; n -= 8, t += 8, f += 8) {
        for (unsigned i = 0; i < 8; i++)
            t[i] = f[i];
        __asm__ volatile("" ::: "memory"); /* or it becomes a memcpy */
    }
}

WHOLE_PAGES static void touch_pages(uint64_t lo, uint64_t hi)
{
    for (uint64_t p = lo; p < hi; p += PAGE)
        (void)*(const volatile uint8_t *)address(p);
}

/* --- Holding writers up -------------------------------------------------------------------- */

/* userfaultfd(2): who writes to a page that it protects waits until the descriptor is closed,
 * and then tries again. */
static bool protect(int fd, uint64_t lo, uint64_t hi)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    struct uffdio_register range = {.range = {.start = lo, .len = hi - lo},
                                    .mode = UFFDIO_REGISTER_MODE_WP};
    struct uffdio_writeprotect wp = {.range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &range) < 0 ||
        !(range.ioctls & 1ull << _UFFDIO_WRITEPROTECT))
        return false;
    /* A page that isn't there can't be protected. */
    touch_pages(lo, hi);
    return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) == 0;
}

struct hold {
    int fd; /* -1: there is nobody else */
    sigset_t signals;
};

/* With privileges it holds up the kernel's writes for others, too; else these fail (EFAULT). */
static int open_userfaultfd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    return fd >= 0 ? fd : (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
}

/* False: nobody can be held up. Else until let_go, and no handler of a signal runs in this
 * thread, which would wait for itself. */
static bool hold_writers(uint64_t lo, uint64_t hi, struct hold *ret_hold)
{
    sigset_t all;
    struct hold h = {.fd = -1};
    bool alone = maps_threads() == 1;
    if (!alone)
        h.fd = open_userfaultfd();
    if (!alone && h.fd < 0)
        return false;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &h.signals);
    if (h.fd >= 0 && !protect(h.fd, lo, hi)) {
        sigprocmask(SIG_SETMASK, &h.signals, NULL);
        close(h.fd);
        return false;
    }
    *ret_hold = h;
    return true;
}

static void let_go(const struct hold *h)
{
    if (h->fd >= 0)
        close(h->fd);
    sigprocmask(SIG_SETMASK, &h->signals, NULL);
}

/* --- There and back ------------------------------------------------------------------------ */

static bool is_plain(const struct maps_entry *e, void *data)
{
    (void)data;
    return e->read && e->write && !e->execute && !e->shared && !e->stack;
}

/* FROM takes the place of LEN bytes at LO, which FROM's content is that of. */
static bool replace(void *from, uint64_t lo, uint64_t len)
{
    return mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, address(lo)) == address(lo);
}

static CUresult move_in(const struct place *p)
{
    struct hold hold;
    uint64_t len = p->hi - p->lo;
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    /* A stack that we are on changes while we copy it. */
    if ((here >= p->lo && here < p->hi) || !maps_all(p->lo, p->hi, is_plain, NULL))
        return CUDA_ERROR_NOT_SUPPORTED;
    void *from =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, vg.channel.arena, (off_t)p->at);
    if (from == MAP_FAILED)
        return CUDA_ERROR_NOT_SUPPORTED;
    bool good = hold_writers(p->lo, p->hi, &hold);
    if (good) {
        copy_pages(vg.arena + p->at, address(p->lo), len);
        good = replace(from, p->lo, len);
        let_go(&hold);
    }
    if (!good) {
        munmap(from, len);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (len > PAGE) /* invariant 2 */
        madvise(address(p->hi - PAGE), PAGE, MADV_DONTDUMP);
    return CUDA_SUCCESS;
}

/* Is what is mapped the place's? */
struct ours {
    const struct place *place;
    struct maps_entry arena;
    uint64_t bytes; /* that are */
};

static bool note_arena(const struct maps_entry *e, void *data)
{
    *(struct maps_entry *)data = *e;
    return false;
}

static bool count_ours(const struct maps_entry *e, void *data)
{
    struct ours *o = data;
    const struct place *p = o->place;
    uint64_t from = e->from > p->lo ? e->from : p->lo;
    uint64_t to = e->to < p->hi ? e->to : p->hi;
    if (e->shared && e->dev == o->arena.dev && e->inode == o->arena.inode &&
        e->offset + (from - e->from) == p->at + (from - p->lo))
        o->bytes += to - from;
    return true;
}

static uint64_t bytes_left(const struct place *p)
{
    struct ours o = {.place = p};
    uint64_t arena = (uint64_t)(uintptr_t)vg.arena;
    maps_any(arena, arena + PAGE, note_arena, &o.arena);
    return maps_any(p->lo, p->hi, count_ours, &o) ? o.bytes : p->hi - p->lo;
}

/* The program's own pages again. False: not now. */
static bool move_out(const struct place *p)
{
    struct hold hold;
    uint64_t len = p->hi - p->lo;
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    uint64_t left = bytes_left(p);
    if (left == 0)
        return true; /* the program has unmapped it */
    if (left != len || (here >= p->lo && here < p->hi))
        return false;
    void *own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED)
        return false;
    bool good = hold_writers(p->lo, p->hi, &hold);
    if (good) {
        copy_pages(own, address(p->lo), len);
        good = replace(own, p->lo, len);
        let_go(&hold);
    }
    if (!good)
        munmap(own, len);
    return good;
}

/* --- The list -------------------------------------------------------------------------------- */

static void list(struct place *p)
{
    pthread_mutex_lock(&places.lock);
    p->next = places.all;
    places.all = p;
    places.any = true;
    places.bytes += p->hi - p->lo;
    pthread_mutex_unlock(&places.lock);
}

static void forget(struct place *p)
{
    pthread_mutex_lock(&places.lock);
    struct place **at = &places.all;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    places.any = places.all != NULL;
    places.bytes -= p->hi - p->lo;
    pthread_mutex_unlock(&places.lock);
    host_unstage(vg.arena + p->at, p->hi - p->lo);
    free(p);
}

/* Gives back what is idle and can be. */
static void sweep(void)
{
    struct place *next;
    for (struct place *p = places.all; p; p = next) {
        next = p->next;
        if (p->users == 0 && move_out(p))
            forget(p);
    }
}

static CUresult make(uint64_t lo, uint64_t hi, struct place **ret_place)
{
    void *room;
    uint64_t len = hi - lo;
    if (len > host_pinnable() / 2 || places.bytes > host_pinnable() / 2 - len)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct place *p = calloc(1, sizeof(*p));
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = host_stage(len, &room);
    if (rc != CUDA_SUCCESS) {
        free(p);
        return rc;
    }
    *p = (struct place){.lo = lo, .hi = hi, .at = (uint64_t)((uint8_t *)room - vg.arena)};
    rc = move_in(p);
    if (rc != CUDA_SUCCESS) {
        host_unstage(room, len);
        free(p);
        return rc;
    }
    list(p);
    *ret_place = p;
    return CUDA_SUCCESS;
}

CUresult place_make(void *p, size_t bytes, uint64_t *ret_device)
{
    uint64_t at = (uint64_t)(uintptr_t)p;
    uint64_t lo = at & ~(PAGE - 1), hi = (at + bytes + PAGE - 1) & ~(PAGE - 1);
    struct place *place = NULL;
    sweep();
    for (struct place *x = places.all; x; x = x->next) {
        if (x->lo <= lo && hi <= x->hi && bytes_left(x) == x->hi - x->lo)
            place = x;
        else if (x->lo < hi && lo < x->hi)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (!place)
        VG_TRY(make(lo, hi, &place));
    if (place->users == 0) {
        CUresult rc = host_pin(place->at, place->hi - place->lo, &place->device);
        if (rc != CUDA_SUCCESS) {
            sweep();
            return rc;
        }
    }
    place->users++;
    *ret_device = place->device + (at - place->lo);
    return CUDA_SUCCESS;
}

void place_end(const void *p)
{
    uint64_t at = (uint64_t)(uintptr_t)p;
    for (struct place *x = places.all; x; x = x->next) {
        if (at < x->lo || at >= x->hi)
            continue;
        if (--x->users == 0) {
            host_unpin(x->at);
            sweep();
        }
        return;
    }
}

bool place_find(const void *p, size_t bytes, uint64_t *ret_at)
{
    uint64_t at = (uint64_t)(uintptr_t)p;
    bool found = false;
    if (!atomic_load_explicit(&places.any, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&places.lock);
    for (const struct place *x = places.all; x && !found; x = x->next) {
        found = x->users && at >= x->lo && at < x->hi && bytes <= x->hi - at;
        if (found)
            *ret_at = x->at + (at - x->lo);
    }
    pthread_mutex_unlock(&places.lock);
    return found;
}

/* --- Forks ----------------------------------------------------------------------------------- */

/* What a child needs is in pages of its own: the list may be in a place, which parent and child
 * share until the child has its copy. */
struct fork_copy {
    uint64_t lo, len;
    void *copy;
};

static struct {
    struct fork_copy *all; /* NULL: there are no places */
    size_t n, bytes;
} forking;

static void *fresh_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The program may have unmapped it, or a part of it: an idle one lawfully. */
static bool is_there(const struct place *p)
{
    uint64_t len = p->hi - p->lo;
    return p->users ? msync(address(p->lo), len, MS_ASYNC) == 0 : bytes_left(p) == len;
}

void place_fork(void)
{
    size_t n = 0;
    pthread_mutex_lock(&places.lock);
    for (const struct place *p = places.all; p; p = p->next)
        n++;
    forking.n = 0;
    forking.bytes = n * sizeof(*forking.all);
    forking.all = n ? fresh_pages(forking.bytes) : NULL;
    for (const struct place *p = places.all; p && forking.all; p = p->next) {
        struct fork_copy f = {.lo = p->lo, .len = p->hi - p->lo};
        f.copy = is_there(p) ? fresh_pages(f.len) : NULL;
        if (!f.copy)
            continue;
        copy_pages(f.copy, address(f.lo), f.len);
        forking.all[forking.n++] = f;
    }
}

static void fork_done(void)
{
    if (forking.all)
        munmap(forking.all, forking.bytes);
    forking.all = NULL;
}

void place_fork_parent(void)
{
    for (size_t i = 0; forking.all && i < forking.n; i++)
        munmap(forking.all[i].copy, forking.all[i].len);
    fork_done();
    pthread_mutex_unlock(&places.lock);
}

void place_fork_child(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    for (size_t i = 0; forking.all && i < forking.n; i++)
        replace(forking.all[i].copy, forking.all[i].lo, forking.all[i].len);
    fork_done();
    memcpy(&places.lock, &mutex, sizeof(mutex));
}

void place_close(void)
{
    while (places.all) {
        struct place *p = places.all;
        places.all = p->next;
        free(p);
    }
    places.bytes = 0;
    places.any = false;
}
