/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small floating point formats: every code of eight bits both ways, halves and
 * pairs of them. What is expected is computed here from a format's numbers of
 * bits: a value is rounded to a multiple of its last place.
 */
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "minitest.h"
#include "runner.h"

#define HEAD  ".version 8.6\n.target sm_90\n.address_size 64\n"
#define COUNT 65536u

static uint32_t in_a[COUNT], in_b[COUNT], in_c[COUNT], out[COUNT];

/* out[i] = INSN of a, b, c: registers %a, %b, %c to %d; %h0 to %h3 have 16 bits, %y 8. */
static bool map(const char *insn)
{
    struct runner r;
    char text[4096];
    snprintf(text, sizeof(text),
             HEAD
             ".visible .entry k(.param .u64 po)\n{\n.reg .b64 %%p; .reg .b32 %%a, %%b, %%c, %%d, "
             "%%t, %%n, %%x; .reg .b16 %%h<4>; .reg .b8 %%y, %%z; .reg .pred %%q<3>;\n"
             "ld.param.u64 %%p, [po]; mov.u32 %%t, %%ctaid.x; mov.u32 %%n, %%ntid.x;\n"
             "mov.u32 %%x, %%tid.x; mad.lo.u32 %%t, %%t, %%n, %%x;\n"
             "mad.wide.u32 %%p, %%t, 4, %%p;\n"
             "ld.global.b32 %%a, [%%p]; ld.global.b32 %%b, [%%p+%u]; ld.global.b32 %%c, "
             "[%%p+%u];\nmov.b32 {%%h0, %%h1}, %%a;\n"
             "%s\nst.global.b32 [%%p+%u], %%d;\nret;\n}\n",
             COUNT * 4, COUNT * 8, insn, COUNT * 12);
    if (!runner_open(&r, text, COUNT * 16)) {
        fprintf(stderr, "%s: %s\n", insn, r.log.text);
        mt_failed++;
        return false;
    }
    memcpy(r.memory, in_a, sizeof(in_a));
    memcpy(r.memory + COUNT * 4, in_b, sizeof(in_b));
    memcpy(r.memory + COUNT * 8, in_c, sizeof(in_c));
    uint64_t params[] = {(uint64_t)(uintptr_t)r.memory};
    int rc = runner_run(&r, "k", COUNT / 256, 256, 0, params, 1);
    memcpy(out, r.memory + COUNT * 12, sizeof(out));
    if (rc) {
        fprintf(stderr, "%s: %s\n", insn, r.fault.text);
        mt_failed++;
    }
    runner_close(&r);
    return rc == 0;
}

/* ---- what is expected ---- */

struct format {
    unsigned exponent, fraction;
    uint32_t max, nan, inf; /* inf 0: none */
};

static const struct format f16 = {5, 10, 0x7bff, 0x7fff, 0x7c00};
static const struct format bf16 = {8, 7, 0x7f7f, 0x7fff, 0x7f80};
static const struct format tf32 = {8, 10, 0x3fbff, 0, 0x3fc00};
static const struct format e4m3 = {4, 3, 0x7e, 0x7f, 0};
static const struct format e5m2 = {5, 2, 0x7b, 0x7f, 0x7c};
static const struct format e2m1 = {2, 1, 7, 7, 0};
static const struct format e2m3 = {2, 3, 0x1f, 0x1f, 0};
static const struct format e3m2 = {3, 2, 0x1f, 0x1f, 0};

static double value_of(const struct format *f, uint32_t code)
{
    uint32_t sign = code >> (f->exponent + f->fraction) & 1;
    uint32_t e = code >> f->fraction & ((1u << f->exponent) - 1);
    uint32_t m = code & ((1u << f->fraction) - 1), rest = e << f->fraction | m;
    int bias = (1 << (f->exponent - 1)) - 1;
    double v;
    if (rest > f->max)
        v = rest == f->inf ? INFINITY : NAN;
    else if (!e)
        v = ldexp((double)m, 1 - bias - (int)f->fraction);
    else
        v = ldexp((double)(m + (1u << f->fraction)), (int)e - bias - (int)f->fraction);
    return sign ? -v : v;
}

