/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, and clusters of them: their warps in turn, their barriers, their end. */
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

static void block_end(struct block *b)
{
    for (uint32_t i = 0; b->warps && i < b->n_warps; i++)
        warp_free(&b->warps[i]);
    free(b->warps);
    free(b->shared);
}

/* Each warp's turn; whether any got on. */
static bool block_turn(struct block *b)
{
    bool progress = false;
    for (uint32_t i = 0; i < b->n_warps; i++) {
        struct warp *w = &b->warps[i];
        if (!w->live)
            continue;
        uint64_t before = w->steps;
        progress |= warp_run(w) || w->steps != before;
    }
    return progress;
}

/* ---- clusters ---- */

static void no_memory(struct run *run)
{
    pthread_mutex_lock(&run->lock);
    if (!run->fault.error)
        run->fault = (struct sim_fault){CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                                        "no memory for a block's registers"};
    pthread_mutex_unlock(&run->lock);
    atomic_store_explicit(&run->failed, true, memory_order_release);
}

/* Ranks go through the cluster's blocks as their numbers do: x first (PTX: %cluster_ctarank). */
void cluster_begin(struct cluster *c, struct run *run, uint64_t index)
{
    const struct sim_launch *l = run->l;
    uint32_t size[3], first[3];
    uint64_t at = index;
    for (unsigned d = 0; d < 3; d++) {
        uint32_t clusters = l->grid[d] / launch_cluster(l, d);
        size[d] = launch_cluster(l, d);
        first[d] = (uint32_t)(at % clusters) * size[d];
        at /= clusters;
    }
    *c =
        (struct cluster){.blocks = calloc((size_t)size[0] * size[1] * size[2], sizeof(*c->blocks))};
    if (!c->blocks) {
        no_memory(run);
        return;
    }
    for (uint32_t rank = 0; rank < size[0] * size[1] * size[2]; rank++) {
        struct block *b = &c->blocks[rank];
        *b = (struct block){.cluster = c,
                            .rank = rank,
                            .id = {first[0] + rank % size[0], first[1] + rank / size[0] % size[1],
                                   first[2] + rank / size[0] / size[1]}};
        c->n = rank + 1;
        if (!block_init(b, run))
            no_memory(run);
    }
}

void cluster_end(struct cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        block_end(&c->blocks[i]);
    free(c->blocks);
}

static uint32_t cluster_live(const struct cluster *c)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < c->n; i++)
        live += c->blocks[i].live;
    return live;
}

bool cluster_turn(struct cluster *c)
{
    if (!c->n)
        return false;
    const struct run *run = c->blocks[0].run;
    bool progress = false;
    if (!cluster_live(c) || atomic_load_explicit(&run->failed, memory_order_relaxed))
        return false;
    for (uint32_t i = 0; i < c->n; i++)
        progress |= block_turn(&c->blocks[i]);
    if (!progress && cluster_live(c) && !atomic_load_explicit(&run->failed, memory_order_relaxed))
        warp_fault(&c->blocks[0].warps[0], NULL, -1, CUDA_ERROR_LAUNCH_TIMEOUT,
                   "all threads wait, for others that have ended or will never come");
    return true;
}

void cluster_run(struct run *run, uint64_t index)
{
    struct cluster c;
    cluster_begin(&c, run, index);
    while (cluster_turn(&c)) {
    }
    cluster_end(&c);
}

/* ---- barriers ---- */

static void let_go(struct block *b, unsigned id, const struct barrier *bar)
{
    for (uint32_t i = 0; i < b->n_warps; i++) {
        struct warp *w = &b->warps[i];
        for (unsigned k = 0; k < SIM_WARP; k++) {
            struct group *g = &w->groups[k];
            if (g->state != GROUP_BARRIER || g->barrier != id)
                continue;
            const struct insn *in = g->waits_at;
            if (in->ndst && bar) {
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
}

static void release(struct block *b, unsigned id)
{
    let_go(b, id, &b->barriers[id]);
    b->barriers[id] = (struct barrier){0};
}

static void check(struct block *b, unsigned id)
{
    struct barrier *bar = &b->barriers[id];
    if (bar->arrived && bar->arrived >= (bar->expected ? bar->expected : b->live))
        release(b, id);
}

/* The current group stays until barrier ID opens. */
static void wait_here(struct warp *w, const struct insn *in, uint8_t id)
{
    struct group *g = &w->groups[w->current];
    g->state = GROUP_BARRIER;
    g->barrier = id;
    g->waits_at = in;
    g->top.base = w->base; /* release() may come before the group is saved */
    g->mask = w->mask;
    w->leave = true;
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
    if (wait)
        wait_here(w, in, (uint8_t)id);
    check(b, id);
    return true;
}

/* Threads that have ended aren't waited for. */
static void check_cluster(struct cluster *c)
{
    if (!c->arrived || c->arrived < cluster_live(c))
        return;
    c->arrived = 0;
    c->phase++;
    for (uint32_t i = 0; i < c->n; i++)
        let_go(&c->blocks[i], CLUSTER_BARRIER, NULL);
}

void cluster_arrive(struct warp *w, uint32_t lanes)
{
    struct cluster *c = w->b->cluster;
    w->cluster_phase = c->phase & 1 ? w->cluster_phase | lanes : w->cluster_phase & ~lanes;
    c->arrived += (uint32_t)__builtin_popcount(lanes);
    check_cluster(c);
}

void cluster_wait(struct warp *w, const struct insn *in, uint32_t lanes)
{
    uint32_t current = w->b->cluster->phase & 1 ? w->cluster_phase : ~w->cluster_phase;
    uint32_t waiting = lanes & current, others = w->mask & ~waiting;
    if (!waiting)
        return;
    if (others)
        warp_split(
            w, others,
            &(struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base});
    wait_here(w, in, CLUSTER_BARRIER);
}

void block_lanes_ended(struct warp *w, uint32_t lanes)
{
    struct block *b = w->b;
    w->live &= ~lanes;
    b->live -= (uint32_t)__builtin_popcount(lanes);
    for (unsigned id = 0; b->live && id < SIM_BARRIERS; id++)
        check(b, id);
    check_cluster(b->cluster);
}
