/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Video instructions (PTX ISA, "Video Instructions"): operands are words, or
 * bytes and halves of them, the result is limited, put into a byte or half of
 * c, or combined with c. In insn: type is the result's, type2 a's, vec b's,
 * bool_op what combines.
 */
#include <string.h>

#include "ops.h"
#include "warp.h"

typedef __int128 wide; /* no result is lost before it is limited */

enum { V_ADD, V_SUB, V_ABSDIFF, V_MIN, V_MAX, V_AVERAGE, V_SET, V_SHL, V_SHR };

static unsigned part_shift(uint8_t part)
{
    return part >= PART_H0 ? 16u * (part - PART_H0) : part ? 8u * (part - PART_B0) : 0;
}

static unsigned part_bits(uint8_t part)
{
    return part >= PART_H0 ? 16 : part ? 8 : 32;
}

/* BITS of V from SHIFT on, as TYPE's sign says. */
static int64_t cut(uint64_t v, unsigned shift, unsigned bits, uint8_t type)
{
    uint64_t x = (uint32_t)v >> shift & ((1ull << bits) - 1);
    bool negative = type_signed(type) && x >> (bits - 1) & 1;
    return (int64_t)x - (negative ? (int64_t)1 << bits : 0);
}

static int64_t part_of(const struct operand *o, uint64_t v, uint8_t type)
{
    return cut(v, part_shift(o->part), part_bits(o->part), type);
}

static wide limit(wide v, unsigned bits, uint8_t type)
{
    wide top = ((wide)1 << (type_signed(type) ? bits - 1 : bits)) - 1;
    wide bottom = type_signed(type) ? -top - 1 : 0;
    return v > top ? top : v < bottom ? bottom : v;
}

static bool compares(uint8_t how, int64_t a, int64_t b)
{
    switch (how) {
    case M_EQ:
        return a == b;
    case M_NE:
        return a != b;
    case M_LT:
        return a < b;
    case M_LE:
        return a <= b;
    case M_GT:
        return a > b;
    default:
        return a >= b;
    }
}

/* ROUND: what a set compares, or whether a shift's distance wraps. */
static wide calculate(const struct insn *in, int64_t a, int64_t b)
{
    uint32_t distance = in->round ? (uint32_t)b & 31 : (uint32_t)b > 32 ? 32 : (uint32_t)b;
    switch (in->mode) {
    case V_ADD:
        return a + b;
    case V_SUB:
        return a - b;
    case V_ABSDIFF:
        return a > b ? a - b : b - a;
    case V_MIN:
        return a < b ? a : b;
    case V_MAX:
        return a > b ? a : b;
    case V_AVERAGE:
        return (a + b + (a + b >= 0)) >> 1;
    case V_SET:
        return compares(in->round, a, b);
    case V_SHL:
        return (wide)a * ((wide)1 << distance);
    default:
        return a >> distance;
    }
}

static uint32_t combine(const struct insn *in, uint32_t v, uint32_t c)
{
    bool less = type_signed(in->type) ? (int32_t)v < (int32_t)c : v < c;
    switch (in->bool_op) {
    case M_ADD:
        return v + c;
    case M_MIN:
        return less ? v : c;
    case M_MAX:
        return less ? c : v;
    default:
        return v;
    }
}

static uint32_t finish(const struct insn *in, wide v, uint32_t c)
{
    unsigned shift = part_shift(in->dst[0].part), bits = part_bits(in->dst[0].part);
    if (in->sat)
        v = limit(v, bits, in->type);
    if (!in->dst[0].part)
        return combine(in, (uint32_t)v, c);
    uint32_t mask = ((1u << bits) - 1) << shift;
    return (c & ~mask) | ((uint32_t)v << shift & mask);
}

static void op_video(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1);
    const uint64_t *z = in->nsrc > 2 ? src_row(w, in, 2) : x;
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        int64_t a = part_of(&in->src[0], x[l], in->type2);
        int64_t b = part_of(&in->src[1], y[l], in->vec);
        d[l] = finish(in, calculate(in, a, b), (uint32_t)z[l]);
    });
}

/* vmad: MODE is how far the sum is shifted, ROUND the one of .po. */
static void op_video_mad(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2);
    uint64_t *d = dst_row(w, in, 0);
    bool any = type_signed(in->type) || type_signed(in->type2) || type_signed(in->vec);
    LANES(mask, {
        wide a = part_of(&in->src[0], x[l], in->type2);
        wide b = part_of(&in->src[1], y[l], in->vec);
        wide v = (a * b + cut(z[l], 0, 32, any ? T_S32 : T_U32) + in->round) >> in->mode;
        d[l] = (uint32_t)(in->sat ? limit(v, 32, in->type) : v);
    });
}

