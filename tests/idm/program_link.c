/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo/kernels.h"
#include "program.h"

/* Each text has a `helper` of its own; `scale` and `factor` are the other's. */
#define USER                                                                                       \
    PTX_HEADER ".extern .func (.param .u32 r) scale(.param .u32 x);\n"                             \
               ".extern .global .align 4 .u32 factor;\n"                                           \
               ".weak .global .align 4 .u32 offset = 7;\n"                                         \
               ".func (.param .u32 r) helper(.param .u32 x) {\n"                                   \
               "  .reg .u32 %r<3>;\n"                                                              \
               "  ld.param.u32 %r1, [x]; add.u32 %r2, %r1, 1;\n"                                   \
               "  st.param.u32 [r], %r2; ret; }\n"                                                 \
               ".visible .entry run(.param .u32 n, .param .u64 out) {\n"                           \
               "  .reg .u32 %r<6>; .reg .u64 %rd<3>;\n"                                            \
               "  ld.param.u32 %r1, [n]; ld.param.u64 %rd1, [out];\n"                              \
               "  { .param .u32 a; .param .u32 b; st.param.u32 [a], %r1;\n"                        \
               "    call (b), helper, (a); ld.param.u32 %r2, [b]; }\n"                             \
               "  { .param .u32 a; .param .u32 b; st.param.u32 [a], %r2;\n"                        \
               "    call (b), scale, (a); ld.param.u32 %r3, [b]; }\n"                              \
               "  ld.global.u32 %r4, [factor]; ld.global.u32 %r5, [offset];\n"                     \
               "  add.u32 %r3, %r3, %r4; add.u32 %r3, %r3, %r5;\n"                                 \
               "  st.global.u32 [%rd1], %r3; ret; }\n"
#define DEFINER                                                                                    \
    PTX_HEADER ".visible .global .align 4 .u32 factor = 10;\n"                                     \
               ".weak .global .align 4 .u32 offset = 9;\n"                                         \
               ".func (.param .u32 r) helper(.param .u32 x) {\n"                                   \
               "  .reg .u32 %r<4>;\n"                                                              \
               "  ld.param.u32 %r1, [x]; ld.global.u32 %r2, [factor]; mul.lo.u32 %r3, %r1, %r2;\n" \
               "  st.param.u32 [r], %r3; ret; }\n"                                                 \
               ".visible .func (.param .u32 r) scale(.param .u32 x) {\n"                           \
               "  .reg .u32 %r<3>;\n"                                                              \
               "  ld.param.u32 %r1, [x];\n"                                                        \
               "  { .param .u32 a; .param .u32 b; st.param.u32 [a], %r1;\n"                        \
               "    call (b), helper, (a); ld.param.u32 %r2, [b]; }\n"                             \
               "  st.param.u32 [r], %r2; ret; }\n"

static void run(const void *image)
{
    CUmodule m = NULL;
    CUfunction fn = NULL;
    CUdeviceptr out = 0;
    unsigned n = 5, got = 0;
    void *params[] = {&n, &out};
    SHOW(cuModuleLoadData, &m, image);
    SHOW(cuModuleGetFunction, &fn, m, "run");
    SHOW(cuMemAlloc_v2, &out, 4);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    SHOW(cuMemcpyDtoH_v2, &got, out, 4);
    printf("%u\n", got);
    SHOW(cuMemFree_v2, out);
    SHOW(cuModuleUnload, m);
}

static void two_texts(void)
{
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    SHOW(cuLinkCreate_v2, 0, NULL, NULL, &state);
    SHOW(cuLinkComplete, state, &image, &bytes);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, sizeof(USER), "user", 0, NULL, NULL);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, DEFINER, sizeof(DEFINER), NULL, 0, NULL, NULL);
    SHOW(cuLinkComplete, state, &image, &bytes);
    printf("%d\n", image && bytes > 0);
    if (image)
        run(image);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, sizeof(USER), "late", 0, NULL, NULL);
    SHOW(cuLinkDestroy, state);
    SHOW(cuLinkDestroy, state);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, sizeof(USER), "dead", 0, NULL, NULL);
}

