/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies to shared memory, barriers in it, where shared variables are, and what is
 * PTX but beyond the simulator.
 */
#include <stdlib.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "minitest.h"
#include "runner.h"

#define HEAD ".version 8.7\n.target sm_120\n.address_size 64\n"
/* A kernel of one parameter: %rd1 is where its output goes, %r1 its thread. */
#define KERNEL(body)                                                                               \
    ".visible .entry k(.param .u64 po)\n{\n"                                                       \
    ".reg .pred %p<6>; .reg .b16 %h<20>; .reg .b32 %r<30>; .reg .b64 %rd<20>;\n"                   \
    "ld.param.u64 %rd1, [po]; mov.u32 %r1, %tid.x;\n" body "ret;\n}\n"

static uint32_t *words(const struct runner *r)
{
    return (uint32_t *)(void *)r->memory;
}

static uint64_t base(const struct runner *r)
{
    return (uint64_t)(uintptr_t)r->memory;
}

/* Runs TEXT's k with its memory as the parameter; R is the caller's to close. */
static int run(struct runner *r, const char *text, unsigned threads)
{
    if (!runner_open(r, text, 65536)) {
        fprintf(stderr, "%s\n", r->log.text);
        *r = (struct runner){.module = NULL};
        return -1;
    }
    for (uint32_t i = 0; i < 1024; i++)
        words(r)[1024 + i] = 0x1000 + i;
    const uint64_t params[] = {base(r)};
    return runner_run(r, "k", 1, threads, 0, params, 1);
}

static void done(struct runner *r)
{
    if (r->module)
        runner_close(r);
}

/* Lane i copies 16 bytes, of which it reads 4 * (i % 5); 8 bytes; nothing at all. */
static void test_copies(void)
{
    struct runner r;
    EXPECT_EQ(
        run(&r,
            HEAD KERNEL(".shared .align 16 .b8 a[512]; .shared .align 16 .b8 b[512];\n"
                        "mul.wide.u32 %rd2, %r1, 16; add.s64 %rd3, %rd1, %rd2;\n"
                        "shl.b32 %r2, %r1, 4; mov.u32 %r3, a; add.s32 %r4, %r3, %r2;\n"
                        "mov.u32 %r5, b; add.s32 %r6, %r5, %r2;\n"
                        "rem.u32 %r7, %r1, 5; shl.b32 %r7, %r7, 2; and.b32 %r8, %r1, 1;\n"
                        "setp.eq.u32 %p1, %r8, 1;\n"
                        "cp.async.cg.shared.global [%r4], [%rd3+4096], 16, %r7;\n"
                        "cp.async.ca.shared::cta.global.L2::128B [%r6], [%rd3+4104], 8;\n"
                        "cp.async.ca.shared.global [%r6+8], [%rd3+4096], 8, %p1;\n"
                        "cp.async.commit_group; cp.async.wait_group 0; cp.async.wait_all;\n"
                        "bar.sync 0;\n"
                        "ld.shared.v4.u32 {%r10,%r11,%r12,%r13}, [%r4];\n"
                        "ld.shared.v4.u32 {%r14,%r15,%r16,%r17}, [%r6];\n"
                        "mul.wide.u32 %rd4, %r1, 32; add.s64 %rd5, %rd1, %rd4;\n"
                        "st.global.v8.b32 [%rd5], {%r10,%r11,%r12,%r13,%r14,%r15,%r16,%r17};\n"),
            32),
        0);
    for (uint32_t i = 0; r.module && i < 32; i++) {
        const uint32_t *got = &words(&r)[8 * i];
        for (uint32_t k = 0; k < 4; k++)
            EXPECT_EQ(got[k], k < i % 5 ? 0x1000 + 4 * i + k : 0);
        EXPECT_EQ(got[4], 0x1000 + 4 * i + 2);
        EXPECT_EQ(got[5], 0x1000 + 4 * i + 3);
        EXPECT_EQ(got[6], i & 1 ? 0 : 0x1000 + 4 * i);
        EXPECT_EQ(got[7], i & 1 ? 0 : 0x1000 + 4 * i + 1);
    }
    done(&r);
}

