/* SPDX-License-Identifier: Apache-2.0 */
/* One block: its warps in turn, its barriers, its end. */
#include "block.h"
#include "idm/cuda_abi.h"

#include <stdlib.h>
#include <string.h>

static bool block_init(struct block *b, struct run *run)
{
    const struct sim_launch *l = run->l;
    b->run = run;
    b->threads = l->block[0] * l->block[1] * l->block[2];
    b->live = b->threads;
    b->n_warps = (b->threads + SIM_WARP - 1) / SIM_WARP;
    b->dynamic_base = (l->func->shared_bytes + 15) & ~15u;
    b->shared_size = b->dynamic_base + l->dynamic_shared;
    if (l->module->reserved) {
        b->reserved_base = (b->shared_size + 15) & ~15u;
        b->shared_size = b->reserved_base + SIM_RESERVED;
    }
    b->shared = calloc(1, b->shared_size ? b->shared_size : 1);
    b->warps = calloc(b->n_warps, sizeof(*b->warps));
    if (!b->shared || !b->warps)
        return false;
    for (uint32_t i = 0; i < b->n_warps; i++)
        if (warp_init(&b->warps[i], b, i) != 0)
            return false;
    return true;
}

void block_end(struct block *b)
{
    for (uint32_t i = 0; b->warps && i < b->n_warps; i++)
        warp_free(&b->warps[i]);
    free(b->warps);
    free(b->shared);
}

void block_begin(struct block *b, struct run *run, uint64_t index)
{
    const struct sim_launch *l = run->l;
    *b = (struct block){.id = {(uint32_t)(index % l->grid[0]),
                               (uint32_t)(index / l->grid[0] % l->grid[1]),
                               (uint32_t)(index / l->grid[0] / l->grid[1])}};
    if (block_init(b, run))
        return;
    pthread_mutex_lock(&run->lock);
    if (!run->fault.error)
        run->fault = (struct sim_fault){CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                                        "no memory for a block's registers"};
    pthread_mutex_unlock(&run->lock);
    atomic_store_explicit(&run->failed, true, memory_order_release);
}

bool block_turn(struct block *b)
{
    const struct run *run = b->run;
    bool progress = false;
    if (!b->live || atomic_load_explicit(&run->failed, memory_order_relaxed))
        return false;
    for (uint32_t i = 0; i < b->n_warps; i++) {
        struct warp *w = &b->warps[i];
        if (!w->live)
            continue;
        uint64_t before = w->steps;
        progress |= warp_run(w) || w->steps != before;
    }
    if (!progress && b->live && !atomic_load_explicit(&run->failed, memory_order_relaxed))
        warp_fault(&b->warps[0], NULL, -1, CUDA_ERROR_LAUNCH_TIMEOUT,
                   "all threads wait, for others that have ended or will never come");
    return true;
}

void block_run(struct run *run, uint64_t index)
{
    struct block b;
    block_begin(&b, run, index);
    while (block_turn(&b)) {
    }
    block_end(&b);
}

/* ---- barriers ---- */

static void release(struct block *b, unsigned id)
{
    struct barrier *bar = &b->barriers[id];
    for (uint32_t i = 0; i < b->n_warps; i++) {
        struct warp *w = &b->warps[i];
        for (unsigned k = 0; k < SIM_WARP; k++) {
            struct group *g = &w->groups[k];
            if (g->state != GROUP_BARRIER || g->barrier != id)
                continue;
            const struct insn *in = g->waits_at;
            if (in->ndst) {
                uint64_t v = in->mode == BAR_POPC  ? bar->count
                             : in->mode == BAR_AND ? bar->count == bar->arrived
                                                   : bar->count != 0;
                uint64_t *row = w->regs + (size_t)(g->top.base + in->dst[0].slot) * SIM_WARP;
                for (unsigned l = 0; in->dst[0].kind == O_REG && l < SIM_WARP; l++)
                    if (g->mask >> l & 1)
                        row[l] = v;
            }
            g->state = GROUP_READY;
            g->barrier = 0;
            g->waits_at = NULL;
        }
    }
    *bar = (struct barrier){0};
}

static void check(struct block *b, unsigned id)
{
    struct barrier *bar = &b->barriers[id];
    if (bar->arrived && bar->arrived >= (bar->expected ? bar->expected : b->live))
        release(b, id);
}

bool block_arrive(struct warp *w, const struct insn *in, uint32_t id, uint32_t threads,
                  uint32_t lanes, uint32_t holds, bool wait)
{
    struct block *b = w->b;
    struct barrier *bar = &b->barriers[id];
    /* Threads that have ended count where whole warps are counted. */
    uint32_t ended = 0;
    if (threads && lanes == w->live)
        ended = SIM_WARP - (uint32_t)__builtin_popcount(w->live);
    if (bar->arrived && bar->expected != threads) {
        warp_fault(w, in, __builtin_ctz(lanes), CUDA_ERROR_LAUNCH_FAILED,
                   "barrier %u: threads expect %u and %u", id, bar->expected, threads);
        return false;
    }
    bar->expected = threads;
    bar->arrived += (uint32_t)__builtin_popcount(lanes) + ended;
    bar->count += (uint32_t)__builtin_popcount(holds);
    if (wait) {
        struct group *g = &w->groups[w->current];
        g->state = GROUP_BARRIER;
        g->barrier = (uint8_t)id;
        g->waits_at = in;
        g->top.base = w->base; /* release() may come before the group is saved */
        g->mask = w->mask;
        w->leave = true;
    }
    check(b, id);
    return true;
}

void block_lanes_ended(struct warp *w, uint32_t lanes)
{
    struct block *b = w->b;
    w->live &= ~lanes;
    b->live -= (uint32_t)__builtin_popcount(lanes);
    for (unsigned id = 0; b->live && id < SIM_BARRIERS; id++)
        check(b, id);
}