enum how { NEAREST, ZERO, AWAY, LIMIT = 4, RELU = 8 };

static uint32_t code_of(const struct format *f, double d, unsigned how)
{
    int bias = (1 << (f->exponent - 1)) - 1, e = 0;
    uint32_t sign = signbit(d) ? 1u << (f->exponent + f->fraction) : 0;
    if (isnan(d))
        return f->nan;
    if (how & RELU && d < 0)
        return 0;
    if (d == 0)
        return sign;
    bool limited = how & LIMIT || !f->inf;
    if (isinf(d))
        return sign | (limited ? f->max : f->inf);
    frexp(d, &e);
    int last = (e - 1 < 1 - bias ? 1 - bias : e - 1) - (int)f->fraction;
    double units = ldexp(fabs(d), -last);
    units = (how & 3) == ZERO ? trunc(units) : (how & 3) == AWAY ? round(units) : nearbyint(units);
    if (ldexp(units, last) > value_of(f, f->max))
        return sign | (limited || (how & 3) == ZERO ? f->max : f->inf);
    /* A carry into the next exponent counts on by itself. */
    double code = units + ldexp((double)(last + (int)f->fraction + bias - 1), (int)f->fraction);
    return sign | (uint32_t)code;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static uint32_t random_bits(void)
{
    static uint32_t state = 99;
    state = state * 1664525 + 1013904223;
    return state >> 16 | (state * 69069 + 1) << 16;
}

/* Floats of all sizes: every exponent, ends of ranges, ties. */
static void fill_floats(uint32_t *to)
{
    static const uint32_t ends[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                    0xffc00001, 0x7f7fffff, 0xff7fffff, 1,          0x80000001,
                                    0x007fffff, 0x477fe000, 0x477ff000, 0x477fefff, 0x43e00000,
                                    0x43e80000, 0x43e7ffff, 0x47600000, 0x47700000, 0x33000000,
                                    0x33000001, 0x3f801000, 0x3f803000, 0x3f808000, 0x3f818000,
                                    0x7f7f8000, 0x7f7f7fff, 0x7f7ff000, 0x7f7fefff, 0x3f800fff};
    for (unsigned i = 0; i < COUNT; i++) {
        uint32_t v = random_bits();
        if (i & 1) /* near one: most formats have it */
            v = (v & 0x80ffffff) | (0x38u + (v >> 24 & 15)) << 24;
        if (i & 2)
            v &= 0xfffff000u; /* ties */
        to[i] = v;
    }
    memcpy(to, ends, sizeof(ends));
}

/* ---- conversions ---- */

struct narrow {
    const char *name;
    const struct format *f;
};

static const struct narrow narrow_types[] = {{"e4m3x2", &e4m3}, {"e5m2x2", &e5m2}};

static void test_eight_bits_to_halves(void)
{
    for (unsigned n = 0; n < 2; n++) {
        for (unsigned i = 0; i < COUNT; i++)
            in_a[i] = i; /* both codes, all of them */
        char insn[128];
        snprintf(insn, sizeof(insn), "cvt.rn.f16x2.%s %%d, %%h0;", narrow_types[n].name);
        if (!map(insn))
            return;
        unsigned wrong = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            uint32_t low = code_of(&f16, value_of(narrow_types[n].f, i & 0xff), NEAREST);
            uint32_t high = code_of(&f16, value_of(narrow_types[n].f, i >> 8), NEAREST);
            wrong += out[i] != (low | high << 16);
        }
        EXPECT_EQ(wrong, 0);
    }
    for (unsigned i = 0; i < COUNT; i++)
        in_a[i] = i;
    if (!map("cvt.rn.relu.f16x2.e4m3x2 %d, %h0;"))
        return;
    for (unsigned i = 0; i < 256; i++) {
        double v = value_of(&e4m3, i);
        EXPECT_EQ(out[i] & 0xffff, code_of(&f16, v, RELU));
    }
}