/* 64 threads wait for one another at a barrier in memory, three times. */
static void test_mbarrier(void)
{
    struct runner r;
    EXPECT_EQ(run(&r,
                  HEAD KERNEL(
                      ".shared .align 8 .b64 bar; .shared .align 4 .b8 row[256];\n"
                      "mov.u32 %r2, bar; setp.ne.u32 %p1, %r1, 0;\n"
                      "@%p1 bra READY; mbarrier.init.shared::cta.b64 [%r2], 64;\n"
                      "READY: bar.sync 0; mov.u32 %r3, 0; mov.u32 %r9, 0;\n"
                      "shl.b32 %r4, %r1, 2; mov.u32 %r5, row; add.s32 %r5, %r5, %r4;\n"
                      "xor.b32 %r6, %r4, 252; mov.u32 %r7, row; add.s32 %r7, %r7, %r6;\n"
                      "ROUND: add.s32 %r8, %r1, %r3; st.shared.u32 [%r5], %r8;\n"
                      "mbarrier.arrive.shared::cta.b64 %rd2, [%r2];\n"
                      "W1: mbarrier.test_wait.shared::cta.b64 %p2, [%r2], %rd2; @!%p2 bra W1;\n"
                      "ld.shared.u32 %r8, [%r7]; add.s32 %r9, %r9, %r8;\n"
                      "mbarrier.arrive.release.cta.shared::cta.b64 _, [%r2], 1;\n"
                      "W2: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 1; @!%p2 bra W2;\n"
                      "add.s32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 3; @%p3 bra ROUND;\n"
                      "mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3;\n"
                      "st.global.u32 [%rd4], %r9;\n"),
                  64),
              0);
    for (uint32_t i = 0; r.module && i < 64; i++)
        EXPECT_EQ(words(&r)[i], 3 * (63 - i) + 3);
    done(&r);
}

/* Bytes that are expected keep a phase open; who drops out isn't waited for any more. */
static void test_mbarrier_bytes(void)
{
    struct runner r;
    EXPECT_EQ(run(&r,
                  HEAD KERNEL(".shared .align 8 .b64 bar;\n"
                              "mbarrier.init.shared.b64 [bar], 2;\n"
                              "mbarrier.arrive.expect_tx.shared.b64 %rd2, [bar], 16;\n"
                              "mbarrier.pending_count.b64 %r2, %rd2; st.global.u32 [%rd1], %r2;\n"
                              "mbarrier.arrive_drop.shared.b64 _, [bar];\n"
                              "mbarrier.test_wait.shared.b64 %p1, [bar], %rd2;\n"
                              "selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1+4], %r3;\n"
                              "mbarrier.complete_tx.relaxed.cta.shared.b64 [bar], 16;\n"
                              "mbarrier.test_wait.shared.b64 %p1, [bar], %rd2;\n"
                              "selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1+8], %r3;\n"
                              "cp.async.mbarrier.arrive.shared.b64 [bar];\n"
                              "mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;\n"
                              "selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1+12], %r3;\n"
                              "cp.async.mbarrier.arrive.noinc.shared.b64 [bar];\n"
                              "mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;\n"
                              "selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1+16], %r3;\n"
                              "mbarrier.inval.shared.b64 [bar];\n"),
                  1),
              0);
    const uint32_t expect[] = {2, 0, 1, 0, 1};
    for (uint32_t i = 0; r.module && i < 5; i++)
        EXPECT_EQ(words(&r)[i], expect[i]);
    done(&r);
}

