/* SPDX-License-Identifier: Apache-2.0 */
/* Logic, shifts, bit fields, moves, selections. */
#include "lanes.h"
#include "ops.h"

/* By width only: b, u and s types alike. */
#define WIDTHS(op)                                                                                 \
    {                                                                                              \
        [T_PRED] = op##_8, [T_B16] = op##_16, [T_U16] = op##_16, [T_S16] = op##_16,                \
        [T_F16] = op##_16, [T_BF16] = op##_16, [T_B32] = op##_32, [T_U32] = op##_32,               \
        [T_S32] = op##_32, [T_F32] = op##_32, [T_F16X2] = op##_32, [T_B64] = op##_64,              \
        [T_U64] = op##_64, [T_S64] = op##_64, [T_F64] = op##_64, [T_B8] = op##_8, [T_U8] = op##_8, \
        [T_S8] = op##_8                                                                            \
    }
#define FOUR(KIND, op, expr)                                                                       \
    KIND(op##_8, uint8_t, uint8_t, expr)                                                           \
    KIND(op##_16, uint16_t, uint16_t, expr)                                                        \
    KIND(op##_32, uint32_t, uint32_t, expr)                                                        \
    KIND(op##_64, uint64_t, uint64_t, expr)

FOUR(BINARY, and, a &b)
FOUR(BINARY, or, a | b)
FOUR(BINARY, xor, a ^ b)
FOUR(UNARY, cnot, a == 0)
const op_fn and_ops[T_COUNT] = WIDTHS(and), or_ops[T_COUNT] = WIDTHS(or),
            xor_ops[T_COUNT] = WIDTHS(xor), cnot_ops[T_COUNT] = WIDTHS(cnot);

UNARY(not_8, uint8_t, uint8_t, (~a) & 1) /* predicates */
UNARY(not_16, uint16_t, uint16_t, ~a)
UNARY(not_32, uint32_t, uint32_t, ~a)
UNARY(not_64, uint64_t, uint64_t, ~a)
const op_fn not_ops[T_COUNT] = WIDTHS(not );

/* ---- shifts: amounts are 32 bits wide and clamp ---- */

#define SHIFT(name, S, U, BITS, expr, over)                                                        \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);                             \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask, {                                                                              \
            S a = (S)x[l];                                                                         \
            uint32_t n = (uint32_t)y[l];                                                           \
            d[l] = n >= (BITS) ? (U)(over) : (U)(expr);                                            \
        });                                                                                        \
    }
SHIFT(shl_16, uint16_t, uint16_t, 16, a << n, 0)
SHIFT(shl_32, uint32_t, uint32_t, 32, a << n, 0)
SHIFT(shl_64, uint64_t, uint64_t, 64, a << n, 0)
SHIFT(shr_u16, uint16_t, uint16_t, 16, a >> n, 0)
SHIFT(shr_u32, uint32_t, uint32_t, 32, a >> n, 0)
SHIFT(shr_u64, uint64_t, uint64_t, 64, a >> n, 0)
SHIFT(shr_s16, int16_t, uint16_t, 16, a >> n, a >> 15)
SHIFT(shr_s32, int32_t, uint32_t, 32, a >> n, a < 0 ? -1 : 0)
SHIFT(shr_s64, int64_t, uint64_t, 64, a >> n, a < 0 ? -1 : 0)

const op_fn shl_ops[T_COUNT] = {
    [T_B16] = shl_16, [T_U16] = shl_16, [T_S16] = shl_16, [T_B32] = shl_32, [T_U32] = shl_32,
    [T_S32] = shl_32, [T_B64] = shl_64, [T_U64] = shl_64, [T_S64] = shl_64};
const op_fn shr_ops[T_COUNT] = {
    [T_B16] = shr_u16, [T_U16] = shr_u16, [T_S16] = shr_s16, [T_B32] = shr_u32, [T_U32] = shr_u32,
    [T_S32] = shr_s32, [T_B64] = shr_u64, [T_U64] = shr_u64, [T_S64] = shr_s64};

static uint32_t shift_amount(const struct insn *in, uint32_t n)
{
    return in->mode ? n & 31 : n > 32 ? 32 : n; /* .wrap : .clamp */
}
TERNARY(shf_l, uint32_t, uint32_t,
        (uint32_t)((((uint64_t)b << 32 | a) << shift_amount(in, c)) >> 32))
TERNARY(shf_r, uint32_t, uint32_t, (uint32_t)(((uint64_t)b << 32 | a) >> shift_amount(in, c)))

op_fn select_shf(struct build *b)
{
    b->in->mode = has(b, M_WRAP);
    if (b->in->nsrc != 3 || type_size(b->in->type) != 4)
        return NULL;
    return has(b, M_LEFT) ? shf_l : has(b, M_RIGHT) ? shf_r : NULL;
}

/* ---- counting and fields ---- */

UNARY(popc_32, uint32_t, uint32_t, __builtin_popcount(a))
UNARY(popc_64, uint64_t, uint32_t, __builtin_popcountll(a))
UNARY(clz_32, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
UNARY(clz_64, uint64_t, uint32_t, a ? __builtin_clzll(a) : 64)
const op_fn popc_ops[T_COUNT] = {[T_B32] = popc_32, [T_B64] = popc_64},
            clz_ops[T_COUNT] = {[T_B32] = clz_32, [T_B64] = clz_64};

static uint64_t reverse(uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555ull) | (v & 0x5555555555555555ull) << 1;
    v = (v >> 2 & 0x3333333333333333ull) | (v & 0x3333333333333333ull) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0full) | (v & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(v);
}
UNARY(brev_32, uint32_t, uint32_t, reverse(a) >> 32)
UNARY(brev_64, uint64_t, uint64_t, reverse(a))
const op_fn brev_ops[T_COUNT] = {[T_B32] = brev_32, [T_B64] = brev_64};

/* The highest bit that differs from the sign; all ones: none. */
static uint32_t find(const struct insn *in, uint64_t v, unsigned bits)
{
    if (!v)
        return UINT32_MAX;
    uint32_t at = 63 - (uint32_t)__builtin_clzll(v);
    return in->mode ? bits - 1 - at : at; /* .shiftamt */
}
UNARY(bfind_u32, uint32_t, uint32_t, find(in, a, 32))
UNARY(bfind_s32, int32_t, uint32_t, find(in, (uint32_t)(a < 0 ? ~a : a), 32))
UNARY(bfind_u64, uint64_t, uint32_t, find(in, a, 64))
UNARY(bfind_s64, int64_t, uint32_t, find(in, (uint64_t)(a < 0 ? ~a : a), 64))

op_fn select_bfind(struct build *b)
{
    static const op_fn ops[T_COUNT] = {
        [T_U32] = bfind_u32, [T_S32] = bfind_s32, [T_U64] = bfind_u64, [T_S64] = bfind_s64};
    b->in->mode = has(b, M_SHIFTAMT);
    return b->in->nsrc == 1 ? ops[b->in->type] : NULL;
}

/* PTX ISA, bfe: a field that reaches beyond the top is filled with the sign. */
static uint64_t extract(uint64_t v, unsigned bits, bool is_signed, uint32_t at, uint32_t len)
{
    at &= 255;
    len &= 255;
    unsigned top = at + len > bits ? bits - 1 : len ? at + len - 1 : 0;
    uint64_t sign = is_signed && len ? v >> (top < bits ? top : bits - 1) & 1 : 0;
    uint64_t field = at < bits ? v >> at : 0;
    unsigned have = at < bits ? (len < bits - at ? len : bits - at) : 0;
    uint64_t keep = have >= 64 ? ~0ull : (1ull << have) - 1;
    return (field & keep) | (sign ? ~keep : 0);
}
TERNARY(bfe_u32, uint32_t, uint32_t, extract(a, 32, false, b, c))
TERNARY(bfe_s32, uint32_t, uint32_t, extract(a, 32, true, b, c))
TERNARY(bfe_u64, uint64_t, uint64_t, extract(a, 64, false, (uint32_t)b, (uint32_t)c))
TERNARY(bfe_s64, uint64_t, uint64_t, extract(a, 64, true, (uint32_t)b, (uint32_t)c))
const op_fn bfe_ops[T_COUNT] = {
    [T_U32] = bfe_u32, [T_S32] = bfe_s32, [T_U64] = bfe_u64, [T_S64] = bfe_s64};

static uint64_t insert(uint64_t field, uint64_t into, unsigned bits, uint32_t at, uint32_t len)
{
    at &= 255;
    len &= 255;
    if (!len || at >= bits)
        return into;
    uint64_t ones = len >= 64 ? ~0ull : (1ull << len) - 1;
    uint64_t keep = ones << at;
    return (into & ~keep) | (field << at & keep);
}
#define BFI(name, U, BITS)                                                                         \
    static void name(struct warp *w, const struct insn *in, uint32_t mask)                         \
    {                                                                                              \
        const uint64_t *f = src_row(w, in, 0), *t = src_row(w, in, 1);                             \
        const uint64_t *at = src_row(w, in, 2), *len = src_row(w, in, 3);                          \
        uint64_t *d = dst_row(w, in, 0);                                                           \
        LANES(mask,                                                                                \
              { d[l] = (U)insert((U)f[l], (U)t[l], BITS, (uint32_t)at[l], (uint32_t)len[l]); });   \
    }
BFI(bfi_32, uint32_t, 32)
BFI(bfi_64, uint64_t, 64)
const op_fn bfi_ops[T_COUNT] = {[T_B32] = bfi_32, [T_B64] = bfi_64};

/* ---- lop3, prmt ---- */

static uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        if (table >> i & 1)
            v |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return v;
}

