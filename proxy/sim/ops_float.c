/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point arithmetic (PTX ISA, "Floating-Point Instructions"). Directed
 * roundings are the processor's own: this file is built with -frounding-math.
 * Where PTX asks for an approximation the exact function is well within it.
 */
#include <fenv.h>
#include <math.h>

#include "fp.h"
#include "ops.h"
#include "warp.h"

#define NAN_F32 0x7fffffffu /* the one GPUs make */

static inline float read_f32(const struct insn *in, uint64_t bits)
{
    float f = f32_value(bits);
    return in->ftz ? f32_flush(f) : f;
}

static inline uint64_t write_f32(const struct insn *in, float f)
{
    if (in->ftz)
        f = f32_flush(f);
    if (in->sat)
        f = f > 0.0f ? (f < 1.0f ? f : 1.0f) : 0.0f; /* a NaN becomes 0 */
    return f != f ? NAN_F32 : f32_bits(f);
}

static inline double write_limits(const struct insn *in, double d)
{
    if (in->relu)
        return d < 0 ? 0 : d;
    return in->sat ? (d > 0 ? (d < 1 ? d : 1) : 0) : d;
}

/* .ftz of the half types is f16's alone. */
static inline uint16_t flush_f16(uint16_t h)
{
    return h & 0x7c00 ? h : h & 0x8000;
}

/* A sum of doubles on its way to a half: what was cut off leaves its trace in
 * the lowest bit ("round to odd"), so that rounding again can't go wrong. */
static double sum_to_odd(double p, double c)
{
    double s = p + c;
    double t = s - p;
    double lost = (p - (s - t)) + (c - t);
    uint64_t b = f64_bits(s);
    if (lost == 0 || lost != lost || (b & 1))
        return s;
    return f64_value((lost > 0) == (s > 0) ? b + 1 : b - 1);
}

/* EXPR sees a, b, c as the type's arithmetic type. */
#define F32_OP(name, n, expr)                                                                      \
    static void name##_f32(struct warp *w, const struct insn *in, uint32_t mask)                   \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = n > 1 ? src_row(w, in, 1) : x,                 \
                       *z = n > 2 ? src_row(w, in, 2) : x;                                         \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            float a = read_f32(in, x[l]), b = read_f32(in, y[l]), c = read_f32(in, z[l]);          \
            (void)b;                                                                               \
            (void)c;                                                                               \
            d[l] = write_f32(in, expr);                                                            \
        });                                                                                        \
    }
#define F64_OP(name, n, expr)                                                                      \
    static void name##_f64(struct warp *w, const struct insn *in, uint32_t mask)                   \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = n > 1 ? src_row(w, in, 1) : x,                 \
                       *z = n > 2 ? src_row(w, in, 2) : x;                                         \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            double a = f64_value(x[l]), b = f64_value(y[l]), c = f64_value(z[l]);                  \
            (void)b;                                                                               \
            (void)c;                                                                               \
            d[l] = f64_bits(expr);                                                                 \
        });                                                                                        \
    }
/* VALUE and BITS: of the half type; both halves of a pair. */
#define HALF_OP(name, suffix, value, bits, pair, n, expr)                                          \
    static void name##_##suffix(struct warp *w, const struct insn *in, uint32_t mask)              \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = n > 1 ? src_row(w, in, 1) : x,                 \
                       *z = n > 2 ? src_row(w, in, 2) : x;                                         \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            uint64_t v = 0;                                                                        \
            for (unsigned half = 0; half < ((pair) ? 32 : 16); half += 16) {                       \
                double a = (double)value(in, (uint16_t)(x[l] >> half));                            \
                double b = n > 1 ? (double)value(in, (uint16_t)(y[l] >> half)) : 0;                \
                double c = n > 2 ? (double)value(in, (uint16_t)(z[l] >> half)) : 0;                \
                (void)b;                                                                           \
                (void)c;                                                                           \
                v |= (uint64_t)bits(in, write_limits(in, expr)) << half;                           \
            }                                                                                      \
            d[l] = v;                                                                              \
        });                                                                                        \
    }

static inline float read_f16(const struct insn *in, uint16_t h)
{
    return f16_value(in->ftz ? flush_f16(h) : h);
}

static inline uint16_t write_f16(const struct insn *in, double d)
{
    uint16_t h = f16_nearest(d);
    return in->ftz ? flush_f16(h) : h;
}

static inline float read_bf16(const struct insn *in, uint16_t h)
{
    return bf16_value(h);
}

