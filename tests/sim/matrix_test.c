/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mma.sync: what a warp's registers hold before and after, by the tables of the
 * PTX ISA ("Matrix Fragments for mma.m..n..k.."), written down here once more.
 * All values are small integers, whose products and sums are exact in any type.
 */
#include <stdlib.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "minitest.h"
#include "runner.h"

#define HEAD  ".version 8.4\n.target sm_90\n.address_size 64\n"
#define LANES 32u
#define SLOTS 32u /* registers of a lane in memory: sources from 0, results from 24 */

typedef uint64_t slots[SLOTS][LANES];

static slots *slots_of(const struct runner *r)
{
    return (slots *)(void *)r->memory;
}

static void list(char *to, size_t size, unsigned from, unsigned n)
{
    size_t len = (size_t)snprintf(to, size, "{");
    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(to + len, size - len, "%s%%x%u", i ? "," : "", from + i);
    snprintf(to + len, size - len, "}");
}

/* INSN as a kernel whose registers %x0 to %x31, of WIDTH bits, come from memory and go there. */
static bool open_insn(struct runner *r, const char *insn, unsigned width)
{
    char text[8192];
    size_t len = (size_t)snprintf(
        text, sizeof(text),
        HEAD ".visible .entry k(.param .u64 po)\n{\n.reg .b%u %%x<32>; .reg .b64 %%p<3>;\n"
             ".reg .b32 %%t; ld.param.u64 %%p0, [po]; mov.u32 %%t, %%tid.x;\n"
             "mul.wide.u32 %%p1, %%t, 8; add.s64 %%p0, %%p0, %%p1;\n",
        width);
    for (unsigned i = 0; i < SLOTS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "ld.global.b%u %%x%u, [%%p0+%u];\n",
                                width, i, i * 8 * LANES);
    len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", insn);
    for (unsigned i = 0; i < SLOTS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "st.global.b%u [%%p0+%u], %%x%u;\n",
                                width, i * 8 * LANES, i);
    snprintf(text + len, sizeof(text) - len, "ret;\n}\n");
    if (runner_open(r, text, sizeof(slots)))
        return true;
    fprintf(stderr, "%s: %s\n", insn, r->log.text);
    mt_failed++;
    return false;
}

static int run_insn(struct runner *r)
{
    uint64_t params[] = {(uint64_t)(uintptr_t)r->memory};
    return runner_run(r, "k", 1, LANES, 0, params, 1);
}

/* ---- numbers ---- */

enum kind { F16, BF16, TF32, F32, F64, E4M3, E5M2, S8, U8, S4, U4, B1, S32 };

static const unsigned bits_of[] = {
    [F16] = 16, [BF16] = 16, [TF32] = 32, [F32] = 32, [F64] = 64, [E4M3] = 8, [E5M2] = 8,
    [S8] = 8,   [U8] = 8,    [S4] = 4,    [U4] = 4,   [B1] = 1,   [S32] = 32};
static const char *const names[] = {
    [F16] = "f16",   [BF16] = "bf16", [TF32] = "tf32", [F32] = "f32", [F64] = "f64",
    [E4M3] = "e4m3", [E5M2] = "e5m2", [S8] = "s8",     [U8] = "u8",   [S4] = "s4",
    [U4] = "u4",     [B1] = "b1",     [S32] = "s32"};

/* An integer that fits exactly, in a float of EXP and MAN bits. */
static uint64_t float_of(int v, unsigned exp, unsigned man)
{
    uint64_t m = (uint64_t)abs(v), e = 0;
    if (!v)
        return 0;
    while (m >> (e + 1))
        e++;
    uint64_t bias = (1ull << (exp - 1)) - 1;
    uint64_t fraction = (man >= e ? m << (man - e) : m >> (e - man)) & ((1ull << man) - 1);
    return (v < 0 ? 1ull << (exp + man) : 0) | (e + bias) << man | fraction;
}

static uint64_t number(enum kind kind, int v)
{
    switch (kind) {
    case F16:
        return float_of(v, 5, 10);
    case BF16:
        return float_of(v, 8, 7);
    case TF32:
    case F32:
        return float_of(v, 8, 23);
    case F64:
        return float_of(v, 11, 52);
    case E4M3:
        return float_of(v, 4, 3);
    case E5M2:
        return float_of(v, 5, 2);
    default:
        return (uint32_t)v & (uint32_t)((1ull << bits_of[kind]) - 1);
    }
}