static void op_lop3(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2),
                   *t = src_row(w, in, 3);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = lop3((uint32_t)x[l], (uint32_t)y[l], (uint32_t)z[l], (uint32_t)t[l]); });
}

op_fn select_lop3(struct build *b)
{
    return b->in->nsrc == 4 && b->in->ndst == 1 && type_size(b->in->type) == 4 ? op_lop3 : NULL;
}

static uint32_t permute(uint64_t bytes, uint32_t control)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned c = control >> (4 * i) & 15;
        uint32_t byte = (uint32_t)(bytes >> (8 * (c & 7))) & 255;
        v |= (c & 8 ? (byte & 128 ? 255u : 0) : byte) << (8 * i);
    }
    return v;
}

/* PTX ISA, prmt: the special modes, as a control word. */
static uint32_t permute_mode(uint8_t mode, uint32_t n)
{
    static const uint16_t words[][4] = {{0x3210, 0x4321, 0x5432, 0x6543},  /* f4e */
                                        {0x5670, 0x6701, 0x7012, 0x0123},  /* b4e */
                                        {0x0000, 0x1111, 0x2222, 0x3333},  /* rc8 */
                                        {0x3210, 0x3211, 0x3222, 0x3333},  /* ecl */
                                        {0x0000, 0x1110, 0x2210, 0x3210},  /* ecr */
                                        {0x1010, 0x3232, 0x1010, 0x3232}}; /* rc16 */
    return mode ? words[mode - 1][n & 3] : n;
}
TERNARY(op_prmt, uint32_t, uint32_t, permute((uint64_t)b << 32 | a, permute_mode(in->mode, c)))

