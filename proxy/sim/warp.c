/* SPDX-License-Identifier: Apache-2.0 */
/* A warp's groups of lanes: choosing, splitting, waiting; warp.h has the diagram. */
#include "warp.h"
#include "idm/cuda_abi.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUANTUM     8192u /* instructions before another warp's turn */
#define ROTATE_MASK 63u   /* of so many choices one is not the lowest program counter */

int warp_init(struct warp *w, struct block *b, uint32_t index)
{
    const struct sim_launch *l = b->run->l;
    memset(w, 0, sizeof(*w));
    w->b = b;
    w->index = index;
    w->rows = l->func->nregs + 1;
    w->local_size = (l->func->local_bytes + 15) & ~15u;
    w->regs = calloc((size_t)w->rows * SIM_WARP, sizeof(uint64_t));
    w->local = calloc(SIM_WARP, w->local_size ? w->local_size : 16);
    if (!w->regs || !w->local)
        return -1;
    uint32_t first = index * SIM_WARP;
    uint32_t n = b->threads - first < SIM_WARP ? b->threads - first : SIM_WARP;
    w->live = n == SIM_WARP ? ALL_LANES : (1u << n) - 1;
    for (uint32_t i = 0; i < SIM_WARP; i++) {
        uint32_t t = first + i;
        w->tid[0][i] = t % l->block[0];
        w->tid[1][i] = t / l->block[0] % l->block[1];
        w->tid[2][i] = t / l->block[0] / l->block[1];
    }
    w->groups[0] = (struct group){.state = GROUP_READY, .mask = w->live, .top = {.f = l->func}};
    w->n_groups = 1;
    return 0;
}

void warp_free(struct warp *w)
{
    for (unsigned i = 0; i < SIM_WARP; i++)
        free(w->groups[i].stack);
    free(w->regs);
    free(w->local);
}

void warp_fault(struct warp *w, const struct insn *in, int lane, int error, const char *fmt, ...)
{
    struct run *run = w->b->run;
    w->leave = true;
    pthread_mutex_lock(&run->lock);
    if (!run->fault.error) {
        run->fault.error = error;
        char what[160];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        unsigned i = lane < 0 ? 0 : (unsigned)lane;
        snprintf(run->fault.text, sizeof(run->fault.text),
                 "%.64s, PTX line %u, block (%u,%u,%u), thread (%u,%u,%u): %s",
                 w->f ? w->f->name : "", in ? in->line : 0, w->b->id[0], w->b->id[1], w->b->id[2],
                 (unsigned)w->tid[0][i], (unsigned)w->tid[1][i], (unsigned)w->tid[2][i], what);
    }
    pthread_mutex_unlock(&run->lock);
    atomic_store_explicit(&run->failed, true, memory_order_release);
}

