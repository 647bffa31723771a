/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for tests of the simulated driver, and a context with them loaded. */
#ifndef TEST_KERNELS_H
#define TEST_KERNELS_H

#include "idm/cuda_abi.h"
#include "minitest.h"

#define OK(call)       EXPECT_EQ(call, CUDA_SUCCESS)
#define FAILS(e, call) EXPECT_EQ(call, CUDA_ERROR_##e)

#define HEADER         ".version 6.4\n.target sm_50\n.address_size 64\n"

static const char kernels[] = HEADER
    ".visible .global .align 4 .u32 table[4] = {10, 20, 30, 40};\n"
    ".visible .const .align 4 .u32 scale = 3;\n"
    ".visible .global .align 8 .u64 where = table;\n"
    /* Waits until *flag isn't 0. */
    ".visible .entry hold(.param .u64 flag)\n"
    "{ .reg .pred %p; .reg .b32 %r; .reg .b64 %a;\n"
    "  ld.param.u64 %a, [flag];\n"
    "AGAIN: ld.volatile.global.u32 %r, [%a]; setp.eq.u32 %p, %r, 0; @%p bra AGAIN; ret; }\n"
    /* *out = how many came before at *counter. */
    ".visible .entry stamp(.param .u64 counter, .param .u64 out)\n"
    "{ .reg .b32 %r; .reg .b64 %a<2>;\n"
    "  ld.param.u64 %a0, [counter]; ld.param.u64 %a1, [out];\n"
    "  atom.global.add.u32 %r, [%a0], 1; st.global.u32 [%a1], %r; ret; }\n"
    /* out[i] = table[i % 4] * scale + add */
    ".visible .entry look(.param .u64 out, .param .u8 odd, .param .u32 add)\n"
    "{ .reg .b32 %r<6>; .reg .b64 %a<4>;\n"
    "  ld.param.u64 %a0, [out]; ld.param.u32 %r0, [add]; mov.u32 %r1, %tid.x;\n"
    "  and.b32 %r2, %r1, 3; mul.wide.u32 %a1, %r2, 4; mov.u64 %a2, table; add.u64 %a1, %a1, %a2;\n"
    "  ld.global.u32 %r3, [%a1]; ld.const.u32 %r4, [scale]; mad.lo.u32 %r3, %r3, %r4, %r0;\n"
    "  mul.wide.u32 %a3, %r1, 4; add.u64 %a0, %a0, %a3; st.global.u32 [%a0], %r3; ret; }\n"
    ".visible .entry poke(.param .u64 at)\n"
    "{ .reg .b64 %a; ld.param.u64 %a, [at]; st.global.u32 [%a], 1; ret; }\n"
    ".visible .entry narrow() .maxntid 64, 1, 1 { ret; }\n"
    ".extern .shared .align 16 .b8 dyn[];\n"
    /* Writes the last word of its dynamic shared memory and brings it back. */
    ".visible .entry roomy(.param .u64 out, .param .u32 bytes)\n"
    "{ .reg .b32 %r<4>; .reg .b64 %a;\n"
    "  ld.param.u64 %a, [out]; ld.param.u32 %r0, [bytes]; mov.u32 %r1, dyn;\n"
    "  add.u32 %r1, %r1, %r0; st.shared.u32 [%r1-4], %r0; ld.shared.u32 %r2, [%r1-4];\n"
    "  st.global.u32 [%a], %r2; ret; }\n";

static CUcontext context;
static CUmodule module;

static inline CUfunction function(const char *name)
{
    CUfunction f = NULL;
    OK(cuModuleGetFunction(&f, module, name));
    return f;
}

static CUresult launch(CUfunction f, CUstream s, void **params)
{
    return cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, params, NULL);
}

static int set_up(void)
{
    if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate(&context, 0, 0) != CUDA_SUCCESS)
        return -1;
    char log[500] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)sizeof(log)};
    if (cuModuleLoadDataEx(&module, kernels, 2, options, values) != CUDA_SUCCESS) {
        fprintf(stderr, "module: %s\n", log);
        return -1;
    }
    return 0;
}

#endif
