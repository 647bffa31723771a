/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disjoint pieces of an address space, by address: a tree for one writer at a
 * time (the caller's lock) and readers that take no lock. The pieces live in
 * memory that is never given back, so a reader that follows a stale pointer
 * meets a piece, if not the right one; the count of changes tells it to look again.
 */
#ifndef SIM_EXTENT_H
#define SIM_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

struct extent {
    uint64_t base, end;
    /* To whom it is visible, for lock-free readers: to one, and to his peers; NULL: to those on
     * the devices whose bits are set. */
    const void *visible;
    uint32_t devices;
    struct extent *left, *right;
    uint64_t largest; /* size in this subtree */
    uint32_t priority;
    /* Read under the lock only. */
    void *owner;
    uint32_t kind, flags;
    int device;
    uint64_t id; /* no other has or had it */
    bool shared; /* used by another context's copies */
    struct extent *next;
};

/* What a reader without the lock learns of a piece. */
struct extent_view {
    uint64_t base, end;
    const void *visible;
    uint32_t devices;
};

#define ALL_DEVICES UINT32_MAX

struct extents {
    struct extent *root;
    uint64_t changes; /* odd: a change is under way */
};

/* A fresh piece from the pool, or NULL; give it back with extent_drop. */
struct extent *extent_new(void);
void extent_drop(struct extent *e);
/* Before it is inserted. With no VISIBLE, to ALL_DEVICES. */
void extent_place(struct extent *e, uint64_t base, uint64_t end, const void *visible);

void extents_insert(struct extents *t, struct extent *e);
void extents_remove(struct extents *t, struct extent *e);
/* The piece that contains ADDRESS. */
struct extent *extents_at(const struct extents *t, uint64_t address);
/* Does a piece overlap [base, end)? */
bool extents_overlap(const struct extents *t, uint64_t base, uint64_t end);
/* The first piece of at least SIZE bytes. */
struct extent *extents_first_fit(const struct extents *t, uint64_t size);
/* Changes E's bounds; its place in the order stays the same. */
void extents_resize(struct extents *t, struct extent *e, uint64_t base, uint64_t end);
/* Shows E, which is visible to no one alone, to other DEVICES. */
void extents_show(struct extents *t, struct extent *e, uint32_t devices);
/* All pieces as a list through `next`. */
struct extent *extents_list(const struct extents *t);

/* Without the lock: the piece that contains ADDRESS.
 * 1: found; 0: there is none; -1: too much is changing, ask under the lock. */
int extents_peek(const struct extents *t, uint64_t address, struct extent_view *ret_view);

#endif
