/* SPDX-License-Identifier: Apache-2.0 */
/* Branches, calls, returns, ends. MASK is never empty. */
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "builtin.h"
#include "idm/cuda_abi.h"
#include "ops.h"

/* The lanes of MASK go on at PC. */
static void jump(struct warp *w, uint32_t mask, uint32_t pc)
{
    if (mask == w->mask) {
        w->pc = pc;
        w->leave |= w->n_groups > 1;
        return;
    }
    warp_split(w, mask,
               &(struct frame){.f = w->f, .pc = pc, .base = w->base, .local = w->local_base});
}

static void op_bra(struct warp *w, const struct insn *in, uint32_t mask)
{
    jump(w, mask, in->target);
}

op_fn select_bra(struct build *b)
{
    return op_bra;
}

static void op_brx(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *index = src_row(w, in, 0);
    uint32_t i[SIM_WARP];
    for (unsigned l = 0; l < SIM_WARP; l++)
        i[l] = (uint32_t)index[l];
    while (mask) {
        unsigned first = (unsigned)__builtin_ctz(mask);
        uint32_t same = 0;
        LANES(mask, { same |= i[l] == i[first] ? 1u << l : 0; });
        if (i[first] >= in->ntargets) {
            warp_fault(w, in, (int)first, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                       "brx.idx: index %u of a table of %u", i[first], in->ntargets);
            return;
        }
        jump(w, same, in->targets[i[first]]);
        mask &= ~same;
    }
}

op_fn select_brx(struct build *b)
{
    return b->in->nsrc == 1 ? op_brx : NULL;
}

/* ---- calls ---- */

static bool make_room(struct warp *w, const struct insn *in, uint64_t rows, uint64_t local)
{
    if (rows > w->rows) {
        uint64_t *regs = realloc(w->regs, rows * SIM_WARP * sizeof(uint64_t));
        if (!regs)
            goto out_of_memory;
        memset(regs + (size_t)w->rows * SIM_WARP, 0,
               (rows - w->rows) * SIM_WARP * sizeof(uint64_t));
        w->regs = regs;
        w->rows = (uint32_t)rows;
        w->r = regs + (size_t)w->base * SIM_WARP;
    }
    if (local > w->local_size) {
        if (local > SIM_MAX_LOCAL) {
            warp_fault(w, in, -1, CUDA_ERROR_HARDWARE_STACK_ERROR,
                       "more than %u bytes of local memory", SIM_MAX_LOCAL);
            return false;
        }
        local = (local * 2 + 15) & ~(uint64_t)15;
        uint8_t *bigger = calloc(SIM_WARP, local);
        if (!bigger)
            goto out_of_memory;
        for (unsigned l = 0; l < SIM_WARP && w->local_size; l++)
            memcpy(bigger + l * local, w->local + (size_t)l * w->local_size, w->local_size);
        free(w->local);
        w->local = bigger;
        w->local_size = (uint32_t)local;
    }
    return true;
out_of_memory:
    warp_fault(w, in, -1, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "no memory for a call");
    return false;
}

/* A frame's parameter: SLOT's row, or SIZE bytes at OFFSET of each lane's local memory. */
struct place {
    uint64_t *row;
    uint64_t offset;
};

static void copy_value(struct warp *w, uint32_t mask, struct place to, const uint64_t *from_row,
                       uint64_t from, uint32_t size)
{
    LANES(mask, {
        uint8_t *lane = w->local + (size_t)l * w->local_size;
        if (to.row && from_row)
            to.row[l] = from_row[l];
        else if (to.row)
            to.row[l] = 0, memcpy(&to.row[l], lane + from, size);
        else if (from_row)
            memcpy(lane + to.offset, &from_row[l], size);
        else
            memmove(lane + to.offset, lane + from, size);
    });
}

/* Is [OFFSET, + SIZE) within the frame of F? A scalar fits in a register? */
static bool fits(const struct sim_func *f, const struct operand *o, uint32_t size)
{
    if (o->kind == O_LOCAL)
        return o->value <= f->local_bytes && size <= f->local_bytes - o->value;
    return size <= 8;
}

static void pass_arguments(struct warp *w, const struct insn *in, uint32_t mask,
                           const struct sim_func *f, const struct frame *to)
{
    for (uint32_t i = 0; i < f->nparams; i++) {
        const struct sim_param *p = &f->params[i];
        const struct operand *from = &in->call->in[i].from;
        struct place place = {
            .row = p->slot < 0 ? NULL : w->regs + (size_t)(to->base + (uint32_t)p->slot) * SIM_WARP,
            .offset = (uint64_t)to->local + p->offset};
        if (!fits(w->f, from, p->size)) {
            warp_fault(w, in, -1, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                       "argument %u of %s is smaller than its parameter", i, f->name);
            return;
        }
        const uint64_t *row = from->kind == O_LOCAL ? NULL : operand_row(w, from, 0);
        copy_value(w, mask, place, row, (uint64_t)w->local_base + from->value, p->size);
    }
}

