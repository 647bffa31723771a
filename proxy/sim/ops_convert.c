/* SPDX-License-Identifier: Apache-2.0 */
/* cvt: every type to every other, with PTX's roundings, limits and saturation. */
#include <math.h>

#include "access.h"
#include "fp.h"
#include "ops.h"

static enum fp_round rounding(const struct build *b)
{
    if (has(b, M_ROUND_RZ) || has(b, M_RZI))
        return FP_RZ;
    if (has(b, M_ROUND_RM) || has(b, M_RMI))
        return FP_RM;
    if (has(b, M_ROUND_RP) || has(b, M_RPI))
        return FP_RP;
    return FP_RN;
}

static double to_integral(double d, enum fp_round how)
{
    switch (how) {
    case FP_RZ:
        return trunc(d);
    case FP_RM:
        return floor(d);
    case FP_RP:
        return ceil(d);
    default:
        return nearbyint(d);
    }
}

/* Numbers beyond the type's ends become the ends; a NaN becomes 0 (64 bits: the sign bit). */
static uint64_t float_to_int(double d, uint8_t type)
{
    unsigned bits = 8 * type_size(type);
    if (d != d)
        return bits == 64 ? 1ull << 63 : 0;
    if (type_signed(type)) {
        double top = ldexp(1.0, (int)bits - 1);
        int64_t v = d >= top    ? (int64_t)(type_mask(type) >> 1)
                    : d <= -top ? -(int64_t)(type_mask(type) >> 1) - 1
                                : (int64_t)d;
        return (uint64_t)v;
    }
    double top = ldexp(1.0, (int)bits);
    return d <= 0 ? 0 : d >= top ? type_mask(type) : (uint64_t)d;
}

/* An integer of 64 bits as a float of 24 or double of 53, rounded once. */
static double int_to_float(uint64_t v, bool is_signed, unsigned digits, enum fp_round how)
{
    bool negative = is_signed && v >> 63;
    uint64_t m = negative ? 0 - v : v;
    if (!m)
        return 0;
    unsigned bits = 64 - (unsigned)__builtin_clzll(m);
    unsigned drop = bits > digits ? bits - digits : 0;
    double d = ldexp((double)fp_round_bits(m, drop, negative, how), (int)drop);
    return negative ? -d : d;
}

/* A double to the nearest float in the direction HOW. */
static float narrow(double d, enum fp_round how)
{
    float f = (float)d;
    if (how == FP_RN || d != d || (double)f == d || isinf(d))
        return f;
    bool up = (double)f > d;
    if (how == FP_RZ ? (d > 0 ? up : !up) : how == FP_RM ? up : !up)
        f = nextafterf(f, up ? -INFINITY : INFINITY);
    return f;
}

static double read_float(const struct insn *in, uint8_t type, uint64_t v)
{
    switch (type) {
    case T_F64:
        return f64_value(v);
    case T_F32: {
        float f = f32_value(v);
        return (double)(in->ftz ? f32_flush(f) : f);
    }
    case T_F16:
        return (double)f16_value((uint16_t)v);
    default:
        return (double)bf16_value((uint16_t)v);
    }
}

static uint64_t write_float(const struct insn *in, uint8_t type, double d)
{
    enum fp_round how = (enum fp_round)in->round;
    if (in->sat)
        d = d > 0 ? (d < 1 ? d : 1) : 0;
    switch (type) {
    case T_F64:
        return f64_bits(d);
    case T_F32: {
        float f = narrow(d, how);
        if (in->ftz)
            f = f32_flush(f);
        return f != f ? 0x7fffffffu : f32_bits(f);
    }
    case T_F16:
        return fp_small(d, 5, 10, how);
    default:
        return fp_small(d, 8, 7, how);
    }
}

static uint64_t int_value(uint8_t type, uint64_t v)
{
    unsigned size = type_size(type);
    if (type_signed(type))
        return sim_extend(v, size, 8);
    return size < 8 ? v & ((1ull << (8 * size)) - 1) : v;
}

