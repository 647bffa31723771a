/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instruction at a time: a line of PTX with its operands' bits and the
 * result PTX's specification asks for. %a, %b, %c are the inputs, %d the output;
 * "32" and "64" say how wide they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "minitest.h"
#include "runner.h"

struct op_case {
    const char *text;
    unsigned width;
    uint64_t a, b, c, expect;
};

#define F(x)                                                                                       \
    ((uint64_t)(union {                                                                            \
         float f;                                                                                  \
         uint32_t u;                                                                               \
     }){.f = (x)}                                                                                  \
         .u)
#define D(x)                                                                                       \
    ((union {                                                                                      \
         double f;                                                                                 \
         uint64_t u;                                                                               \
     }){.f = (x)}                                                                                  \
         .u)

static const struct op_case integers[] = {
    {"add.s32 %d, %a, %b;", 32, 0x7fffffff, 1, 0, 0x80000000},
    {"add.sat.s32 %d, %a, %b;", 32, 0x7fffffff, 1, 0, 0x7fffffff},
    {"sub.sat.s32 %d, %a, %b;", 32, 0x80000000, 1, 0, 0x80000000},
    {"sub.u32 %d, %a, %b;", 32, 3, 5, 0, 0xfffffffe},
    {"mul.lo.s32 %d, %a, %b;", 32, 0xffffffff, 7, 0, 0xfffffff9},
    {"mul.hi.s32 %d, %a, %b;", 32, 0x80000000, 2, 0, 0xffffffff},
    {"mul.hi.u32 %d, %a, %b;", 32, 0x80000000, 2, 0, 1},
    {"mul.hi.u64 %d, %a, %b;", 64, 1ull << 63, 6, 0, 3},
    {"mul.hi.s64 %d, %a, %b;", 64, 1ull << 63, 6, 0, (uint64_t)-3},
    {"mad.lo.s32 %d, %a, %b, %c;", 32, 3, 4, 0xffffffff, 11},
    {"mad.hi.u32 %d, %a, %b, %c;", 32, 0xffffffff, 0xffffffff, 2, 0},
    {"div.s32 %d, %a, %b;", 32, (uint32_t)-7, 2, 0, (uint32_t)-3},
    {"div.u32 %d, %a, %b;", 32, 7, 0, 0, 0xffffffff},
    {"div.s32 %d, %a, %b;", 32, 0x80000000, 0xffffffff, 0, 0x80000000},
    {"rem.s32 %d, %a, %b;", 32, (uint32_t)-7, 2, 0, 0xffffffff},
    {"rem.u64 %d, %a, %b;", 64, 1ull << 40, 1000, 0, 776},
    {"abs.s32 %d, %a;", 32, (uint32_t)-5, 0, 0, 5},
    {"neg.s64 %d, %a;", 64, 5, 0, 0, (uint64_t)-5},
    {"min.s32 %d, %a, %b;", 32, (uint32_t)-1, 1, 0, 0xffffffff},
    {"min.u32 %d, %a, %b;", 32, (uint32_t)-1, 1, 0, 1},
    {"max.s64 %d, %a, %b;", 64, (uint64_t)-9, (uint64_t)-8, 0, (uint64_t)-8},
    {"sad.u32 %d, %a, %b, %c;", 32, 3, 10, 100, 107},
    {"and.b32 %d, %a, %b;", 32, 12, 10, 0, 8},
    {"or.b64 %d, %a, %b;", 64, 12, 10, 0, 14},
    {"xor.b32 %d, %a, %b;", 32, 12, 10, 0, 6},
    {"not.b32 %d, %a;", 32, 0, 0, 0, 0xffffffff},
    {"cnot.b32 %d, %a;", 32, 0, 0, 0, 1},
    {"shl.b32 %d, %a, 33;", 32, 1, 0, 0, 0},
    {"shl.b64 %d, %a, 40;", 64, 1, 0, 0, 1ull << 40},
    {"shr.s32 %d, %a, 40;", 32, 0x80000000, 0, 0, 0xffffffff},
    {"shr.u32 %d, %a, 4;", 32, 0x80000000, 0, 0, 0x08000000},
    {"shf.l.wrap.b32 %d, %a, %b, 8;", 32, 0x12345678, 0x9abcdef0, 0, 0xbcdef012},
    {"shf.r.clamp.b32 %d, %a, %b, 40;", 32, 0x12345678, 0x9abcdef0, 0, 0x9abcdef0},
    {"shf.r.wrap.b32 %d, %a, %b, 8;", 32, 0x12345678, 0x9abcdef0, 0, 0xf0123456},
    {"popc.b32 %d, %a;", 32, 0xf0f0, 0, 0, 8},
    {"clz.b32 %d, %a;", 32, 1, 0, 0, 31},
    {"clz.b32 %d, %a;", 32, 0, 0, 0, 32},
    {"brev.b32 %d, %a;", 32, 1, 0, 0, 0x80000000},
    {"brev.b64 %d, %a;", 64, 3, 0, 0, 3ull << 62},
    {"bfind.u32 %d, %a;", 32, 0x100, 0, 0, 8},
    {"bfind.s32 %d, %a;", 32, 0xffffff7f, 0, 0, 7},
    {"bfind.shiftamt.u32 %d, %a;", 32, 0x100, 0, 0, 23},
    {"bfind.u32 %d, %a;", 32, 0, 0, 0, 0xffffffff},
    {"bfe.u32 %d, %a, 4, 8;", 32, 0xabcd, 0, 0, 0xbc},
    {"bfe.s32 %d, %a, 4, 8;", 32, 0xabcd, 0, 0, 0xffffffbc},
    {"bfe.s32 %d, %a, 28, 8;", 32, 0xf0000000, 0, 0, 0xffffffff},
    {"bfe.u32 %d, %a, 4, 0;", 32, 0xabcd, 0, 0, 0},
    {"bfi.b32 %d, %a, %b, 8, 4;", 32, 0xf5, 0x1111, 0, 0x1511},
    {"lop3.b32 %d, %a, %b, %c, 0x96;", 32, 0xc, 0xa, 0x6, 0},
    {"lop3.b32 %d, %a, %b, %c, 0xe8;", 32, 0xc, 0xa, 0x6, 0xe},
    {"prmt.b32 %d, %a, %b, 0x0123;", 32, 0x44332211, 0, 0, 0x11223344},
    {"prmt.b32 %d, %a, %b, 0x7654;", 32, 0x44332211, 0x88776655, 0, 0x88776655},
    {"prmt.b32 %d, %a, %b, 0xb;", 32, 0xf4332211, 0, 0, 0x111111ff},
    {"mul24.lo.u32 %d, %a, %b;", 32, 0xff000003, 5, 0, 15},
    {"dp4a.s32.s32 %d, %a, %b, %c;", 32, 0x01ff0203, 0x01010101, 10, 15},
    {"dp4a.u32.u32 %d, %a, %b, %c;", 32, 0x01ff0203, 0x01010101, 10, 271},
    {"dp2a.lo.s32.s32 %d, %a, %b, %c;", 32, 0xffff0002, 0x0504fd03, 10, 10 + 6 + 3},
    {"dp2a.hi.s32.u32 %d, %a, %b, %c;", 32, 0xffff0002, 0xfe04fd03, 10, (uint32_t)(10 + 8 - 254)},
    {"dp2a.lo.u32.s32 %d, %a, %b, %c;", 32, 0xffff0002, 0xfd03, 0, (uint32_t)(6 - 3 * 65535)},
    {"dp2a.lo.u32.u32 %d, %a, %b, %c;", 32, 0xffff0002, 0xfd03, 0, 6 + 253 * 65535},
    {"vshr.u32.u32.u32.clamp.add %d, %a, %b, %c;", 32, 0x80000000, 4, 3, 0x08000003},
    {"vshr.u32.u32.u32.clamp.add %d, %a, %b, %c;", 32, 0x80000000, 99, 3, 3},
    {"vshr.s32.s32.u32.clamp %d, %a, %b;", 32, 0x80000000, 40, 0, 0xffffffff},
    {"vshr.s32.u32.u32.wrap.min %d, %a, %b, %c;", 32, 0x80, 35, (uint32_t)-1, (uint32_t)-1},
    {"vshl.u32.u32.u32.wrap.max %d, %a, %b, %c;", 32, 1, 33, 7, 7},
    {"vshl.u32.u32.u32.clamp.sat %d, %a, %b;", 32, 0xffffffff, 32, 0, 0xffffffff},
    {"vadd.s32.u32.s32.sat %d, %a, %b;", 32, 0xffffffff, 1, 0, 0x7fffffff},
    {"vadd.u32.u32.s32 %d, %a.b1, %b.h1;", 32, 0x0000ff00, 0xffff0000, 0, 254},
    {"vadd.s32.s32.s32.sat %d.b2, %a, %b, %c;", 32, 300, 0, 0x11223344, 0x117f3344},
    {"vadd.u32.u32.u32 %d.h0, %a.h1, %b.b3, %c;", 32, 0x00020000, 0x07000000, 0xabcd1234,
     0xabcd0009},
    {"vsub.u32.u32.u32.sat %d, %a, %b;", 32, 3, 5, 0, 0},
    {"vsub.s32.u32.u32.add %d, %a, %b, %c;", 32, 3, 5, 10, 8},
    {"vabsdiff.u32.s32.s32.add %d, %a, %b, %c;", 32, (uint32_t)-3, 4, 100, 107},
    {"vmin.s32.s32.s32.max %d, %a, %b, %c;", 32, (uint32_t)-3, 4, (uint32_t)-2, (uint32_t)-2},
    {"vmax.u32.u32.u32 %d, %a.b3, %b.b0;", 32, 0xff000000, 9, 0, 255},
    {"vset.s32.s32.lt %d, %a, %b;", 32, (uint32_t)-1, 0, 0, 1},
    {"vset.u32.u32.ge.add %d, %a, %b, %c;", 32, 0xffffffff, 0, 4, 5},
    {"vmad.s32.s32.s32 %d, %a.h0, %b.h1, %c;", 32, 0xfffe, 0x00030000, 10, 4},
    {"vmad.u32.u32.u32.po.shr7 %d, %a, %b, %c;", 32, 16, 16, 127, 3},
    {"vabsdiff4.u32.u32.u32 %d, %a, %b, %c;", 32, 0xff001005, 0x01021006, 0, 0xfe020001},
    {"vabsdiff4.u32.u32.u32.add %d, %a, %b, %c;", 32, 0xff001005, 0x01021006, 1, 1 + 254 + 2 + 1},
    {"vabsdiff2.s32.s32.s32 %d, %a, %b, %c;", 32, 0xfffe0005, 0x00020006, 0, 0x00040001},
    {"vadd4.u32.u32.u32.sat %d, %a, %b, %c;", 32, 0xff010203, 0x02010101, 0, 0xff020304},
    {"vsub2.s32.s32.s32 %d, %a, %b, %c;", 32, 0x00010000, 0x00020001, 0, 0xffffffff},
    {"vavrg4.u32.u32.u32 %d, %a, %b, %c;", 32, 0xff010003, 0x01020000, 0, 0x80020002},
    {"vmax2.s32.s32.s32 %d, %a, %b, %c;", 32, 0xffff0005, 0x00010006, 0, 0x00010006},
    {"vmin4.u32.u32.u32 %d, %a, %b, %c;", 32, 0xff010003, 0x01020000, 0, 0x01010000},
    {"vset4.u32.u32.eq %d, %a, %b, %c;", 32, 0xff010003, 0x01010003, 0, 0x00010101},
    {"vset2.u32.u32.ne.add %d, %a, %b, %c;", 32, 0xff010003, 0x01010003, 5, 6},
    {"selp.b32 %d, %a, %b, %p;", 32, 1, 2, 0, 1},
    {"slct.s32.s32 %d, %a, %b, %c;", 32, 1, 2, 0xffffffff, 2},
    {"setp.lt.s32 %q, %a, %b;\n selp.u32 %d, 1, 0, %q;", 32, 0xffffffff, 0, 0, 1},
    {"setp.lo.u32 %q, %a, %b;\n selp.u32 %d, 1, 0, %q;", 32, 0xffffffff, 0, 0, 0},
    {"set.gt.u32.s32 %d, %a, %b;", 32, 5, 3, 0, 0xffffffff},
    {"mad.wide.s32 %d, %la, %lb, %c;", 64, (uint32_t)-2, 3, 10, 4},
    {"mul.wide.u32 %d, %la, %lb;", 64, 0xffffffff, 2, 0, 0x1fffffffe},
    {"add.cc.u32 %d, %a, %b;\n addc.u32 %d, 0, 0;", 32, 0xffffffff, 1, 0, 1},
    {"sub.cc.u32 %d, %a, %b;\n subc.u32 %d, 5, 0;", 32, 0, 1, 0, 4},
    {"mov.b64 %d, {%la, %lb};", 64, 0x11111111, 0x22222222, 0, 0x2222222211111111},
    {"mov.b64 {%la, %lb}, %a;\n mov.b64 %d, {%lb, %la};", 64, 0x2222222211111111, 0, 0,
     0x1111111122222222},
    {"cvt.s32.s8 %d, %a;", 32, 0x80, 0, 0, 0xffffff80},
    {"cvt.u32.u16 %d, %a;", 32, 0xabcd1234, 0, 0, 0x1234},
    {"cvt.s64.s32 %d, %la;", 64, 0x80000000, 0, 0, 0xffffffff80000000},
    {"cvt.sat.u8.s32 %d, %a;", 32, (uint32_t)-4, 0, 0, 0},
    {"cvt.sat.s8.s32 %d, %a;", 32, 300, 0, 0, 127},
};

