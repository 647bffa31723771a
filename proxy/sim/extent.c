/* SPDX-License-Identifier: Apache-2.0 */
/* A treap. The fields that lock-free readers see are written and read atomically. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "extent.h"

#define PEEK(field)       __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define POKE(field, what) __atomic_store_n(&(field), (what), __ATOMIC_RELEASE)

#define SLAB              512

static struct {
    pthread_mutex_t lock;
    struct extent *spare;
    uint32_t random;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .random = 2463534242u};

struct extent *extent_new(void)
{
    pthread_mutex_lock(&pool.lock);
    if (!pool.spare) {
        struct extent *slab = calloc(SLAB, sizeof(*slab));
        for (unsigned i = 0; slab && i < SLAB; i++) {
            slab[i].next = pool.spare;
            pool.spare = &slab[i];
        }
    }
    struct extent *e = pool.spare;
    if (e) {
        pool.spare = e->next;
        pool.random ^= pool.random << 13;
        pool.random ^= pool.random >> 17;
        pool.random ^= pool.random << 5;
        e->priority = pool.random;
        e->owner = NULL;
        e->kind = e->flags = 0;
        e->device = 0;
        e->shared = false;
        e->next = NULL;
    }
    pthread_mutex_unlock(&pool.lock);
    return e;
}

void extent_drop(struct extent *e)
{
    pthread_mutex_lock(&pool.lock);
    e->next = pool.spare;
    pool.spare = e;
    pthread_mutex_unlock(&pool.lock);
}

/* To odd, and back to even. */
static void turn(struct extents *t)
{
    POKE(t->changes, t->changes + 1);
}

static void update(struct extent *e)
{
    uint64_t largest = e->end - e->base;
    if (e->left && e->left->largest > largest)
        largest = e->left->largest;
    if (e->right && e->right->largest > largest)
        largest = e->right->largest;
    e->largest = largest;
}

/* Cuts T in two: what begins below BASE, and the rest. */
static void split(struct extent *t, uint64_t base, struct extent **ret_low,
                  struct extent **ret_high)
{
    if (!t) {
        *ret_low = *ret_high = NULL;
        return;
    }
    struct extent *part;
    if (t->base < base) {
        split(t->right, base, &part, ret_high);
        POKE(t->right, part);
        *ret_low = t;
    } else {
        split(t->left, base, ret_low, &part);
        POKE(t->left, part);
        *ret_high = t;
    }
    update(t);
}

static struct extent *join(struct extent *low, struct extent *high)
{
    if (!low || !high)
        return low ? low : high;
    if (low->priority > high->priority) {
        POKE(low->right, join(low->right, high));
        update(low);
        return low;
    }
    POKE(high->left, join(low, high->left));
    update(high);
    return high;
}

static struct extent *insert(struct extent *t, struct extent *e)
{
    if (!t || e->priority > t->priority) {
        struct extent *low, *high;
        split(t, e->base, &low, &high);
        POKE(e->left, low);
        POKE(e->right, high);
        update(e);
        return e;
    }
    if (e->base < t->base)
        POKE(t->left, insert(t->left, e));
    else
        POKE(t->right, insert(t->right, e));
    update(t);
    return t;
}

static struct extent *without(struct extent *t, struct extent *e)
{
    if (!t)
        return NULL;
    if (t == e)
        return join(t->left, t->right);
    if (e->base < t->base)
        POKE(t->left, without(t->left, e));
    else
        POKE(t->right, without(t->right, e));
    update(t);
    return t;
}

/* E's size has changed: all above it may have to know. */
static void refresh(struct extent *t, const struct extent *e)
{
    if (t != e)
        refresh(e->base < t->base ? t->left : t->right, e);
    update(t);
}

void extent_place(struct extent *e, uint64_t base, uint64_t end, const void *visible)
{
    POKE(e->base, base);
    POKE(e->end, end);
    POKE(e->visible, visible);
    POKE(e->devices, ALL_DEVICES);
}

void extents_insert(struct extents *t, struct extent *e)
{
    turn(t);
    POKE(t->root, insert(t->root, e));
    turn(t);
}

void extents_remove(struct extents *t, struct extent *e)
{
    turn(t);
    POKE(t->root, without(t->root, e));
    turn(t);
}

void extents_resize(struct extents *t, struct extent *e, uint64_t base, uint64_t end)
{
    turn(t);
    POKE(e->base, base);
    POKE(e->end, end);
    refresh(t->root, e);
    turn(t);
}

void extents_show(struct extents *t, struct extent *e, uint32_t devices)
{
    turn(t);
    POKE(e->devices, devices);
    turn(t);
}

struct extent *extents_at(const struct extents *t, uint64_t address)
{
    struct extent *e = t->root;
    while (e && (address < e->base || address >= e->end))
        e = address < e->base ? e->left : e->right;
    return e;
}

bool extents_overlap(const struct extents *t, uint64_t base, uint64_t end)
{
    const struct extent *e = t->root;
    while (e && (end <= e->base || base >= e->end))
        e = end <= e->base ? e->left : e->right;
    return e != NULL;
}

struct extent *extents_first_fit(const struct extents *t, uint64_t size)
{
    struct extent *e = t->root;
    if (!e || e->largest < size)
        return NULL;
    for (;;) {
        if (e->left && e->left->largest >= size)
            e = e->left;
        else if (e->end - e->base >= size)
            return e;
        else
            e = e->right;
    }
}

static struct extent *list(struct extent *e, struct extent *rest)
{
    if (!e)
        return rest;
    e->next = list(e->right, rest);
    return list(e->left, e);
}

struct extent *extents_list(const struct extents *t)
{
    return list(t->root, NULL);
}

int extents_peek(const struct extents *t, uint64_t address, struct extent_view *ret_view)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        uint64_t before = PEEK(t->changes);
        if (before & 1)
            continue;
        const struct extent *e = PEEK(t->root);
        struct extent_view v = {0};
        unsigned steps = 0;
        for (; e && steps < 256; steps++) {
            v = (struct extent_view){PEEK(e->base), PEEK(e->end), PEEK(e->visible),
                                     PEEK(e->devices)};
            if (address >= v.base && address < v.end)
                break;
            e = address < v.base ? PEEK(e->left) : PEEK(e->right);
        }
        if (steps == 256 || PEEK(t->changes) != before)
            continue;
        *ret_view = v;
        return e != NULL;
    }
    return -1;
}
