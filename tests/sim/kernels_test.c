/* SPDX-License-Identifier: Apache-2.0 */
/* Whole kernels: divergence, barriers, calls, what lanes do together, and every kind of fault. */
#include <stdlib.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "minitest.h"
#include "runner.h"

#define HEAD ".version 8.0\n.target sm_90\n.address_size 64\n"

static uint32_t *words(const struct runner *r)
{
    return (uint32_t *)(void *)r->memory;
}

static uint64_t base(const struct runner *r)
{
    return (uint64_t)(uintptr_t)r->memory;
}

/* out[i] = how many steps Collatz takes from i + 1: every lane loops for itself. */
static void test_divergent_loops(void)
{
    struct runner r;
    REQUIRE(runner_open(&r,
                        HEAD ".visible .entry k(.param .u64 po)\n{\n"
                             ".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<4>;\n"
                             "ld.param.u64 %rd1, [po];\n"
                             "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;\n"
                             "mad.lo.s32 %r4, %r1, %r2, %r3; add.s32 %r5, %r4, 1; mov.u32 %r6, 0;\n"
                             "L1: setp.eq.u32 %p1, %r5, 1; @%p1 bra L4;\n"
                             "and.b32 %r7, %r5, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra L2;\n"
                             "mad.lo.s32 %r5, %r5, 3, 1; bra L3;\n"
                             "L2: shr.u32 %r5, %r5, 1;\n"
                             "L3: add.s32 %r6, %r6, 1; bra L1;\n"
                             "L4: mul.wide.u32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2;\n"
                             "st.global.u32 [%rd3], %r6; ret;\n}\n",
                        65536));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 5, 96, 0, params, 1), 0);
    for (uint32_t i = 0; i < 480; i++) {
        uint32_t steps = 0;
        for (uint64_t v = i + 1; v != 1; steps++)
            v = v & 1 ? 3 * v + 1 : v / 2;
        EXPECT_EQ(words(&r)[i], steps);
    }
    runner_close(&r);
}

/* One block writes four equal words again and again, the other reads them: the two in eight bytes
 * are always equal, or a word's flag could be there before the word. */
static void test_neighbours_are_one_access(void)
{
    struct runner r;
    REQUIRE(runner_open(&r,
                        HEAD ".visible .entry k(.param .u64 po)\n{\n"
                             ".reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %rd<4>;\n"
                             "ld.param.u64 %rd1, [po]; mov.u32 %r1, %ctaid.x;\n"
                             "mov.u32 %r2, 0; mov.u32 %r3, 0; setp.ne.u32 %p1, %r1, 0;\n"
                             "@%p1 bra READ;\n"
                             "WRITE: add.u32 %r2, %r2, 1;\n"
                             "st.volatile.global.v4.u32 [%rd1], {%r2, %r2, %r2, %r2};\n"
                             "setp.lt.u32 %p2, %r2, 1000000; @%p2 bra WRITE;\n"
                             "st.volatile.global.u32 [%rd1+16], 1; ret;\n"
                             "READ: ld.volatile.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1];\n"
                             "setp.eq.u32 %p2, %r4, %r5; setp.eq.u32 %p3, %r6, %r7;\n"
                             "@!%p2 add.u32 %r3, %r3, 1; @!%p3 add.u32 %r3, %r3, 1;\n"
                             "ld.volatile.global.u32 %r8, [%rd1+16];\n"
                             "setp.eq.u32 %p2, %r8, 0; @%p2 bra READ;\n"
                             "st.global.u32 [%rd1+20], %r3; ret;\n}\n",
                        65536));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 2, 1, 0, params, 1), 0);
    EXPECT_EQ(words(&r)[0], 1000000);
    EXPECT_EQ(words(&r)[5], 0); /* torn */
    runner_close(&r);
}

