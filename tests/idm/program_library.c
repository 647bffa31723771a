/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo/kernels.h"
#include "program.h"

#define COUNTER                                                                                    \
    PTX_HEADER ".visible .global .align 4 .u32 count = 40;\n"                                      \
               ".visible .entry add(.param .u32 n, .param .u64 out) {\n"                           \
               "  .reg .u32 %r<4>; .reg .u64 %rd<3>;\n"                                            \
               "  ld.param.u32 %r1, [n]; ld.param.u64 %rd1, [out];\n"                              \
               "  ld.global.u32 %r2, [count]; add.u32 %r3, %r1, %r2;\n"                            \
               "  st.global.u32 [count], %r3; st.global.u32 [%rd1], %r3;\n"                        \
               "  ret; }\n"                                                                        \
               ".visible .entry none() { ret; }\n"

static CUlibrary library;
static CUkernel add;

static void loading(void)
{
    CUlibrary bad = NULL;
    CUkernel k = NULL;
    unsigned n = 0;
    SHOW(cuLibraryLoadData, &bad, "this is no PTX", NULL, NULL, 0, NULL, NULL, 0);
    SHOW(cuLibraryLoadData, NULL, COUNTER, NULL, NULL, 0, NULL, NULL, 0);
    SHOW(cuLibraryLoadData, &bad, NULL, NULL, NULL, 0, NULL, NULL, 0);
    SHOW(cuLibraryLoadData, &bad, COUNTER, NULL, NULL, 0, NULL, NULL, 1);
    char log[300] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    SHOW(cuLibraryLoadData, &bad, PTX_HEADER ".visible .entry e() { nonsense; }", options, values,
         2, NULL, NULL, 0);
    printf("log: %s\n%d\n", log, (uintptr_t)values[1] == strlen(log));
    CUlibraryOption keep[] = {CU_LIBRARY_BINARY_IS_PRESERVED};
    void *yes[] = {(void *)1};
    SHOW(cuLibraryLoadData, &library, COUNTER, NULL, NULL, 0, keep, yes, 1);
    SHOW(cuLibraryGetKernelCount, &n, library);
    printf("%u kernels\n", n);
    SHOW(cuLibraryGetKernel, &k, library, "nobody");
    SHOW(cuLibraryGetKernel, &k, bad, "add");
    SHOW(cuLibraryGetKernel, &k, (CUlibrary)cu.cuInit, "add");
    SHOW(cuLibraryGetKernel, &add, library, "add");
}

static void files(void)
{
    char path[] = "/tmp/gi-library-XXXXXX";
    CUlibrary l = NULL;
    CUkernel k = NULL;
    int fd = mkstemp(path);
    SHOW(cuLibraryLoadFromFile, &l, "/nowhere/at/all", NULL, NULL, 0, NULL, NULL, 0);
    if (fd < 0 || write(fd, COUNTER, strlen(COUNTER)) < 0)
        printf("no file\n");
    show("LoadFromFile", cu.cuLibraryLoadFromFile(&l, path, NULL, NULL, 0, NULL, NULL, 0));
    SHOW(cuLibraryGetKernel, &k, l, "none");
    SHOW(cuLaunchKernel, (CUfunction)k, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuLibraryUnload, l);
    close(fd);
    unlink(path);
}

static void kernels(void)
{
    CUlibrary its = NULL;
    const char *name = "";
    for (size_t i = 0; i < 3; i++) {
        size_t offset = 0, size = 0;
        CUresult rc = cu.cuKernelGetParamInfo(add, i, &offset, &size);
        printf("parameter %zu: %d %zu %zu\n", i, (int)rc, offset, size);
    }
    SHOW(cuKernelGetName, &name, add);
    printf("%s\n", name);
    SHOW(cuKernelGetLibrary, &its, add);
    printf("its library: %d\n", its == library);
    for (int i = -1; i < 20; i++) {
        int value = -1;
        CUresult rc = cu.cuKernelGetAttribute(&value, (CUfunction_attribute)i, add, 0);
        printf("attribute %d: %d %d\n", i, (int)rc, value);
    }
    int value = 0;
    const CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    SHOW(cuKernelGetAttribute, &value, dynamic, add, 99);
    SHOW(cuKernelSetAttribute, dynamic, 1 << 30, add, 0);
    SHOW(cuKernelSetAttribute, CU_FUNC_ATTRIBUTE_NUM_REGS, 1, add, 0);
    SHOW(cuKernelSetAttribute, dynamic, 70000, add, 0);
    SHOW(cuKernelGetAttribute, &value, dynamic, add, 0);
    printf("%d\n", value);
}

static unsigned count_now(void)
{
    CUdeviceptr p = 0;
    size_t bytes = 0;
    unsigned count = 0;
    SHOW(cuLibraryGetGlobal, &p, &bytes, library, "count");
    SHOW(cuMemcpyDtoH_v2, &count, p, 4);
    printf("%zu bytes\n", bytes);
    return count;
}

/* One kernel, two contexts: each has its own counter. */
static void contexts(void)
{
    CUcontext other = NULL;
    CUdeviceptr out = 0, far = 0;
    CUfunction fn = NULL, again = NULL, far_fn = NULL;
    CUmodule module = NULL, second = NULL;
    unsigned n = 2;
    int value = 0;
    SHOW(cuMemAlloc_v2, &out, 4);
    void *params[] = {&n, &out};
    SHOW(cuLaunchKernel, (CUfunction)add, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    show_device(out, 4);
    SHOW(cuLaunchKernel, (CUfunction)add, 1, 1, 1, 1, 1, 1, 60000, NULL, params, NULL);
    SHOW(cuLaunchKernel, (CUfunction)add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    SHOW(cuLaunchKernel, (CUfunction)library, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    SHOW(cuCtxSynchronize);
    SHOW(cuKernelGetFunction, &fn, add);
    SHOW(cuKernelGetFunction, &again, add);
    printf("same function: %d\n", fn == again);
    SHOW(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, fn);
    printf("%d\n", value);
    SHOW(cuLibraryGetModule, &module, library);
    SHOW(cuFuncGetModule, &second, fn);
    printf("same module: %d\n", module == second);
    SHOW(cuModuleGetFunction, &again, module, "none");
    SHOW(cuModuleUnload, module);
    SHOW(cuLaunchKernel, again, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    printf("count: %u\n", count_now());

    SHOW(cuCtxCreate_v2, &other, 0, 0);
    SHOW(cuMemAlloc_v2, &far, 4);
    void *far_params[] = {&n, &far};
    SHOW(cuKernelGetFunction, &far_fn, add);
    printf("another function: %d\n", far_fn != fn);
    SHOW(cuLaunchKernel, (CUfunction)add, 1, 1, 1, 1, 1, 1, 0, NULL, far_params, NULL);
    SHOW(cuLaunchKernel, far_fn, 1, 1, 1, 1, 1, 1, 0, NULL, far_params, NULL);
    printf("count: %u\n", count_now());
    SHOW(cuCtxDestroy_v2, other);
    SHOW(cuLaunchKernel, far_fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    printf("count: %u\n", count_now());
    SHOW(cuMemFree_v2, out);

    SHOW(cuLibraryUnload, library);
    SHOW(cuLibraryUnload, library);
    SHOW(cuLaunchKernel, (CUfunction)add, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    SHOW(cuLaunchKernel, fn, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    SHOW(cuLaunchKernel, again, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    SHOW(cuKernelGetFunction, &fn, add);
    SHOW(cuCtxSynchronize);
}

void libraries(void)
{
    loading();
    files();
    kernels();
    contexts();
}
