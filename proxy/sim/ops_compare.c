/* SPDX-License-Identifier: Apache-2.0 */
/* setp and set: compare, then perhaps combine with a predicate. */
#include "fp.h"
#include "ops.h"
#include "warp.h"

/* What a comparison accepts, as bits: less, equal, greater, unordered. */
enum { LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8 };

static bool accepts(struct build *b, uint8_t *ret_bits)
{
    static const struct {
        enum sim_modifier m;
        uint8_t bits;
    } all[] = {{M_EQ, EQUAL},
               {M_NE, LESS | GREATER},
               {M_LT, LESS},
               {M_LE, LESS | EQUAL},
               {M_GT, GREATER},
               {M_GE, GREATER | EQUAL},
               {M_LS, LESS | EQUAL},
               {M_HS, GREATER | EQUAL},
               {M_EQU, EQUAL | UNORDERED},
               {M_NEU, LESS | GREATER | UNORDERED},
               {M_LTU, LESS | UNORDERED},
               {M_LEU, LESS | EQUAL | UNORDERED},
               {M_GTU, GREATER | UNORDERED},
               {M_GEU, GREATER | EQUAL | UNORDERED},
               {M_NUM, LESS | EQUAL | GREATER},
               {M_NAN_, UNORDERED}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (has(b, all[i].m)) {
            *ret_bits = all[i].bits;
            return true;
        }
    }
    /* lo and hi are also halves of products: the unsigned comparisons. */
    *ret_bits = has(b, M_LO) ? LESS : GREATER;
    return has(b, M_LO) || has(b, M_HI);
}

#define ORDER(a, b) ((a) < (b) ? LESS : (a) == (b) ? EQUAL : (a) > (b) ? GREATER : UNORDERED)

static double half_value(const struct insn *in, uint64_t v)
{
    uint16_t h = (uint16_t)v;
    return (double)f16_value(in->ftz && !(h & 0x7c00) ? h & 0x8000 : h);
}

static uint32_t compare_float(const struct insn *in, uint8_t type, const uint64_t *x,
                              const uint64_t *y, unsigned half, uint32_t mask)
{
    uint32_t m = 0;
    LANES(mask, {
        double a, b;
        if (type == T_F64) {
            a = f64_value(x[l]);
            b = f64_value(y[l]);
        } else if (type == T_F32) {
            float p = f32_value(x[l]), q = f32_value(y[l]);
            a = (double)(in->ftz ? f32_flush(p) : p);
            b = (double)(in->ftz ? f32_flush(q) : q);
        } else if (type == T_BF16 || type == T_BF16X2) {
            a = (double)bf16_value((uint16_t)(x[l] >> half));
            b = (double)bf16_value((uint16_t)(y[l] >> half));
        } else {
            a = half_value(in, x[l] >> half);
            b = half_value(in, y[l] >> half);
        }
        m |= in->mode & ORDER(a, b) ? 1u << l : 0;
    });
    return m;
}

#define COMPARE(T)                                                                                 \
    LANES(mask, {                                                                                  \
        T a = (T)x[l], b = (T)y[l];                                                                \
        m |= (uint32_t)((in->mode & (a < b ? LESS : a == b ? EQUAL : GREATER)) != 0) << l;         \
    });                                                                                            \
    break

static uint32_t compare(const struct insn *in, uint8_t type, const uint64_t *x, const uint64_t *y,
                        uint32_t mask)
{
    uint32_t m = 0;
    switch (type) {
    case T_U16:
    case T_B16:
        COMPARE(uint16_t);
    case T_S16:
        COMPARE(int16_t);
    case T_U32:
    case T_B32:
        COMPARE(uint32_t);
    case T_S32:
        COMPARE(int32_t);
    case T_U64:
    case T_B64:
        COMPARE(uint64_t);
    case T_S64:
        COMPARE(int64_t);
    default:
        return compare_float(in, type, x, y, 0, mask);
    }
    return m;
}

static uint32_t combine(const struct insn *in, uint32_t m, uint32_t p)
{
    return in->bool_op == M_AND ? m & p : in->bool_op == M_OR ? m | p : in->bool_op ? m ^ p : m;
}

static void op_setp(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);
    uint32_t p = in->nsrc > 2 ? row_mask(src_row(w, in, 2), mask) : 0;
    uint32_t m = compare(in, in->type, x, y, mask), m2 = ~m;
    if (type_pair(in->type)) /* p|q are the halves' results */
        m2 = compare_float(in, in->type, x, y, 16, mask);
    uint32_t r = combine(in, m, p), r2 = combine(in, m2, p);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = r >> l & 1; });
    if (in->ndst > 1) {
        d = dst_row(w, in, 1);
        LANES(mask, { d[l] = r2 >> l & 1; });
    }
}

static bool comparison(struct build *b, uint8_t type)
{
    struct insn *in = b->in;
    in->bool_op = has(b, M_AND) ? M_AND : has(b, M_OR) ? M_OR : has(b, M_XOR) ? M_XOR : 0;
    return type_size(type) >= 2 && accepts(b, &in->mode) && in->nsrc == (in->bool_op ? 3 : 2);
}

op_fn select_setp(struct build *b)
{
    return b->ntypes == 1 && comparison(b, b->in->type) ? op_setp : NULL;
}

static void op_set(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint32_t p = in->nsrc > 2 ? row_mask(src_row(w, in, 2), mask) : 0;
    uint32_t m = compare(in, in->type2, src_row(w, in, 0), src_row(w, in, 1), mask);
    uint32_t r = combine(in, m, p);
    uint64_t yes = in->type == T_F32    ? f32_bits(1.0f)
                   : in->type == T_F16  ? 0x3c00
                   : in->type == T_BF16 ? 0x3f80
                                        : type_mask(in->type);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = r >> l & 1 ? yes : 0; });
}

/* Each half for itself: 1.0 of the type, or all bits. */
static void op_set_pair(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);
    uint32_t p = in->nsrc > 2 ? row_mask(src_row(w, in, 2), mask) : 0;
    uint32_t low = combine(in, compare_float(in, in->type2, x, y, 0, mask), p);
    uint32_t high = combine(in, compare_float(in, in->type2, x, y, 16, mask), p);
    uint64_t yes = in->type == T_F16X2 ? 0x3c00 : in->type == T_BF16X2 ? 0x3f80 : 0xffff;
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = (low >> l & 1 ? yes : 0) | (high >> l & 1 ? yes << 16 : 0); });
}

op_fn select_set(struct build *b)
{
    uint8_t to = b->in->type, from = b->in->type2;
    bool half = from == T_F16 || from == T_BF16;
    bool integer = to == T_U32 || to == T_S32 || to == T_B32 ||
                   ((to == T_U16 || to == T_S16 || to == T_B16) && half);
    if (b->ntypes != 2)
        return NULL;
    if (type_pair(from))
        return (integer || to == from) && comparison(b, from) ? op_set_pair : NULL;
    bool known = integer || to == T_F32 || to == T_F16 || (to == T_BF16 && from == T_BF16);
    return known && comparison(b, from) ? op_set : NULL;
}