/* ---- operands that are no register or constant ---- */

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t special(const struct warp *w, unsigned sreg, unsigned lane)
{
    const struct block *b = w->b;
    const struct sim_launch *l = b->run->l;
    switch (sreg) {
    case SR_TID_X:
    case SR_TID_Y:
    case SR_TID_Z:
        return w->tid[sreg - SR_TID_X][lane];
    case SR_NTID_X:
    case SR_NTID_Y:
    case SR_NTID_Z:
        return l->block[sreg - SR_NTID_X];
    case SR_CTAID_X:
    case SR_CTAID_Y:
    case SR_CTAID_Z:
        return b->id[sreg - SR_CTAID_X];
    case SR_NCTAID_X:
    case SR_NCTAID_Y:
    case SR_NCTAID_Z:
        return l->grid[sreg - SR_NCTAID_X];
    case SR_CLUSTERID_X:
    case SR_CLUSTERID_Y:
    case SR_CLUSTERID_Z:
        return b->id[sreg - SR_CLUSTERID_X] / launch_cluster(l, sreg - SR_CLUSTERID_X);
    case SR_NCLUSTERID_X:
    case SR_NCLUSTERID_Y:
    case SR_NCLUSTERID_Z:
        return l->grid[sreg - SR_NCLUSTERID_X] / launch_cluster(l, sreg - SR_NCLUSTERID_X);
    case SR_CLUSTER_CTAID_X:
    case SR_CLUSTER_CTAID_Y:
    case SR_CLUSTER_CTAID_Z:
        return b->id[sreg - SR_CLUSTER_CTAID_X] % launch_cluster(l, sreg - SR_CLUSTER_CTAID_X);
    case SR_CLUSTER_NCTAID_X:
    case SR_CLUSTER_NCTAID_Y:
    case SR_CLUSTER_NCTAID_Z:
        return launch_cluster(l, sreg - SR_CLUSTER_NCTAID_X);
    case SR_CLUSTER_CTARANK:
        return b->rank;
    case SR_CLUSTER_NCTARANK:
        return b->cluster->n;
    case SR_IS_CLUSTER:
        return l->cluster[0] != 0;
    case SR_LANEID:
        return lane;
    case SR_WARPID:
        return w->index;
    case SR_NWARPID:
        return b->n_warps;
    case SR_SMID:
        return l->sms ? b->id[0] % l->sms : 0;
    case SR_NSMID:
        return l->sms;
    case SR_CLOCK:
        return (uint32_t)now_ns();
    case SR_CLOCK_HI:
        return now_ns() >> 32;
    case SR_CLOCK64:
    case SR_GLOBALTIMER:
        return now_ns();
    case SR_LANEMASK_EQ:
        return 1u << lane;
    case SR_LANEMASK_LT:
        return (1u << lane) - 1;
    case SR_LANEMASK_LE:
        return (2u << lane) - 1u;
    case SR_LANEMASK_GT:
        return (uint32_t) ~((2u << lane) - 1u);
    case SR_LANEMASK_GE:
        return (uint32_t) ~((1u << lane) - 1);
    case SR_DYNAMIC_SMEM_SIZE:
        return l->dynamic_shared;
    case SR_TOTAL_SMEM_SIZE:
        return b->dynamic_base + l->dynamic_shared;
    case SR_RESERVED:
        return b->reserved_base;
    case SR_RESERVED_END:
        return b->shared_size;
    case SR_ENVREG1:
        return l->meeting >> 32;
    case SR_ENVREG2:
        return (uint32_t)l->meeting;
    case SR_DYNAMIC_BASE:
        return b->dynamic_base;
    default:
        return 0;
    }
}

const uint64_t *warp_special_row(struct warp *w, const struct operand *o, unsigned n)
{
    uint64_t *row = w->tmp[n];
    if (o->kind == O_SREG) {
        if (o->slot <= SR_TID_Z)
            return w->tid[o->slot];
        for (unsigned l = 0; l < SIM_WARP; l++)
            row[l] = special(w, o->slot, l);
    } else if (o->kind == O_REG) { /* !p */
        const uint64_t *p = w->r + (size_t)o->slot * SIM_WARP;
        for (unsigned l = 0; l < SIM_WARP; l++)
            row[l] = p[l] ^ 1;
    } else {
        uint64_t v = o->kind == O_LOCAL ? w->local_base + o->value : 0;
        for (unsigned l = 0; l < SIM_WARP; l++)
            row[l] = v;
    }
    return row;
}

/* ---- groups ---- */

static void load_group(struct warp *w, unsigned i)
{
    struct group *g = &w->groups[i];
    w->current = i;
    w->mask = g->mask;
    w->pc = g->top.pc;
    w->f = g->top.f;
    w->base = g->top.base;
    w->local_base = g->top.local;
    w->r = w->regs + (size_t)w->base * SIM_WARP;
    w->consts = w->f->consts;
    w->leave = false;
}

static void save_group(struct warp *w)
{
    struct group *g = &w->groups[w->current];
    g->mask = w->mask;
    g->top = (struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base};
    if (!g->mask && g->state != GROUP_FREE) {
        g->state = GROUP_FREE;
        w->n_groups--;
    }
}

static bool same_place(const struct group *a, const struct group *b)
{
    return a->depth == b->depth && a->top.f == b->top.f && a->top.pc == b->top.pc &&
           a->top.base == b->top.base && a->top.local == b->top.local &&
           (!a->depth || !memcmp(a->stack, b->stack, a->depth * sizeof(*a->stack)));
}

/* Takes into group I all that stand where it stands, and notes the next ones ahead. */
static void merge_groups(struct warp *w, unsigned i)
{
    struct group *g = &w->groups[i];
    w->merge_pc = UINT32_MAX;
    for (unsigned k = 0; w->n_groups > 1 && k < SIM_WARP; k++) {
        struct group *o = &w->groups[k];
        if (k == i || (o->state != GROUP_READY && o->state != GROUP_SYNC))
            continue;
        if (same_place(g, o)) {
            g->mask |= o->mask;
            o->mask = 0;
            o->state = GROUP_FREE;
            w->n_groups--;
        } else if (o->depth == g->depth && o->top.f == g->top.f && o->top.pc > g->top.pc &&
                   o->top.pc < w->merge_pc) {
            w->merge_pc = o->top.pc;
        }
    }
}