/* Half the warps wait at a barrier for what the other half writes, round after round. */
static void test_barriers_and_shared(void)
{
    struct runner r;
    REQUIRE(runner_open(
        &r,
        HEAD ".extern .shared .align 16 .b8 pool[];\n"
             ".visible .entry k(.param .u64 po)\n{\n"
             ".reg .pred %p<3>; .reg .b32 %r<12>; .reg .b64 %rd<4>;\n"
             ".shared .align 4 .b32 total;\n"
             "ld.param.u64 %rd1, [po]; mov.u32 %r1, %tid.x; mov.u32 %r2, pool; mov.u32 %r9, 0;\n"
             "shl.b32 %r3, %r1, 2; add.s32 %r4, %r2, %r3; mov.u32 %r5, 0;\n"
             "setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [total], 0;\n"
             "LOOP: add.s32 %r6, %r1, %r5; st.shared.u32 [%r4], %r6;\n"
             "bar.sync 0;\n"
             "xor.b32 %r7, %r3, 124; add.s32 %r7, %r7, %r2; ld.shared.u32 %r8, [%r7];\n"
             "add.s32 %r9, %r9, %r8;\n"
             "barrier.sync 1, 128;\n"
             "add.s32 %r5, %r5, 1; setp.lt.u32 %p2, %r5, 10; @%p2 bra LOOP;\n"
             "red.shared.add.u32 [total], %r9;\n"
             "bar.red.popc.u32 %r10, 0, %p1;\n"
             "ld.shared.u32 %r11, [total]; add.s32 %r11, %r11, %r10;\n"
             "mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r11;\n"
             "ret;\n}\n",
        65536));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 1, 128, 512, params, 1), 0);
    uint32_t total = 0;
    for (uint32_t i = 0; i < 128; i++)
        for (uint32_t round = 0; round < 10; round++)
            total += i + round;
    for (uint32_t i = 0; i < 128; i++)
        EXPECT_EQ(words(&r)[i], total + 1);
    runner_close(&r);
}

/* Recursion, arguments in memory, calls through pointers, divergent calls. */
static void test_calls(void)
{
    struct runner r;
    REQUIRE(runner_open(
        &r,
        HEAD ".func (.param .b32 ret) twice(.param .b32 x)\n"
             "{ .reg .b32 %r<3>; ld.param.b32 %r1, [x]; shl.b32 %r2, %r1, 1;\n"
             "  st.param.b32 [ret], %r2; ret; }\n"
             ".func (.param .b32 ret) fib(.param .b32 n)\n"
             "{ .reg .pred %p<2>; .reg .b32 %r<9>;\n"
             "  ld.param.b32 %r1, [n]; setp.lt.u32 %p1, %r1, 2; @%p1 bra BASE;\n"
             "  add.s32 %r2, %r1, -1;\n"
             "  { .param .b32 a; st.param.b32 [a], %r2; .param .b32 v;\n"
             "    call.uni (v), fib, (a); ld.param.b32 %r3, [v]; }\n"
             "  add.s32 %r4, %r1, -2;\n"
             "  { .param .b32 a; st.param.b32 [a], %r4; .param .b32 v;\n"
             "    call.uni (v), fib, (a); ld.param.b32 %r5, [v]; }\n"
             "  add.s32 %r1, %r3, %r5;\n"
             "BASE: st.param.b32 [ret], %r1; ret; }\n"
             ".global .align 8 .u64 table[2] = {twice, fib};\n"
             ".visible .entry k(.param .u64 po)\n"
             "{ .reg .b32 %r<6>; .reg .b64 %rd<6>;\n"
             "  ld.param.u64 %rd1, [po]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1;\n"
             "  mul.wide.u32 %rd2, %r2, 8; mov.u64 %rd3, table; add.s64 %rd3, %rd3, %rd2;\n"
             "  ld.global.u64 %rd4, [%rd3]; rem.u32 %r3, %r1, 12;\n"
             "  { .param .b32 a; st.param.b32 [a], %r3; .param .b32 v;\n"
             "    proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
             "    call (v), %rd4, (a), proto; ld.param.b32 %r4, [v]; }\n"
             "  mul.wide.u32 %rd2, %r1, 4; add.s64 %rd5, %rd1, %rd2; st.global.u32 [%rd5], %r4;\n"
             "  ret; }\n",
        65536));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 1, 64, 0, params, 1), 0);
    uint32_t fib[12] = {0, 1};
    for (unsigned i = 2; i < 12; i++)
        fib[i] = fib[i - 1] + fib[i - 2];
    for (uint32_t i = 0; i < 64; i++)
        EXPECT_EQ(words(&r)[i], i & 1 ? fib[i % 12] : 2 * (i % 12));
    runner_close(&r);
}