static inline uint16_t write_bf16(const struct insn *in, double d)
{
    return fp_small(d, 8, 7, FP_RN);
}

#define HALVES(name, n, expr)                                                                      \
    HALF_OP(name, f16, read_f16, write_f16, false, n, expr)                                        \
    HALF_OP(name, f16x2, read_f16, write_f16, true, n, expr)                                       \
    HALF_OP(name, bf16, read_bf16, write_bf16, false, n, expr)                                     \
    HALF_OP(name, bf16x2, read_bf16, write_bf16, true, n, expr)
#define FLOATS(name, n, f32_expr, f64_expr, half_expr)                                             \
    F32_OP(name, n, f32_expr)                                                                      \
    F64_OP(name, n, f64_expr)                                                                      \
    HALVES(name, n, half_expr)                                                                     \
    static const op_fn name##_ops[T_COUNT] = {                                                     \
        [T_F32] = name##_f32,     [T_F64] = name##_f64,   [T_F16] = name##_f16,                    \
        [T_F16X2] = name##_f16x2, [T_BF16] = name##_bf16, [T_BF16X2] = name##_bf16x2};

/* min and max. */
enum { NAN_WINS = 1, XORSIGN_ABS = 2 };

/* PTX: a NaN gives way to a number, -0 is less than +0; with .NaN it wins. */
static inline double choose_of(const struct insn *in, double a, double b, bool greater)
{
    bool sign = in->mode & XORSIGN_ABS && signbit(a) != signbit(b);
    if (in->mode & XORSIGN_ABS) {
        a = fabs(a);
        b = fabs(b);
    }
    double d;
    if (a != a || b != b)
        d = in->mode & NAN_WINS || (a != a && b != b) ? (double)NAN : a != a ? b : a;
    else if (greater)
        d = a > b || (a == b && !signbit(a)) ? a : b;
    else
        d = a < b || (a == b && signbit(a)) ? a : b;
    return sign ? -d : d;
}

static inline double lesser(const struct insn *in, double a, double b)
{
    return choose_of(in, a, b, false);
}

static inline double greater(const struct insn *in, double a, double b)
{
    return choose_of(in, a, b, true);
}

FLOATS(add, 2, a + b, a + b, a + b)
FLOATS(sub, 2, a - b, a - b, a - b)
FLOATS(mul, 2, a *b, a *b, a *b)
FLOATS(fma, 3, fmaf(a, b, c), fma(a, b, c), sum_to_odd(a *b, c))
FLOATS(min, 2, (float)lesser(in, (double)a, (double)b), lesser(in, a, b), lesser(in, a, b))
FLOATS(max, 2, (float)greater(in, (double)a, (double)b), greater(in, a, b), greater(in, a, b))
FLOATS(abs, 1, fabsf(a), fabs(a), fabs(a))
FLOATS(neg, 1, -a, -a, -a)
FLOATS(ex2, 1, exp2f(a), exp2(a), exp2(a))
FLOATS(tanh, 1, tanhf(a), tanh(a), tanh(a))
F32_OP(div, 2, a / b)
F64_OP(div, 2, a / b)
F32_OP(rcp, 1, 1.0f / a)
F64_OP(rcp, 1, 1.0 / a)
F32_OP(sqrt, 1, sqrtf(a))
F64_OP(sqrt, 1, sqrt(a))
F32_OP(rsqrt, 1, (float)(1.0 / sqrt((double)a)))
F64_OP(rsqrt, 1, 1.0 / sqrt(a))
F32_OP(sin, 1, sinf(a))
F32_OP(cos, 1, cosf(a))
F32_OP(lg2, 1, log2f(a))

/* ---- choosing ---- */

static void rounded(struct warp *w, const struct insn *in, uint32_t mask)
{
    fesetround(in->round == FP_RZ ? FE_TOWARDZERO : in->round == FP_RM ? FE_DOWNWARD : FE_UPWARD);
    in->inner(w, in, mask);
    fesetround(FE_TONEAREST);
}

static op_fn choose(struct build *b, unsigned nsrc, op_fn fn)
{
    struct insn *in = b->in;
    bool half = type_pair(in->type) || in->type == T_F16 || in->type == T_BF16;
    if (!fn || in->nsrc != nsrc || in->ndst != 1 || b->ntypes != 1 || (in->relu && !half))
        return NULL;
    in->round = has(b, M_ROUND_RZ)   ? FP_RZ
                : has(b, M_ROUND_RM) ? FP_RM
                : has(b, M_ROUND_RP) ? FP_RP
                                     : FP_RN;
    if (in->round == FP_RN)
        return fn;
    if (in->type != T_F32 && in->type != T_F64)
        return NULL;
    in->inner = fn;
    return rounded;
}