static void from_files(void)
{
    char path[] = "/tmp/gi-link-XXXXXX";
    CUlinkState state = NULL;
    CUmodule m = NULL;
    CUfunction fn = NULL;
    void *image = NULL;
    int fd = mkstemp(path);
    SHOW(cuModuleLoad, &m, "/nowhere/at/all");
    if (fd < 0 || write(fd, DEFINER, strlen(DEFINER)) < 0)
        printf("no file\n");
    show("ModuleLoad", cu.cuModuleLoad(&m, path));
    SHOW(cuModuleGetFunction, &fn, m, "scale");
    SHOW(cuModuleUnload, m);
    SHOW(cuLinkCreate_v2, 0, NULL, NULL, &state);
    SHOW(cuLinkAddFile_v2, state, CU_JIT_INPUT_PTX, "/nowhere/at/all", 0, NULL, NULL);
    show("AddFile", cu.cuLinkAddFile_v2(state, CU_JIT_INPUT_PTX, path, 0, NULL, NULL));
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, strlen(USER), "user", 0, NULL, NULL);
    SHOW(cuLinkComplete, state, &image, NULL);
    if (image)
        run(image);
    SHOW(cuLinkDestroy, state);
    close(fd);
    unlink(path);
}

static void errors(void)
{
    CUlinkState state = NULL;
    void *image = NULL;
    size_t bytes = 0;
    char log[600] = "none";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    SHOW(cuLinkCreate_v2, 2, options, values, &state);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, "this is no PTX", 14, "", 0, NULL, NULL);
    printf("log: %s\n", log);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, NULL, 14, "", 0, NULL, NULL);
    SHOW(cuLinkAddData_v2, state, (CUjitInputType)77, USER, 14, "", 0, NULL, NULL);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, sizeof(USER), "user", 0, NULL, NULL);
    SHOW(cuLinkComplete, state, &image, &bytes);
    printf("log: %s\n%d\n", log, image == NULL);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, DEFINER, sizeof(DEFINER), "a", 0, NULL, NULL);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, DEFINER, sizeof(DEFINER), "b", 0, NULL, NULL);
    SHOW(cuLinkComplete, state, &image, &bytes);
    printf("log: %s\n", log);
    SHOW(cuLinkDestroy, state);
    SHOW(cuLinkCreate_v2, 0, NULL, NULL, NULL);
    SHOW(cuLinkCreate_v2, 1, NULL, NULL, &state);
}

/* What is not destroyed ends with its context. */
static void left_behind(void)
{
    CUcontext c = NULL;
    CUlinkState state = NULL;
    SHOW(cuCtxCreate_v2, &c, 0, 0);
    SHOW(cuLinkCreate_v2, 0, NULL, NULL, &state);
    SHOW(cuLinkAddData_v2, state, CU_JIT_INPUT_PTX, USER, sizeof(USER), "", 0, NULL, NULL);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuLinkDestroy, state);
}

static void contents(void)
{
    CUmodule m = NULL;
    CUlibrary l = NULL;
    CUfunction functions[40] = {NULL};
    CUkernel kernels[40] = {NULL};
    CUfunctionLoadingState loaded = CU_FUNCTION_LOADING_STATE_UNLOADED;
    unsigned n = 0;
    SHOW(cuModuleLoadData, &m, PTX_ALL);
    SHOW(cuModuleGetFunctionCount, &n, m);
    printf("%u functions\n", n);
    SHOW(cuModuleEnumerateFunctions, functions, 40, m);
    for (unsigned i = 0; i < n && i < 40; i++) {
        const char *name = "";
        CUresult rc = cu.cuFuncGetName(&name, functions[i]);
        printf("%d %s\n", (int)rc, name);
    }
    SHOW(cuFuncLoad, functions[0]);
    SHOW(cuFuncIsLoaded, &loaded, functions[0]);
    printf("%d\n", (int)loaded);
    SHOW(cuFuncIsLoaded, NULL, functions[0]);
    SHOW(cuFuncLoad, (CUfunction)m);
    SHOW(cuModuleEnumerateFunctions, NULL, 40, m);
    SHOW(cuModuleEnumerateFunctions, functions, 0, m);
    SHOW(cuModuleGetFunctionCount, &n, (CUmodule)functions[0]);
    SHOW(cuModuleUnload, m);
    SHOW(cuLibraryLoadData, &l, PTX_ALL, NULL, NULL, 0, NULL, NULL, 0);
    SHOW(cuLibraryEnumerateKernels, kernels, 3, l);
    for (unsigned i = 0; i < 4; i++) {
        const char *name = "";
        CUresult rc = kernels[i] ? cu.cuKernelGetName(&name, kernels[i]) : CUDA_SUCCESS;
        printf("%d %s\n", (int)rc, name);
    }
    SHOW(cuLibraryUnload, l);
}