/* Every half to every format of eight bits and less. */
static void test_halves_to_eight_bits(void)
{
    for (unsigned how = 0; how < 4; how++) {
        const struct narrow *t = &narrow_types[how & 1];
        for (unsigned i = 0; i < COUNT; i++)
            in_a[i] = i | (COUNT - 1 - i) << 16;
        char insn[128];
        snprintf(insn, sizeof(insn),
                 "cvt.rn.satfinite%s.%s.f16x2 %%h2, %%a;\ncvt.u32.u16 %%d, %%h2;",
                 how & 2 ? ".relu" : "", t->name);
        if (!map(insn))
            return;
        unsigned relu = how & 2 ? RELU : 0, wrong = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            uint32_t low = code_of(t->f, value_of(&f16, i), LIMIT | relu);
            uint32_t high = code_of(t->f, value_of(&f16, COUNT - 1 - i), LIMIT | relu);
            wrong += out[i] != (low | high << 8);
        }
        EXPECT_EQ(wrong, 0);
    }
}

static void pairs_of_floats(const char *insn, const struct format *f, unsigned bits, unsigned how)
{
    fill_floats(in_a);
    memcpy(in_b + 1, in_a, sizeof(in_a) - 4);
    in_b[0] = in_a[COUNT - 1];
    if (!map(insn))
        return;
    for (unsigned i = 0, wrong = 0; i < COUNT && wrong < 5; i++) {
        uint32_t expect = code_of(f, (double)float_of(in_a[i]), how) << bits |
                          code_of(f, (double)float_of(in_b[i]), how);
        if (out[i] != expect) {
            fprintf(stderr, "%s of 0x%x, 0x%x: 0x%x, expected 0x%x\n", insn, in_a[i], in_b[i],
                    out[i], expect);
            mt_failed++;
            wrong++;
        }
    }
}

#define TO_16(type) "cvt." type ".f32 %h2, %a, %b;\ncvt.u32.u16 %d, %h2;"

static void test_floats_to_pairs(void)
{
    pairs_of_floats(TO_16("rn.satfinite.e4m3x2"), &e4m3, 8, LIMIT);
    pairs_of_floats(TO_16("rn.satfinite.e5m2x2"), &e5m2, 8, LIMIT);
    pairs_of_floats(TO_16("rn.satfinite.relu.e5m2x2"), &e5m2, 8, LIMIT | RELU);
    pairs_of_floats(TO_16("rn.satfinite.e2m3x2"), &e2m3, 8, LIMIT);
    pairs_of_floats(TO_16("rn.satfinite.relu.e3m2x2"), &e3m2, 8, LIMIT | RELU);
    pairs_of_floats("cvt.rn.satfinite.e2m1x2.f32 %y, %a, %b;\nmov.b16 %h2, {%y, 0};\n"
                    "cvt.u32.u16 %d, %h2;",
                    &e2m1, 4, LIMIT);
    pairs_of_floats("cvt.rn.f16x2.f32 %d, %a, %b;", &f16, 16, NEAREST);
    pairs_of_floats("cvt.rz.f16x2.f32 %d, %a, %b;", &f16, 16, ZERO);
    pairs_of_floats("cvt.rn.relu.f16x2.f32 %d, %a, %b;", &f16, 16, RELU);
    pairs_of_floats("cvt.rn.satfinite.f16x2.f32 %d, %a, %b;", &f16, 16, LIMIT);
    pairs_of_floats("cvt.rn.bf16x2.f32 %d, %a, %b;", &bf16, 16, NEAREST);
    pairs_of_floats("cvt.rz.bf16x2.f32 %d, %a, %b;", &bf16, 16, ZERO);
    pairs_of_floats("cvt.rn.relu.bf16x2.f32 %d, %a, %b;", &bf16, 16, RELU);
    pairs_of_floats("cvt.rz.satfinite.relu.bf16x2.f32 %d, %a, %b;", &bf16, 16, ZERO | LIMIT | RELU);
}

