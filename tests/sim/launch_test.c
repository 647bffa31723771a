/* SPDX-License-Identifier: Apache-2.0 */
/* Modules and launches of the simulated driver. */
#include <stdlib.h>
#include <string.h>

#include "test_kernels.h"
#ifdef GI_HAVE_ZSTD
#include <zstd.h>
#endif

static CUresult load_text(const char *text)
{
    CUmodule m = NULL;
    CUresult rc = cuModuleLoadData(&m, text);
    if (rc == CUDA_SUCCESS)
        OK(cuModuleUnload(m));
    return rc;
}

static void images(void)
{
    static const char elf[64] = "\177ELF";
    OK(load_text(HEADER));
    OK(load_text("// a comment\n/* and\nanother */ " HEADER));
    FAILS(INVALID_IMAGE, load_text(""));
    FAILS(INVALID_IMAGE, load_text("x"));
    FAILS(INVALID_IMAGE, load_text("hello, world"));
    FAILS(INVALID_IMAGE, load_text("/* open"));
    FAILS(INVALID_PTX, load_text(HEADER ".visible .entry k() { nonsense; }"));
    FAILS(INVALID_PTX, load_text(HEADER ".visible .entry k() { mov.u32 %r1, 1; ret; }"));
    FAILS(UNSUPPORTED_PTX_VERSION, load_text(".version 99.0\n.target sm_50\n.address_size 64\n"));
    FAILS(NO_BINARY_FOR_GPU, load_text(elf));
    FAILS(INVALID_VALUE, cuModuleLoadData(NULL, HEADER));
    FAILS(INVALID_VALUE, cuModuleLoadData(&module, NULL));
}

static void jit_log(void)
{
    char error[200] = "?", info[10] = "?";
    CUmodule m = NULL;
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_OPTIMIZATION_LEVEL};
    void *values[] = {error, (void *)sizeof(error), info, (void *)sizeof(info), (void *)4};
    FAILS(INVALID_PTX,
          cuModuleLoadDataEx(&m, HEADER "\n.entry k() { bogus.u32 %r1; }", 5, options, values));
    EXPECT(strstr(error, "line 5") && strstr(error, "bogus"));
    EXPECT_EQ((size_t)values[1], strlen(error));
    EXPECT_EQ((size_t)values[3], 0);
    values[1] = (void *)5; /* a small buffer gets what fits */
    memset(error, 'x', sizeof(error));
    FAILS(INVALID_PTX, cuModuleLoadDataEx(&m, HEADER "bogus", 2, options, values));
    EXPECT(strlen(error) == 4 && error[5] == 'x');
    FAILS(INVALID_VALUE, cuModuleLoadDataEx(&m, HEADER, 2, NULL, values));
}

struct fatbin {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size;
    struct {
        uint16_t kind, unused;
        uint32_t header_size;
        uint64_t payload_size;
        uint32_t compressed_size, options_at;
        uint16_t minor, major;
        uint32_t sm;
        uint8_t unused2[8];
        uint64_t flags, unused3, plain_size;
        char text[128];
    } entry[2];
};

/* Entry 0 as an LZ4 block: 40 spaces, 39 of them a match with the first; then TEXT. */
static void lz4_entry(struct fatbin *f, const char *text)
{
    const struct fatbin saved = *f;
    CUmodule m = NULL;
    CUfunction fn = NULL;
    uint8_t *p = (uint8_t *)f->entry[0].text;
    size_t n = strlen(text);
    *p++ = 0x1f; /* 1 literal; a match of 15 + 20 + 4 bytes, one byte back */
    *p++ = ' ';
    *p++ = 1;
    *p++ = 0;
    *p++ = 20;
    *p++ = 0xf0; /* 15 + n - 15 literals */
    *p++ = (uint8_t)(n - 15);
    memcpy(p, text, n);
    f->entry[0].flags = 0x2000;
    f->entry[0].compressed_size = (uint32_t)(7 + n);
    f->entry[0].plain_size = 40 + n;
    OK(cuModuleLoadData(&m, f));
    OK(cuModuleGetFunction(&fn, m, "high"));
    OK(cuModuleUnload(m));
    f->entry[0].plain_size--;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, f));
    f->entry[0].plain_size = UINT64_MAX;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, f));
    *f = saved;
}

