/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_place.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Above what sanitizers keep for themselves, below programs (0x55...) and what the kernel maps
 * from the top (0x7f...). A hint only: what is taken there becomes another place. */
#define LOWEST 0x200000000000ull
#define ROOM   0x300000000000ull
/* Below where the kernel begins: all that some sanitizers leave to programs. */
#define HIGH      0x7e8000000000ull
#define HIGH_ROOM 0x7000000000ull
#define STEP      (2ull << 20)

static uint64_t next(uint64_t *state)
{
    /* splitmix64: not to be guessed is no aim here, to differ is. */
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static void *address(uint64_t at)
{
    return (void *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr)
}

void arena_places_find(struct arena_places *ret, void *arena, uint64_t bytes)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t state = (uint64_t)(uintptr_t)arena ^ (uint64_t)getpid() << 40 ^
                     (uint64_t)now.tv_sec * 1000000000u ^ (uint64_t)now.tv_nsec;
    ret->arena = arena;
    ret->bytes = bytes;
    ret->n = 0;
    for (int i = 0; i < IDM_ARENA_PLACES - 1; i++) {
        bool high = i % 2;
        uint64_t within = next(&state) % (high ? HIGH_ROOM : ROOM);
        uint64_t hint = ((high ? HIGH : LOWEST) + within) & ~(STEP - 1);
        void *p = mmap(address(hint), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
        if (p != MAP_FAILED)
            ret->at[ret->n++] = (uint64_t)(uintptr_t)p;
    }
    ret->at[ret->n++] = (uint64_t)(uintptr_t)arena;
}

void *arena_places_settle(struct arena_places *p, uint64_t chosen)
{
    for (uint32_t i = 0; i + 1 < p->n; i++) {
        void *place = address(p->at[i]);
        if (p->at[i] != chosen)
            munmap(place, p->bytes);
        /* One that fails may have given the place up: it could be another thread's by now. */
        else if (mremap(p->arena, p->bytes, p->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place) ==
                 place)
            p->arena = place;
    }
    return p->arena;
}