static void one_of_floats(const char *insn, const struct format *f, unsigned shift, unsigned how)
{
    fill_floats(in_a);
    if (!map(insn))
        return;
    for (unsigned i = 0, wrong = 0; i < COUNT && wrong < 5; i++) {
        double v = (double)float_of(in_a[i]);
        uint32_t expect = f == &tf32 && isnan(v) ? 0x7fffffff : code_of(f, v, how) << shift;
        if (out[i] != expect) {
            fprintf(stderr, "%s of 0x%x: 0x%x, expected 0x%x\n", insn, in_a[i], out[i], expect);
            mt_failed++;
            wrong++;
        }
    }
}

static void test_floats_to_one(void)
{
    one_of_floats("cvt.rna.tf32.f32 %d, %a;", &tf32, 13, AWAY);
    one_of_floats("cvt.rna.satfinite.tf32.f32 %d, %a;", &tf32, 13, AWAY | LIMIT);
    one_of_floats("cvt.rn.tf32.f32 %d, %a;", &tf32, 13, NEAREST);
    one_of_floats("cvt.rz.relu.tf32.f32 %d, %a;", &tf32, 13, ZERO | RELU);
    one_of_floats("cvt.rn.relu.f16.f32 %h2, %a;\ncvt.u32.u16 %d, %h2;", &f16, 0, RELU);
    one_of_floats("cvt.rz.satfinite.bf16.f32 %h2, %a;\ncvt.u32.u16 %d, %h2;", &bf16, 0,
                  ZERO | LIMIT);
}

/* Formats of six and four bits, and of exponents alone. */
static void test_smallest(void)
{
    const struct {
        const char *insn;
        const struct format *f;
        unsigned bits;
    } all[] = {{"cvt.rn.f16x2.e2m3x2 %d, %h0;", &e2m3, 8},
               {"cvt.rn.f16x2.e3m2x2 %d, %h0;", &e3m2, 8},
               {"mov.b16 {%y, %z}, %h0;\ncvt.rn.f16x2.e2m1x2 %d, %y;", &e2m1, 4}};
    for (unsigned n = 0; n < 3; n++) {
        unsigned codes = 2u << (all[n].f->exponent + all[n].f->fraction);
        for (unsigned i = 0; i < COUNT; i++)
            in_a[i] = i % codes | i / codes % codes << all[n].bits;
        if (!map(all[n].insn))
            return;
        for (unsigned i = 0; i < codes * codes; i++) {
            uint32_t low = code_of(&f16, value_of(all[n].f, i % codes), NEAREST);
            uint32_t high = code_of(&f16, value_of(all[n].f, i / codes), NEAREST);
            EXPECT_EQ(out[i], low | high << 16);
        }
    }
    const struct {
        float v;
        uint32_t down, up;
    } scales[] = {{1.0f, 127, 127},       {-1.0f, 127, 127},    {1.5f, 127, 128},
                  {0.0f, 0, 0},           {0x1p-127f, 0, 0},    {0x1.8p-127f, 0, 1},
                  {0x1p-149f, 0, 0},      {0x1p127f, 254, 254}, {0x1.8p127f, 254, 254},
                  {INFINITY, 0xfe, 0xfe}, {NAN, 0xff, 0xff}};
    for (unsigned i = 0; i < COUNT; i++)
        in_a[i] = in_b[i] = bits_of(scales[i % 11].v);
    if (!map(TO_16("rz.satfinite.ue8m0x2")))
        return;
    for (unsigned i = 0; i < 11; i++)
        EXPECT_EQ(out[i], scales[i].down * 0x101);
    if (!map(TO_16("rp.satfinite.ue8m0x2")))
        return;
    for (unsigned i = 0; i < 11; i++)
        EXPECT_EQ(out[i], scales[i].up * 0x101);
    for (unsigned i = 0; i < COUNT; i++)
        in_a[i] = i;
    if (!map("cvt.rn.bf16x2.ue8m0x2 %d, %h0;"))
        return;
    for (unsigned i = 0; i < 255; i++)
        EXPECT_EQ(out[i] & 0xffff, code_of(&bf16, ldexp(1.0, (int)i - 127), NEAREST));
    EXPECT_EQ(out[255] & 0xffff, 0x7fff);
}

