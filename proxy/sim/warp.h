/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel while it runs, as its instructions see it.
 *
 * A warp's 32 lanes each have a program counter, as on GPUs since Volta. Lanes
 * that stand at the same place form a group and run together:
 *
 *            select_group()                 branch, call, ret of some lanes: split()
 *   READY ------------------> current ----------------------------------> READY
 *     ^  ^                       | | |
 *     |  '--- quantum, merge ----' | '--- exit of the last lane -------> FREE
 *     |                            |
 *     |   barrier_release()        | bar.sync: wait_barrier()
 *     '------------------------ BARRIER
 *     |   all lanes there, or      | *.sync: wait_lanes()
 *     '--- nobody else can run -- SYNC
 *
 * Invariants:
 *  W1  Every live lane is in exactly one group; the groups' masks are disjoint.
 *  W2  The current group's place is in warp.pc and .mask, every other's in its
 *      struct: load_group() and save_group() are the only ones to move it.
 *  W3  The group with the lowest program counter in the deepest call runs first,
 *      so lanes meet again where their ways join; now and then another one is
 *      taken, so lanes that spin for each other make progress.
 *  W4  A register's row may hold anything above the register's width: whoever
 *      reads a row casts to the type the instruction names.
 */
#ifndef SIM_WARP_H
#define SIM_WARP_H

#include <pthread.h>
#include <stdatomic.h>

#include "exec.h"

#define ALL_LANES 0xffffffffu

struct frame {
    const struct sim_func *f;
    uint32_t pc;
    uint32_t base;  /* row of its first register */
    uint32_t local; /* offset of its local memory */
};

enum group_state { GROUP_FREE, GROUP_READY, GROUP_BARRIER, GROUP_SYNC };

struct group {
    uint8_t state, barrier;
    uint32_t mask, depth;
    const struct insn *waits_at;
    struct frame top;
    struct frame *stack; /* SIM_MAX_CALLS callers' frames; made at the first call */
};

struct warp {
    /* The current group's. */
    uint64_t *r; /* its frame's registers */
    const uint64_t *consts;
    uint32_t pc, mask;
    uint32_t merge_pc; /* another group stands here */
    bool leave;        /* the group can't simply go on */
    const struct sim_func *f;
    uint32_t base, local_base;
    unsigned current;

    struct block *b;
    uint32_t index, live;
    unsigned n_groups;
    uint64_t range_base, range_end; /* of global memory, found last */
    uint64_t *regs;
    uint32_t rows;
    uint8_t *local; /* lane after lane */
    uint32_t local_size;
    uint64_t steps;
    uint32_t turns;         /* choices of a group */
    uint32_t carry;         /* CC.CF of each lane */
    uint32_t cluster_phase; /* of each lane: the lowest bit of the phase it arrived in last */
    struct group groups[SIM_WARP];
    uint64_t tid[3][SIM_WARP];
    uint64_t tmp[SIM_MAX_SPECIAL][SIM_WARP];
    uint64_t sink[SIM_WARP];
};

struct barrier {
    uint32_t arrived, expected; /* threads; expected 0: all that live */
    uint32_t count;             /* bar.red: predicates that held */
};

#define SIM_BARRIERS    16u
#define CLUSTER_BARRIER SIM_BARRIERS /* barrier.cluster, which all blocks of a cluster share */

struct block {
    struct run *run;
    struct cluster *cluster;
    uint32_t id[3], rank; /* in the grid, in the cluster */
    uint8_t *shared;
    uint32_t shared_size, dynamic_base, reserved_base; /* reserved_base: 0 where none is wanted */
    uint32_t n_warps, threads, live;
    struct warp *warps;
    struct barrier barriers[SIM_BARRIERS];
};

/* Blocks that one thread runs in turn; without clusters, one block each. */
struct cluster {
    struct block *blocks;
    uint32_t n, arrived, phase; /* threads at barrier.cluster, and how often it has opened */
};

/* A cluster of a cooperative launch: whoever sets BUSY gives it its turn. */
struct resident {
    struct cluster cluster;
    atomic_bool busy, ended;
};

struct run {
    const struct sim_launch *l;
    struct resident *all;  /* cooperative: the clusters, all there */
    _Atomic uint64_t left; /* ... that haven't ended */
    uint64_t clusters;
    _Atomic uint64_t next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows */
    unsigned helpers;     /* threads of the pool at work on it */
    struct sim_fault fault;
    struct run *queued; /* pool.c */
};

static inline uint32_t launch_cluster(const struct sim_launch *l, unsigned dimension)
{
    return l->cluster[dimension] ? l->cluster[dimension] : 1;
}

/* ---- warp.c ---- */

/* Runs W until it waits, ends, fails, or has used its time slice. False: it waits or is done. */
bool warp_run(struct warp *w);
int warp_init(struct warp *w, struct block *b, uint32_t index);
void warp_free(struct warp *w);
/* Ends the kernel: ERROR is a CUresult, LANE the first at fault (or -1). */
void warp_fault(struct warp *w, const struct insn *in, int lane, int error, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
const uint64_t *warp_special_row(struct warp *w, const struct operand *o, unsigned n);
/* The lanes of MASK leave the current group for TO. */
void warp_split(struct warp *w, uint32_t mask, const struct frame *to);
/* *.sync: true when all of MEMBERS are here; else the group waits. */
bool warp_wait_lanes(struct warp *w, const struct insn *in, uint32_t members);

/* Whether the lanes of this warp that O names are set. */
static inline uint32_t row_mask(const uint64_t *row, uint32_t mask)
{
    uint32_t m = 0;
    for (unsigned l = 0; l < SIM_WARP; l++)
        m |= (uint32_t)(row[l] & 1) << l;
    return m & mask;
}

/* What each lane reads of O; N: a scratch row that no other operand in use has. */
static inline const uint64_t *operand_row(struct warp *w, const struct operand *o, unsigned n)
{
    if (o->kind == O_REG && !o->neg)
        return w->r + (size_t)o->slot * SIM_WARP;
    if (o->kind == O_CONST)
        return w->consts + (size_t)o->slot * SIM_WARP;
    return warp_special_row(w, o, n);
}

static inline const uint64_t *src_row(struct warp *w, const struct insn *in, unsigned i)
{
    return operand_row(w, &in->src[i], i);
}

static inline uint64_t *dst_row(struct warp *w, const struct insn *in, unsigned i)
{
    const struct operand *o = &in->dst[i];
    return o->kind == O_REG ? w->r + (size_t)o->slot * SIM_WARP : w->sink;
}

/* BODY for every lane l of MASK; all 32 at once where the compiler can. */
#define LANES(mask, ...)                                                                           \
    do {                                                                                           \
        if ((mask) == ALL_LANES) {                                                                 \
            for (unsigned l = 0; l < SIM_WARP; l++) {                                              \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        } else {                                                                                   \
            for (uint32_t left_ = (mask); left_; left_ &= left_ - 1) {                             \
                unsigned l = (unsigned)__builtin_ctz(left_);                                       \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#endif
