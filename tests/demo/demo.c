/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUDA program as a user would write one against the Driver API: it is
 * linked with -lcuda like any other and knows nothing of this project. It runs
 * its kernels (PTX text, kernels.h), computes the same on the CPU and compares.
 *
 *   gpu-demo [-n ELEMENTS] [--seconds S]
 *
 * --seconds repeats the saxpy for that long and prints a line a second.
 * Exit codes: 0 all agree, 1 something doesn't or a call failed, 2 usage.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "idm/cuda_abi.h"
#include "kernels.h"

#define BLOCK 256

static void check(CUresult rc, const char *call)
{
    if (rc == CUDA_SUCCESS)
        return;
    const char *name = NULL;
    if (cuGetErrorName(rc, &name) != CUDA_SUCCESS || !name)
        name = "unknown error";
    printf("%s failed: %s (%d)\n", call, name, (int)rc);
    exit(1);
}
#define CU(fn, ...) check(fn(__VA_ARGS__), #fn)

static CUmodule module;
static CUstream stream;
static int mismatches;

static void *host_array(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p) {
        printf("out of memory\n");
        exit(1);
    }
    return p;
}

static CUdeviceptr to_device(const void *data, size_t bytes)
{
    CUdeviceptr p = 0;
    CU(cuMemAlloc_v2, &p, bytes);
    CU(cuMemcpyHtoD_v2, p, data, bytes);
    return p;
}

static void launch(const char *kernel, unsigned gx, unsigned gy, unsigned bx, unsigned by,
                   void **args)
{
    CUfunction fn = NULL;
    CUevent begin = NULL, end = NULL;
    float ms = 0;
    CU(cuModuleGetFunction, &fn, module, kernel);
    CU(cuEventCreate, &begin, 0);
    CU(cuEventCreate, &end, 0);
    CU(cuEventRecord, begin, stream);
    CU(cuLaunchKernel, fn, gx, gy, 1, bx, by, 1, 0, stream, args, NULL);
    CU(cuEventRecord, end, stream);
    CU(cuStreamSynchronize, stream);
    CU(cuEventElapsedTime, &ms, begin, end);
    CU(cuEventDestroy_v2, begin);
    CU(cuEventDestroy_v2, end);
    if (!(ms >= 0)) {
        printf("%s: it took %f ms\n", kernel, (double)ms);
        mismatches++;
    }
}

static void report(const char *kernel, const char *shape, double value, double expected,
                   double max_error, double tolerance)
{
    int good = max_error <= tolerance; /* a NaN is no agreement */
    printf("%-10s  %-22s  computed %-14.10g  CPU %-14.10g  max error %-8.3g  %s\n", kernel, shape,
           value, expected, max_error, good ? "ok" : "WRONG");
    if (!good)
        mismatches++;
}

static double max_error(const float *got, const float *want, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        if (!(e <= worst)) /* keeps a NaN */
            worst = e;
    }
    return worst;
}

static double max_error_i32(const int32_t *got, const int32_t *want, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        if (e > worst)
            worst = e;
    }
    return worst;
}

static void vec_add(unsigned n)
{
    size_t bytes = n * sizeof(float);
    float *a = host_array(bytes), *b = host_array(bytes), *c = host_array(bytes),
          *want = host_array(bytes);
    char shape[64];
    for (unsigned i = 0; i < n; i++) {
        a[i] = (float)i * 0.5f;
        b[i] = (float)(n - i) * 0.25f;
        want[i] = a[i] + b[i];
    }
    CUdeviceptr da = to_device(a, bytes), db = to_device(b, bytes), dc = 0;
    CU(cuMemAlloc_v2, &dc, bytes);
    CU(cuMemsetD32_v2, dc, 0xffffffff, n);
    void *args[] = {&da, &db, &dc, &n};
    launch("vec_add", (n + BLOCK - 1) / BLOCK, 1, BLOCK, 1, args);
    CU(cuMemcpyDtoH_v2, c, dc, bytes);
    snprintf(shape, sizeof(shape), "n=%u", n);
    report("vec_add", shape, (double)c[n - 1], (double)want[n - 1], max_error(c, want, n), 0);
    CU(cuMemFree_v2, da);
    CU(cuMemFree_v2, db);
    CU(cuMemFree_v2, dc);
    free(a);
    free(b);
    free(c);
    free(want);
}

static void saxpy(unsigned n)
{
    size_t bytes = n * sizeof(float);
    float *x = host_array(bytes), *y = host_array(bytes), *want = host_array(bytes), a = 2.5f;
    char shape[64];
    for (unsigned i = 0; i < n; i++) {
        x[i] = (float)(i % 1000) / 7.0f;
        y[i] = 1.0f / (float)(i + 1);
        want[i] = fmaf(a, x[i], y[i]);
    }
    CUdeviceptr dx = to_device(x, bytes), dy = 0;
    CU(cuMemAlloc_v2, &dy, bytes);
    CU(cuMemcpyHtoDAsync_v2, dy, y, bytes, stream);
    void *args[] = {&a, &dx, &dy, &n};
    launch("saxpy", (n + BLOCK - 1) / BLOCK, 1, BLOCK, 1, args);
    CU(cuMemcpyDtoHAsync_v2, y, dy, bytes, stream);
    CU(cuStreamSynchronize, stream);
    snprintf(shape, sizeof(shape), "n=%u", n);
    report("saxpy", shape, (double)y[n - 1], (double)want[n - 1], max_error(y, want, n), 0);
    CU(cuMemFree_v2, dx);
    CU(cuMemFree_v2, dy);
    free(x);
    free(y);
    free(want);
}

