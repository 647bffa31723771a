/* SPDX-License-Identifier: Apache-2.0 */
/* Places for the arena that are free in two processes. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../minitest.h"
#include "arena_place.h"

#define BYTES (4u << 20)

static void *arena(void)
{
    int fd = memfd_create("arena", MFD_CLOEXEC);
    void *p = fd < 0 || ftruncate(fd, BYTES) < 0
                  ? MAP_FAILED
                  : mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        abort();
    memset(p, 7, BYTES);
    return p;
}

/* Whether something is mapped at the page AT. */
static bool is_mapped(uint64_t at)
{
    unsigned char in_core;
    return mincore((void *)(uintptr_t)at, 4096, &in_core) == 0; // NOLINT
}

static void it_moves_to_what_was_chosen(void)
{
    for (uint32_t choice = 0; choice <= IDM_ARENA_PLACES; choice++) {
        struct arena_places p;
        unsigned char *a = arena();
        arena_places_find(&p, a, BYTES);
        EXPECT_EQ(p.n, IDM_ARENA_PLACES);
        EXPECT_EQ(p.at[p.n - 1], (uint64_t)(uintptr_t)a);
        uint64_t chosen = choice < p.n ? p.at[choice] : 0;
        unsigned char *now = arena_places_settle(&p, chosen);
        EXPECT_EQ((uint64_t)(uintptr_t)now, chosen ? chosen : (uint64_t)(uintptr_t)a);
        EXPECT(now[0] == 7 && now[BYTES - 1] == 7);
        for (uint32_t i = 0; i < p.n; i++)
            EXPECT_EQ(is_mapped(p.at[i]), p.at[i] == (uint64_t)(uintptr_t)now);
        munmap(now, BYTES);
    }
}

/* Two processes that draw at the same moment find other places. */
static void places_differ(void)
{
    struct arena_places first, second;
    void *a = arena(), *b = arena();
    arena_places_find(&first, a, BYTES);
    arena_places_find(&second, b, BYTES);
    for (uint32_t i = 0; i < first.n; i++)
        for (uint32_t k = 0; k < second.n; k++)
            EXPECT(first.at[i] >= second.at[k] + BYTES || second.at[k] >= first.at[i] + BYTES);
    EXPECT(arena_places_settle(&first, 4096) == a);
    EXPECT(arena_places_settle(&second, 0) == b);
    munmap(a, BYTES);
    munmap(b, BYTES);
}

int main(void)
{
    MT_RUN(it_moves_to_what_was_chosen);
    MT_RUN(places_differ);
    return mt_done();
}
