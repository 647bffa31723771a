/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wmma.load, wmma.mma, wmma.store (PTX ISA, "Warp Level Matrix
 * Multiply-Accumulate Instructions"). Which lane has which element is not the
 * program's to know. Here the lanes have the elements one after the other: A
 * and the accumulators row by row, B column by column; where a fragment has
 * more room than elements, several times.
 */
#include "access.h"
#include "fp.h"
#include "matrix.h"
#include "ops.h"

static void place_linear(const struct matrix *x, uint8_t role, unsigned r, struct place *ret)
{
    bool of_b = role == 'b', product = role == 'a' || of_b;
    unsigned total = role == 'a' ? x->m * x->k : of_b ? x->k * x->n : x->m * x->n;
    uint8_t type = role == 'a' ? x->a : of_b ? x->b : role == 'c' ? x->c : x->d;
    unsigned per = product ? x->per : type == T_F16 ? 2 : 1, own = total / SIM_WARP;
    ret->step = of_b ? x->n : 1;
    for (unsigned l = 0; l < SIM_WARP; l++) {
        unsigned at = l * own + r * per % own;
        ret->first[l] = of_b ? at % x->k * x->n + at / x->k : at;
    }
}

static void op_wmma_mma(struct warp *w, const struct insn *in, uint32_t mask)
{
    matrix_mma(w, in, mask, place_linear);
}

/* ---- memory ---- */

/* A fragment's way to memory: PER elements of BYTES (or BITS, several in four bytes) a register. */
struct walk {
    unsigned per, bits;
    unsigned own;   /* elements of a lane */
    unsigned inner; /* elements of a row (of B: a column) */
    bool across;    /* rows lie in memory as columns */
    unsigned default_stride;
};

static struct walk walk_of(const struct matrix *x, uint8_t type)
{
    struct walk k = {.bits = matrix_bits(type), .across = x->a_col};
    unsigned outer;
    if (x->role == 'a') {
        outer = x->m;
        k.inner = x->k;
    } else if (x->role == 'b') {
        outer = x->n;
        k.inner = x->k;
        k.across = !x->a_col;
    } else {
        outer = x->m;
        k.inner = x->n;
    }
    if (type == T_B1)
        k.bits = 32; /* k counts words */
    k.per = k.bits < 32 ? 32 / k.bits : 1;
    k.own = outer * k.inner / SIM_WARP;
    k.default_stride = (k.across ? outer : k.inner) * (type == T_B1 ? 32 : 1);
    return k;
}

/* The address of element I of LANE's. */
static uint64_t element_address(const struct insn *in, const struct walk *k, unsigned lane,
                                unsigned i, uint64_t base, uint64_t stride)
{
    unsigned at = lane * k->own + i % k->own;
    uint64_t row = at / k->inner, col = at % k->inner;
    uint64_t bits = (k->across ? col * stride + row : row * stride + col) * k->bits;
    return sim_lane_address(in, base + bits / 8);
}

/* In elements; those of one bit are in words here. */
static uint64_t stride_of(struct warp *w, const struct insn *in, const struct walk *k,
                          unsigned fragment, unsigned lane)
{
    uint64_t stride = in->nsrc > fragment + 1u ? (uint32_t)src_row(w, in, fragment + 1u)[lane]
                                               : k->default_stride;
    return in->type == T_B1 ? stride / 32 : stride;
}

static void op_wmma_load(struct warp *w, const struct insn *in, uint32_t mask)
{
    const struct walk k = walk_of(in->matrix, in->type);
    if (!matrix_all_here(w, in, mask))
        return;
    unsigned at_once = k.bits < 8 ? k.per : 1, size = k.bits < 8 ? 4 : k.bits / 8;
    const uint64_t *address = src_row(w, in, 0);
    uint64_t values[MATRIX_REGS][SIM_WARP];
    for (unsigned l = 0; l < SIM_WARP; l++) {
        uint64_t stride = stride_of(w, in, &k, 0, l);
        for (unsigned r = 0; r < in->ndst; r++) {
            values[r][l] = 0;
            for (unsigned i = 0; i < k.per; i += at_once) {
                uint64_t a = element_address(in, &k, l, r * k.per + i, address[l], stride);
                const uint8_t *from = sim_address(w, in, l, in->space, a, size, false);
                if (!from)
                    return;
                values[r][l] |= sim_read(from, size) << (i * k.bits);
            }
        }
    }
    for (unsigned r = 0; r < in->ndst; r++)
        memcpy(dst_row(w, in, r), values[r], sizeof(values[r]));
}

static void op_wmma_store(struct warp *w, const struct insn *in, uint32_t mask)
{
    const struct walk k = walk_of(in->matrix, in->type);
    if (!matrix_all_here(w, in, mask))
        return;
    unsigned size = k.bits / 8, registers = in->matrix->nd;
    const uint64_t *address = src_row(w, in, 0);
    const uint64_t *rows[MATRIX_REGS];
    for (unsigned r = 0; r < registers; r++)
        rows[r] = src_row(w, in, 1 + r);
    for (unsigned l = 0; l < SIM_WARP; l++) {
        uint64_t stride = stride_of(w, in, &k, registers, l);
        for (unsigned i = 0; i < registers * k.per; i++) {
            uint64_t a = element_address(in, &k, l, i, address[l], stride);
            uint8_t *to = sim_address(w, in, l, in->space, a, size, true);
            if (!to)
                return;
            sim_write(to, rows[i / k.per][l] >> (i % k.per * k.bits), size);
        }
    }
}

/* ---- choosing ---- */

/* What fragments have of A's (and B's) type: TYPE's shape, and how many registers. */
static bool fragments(const struct build *b, uint8_t type, struct matrix *x)
{
    static const uint16_t wide[][3] = {{16, 16, 16}, {32, 8, 16}, {8, 32, 16}};
    static const struct {
        uint8_t type;
        uint16_t shape[3];
    } single[] = {{T_TF32, {16, 16, 8}},
                  {T_F64, {8, 8, 4}},
                  {T_S4, {8, 8, 32}},
                  {T_U4, {8, 8, 32}},
                  {T_B1, {8, 8, 128}}};
    bool known = false;
    if (type == T_F16 || type == T_BF16 || type == T_S8 || type == T_U8)
        for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
            known |= !memcmp(b->shape, wide[i], sizeof(wide[i]));
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
        known |= type == single[i].type && !memcmp(b->shape, single[i].shape, sizeof(b->shape));
    if (!known)
        return false;
    unsigned bits = type == T_F64 ? 32 : matrix_bits(type);
    *x = (struct matrix){.m = b->shape[0], .n = b->shape[1], .k = b->shape[2], .a = type};
    x->per = (uint8_t)(type == T_B1 ? 1 : 32 / bits);
    x->na = (uint8_t)(type == T_F16 ? 8 : x->m * x->k * bits / 1024);
    x->nb = (uint8_t)(type == T_F16 ? 8 : x->k * x->n * bits / 1024);
    if (type == T_B1)
        x->k /= 32;
    return true;
}

static uint8_t accumulators(const struct matrix *x, uint8_t type)
{
    return (uint8_t)(x->m * x->n / (type == T_F16 ? 64 : 32));
}

/* Of a store, and of C's load, only the accumulator's type is said: one of the shape's. */
static bool accumulator_fragments(const struct build *b, uint8_t type, struct matrix *x)
{
    static const uint8_t types[] = {T_F16, T_BF16, T_S8, T_TF32, T_F64, T_S4, T_B1};
    for (size_t i = 0; i < sizeof(types); i++)
        if (matrix_accumulates(types[i], type) && fragments(b, types[i], x))
            return true;
    return false;
}

static bool common(const struct build *b)
{
    return has(b, M_SYNC) && has(b, M_ALIGNED);
}

static op_fn keep(struct build *b, const struct matrix *x, op_fn fn)
{
    struct matrix *kept = parse_alloc(b->p, sizeof(*kept));
    *kept = *x;
    b->in->matrix = kept;
    return fn;
}

static bool in_memory(const struct build *b)
{
    return b->in->space == SPACE_GENERIC || b->in->space == SPACE_GLOBAL ||
           b->in->space == SPACE_SHARED;
}

op_fn select_wmma_load(struct build *b)
{
    struct insn *in = b->in;
    struct matrix x;
    unsigned roles = has(b, M_A) + has(b, M_B) + has(b, M_C);
    if (!common(b) || !in_memory(b) || roles != 1 || b->ntypes != 1 || b->nlayouts != 1 ||
        in->nsrc < 1 || in->nsrc > 2)
        return NULL;
    uint8_t role = has(b, M_A) ? 'a' : has(b, M_B) ? 'b' : 'c';
    if (!(role == 'c' ? accumulator_fragments(b, in->type, &x) : fragments(b, in->type, &x)))
        return NULL;
    x.role = role;
    x.a_col = b->col[0];
    bool words = matrix_bits(in->type) < 8; /* lie in memory as they do in registers */
    if (words && x.a_col != (role == 'b'))
        return NULL;
    unsigned registers = role == 'a' ? x.na : role == 'b' ? x.nb : accumulators(&x, in->type);
    return in->ndst == registers ? keep(b, &x, op_wmma_load) : NULL;
}

op_fn select_wmma_store(struct build *b)
{
    struct insn *in = b->in;
    struct matrix x;
    if (!common(b) || !in_memory(b) || !has(b, M_D) || b->ntypes != 1 || b->nlayouts != 1 ||
        !accumulator_fragments(b, in->type, &x))
        return NULL;
    x.role = 'd';
    x.a_col = b->col[0];
    x.nd = accumulators(&x, in->type);
    return in->nsrc == 1u + x.nd || in->nsrc == 2u + x.nd ? keep(b, &x, op_wmma_store) : NULL;
}

op_fn select_wmma_mma(struct build *b)
{
    struct insn *in = b->in;
    struct matrix x;
    bool halves = b->ntypes == 2; /* .dtype.ctype: A and B are f16 */
    uint8_t type = halves ? T_F16 : b->types[1];
    if (!common(b) || b->nlayouts != 2 || (!halves && b->ntypes != 4) ||
        !matrix_rounding(b, type) || !fragments(b, type, &x))
        return NULL;
    x.b = halves ? T_F16 : b->types[2];
    x.c = halves ? b->types[1] : b->types[3];
    x.d = b->types[0];
    x.satfinite = has(b, M_SATFINITE) && matrix_integer(type);
    x.and_bits = has(b, M_AND);
    if (x.a != x.b || !matrix_accumulates(x.a, x.c) || !matrix_accumulates(x.a, x.d))
        return NULL;
    if (type == T_B1 && (!has(b, M_POPC) || has(b, M_AND) == has(b, M_XOR)))
        return NULL;
    x.nc = accumulators(&x, x.c);
    x.nd = accumulators(&x, x.d);
    return in->ndst == x.nd && in->nsrc == x.na + x.nb + x.nc ? keep(b, &x, op_wmma_mma) : NULL;
}