/* Whom the first lane's pointer names; RET_MASK: the lanes that call the same. */
static const struct sim_func *callee(struct warp *w, const struct insn *in, uint32_t *ret_mask)
{
    const struct sim_module *m = w->b->run->l->module;
    if (in->target != SIM_INDIRECT)
        return m->funcs[in->target];
    const uint64_t *row = src_row(w, in, 0);
    unsigned first = (unsigned)__builtin_ctz(*ret_mask);
    uint64_t address = row[first], index = (address - SIM_CODE_BASE) / SIM_CODE_STEP;
    const struct sim_func *f =
        address >= SIM_CODE_BASE && address % SIM_CODE_STEP == 0 && index < m->nfuncs
            ? m->funcs[index]
            : NULL;
    if (!f || !f->defined || f->entry || f->nparams != in->call->nin ||
        f->nrets != in->call->nout) {
        warp_fault(w, in, (int)first, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                   "a call of 0x%llx, which is no function of this kind",
                   (unsigned long long)address);
        return NULL;
    }
    uint32_t same = 0;
    LANES(*ret_mask, { same |= row[l] == address ? 1u << l : 0; });
    if (same != *ret_mask) /* the others come here again */
        warp_split(
            w, *ret_mask & ~same,
            &(struct frame){.f = w->f, .pc = w->pc - 1, .base = w->base, .local = w->local_base});
    *ret_mask = same;
    return f;
}

static void op_call(struct warp *w, const struct insn *in, uint32_t mask)
{
    const struct sim_func *f = callee(w, in, &mask);
    if (!f)
        return;
    if (f->builtin) {
        sim_builtin(w, in, f, mask);
        return;
    }
    struct group *g = &w->groups[w->current];
    struct frame to = {.f = f,
                       .base = w->base + w->f->nregs,
                       .local = (w->local_base + w->f->local_bytes + 15) & ~15u};
    if (g->depth == SIM_MAX_CALLS) {
        warp_fault(w, in, -1, CUDA_ERROR_HARDWARE_STACK_ERROR, "more than %u calls deep",
                   SIM_MAX_CALLS);
        return;
    }
    if (!g->stack)
        g->stack = calloc(SIM_MAX_CALLS, sizeof(*g->stack));
    if (!g->stack) {
        warp_fault(w, in, -1, CUDA_ERROR_OUT_OF_MEMORY, "no memory for a call stack");
        return;
    }
    if (!make_room(w, in, (uint64_t)to.base + f->nregs + 1, (uint64_t)to.local + f->local_bytes))
        return;
    pass_arguments(w, in, mask, f, &to);
    uint32_t rest = w->mask & ~mask;
    if (rest)
        warp_split(
            w, rest,
            &(struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base});
    g->stack[g->depth++] =
        (struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base};
    w->f = f;
    w->pc = 0;
    w->base = to.base;
    w->local_base = to.local;
    w->leave = true;
}

op_fn select_call(struct build *b)
{
    return op_call;
}

static void pass_results(struct warp *w, uint32_t mask, const struct frame *to)
{
    const struct insn *in = &to->f->code[to->pc - 1];
    const struct sim_func *f = w->f;
    for (uint32_t i = 0; i < f->nrets; i++) {
        const struct operand *o = &in->call->out[i].from;
        const struct sim_param *p = &f->rets[i];
        if (!fits(to->f, o, p->size)) {
            warp_fault(w, in, -1, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                       "the result of %s is larger than its place", f->name);
            return;
        }
        struct place place = {
            .row = o->kind == O_REG ? w->regs + (size_t)(to->base + o->slot) * SIM_WARP : NULL,
            .offset = (uint64_t)to->local + o->value};
        if (o->kind != O_REG && o->kind != O_LOCAL)
            continue; /* _ */
        const uint64_t *row =
            p->slot < 0 ? NULL : w->regs + (size_t)(w->base + (uint32_t)p->slot) * SIM_WARP;
        copy_value(w, mask, place, row, (uint64_t)w->local_base + p->offset, p->size);
    }
}

static void end_lanes(struct warp *w, uint32_t mask)
{
    w->mask &= ~mask;
    block_lanes_ended(w, mask);
    w->leave |= !w->mask || w->n_groups > 1;
}

static void op_ret(struct warp *w, const struct insn *in, uint32_t mask)
{
    (void)in;
    struct group *g = &w->groups[w->current];
    if (!g->depth) {
        end_lanes(w, mask);
        return;
    }
    struct frame to = g->stack[g->depth - 1];
    pass_results(w, mask, &to);
    uint32_t rest = w->mask & ~mask;
    if (rest)
        warp_split(
            w, rest,
            &(struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base});
    g->depth--;
    w->f = to.f;
    w->pc = to.pc;
    w->base = to.base;
    w->local_base = to.local;
    w->leave = true;
}

op_fn select_ret(struct build *b)
{
    return op_ret;
}

static void op_exit(struct warp *w, const struct insn *in, uint32_t mask)
{
    (void)in;
    end_lanes(w, mask);
}

op_fn select_exit(struct build *b)
{
    return op_exit;
}

static void op_trap(struct warp *w, const struct insn *in, uint32_t mask)
{
    warp_fault(w, in, __builtin_ctz(mask), CUDA_ERROR_LAUNCH_FAILED, "trap");
}

op_fn select_trap(struct build *b)
{
    return op_trap;
}

/* What orders or hints: the simulator's memory is in order as it is. */
static void op_nothing(struct warp *w, const struct insn *in, uint32_t mask)
{
    (void)w;
    (void)in;
    (void)mask;
}

op_fn select_nothing(struct build *b)
{
    return op_nothing;
}

/* A policy for caches that aren't there. */
static void op_zero(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = 0; });
}

op_fn select_zero(struct build *b)
{
    return b->in->ndst == 1 ? op_zero : NULL;
}

/* Of PTX, but not of this machine: whoever doesn't come here doesn't miss it. */
void op_beyond(struct warp *w, const struct insn *in, uint32_t mask)
{
    warp_fault(w, in, __builtin_ctz(mask), CUDA_ERROR_ILLEGAL_INSTRUCTION,
               "'%s' is not supported by the simulated GPU", in->text);
}
