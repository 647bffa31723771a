/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the arena is mapped. Pinned and managed memory is to have the same address for the
 * program and for the GPU, so it has to be mapped at an address that is free in both processes.
 * The kernel puts the mappings of each below the same top of its address space: what is free here
 * is often taken there. So the client keeps some places free that are far from that, offers
 * them with its hello, and moves to the one that the worker took.
 */
#ifndef VGPU_ARENA_PLACE_H
#define VGPU_ARENA_PLACE_H

#include <stdint.h>

#include "idm/facts.h"

struct arena_places {
    uint64_t at[IDM_ARENA_PLACES]; /* the last one is where it is now */
    uint32_t n;
    void *arena;
    uint64_t bytes;
};

/* Reserves addresses, no memory, until arena_places_settle(). */
void arena_places_find(struct arena_places *ret, void *arena, uint64_t bytes);
/* The arena is moved to CHOSEN if that is one of the places; where it is now. */
void *arena_places_settle(struct arena_places *p, uint64_t chosen);

#endif