/* A lock that lanes of one warp take from each other, and sums over blocks. */
static void test_atomics(void)
{
    struct runner r;
    REQUIRE(runner_open(&r,
                        HEAD
                        ".visible .entry k(.param .u64 po)\n{\n"
                        ".reg .pred %p<3>; .reg .b32 %r<8>; .reg .b64 %rd<4>;\n"
                        "ld.param.u64 %rd1, [po]; mov.u32 %r5, 0;\n"
                        "TAKE: atom.global.cas.b32 %r1, [%rd1], 0, 1; setp.ne.u32 %p1, %r1, 0;\n"
                        "@%p1 bra TAKE;\n"
                        "ld.volatile.global.u32 %r2, [%rd1+4]; add.s32 %r2, %r2, 1;\n"
                        "st.volatile.global.u32 [%rd1+4], %r2; membar.gl;\n"
                        "atom.global.exch.b32 %r3, [%rd1], 0;\n"
                        "mov.u32 %r4, %tid.x; red.global.max.u32 [%rd1+8], %r4;\n"
                        "red.global.add.f32 [%rd1+12], 0f3F800000; ret;\n}\n",
                        4096));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 4, 64, 0, params, 1), 0);
    float sum;
    memcpy(&sum, &words(&r)[3], 4);
    EXPECT_EQ(words(&r)[1], 256);
    EXPECT_EQ(words(&r)[2], 63);
    EXPECT(sum == 256.0f);
    runner_close(&r);
}

static void test_warp_functions(void)
{
    struct runner r;
    REQUIRE(runner_open(&r,
                        HEAD
                        ".visible .entry k(.param .u64 po)\n{\n"
                        ".reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<4>;\n"
                        "ld.param.u64 %rd1, [po]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1;\n"
                        "setp.eq.u32 %p1, %r2, 1; vote.sync.ballot.b32 %r3, %p1, -1;\n"
                        "shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;\n"
                        "shfl.sync.down.b32 %r5|%p2, %r1, 4, 31, -1; selp.u32 %r6, 1, 0, %p2;\n"
                        "redux.sync.add.s32 %r7, %r1, -1;\n"
                        "shr.u32 %r8, %r1, 3; match.any.sync.b32 %r9, %r8, -1;\n"
                        "mad.lo.u32 %r10, %r6, 1000, %r4; mad.lo.u32 %r11, %r5, 100000, %r10;\n"
                        "mul.wide.u32 %rd2, %r1, 16; add.s64 %rd3, %rd1, %rd2;\n"
                        "st.global.v4.u32 [%rd3], {%r3, %r11, %r7, %r9}; ret;\n}\n",
                        4096));
    uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "k", 1, 32, 0, params, 1), 0);
    for (uint32_t i = 0; i < 32; i++) {
        const uint32_t *w = &words(&r)[4 * i];
        EXPECT_EQ(w[0], 0xaaaaaaaau);
        EXPECT_EQ(w[1], (i + 4 < 32 ? i + 4 : i) * 100000 + (i + 4 < 32 ? 1000 : 0) + (i ^ 1));
        EXPECT_EQ(w[2], 496);
        EXPECT_EQ(w[3], 0xffu << (i / 8 * 8));
    }
    runner_close(&r);
}

/* ---- faults ---- */

static int fault_of(const char *body, unsigned threads)
{
    char text[2048];
    snprintf(text, sizeof(text),
             HEAD ".visible .entry k(.param .u64 po)\n{\n.reg .pred %%p<4>; .reg .b32 %%r<8>; "
                  ".reg .b64 %%rd<8>; .shared .align 8 .b8 s[64]; .local .align 8 .b8 q[16];\n"
                  "ld.param.u64 %%rd1, [po];\nmov.u32 %%r1, %%tid.x;\n%s\nret;\n}\n",
             body);
    struct runner r;
    if (!runner_open(&r, text, 4096)) {
        fprintf(stderr, "%s\n", r.log.text);
        return -1;
    }
    r.max_steps = 100000;
    uint64_t params[] = {base(&r)};
    int rc = runner_run(&r, "k", 2, threads, 0, params, 1);
    if (rc)
        EXPECT(strstr(r.fault.text, "k, PTX line") != NULL);
    runner_close(&r);
    return rc;
}

