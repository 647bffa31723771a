/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and stores. Every address is a kernel's, so hostile: resolve() is the
 * only way to memory. Global memory is shared with other blocks, which run at
 * the same time: aligned accesses there are single (relaxed) machine accesses.
 */
#include "access.h"

#include <string.h>

#include "idm/cuda_abi.h"
#include "ops.h"

static void bad_address(struct warp *w, const struct insn *in, unsigned lane, uint64_t address,
                        unsigned size, const char *space)
{
    if ((address & (size - 1)))
        warp_fault(w, in, (int)lane, CUDA_ERROR_MISALIGNED_ADDRESS,
                   "address 0x%llx of %u bytes in %s memory is misaligned",
                   (unsigned long long)address, size, space);
    else
        warp_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS,
                   "no %u bytes of %s memory at 0x%llx", size, space, (unsigned long long)address);
}

/* [BASE, BASE + LIMIT) is what the space has. */
static uint8_t *within(struct warp *w, const struct insn *in, unsigned lane, uint64_t address,
                       unsigned size, uint8_t *base, uint64_t limit, const char *space)
{
    if ((address & (size - 1)) || address > limit || size > limit - address) {
        bad_address(w, in, lane, address, size, space);
        return NULL;
    }
    return base + address;
}

uint8_t *sim_address(struct warp *w, const struct insn *in, unsigned lane, uint8_t space,
                     uint64_t address, unsigned size, bool write)
{
    const struct block *b = w->b;
    if (space == SPACE_GENERIC && address >> SIM_WINDOW_SHIFT) {
        uint64_t offset = address & ((1ull << SIM_WINDOW_SHIFT) - 1);
        switch (address >> SIM_WINDOW_SHIFT) {
        case SIM_SHARED_BASE >> SIM_WINDOW_SHIFT:
            space = SPACE_SHARED;
            break;
        case SIM_LOCAL_BASE >> SIM_WINDOW_SHIFT:
            space = SPACE_LOCAL;
            break;
        case SIM_PARAM_BASE >> SIM_WINDOW_SHIFT:
            space = SPACE_PARAM;
            break;
        default:
            bad_address(w, in, lane, address, size, "generic");
            return NULL;
        }
        address = offset;
    }
    switch (space) {
    case SPACE_SHARED:
        if (address >> SIM_RANK_SHIFT && (address >> SIM_RANK_SHIFT) <= b->cluster->n) {
            b = &b->cluster->blocks[(address >> SIM_RANK_SHIFT) - 1];
            address &= (1u << SIM_RANK_SHIFT) - 1;
        }
        return within(w, in, lane, address, size, b->shared, b->shared_size, "shared");
    case SPACE_LOCAL:
        return within(w, in, lane, address, size, w->local + (size_t)lane * w->local_size,
                      w->local_size, "local");
    case SPACE_PARAM: {
        const struct sim_launch *l = b->run->l;
        if (write) {
            bad_address(w, in, lane, address, size, "read-only parameter");
            return NULL;
        }
        /* Read only: the cast takes the const off for the common type. */
        return within(w, in, lane, address, size, (uint8_t *)(uintptr_t)l->params,
                      l->func->param_bytes, "parameter");
    }
    default:
        break;
    }
    if (address < w->range_base || address >= w->range_end || size > w->range_end - address) {
        const struct sim_memory *m = b->run->l->memory;
        if (!m->find(m->context, address, &w->range_base, &w->range_end) ||
            size > w->range_end - address) {
            w->range_base = w->range_end = 0;
            bad_address(w, in, lane, address, size, "global");
            return NULL;
        }
    }
    if ((address & (size - 1))) {
        bad_address(w, in, lane, address, size, "global");
        return NULL;
    }
    return (uint8_t *)(uintptr_t)address;
}

/*
 * Neighbours in a vector go in one access of up to 8 bytes, as on GPUs: programs keep a flag beside
 * what it says is there (NCCL's protocol LL: two words of data, each with its flag).
 */
static unsigned piece_of(unsigned size, unsigned n)
{
    return size * n < 8 ? size * n : 8;
}

/* ---- ld ---- */