#ifdef GI_HAVE_ZSTD
static void zstd_entry(struct fatbin *f, const char *text)
{
    const struct fatbin saved = *f;
    CUmodule m = NULL;
    CUfunction fn = NULL;
    size_t n = strlen(text) + 1;
    size_t packed = ZSTD_compress(f->entry[0].text, sizeof(f->entry[0].text), text, n, 3);
    EXPECT(!ZSTD_isError(packed));
    f->entry[0].flags = 0x8000;
    f->entry[0].compressed_size = (uint32_t)packed;
    f->entry[0].plain_size = n;
    OK(cuModuleLoadData(&m, f));
    OK(cuModuleGetFunction(&fn, m, "high"));
    OK(cuModuleUnload(m));
    f->entry[0].plain_size--;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, f));
    f->entry[0].plain_size = n + 1;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, f));
    f->entry[0].plain_size = n;
    f->entry[0].compressed_size--;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, f));
    *f = saved;
}
#else
/* Built without libzstd: the other entry is taken. */
static void zstd_entry(struct fatbin *f, const char *text)
{
    CUmodule m = NULL;
    CUfunction fn = NULL;
    (void)text;
    f->entry[0].flags = 0x8000;
    OK(cuModuleLoadData(&m, f));
    OK(cuModuleGetFunction(&fn, m, "low"));
    OK(cuModuleUnload(m));
}
#endif

static void fatbins(void)
{
    static const char old[] = HEADER ".visible .entry low() { ret; }";
    static const char young[] = HEADER ".visible .entry high() { ret; }";
    struct fatbin f = {
        .magic = 0xba55ed50, .version = 1, .header_size = 16, .size = sizeof(f.entry)};
    struct {
        uint32_t magic, version;
        void *data, *unused;
    } wrapper = {0x466243b1, 1, &f, NULL};
    CUmodule m = NULL;
    CUfunction fn = NULL;
    for (unsigned i = 0; i < 2; i++) {
        f.entry[i].kind = 1;
        f.entry[i].header_size = 64;
        f.entry[i].payload_size = sizeof(f.entry[i].text);
        f.entry[i].sm = i ? 50 : 90;
        memcpy(f.entry[i].text, i ? old : young, i ? sizeof(old) : sizeof(young));
    }
    OK(cuModuleLoadFatBinary(&m, &f));
    OK(cuModuleGetFunction(&fn, m, "high"));
    OK(cuModuleUnload(m));
    zstd_entry(&f, young);
    f.entry[0].flags = 0x100000; /* for one architecture alone: the other one */
    OK(cuModuleLoadData(&m, &wrapper));
    OK(cuModuleGetFunction(&fn, m, "low"));
    OK(cuModuleUnload(m));
    lz4_entry(&f, young);
    f.entry[1].kind = 2;
    FAILS(NO_BINARY_FOR_GPU, cuModuleLoadData(&m, &wrapper));
    f.entry[0].payload_size = UINT64_MAX - 8;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, &wrapper));
    f.header_size = 8;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, &wrapper));
    wrapper.data = NULL;
    FAILS(INVALID_IMAGE, cuModuleLoadData(&m, &wrapper));
}

static void modules(void)
{
    CUfunction f = NULL;
    CUmodule m = NULL;
    CUdeviceptr p = 0;
    size_t bytes = 0, offset = 0, size = 0;
    uint32_t words[4] = {0};
    uint64_t address = 0;
    int value = 0;
    FAILS(NOT_FOUND, cuModuleGetFunction(&f, module, "nothing"));
    FAILS(INVALID_HANDLE, cuModuleGetFunction(&f, (CUmodule)context, "hold"));
    OK(cuModuleGetGlobal_v2(&p, &bytes, module, "table"));
    EXPECT_EQ(bytes, 16);
    OK(cuMemcpyDtoH(words, p, 16));
    EXPECT(words[0] == 10 && words[3] == 40);
    FAILS(INVALID_VALUE, cuMemFree(p));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(words, p, 17));
    OK(cuModuleGetGlobal_v2(&p, NULL, module, "where"));
    OK(cuMemcpyDtoH(&address, p, 8));
    OK(cuModuleGetGlobal_v2(&p, NULL, module, "table"));
    EXPECT_EQ(address, p);
    FAILS(NOT_FOUND, cuModuleGetGlobal_v2(&p, &bytes, module, "tables"));
    f = function("look");
    OK(cuFuncGetModule(&m, f));
    EXPECT(m == module);
    OK(cuFuncGetParamInfo(f, 1, &offset, &size));
    EXPECT(offset == 8 && size == 1);
    OK(cuFuncGetParamInfo(f, 2, &offset, &size));
    EXPECT(offset == 12 && size == 4);
    FAILS(INVALID_VALUE, cuFuncGetParamInfo(f, 3, &offset, &size));
    OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function("narrow")));
    EXPECT_EQ(value, 64);
    OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, f));
    EXPECT_EQ(value, 50);
    OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, f));
    EXPECT_EQ(value, 49152);
    FAILS(INVALID_VALUE, cuFuncGetAttribute(&value, (CUfunction_attribute)99, f));
}

