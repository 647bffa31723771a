/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Integer arithmetic. All of it is done in unsigned types, where overflow is
 * defined and is PTX's; a signed type appears where the sign matters. Sources
 * are read through a cast to the instruction's type, whatever a row holds above.
 */
#include "lanes.h"
#include "ops.h"

/* One operation in six types, and its table. EXPR sees a, b, c of type S. */
#define SIX(KIND, op, expr)                                                                        \
    KIND(op##_u16, uint16_t, uint16_t, expr)                                                       \
    KIND(op##_s16, int16_t, uint16_t, expr)                                                        \
    KIND(op##_u32, uint32_t, uint32_t, expr)                                                       \
    KIND(op##_s32, int32_t, uint32_t, expr)                                                        \
    KIND(op##_u64, uint64_t, uint64_t, expr)                                                       \
    KIND(op##_s64, int64_t, uint64_t, expr)

#define SIX_TABLE(op)                                                                              \
    {                                                                                              \
        [T_U16] = op##_u16, [T_S16] = op##_s16, [T_U32] = op##_u32, [T_S32] = op##_s32,            \
        [T_U64] = op##_u64, [T_S64] = op##_s64                                                     \
    }

static op_fn arity(struct build *b, unsigned nsrc, op_fn fn)
{
    return b->in->nsrc == nsrc ? fn : NULL;
}

/* ---- add, sub, mul, mad: the sign does not matter for the low half ---- */

SIX(BINARY, add, (uint64_t)a + (uint64_t)b)
SIX(BINARY, sub, (uint64_t)a - (uint64_t)b)
SIX(BINARY, mul_lo, (uint64_t)a *(uint64_t)b)
SIX(TERNARY, mad_lo, (uint64_t)a *(uint64_t)b + (uint64_t)c)

BINARY(mul_hi_u16, uint16_t, uint16_t, ((uint32_t)a * b) >> 16)
BINARY(mul_hi_s16, int16_t, uint16_t, ((int32_t)a * b) >> 16)
BINARY(mul_hi_u32, uint32_t, uint32_t, ((uint64_t)a * b) >> 32)
BINARY(mul_hi_s32, int32_t, uint32_t, ((int64_t)a * b) >> 32)
BINARY(mul_hi_u64, uint64_t, uint64_t, ((unsigned __int128)a * b) >> 64)
BINARY(mul_hi_s64, int64_t, uint64_t, ((__int128)a * b) >> 64)
TERNARY(mad_hi_u16, uint16_t, uint16_t, (((uint32_t)a * b) >> 16) + c)
TERNARY(mad_hi_s16, int16_t, uint16_t, (((int32_t)a * b) >> 16) + c)
TERNARY(mad_hi_u32, uint32_t, uint32_t, (((uint64_t)a * b) >> 32) + c)
TERNARY(mad_hi_s32, int32_t, uint32_t, (((int64_t)a * b) >> 32) + c)
TERNARY(mad_hi_u64, uint64_t, uint64_t, (uint64_t)(((unsigned __int128)a * b) >> 64) + c)
TERNARY(mad_hi_s64, int64_t, uint64_t, (uint64_t)(((__int128)a * b) >> 64) + (uint64_t)c)

BINARY(mul_wide_u16, uint16_t, uint32_t, (uint32_t)a *b)
BINARY(mul_wide_s16, int16_t, uint32_t, (int32_t)a *b)
BINARY(mul_wide_u32, uint32_t, uint64_t, (uint64_t)a *b)
BINARY(mul_wide_s32, int32_t, uint64_t, (int64_t)a *b)

/* c is of the wide type: read again from its row. */
#define MAD_WIDE(name, S, W, U)                                                                    \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2);     \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, { d[l] = (U)((U)((W)(S)x[l] * (S)y[l]) + (U)z[l]); });                         \
    }
MAD_WIDE(mad_wide_u16, uint16_t, uint32_t, uint32_t)
MAD_WIDE(mad_wide_s16, int16_t, int32_t, uint32_t)
MAD_WIDE(mad_wide_u32, uint32_t, uint64_t, uint64_t)
MAD_WIDE(mad_wide_s32, int32_t, int64_t, uint64_t)

static int32_t saturate_s32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}
BINARY(add_sat_s32, int32_t, uint32_t, saturate_s32((int64_t)a + b))
BINARY(sub_sat_s32, int32_t, uint32_t, saturate_s32((int64_t)a - b))
TERNARY(mad_hi_sat_s32, int32_t, uint32_t, saturate_s32((((int64_t)a * b) >> 32) + c))

static const op_fn add_ops[T_COUNT] = SIX_TABLE(add), sub_ops[T_COUNT] = SIX_TABLE(sub),
                   mul_lo_ops[T_COUNT] = SIX_TABLE(mul_lo), mul_hi_ops[T_COUNT] = SIX_TABLE(mul_hi),
                   mad_lo_ops[T_COUNT] = SIX_TABLE(mad_lo), mad_hi_ops[T_COUNT] = SIX_TABLE(mad_hi);
static const op_fn mul_wide_ops[T_COUNT] = {
    [T_U16] = mul_wide_u16, [T_S16] = mul_wide_s16, [T_U32] = mul_wide_u32, [T_S32] = mul_wide_s32};
static const op_fn mad_wide_ops[T_COUNT] = {
    [T_U16] = mad_wide_u16, [T_S16] = mad_wide_s16, [T_U32] = mad_wide_u32, [T_S32] = mad_wide_s32};

/* ---- with carry: %CC.CF is a row of the warp, one bit per lane ---- */

enum { CARRY_OUT = 1, CARRY_IN = 2 };

#define CARRY(name, S, U, BITS, sum)                                                               \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);                             \
        const uint64_t *z = in->nsrc > 2 ? src_row(w, in, 2) : x;                                  \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            S a = (S)x[l], b = (S)y[l], c = (S)z[l];                                               \
            unsigned __int128 cf = in->mode & CARRY_IN ? w->carry >> l & 1 : 0, v = (sum);         \
            (void)c;                                                                               \
            d[l] = (U)v;                                                                           \
            if (in->mode & CARRY_OUT)                                                              \
                w->carry = (w->carry & ~(1u << l)) | (uint32_t)(v >> (BITS)&1) << l;               \
        });                                                                                        \
    }
typedef unsigned __int128 u128;
CARRY(addc_32, uint32_t, uint32_t, 32, (u128)a + b + cf)
CARRY(addc_64, uint64_t, uint64_t, 64, (u128)a + b + cf)
CARRY(subc_32, uint32_t, uint32_t, 32, (u128)a - b - cf)
CARRY(subc_64, uint64_t, uint64_t, 64, (u128)a - b - cf)
CARRY(madc_lo_32, uint32_t, uint32_t, 32, (u128)(uint32_t)(a *b) + c + cf)
CARRY(madc_lo_64, uint64_t, uint64_t, 64, (u128)(uint64_t)(a *b) + c + cf)
CARRY(madc_hi_u32, uint32_t, uint32_t, 32, (u128)(uint32_t)((uint64_t)a *b >> 32) + c + cf)
CARRY(madc_hi_u64, uint64_t, uint64_t, 64, (u128)(uint64_t)((u128)a *b >> 64) + c + cf)
CARRY(madc_hi_s32, int32_t, uint32_t, 32, (u128)(uint32_t)((int64_t)a *b >> 32) + (uint32_t)c + cf)
CARRY(madc_hi_s64, int64_t, uint64_t, 64, (u128)(uint64_t)((__int128)a *b >> 64) + (uint64_t)c + cf)

static op_fn carry(struct build *b, bool in_too, unsigned nsrc, op_fn f32, op_fn f64)
{
    b->in->mode = (uint8_t)((has(b, M_CC) ? CARRY_OUT : 0) | (in_too ? CARRY_IN : 0));
    if (type_float(b->in->type) || b->in->nsrc != nsrc)
        return NULL;
    return type_size(b->in->type) == 4 ? f32 : type_size(b->in->type) == 8 ? f64 : NULL;
}

op_fn select_addc(struct build *b)
{
    return carry(b, true, 2, addc_32, addc_64);
}

op_fn select_subc(struct build *b)
{
    return carry(b, true, 2, subc_32, subc_64);
}

static op_fn carry_mad(struct build *b, bool in_too)
{
    if (has(b, M_LO))
        return carry(b, in_too, 3, madc_lo_32, madc_lo_64);
    if (type_signed(b->in->type))
        return carry(b, in_too, 3, madc_hi_s32, madc_hi_s64);
    return carry(b, in_too, 3, madc_hi_u32, madc_hi_u64);
}

op_fn select_madc(struct build *b)
{
    return carry_mad(b, true);
}

/* ---- choosing ---- */

static bool is_float(const struct build *b)
{
    return type_float(b->in->type) || type_pair(b->in->type);
}

op_fn select_add(struct build *b)
{
    if (is_float(b))
        return float_add(b);
    if (has(b, M_CC))
        return carry(b, false, 2, addc_32, addc_64);
    if (b->in->sat)
        return b->in->type == T_S32 ? arity(b, 2, add_sat_s32) : NULL;
    return arity(b, 2, add_ops[b->in->type]);
}

op_fn select_sub(struct build *b)
{
    if (is_float(b))
        return float_sub(b);
    if (has(b, M_CC))
        return carry(b, false, 2, subc_32, subc_64);
    if (b->in->sat)
        return b->in->type == T_S32 ? arity(b, 2, sub_sat_s32) : NULL;
    return arity(b, 2, sub_ops[b->in->type]);
}

op_fn select_mul(struct build *b)
{
    if (is_float(b))
        return float_mul(b);
    const op_fn *t = has(b, M_WIDE) ? mul_wide_ops : has(b, M_HI) ? mul_hi_ops : mul_lo_ops;
    return arity(b, 2, t[b->in->type]);
}

op_fn select_mad(struct build *b)
{
    if (is_float(b))
        return select_fma(b);
    if (has(b, M_CC))
        return carry_mad(b, false);
    if (b->in->sat)
        return b->in->type == T_S32 && has(b, M_HI) ? arity(b, 3, mad_hi_sat_s32) : NULL;
    const op_fn *t = has(b, M_WIDE) ? mad_wide_ops : has(b, M_HI) ? mad_hi_ops : mad_lo_ops;
    return arity(b, 3, t[b->in->type]);
}

/* ---- div, rem: by zero all bits are set (what GPUs answer) ---- */

#define DIVIDE(T, U)                                                                               \
    BINARY(div_##T, U, U, b == 0 ? (U) ~(U)0 : (U)(a / b))                                         \
    BINARY(rem_##T, U, U, b == 0 ? a : (U)(a % b))
/* The lowest number by -1 is itself: not what C's '/' may be asked. */
#define DIVIDE_SIGNED(T, S, U)                                                                     \
    BINARY(div_##T, S, U, b == 0 ? (U) ~(U)0 : b == -1 ? (U)(0 - (U)a) : (U)(a / b))               \
    BINARY(rem_##T, S, U, b == 0 ? (U)a : b == -1 ? (U)0 : (U)(a % b))
DIVIDE(u16, uint16_t)
DIVIDE_SIGNED(s16, int16_t, uint16_t)
DIVIDE(u32, uint32_t)
DIVIDE_SIGNED(s32, int32_t, uint32_t)
DIVIDE(u64, uint64_t)
DIVIDE_SIGNED(s64, int64_t, uint64_t)
static const op_fn div_ops[T_COUNT] = SIX_TABLE(div);
const op_fn rem_ops[T_COUNT] = SIX_TABLE(rem);

op_fn select_div(struct build *b)
{
    return is_float(b) ? float_div(b) : arity(b, 2, div_ops[b->in->type]);
}

/* ---- min, max, abs, neg, sad ---- */

SIX(BINARY, min, a < b ? a : b)
SIX(BINARY, max, a > b ? a : b)
UNARY(abs_s16, int16_t, uint16_t, a < 0 ? 0 - (uint64_t)a : (uint64_t)a)
UNARY(abs_s32, int32_t, uint32_t, a < 0 ? 0 - (uint64_t)a : (uint64_t)a)
UNARY(abs_s64, int64_t, uint64_t, a < 0 ? 0 - (uint64_t)a : (uint64_t)a)
UNARY(neg_s16, int16_t, uint16_t, 0 - (uint64_t)a)
UNARY(neg_s32, int32_t, uint32_t, 0 - (uint64_t)a)
UNARY(neg_s64, int64_t, uint64_t, 0 - (uint64_t)a)
SIX(TERNARY, sad, (uint64_t)c + (a < b ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b))

static const op_fn min_ops[T_COUNT] = SIX_TABLE(min), max_ops[T_COUNT] = SIX_TABLE(max);
static const op_fn abs_ops[T_COUNT] = {[T_S16] = abs_s16, [T_S32] = abs_s32, [T_S64] = abs_s64};
static const op_fn neg_ops[T_COUNT] = {[T_S16] = neg_s16, [T_S32] = neg_s32, [T_S64] = neg_s64};
const op_fn sad_ops[T_COUNT] = SIX_TABLE(sad);

op_fn select_min(struct build *b)
{
    return is_float(b) ? float_min(b) : arity(b, 2, min_ops[b->in->type]);
}

op_fn select_max(struct build *b)
{
    return is_float(b) ? float_max(b) : arity(b, 2, max_ops[b->in->type]);
}

op_fn select_abs(struct build *b)
{
    return is_float(b) ? float_abs(b) : arity(b, 1, abs_ops[b->in->type]);
}

op_fn select_neg(struct build *b)
{
    return is_float(b) ? float_neg(b) : arity(b, 1, neg_ops[b->in->type]);
}
