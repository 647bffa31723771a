/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mma.sync (PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions").
 *
 * PTX leaves order and rounding of the sums of floating point open. Here
 * products are exact (double), each element's sum starts with C's, takes the
 * products by ascending k in double, and is rounded to D's type once. f64 is a
 * chain of fma's by ascending k, in the rounding the instruction names.
 */
#include <fenv.h>

#include "fp.h"
#include "idm/cuda_abi.h"
#include "matrix.h"
#include "ops.h"

bool matrix_all_here(struct warp *w, const struct insn *in, uint32_t mask)
{
    if (!warp_wait_lanes(w, in, ALL_LANES))
        return false;
    if (mask == ALL_LANES)
        return true;
    warp_fault(w, in, __builtin_ctz(~mask), CUDA_ERROR_ILLEGAL_INSTRUCTION,
               "an instruction of the whole warp, and lanes are missing (here: 0x%08x)", mask);
    return false;
}

/* ---- between registers and arrays ---- */

/* VALUE sees x, the element's bits in the low ones of a word. */
#define UNPACK(to, bits, value)                                                                    \
    for (unsigned l = 0; l < SIM_WARP; l++) {                                                      \
        for (unsigned i = 0; i < 32 / (bits); i++) {                                               \
            uint32_t x = (uint32_t)row[l] >> (i * (bits)) % 32;                                    \
            v->to[place->first[l] + i * place->step] = (value);                                    \
        }                                                                                          \
    }                                                                                              \
    break

void matrix_unpack(union matrix_values *v, uint8_t type, const uint64_t *row,
                   const struct place *place)
{
    switch (type) {
    case T_F16:
        UNPACK(real, 16, (double)f16_value((uint16_t)x));
    case T_BF16:
        UNPACK(real, 16, (double)bf16_value((uint16_t)x));
    case T_E4M3:
        UNPACK(real, 8, (double)e4m3_value((uint8_t)x));
    case T_E5M2:
        UNPACK(real, 8, (double)e5m2_value((uint8_t)x));
    case T_TF32: /* a float's upper 19 bits */
        UNPACK(real, 32, (double)f32_value(x & 0xffffe000u));
    case T_F32:
        UNPACK(real, 32, (double)f32_value(x));
    case T_S8:
        UNPACK(integer, 8, (int32_t)((x & 255) ^ 128) - 128);
    case T_U8:
        UNPACK(integer, 8, (int32_t)(x & 255));
    case T_S4:
        UNPACK(integer, 4, (int32_t)((x & 15) ^ 8) - 8);
    case T_U4:
        UNPACK(integer, 4, (int32_t)(x & 15));
    case T_B1:
    case T_S32:
        UNPACK(integer, 32, (int32_t)x);
    default: /* T_F64 */
        for (unsigned l = 0; l < SIM_WARP; l++)
            v->real[place->first[l]] = f64_value(row[l]);
    }
}

static uint32_t float_bits(double d)
{
    float f = (float)d;
    return f != f ? 0x7fffffffu : f32_bits(f);
}

void matrix_pack(const union matrix_values *v, uint8_t type, uint64_t *row,
                 const struct place *place)
{
    for (unsigned l = 0; l < SIM_WARP; l++) {
        uint32_t first = place->first[l];
        switch (type) {
        case T_F16:
            row[l] = f16_nearest(v->real[first]) |
                     (uint32_t)f16_nearest(v->real[first + place->step]) << 16;
            break;
        case T_F32:
            row[l] = float_bits(v->real[first]);
            break;
        case T_S32:
            row[l] = (uint32_t)v->integer[first];
            break;
        default: /* T_F64 */
            row[l] = f64_bits(v->real[first]);
        }
    }
}

/* ---- products ---- */

/* Inlined with a constant N: the loop over a row is one the compiler can spread. */
static inline __attribute__((always_inline)) void
real_rows(unsigned m, unsigned n, unsigned k, const double *a, const double *b, double *c)
{
    for (unsigned i = 0; i < m; i++, c += n) {
        for (unsigned p = 0; p < k; p++) {
            double x = a[i * k + p];
            for (unsigned j = 0; j < n; j++)
                c[j] += x * b[p * n + j];
        }
    }
}

static void multiply_real(unsigned m, unsigned n, unsigned k, const double *a, const double *b,
                          double *c)
{
    if (n == 8)
        real_rows(m, 8, k, a, b, c);
    else if (n == 16)
        real_rows(m, 16, k, a, b, c);
    else
        real_rows(m, n, k, a, b, c);
}

static void multiply_f64(const struct insn *in, const double *a, const double *b, double *c)
{
    static const int directions[] = {[FP_RN] = FE_TONEAREST,
                                     [FP_RZ] = FE_TOWARDZERO,
                                     [FP_RM] = FE_DOWNWARD,
                                     [FP_RP] = FE_UPWARD};
    const struct matrix *x = in->matrix;
    if (in->round != FP_RN)
        fesetround(directions[in->round]);
    for (unsigned i = 0; i < x->m; i++)
        for (unsigned j = 0; j < x->n; j++)
            for (unsigned p = 0; p < x->k; p++)
                c[i * x->n + j] = fma(a[i * x->k + p], b[p * x->n + j], c[i * x->n + j]);
    if (in->round != FP_RN)
        fesetround(FE_TONEAREST);
}

static int32_t one_bit(const struct matrix *x, int32_t a, int32_t b)
{
    return __builtin_popcount(x->and_bits ? (uint32_t)(a & b) : (uint32_t)(a ^ b));
}

static void multiply_integer(const struct matrix *x, const int32_t *a, const int32_t *b, int32_t *c)
{
    for (unsigned i = 0; i < x->m; i++, c += x->n) {
        int32_t sum[32] = {0}; /* of at most 64 products of bytes */
        for (unsigned p = 0; p < x->k; p++) {
            int32_t v = a[i * x->k + p];
            const int32_t *row = b + (size_t)p * x->n;
            if (x->a == T_B1)
                for (unsigned j = 0; j < x->n; j++)
                    sum[j] += one_bit(x, v, row[j]);
            else
                for (unsigned j = 0; j < x->n; j++)
                    sum[j] += v * row[j];
        }
        for (unsigned j = 0; j < x->n; j++) {
            int64_t v = (int64_t)c[j] + sum[j];
            if (x->satfinite)
                v = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
            c[j] = (int32_t)(uint32_t)v;
        }
    }
}

static void multiply(const struct insn *in, const union matrix_values *a,
                     const union matrix_values *b, union matrix_values *c)
{
    const struct matrix *x = in->matrix;
    if (matrix_integer(x->a))
        multiply_integer(x, a->integer, b->integer, c->integer);
    else if (x->a == T_F64)
        multiply_f64(in, a->real, b->real, c->real);
    else
        multiply_real(x->m, x->n, x->k, a->real, b->real, c->real);
}

/* The N registers from source AT on are ROLE's, of elements of TYPE. */
static void unpack_all(union matrix_values *v, struct warp *w, const struct insn *in,
                       matrix_place_fn *place, uint8_t role, uint8_t type, unsigned at, unsigned n)
{
    struct place of;
    for (unsigned r = 0; r < n; r++) {
        place(in->matrix, role, r, &of);
        matrix_unpack(v, type, src_row(w, in, at + r), &of);
    }
}

void matrix_mma(struct warp *w, const struct insn *in, uint32_t mask, matrix_place_fn *place)
{
    const struct matrix *x = in->matrix;
    if (!matrix_all_here(w, in, mask))
        return;
    union matrix_values a = {{0}}, b = {{0}}, c = {{0}};
    unpack_all(&a, w, in, place, 'a', x->a, 0, x->na);
    unpack_all(&b, w, in, place, 'b', x->b, x->na, x->nb);
    unpack_all(&c, w, in, place, 'c', x->c, x->na + x->nb, x->nc);
    multiply(in, &a, &b, &c);
    for (unsigned r = 0; r < x->nd; r++) {
        struct place of;
        place(x, 'd', r, &of);
        matrix_pack(&c, x->d, dst_row(w, in, r), &of);
    }
}

/* ---- mma.sync ---- */

/*
 * All shapes with a row of A and a column of B for each group of four lanes, in
 * all types, are one layout: the group's lanes take the elements of a register
 * each, side by side, then those of the next register; A's registers alternate
 * between rows g and g + 8.
 */
static void place_a(const struct matrix *x, unsigned r, struct place *ret)
{
    unsigned tall = x->m / 8, down = 8 * (r % tall), right = 4 * x->per * (r / tall);
    ret->step = 1;
    for (unsigned l = 0; l < SIM_WARP; l++)
        ret->first[l] = (l / 4 + down) * x->k + l % 4 * x->per + right;
}

static void place_b(const struct matrix *x, unsigned r, struct place *ret)
{
    ret->step = x->n;
    for (unsigned l = 0; l < SIM_WARP; l++)
        ret->first[l] = (l % 4 * x->per + 4 * x->per * r) * x->n + l / 4;
}

static void place_c(const struct matrix *x, uint8_t type, unsigned r, struct place *ret)
{
    unsigned i = type == T_F16 ? 2 * r : r; /* its first of the lane's elements */
    ret->step = 1;
    for (unsigned l = 0; l < SIM_WARP; l++)
        ret->first[l] = (l / 4 + 8 * (i / 2)) * x->n + l % 4 * 2 + i % 2;
}

static void place_in_groups(const struct matrix *x, uint8_t role, unsigned r, struct place *ret)
{
    switch (role) {
    case 'a':
        place_a(x, r, ret);
        break;
    case 'b':
        place_b(x, r, ret);
        break;
    default:
        place_c(x, role == 'c' ? x->c : x->d, r, ret);
    }
}

static void op_mma(struct warp *w, const struct insn *in, uint32_t mask)
{
    matrix_mma(w, in, mask, place_in_groups);
}

/* ---- m8n8k4 of f16: four products, one of each pair of quads (lanes q and q + 16) ---- */

static void place_quad_a(const struct matrix *x, unsigned r, struct place *ret)
{
    ret->step = x->a_col ? 4 : 1;
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned pair = l % 16 / 4, below = l / 16 * 4, i = 2 * r;
        ret->first[l] = pair * 32 + (x->a_col ? (below + i) * 4 + l % 4 : (below + l % 4) * 4 + i);
    }
}

