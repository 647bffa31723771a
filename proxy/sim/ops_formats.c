/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cvt between floats and the small formats, most of them in pairs (PTX ISA,
 * "Data Movement and Conversion Instructions: cvt"): the first of two sources,
 * and the upper part of one, is the result's upper part.
 */
#include <math.h>

#include "fp.h"
#include "ops.h"
#include "warp.h"

/* A number's bits: sign, exponent, fraction. MAX: the largest number. */
struct format {
    uint8_t bits; /* between the two of a pair */
    uint8_t exponent, fraction;
    uint16_t max, nan;
    bool infinite; /* there is infinity, and .satfinite is a choice */
};

static const struct format *format_of(uint8_t type)
{
    static const struct format f16 = {16, 5, 10, 0x7bff, 0x7fff, true};
    static const struct format bf16 = {16, 8, 7, 0x7f7f, 0x7fff, true};
    static const struct format e4m3 = {8, 4, 3, 0x7e, 0x7f, false};
    static const struct format e5m2 = {8, 5, 2, 0x7b, 0x7f, false};
    static const struct format e2m3 = {8, 2, 3, 0x1f, 0x1f, false};
    static const struct format e3m2 = {8, 3, 2, 0x1f, 0x1f, false};
    static const struct format e2m1 = {4, 2, 1, 7, 7, false};
    static const struct format ue8m0 = {8, 8, 0, 0xfe, 0xff, true};
    static const struct format *const all[T_COUNT] = {
        [T_F16] = &f16,     [T_F16X2] = &f16,    [T_BF16] = &bf16,   [T_BF16X2] = &bf16,
        [T_E4M3X2] = &e4m3, [T_E5M2X2] = &e5m2,  [T_E2M3X2] = &e2m3, [T_E3M2X2] = &e3m2,
        [T_E2M1X2] = &e2m1, [T_UE8M0X2] = &ue8m0};
    return all[type];
}

/* ---- one number ---- */

/* A power of two: the exponent alone, one more if .rp and there is a rest. */
static uint64_t to_ue8m0(const struct insn *in, double d)
{
    uint32_t v = f32_bits((float)fabs(d));
    uint32_t exponent = v >> 23, rest = v & 0x7fffff;
    if (d != d)
        return 0xff;
    if (in->round == FP_RP && rest && v > 0x00400000)
        exponent++;
    return exponent == 0xff && in->sat ? 0xfe : exponent;
}

static uint64_t encode(const struct insn *in, uint8_t type, double d)
{
    const struct format *f = format_of(type);
    if (type == T_UE8M0X2)
        return to_ue8m0(in, d);
    if (in->relu && d < 0)
        d = 0;
    if (d != d)
        return f->nan;
    bool limit = in->sat || !f->infinite;
    uint64_t sign = signbit(d) ? 1ull << (f->exponent + f->fraction) : 0;
    if (!limit)
        return fp_small(d, f->exponent, f->fraction, (enum fp_round)in->round);
    uint64_t v =
        isinf(d) ? f->max : fp_magnitude(d, f->exponent, f->fraction, (enum fp_round)in->round);
    return sign | (v > f->max ? f->max : v);
}

static double decode(uint8_t type, uint64_t v)
{
    const struct format *f = format_of(type);
    unsigned fraction = f->fraction, sign = f->exponent + fraction;
    switch (type) {
    case T_F16X2:
        return (double)f16_value((uint16_t)v);
    case T_BF16X2:
        return (double)bf16_value((uint16_t)v);
    case T_E4M3X2:
        return (double)e4m3_value((uint8_t)v);
    case T_E5M2X2:
        return (double)e5m2_value((uint8_t)v);
    case T_UE8M0X2:
        return (v & 0xff) == 0xff ? (double)NAN : ldexp(1.0, (int)(v & 0xff) - 127);
    default: { /* numbers only */
        uint32_t rest = (uint32_t)v & ((1u << sign) - 1);
        double d = (double)f32_value(rest << (23 - fraction));
        d = ldexp(d, 127 - ((1 << (f->exponent - 1)) - 1));
        return v >> sign & 1 ? -d : d;
    }
    }
}

static double read_f32(const struct insn *in, uint64_t v)
{
    float f = f32_value(v);
    return (double)(in->ftz ? f32_flush(f) : f);
}

/* ---- instructions ---- */

/* cvt.rn.satfinite.e4m3x2.f32 d, a, b */
static void op_pair_of_floats(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0), *b = src_row(w, in, 1);
    uint64_t *d = dst_row(w, in, 0);
    unsigned bits = format_of(in->type)->bits;
    LANES(mask, {
        uint64_t high = encode(in, in->type, read_f32(in, a[l]));
        d[l] = high << bits | encode(in, in->type, read_f32(in, b[l]));
    });
}

/* cvt.rn.f16x2.e4m3x2 d, a */
static void op_pair_of_pair(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    unsigned to = format_of(in->type)->bits, from = format_of(in->type2)->bits;
    uint64_t one = (1ull << from) - 1;
    LANES(mask, {
        uint64_t high = encode(in, in->type, decode(in->type2, a[l] >> from & one));
        d[l] = high << to | encode(in, in->type, decode(in->type2, a[l] & one));
    });
}

static void op_half_of_float(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = encode(in, in->type, read_f32(in, a[l])); });
}

enum { TIES_AWAY = FP_RP + 1 };

/* tf32 is a float whose fraction has ten bits. */
static uint32_t to_tf32(const struct insn *in, uint32_t v)
{
    uint32_t sign = v & 0x80000000u, a = v & 0x7fffffffu;
    if (a > 0x7f800000)
        return 0x7fffffff;
    if (in->relu && sign)
        return a ? 0 : v;
    if (a < 0x7f800000)
        a += in->round == TIES_AWAY ? 0x1000 : in->round == FP_RN ? 0xfff + (a >> 13 & 1) : 0;
    a &= 0xffffe000u;
    return sign | (in->sat && a >= 0x7f800000 ? 0x7f7fe000 : a);
}

static void op_tf32(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *a = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = to_tf32(in, (uint32_t)a[l]); });
}

op_fn select_format(struct build *b)
{
    struct insn *in = b->in;
    uint8_t to = in->type, from = in->type2;
    bool half = to == T_F16 || to == T_BF16;
    if (in->sat)
        return NULL;
    in->sat = has(b, M_SATFINITE);
    in->round = has(b, M_ROUND_RNA)  ? TIES_AWAY
                : has(b, M_ROUND_RZ) ? FP_RZ
                : has(b, M_ROUND_RP) ? FP_RP
                                     : FP_RN;
    if (in->ndst != 1 || b->ntypes != 2 || has(b, M_ROUND_RM) ||
        (in->round == TIES_AWAY && to != T_TF32) || (in->round == FP_RP && to != T_UE8M0X2))
        return NULL;
    if (from == T_F32 && (to == T_TF32 || half))
        return in->nsrc != 1 ? NULL : half ? op_half_of_float : op_tf32;
    bool to_pair = format_of(to) && !half,
         from_pair = format_of(from) && from != T_F16 && from != T_BF16;
    if (from == T_F32 && to_pair)
        return in->nsrc == 2 ? op_pair_of_floats : NULL;
    /* Of two pairs one is of halves, the other one is smaller. */
    bool known = to_pair && from_pair && type_pair(to) != type_pair(from);
    return known && in->nsrc == 1 ? op_pair_of_pair : NULL;
}