op_fn select_prmt(struct build *b)
{
    static const enum sim_modifier modes[] = {M_F4E, M_B4E, M_RC8, M_ECL, M_ECR, M_RC16};
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (has(b, modes[i]))
            b->in->mode = (uint8_t)(i + 1);
    return b->in->nsrc == 3 ? op_prmt : NULL;
}

/* ---- mov, selp, slct ---- */

FOUR(UNARY, mov, a)
static const op_fn mov_ops[T_COUNT] = WIDTHS(mov);

/* mov.b64 {a, b}, c */
static void op_unpack(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint64_t v[SIM_WARP];
    const uint64_t *s = src_row(w, in, 0);
    unsigned bits = 8 * type_size(in->type) / in->ndst;
    LANES(mask, { v[l] = s[l]; });
    for (unsigned k = 0; k < in->ndst; k++) {
        uint64_t *d = dst_row(w, in, k);
        LANES(mask, { d[l] = v[l] >> (k * bits) & ((1ull << bits) - 1); });
    }
}

/* mov.b64 a, {b, c} */
static void op_pack(struct warp *w, const struct insn *in, uint32_t mask)
{
    uint64_t v[SIM_WARP] = {0};
    unsigned bits = 8 * type_size(in->type) / in->nsrc;
    for (unsigned k = 0; k < in->nsrc; k++) {
        const uint64_t *s = src_row(w, in, k);
        LANES(mask, { v[l] |= (s[l] & ((1ull << bits) - 1)) << (k * bits); });
    }
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = v[l]; });
}