static void place_quad_b(const struct matrix *x, unsigned r, struct place *ret)
{
    ret->step = x->b_col ? 8 : 1;
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned pair = l % 16 / 4, right = l / 16 * 4, i = 2 * r;
        ret->first[l] = pair * 32 + (x->b_col ? i * 8 + right + l % 4 : l % 4 * 8 + right + i);
    }
}

static void place_quad_c(uint8_t type, unsigned r, struct place *ret)
{
    ret->step = 1;
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned pair = l % 16 / 4, below = l / 16 * 4;
        unsigned row = type == T_F16 ? l % 4 : (l & 1) + (r & 2);
        unsigned col = type == T_F16 ? 2 * r : (r & 4) + (l & 2) + (r & 1);
        ret->first[l] = pair * 64 + (below + row) * 8 + col;
    }
}

static void op_mma_quads(struct warp *w, const struct insn *in, uint32_t mask)
{
    const struct matrix *x = in->matrix;
    if (!matrix_all_here(w, in, mask))
        return;
    union matrix_values a = {{0}}, b = {{0}}, c = {{0}};
    struct place place;
    for (unsigned r = 0; r < 2; r++) {
        place_quad_a(x, r, &place);
        matrix_unpack(&a, T_F16, src_row(w, in, r), &place);
        place_quad_b(x, r, &place);
        matrix_unpack(&b, T_F16, src_row(w, in, 2 + r), &place);
    }
    for (unsigned r = 0; r < x->nc; r++) {
        place_quad_c(x->c, r, &place);
        matrix_unpack(&c, x->c, src_row(w, in, 4 + r), &place);
    }
    for (unsigned pair = 0; pair < 4; pair++)
        multiply_real(8, 8, 4, a.real + pair * 32, b.real + pair * 32, c.real + pair * 64);
    for (unsigned r = 0; r < x->nd; r++) {
        place_quad_c(x->d, r, &place);
        matrix_pack(&c, x->d, dst_row(w, in, r), &place);
    }
}