/* One kernel for both element types: they differ in the module's function and here. */
static void reduce(const char *kernel, int is_float, unsigned n)
{
    unsigned blocks = (n + BLOCK - 1) / BLOCK;
    union word {
        float f;
        int32_t i;
    } *in = host_array(n * sizeof(*in)), *out = host_array(blocks * sizeof(*out)), tile[BLOCK];
    double sum = 0, want = 0, worst = 0;
    char shape[64];
    for (unsigned i = 0; i < n; i++) {
        if (is_float)
            in[i].f = 1.0f / (float)(i + 1);
        else
            in[i].i = (int32_t)i;
    }
    CUdeviceptr din = to_device(in, n * sizeof(*in)), dout = 0;
    CU(cuMemAlloc_v2, &dout, blocks * sizeof(*out));
    void *args[] = {&din, &dout, &n};
    launch(kernel, blocks, 1, BLOCK, 1, args);
    CU(cuMemcpyDtoH_v2, out, dout, blocks * sizeof(*out));
    for (unsigned b = 0; b < blocks; b++) {
        for (unsigned t = 0; t < BLOCK; t++) {
            memset(&tile[t], 0, sizeof(tile[t]));
            if (b * BLOCK + t < n)
                tile[t] = in[b * BLOCK + t];
        }
        for (unsigned s = BLOCK / 2; s > 0; s /= 2) {
            for (unsigned t = 0; t < s; t++) {
                if (is_float)
                    tile[t].f += tile[t + s].f;
                else
                    tile[t].i = (int32_t)((uint32_t)tile[t].i + (uint32_t)tile[t + s].i);
            }
        }
        double got_block = is_float ? (double)out[b].f : (double)out[b].i;
        double want_block = is_float ? (double)tile[0].f : (double)tile[0].i;
        sum += got_block;
        want += want_block;
        double e = fabs(got_block - want_block);
        if (!(e <= worst))
            worst = e;
    }
    snprintf(shape, sizeof(shape), "n=%u", n);
    report(kernel, shape, sum, want, worst, 0);
    CU(cuMemFree_v2, din);
    CU(cuMemFree_v2, dout);
    free(in);
    free(out);
}

static void matmul_f32(unsigned m, unsigned n, unsigned k)
{
    float *a = host_array(m * k * sizeof(*a)), *b = host_array(k * n * sizeof(*b)),
          *c = host_array(m * n * sizeof(*c)), *want = host_array(m * n * sizeof(*want));
    char shape[64];
    for (unsigned i = 0; i < m * k; i++)
        a[i] = (float)((i * 7) % 23) / 11.0f - 1.0f;
    for (unsigned i = 0; i < k * n; i++)
        b[i] = (float)((i * 5) % 19) / 9.0f - 1.0f;
    for (unsigned r = 0; r < m; r++) {
        for (unsigned col = 0; col < n; col++) {
            float sum = 0;
            for (unsigned i = 0; i < k; i++)
                sum = fmaf(a[r * k + i], b[i * n + col], sum);
            want[r * n + col] = sum;
        }
    }
    CUdeviceptr da = to_device(a, m * k * sizeof(*a)), db = to_device(b, k * n * sizeof(*b)),
                dc = 0;
    CU(cuMemAlloc_v2, &dc, m * n * sizeof(*c));
    void *args[] = {&da, &db, &dc, &m, &n, &k};
    launch("matmul_f32", (n + 15) / 16, (m + 15) / 16, 16, 16, args);
    CU(cuMemcpyDtoH_v2, c, dc, m * n * sizeof(*c));
    snprintf(shape, sizeof(shape), "%ux%u * %ux%u", m, k, k, n);
    report("matmul_f32", shape, (double)c[m * n - 1], (double)want[m * n - 1],
           max_error(c, want, (size_t)m * n), 0);
    CU(cuMemFree_v2, da);
    CU(cuMemFree_v2, db);
    CU(cuMemFree_v2, dc);
    free(a);
    free(b);
    free(c);
    free(want);
}