static void test_elect(void)
{
    struct runner r;
    EXPECT_EQ(run(&r,
                  HEAD KERNEL("setp.lt.u32 %p1, %r1, 5; @%p1 bra OUT;\n"
                              "elect.sync %r2|%p2, 0xffffffe0; selp.u32 %r3, 100, 0, %p2;\n"
                              "add.s32 %r3, %r3, %r2; mul.wide.u32 %rd2, %r1, 4;\n"
                              "add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r3;\nOUT: "),
                  32),
              0);
    for (uint32_t i = 5; r.module && i < 32; i++)
        EXPECT_EQ(words(&r)[i], i == 5 ? 105 : 5);
    done(&r);
}

/* Kernels have the variables that they and what they call name, and no others. */
static void test_shared_variables(void)
{
    struct runner r;
    REQUIRE(runner_open(
        &r,
        HEAD ".shared .align 4 .b8 x[150000]; .shared .align 4 .b8 y[150000];\n"
             ".shared .align 4 .b32 both;\n"
             ".func f() { .reg .b32 %r<2>; ld.shared.u32 %r1, [both]; add.s32 %r1, %r1, 1;\n"
             "st.shared.u32 [both], %r1; ret; }\n"
             ".visible .entry kx(.param .u64 po) { .reg .b32 %r<3>; .reg .b64 %rd<2>;\n"
             "ld.param.u64 %rd1, [po]; st.shared.u32 [x+149996], 7; st.shared.u32 [both], 1;\n"
             "call f; ld.shared.u32 %r1, [both]; ld.shared.u32 %r2, [x+149996];\n"
             "st.global.v2.u32 [%rd1], {%r1, %r2}; ret; }\n"
             ".visible .entry ky(.param .u64 po) { .reg .b32 %r<3>; .reg .b64 %rd<2>;\n"
             ".shared .b32 own;\n"
             "ld.param.u64 %rd1, [po]; st.shared.u32 [y+149996], 8; st.shared.u32 [own], 2;\n"
             "ld.shared.u32 %r1, [own]; ld.shared.u32 %r2, [y+149996];\n"
             "st.global.v2.u32 [%rd1+8], {%r1, %r2}; ret; }\n",
        65536));
    const uint64_t params[] = {base(&r)};
    EXPECT_EQ(runner_run(&r, "kx", 1, 1, 0, params, 1), 0);
    EXPECT_EQ(runner_run(&r, "ky", 1, 1, 0, params, 1), 0);
    const uint32_t expect[] = {2, 7, 2, 8};
    for (uint32_t i = 0; i < 4; i++)
        EXPECT_EQ(words(&r)[i], expect[i]);
    EXPECT_EQ(sim_module_func(r.module, "kx")->shared_bytes, 150004);
    EXPECT_EQ(sim_module_func(r.module, "ky")->shared_bytes, 150004);
    runner_close(&r);

    struct sim_module *m = NULL;
    struct sim_log log;
    const char *text =
        HEAD ".shared .b8 x[150000]; .shared .b8 y[150000];\n"
             ".visible .entry k() { st.shared.u8 [x], 1; st.shared.u8 [y], 1; ret; }";
    EXPECT_EQ(sim_parse(text, strlen(text), &m, &log), -1);
    EXPECT_EQ(strstr(log.text, "k: more than") != NULL, true);
}

/* Shared memory of the system is there, behind the kernel's. */
static void test_reserved_memory(void)
{
    struct runner r;
    EXPECT_EQ(run(&r,
                  HEAD KERNEL(".shared .b32 own; st.shared.u32 [own], 1;\n"
                              "mov.u32 %r2, %reserved_smem_offset_1;\n"
                              "st.shared.u32 [%r2+1020], 9; ld.shared.u32 %r3, [%r2+1020];\n"
                              "ld.shared.u32 %r4, [own]; mov.u32 %r5, %total_smem_size;\n"
                              "st.global.v4.u32 [%rd1], {%r2, %r3, %r4, %r5};\n"),
                  1),
              0);
    const uint32_t expect[] = {16, 9, 1, 16};
    for (uint32_t i = 0; r.module && i < 4; i++)
        EXPECT_EQ(words(&r)[i], expect[i]);
    done(&r);
}