/* ---- choosing ---- */

/* Types that can be each other's partner. */
static uint8_t family(uint8_t type)
{
    return type == T_U8 ? T_S8 : type == T_U4 ? T_S4 : type == T_E5M2 ? T_E4M3 : type;
}

bool matrix_accumulates(uint8_t type, uint8_t accumulator)
{
    if (matrix_integer(type))
        return accumulator == T_S32;
    if (type == T_F64)
        return accumulator == T_F64;
    bool half = type == T_F16 || family(type) == T_E4M3;
    return accumulator == T_F32 || (half && accumulator == T_F16);
}

bool matrix_partners(uint8_t a, uint8_t b)
{
    return family(a) == family(b);
}

static bool known_shape(const struct build *b, uint8_t type)
{
    static const struct {
        uint16_t m, n, k;
        uint8_t type;
    } shapes[] = {{8, 8, 4, T_F64},    {16, 8, 4, T_F64},   {16, 8, 8, T_F64},  {16, 8, 16, T_F64},
                  {16, 8, 4, T_TF32},  {16, 8, 8, T_TF32},  {16, 8, 8, T_F16},  {16, 8, 16, T_F16},
                  {16, 8, 8, T_BF16},  {16, 8, 16, T_BF16}, {8, 8, 16, T_S8},   {16, 8, 16, T_S8},
                  {16, 8, 32, T_S8},   {8, 8, 32, T_S4},    {16, 8, 32, T_S4},  {16, 8, 64, T_S4},
                  {8, 8, 128, T_B1},   {16, 8, 128, T_B1},  {16, 8, 256, T_B1}, {16, 8, 16, T_E4M3},
                  {16, 8, 32, T_E4M3}, {8, 8, 4, T_F16}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (b->shape[0] == shapes[i].m && b->shape[1] == shapes[i].n &&
            b->shape[2] == shapes[i].k && family(type) == shapes[i].type)
            return true;
    return false;
}

bool matrix_rounding(struct build *b, uint8_t type)
{
    b->in->round = has(b, M_ROUND_RZ)   ? FP_RZ
                   : has(b, M_ROUND_RM) ? FP_RM
                   : has(b, M_ROUND_RP) ? FP_RP
                                        : FP_RN;
    return b->in->round == FP_RN || type == T_F64;
}

static op_fn complete(struct build *b, const struct matrix *x, op_fn fn)
{
    struct insn *in = b->in;
    if (in->ndst != x->nd || in->nsrc != x->na + x->nb + x->nc)
        return NULL;
    struct matrix *kept = parse_alloc(b->p, sizeof(*kept));
    *kept = *x;
    in->matrix = kept;
    return fn;
}

op_fn select_mma(struct build *b)
{
    uint8_t type = b->types[1];
    struct matrix x = {.m = b->shape[0],
                       .n = b->shape[1],
                       .k = b->shape[2],
                       .a = type,
                       .b = b->types[2],
                       .c = b->types[3],
                       .d = b->types[0],
                       .a_col = b->col[0],
                       .b_col = b->col[1],
                       .satfinite = has(b, M_SATFINITE),
                       .and_bits = has(b, M_AND)};
    if (b->ntypes != 4 || b->nlayouts != 2 || !has(b, M_SYNC) || !has(b, M_ALIGNED) ||
        !matrix_partners(x.a, x.b) || !matrix_accumulates(x.a, x.c) ||
        !matrix_accumulates(x.a, x.d) || !known_shape(b, type) || !matrix_rounding(b, type))
        return NULL;
    if ((x.satfinite && !matrix_integer(type)) ||
        (type == T_B1 && (!has(b, M_POPC) || has(b, M_AND) == has(b, M_XOR))))
        return NULL;
    if (type == T_F16 && x.m == 8) {
        x.na = x.nb = 2;
        x.nc = x.c == T_F16 ? 4 : 8;
        x.nd = x.d == T_F16 ? 4 : 8;
        return complete(b, &x, op_mma_quads);
    }
    if (x.a_col || !x.b_col || x.c != x.d)
        return NULL;
    unsigned bits = type == T_F64 ? 32 : matrix_bits(type); /* an f64 has a register of its own */
    x.per = (uint8_t)(type == T_B1 ? 1 : 32 / bits);
    x.na = (uint8_t)(x.m * x.k * bits / 1024);
    x.nb = (uint8_t)(x.k * x.n * bits / 1024);
    x.nc = x.nd = (uint8_t)(x.m * x.n / (x.c == T_F16 ? 64 : 32));
    if (type == T_B1)
        x.k /= 32;
    return complete(b, &x, op_mma);
}