static void matmul_i32(unsigned m, unsigned n, unsigned k)
{
    int32_t *a = host_array(m * k * sizeof(*a)), *b = host_array(k * n * sizeof(*b)),
            *c = host_array(m * n * sizeof(*c)), *want = host_array(m * n * sizeof(*want));
    char shape[64];
    for (unsigned i = 0; i < m * k; i++)
        a[i] = (int32_t)((i * 7) % 23) - 11;
    for (unsigned i = 0; i < k * n; i++)
        b[i] = (int32_t)((i * 5) % 19) - 9;
    for (unsigned r = 0; r < m; r++) {
        for (unsigned col = 0; col < n; col++) {
            int32_t sum = 0;
            for (unsigned i = 0; i < k; i++)
                sum += a[r * k + i] * b[i * n + col];
            want[r * n + col] = sum;
        }
    }
    CUdeviceptr da = to_device(a, m * k * sizeof(*a)), db = to_device(b, k * n * sizeof(*b)),
                dc = 0;
    CU(cuMemAlloc_v2, &dc, m * n * sizeof(*c));
    void *args[] = {&da, &db, &dc, &m, &n, &k};
    launch("matmul_i32", (n + 15) / 16, (m + 15) / 16, 16, 16, args);
    CU(cuMemcpyDtoH_v2, c, dc, m * n * sizeof(*c));
    snprintf(shape, sizeof(shape), "%ux%u * %ux%u", m, k, k, n);
    report("matmul_i32", shape, c[m * n - 1], want[m * n - 1],
           max_error_i32(c, want, (size_t)m * n), 0);
    CU(cuMemFree_v2, da);
    CU(cuMemFree_v2, db);
    CU(cuMemFree_v2, dc);
    free(a);
    free(b);
    free(c);
    free(want);
}

static CUcontext open_device(void)
{
    CUdevice device = 0;
    CUcontext context = NULL;
    char name[128] = "";
    int version = 0, count = 0, sms = 0, major = 0, minor = 0;
    size_t total = 0, avail = 0, all = 0;
    CU(cuInit, 0);
    CU(cuDriverGetVersion, &version);
    CU(cuDeviceGetCount, &count);
    CU(cuDeviceGet, &device, 0);
    CU(cuDeviceGetName, name, (int)sizeof(name), device);
    CU(cuDeviceTotalMem_v2, &total, device);
    CU(cuDeviceGetAttribute, &sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    CU(cuDeviceGetAttribute, &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    CU(cuDeviceGetAttribute, &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    CU(cuCtxCreate_v2, &context, 0, device);
    CU(cuMemGetInfo_v2, &avail, &all);
    printf("device      %s (1 of %d), CUDA %d.%d, compute capability %d.%d, %d multiprocessors\n",
           name, count, version / 1000, version % 1000 / 10, major, minor, sms);
    printf("memory      %zu MiB, %zu MiB free\n", all >> 20, avail >> 20);
    return context;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Keeps the GPU busy: a program to watch, to stop, to take the proxy away from. */
static void repeat_saxpy(double seconds)
{
    const unsigned n = 4096;
    size_t bytes = n * sizeof(float);
    float *y = host_array(bytes), a = 1.0f;
    double end = now_s() + seconds, said = 0;
    unsigned long rounds = 0;
    for (unsigned i = 0; i < n; i++)
        y[i] = 1.0f;
    CUdeviceptr dx = to_device(y, bytes), dy = 0;
    CU(cuMemAlloc_v2, &dy, bytes);
    CU(cuMemsetD32_v2, dy, 0, n);
    void *args[] = {&a, &dx, &dy, (void *)&n};
    while (now_s() < end) {
        launch("saxpy", n / BLOCK, 1, BLOCK, 1, args);
        rounds++;
        if (now_s() - said >= 1) {
            said = now_s();
            printf("round %lu\n", rounds);
            fflush(stdout);
        }
        usleep(10000);
    }
    CU(cuMemcpyDtoH_v2, y, dy, bytes);
    report("rounds", "saxpy of ones", (double)y[n - 1], (double)rounds,
           fabs((double)y[n - 1] - (double)rounds), 0);
    CU(cuMemFree_v2, dx);
    CU(cuMemFree_v2, dy);
    free(y);
}

int main(int argc, char **argv)
{
    unsigned long n = 100000;
    double seconds = 0;
    int brief = 0;
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--brief") == 0) {
            brief = 1;
            continue;
        }
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            n = strtoul(argv[++i], &end, 10);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtod(argv[++i], &end);
        if (!end || *end || n < 1 || n > 10000000 || !(seconds >= 0 && seconds < 1e6)) {
            fprintf(stderr, "usage: gpu-demo [-n ELEMENTS] [--seconds S] [--brief]\n");
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    CUcontext context = open_device();
    CU(cuModuleLoadData, &module, PTX_ALL);
    /* The default flags: ordered after the copies on the legacy stream. */
    CU(cuStreamCreate, &stream, 0);
    vec_add((unsigned)n);
    if (!brief) { /* one kernel is enough for tests of all but kernels */
        saxpy((unsigned)n);
        reduce("reduce_f32", 1, (unsigned)n);
        reduce("reduce_i32", 0, (unsigned)n);
        matmul_f32(100, 70, 50);
        matmul_i32(64, 64, 64);
    }
    if (seconds > 0)
        repeat_saxpy(seconds);
    CU(cuStreamDestroy_v2, stream);
    CU(cuModuleUnload, module);
    CU(cuCtxDestroy_v2, context);
    if (mismatches) {
        printf("%d results DIFFER from the CPU's\n", mismatches);
        return 1;
    }
    printf("the GPU's results agree with the CPU's\n");
    return 0;
}
