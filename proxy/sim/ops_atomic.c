/* SPDX-License-Identifier: Apache-2.0 */
/* atom and red: lane after lane, each one an atomic access of this machine. */
#include <math.h>

#include "access.h"
#include "fp.h"
#include "ops.h"

/* Sums and choices of halves are exact in float; of a NaN and a number min and max take the number.
 */
static float combine_halves(uint8_t mode, float a, float b)
{
    switch (mode) {
    case M_MIN:
        return fminf(a, b);
    case M_MAX:
        return fmaxf(a, b);
    default:
        return a + b;
    }
}

static uint16_t combine_half(uint8_t mode, bool brain, uint64_t old, uint64_t v)
{
    uint16_t a = (uint16_t)old, b = (uint16_t)v;
    if (mode == M_EXCH)
        return b;
    return brain ? bf16_bits(combine_halves(mode, bf16_value(a), bf16_value(b)))
                 : f16_bits(combine_halves(mode, f16_value(a), f16_value(b)));
}

static uint64_t combine_float(uint8_t mode, uint8_t type, uint64_t old, uint64_t v)
{
    double a, b;
    switch (type) {
    case T_F32:
        return mode == M_ADD ? f32_bits(f32_value(old) + f32_value(v)) : v;
    case T_F64:
        a = f64_value(old);
        b = f64_value(v);
        return mode == M_ADD ? f64_bits(a + b) : v;
    case T_F16:
    case T_BF16:
        return combine_half(mode, type == T_BF16, old, v);
    default: /* both halves of a pair */
        return combine_half(mode, type == T_BF16X2, old, v) |
               (uint32_t)combine_half(mode, type == T_BF16X2, old >> 16, v >> 16) << 16;
    }
}

/* OLD and V are of SIZE bytes, sign-extended for signed types. */
static uint64_t combine(const struct insn *in, uint64_t old, uint64_t v, uint64_t c)
{
    bool is_signed = type_signed(in->type);
    switch (in->mode) {
    case M_ADD:
        return old + v;
    case M_MIN:
        return (is_signed ? (int64_t)old < (int64_t)v : old < v) ? old : v;
    case M_MAX:
        return (is_signed ? (int64_t)old > (int64_t)v : old > v) ? old : v;
    case M_AND:
        return old & v;
    case M_OR:
        return old | v;
    case M_XOR:
        return old ^ v;
    case M_INC:
        return (uint32_t)old >= (uint32_t)v ? 0 : old + 1;
    case M_DEC:
        return !(uint32_t)old || (uint32_t)old > (uint32_t)v ? v : old - 1;
    case M_CAS:
        return old == v ? c : old;
    default: /* exch */
        return v;
    }
}

static uint64_t widen(const struct insn *in, uint64_t v)
{
    unsigned size = type_size(in->type);
    if (type_signed(in->type))
        return sim_extend(v, size, 8);
    return size < 8 ? v & ((1ull << (8 * size)) - 1) : v;
}

static bool swap(uint8_t *p, uint64_t *old, uint64_t to, unsigned size)
{
    if (size == 8)
        return __atomic_compare_exchange_n((uint64_t *)(void *)p, old, to, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
    if (size == 4) {
        uint32_t o = (uint32_t)*old;
        bool done = __atomic_compare_exchange_n((uint32_t *)(void *)p, &o, (uint32_t)to, false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
        *old = o;
        return done;
    }
    uint16_t o = (uint16_t)*old;
    bool done = __atomic_compare_exchange_n((uint16_t *)(void *)p, &o, (uint16_t)to, false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    *old = o;
    return done;
}

static void op_atom(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0), *vs = src_row(w, in, 1);
    const uint64_t *cs = in->nsrc > 2 ? src_row(w, in, 2) : vs;
    uint64_t *d = in->ndst ? dst_row(w, in, 0) : NULL;
    unsigned size = type_size(in->type);
    bool is_float = type_float(in->type) || type_pair(in->type);
    LANES(mask, {
        uint8_t *p = sim_address(w, in, l, in->space, sim_lane_address(in, address[l]), size, true);
        if (!p)
            return;
        uint64_t old = sim_read(p, size), to;
        do {
            to = is_float ? combine_float(in->mode, in->type, old, vs[l])
                          : combine(in, widen(in, old), widen(in, vs[l]), cs[l]);
        } while (!swap(p, &old, to, size));
        if (d)
            d[l] = old;
    });
}

/* .v2 to .v8 (PTX ISA, "atom", "red"): each element is an atomic access of its own. */
static void op_atom_vector(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0);
    unsigned size = type_size(in->type), n = in->vec;
    const uint64_t *values[8];
    uint64_t *results[8] = {NULL}, old[8];
    for (unsigned k = 0; k < n; k++) {
        values[k] = src_row(w, in, 1 + k);
        results[k] = in->ndst ? dst_row(w, in, k) : w->sink;
    }
    LANES(mask, {
        uint8_t *p =
            sim_address(w, in, l, in->space, sim_lane_address(in, address[l]), size * n, true);
        if (!p)
            return;
        for (unsigned k = 0; k < n; k++, p += size) {
            old[k] = sim_read(p, size);
            while (!swap(p, &old[k], combine_float(in->mode, in->type, old[k], values[k][l]), size))
                ;
        }
        for (unsigned k = 0; k < n; k++)
            results[k][l] = old[k];
    });
}

static op_fn vector(struct build *b)
{
    struct insn *in = b->in;
    bool half = in->type == T_F16 || in->type == T_BF16;
    in->vec = has(b, M_V8) ? 8 : in->vec;
    bool known = in->type == T_F32 ? in->mode == M_ADD : half || type_pair(in->type);
    if (!known || type_size(in->type) * in->vec > 16 || in->nsrc != in->vec + 1 ||
        (in->ndst && in->ndst != in->vec) || (in->space != SPACE_GLOBAL && in->space))
        return NULL;
    return op_atom_vector;
}

op_fn select_atom(struct build *b)
{
    static const enum sim_modifier modes[] = {M_ADD, M_MIN, M_MAX,  M_AND, M_OR,
                                              M_XOR, M_INC, M_EXCH, M_DEC, M_CAS};
    struct insn *in = b->in;
    bool small = in->type == T_F16 || in->type == T_BF16 || type_pair(in->type);
    bool is_float = type_float(in->type) || type_pair(in->type);
    in->mode = M_COUNT;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (has(b, modes[i]))
            in->mode = (uint8_t)modes[i];
    if (in->space == SPACE_CONST || in->space == SPACE_PARAM || in->mode == M_COUNT)
        return NULL;
    unsigned size = type_size(in->type);
    if (is_float && in->mode != M_ADD && in->mode != M_EXCH &&
        !(small && (in->mode == M_MIN || in->mode == M_MAX)))
        return NULL;
    if (in->vec != 1 || has(b, M_V8))
        return vector(b);
    if (size < 2 || (size == 2 && !is_float && in->mode != M_CAS))
        return NULL;
    if ((in->mode == M_INC || in->mode == M_DEC) && size != 4)
        return NULL;
    return in->nsrc == (in->mode == M_CAS ? 3 : 2) ? op_atom : NULL;
}
