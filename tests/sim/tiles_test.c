/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices between memory and a warp's registers: ldmatrix, stmatrix,
 * movmatrix by the PTX ISA's tables, and products by wmma, whose fragments are
 * nobody's business: only what it makes of memory is looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "minitest.h"
#include "runner.h"

#define HEAD  ".version 8.4\n.target sm_90\n.address_size 64\n"
#define LANES 32u

static uint32_t random_bits(void)
{
    static uint32_t state = 4711;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

static uint64_t base(const struct runner *r)
{
    return (uint64_t)(uintptr_t)r->memory;
}

/* ---- tiles of 8x8 ---- */

/*
 * Lane i has row 31 - i of shared memory's 32 rows of eight elements, rows 16
 * bytes apart and filled with their numbers; results of lane i go to out[n][i].
 */
static bool open_tiles(struct runner *r, const char *insn)
{
    char text[4096];
    snprintf(text, sizeof(text),
             HEAD ".visible .entry k(.param .u64 po)\n{\n.reg .b32 %%r<12>; .reg .b64 %%p<4>;\n"
                  ".shared .align 16 .b8 pool[512];\nld.param.u64 %%p0, [po];\n"
                  "mov.u32 %%r8, %%tid.x; mov.u32 %%r9, pool; mov.u32 %%r11, 31;\n"
                  "mul.wide.u32 %%p1, %%r8, 16; add.s64 %%p1, %%p1, %%p0;\n"
                  "ld.global.v4.b32 {%%r0,%%r1,%%r2,%%r3}, [%%p1];\n"
                  "mad.lo.u32 %%r10, %%r8, 16, %%r9; st.shared.v4.b32 [%%r10], "
                  "{%%r0,%%r1,%%r2,%%r3};\n"
                  "sub.u32 %%r10, %%r11, %%r8; mad.lo.u32 %%r10, %%r10, 16, %%r9;\n"
                  "bar.warp.sync -1;\n%s\n"
                  "bar.warp.sync -1;\n"
                  "mad.lo.u32 %%r10, %%r8, 16, %%r9; ld.shared.v4.b32 {%%r4,%%r5,%%r6,%%r7}, "
                  "[%%r10];\n"
                  "st.global.v4.b32 [%%p1+512], {%%r0,%%r1,%%r2,%%r3};\n"
                  "st.global.v4.b32 [%%p1+1024], {%%r4,%%r5,%%r6,%%r7};\nret;\n}\n",
             insn);
    if (!runner_open(r, text, 4096)) {
        fprintf(stderr, "%s: %s\n", insn, r->log.text);
        mt_failed++;
        return false;
    }
    for (unsigned i = 0; i < 256; i++)
        ((uint16_t *)(void *)r->memory)[i] = (uint16_t)i;
    return true;
}

static int run_tiles(struct runner *r)
{
    uint64_t params[] = {base(r)};
    int rc = runner_run(r, "k", 1, LANES, 0, params, 1);
    if (rc)
        fprintf(stderr, "%s\n", r->fault.text);
    return rc;
}

/* Register N of lane L after the instruction: two elements. */
static uint32_t result(const struct runner *r, unsigned l, unsigned n)
{
    return ((const uint32_t *)(const void *)(r->memory + 512))[l * 4 + n];
}

static void check_ldmatrix(const char *insn, unsigned n, bool trans)
{
    struct runner r;
    if (!open_tiles(&r, insn))
        return;
    EXPECT_EQ(run_tiles(&r), 0);
    for (unsigned l = 0; l < LANES; l++) {
        for (unsigned t = 0; t < n; t++) {
            for (unsigned k = 0; k < 2; k++) {
                unsigned row = l / 4, col = l % 4 * 2 + k, from = trans ? col : row;
                unsigned line = 31 - (t * 8 + from), at = trans ? row : col;
                EXPECT_EQ(result(&r, l, t) >> (16 * k) & 0xffff, line * 8 + at);
            }
        }
    }
    runner_close(&r);
}

static void test_ldmatrix(void)
{
    check_ldmatrix("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r10];", 1, false);
    check_ldmatrix("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r0,%r1}, [%r10];", 2, true);
    check_ldmatrix("ldmatrix.sync.aligned.m8n8.x4.shared::cta.b16 {%r0,%r1,%r2,%r3}, [%r10];", 4,
                   false);
    check_ldmatrix("ldmatrix.sync.aligned.x4.m8n8.shared.b16 {%r0,%r1,%r2,%r3}, [%r10];", 4, false);
    check_ldmatrix("ldmatrix.sync.aligned.x4.trans.m8n8.shared.b16 {%r0,%r1,%r2,%r3}, [%r10];", 4,
                   true);
    check_ldmatrix("cvt.u64.u32 %p2, %r10; cvta.shared.u64 %p2, %p2;\n"
                   "ldmatrix.sync.aligned.m8n8.x4.b16 {%r0,%r1,%r2,%r3}, [%p2];",
                   4, false);
    check_ldmatrix("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10,%r1,%r2,%r3}, [%r10];\n"
                   "mov.b32 %r0, %r10;",
                   4, false);
}

/* Registers before are rows as they were loaded: tile t's are words 4 l + t. */
static uint32_t before(unsigned l, unsigned t)
{
    uint32_t first = l * 8 + t * 2;
    return first | (first + 1) << 16;
}

static void check_stmatrix(const char *insn, unsigned n, bool trans)
{
    struct runner r;
    if (!open_tiles(&r, insn))
        return;
    EXPECT_EQ(run_tiles(&r), 0);
    const uint16_t *shared = (const uint16_t *)(const void *)(r.memory + 1024);
    for (unsigned t = 0; t < n; t++) {
        for (unsigned i = 0; i < 8; i++) {
            for (unsigned j = 0; j < 8; j++) {
                unsigned row = trans ? j : i, col = trans ? i : j;
                uint32_t word = before(row * 4 + col / 2, t);
                EXPECT_EQ(shared[(31 - (t * 8 + i)) * 8 + j], word >> (16 * (col % 2)) & 0xffff);
            }
        }
    }
    runner_close(&r);
}

static void test_stmatrix(void)
{
    check_stmatrix("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r10], {%r0};", 1, false);
    check_stmatrix("stmatrix.sync.aligned.x2.m8n8.shared.b16 [%r10], {%r0,%r1};", 2, false);
    check_stmatrix("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r10], {%r0,%r1,%r2,%r3};", 4,
                   true);
}

static void test_movmatrix(void)
{
    struct runner r;
    if (!open_tiles(&r, "movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r0;"))
        return;
    EXPECT_EQ(run_tiles(&r), 0);
    for (unsigned l = 0; l < LANES; l++) {
        unsigned row = l / 4, col = l % 4 * 2;
        uint32_t low = before(col * 4 + row / 2, 0) >> (16 * (row % 2)) & 0xffff;
        uint32_t high = before((col + 1) * 4 + row / 2, 0) >> (16 * (row % 2)) & 0xffff;
        EXPECT_EQ(result(&r, l, 0), low | high << 16);
    }
    runner_close(&r);
}

static void test_tile_faults(void)
{
    struct runner r;
    uint64_t params[1];
    REQUIRE(open_tiles(&r, "add.s32 %r10, %r10, 2;\n"
                           "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0,%r1,%r2,%r3}, [%r10];"));
    params[0] = base(&r);
    EXPECT_EQ(runner_run(&r, "k", 1, LANES, 0, params, 1), CUDA_ERROR_MISALIGNED_ADDRESS);
    runner_close(&r);
    /* Only the rows of the tiles asked for are looked at. */
    REQUIRE(open_tiles(&r, "{ .reg .pred %q; setp.lt.u32 %q, %r8, 8; selp.b32 %r10, %r9, -16, %q;\n"
                           "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r10]; }"));
    params[0] = base(&r);
    EXPECT_EQ(runner_run(&r, "k", 1, LANES, 0, params, 1), 0);
    runner_close(&r);
    REQUIRE(open_tiles(&r, "mov.b32 %r10, -16;\n"
                           "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r10], {%r0};"));
    params[0] = base(&r);
    EXPECT_EQ(runner_run(&r, "k", 1, LANES, 0, params, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    runner_close(&r);
}

/* ---- wmma ---- */

enum { AT_A = 0, AT_B = 16384, AT_C = 32768, AT_D = 49152, MEMORY = 65536 };

/* A type's name, bits, and how many registers its fragments have (of all shapes, see below). */
struct wmma_case {
    const char *type, *accumulator;
    unsigned m, n, k;
    unsigned na, nb, nc;
};

struct number {
    const char *type;
    unsigned bits, exponent, fraction; /* 0: integer */
};

static const struct number *number_of(const char *type)
{
    static const struct number all[] = {
        {"f16", 16, 5, 10},  {"bf16", 16, 8, 7}, {"tf32", 32, 8, 23}, {"f32", 32, 8, 23},
        {"f64", 64, 11, 52}, {"s8", 8, 0, 0},    {"u8", 8, 0, 0},     {"s4", 4, 0, 0},
        {"u4", 4, 0, 0},     {"b1", 1, 0, 0},    {"s32", 32, 0, 0}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp(type, all[i].type))
            return &all[i];
    abort();
}

static uint64_t encode(const struct number *t, int v)
{
    uint64_t m = (uint64_t)abs(v), e = 0;
    if (!t->exponent)
        return (uint32_t)v & (uint32_t)((1ull << t->bits) - 1);
    if (!v)
        return 0;
    while (m >> (e + 1))
        e++;
    return (v < 0 ? 1ull << (t->bits - 1) : 0) |
           (e + (1ull << (t->exponent - 1)) - 1) << t->fraction |
           ((m << t->fraction >> e) & ((1ull << t->fraction) - 1));
}

static int random_of(const char *type)
{
    uint32_t v = random_bits();
    return !strcmp(type, "b1")   ? (int)(v & 1)
           : !strcmp(type, "u4") ? (int)(v & 15)
           : !strcmp(type, "u8") ? (int)(v & 255)
           : !strcmp(type, "s8") ? (int8_t)v
                                 : (int)(v % 15) - 7;
}

/* Element INDEX of the array at TO. */
static void put(uint8_t *to, const struct number *t, size_t index, int v)
{
    uint64_t bits = encode(t, v);
    if (t->bits >= 8)
        memcpy(to + index * t->bits / 8, &bits, t->bits / 8);
    else
        to[index * t->bits / 8] |= (uint8_t)(bits << (index * t->bits % 8));
}

static bool equals(const uint8_t *at, const struct number *t, size_t index, int v)
{
    uint64_t bits = encode(t, v);
    return !memcmp(at + index * t->bits / 8, &bits, t->bits / 8);
}

static void list(char *to, size_t size, const char *letter, unsigned n)
{
    size_t len = (size_t)snprintf(to, size, "{");
    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(to + len, size - len, "%s%%%s%u", i ? "," : "", letter, i);
    snprintf(to + len, size - len, "}");
}

struct layouts {
    bool a_col, b_col, c_col, d_col;
    const char *more; /* .satfinite */
};

#define LAYOUT(col) ((col) ? "col" : "row")

static bool open_wmma(struct runner *r, const struct wmma_case *t, const struct layouts *y,
                      const char *stride)
{
    char text[4096], a[128], b[128], c[128], d[128], shape[32], types[64];
    bool f64 = !strcmp(t->type, "f64");
    list(a, sizeof(a), "a", t->na);
    list(b, sizeof(b), "b", t->nb);
    list(c, sizeof(c), "c", t->nc);
    list(d, sizeof(d), "d", t->nc);
    snprintf(shape, sizeof(shape), "m%un%uk%u", t->m, t->n, t->k);
    if (!strcmp(t->type, "f16"))
        snprintf(types, sizeof(types), "%s.%s", t->accumulator, t->accumulator);
    else
        snprintf(types, sizeof(types), "%s.%s.%s.%s", t->accumulator, t->type, t->type,
                 t->accumulator);
    snprintf(text, sizeof(text),
             HEAD
             ".visible .entry k(.param .u64 po, .param .u32 ps)\n{\n.reg .b64 %%p<4>;\n"
             ".reg .b%u %%a<8>, %%b<8>, %%c<8>, %%d<8>; .reg .b32 %%s;\n"
             "ld.param.u64 %%p0, [po]; ld.param.u32 %%s, [ps]; add.s64 %%p1, %%p0, %u; add.s64 "
             "%%p2, %%p0, %u; add.s64 %%p3, %%p0, %u;\n"
             "wmma.load.a.sync.aligned.%s.%s.global.%s %s, [%%p0]%s;\n"
             "wmma.load.b.sync.aligned.%s.%s.%s %s, [%%p1]%s;\n"
             "wmma.load.c.sync.aligned.%s.%s.global.%s %s, [%%p2]%s;\n"
             "wmma.mma%s.sync.aligned.%s.%s.%s.%s%s %s, %s, %s, %s;\n"
             "wmma.store.d.sync.aligned.%s.%s.global.%s [%%p3], %s%s;\nret;\n}\n",
             f64 ? 64u : 32u, (unsigned)AT_B, (unsigned)AT_C, (unsigned)AT_D, LAYOUT(y->a_col),
             shape, t->type, a, stride, LAYOUT(y->b_col), shape, t->type, b, stride,
             LAYOUT(y->c_col), shape, t->accumulator, c, stride,
             !strcmp(t->type, "b1") ? ".xor.popc" : "", LAYOUT(y->a_col), LAYOUT(y->b_col), shape,
             types, y->more, d, a, b, c, LAYOUT(y->d_col), shape, t->accumulator, d, stride);
    if (runner_open(r, text, MEMORY))
        return true;
    fprintf(stderr, "%s %s %s: %s\n", shape, t->type, t->accumulator, r->log.text);
    mt_failed++;
    return false;
}

/* STRIDE 0: none is said, and it is the matrix's own. */
static void run_wmma(const struct wmma_case *t, const struct layouts *y, unsigned stride)
{
    static int a[32][128], b[128][32];
    struct runner r;
    const struct number *in = number_of(t->type), *out = number_of(t->accumulator);
    if (!open_wmma(&r, t, y, stride ? ", %s" : ""))
        return;
#define INDEX(col_major, i, j, rows, cols)                                                         \
    ((col_major) ? (size_t)(j) * (stride ? stride : (rows)) + (i)                                  \
                 : (size_t)(i) * (stride ? stride : (cols)) + (j))
    static int c[32][32];
    for (unsigned i = 0; i < t->m; i++)
        for (unsigned p = 0; p < t->k; p++)
            put(r.memory + AT_A, in, INDEX(y->a_col, i, p, t->m, t->k),
                a[i][p] = random_of(t->type));
    for (unsigned p = 0; p < t->k; p++)
        for (unsigned j = 0; j < t->n; j++)
            put(r.memory + AT_B, in, INDEX(y->b_col, p, j, t->k, t->n),
                b[p][j] = random_of(t->type));
    for (unsigned i = 0; i < t->m; i++)
        for (unsigned j = 0; j < t->n; j++)
            put(r.memory + AT_C, out, INDEX(y->c_col, i, j, t->m, t->n),
                c[i][j] = random_of(t->accumulator));
    uint64_t params[] = {base(&r), stride};
    int rc = runner_run(&r, "k", 1, LANES, 0, params, 2);
    unsigned wrong = 0;
    for (unsigned i = 0; i < t->m; i++) {
        for (unsigned j = 0; j < t->n; j++) {
            int v = c[i][j];
            for (unsigned p = 0; p < t->k; p++)
                v += in->bits == 1 ? a[i][p] ^ b[p][j] : a[i][p] * b[p][j];
            wrong += !equals(r.memory + AT_D, out, INDEX(y->d_col, i, j, t->m, t->n), v);
        }
    }
    if (rc || wrong) {
        fprintf(stderr, "m%un%uk%u %s %s: %d, %u wrong %s\n", t->m, t->n, t->k, t->type,
                t->accumulator, rc, wrong, r.fault.text);
        mt_failed++;
    }
    runner_close(&r);
}

static void test_wmma(void)
{
    static const struct wmma_case cases[] = {
        {"f16", "f32", 16, 16, 16, 8, 8, 8},  {"f16", "f16", 16, 16, 16, 8, 8, 4},
        {"f16", "f32", 32, 8, 16, 8, 8, 8},   {"f16", "f16", 32, 8, 16, 8, 8, 4},
        {"f16", "f32", 8, 32, 16, 8, 8, 8},   {"f16", "f16", 8, 32, 16, 8, 8, 4},
        {"bf16", "f32", 16, 16, 16, 4, 4, 8}, {"bf16", "f32", 32, 8, 16, 8, 2, 8},
        {"bf16", "f32", 8, 32, 16, 2, 8, 8},  {"tf32", "f32", 16, 16, 8, 4, 4, 8},
        {"s8", "s32", 16, 16, 16, 2, 2, 8},   {"s8", "s32", 32, 8, 16, 4, 1, 8},
        {"s8", "s32", 8, 32, 16, 1, 4, 8},    {"u8", "s32", 16, 16, 16, 2, 2, 8},
        {"u8", "s32", 32, 8, 16, 4, 1, 8},    {"u8", "s32", 8, 32, 16, 1, 4, 8},
        {"f64", "f64", 8, 8, 4, 1, 1, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned how = 0; how < 8; how++) {
            struct layouts y = {how & 1, how & 2, how & 4, !(how & 4) != !(how & 1), ""};
            run_wmma(&cases[i], &y, 0);
            run_wmma(&cases[i], &y, 48);
        }
        if (!strcmp(cases[i].accumulator, "s32"))
            run_wmma(&cases[i], &(struct layouts){.b_col = true, .more = ".satfinite"}, 32);
    }
    static const struct wmma_case small[] = {{"s4", "s32", 8, 8, 32, 1, 1, 2},
                                             {"u4", "s32", 8, 8, 32, 1, 1, 2},
                                             {"b1", "s32", 8, 8, 128, 1, 1, 2}};
    for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
        run_wmma(&small[i], &(struct layouts){.b_col = true, .more = ""}, 0);
        run_wmma(&small[i], &(struct layouts){.b_col = true, .d_col = true, .more = ""}, 256);
    }
}

static void test_wmma_faults(void)
{
    const struct wmma_case t = {"s8", "s32", 16, 16, 16, 2, 2, 8};
    struct runner r;
    REQUIRE(open_wmma(&r, &t, &(struct layouts){.b_col = true, .more = ""}, ", 1000000"));
    uint64_t params[] = {base(&r), 0};
    EXPECT_EQ(runner_run(&r, "k", 1, LANES, 0, params, 2), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(runner_run(&r, "k", 1, 16, 0, params, 2), CUDA_ERROR_ILLEGAL_INSTRUCTION);
    runner_close(&r);
    static const char *const texts[] = {
        "wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r0,%r1,%r2,%r3}, [%p];",
        "wmma.load.a.sync.aligned.row.m16n16k8.f16 {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, [%p];",
        "wmma.load.a.sync.aligned.col.m8n8k32.s4 {%r0}, [%p];",
        "wmma.load.d.sync.aligned.row.m16n16k16.f32 {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, [%p];",
        "wmma.store.d.sync.aligned.row.m16n16k16.f16 [%p], {%r0,%r1,%r2};",
        "wmma.store.d.sync.aligned.row.m16n16k16.bf16 [%p], {%r0,%r1,%r2,%r3};",
        "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%r0,%r1}, {%r0}, {%r0}, {%r0};",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[1024];
        struct sim_module *m;
        struct sim_log log;
        snprintf(text, sizeof(text),
                 HEAD ".visible .entry k()\n{\n.reg .b32 %%r<32>; .reg .b64 %%p;\n%s\nret;\n}\n",
                 texts[i]);
        int rc = sim_parse(text, strlen(text), &m, &log);
        if (!rc) {
            fprintf(stderr, "%s: it is accepted\n", texts[i]);
            mt_failed++;
            sim_module_free(m);
        }
    }
}

int main(void)
{
    MT_RUN(test_ldmatrix);
    MT_RUN(test_stmatrix);
    MT_RUN(test_movmatrix);
    MT_RUN(test_tile_faults);
    MT_RUN(test_wmma);
    MT_RUN(test_wmma_faults);
    return mt_done();
}
