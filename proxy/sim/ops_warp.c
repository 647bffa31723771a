/* SPDX-License-Identifier: Apache-2.0 */
/* What lanes do together: barriers, votes, shuffles, matches, reductions. */
#include "block.h"
#include "idm/cuda_abi.h"
#include "ops.h"

/* ---- bar, barrier ---- */

static void op_bar(struct warp *w, const struct insn *in, uint32_t mask)
{
    unsigned first = (unsigned)__builtin_ctz(mask);
    bool red = in->mode != BAR_NONE;
    unsigned n = in->nsrc - (red ? 1 : 0);
    uint64_t id = src_row(w, in, 0)[first];
    uint64_t threads = n > 1 ? src_row(w, in, 1)[first] : 0;
    uint32_t holds = red ? row_mask(src_row(w, in, n), mask) : 0;
    if (id >= SIM_BARRIERS || threads % SIM_WARP || threads > 1024) {
        warp_fault(w, in, (int)first, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                   "barrier %llu of %llu threads", (unsigned long long)id,
                   (unsigned long long)threads);
        return;
    }
    uint32_t rest = w->mask & ~mask;
    if (rest)
        warp_split(
            w, rest,
            &(struct frame){.f = w->f, .pc = w->pc, .base = w->base, .local = w->local_base});
    block_arrive(w, in, (uint32_t)id, (uint32_t)threads, mask, holds, !in->bool_op);
}

static void op_bar_warp(struct warp *w, const struct insn *in, uint32_t mask)
{
    warp_wait_lanes(w, in, (uint32_t)src_row(w, in, 0)[__builtin_ctz(mask)]);
}

op_fn select_bar(struct build *b)
{
    struct insn *in = b->in;
    if (has(b, M_CLUSTER))
        return select_cluster_barrier(b);
    if (!in->nsrc || in->nsrc > 4)
        return NULL;
    if (has(b, M_WARP))
        return in->nsrc == 1 ? op_bar_warp : NULL;
    if (has(b, M_RED)) {
        if (in->nsrc < 3)
            return NULL;
        in->dst[0] = in->src[0];
        in->ndst = 1;
        for (unsigned i = 1; i < in->nsrc; i++)
            in->src[i - 1] = in->src[i];
        in->nsrc--;
        in->mode = has(b, M_POPC) ? BAR_POPC : has(b, M_AND) ? BAR_AND : BAR_OR;
        return op_bar;
    }
    in->bool_op = has(b, M_ARRIVE);
    return in->nsrc <= 2 && (!in->bool_op || in->nsrc == 2) ? op_bar : NULL;
}

/* ---- vote, activemask ---- */

static void op_activemask(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = mask; });
}

op_fn select_activemask(struct build *b)
{
    return op_activemask;
}

/* *.sync: the lanes that MASK of its last operand names are here; else false. */
static bool members_here(struct warp *w, const struct insn *in, uint32_t mask,
                         uint32_t *ret_members)
{
    *ret_members = mask;
    if (!in->sat) /* sync */
        return true;
    uint32_t members = (uint32_t)src_row(w, in, in->nsrc - 1u)[(unsigned)__builtin_ctz(mask)];
    if (!warp_wait_lanes(w, in, members))
        return false;
    *ret_members = mask & members;
    return true;
}

enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

static void op_vote(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t members;
    if (!members_here(w, in, mask, &members))
        return;
    uint32_t holds = row_mask(src_row(w, in, 0), members);
    uint64_t v = in->mode == VOTE_ALL   ? holds == members
                 : in->mode == VOTE_ANY ? holds != 0
                 : in->mode == VOTE_UNI ? holds == members || !holds
                                        : holds;
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = v; });
}

op_fn select_vote(struct build *b)
{
    struct insn *in = b->in;
    in->sat = has(b, M_SYNC);
    in->mode = has(b, M_ALL)   ? VOTE_ALL
               : has(b, M_ANY) ? VOTE_ANY
               : has(b, M_UNI) ? VOTE_UNI
                               : VOTE_BALLOT;
    return in->nsrc == (in->sat ? 2 : 1) ? op_vote : NULL;
}

/* ---- shfl ---- */

enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

