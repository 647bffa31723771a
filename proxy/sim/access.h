/* SPDX-License-Identifier: Apache-2.0 */
/* One lane's access to memory (ops_memory.c, ops_atomic.c, builtin.c). */
#ifndef SIM_ACCESS_H
#define SIM_ACCESS_H

#include <string.h>

#include "warp.h"

/*
 * Where SIZE bytes (a power of two) at ADDRESS of SPACE are in this process.
 * NULL: not the kernel's, or misaligned; the fault is noted.
 */
uint8_t *sim_address(struct warp *w, const struct insn *in, unsigned lane, uint8_t space,
                     uint64_t address, unsigned size, bool write);

/* The address operand's value and offset; narrow registers hold 32 bit addresses. */
static inline uint64_t sim_lane_address(const struct insn *in, uint64_t base)
{
    uint64_t a = base + (uint64_t)in->offset;
    return in->src[0].narrow ? (uint32_t)a : a;
}

static inline uint64_t sim_read(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1:
        return __atomic_load_n(p, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
    default:
        return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
    }
}

static inline void sim_write(uint8_t *p, uint64_t v, unsigned size)
{
    switch (size) {
    case 1:
        __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)(void *)p, (uint16_t)v, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)(void *)p, (uint32_t)v, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)(void *)p, v, __ATOMIC_RELAXED);
    }
}

/* V, signed in SIZE bytes, to TO bytes, zero above. */
static inline uint64_t sim_extend(uint64_t v, unsigned size, unsigned to)
{
    unsigned shift = (64 - 8 * size) & 63;
    uint64_t wide = (uint64_t)((int64_t)(v << shift) >> shift);
    return to < 8 ? wide & ((1ull << (8 * to)) - 1) : wide;
}

#endif