static uint32_t random_bits(void)
{
    static uint32_t state = 12345;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Of floats such that 32 products and a sum fit a half's eleven bits. */
static int random_of(enum kind kind)
{
    switch (kind) {
    case S8:
        return (int8_t)random_bits();
    case U8:
        return (uint8_t)random_bits();
    case S4:
        return (int)(random_bits() & 15) - 8;
    case U4:
        return (int)(random_bits() & 15);
    case B1:
        return (int)(random_bits() & 1);
    default:
        return (int)(random_bits() % 15) - 7;
    }
}

/* Element I of LANE's from register FIRST on: several share a register. */
static void put(slots *s, unsigned first, enum kind kind, unsigned lane, unsigned i, int v)
{
    unsigned bits = bits_of[kind], per = bits < 32 ? 32 / bits : 1;
    (*s)[first + i / per][lane] |= number(kind, v) << (i % per * bits);
}

static uint64_t get(slots *s, unsigned first, enum kind kind, unsigned lane, unsigned i)
{
    unsigned bits = bits_of[kind], per = bits < 32 ? 32 / bits : 1;
    uint64_t v = (*s)[first + i / per][lane] >> (i % per * bits);
    return bits == 64 ? v : v & ((1ull << bits) - 1);
}

/* ---- the ISA's tables ---- */

struct mma_case {
    unsigned m, k;
    enum kind a, b, c;
};

struct at {
    unsigned row, col;
};

#define BETWEEN(i, low, high) ((low) <= (i) && (i) < (high))

static struct at at_a(const struct mma_case *c, unsigned lane, unsigned i)
{
    unsigned g = lane >> 2, t = lane % 4, low = g, high = g + 8;
    if (c->m == 8)
        return (struct at){g, c->a == S8 || c->a == U8   ? t * 4 + (i & 3)
                              : c->a == S4 || c->a == U4 ? t * 8 + (i & 7)
                              : c->a == B1               ? t * 32 + (i & 31)
                                                         : t};
    switch (bits_of[c->a]) {
    case 16:
        if (c->k == 8)
            return (struct at){i < 2 ? low : high, t * 2 + (i & 1)};
        return (struct at){i < 2 || BETWEEN(i, 4, 6) ? low : high,
                           i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
    case 8:
        if (c->k == 16)
            return (struct at){i < 4 ? low : high, t * 4 + (i & 3)};
        return (struct at){i < 4 || BETWEEN(i, 8, 12) ? low : high,
                           i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
    case 4:
        if (c->k == 32)
            return (struct at){i < 8 ? low : high, t * 8 + (i & 7)};
        return (struct at){i < 8 || BETWEEN(i, 16, 24) ? low : high,
                           i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
    case 1:
        if (c->k == 128)
            return (struct at){i < 32 ? low : high, t * 32 + (i & 31)};
        return (struct at){i < 32 || BETWEEN(i, 64, 96) ? low : high,
                           i < 64 ? t * 32 + (i & 31) : t * 32 + (i & 31) + 128};
    case 32:
        if (c->k == 4)
            return (struct at){i == 0 ? low : high, t};
        return (struct at){i == 0 || i == 2 ? low : high, i < 2 ? t : t + 4};
    default: /* f64 */
        return (struct at){i % 2 == 0 ? low : high, i % 2 == 0 ? i * 2 + t : i * 2 - 2 + t};
    }
}

/* Its row; the column is the group. */
static unsigned row_b(const struct mma_case *c, unsigned lane, unsigned i)
{
    unsigned t = lane % 4;
    switch (bits_of[c->b]) {
    case 16:
        return i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8;
    case 8:
        return i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16;
    case 4:
        return i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32;
    case 1:
        return i < 32 ? t * 32 + (i & 31) : t * 32 + (i & 31) + 128;
    case 32:
        return i == 0 ? t : t + 4;
    default:
        return t + i * 4;
    }
}

static struct at at_c(unsigned lane, unsigned i)
{
    return (struct at){i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

/* ---- mma.sync ---- */

struct matrices {
    int a[16][256], b[256][8], c[16][8];
};

static void fill(const struct mma_case *t, struct matrices *x)
{
    for (unsigned i = 0; i < t->m; i++)
        for (unsigned p = 0; p < t->k; p++)
            x->a[i][p] = random_of(t->a);
    for (unsigned p = 0; p < t->k; p++)
        for (unsigned j = 0; j < 8; j++)
            x->b[p][j] = random_of(t->b);
    for (unsigned i = 0; i < t->m; i++)
        for (unsigned j = 0; j < 8; j++)
            x->c[i][j] = random_of(t->c);
}

static int64_t expected(const struct mma_case *t, const struct matrices *x, struct at at,
                        bool and_bits)
{
    int64_t v = x->c[at.row][at.col];
    for (unsigned p = 0; p < t->k; p++) {
        int a = x->a[at.row][p], b = x->b[p][at.col];
        v += t->a != B1 ? a * b : and_bits ? a & b : a ^ b;
    }
    return v;
}

static void run_mma(const struct mma_case *t, const char *name, bool and_bits)
{
    unsigned elements_a = t->m * t->k / LANES, elements_b = t->k * 8 / LANES;
    unsigned elements_c = t->m * 8 / LANES;
#define REGISTERS(n, kind) ((n)*bits_of[kind] / (bits_of[kind] == 64 ? 64 : 32))
    unsigned na = REGISTERS(elements_a, t->a), nb = REGISTERS(elements_b, t->b);
    unsigned nc = REGISTERS(elements_c, t->c);
    char insn[512], a[128], b[128], c[128], d[128];
    static struct matrices x;
    struct runner r;
    list(a, sizeof(a), 0, na);
    list(b, sizeof(b), na, nb);
    list(c, sizeof(c), na + nb, nc);
    list(d, sizeof(d), 24, nc);
    snprintf(insn, sizeof(insn), "%s %s, %s, %s, %s;", name, d, a, b, c);
    if (!open_insn(&r, insn, t->a == F64 ? 64 : 32))
        return;
    fill(t, &x);
    slots *s = slots_of(&r);
    for (unsigned l = 0; l < LANES; l++) {
        for (unsigned i = 0; i < elements_a; i++)
            put(s, 0, t->a, l, i, x.a[at_a(t, l, i).row][at_a(t, l, i).col]);
        for (unsigned i = 0; i < elements_b; i++)
            put(s, na, t->b, l, i, x.b[row_b(t, l, i)][l >> 2]);
        for (unsigned i = 0; i < elements_c; i++)
            put(s, na + nb, t->c, l, i, x.c[at_c(l, i).row][at_c(l, i).col]);
    }
    int rc = run_insn(&r);
    unsigned wrong = 0;
    for (unsigned l = 0; l < LANES; l++)
        for (unsigned i = 0; i < elements_c; i++)
            wrong +=
                get(s, 24, t->c, l, i) != number(t->c, (int)expected(t, &x, at_c(l, i), and_bits));
    if (rc || wrong) {
        fprintf(stderr, "%s: %d, %u wrong %s\n", name, rc, wrong, r.fault.text);
        mt_failed++;
    }
    runner_close(&r);
}

static void run_case(const struct mma_case *t, const char *more)
{
    char name[128];
    snprintf(name, sizeof(name), "mma.sync.aligned.m%un8k%u.row.col.%s.%s.%s.%s%s", t->m, t->k,
             names[t->c], names[t->a], names[t->b], names[t->c], more);
    run_mma(t, name, strstr(more, "and") != NULL);
}

static void test_floats(void)
{
    static const struct mma_case cases[] = {
        {8, 4, F64, F64, F64},     {16, 4, F64, F64, F64},    {16, 8, F64, F64, F64},
        {16, 16, F64, F64, F64},   {16, 4, TF32, TF32, F32},  {16, 8, TF32, TF32, F32},
        {16, 8, F16, F16, F16},    {16, 8, F16, F16, F32},    {16, 16, F16, F16, F16},
        {16, 16, F16, F16, F32},   {16, 8, BF16, BF16, F32},  {16, 16, BF16, BF16, F32},
        {16, 16, E4M3, E4M3, F32}, {16, 16, E5M2, E4M3, F16}, {16, 32, E4M3, E4M3, F32},
        {16, 32, E4M3, E5M2, F32}, {16, 32, E5M2, E4M3, F32}, {16, 32, E5M2, E5M2, F32},
        {16, 32, E4M3, E5M2, F16}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(&cases[i], "");
}

static void test_integers(void)
{
    static const enum kind bytes[] = {S8, U8}, nibbles[] = {S4, U4};
    for (unsigned i = 0; i < 4; i++) {
        enum kind a = bytes[i & 1], b = bytes[i >> 1];
        run_case(&(struct mma_case){8, 16, a, b, S32}, "");
        run_case(&(struct mma_case){16, 16, a, b, S32}, ".satfinite");
        run_case(&(struct mma_case){16, 32, a, b, S32}, "");
        a = nibbles[i & 1];
        b = nibbles[i >> 1];
        run_case(&(struct mma_case){8, 32, a, b, S32}, "");
        run_case(&(struct mma_case){16, 32, a, b, S32}, ".satfinite");
        run_case(&(struct mma_case){16, 64, a, b, S32}, "");
    }
    for (unsigned i = 0; i < 2; i++) {
        const char *how = i ? ".and.popc" : ".xor.popc";
        run_case(&(struct mma_case){8, 128, B1, B1, S32}, how);
        run_case(&(struct mma_case){16, 128, B1, B1, S32}, how);
        run_case(&(struct mma_case){16, 256, B1, B1, S32}, how);
    }
}

/* Every result is the same: all of A, of B, and of C are. D is in slot 24. */
static void run_uniform(const char *insn, unsigned width, unsigned n, const uint64_t *values,
                        uint64_t expect)
{
    struct runner r;
    if (!open_insn(&r, insn, width))
        return;
    slots *s = slots_of(&r);
    for (unsigned i = 0; i < n; i++)
        for (unsigned l = 0; l < LANES; l++)
            (*s)[i][l] = values[i];
    int rc = run_insn(&r);
    unsigned wrong = 0;
    for (unsigned l = 0; l < LANES; l++)
        wrong += (width == 64 ? (*s)[24][l] : (uint32_t)(*s)[24][l]) != expect;
    if (rc || wrong) {
        fprintf(stderr, "%s: %d, %u wrong, 0x%llx, expected 0x%llx\n", insn, rc, wrong,
                (unsigned long long)(*s)[24][0], (unsigned long long)expect);
        mt_failed++;
    }
    runner_close(&r);
}

#define S8_MMA(more)                                                                               \
    "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32" more " {%x24,%x25}, {%x0}, {%x1}, {%x2,%x3};"
#define F64_MMA(how)                                                                               \
    "mma.sync.aligned.m8n8k4.row.col" how ".f64.f64.f64.f64 {%x24,%x25}, {%x0}, {%x1}, {%x2,%x3};"
#define TF32_MMA                                                                                   \
    "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%x24,%x25,%x26,%x27}, {%x0,%x1}, {%x2}, " \
    "{%x3,%x4,%x5,%x6};"
#define F16_MMA                                                                                    \
    "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%x24,%x25}, {%x0,%x1}, {%x2}, {%x3,%x4};"

static void test_limits(void)
{
    const uint64_t top[] = {0x7f7f7f7f, 0x01010101, 0x7fffffff, 0x7fffffff};
    run_uniform(S8_MMA(".satfinite"), 32, 4, top, 0x7fffffff);
    run_uniform(S8_MMA(""), 32, 4, top, 0x7fffffffu + 127 * 16);
    const uint64_t bottom[] = {0x80808080, 0x01010101, 0x80000000, 0x80000000};
    run_uniform(S8_MMA(".satfinite"), 32, 4, bottom, 0x80000000);
    /* 1 + 2^-60: to nearest 1, upwards the next number. */
    const uint64_t near_one[] = {number(F64, 1), 0x3c10000000000000, number(F64, 1),
                                 number(F64, 1)};
    run_uniform(F64_MMA(""), 64, 4, near_one, number(F64, 1));
    run_uniform(F64_MMA(".rn"), 64, 4, near_one, number(F64, 1));
    run_uniform(F64_MMA(".rp"), 64, 4, near_one, number(F64, 1) + 4);
    run_uniform(F64_MMA(".rz"), 64, 4, near_one, number(F64, 1));
    /* tf32 ignores the low 13 bits; a NaN is the one GPUs make; halves end in infinity. */
    const uint64_t rest[] = {0x3f801fff, 0x3f801fff, 0x40001fff, 0, 0, 0, 0};
    run_uniform(TF32_MMA, 32, 7, rest, number(F32, 8));
    const uint64_t nan[] = {0xffc00000, 0xffc00000, 0x40000000, 0, 0, 0, 0};
    run_uniform(TF32_MMA, 32, 7, nan, 0x7fffffff);
    const uint64_t much[] = {0x7bff7bff, 0x7bff7bff, 0x3c003c00, 0, 0};
    run_uniform(F16_MMA, 32, 5, much, 0x7c007c00);
    const uint64_t undone[] = {0x7bff7bff, 0x7bff7bff, 0x0, 0xfc00fc00, 0xfc00fc00};
    run_uniform(F16_MMA, 32, 5, undone, 0xfc00fc00);
}

/* ---- m8n8k4 of f16: four products of lanes 4q to 4q + 3 and 16 more ---- */

static struct at quad_a(bool col, unsigned lane, unsigned i)
{
    unsigned more = lane < 16 ? 0 : 4;
    return col ? (struct at){i % 4 + more, lane % 4} : (struct at){lane % 4 + more, i};
}

static struct at quad_b(bool col, unsigned lane, unsigned i)
{
    unsigned more = lane < 16 ? 0 : 4;
    return col ? (struct at){i, lane % 4 + more} : (struct at){lane % 4, i + more};
}

static struct at quad_c(bool single, unsigned lane, unsigned i)
{
    unsigned more = lane < 16 ? 0 : 4;
    if (!single)
        return (struct at){lane % 4 + more, i};
    return (struct at){(lane & 1) + (i & 2) + more, (i & 4) + (lane & 2) + (i & 1)};
}

static void run_quads(unsigned how)
{
    bool a_col = how & 1, b_col = how & 2, c32 = how & 4, d32 = c32 || how & 8;
    char insn[256], c[128], d[128];
    list(c, sizeof(c), 4, c32 ? 8 : 4);
    list(d, sizeof(d), 24, d32 ? 8 : 4);
    snprintf(insn, sizeof(insn),
             "mma.sync.aligned.m8n8k4.%s.%s.%s.f16.f16.%s %s, {%%x0,%%x1}, {%%x2,%%x3}, %s;",
             a_col ? "col" : "row", b_col ? "col" : "row", d32 ? "f32" : "f16", c32 ? "f32" : "f16",
             d, c);
    struct runner r;
    static int va[4][8][4], vb[4][4][8], vc[4][8][8];
    if (!open_insn(&r, insn, 32))
        return;
    slots *s = slots_of(&r);
    for (unsigned l = 0; l < LANES; l++) {
        unsigned pair = l % 16 / 4;
        for (unsigned i = 0; i < 8; i++) {
            struct at pa = quad_a(a_col, l, i % 4), pb = quad_b(b_col, l, i % 4);
            struct at pc = quad_c(c32, l, i);
            vc[pair][pc.row][pc.col] = random_of(F16);
            put(s, 4, c32 ? F32 : F16, l, i, vc[pair][pc.row][pc.col]);
            if (i >= 4)
                continue;
            va[pair][pa.row][pa.col] = random_of(F16);
            vb[pair][pb.row][pb.col] = random_of(F16);
            put(s, 0, F16, l, i, va[pair][pa.row][pa.col]);
            put(s, 2, F16, l, i, vb[pair][pb.row][pb.col]);
        }
    }
    EXPECT_EQ(run_insn(&r), 0);
    unsigned wrong = 0;
    for (unsigned l = 0; l < LANES; l++) {
        unsigned pair = l % 16 / 4;
        for (unsigned i = 0; i < 8; i++) {
            struct at p = quad_c(d32, l, i);
            int v = vc[pair][p.row][p.col];
            for (unsigned k = 0; k < 4; k++)
                v += va[pair][p.row][k] * vb[pair][k][p.col];
            wrong += get(s, 24, d32 ? F32 : F16, l, i) != number(d32 ? F32 : F16, v);
        }
    }
    if (wrong) {
        fprintf(stderr, "%s: %u wrong\n", insn, wrong);
        mt_failed++;
    }
    runner_close(&r);
}

static void test_quads(void)
{
    for (unsigned how = 0; how < 16; how++)
        run_quads(how);
}

/* ---- what is refused, and what fails ---- */

static void test_refused(void)
{
    static const char *const texts[] = {
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.bf16.f32 {%x24,%x25,%x26,%x27}, {%x0,%x1}, "
        "{%x2}, "
        "{%x3,%x4,%x5,%x6};",
        "mma.sync.aligned.m16n8k8.col.col.f32.f16.f16.f32 {%x24,%x25,%x26,%x27}, {%x0,%x1}, {%x2}, "
        "{%x3,%x4,%x5,%x6};",
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%x24,%x25,%x26,%x27}, {%x0,%x1}, {%x2}, "
        "{%x3,%x4,%x5};",
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%x24,%x25,%x26}, {%x0,%x1}, {%x2}, "
        "{%x3,%x4,%x5,%x6};",
        "mma.sync.aligned.m16n8k9.row.col.f32.f16.f16.f32 {%x24,%x25,%x26,%x27}, {%x0,%x1}, {%x2}, "
        "{%x3,%x4,%x5,%x6};",
        "mma.sync.aligned.m8n8k16.row.col.f32.s8.s8.f32 {%x24,%x25}, {%x0}, {%x1}, {%x2,%x3};",
        "mma.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%x24,%x25}, {%x0}, {%x1}, {%x2,%x3};",
        "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32 {%x24,%x25}, {%x0}, {%x1}, {%x2,%x3};",
        "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%x0}, [%x1];",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%x0,%x1,%x2,%x3,%x4}, [%x5];",
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%x5], {%x0,%x1,%x2};",
        "add.e4m3 %x0, %x1, %x2;",
        "ld.shared.s4 %x0, [%x1];",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[1024];
        struct sim_module *m;
        struct sim_log log;
        snprintf(text, sizeof(text),
                 HEAD ".visible .entry k()\n{\n.reg .b32 %%x<32>;\n%s\nret;\n}\n", texts[i]);
        int rc = sim_parse(text, strlen(text), &m, &log);
        if (!rc) {
            fprintf(stderr, "%s: it is accepted\n", texts[i]);
            mt_failed++;
            sim_module_free(m);
        }
    }
    EXPECT(sim_parse(HEAD ".global .e4m3 v;\n", strlen(HEAD ".global .e4m3 v;\n"),
                     &(struct sim_module *){NULL}, &(struct sim_log){0}) != 0);
}

static void test_missing_lanes(void)
{
    struct runner r;
    REQUIRE(open_insn(&r,
                      "{ .reg .pred %q; setp.ne.u32 %q, %t, 3;\n"
                      "@%q mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%x24,%x25}, {%x0}, "
                      "{%x1}, {%x2,%x3}; }",
                      32));
    EXPECT_EQ(run_insn(&r), CUDA_ERROR_ILLEGAL_INSTRUCTION);
    EXPECT(strstr(r.fault.text, "thread (3,0,0)") && strstr(r.fault.text, "lanes are missing"));
    runner_close(&r);
    REQUIRE(open_insn(&r, S8_MMA(""), 32));
    uint64_t params[] = {(uint64_t)(uintptr_t)r.memory};
    EXPECT_EQ(runner_run(&r, "k", 1, 20, 0, params, 1), CUDA_ERROR_ILLEGAL_INSTRUCTION);
    runner_close(&r);
    /* Lanes that come on different ways meet. */
    REQUIRE(
        open_insn(&r,
                  "{ .reg .pred %q; and.b32 %x30, %t, 1; setp.ne.u32 %q, %x30, 0; @%q bra ODD;\n"
                  "add.s32 %x0, %x0, 0x01010101; bra.uni BOTH;\n"
                  "ODD: add.s32 %x0, %x0, 0x01010101; mov.b32 %x31, 1;\n"
                  "BOTH: " S8_MMA("") " }",
                  32));
    for (unsigned l = 0; l < LANES; l++)
        (*slots_of(&r))[1][l] = 0x01010101;
    EXPECT_EQ(run_insn(&r), 0);
    EXPECT_EQ((*slots_of(&r))[24][7], 16);
    runner_close(&r);
}

int main(void)
{
    MT_RUN(test_floats);
    MT_RUN(test_integers);
    MT_RUN(test_limits);
    MT_RUN(test_quads);
    MT_RUN(test_refused);
    MT_RUN(test_missing_lanes);
    return mt_done();
}