static void op_ld(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0);
    unsigned size = type_size(in->type), n = in->vec, bytes = piece_of(size, n);
    uint64_t *rows[8];
    for (unsigned k = 0; k < n; k++)
        rows[k] = dst_row(w, in, k);
    LANES(mask, {
        uint64_t a = sim_lane_address(in, address[l]);
        const uint8_t *from = sim_address(w, in, l, in->space, a, size * n, false);
        if (!from)
            return;
        uint64_t piece = 0;
        for (unsigned k = 0; k < n; k++) {
            unsigned at = k * size & (bytes - 1); /* powers of two */
            if (at == 0)
                piece = sim_read(from + (size_t)k * size, bytes);
            rows[k][l] = (piece >> (8 * at)) & type_mask(in->type);
        }
        if (in->mode) /* signed: extended into a wider register */
            for (unsigned k = 0; k < n; k++)
                rows[k][l] = sim_extend(rows[k][l], size, in->mode);
    });
}

static bool memory_space(struct build *b)
{
    struct insn *in = b->in;
    if (in->space == SPACE_PARAM && in->nsrc && in->src[0].kind == O_LOCAL)
        in->space = SPACE_LOCAL; /* a function's parameter, or an argument to one */
    if (in->space == SPACE_CONST)
        in->space = SPACE_GLOBAL;
    return in->type != T_NONE && in->type != T_PRED && type_size(in->type) * in->vec <= 32;
}

op_fn select_ld(struct build *b)
{
    struct insn *in = b->in;
    /* How wide a sign goes is not known here: the register may be wider than the
     * type. Values are kept zero-extended, so a signed narrow load extends to 32
     * or, for a 64 bit register, to 64 bits. */
    if (type_signed(in->type) && type_size(in->type) < 8)
        in->mode = in->ndst && !in->dst[0].narrow ? 8 : type_size(in->type) < 4 ? 4 : 0;
    return memory_space(b) && in->nsrc == 1 && in->ndst == in->vec ? op_ld : NULL;
}

/* ---- st ---- */

static void op_st(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0);
    unsigned size = type_size(in->type), n = in->vec, bytes = piece_of(size, n);
    const uint64_t *rows[8];
    for (unsigned k = 0; k < n; k++)
        rows[k] = src_row(w, in, k + 1);
    LANES(mask, {
        uint64_t a = sim_lane_address(in, address[l]);
        uint8_t *to = sim_address(w, in, l, in->space, a, size * n, true);
        if (!to)
            return;
        uint64_t piece = 0;
        for (unsigned k = 0; k < n; k++) {
            unsigned at = k * size & (bytes - 1); /* powers of two */
            piece = (at ? piece : 0) | (rows[k][l] & type_mask(in->type)) << (8 * at);
            if (at + size == bytes)
                sim_write(to + (size_t)(k * size - at), piece, bytes);
        }
    });
}

op_fn select_st(struct build *b)
{
    return memory_space(b) && b->in->nsrc == b->in->vec + 1 ? op_st : NULL;
}

/* ---- addresses ---- */

static const uint64_t windows[] = {[SPACE_SHARED] = SIM_SHARED_BASE,
                                   [SPACE_LOCAL] = SIM_LOCAL_BASE,
                                   [SPACE_PARAM] = SIM_PARAM_BASE};

static void op_cvta(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    uint64_t window = windows[in->space];
    LANES(mask, { d[l] = in->mode ? a[l] - window : a[l] + window; });
}

op_fn select_cvta(struct build *b)
{
    struct insn *in = b->in;
    in->mode = has(b, M_TO);
    if (in->space == SPACE_CONST)
        in->space = SPACE_GLOBAL;
    return in->nsrc == 1 && type_size(in->type) == 8 && in->space != SPACE_GENERIC ? op_cvta : NULL;
}

static void op_isspacep(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    uint64_t window = windows[in->space] >> SIM_WINDOW_SHIFT;
    /* shared::cta is the own block's part of shared::cluster. */
    LANES(mask, {
        d[l] = a[l] >> SIM_WINDOW_SHIFT == window &&
               (!in->mode || !((uint32_t)a[l] >> SIM_RANK_SHIFT) ||
                (uint32_t)a[l] >> SIM_RANK_SHIFT == w->b->rank + 1);
    });
}

op_fn select_isspacep(struct build *b)
{
    b->in->mode = b->in->space == SPACE_SHARED && !has(b, M_SHARED_CLUSTER);
    return b->in->nsrc == 1 && b->in->space != SPACE_GENERIC ? op_isspacep : NULL;
}