static void module_unloads(void)
{
    CUmodule m = NULL;
    CUfunction f = NULL;
    CUdeviceptr p = 0;
    uint32_t word;
    OK(cuModuleLoadData(&m, HEADER ".visible .global .u32 x = 5; .visible .entry k() { ret; }"));
    OK(cuModuleGetGlobal_v2(&p, NULL, m, "x"));
    OK(cuMemcpyDtoH(&word, p, 4));
    EXPECT_EQ(word, 5);
    OK(cuModuleGetFunction(&f, m, "k"));
    OK(launch(f, NULL, NULL));
    OK(cuModuleUnload(m));
    FAILS(INVALID_HANDLE, launch(f, NULL, NULL));
    FAILS(INVALID_HANDLE, cuModuleUnload(m));
    FAILS(INVALID_VALUE, cuMemcpyDtoH(&word, p, 4));
}

static void parameters(void)
{
    CUfunction look = function("look");
    CUdeviceptr out = 0;
    uint32_t got[64] = {0}, add = 7;
    uint8_t odd = 1;
    void *params[] = {&out, &odd, &add};
    OK(cuMemAlloc(&out, sizeof(got)));
    OK(cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    OK(cuMemcpyDtoH(got, out, sizeof(got)));
    for (unsigned i = 0; i < 64; i++)
        EXPECT_EQ(got[i], (i % 4 + 1) * 30 + 7);
    struct {
        CUdeviceptr out;
        uint8_t odd;
        uint32_t add;
    } buffer = {out, 1, 100};
    size_t size = sizeof(buffer);
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};
    OK(cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
    OK(cuMemcpyDtoH(got, out, sizeof(got)));
    EXPECT_EQ(got[63], 220);
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, params, extra));
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, NULL, NULL));
    size = 12; /* the last one is zero then */
    OK(cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
    OK(cuMemcpyDtoH(got, out, sizeof(got)));
    EXPECT_EQ(got[63], 120);
    extra[0] = (void *)9;
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, NULL, extra));
    params[1] = NULL;
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    OK(cuMemFree(out));
}

static void shapes(void)
{
    CUfunction f = function("narrow");
    CUfunction look = function("look");
    OK(cuLaunchKernel(f, 3, 2, 2, 8, 4, 2, 0, NULL, NULL, NULL));
    FAILS(LAUNCH_OUT_OF_RESOURCES, cuLaunchKernel(f, 1, 1, 1, 65, 1, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(f, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 0, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(f, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 1025, 1, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 64, 32, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_VALUE, cuLaunchKernel(look, 1, 1, 1, 1, 1, 65, 0, NULL, NULL, NULL));
    FAILS(INVALID_HANDLE, cuLaunchKernel((CUfunction)&f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    FAILS(INVALID_HANDLE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, (CUstream)0x1000, NULL, NULL));
}

static void shared_memory(void)
{
    CUfunction f = function("roomy");
    CUdeviceptr out = 0;
    uint32_t bytes = 49152, got = 0;
    void *params[] = {&out, &bytes};
    OK(cuMemAlloc(&out, 4));
    OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, bytes, NULL, params, NULL));
    OK(cuMemcpyDtoH(&got, out, 4));
    EXPECT_EQ(got, bytes);
    bytes = 227 << 10;
    FAILS(INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, bytes, NULL, params, NULL));
    FAILS(INVALID_VALUE,
          cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (227 << 10) + 1));
    OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes));
    OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, bytes, NULL, params, NULL));
    OK(cuMemcpyDtoH(&got, out, 4));
    EXPECT_EQ(got, bytes);
    OK(cuMemFree(out));
}

/* A kernel that never ends is ended. */
static void time_limit(void)
{
    CUcontext c = NULL;
    CUmodule m = NULL;
    CUfunction f = NULL;
    CUdeviceptr zero = 0;
    OK(cuCtxCreate(&c, 0, 0));
    OK(cuModuleLoadData(&m, kernels));
    OK(cuModuleGetFunction(&f, m, "hold"));
    OK(cuMemAlloc(&zero, 4));
    void *params[] = {&zero};
    OK(launch(f, NULL, params));
    FAILS(LAUNCH_TIMEOUT, cuCtxSynchronize());
    OK(cuCtxDestroy(c));
    OK(cuCtxSynchronize());
}

int main(void)
{
    setenv("GI_SIM_MAX_STEPS", "100000", 1);
    if (set_up() < 0)
        return 1;
    MT_RUN(images);
    MT_RUN(jit_log);
    MT_RUN(fatbins);
    MT_RUN(modules);
    MT_RUN(module_unloads);
    MT_RUN(parameters);
    MT_RUN(shapes);
    MT_RUN(shared_memory);
    MT_RUN(time_limit);
    cuCtxDestroy(context);
    return mt_done();
}