static void op_shfl(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t members;
    if (!members_here(w, in, mask, &members))
        return;
    const uint64_t *a = src_row(w, in, 0), *bs = src_row(w, in, 1), *cs = src_row(w, in, 2);
    uint64_t *d = dst_row(w, in, 0), *p = in->ndst > 1 ? dst_row(w, in, 1) : NULL;
    uint64_t value[SIM_WARP];
    bool inside[SIM_WARP];
    LANES(mask, {
        uint32_t n = bs[l] & 31, clamp = cs[l] & 31, segment = cs[l] >> 8 & 31;
        uint32_t max = (l & segment) | (clamp & ~segment);
        int32_t j;
        switch (in->mode) {
        case SHFL_UP:
            j = (int32_t)(l - n);
            inside[l] = j >= (int32_t)max;
            break;
        case SHFL_DOWN:
            j = (int32_t)(l + n);
            inside[l] = j <= (int32_t)max;
            break;
        case SHFL_BFLY:
            j = (int32_t)(l ^ n);
            inside[l] = j <= (int32_t)max;
            break;
        default:
            j = (int32_t)((l & segment) | (n & ~segment));
            inside[l] = j <= (int32_t)max;
        }
        value[l] = a[inside[l] ? (unsigned)j & 31 : l];
    });
    LANES(mask, {
        d[l] = value[l];
        if (p)
            p[l] = inside[l];
    });
}

op_fn select_shfl(struct build *b)
{
    struct insn *in = b->in;
    in->sat = has(b, M_SYNC);
    in->mode = has(b, M_UP)     ? SHFL_UP
               : has(b, M_DOWN) ? SHFL_DOWN
               : has(b, M_BFLY) ? SHFL_BFLY
                                : SHFL_IDX;
    return in->nsrc == (in->sat ? 4 : 3) && type_size(in->type) == 4 ? op_shfl : NULL;
}

/* ---- match ---- */

static void op_match(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t members;
    if (!members_here(w, in, mask, &members))
        return;
    const uint64_t *a = src_row(w, in, 0);
    uint32_t same[SIM_WARP];
    LANES(mask, {
        same[l] = 0;
        for (uint32_t m = members; m; m &= m - 1) {
            unsigned k = (unsigned)__builtin_ctz(m);
            same[l] |= a[k] == a[l] ? 1u << k : 0;
        }
    });
    uint64_t *d = dst_row(w, in, 0), *p = in->ndst > 1 ? dst_row(w, in, 1) : NULL;
    LANES(mask, {
        bool all = same[l] == members;
        d[l] = in->mode ? (all ? members : 0) : same[l];
        if (p)
            p[l] = all;
    });
}

op_fn select_match(struct build *b)
{
    b->in->sat = has(b, M_SYNC);
    b->in->mode = has(b, M_ALL);
    return b->in->nsrc == 2 && b->in->sat ? op_match : NULL;
}

/* ---- redux ---- */

static uint32_t reduce(uint8_t mode, bool is_signed, uint32_t x, uint32_t y)
{
    switch (mode) {
    case M_ADD:
        return x + y;
    case M_MIN:
        return is_signed ? ((int32_t)x < (int32_t)y ? x : y) : (x < y ? x : y);
    case M_MAX:
        return is_signed ? ((int32_t)x > (int32_t)y ? x : y) : (x > y ? x : y);
    case M_AND:
        return x & y;
    case M_OR:
        return x | y;
    default:
        return x ^ y;
    }
}

static void op_redux(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t members;
    if (!members_here(w, in, mask, &members))
        return;
    const uint64_t *a = src_row(w, in, 0);
    uint32_t m = members, v = 0;
    bool first = true;
    for (; m; m &= m - 1) {
        uint32_t x = (uint32_t)a[__builtin_ctz(m)];
        v = first ? x : reduce(in->mode, type_signed(in->type), v, x);
        first = false;
    }
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = v; });
}

op_fn select_redux(struct build *b)
{
    static const enum sim_modifier modes[] = {M_ADD, M_MIN, M_MAX, M_AND, M_OR, M_XOR};
    b->in->sat = true;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (has(b, modes[i])) {
            b->in->mode = modes[i];
            return b->in->nsrc == 2 && type_size(b->in->type) == 4 ? op_redux : NULL;
        }
    }
    return NULL;
}

/* elect.sync: one lane of the members, here the lowest. */
static void op_elect(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t members;
    if (!members_here(w, in, mask, &members))
        return;
    if (!members)
        return;
    unsigned leader = (unsigned)__builtin_ctz(members);
    uint64_t *d = dst_row(w, in, 0), *p = dst_row(w, in, 1);
    LANES(members, {
        d[l] = leader;
        p[l] = l == leader;
    });
}

op_fn select_elect(struct build *b)
{
    b->in->sat = true; /* sync */
    return b->in->nsrc == 1 && b->in->ndst == 2 ? op_elect : NULL;
}