op_fn float_add(struct build *b)
{
    return choose(b, 2, add_ops[b->in->type]);
}

op_fn float_sub(struct build *b)
{
    return choose(b, 2, sub_ops[b->in->type]);
}

op_fn float_mul(struct build *b)
{
    return choose(b, 2, mul_ops[b->in->type]);
}

op_fn select_fma(struct build *b)
{
    return choose(b, 3, fma_ops[b->in->type]);
}

static op_fn choose_min_max(struct build *b, const op_fn *ops)
{
    b->in->mode =
        (uint8_t)((has(b, M_NAN_CAP) ? NAN_WINS : 0) | (has(b, M_XORSIGN) ? XORSIGN_ABS : 0));
    if (has(b, M_XORSIGN) != has(b, M_ABS))
        return NULL;
    return choose(b, 2, ops[b->in->type]);
}

op_fn float_min(struct build *b)
{
    return choose_min_max(b, min_ops);
}

op_fn float_max(struct build *b)
{
    return choose_min_max(b, max_ops);
}

op_fn float_abs(struct build *b)
{
    return choose(b, 1, abs_ops[b->in->type]);
}

op_fn float_neg(struct build *b)
{
    return choose(b, 1, neg_ops[b->in->type]);
}

op_fn float_div(struct build *b)
{
    return choose(b, 2, b->in->type == T_F32 ? div_f32 : b->in->type == T_F64 ? div_f64 : NULL);
}

op_fn select_math(struct build *b)
{
    static const struct {
        const char *name;
        op_fn f32, f64;
    } math[] = {{"rcp", rcp_f32, rcp_f64},       {"sqrt", sqrt_f32, sqrt_f64},
                {"rsqrt", rsqrt_f32, rsqrt_f64}, {"sin", sin_f32, NULL},
                {"cos", cos_f32, NULL},          {"lg2", lg2_f32, NULL}};
    uint8_t type = b->in->type;
    if (!strcmp(b->op->name, "ex2"))
        return type == T_F64 ? NULL : choose(b, 1, ex2_ops[type]);
    if (!strcmp(b->op->name, "tanh"))
        return type == T_F64 ? NULL : choose(b, 1, tanh_ops[type]);
    for (size_t i = 0; i < sizeof(math) / sizeof(math[0]); i++)
        if (!strcmp(b->op->name, math[i].name))
            return choose(b, 1, type == T_F32 ? math[i].f32 : type == T_F64 ? math[i].f64 : NULL);
    return NULL;
}

/* ---- signs and kinds ---- */

static void op_copysign(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);
    uint64_t *d = dst_row(w, in, 0);
    uint64_t sign = in->type == T_F64 ? 1ull << 63 : 1u << 31;
    LANES(mask, { d[l] = (x[l] & sign) | (y[l] & (sign - 1)); });
}

op_fn select_copysign(struct build *b)
{
    bool known = b->in->type == T_F32 || b->in->type == T_F64;
    return known && b->in->nsrc == 2 ? op_copysign : NULL;
}

static void op_testp(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        int kind = in->type == T_F64 ? fpclassify(f64_value(x[l])) : fpclassify(f32_value(x[l]));
        switch (in->mode) {
        case M_FINITE:
            d[l] = kind != FP_INFINITE && kind != FP_NAN;
            break;
        case M_INFINITE:
            d[l] = kind == FP_INFINITE;
            break;
        case M_NUMBER:
            d[l] = kind != FP_NAN;
            break;
        case M_NOTANUMBER:
            d[l] = kind == FP_NAN;
            break;
        case M_NORMAL:
            d[l] = kind == FP_NORMAL;
            break;
        default:
            d[l] = kind == FP_SUBNORMAL;
        }
    });
}

op_fn select_testp(struct build *b)
{
    static const enum sim_modifier modes[] = {M_FINITE,     M_INFINITE, M_NUMBER,
                                              M_NOTANUMBER, M_NORMAL,   M_SUBNORMAL};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (has(b, modes[i])) {
            b->in->mode = (uint8_t)modes[i];
            bool known = b->in->type == T_F32 || b->in->type == T_F64;
            return known && b->in->nsrc == 1 ? op_testp : NULL;
        }
    }
    return NULL;
}
