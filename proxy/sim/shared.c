/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where variables in shared memory are. A kernel has those that it and the functions
 * it calls name, and no others of the module, so that a module of many kernels can
 * have more than a multiprocessor. A variable of several kernels (one of a function
 * that they all call) has one address, as the function's code is one.
 */
#include <string.h>

#include "parse.h"

uint32_t parse_shared(struct parser *p, uint64_t size, uint32_t align)
{
    if (size > SIM_MAX_SHARED)
        parse_fail(p, "more than %u bytes of shared memory", SIM_MAX_SHARED);
    p->shared = parse_grow(p, p->shared, p->nshared, &p->shared_cap, sizeof(*p->shared),
                           SIM_MAX_SHARED_VARS, "shared variables");
    p->shared[p->nshared] = (struct shared_var){.size = size, .align = align};
    return p->nshared++;
}

uint32_t parse_shared_address(struct parser *p, uint32_t var, uint64_t addend)
{
    p->shared_uses =
        parse_grow(p, p->shared_uses, p->nshared_uses, &p->shared_uses_cap, sizeof(*p->shared_uses),
                   SIM_MAX_INSNS, "addresses of shared variables");
    uint32_t index = parse_const_unique(p);
    p->shared_uses[p->nshared_uses++] =
        (struct shared_use){.func = p->f, .index = index, .var = var, .addend = addend};
    return index;
}

/* A row of bits for each function: the variables it may touch. */
struct touched {
    uint64_t *bits;
    size_t words;
};

static uint64_t *row(const struct touched *t, uint32_t func)
{
    return t->bits + func * t->words;
}

static bool add_row(const struct touched *t, uint32_t to, uint32_t from)
{
    bool grown = false;
    for (size_t i = 0; i < t->words; i++) {
        uint64_t more = row(t, from)[i] & ~row(t, to)[i];
        row(t, to)[i] |= more;
        grown |= more != 0;
    }
    return grown;
}

/* What F calls, F touches; through a pointer it may call any. */
static bool add_calls(const struct parser *p, const struct touched *t, const struct sim_func *f)
{
    bool grown = false;
    for (uint32_t k = 0; k < f->ncode; k++) {
        const struct insn *in = &f->code[k];
        if (!in->call)
            continue;
        if (in->target != SIM_INDIRECT) {
            grown |= add_row(t, f->index, in->target);
            continue;
        }
        for (uint32_t i = 0; i < p->m->nfuncs; i++)
            if (!p->m->funcs[i]->entry)
                grown |= add_row(t, f->index, i);
    }
    return grown;
}

/* Behind whatever its kernels have already. */
static void place(struct parser *p, const struct touched *t, uint32_t var)
{
    struct shared_var *v = &p->shared[var];
    uint64_t at = 0;
    for (uint32_t i = 0; i < p->m->nfuncs; i++) {
        const struct sim_func *f = p->m->funcs[i];
        if (f->entry && row(t, i)[var / 64] >> (var % 64) & 1 && f->shared_bytes > at)
            at = f->shared_bytes;
    }
    at = (at + v->align - 1) & ~(uint64_t)(v->align - 1);
    v->offset = (uint32_t)at;
    for (uint32_t i = 0; i < p->m->nfuncs; i++) {
        struct sim_func *f = p->m->funcs[i];
        if (!f->entry || !(row(t, i)[var / 64] >> (var % 64) & 1))
            continue;
        if (at + v->size > SIM_MAX_SHARED)
            parse_fail_at(p, f->line, "%s: more than %u bytes of shared memory", f->name,
                          SIM_MAX_SHARED);
        f->shared_bytes = (uint32_t)(at + v->size);
    }
}

void parse_shared_layout(struct parser *p)
{
    struct touched t = {.words = (p->nshared + 63) / 64};
    if (!p->nshared)
        return;
    t.bits = parse_alloc(p, p->m->nfuncs * t.words * sizeof(uint64_t) + 1);
    for (uint32_t i = 0; i < p->nshared_uses; i++) {
        const struct shared_use *u = &p->shared_uses[i];
        row(&t, u->func->index)[u->var / 64] |= 1ull << (u->var % 64);
    }
    bool grown = true;
    while (grown) {
        grown = false;
        for (uint32_t i = 0; i < p->m->nfuncs; i++)
            grown |= add_calls(p, &t, p->m->funcs[i]);
    }
    for (uint32_t i = 0; i < p->nshared; i++)
        place(p, &t, i);
    for (uint32_t i = 0; i < p->nshared_uses; i++) {
        const struct shared_use *u = &p->shared_uses[i];
        for (unsigned lane = 0; lane < SIM_WARP; lane++)
            u->func->consts[(size_t)u->index * SIM_WARP + lane] =
                p->shared[u->var].offset + u->addend;
    }
}
