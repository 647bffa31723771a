/* SPDX-License-Identifier: Apache-2.0 */
/* atom and red: lane after lane, each one an atomic access of this machine. */
#include "access.h"
#include "fp.h"
#include "ops.h"

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
        return f16_bits(f16_value((uint16_t)old) + f16_value((uint16_t)v));
    case T_BF16:
        return bf16_bits(bf16_value((uint16_t)old) + bf16_value((uint16_t)v));
    default: /* T_F16X2 */
        return f16_bits(f16_value((uint16_t)old) + f16_value((uint16_t)v)) |
               (uint32_t)f16_bits(f16_value((uint16_t)(old >> 16)) + f16_value((uint16_t)(v >> 16)))
                   << 16;
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
    bool is_float = type_float(in->type) || in->type == T_F16X2;
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

op_fn select_atom(struct build *b)
{
    static const enum sim_modifier modes[] = {M_ADD, M_MIN, M_MAX,  M_AND, M_OR,
                                              M_XOR, M_INC, M_EXCH, M_DEC, M_CAS};
    struct insn *in = b->in;
    bool is_float = type_float(in->type) || in->type == T_F16X2;
    in->mode = M_COUNT;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (has(b, modes[i]))
            in->mode = (uint8_t)modes[i];
    if (in->space == SPACE_CONST || in->space == SPACE_PARAM || in->mode == M_COUNT)
        return NULL;
    unsigned size = type_size(in->type);
    if (in->vec != 1 || size < 2 || (size == 2 && !is_float && in->mode != M_CAS))
        return NULL;
    if (is_float && in->mode != M_ADD && in->mode != M_EXCH)
        return NULL;
    if ((in->mode == M_INC || in->mode == M_DEC) && size != 4)
        return NULL;
    return in->nsrc == (in->mode == M_CAS ? 3 : 2) ? op_atom : NULL;
}