op_fn select_mov(struct build *b)
{
    struct insn *in = b->in;
    unsigned n = in->nsrc > in->ndst ? in->nsrc : in->ndst;
    if (n == 1)
        return in->nsrc == 1 ? mov_ops[in->type] : NULL;
    if ((n != 2 && n != 4) || type_size(in->type) < n || (in->nsrc != 1 && in->ndst != 1))
        return NULL;
    return in->nsrc > 1 ? op_pack : in->nsrc == 1 ? op_unpack : NULL;
}

FOUR(TERNARY, selp, c & 1 ? a : b)
const op_fn selp_ops[T_COUNT] = WIDTHS(selp);

static void op_slct(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2);
    uint64_t *d = dst_row(w, in, 0);
    bool is_float = in->type2 == T_F32;
    LANES(mask, {
        uint32_t c = (uint32_t)z[l];
        /* -0.0 and, without ftz, every positive number: at least 0; NaN: not. */
        bool at_least_0 = is_float ? c <= 0x7f800000u || c == 0x80000000u ||
                                         (in->ftz && c > 0x80000000u && c < 0x80800000u)
                                   : (int32_t)c >= 0;
        d[l] = at_least_0 ? x[l] : y[l];
    });
}

op_fn select_slct(struct build *b)
{
    struct insn *in = b->in;
    return in->nsrc == 3 && type_size(in->type) >= 2 && (in->type2 == T_S32 || in->type2 == T_F32)
               ? op_slct
               : NULL;
}

/* ---- small products ---- */

static int64_t dot(uint32_t a, uint32_t b, bool a_signed, bool b_signed)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < 32; i += 8) {
        int x = a_signed ? (int8_t)(a >> i) : (uint8_t)(a >> i);
        int y = b_signed ? (int8_t)(b >> i) : (uint8_t)(b >> i);
        sum += x * y;
    }
    return sum;
}
TERNARY(op_dp4a, uint32_t, uint32_t,
        c + (uint64_t)dot(a, b, type_signed(in->type), type_signed(in->type2)))

op_fn select_dp4a(struct build *b)
{
    return b->in->nsrc == 3 && b->ntypes == 2 ? op_dp4a : NULL;
}

/* dp2a (PTX ISA, "Integer Arithmetic Instructions"): two halves of a, the lower or upper two bytes
 * of b. */
static int64_t dot2(const struct insn *in, uint32_t a, uint32_t b)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t half = a >> (16 * i) & 0xffff, byte = b >> (8 * i + (in->mode ? 16 : 0)) & 0xff;
        int64_t x = type_signed(in->type) ? (int16_t)half : (int64_t)half;
        int64_t y = type_signed(in->type2) ? (int8_t)byte : (int64_t)byte;
        sum += x * y;
    }
    return sum;
}
TERNARY(op_dp2a, uint32_t, uint32_t, c + (uint64_t)dot2(in, a, b))

op_fn select_dp2a(struct build *b)
{
    b->in->mode = has(b, M_HI);
    return b->in->nsrc == 3 && b->ntypes == 2 && has(b, M_LO) != has(b, M_HI) ? op_dp2a : NULL;
}

static uint32_t product24(const struct insn *in, uint32_t a, uint32_t b)
{
    uint64_t v = type_signed(in->type)
                     ? (uint64_t)((int64_t)(int32_t)(a << 8) / 256 * ((int32_t)(b << 8) / 256))
                     : (uint64_t)(a & 0xffffff) * (b & 0xffffff);
    return (uint32_t)(in->mode ? v >> 16 : v);
}
BINARY(op_mul24, uint32_t, uint32_t, product24(in, a, b))
TERNARY(op_mad24, uint32_t, uint32_t, product24(in, a, b) + c)

op_fn select_mul24(struct build *b)
{
    b->in->mode = has(b, M_HI);
    return b->in->nsrc == 2 && type_size(b->in->type) == 4 ? op_mul24 : NULL;
}

op_fn select_mad24(struct build *b)
{
    b->in->mode = has(b, M_HI);
    return b->in->nsrc == 3 && type_size(b->in->type) == 4 && !b->in->sat ? op_mad24 : NULL;
}