static void test_faults(void)
{
    EXPECT_EQ(fault_of("ld.global.u32 %r2, [%rd1+4092];", 32), 0);
    EXPECT_EQ(fault_of("ld.global.u32 %r2, [%rd1+4096];", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("st.global.u32 [%rd1+-4], %r1;", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("mov.u64 %rd2, 0; ld.u8 %r2, [%rd2];", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("mov.u64 %rd2, -1; ld.u64 %rd3, [%rd2];", 1), CUDA_ERROR_MISALIGNED_ADDRESS);
    EXPECT_EQ(fault_of("ld.global.u32 %r2, [%rd1+2];", 32), CUDA_ERROR_MISALIGNED_ADDRESS);
    EXPECT_EQ(fault_of("ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%rd1+8];", 32),
              CUDA_ERROR_MISALIGNED_ADDRESS);
    EXPECT_EQ(fault_of("ld.shared.u32 %r2, [s+60];", 32), 0);
    EXPECT_EQ(fault_of("ld.shared.u32 %r2, [s+64];", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("st.local.u32 [q+4096], %r1;", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("mov.u32 %r2, s; cvt.u64.u32 %rd2, %r2; cvta.shared.u64 %rd3, %rd2;\n"
                       "st.u32 [%rd3+1048576], %r1;",
                       32),
              CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("atom.global.add.u32 %r2, [%rd1+8192], 1;", 32), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_EQ(fault_of("trap;", 32), CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_EQ(fault_of("L: bra L;", 32), CUDA_ERROR_LAUNCH_TIMEOUT);
    EXPECT_EQ(fault_of("setp.lt.u32 %p1, %r1, 40; @%p1 barrier.sync 1, 64; bar.sync 2, 1024;", 64),
              CUDA_ERROR_LAUNCH_TIMEOUT);
    /* Those who have ended are not waited for. */
    EXPECT_EQ(fault_of("setp.lt.u32 %p1, %r1, 40; @%p1 exit; bar.sync 0;", 96), 0);
}

static void test_endless_recursion_is_a_stack_error(void)
{
    struct runner r;
    REQUIRE(runner_open(&r,
                        HEAD ".func f() { .local .b8 a[64]; call f; ret; }\n"
                             ".visible .entry k() { call f; ret; }\n",
                        4096));
    EXPECT_EQ(runner_run(&r, "k", 1, 32, 0, NULL, 0), CUDA_ERROR_HARDWARE_STACK_ERROR);
    runner_close(&r);
}

/* ---- hostile text ---- */

static void refused(const char *text, const char *why)
{
    struct runner r;
    if (runner_open(&r, text, 4096)) {
        fprintf(stderr, "accepted: %s\n", text);
        mt_failed++;
        runner_close(&r);
        return;
    }
    if (!strstr(r.log.text, why)) {
        fprintf(stderr, "'%s' does not say '%s': %s\n", r.log.text, why, text);
        mt_failed++;
    }
}

#define K(body)                                                                                    \
    HEAD ".visible .entry k(.param .u64 po)\n{ .reg .b32 %r<4>; .reg .pred %p<2>;\n" body "\n}\n"

static void test_bad_text(void)
{
    refused("", "not PTX");
    refused("hello", "not PTX");
    refused(".version 99.0\n.target sm_90\n", "newer");
    refused(K("frobnicate.u32 %r1, %r2;"), "unknown instruction frobnicate");
    refused(K("add.f16x4 %r1, %r2, %r3;"), ".f16x4 is not supported");
    refused(K("add.u32 %r1, %r2;"), "not supported");
    refused(K("add.u32 %r1, %r2, %r9;"), "unknown register %r9");
    refused(K("bra NOWHERE;"), "no label NOWHERE");
    refused(K("@%r1 bra L; L:"), "no predicate");
    refused(K("ld.global.u32 %r1, %r2;"), "address in brackets");
    refused(K("call nobody;"), "calls nobody");
    refused(K("L: L: ret;"), "declared twice");
    refused(K("mov.u32 %r1, 0x1ffffffffffffffff;"), "malformed number");
    refused(HEAD ".global .b8 x[99999999999];", "array size");
    refused(HEAD ".shared .b8 x[300000];", "shared memory");
    refused(HEAD ".global .u32 x[2] = {1, 2, 3};", "more values");
    refused(HEAD ".visible .entry k() { ret;", "no end");
    refused(HEAD ".func f(.param .b32 a) { ret; } .visible .entry k() { call f; ret; }",
            "other arguments");
}

int main(void)
{
    MT_RUN(test_divergent_loops);
    MT_RUN(test_neighbours_are_one_access);
    MT_RUN(test_barriers_and_shared);
    MT_RUN(test_calls);
    MT_RUN(test_atomics);
    MT_RUN(test_warp_functions);
    MT_RUN(test_faults);
    MT_RUN(test_endless_recursion_is_a_stack_error);
    MT_RUN(test_bad_text);
    return mt_done();
}
