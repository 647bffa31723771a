/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region is reserved whole; freed memory goes back to the system, so what is
 * given out is zero. It is twice the device's memory: a GPU's page tables make
 * fragments whole, here the room does.
 */
#include "region.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "driver.h"
#include "idm/cuda_abi.h"
#include "memfile.h"

#define CHUNK (2ull << 20)
#define PAGE  4096ull

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

static uint64_t up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

int region_init(struct region *r, int device, uint64_t bytes)
{
    uint64_t room = up(bytes * 2, CHUNK);
    void *p =
        mmap(NULL, room + CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    r->base = up((uint64_t)(uintptr_t)p, CHUNK);
    r->end = r->base + room;
    r->total = bytes;
    r->device = device;
    r->fd = -1;
    r->in_use = calloc(room / CHUNK, sizeof(*r->in_use));
    r->shared = calloc(room / CHUNK, sizeof(*r->shared));
    struct extent *all = extent_new();
    if (!r->in_use || !r->shared || !all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    extent_place(all, r->base, r->end, NULL);
    extents_insert(&r->free, all);
    return 0;
}

/* The end of those of [at, end) that are shared or not as AT is. */
static uint64_t run_end(const struct region *r, uint64_t at, uint64_t end)
{
    bool shared = r->shared[(at - r->base) / CHUNK];
    do
        at = at / CHUNK * CHUNK + CHUNK;
    while (at < end && r->shared[(at - r->base) / CHUNK] == shared);
    return at < end ? at : end;
}

/* Gives whole pages back to the system: they read zero again, in all processes that have them. */
static void drop_pages(const struct region *r, uint64_t base, uint64_t end)
{
    for (uint64_t next; base < end; base = next) {
        next = run_end(r, base, end);
        int how = r->shared[(base - r->base) / CHUNK] ? MADV_REMOVE : MADV_DONTNEED;
        if (madvise(at(base), next - base, how) < 0)
            memset(at(base), 0, next - base);
    }
}

/* Whole chunks that nobody uses: private again, and out of reach. */
static void decommit(struct region *r, uint64_t base, uint64_t end)
{
    drop_pages(r, base, end);
    for (uint64_t next; base < end; base = next) {
        next = run_end(r, base, end);
        size_t first = (base - r->base) / CHUNK;
        if (!r->shared[first])
            mprotect(at(base), next - base, PROT_NONE);
        else if (mmap(at(base), next - base, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
            memset(&r->shared[first], 0, (next - base) / CHUNK * sizeof(r->shared[0]));
    }
}

/* One allocation less in [base, end)'s chunks; those that nobody uses go. */
static void leave_chunks(struct region *r, uint64_t base, uint64_t end)
{
    uint64_t gone = base / CHUNK * CHUNK, c = gone;
    for (; c < end; c += CHUNK) {
        if (--r->in_use[(c - r->base) / CHUNK]) {
            decommit(r, gone, c);
            gone = c + CHUNK;
        }
    }
    if (gone < c)
        decommit(r, gone, c);
}

static int enter_chunks(struct region *r, uint64_t base, uint64_t end)
{
    uint64_t first = base / CHUNK * CHUNK, last = up(end, CHUNK), fresh = first;
    for (uint64_t c = first;; c += CHUNK) {
        if (c == last || r->in_use[(c - r->base) / CHUNK]) {
            if (fresh < c && mprotect(at(fresh), c - fresh, PROT_READ | PROT_WRITE) < 0) {
                leave_chunks(r, first, c);
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
            if (c == last)
                return 0;
            fresh = c + CHUNK;
        }
        r->in_use[(c - r->base) / CHUNK]++;
    }
}

/* Makes [base, end) zero, and its whole pages none of ours. */
static void scrub(const struct region *r, uint64_t base, uint64_t end)
{
    uint64_t first = up(base, PAGE), last = end / PAGE * PAGE;
    if (first >= last) {
        memset(at(base), 0, end - base);
        return;
    }
    memset(at(base), 0, first - base);
    drop_pages(r, first, last);
    memset(at(last), 0, end - last);
}

/* From the first free piece that has them. */
int region_take(struct region *r, uint64_t bytes, uint64_t *ret_base)
{
    struct extent *piece = extents_first_fit(&r->free, bytes);
    if (!piece || enter_chunks(r, piece->base, piece->base + bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    *ret_base = piece->base;
    if (piece->end - piece->base == bytes) {
        extents_remove(&r->free, piece);
        extent_drop(piece);
    } else {
        extents_resize(&r->free, piece, piece->base + bytes, piece->end);
    }
    r->used += bytes;
    return 0;
}

void region_give_back(struct region *r, uint64_t base, uint64_t end, struct extent *piece)
{
    scrub(r, base, end);
    leave_chunks(r, base, end);
    r->used -= end - base;
    struct extent *before = base > r->base ? extents_at(&r->free, base - 1) : NULL;
    struct extent *after = end < r->end ? extents_at(&r->free, end) : NULL;
    if (before) {
        base = before->base;
        extents_remove(&r->free, before);
        extent_drop(before);
    }
    if (after) {
        end = after->end;
        extents_remove(&r->free, after);
        extent_drop(after);
    }
    extent_place(piece, base, end, NULL);
    extents_insert(&r->free, piece);
}

/* --- Sharing ------------------------------------------------------------------------- */

bool region_is_shared(const struct region *r, uint64_t base, uint64_t end)
{
    return r->shared[(base - r->base) / CHUNK] && run_end(r, base, end) == end;
}

/* What was never written takes no memory in the file either. */
static void copy_pages(uint8_t *to, const uint8_t *from)
{
    static const uint8_t zeros[PAGE];
    for (uint64_t i = 0; i < CHUNK; i += PAGE) {
        if (memcmp(from + i, zeros, PAGE) != 0)
            memcpy(to + i, from + i, PAGE);
    }
}

static int share_chunk(struct region *r, uint64_t base)
{
    void *p = memfile_map(r->fd, base - r->base, CHUNK);
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* Who had a chunk of that place once may have left something there. */
    if (madvise(p, CHUNK, MADV_REMOVE) == 0) {
        copy_pages(p, at(base));
        if (mremap(p, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, at(base)) != MAP_FAILED) {
            r->shared[(base - r->base) / CHUNK] = true;
            return 0;
        }
    }
    munmap(p, CHUNK);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

int region_share(struct region *r, uint64_t base, uint64_t end)
{
    if (r->fd < 0)
        r->fd = memfile_new(MEMFILE_REGION, sim.physical[r->device], r->end - r->base);
    if (r->fd < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    int rc = 0;
    for (uint64_t c = base / CHUNK * CHUNK; c < end && !rc; c += CHUNK) {
        if (!r->shared[(c - r->base) / CHUNK])
            rc = share_chunk(r, c);
    }
    return rc;
}