#define OUT (r.memory)

static void run_case(const struct op_case *c)
{
    char text[4096];
    const char *t = c->width == 64 ? "b64" : "b32";
    snprintf(
        text, sizeof(text),
        ".version 8.0\n.target sm_90\n.address_size 64\n"
        ".visible .entry k(.param .u64 po, .param .u64 pa, .param .u64 pb, .param .u64 pc)\n{\n"
        ".reg .%s %%a, %%b, %%c, %%d;\n.reg .b32 %%la, %%lb;\n.reg .b16 %%h, %%g;\n"
        ".reg .pred %%p, %%q;\n.reg .b64 %%o;\n"
        "ld.param.%s %%a, [pa];\nld.param.%s %%b, [pb];\nld.param.%s %%c, [pc];\n"
        "ld.param.b32 %%la, [pa];\nld.param.b32 %%lb, [pb];\n"
        "setp.eq.u32 %%p, 0, 0;\nmov.%s %%d, 0;\n%s\n"
        "ld.param.u64 %%o, [po];\nst.global.%s [%%o], %%d;\nret;\n}\n",
        t, t, t, t, t, c->text, t);
    struct runner r;
    if (!runner_open(&r, text, 4096)) {
        fprintf(stderr, "%s: %s\n", c->text, r.log.text);
        mt_failed++;
        return;
    }
    uint64_t params[] = {(uint64_t)(uintptr_t)OUT, c->a, c->b, c->c};
    int rc = runner_run(&r, "k", 1, 1, 0, params, 4);
    uint64_t got = 0;
    memcpy(&got, OUT, c->width / 8);
    if (rc || got != c->expect) {
        fprintf(stderr, "%s: %d, 0x%" PRIx64 ", expected 0x%" PRIx64 " %s\n", c->text, rc, got,
                c->expect, r.fault.text);
        mt_failed++;
    }
    runner_close(&r);
}