/* ---- arithmetic of halves ---- */

static double apply(char op, double a, double b, double c)
{
    return op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a * b + c;
}

/* Values such that a product and a sum are exact in a double. */
static uint32_t moderate(const struct format *f)
{
    uint32_t v = random_bits();
    double d = ldexp((double)(int32_t)(v & 0x7ff) - 1024, (int)(v >> 12 & 15) - 12);
    return code_of(f, d, NEAREST);
}

static void arithmetic(const char *op, char sign, const struct format *f, const char *type)
{
    char insn[128];
    for (unsigned i = 0; i < COUNT; i++) {
        in_a[i] = moderate(f) | moderate(f) << 16;
        in_b[i] = moderate(f) | moderate(f) << 16;
        in_c[i] = moderate(f) | moderate(f) << 16;
    }
    snprintf(insn, sizeof(insn), "%s.%s %%d, %%a, %%b%s;", op, type, sign == 'f' ? ", %c" : "");
    if (!map(insn))
        return;
    bool relu = strstr(op, "relu") != NULL, sat = strstr(op, "sat") != NULL;
    for (unsigned i = 0, wrong = 0; i < COUNT && wrong < 5; i++) {
        uint32_t expect = 0;
        for (unsigned half = 0; half < 32; half += 16) {
            double d =
                apply(sign, value_of(f, in_a[i] >> half & 0xffff),
                      value_of(f, in_b[i] >> half & 0xffff), value_of(f, in_c[i] >> half & 0xffff));
            d = sat ? (d < 0 ? 0 : d > 1 ? 1 : d) : d;
            expect |= code_of(f, d, relu ? RELU : NEAREST) << half;
        }
        if (sat ? (out[i] & 0x7fff7fff) != (expect & 0x7fff7fff) : out[i] != expect) {
            fprintf(stderr, "%s of 0x%x, 0x%x, 0x%x: 0x%x, expected 0x%x\n", insn, in_a[i], in_b[i],
                    in_c[i], out[i], expect);
            mt_failed++;
            wrong++;
        }
    }
}

static void test_arithmetic(void)
{
    arithmetic("add", '+', &f16, "f16x2");
    arithmetic("add.sat", '+', &f16, "f16x2");
    arithmetic("sub.rn", '-', &f16, "f16x2");
    arithmetic("mul", '*', &f16, "f16x2");
    arithmetic("fma.rn", 'f', &f16, "f16x2");
    arithmetic("fma.rn.relu", 'f', &f16, "f16x2");
    arithmetic("add", '+', &bf16, "bf16x2");
    arithmetic("sub", '-', &bf16, "bf16x2");
    arithmetic("mul.rn", '*', &bf16, "bf16x2");
    arithmetic("fma.rn", 'f', &bf16, "bf16x2");
    arithmetic("fma.rn.relu", 'f', &bf16, "bf16x2");
}

struct case_of {
    const char *insn;
    uint32_t a, b, c, expect;
};

#define SCALAR(insn) "mov.b32 {%h1, %h2}, %b;\n" insn "\ncvt.u32.u16 %d, %h3;"