/* Two halves or four bytes at once (of BITS); .add: their sum is added to c. */
static void simd(struct warp *w, const struct insn *in, uint32_t mask, unsigned bits)
{
    const uint64_t *x = src_row(w, in, 0), *y = src_row(w, in, 1), *z = src_row(w, in, 2);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        uint32_t packed = 0, sum = (uint32_t)z[l];
        for (unsigned shift = 0; shift < 32; shift += bits) {
            wide v =
                calculate(in, cut(x[l], shift, bits, in->type2), cut(y[l], shift, bits, in->vec));
            if (in->sat)
                v = limit(v, bits, in->type);
            packed |= ((uint32_t)v & ((1u << bits) - 1)) << shift;
            sum += (uint32_t)v;
        }
        d[l] = in->bool_op == M_ADD ? sum : packed;
    });
}

static void op_simd2(struct warp *w, const struct insn *in, uint32_t mask)
{
    simd(w, in, mask, 16);
}

static void op_simd4(struct warp *w, const struct insn *in, uint32_t mask)
{
    simd(w, in, mask, 8);
}

/* ---- choosing ---- */

static bool word(uint8_t type)
{
    return type == T_U32 || type == T_S32;
}

/* .d.a.b, or .a.b of a set, whose result is unsigned. */
static bool types(struct build *b, bool set)
{
    struct insn *in = b->in;
    unsigned at = set ? 0 : 1;
    if (b->ntypes != at + 2 || in->ndst != 1 || !word(b->types[0]) || !word(b->types[1]) ||
        !word(b->types[at + 1]))
        return false;
    in->type = set ? T_U32 : b->types[0];
    in->type2 = b->types[at];
    in->vec = b->types[at + 1];
    in->bool_op = has(b, M_ADD) ? M_ADD : has(b, M_MIN) ? M_MIN : has(b, M_MAX) ? M_MAX : 0;
    return true;
}

/* With a third source for one thing or the other, or without. */
static op_fn scalar(struct build *b, uint8_t mode)
{
    struct insn *in = b->in;
    bool part = in->dst[0].part != PART_ALL;
    in->mode = mode;
    if (in->nsrc == 2)
        return part || in->bool_op ? NULL : op_video;
    return in->nsrc == 3 && part != (in->bool_op != 0) && !in->src[2].part ? op_video : NULL;
}

/* What the opcode's name says behind its 'v'. */
static int operation(const char *name)
{
    static const char *const names[] = {"add", "sub", "absdiff", "min", "max", "avrg", "set"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strncmp(name + 1, names[i], strlen(names[i])))
            return (int)i;
    return -1;
}

static bool comparison(struct build *b)
{
    static const enum sim_modifier all[] = {M_EQ, M_NE, M_LT, M_LE, M_GT, M_GE};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (has(b, all[i])) {
            b->in->round = (uint8_t)all[i];
            return true;
        }
    }
    return false;
}

op_fn select_video(struct build *b)
{
    int mode = operation(b->op->name);
    return mode >= 0 && types(b, false) ? scalar(b, (uint8_t)mode) : NULL;
}

op_fn select_video_set(struct build *b)
{
    return types(b, true) && comparison(b) ? scalar(b, V_SET) : NULL;
}

op_fn select_video_shift(struct build *b)
{
    if (!types(b, false) || b->in->vec != T_U32 || has(b, M_CLAMP) == has(b, M_WRAP))
        return NULL;
    b->in->round = has(b, M_WRAP);
    return scalar(b, strcmp(b->op->name, "vshl") == 0 ? V_SHL : V_SHR);
}

op_fn select_video_mad(struct build *b)
{
    struct insn *in = b->in;
    if (!types(b, false) || in->bool_op || in->nsrc != 3 || in->dst[0].part || in->src[2].part)
        return NULL;
    in->mode = has(b, M_SHR7) ? 7 : has(b, M_SHR15) ? 15 : 0;
    in->round = has(b, M_PO);
    return op_video_mad;
}

op_fn select_video_simd(struct build *b)
{
    struct insn *in = b->in;
    int mode = operation(b->op->name);
    if (mode < 0 || !types(b, mode == V_SET) || (mode == V_SET && !comparison(b)) ||
        in->nsrc != 3 || (in->bool_op && in->bool_op != M_ADD) || in->dst[0].part ||
        in->src[0].part || in->src[1].part || in->src[2].part)
        return NULL;
    in->mode = (uint8_t)mode;
    return b->op->name[strlen(b->op->name) - 1] == '2' ? op_simd2 : op_simd4;
}