static void old_forms(void)
{
    CUdevprop p;
    CUcontext c = NULL, popped = NULL;
    CUstream s = NULL;
    CUevent e = NULL;
    CUgreenCtx green = (CUgreenCtx)1;
    unsigned bytes = 0, flags = 0;
    memset(&p, 0, sizeof(p));
    SHOW(cuDeviceGetProperties, &p, 0);
    printf("%d %d %d %d %d\n", p.maxThreadsPerBlock, p.maxThreadsDim[2], p.maxGridSize[0],
           p.SIMDWidth, p.regsPerBlock);
    SHOW(cuDeviceGetProperties, &p, 9);
    SHOW(cuDeviceTotalMem, &bytes, 0);
    printf("%d\n", bytes > 0);
    SHOW(cuCtxCreate, &c, 0, 0);
    SHOW(cuCtxPopCurrent, &popped);
    printf("%d\n", popped == c);
    SHOW(cuCtxPushCurrent, c);
    SHOW(cuStreamCreate, &s, 0);
    SHOW(cuStreamGetGreenCtx, s, &green);
    printf("%d\n", green == NULL);
    SHOW(cuEventCreate, &e, 0);
    SHOW(cuCtxRecordEvent, c, e);
    SHOW(cuCtxWaitEvent, NULL, e);
    SHOW(cuEventSynchronize, e);
    SHOW(cuCtxRecordEvent, c, NULL);
    SHOW(cuEventDestroy, e);
    SHOW(cuStreamDestroy, s);
    SHOW(cuCtxSetFlags, CU_CTX_SCHED_YIELD);
    SHOW(cuCtxGetFlags, &flags);
    printf("%u\n", flags);
    SHOW(cuCtxSetFlags, 1u << 30);
    SHOW(cuProfilerStart);
    SHOW(cuProfilerStop);
    SHOW(cuCtxDetach, c);
    SHOW(cuCtxDestroy, c);
}

static void questions(void)
{
    unsigned long long id = 0, other = 0;
    unsigned capabilities[2] = {9, 9};
    const int operations[2] = {0, 1};
    int value = 7;
    CUcontext c = NULL;
    SHOW(cuCtxGetId, NULL, &id);
    SHOW(cuCtxCreate_v2, &c, 0, 0);
    SHOW(cuCtxGetId, c, &other);
    printf("%d\n", id != other);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuCtxGetId, c, &other);
    SHOW(cuDeviceGetP2PAttribute, &value, 1, 0, 0);
    SHOW(cuDeviceGetP2PAttribute, &value, 1, 0, 9);
    SHOW(cuDeviceGetP2PAttribute, &value, 0, 0, 0);
    SHOW(cuDeviceGetP2PAtomicCapabilities, capabilities, operations, 2, 0, 0);
    SHOW(cuDeviceGetHostAtomicCapabilities, capabilities, operations, 2, 0);
    printf("%u %u\n", capabilities[0], capabilities[1]);
    SHOW(cuDeviceGetExecAffinitySupport, &value, 0, 0);
    printf("%d\n", value);
}

void linking(void)
{
    two_texts();
    from_files();
    errors();
    left_behind();
    contents();
    old_forms();
    questions();
}