static bool before(const struct group *a, const struct group *b)
{
    return a->depth != b->depth ? a->depth > b->depth : a->top.pc < b->top.pc;
}

/* W3. False: none can run. */
static bool select_group(struct warp *w)
{
    int best = -1, other = -1;
    if (w->n_groups == 1 && w->groups[w->current].state == GROUP_READY) {
        best = (int)w->current;
    } else {
        bool any_sync = false;
        for (unsigned i = 0; i < SIM_WARP; i++) {
            struct group *g = &w->groups[i];
            any_sync |= g->state == GROUP_SYNC;
            if (g->state != GROUP_READY)
                continue;
            if (best < 0 || before(g, &w->groups[best])) {
                other = best;
                best = (int)i;
            } else {
                other = (int)i;
            }
        }
        if (other >= 0 && (++w->turns & ROTATE_MASK) == 0)
            best = other;
        if (best < 0 && any_sync) {
            /* Lanes that wait for each other at different instructions. */
            for (unsigned i = 0; i < SIM_WARP; i++) {
                if (w->groups[i].state == GROUP_SYNC) {
                    w->groups[i].state = GROUP_READY;
                    w->groups[i].waits_at = NULL;
                    w->groups[i].barrier = 1; /* let pass */
                    best = (int)i;
                }
            }
        }
        if (best < 0)
            return false;
    }
    merge_groups(w, (unsigned)best);
    load_group(w, (unsigned)best);
    return true;
}

void warp_split(struct warp *w, uint32_t mask, const struct frame *to)
{
    unsigned i = 0;
    while (w->groups[i].state != GROUP_FREE) /* W1: 32 lanes, so one is free */
        i++;
    struct group *g = &w->groups[i];
    const struct group *from = &w->groups[w->current];
    struct frame *stack = g->stack;
    if (!stack && from->stack) {
        stack = calloc(SIM_MAX_CALLS, sizeof(*stack));
        if (!stack) {
            warp_fault(w, NULL, -1, CUDA_ERROR_OUT_OF_MEMORY, "no memory for a call stack");
            return;
        }
    }
    if (stack && from->depth)
        memcpy(stack, from->stack, from->depth * sizeof(*stack));
    *g = (struct group){
        .state = GROUP_READY, .mask = mask, .depth = from->depth, .top = *to, .stack = stack};
    w->mask &= ~mask;
    w->n_groups++;
    w->leave = true;
}

bool warp_wait_lanes(struct warp *w, const struct insn *in, uint32_t members)
{
    struct group *g = &w->groups[w->current];
    if (!(members & w->live & ~w->mask) || g->barrier) {
        g->barrier = 0;
        return true;
    }
    w->pc--; /* again when more are here */
    g->state = GROUP_SYNC;
    g->waits_at = in;
    w->leave = true;
    return false;
}

/* ---- running ---- */

static bool out_of_steps(struct warp *w, uint64_t steps)
{
    uint64_t max = w->b->run->l->max_steps;
    w->steps += steps;
    if (!max || w->steps <= max)
        return false;
    warp_fault(w, &w->f->code[w->pc], -1, CUDA_ERROR_LAUNCH_TIMEOUT, "more than %llu instructions",
               (unsigned long long)max);
    return true;
}

bool warp_run(struct warp *w)
{
    uint32_t left = QUANTUM;
    while (left && select_group(w)) {
        while (!w->leave) {
            const struct insn *in = &w->f->code[w->pc++];
            uint32_t mask = w->mask;
            if (in->guard >= 0) {
                mask = row_mask(w->r + (size_t)in->guard * SIM_WARP, ALL_LANES);
                mask = (in->guard_neg ? ~mask : mask) & w->mask;
            }
            if (mask)
                in->fn(w, in, mask);
            if (--left == 0 || w->pc == w->merge_pc)
                w->leave = true;
        }
        save_group(w);
        if (atomic_load_explicit(&w->b->run->failed, memory_order_relaxed))
            return false;
    }
    if (out_of_steps(w, QUANTUM - left))
        return false;
    return left == 0;
}