static void test_hints(void)
{
    struct runner r;
    EXPECT_EQ(
        run(&r,
            HEAD KERNEL(
                "createpolicy.fractional.L2::evict_last.b64 %rd2, 1.0;\n"
                "ld.global.L2::cache_hint.u32 %r2, [%rd1+4096], %rd2;\n"
                "fence.proxy.async; griddepcontrol.wait; setmaxnreg.inc.sync.aligned.u32 64;\n"
                "st.global.L2::cache_hint.u32 [%rd1], %r2, %rd2;\n"
                "griddepcontrol.launch_dependents;\n"),
            1),
        0);
    if (r.module)
        EXPECT_EQ(words(&r)[0], 0x1000);
    done(&r);
}

/* What the simulator can't do is a fault of who does it, and named. */
static void test_beyond(void)
{
    struct runner r;
    const char *text = HEAD KERNEL(
        "setp.eq.u32 %p1, %r1, 99; st.global.u32 [%rd1], 5;\n"
        "@%p1 multimem.red.relaxed.sys.global.add.u32 [%rd1], 1;\n"
        "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], 16, "
        "[%r1];\n");
    EXPECT_EQ(run(&r, text, 32), 0);
    if (r.module)
        EXPECT_EQ(words(&r)[0], 5);
    done(&r);
    EXPECT_EQ(run(&r, text, 128), CUDA_ERROR_ILLEGAL_INSTRUCTION);
    EXPECT_EQ(strstr(r.fault.text, "multimem.red.relaxed.sys.global.add.u32 [%rd1], 1") != NULL,
              true);
    EXPECT_EQ(strstr(r.fault.text, "thread (99,0,0)") != NULL, true);
    done(&r);
}

/* FAULT when run, by one thread. */
static void faults(const char *body, int fault, const char *why)
{
    struct runner r;
    char text[4096];
    const char *before = HEAD KERNEL("");
    const char *end = strstr(before, "ret;");
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(end - before), before, body, end);
    EXPECT_EQ(run(&r, text, 1), fault);
    if (!strstr(r.fault.text, why)) {
        fprintf(stderr, "'%s' does not say '%s': %s\n", r.fault.text, why, body);
        mt_failed++;
    }
    done(&r);
}

static void test_faults(void)
{
    faults("mov.u32 %r2, 0; cp.async.ca.shared.global [%r2], [%rd1], 16;\n",
           CUDA_ERROR_ILLEGAL_ADDRESS, "shared memory");
    faults(".shared .align 16 .b8 a[16]; cp.async.ca.shared.global [a+4], [%rd1], 8;\n",
           CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned");
    faults(".shared .align 16 .b8 a[16]; cp.async.ca.shared.global [a], [%rd1+65536], 4;\n",
           CUDA_ERROR_ILLEGAL_ADDRESS, "global memory");
    faults(".shared .align 8 .b64 b; mbarrier.init.shared.b64 [b], 0;\n",
           CUDA_ERROR_ILLEGAL_INSTRUCTION, "barrier of 0 threads");
    faults(".shared .align 8 .b64 b; mbarrier.init.shared.b64 [b], 1;\n"
           "mbarrier.arrive.shared.b64 _, [b], 2;\n",
           CUDA_ERROR_ILLEGAL_INSTRUCTION, "barrier of 1 threads");
    faults("mbarrier.arrive.b64 _, [%rd1];\n", CUDA_ERROR_ILLEGAL_ADDRESS, "no shared memory");
    faults(".shared .align 8 .b64 b; mov.u32 %r2, b; mbarrier.inval.shared.b64 [%r2+4];\n",
           CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned");
}

int main(void)
{
    MT_RUN(test_copies);
    MT_RUN(test_mbarrier);
    MT_RUN(test_mbarrier_bytes);
    MT_RUN(test_elect);
    MT_RUN(test_shared_variables);
    MT_RUN(test_reserved_memory);
    MT_RUN(test_hints);
    MT_RUN(test_beyond);
    MT_RUN(test_faults);
    return mt_done();
}