static void test_cases(void)
{
    static const struct case_of cases[] = {
        {"min.f16x2 %d, %a, %b;", 0x7e003c00, 0x40004000, 0, 0x40003c00},
        {"min.NaN.f16x2 %d, %a, %b;", 0x7e003c00, 0x40004000, 0, 0x7fff3c00},
        {"max.f16x2 %d, %a, %b;", 0x80003c00, 0x00004000, 0, 0x00004000},
        {"max.ftz.f16x2 %d, %a, %b;", 0x03ff8001, 0x80000001, 0, 0x00000000},
        {"min.xorsign.abs.f16x2 %d, %a, %b;", 0xbc004000, 0x4000c400, 0, 0xbc00c000},
        {"max.NaN.xorsign.abs.bf16x2 %d, %a, %b;", 0xbf804000, 0xc0007fc0, 0, 0x40007fff},
        {"min.bf16x2 %d, %a, %b;", 0x7fc03f80, 0x40004000, 0, 0x40003f80},
        {"max.bf16x2 %d, %a, %b;", 0xbf803f80, 0xc0004000, 0, 0xbf804000},
        {"neg.f16x2 %d, %a;", 0x3c00c000, 0, 0, 0xbc004000},
        {"neg.bf16x2 %d, %a;", 0x3f80c000, 0, 0, 0xbf804000},
        {"abs.f16x2 %d, %a;", 0xbc000000, 0, 0, 0x3c000000},
        {"abs.bf16x2 %d, %a;", 0xbf808000, 0, 0, 0x3f800000},
        {"add.ftz.f16x2 %d, %a, %b;", 0x00013c00, 0x00010001, 0, 0x00003c00},
        {"mul.ftz.f16x2 %d, %a, %b;", 0x04004000, 0x38004000, 0, 0x00004400},
        {"fma.rn.ftz.sat.f16x2 %d, %a, %b, %c;", 0x40003c00, 0x40003800, 0, 0x3c003800},
        {"fma.rn.sat.f16x2 %d, %a, %b, %c;", 0x7e00bc00, 0x3c003c00, 0, 0x00000000},
        {"ex2.approx.f16x2 %d, %a;", 0x3c00bc00, 0, 0, 0x40003800},
        {"ex2.approx.ftz.bf16x2 %d, %a;", 0x3f80c000, 0, 0, 0x40003e80},
        {"tanh.approx.f16x2 %d, %a;", 0x7c008000, 0, 0, 0x3c008000},
        {"tanh.approx.bf16x2 %d, %a;", 0xff800000, 0, 0, 0xbf800000},
        {"set.eq.u32.f16x2 %d, %a, %b;", 0x3c000000, 0x3c00bc00, 0, 0xffff0000},
        {"set.neu.s32.f16x2 %d, %a, %b;", 0x7e000000, 0x7e008000, 0, 0xffff0000},
        {"set.lt.f16x2.f16x2 %d, %a, %b;", 0x3c00bc00, 0x00000000, 0, 0x00003c00},
        {"set.eq.bf16x2.bf16x2 %d, %a, %b;", 0x3f800000, 0x3f808000, 0, 0x3f803f80},
        {"set.gt.u32.bf16x2 %d, %a, %b;", 0x40003f80, 0x3f803f80, 0, 0xffff0000},
        {"setp.eq.u32 %q0, %c, 1;\nset.eq.and.u32.f16x2 %d, %a, %b, %q0;", 0x3c003c00, 0x3c003c00,
         0, 0},
        {"setp.lt.f16x2 %q0|%q1, %a, %b;\nselp.u32 %d, 1, 0, %q0;\n@%q1 add.u32 %d, %d, 2;",
         0x3c00bc00, 0, 0, 1},
        {"setp.gt.bf16x2 %q0|%q1, %a, %b;\nselp.u32 %d, 1, 0, %q0;\n@%q1 add.u32 %d, %d, 2;",
         0x3f80bf80, 0, 0, 2},
        {SCALAR("add.bf16 %h3, %h0, %h1;"), 0x3f80, 0x3f80, 0, 0x4000},
        {SCALAR("sub.bf16 %h3, %h0, %h1;"), 0x4000, 0x3f80, 0, 0x3f80},
        {SCALAR("mul.bf16 %h3, %h0, %h1;"), 0x4000, 0x4040, 0, 0x40c0},
        {SCALAR("fma.rn.relu.bf16 %h3, %h0, %h1, %h0;"), 0xc000, 0x4040, 0, 0},
        {SCALAR("max.NaN.bf16 %h3, %h0, %h1;"), 0x7fc0, 0x3f80, 0, 0x7fff},
        {SCALAR("neg.bf16 %h3, %h0;"), 0x3f80, 0, 0, 0xbf80},
        {SCALAR("set.eq.u16.bf16 %h3, %h0, %h1;"), 0x3f80, 0x3f80, 0, 0xffff},
        {SCALAR("set.eq.bf16.bf16 %h3, %h0, %h1;"), 0x3f80, 0x3f80, 0, 0x3f80},
        {SCALAR("set.eq.f16.f16 %h3, %h0, %h1;"), 0x3c00, 0x3c00, 0, 0x3c00},
        {SCALAR("fma.rn.ftz.relu.f16 %h3, %h0, %h1, %h0;"), 0x3c00, 0x4000, 0, 0x4200},
        {SCALAR("tanh.approx.bf16 %h3, %h0;"), 0x7f80, 0, 0, 0x3f80},
        {"cvt.pack.sat.s16.s32 %d, %a, %b;", 40000, (uint32_t)-5, 0, 0x7ffffffb},
        {"cvt.pack.sat.u16.s32 %d, %a, %b;", 70000, (uint32_t)-5, 0, 0xffff0000},
        {"cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;", 200, (uint32_t)-200, 0x12345678, 0x56787f80},
        {"cvt.pack.sat.u8.s32.b32 %d, %a, %b, 0;", 200, (uint32_t)-200, 0, 0xc800},
        {"cvt.pack.sat.s4.s32.b32 %d, %a, %b, %c;", 9, (uint32_t)-3, 0x12, 0x127d},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        in_a[0] = cases[i].a;
        in_b[0] = cases[i].b;
        in_c[0] = cases[i].c;
        if (map(cases[i].insn) && out[0] != cases[i].expect) {
            fprintf(stderr, "%s: 0x%x, expected 0x%x\n", cases[i].insn, out[0], cases[i].expect);
            mt_failed++;
        }
    }
}