static void test_integers(void)
{
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
        run_case(&integers[i]);
}

static void test_floats(void)
{
    const struct op_case floats[] = {
        {"add.f32 %d, %a, %b;", 32, F(1.5f), F(2.25f), 0, F(3.75f)},
        {"add.rz.f32 %d, %a, %b;", 32, F(1.0f), F(0x1p-24f), 0, F(1.0f)},
        {"add.rp.f32 %d, %a, %b;", 32, F(1.0f), F(0x1p-40f), 0, F(1.0f + 0x1p-23f)},
        {"add.rm.f32 %d, %a, %b;", 32, F(-1.0f), F(-0x1p-40f), 0, F(-1.0f - 0x1p-23f)},
        {"add.ftz.f32 %d, %a, %b;", 32, 1, 1, 0, 0},
        {"mul.sat.f32 %d, %a, %b;", 32, F(3.0f), F(2.0f), 0, F(1.0f)},
        {"sub.f32 %d, %a, %b;", 32, 0x7f800000, 0x7f800000, 0, 0x7fffffff},
        {"fma.rn.f32 %d, %a, %b, %c;", 32, F(1.0f + 0x1p-12f), F(1.0f + 0x1p-12f), F(-1.0f),
         F(0x1p-11f + 0x1p-24f)},
        {"fma.rn.f64 %d, %a, %b, %c;", 64, D(3), D(4), D(0.5), D(12.5)},
        {"div.rn.f32 %d, %a, %b;", 32, F(1.0f), F(3.0f), 0, F(1.0f / 3.0f)},
        {"div.rn.f64 %d, %a, %b;", 64, D(1), D(3), 0, D(1.0 / 3.0)},
        {"rcp.approx.ftz.f32 %d, %a;", 32, F(4.0f), 0, 0, F(0.25f)},
        {"sqrt.rn.f32 %d, %a;", 32, F(2.0f), 0, 0, F(1.41421356f)},
        {"rsqrt.approx.f32 %d, %a;", 32, F(4.0f), 0, 0, F(0.5f)},
        {"ex2.approx.f32 %d, %a;", 32, F(3.0f), 0, 0, F(8.0f)},
        {"lg2.approx.f32 %d, %a;", 32, F(8.0f), 0, 0, F(3.0f)},
        {"min.f32 %d, %a, %b;", 32, 0x7fc00000, F(2.0f), 0, F(2.0f)},
        {"min.NaN.f32 %d, %a, %b;", 32, 0x7fc00000, F(2.0f), 0, 0x7fffffff},
        {"max.f32 %d, %a, %b;", 32, F(-0.0f), F(0.0f), 0, F(0.0f)},
        {"neg.f32 %d, %a;", 32, F(2.0f), 0, 0, F(-2.0f)},
        {"abs.f64 %d, %a;", 64, D(-2), 0, 0, D(2)},
        {"copysign.f32 %d, %a, %b;", 32, F(-1.0f), F(3.0f), 0, F(-3.0f)},
        {"testp.infinite.f32 %q, %a;\n selp.u32 %d, 1, 0, %q;", 32, 0x7f800000, 0, 0, 1},
        {"setp.ltu.f32 %q, %a, %b;\n selp.u32 %d, 1, 0, %q;", 32, 0x7fc00000, 0, 0, 1},
        {"setp.lt.f32 %q, %a, %b;\n selp.u32 %d, 1, 0, %q;", 32, 0x7fc00000, 0, 0, 0},
        {"cvt.rn.f32.s32 %d, %a;", 32, 16777217, 0, 0, F(16777216.0f)},
        {"cvt.rp.f32.s32 %d, %a;", 32, 16777217, 0, 0, F(16777218.0f)},
        {"cvt.rzi.s32.f32 %d, %a;", 32, F(-2.7f), 0, 0, (uint32_t)-2},
        {"cvt.rni.s32.f32 %d, %a;", 32, F(2.5f), 0, 0, 2},
        {"cvt.rzi.u32.f32 %d, %a;", 32, F(-5.0f), 0, 0, 0},
        {"cvt.rzi.s32.f32 %d, %a;", 32, F(1e20f), 0, 0, 0x7fffffff},
        {"cvt.rzi.s32.f32 %d, %a;", 32, 0x7fc00000, 0, 0, 0},
        {"cvt.rmi.f32.f32 %d, %a;", 32, F(-2.5f), 0, 0, F(-3.0f)},
        {"cvt.f64.f32 %d, %la;", 64, F(0.5f), 0, 0, D(0.5)},
        {"cvt.rn.f16.f32 %h, %a;\n mov.b32 %d, {%h, %h};", 32, F(1.0f), 0, 0, 0x3c003c00},
        {"cvt.rn.f16.f32 %h, %a;\n mov.b32 %d, {%h, %h};", 32, F(65520.0f), 0, 0, 0x7c007c00},
        {"cvt.rn.f16.f32 %h, %a;\n mov.b32 %d, {%h, %h};", 32, F(0x1p-24f), 0, 0, 0x00010001},
        {"mov.b32 {%h, %g}, %a;\n cvt.f32.f16 %d, %h;", 32, 0x3555, 0, 0, F(0x1.554p-2f)},
        {"cvt.rn.bf16.f32 %h, %a;\n mov.b32 %d, {%h, %h};", 32, 0x3f808000, 0, 0, 0x3f803f80},
        {"cvt.rn.f16x2.f32 %d, %a, %b;", 32, F(1.0f), F(2.0f), 0, 0x3c004000},
        {"add.f16x2 %d, %a, %b;", 32, 0x3c004000, 0x3c003c00, 0, 0x40004200},
        {"fma.rn.f16x2 %d, %a, %b, %c;", 32, 0x3c004000, 0x40004000, 0x3c003c00, 0x42004500},
        {"mul.f16x2 %d, %a, %b;", 32, 0x7bff3c00, 0x40003c00, 0, 0x7c003c00},
    };
    for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
        run_case(&floats[i]);
}

int main(void)
{
    MT_RUN(test_integers);
    MT_RUN(test_floats);
    return mt_done();
}