/* cvt.sat between integers: to the ends of the destination type. */
static uint64_t saturate(uint64_t v, bool from_signed, uint8_t to)
{
    bool negative = from_signed && v >> 63;
    if (type_signed(to)) {
        uint64_t max = type_mask(to) >> 1;
        if (negative)
            return (int64_t)v < -(int64_t)max - 1 ? ~max : v;
        return v > max ? max : v;
    }
    uint64_t max = type_mask(to);
    return negative ? 0 : v > max ? max : v;
}

static uint64_t convert(const struct insn *in, uint64_t v)
{
    uint8_t to = in->type, from = in->type2;
    if (type_float(from)) {
        double d = read_float(in, from, v);
        if (!type_float(to)) {
            uint64_t r = float_to_int(to_integral(d, (enum fp_round)in->round), to);
            return r;
        }
        if (in->mode) /* to an integer in the same type */
            d = to_integral(d, (enum fp_round)in->round);
        return write_float(in, to, d);
    }
    v = int_value(from, v);
    if (!type_float(to))
        return in->sat ? saturate(v, type_signed(from), to) : v;
    unsigned digits = to == T_F64 ? 53 : to == T_F32 ? 24 : 53;
    double d = int_to_float(v, type_signed(from), digits, (enum fp_round)in->round);
    return write_float(in, to, d);
}

static void op_cvt(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *s = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    unsigned size = type_size(in->type);
    /* A signed result fills a wider register with its sign. */
    unsigned fill = type_signed(in->type) && !in->dst[0].narrow ? 8 : size < 4 ? 4 : size;
    LANES(mask, {
        uint64_t v = convert(in, s[l]);
        if (type_signed(in->type) && fill > size)
            v = sim_extend(v, size, fill);
        else if (size < 8)
            v &= (1ull << (8 * size)) - 1;
        d[l] = v;
    });
}

/* cvt.pack.sat: a and b in the fewest bits, a above b, and above both what fits of c. */
static void op_pack(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0), *b = src_row(w, in, 1);
    const uint64_t *c = in->nsrc > 2 ? src_row(w, in, 2) : NULL;
    uint64_t *d = dst_row(w, in, 0);
    unsigned bits = in->mode;
    bool is_signed = type_signed(in->type) || in->type == T_S4;
    int64_t top = (1ll << (is_signed ? bits - 1 : bits)) - 1, bottom = is_signed ? -top - 1 : 0;
    LANES(mask, {
        int64_t high = (int64_t)int_value(in->type2, a[l]);
        int64_t low = (int64_t)int_value(in->type2, b[l]);
        high = high > top ? top : high < bottom ? bottom : high;
        low = low > top ? top : low < bottom ? bottom : low;
        uint64_t one = (1ull << bits) - 1;
        uint64_t v = ((uint64_t)high & one) << bits | ((uint64_t)low & one);
        d[l] = (uint32_t)(v | (c ? c[l] << (2 * bits) : 0));
    });
}

static op_fn select_pack(struct build *b)
{
    struct insn *in = b->in;
    bool half = in->type == T_U16 || in->type == T_S16;
    bool byte = in->type == T_U8 || in->type == T_S8, nibble = in->type == T_U4 || in->type == T_S4;
    if (!in->sat || in->ndst != 1 || (in->type2 != T_S32 && in->type2 != T_U32) ||
        (!half && !byte && !nibble) || b->ntypes != (half ? 2 : 3) || in->nsrc != b->ntypes)
        return NULL;
    in->mode = half ? 16 : byte ? 8 : 4;
    return b->ntypes == 2 || b->types[2] == T_B32 ? op_pack : NULL;
}

op_fn select_cvt(struct build *b)
{
    if (has(b, M_PACK))
        return select_pack(b);
    struct insn *in = b->in;
    if (in->type > T_F64 || in->type2 > T_F64 || type_pair(in->type) || type_pair(in->type2) ||
        in->relu || has(b, M_SATFINITE))
        return select_format(b);
    in->round = rounding(b);
    in->mode = has(b, M_RNI) || has(b, M_RZI) || has(b, M_RMI) || has(b, M_RPI);
    if (in->ndst != 1 || b->ntypes != 2)
        return NULL;
    if (in->nsrc != 1 || in->type <= T_PRED || in->type2 <= T_PRED)
        return NULL;
    return op_cvt;
}