/* ---- atom, red ---- */

/* 64 lanes add, or choose, at once; what was there comes back exactly once. */
static void test_atomics(void)
{
    struct runner r;
    REQUIRE(runner_open(
        &r,
        HEAD ".visible .entry k(.param .u64 po)\n{\n.reg .b64 %p; .reg .b32 %r<12>; .reg .f32 "
             "%f<9>; .reg .b16 %h<12>;\n"
             "ld.param.u64 %p, [po]; mov.u32 %r0, %tid.x; cvt.rn.f16.u32 %h0, %r0;\n"
             "cvt.rn.f32.u32 %f0, %r0; cvt.rn.bf16.f32 %h1, %f0; mov.b16 %h2, 0x3c00;\n"
             "mov.b16 %h3, 0x3f80; mov.b32 %r1, 0x3c004000; mov.b32 %r2, 0x3f804000;\n"
             "mov.f32 %f1, 0f3F800000; mov.f32 %f2, 0f40000000;\n"
             "atom.global.add.noftz.f16 %h4, [%p], %h2;\n"
             "red.global.add.noftz.bf16 [%p+2], %h3;\n"
             "atom.add.noftz.f16x2 %r3, [%p+4], %r1;\n"
             "red.relaxed.gpu.global.add.noftz.bf16x2 [%p+8], %r2;\n"
             "red.global.max.noftz.f16 [%p+12], %h0;\n"
             "red.global.min.noftz.bf16 [%p+14], %h1;\n"
             "red.global.v2.f32.add [%p+16], {%f1,%f2};\n"
             "red.global.add.v4.f32 [%p+32], {%f1,%f2,%f0,%f1};\n"
             "atom.global.v4.f16x2.add.noftz {%r4,%r5,%r6,%r7}, [%p+48], {%r1,%r1,%r1,%r1};\n"
             "red.global.v8.bf16.add.noftz [%p+64], {%h3,%h3,%h3,%h3,%h3,%h3,%h3,%h1};\n"
             "atom.global.v2.f16.max.noftz {%h5,%h6}, [%p+80], {%h0,%h2};\n"
             "mov.b32 %r8, {%h4, %h4}; ld.param.u64 %p, [po];\n"
             "mad.wide.u32 %p, %r0, 4, %p; st.global.b32 [%p+256], %r8;\nret;\n}\n",
        4096));
    uint16_t *halves = (uint16_t *)(void *)r.memory;
    float *floats = (float *)(void *)r.memory;
    halves[7] = 0x42c8; /* 100 */
    uint64_t params[] = {(uint64_t)(uintptr_t)r.memory};
    EXPECT_EQ(runner_run(&r, "k", 1, 64, 0, params, 1), 0);
    EXPECT_EQ(halves[0], 0x5400); /* 64 */
    EXPECT_EQ(halves[1], 0x4280);
    EXPECT_EQ(halves[2], 0x5800); /* 128, 64 */
    EXPECT_EQ(halves[3], 0x5400);
    EXPECT_EQ(halves[4], 0x4300);
    EXPECT_EQ(halves[5], 0x4280);
    EXPECT_EQ(halves[6], 0x53e0); /* 63 */
    EXPECT_EQ(halves[7], 0);
    EXPECT(floats[4] == 64.0f && floats[5] == 128.0f);
    EXPECT(floats[8] == 64.0f && floats[9] == 128.0f && floats[10] == 2016.0f);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(halves[24 + 2 * i] == 0x5800 && halves[25 + 2 * i] == 0x5400);
    for (unsigned i = 0; i < 7; i++)
        EXPECT_EQ(halves[32 + i], 0x4280);
    EXPECT(halves[39] >= 0x44e0); /* about 2016: sums of bf16 depend on their order */
    EXPECT(halves[40] == 0x53e0 && halves[41] == 0x3c00);
    unsigned seen[64] = {0};
    for (unsigned i = 0; i < 64; i++) {
        double v = value_of(&f16, halves[128 + 2 * i]);
        REQUIRE(v >= 0 && v < 64);
        seen[(unsigned)v]++;
    }
    for (unsigned i = 0; i < 64; i++)
        EXPECT_EQ(seen[i], 1);
    runner_close(&r);
    EXPECT(!runner_open(&r,
                        HEAD ".visible .entry k()\n{\n.reg .b64 %p; .reg .b32 %r;\n"
                             "red.global.min.f32 [%p], %r;\nret;\n}\n",
                        4096));
    EXPECT(!runner_open(&r,
                        HEAD ".visible .entry k()\n{\n.reg .b64 %p; .reg .b32 %r;\n"
                             "red.global.add.v8.f32 [%p], {%r,%r,%r,%r,%r,%r,%r,%r};\nret;\n}\n",
                        4096));
}

int main(void)
{
    MT_RUN(test_eight_bits_to_halves);
    MT_RUN(test_halves_to_eight_bits);
    MT_RUN(test_floats_to_pairs);
    MT_RUN(test_floats_to_one);
    MT_RUN(test_smallest);
    MT_RUN(test_arithmetic);
    MT_RUN(test_cases);
    MT_RUN(test_atomics);
    return mt_done();
}
