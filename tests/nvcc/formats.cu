/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -arch=sm_90 */
/* Halves, pairs of them and floats of eight bits: the device's answers and the headers' on the
 * host. */
#include <cmath>
#include <cstdint>
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <vector>

#include "check.h"

/* Numbers of all kinds: small and large, ties, infinities, NaNs. */
static std::vector<float> numbers()
{
    std::vector<float> all = {0.0f,       -0.0f,      1.0f,        -1.0f,      0.5f,      1.5f,
                              2.5f,       448.0f,     449.0f,      464.0f,     465.0f,    480.0f,
                              57344.0f,   61440.0f,   65504.0f,    65520.0f,   -65520.0f, 1e-8f,
                              -6e-8f,     6.2e-5f,    1e30f,       -1e30f,     3.4e38f,   INFINITY,
                              -INFINITY,  NAN,        0x1p-10f,    0x1.8p-10f, 0x1p-9f,   0x1p-17f,
                              0x1.8p-17f, 1.0009765f, 1.00097668f, 1.00390625f};
    uint32_t state = 7;
    while (all.size() < 2048) {
        state = state * 1664525 + 1013904223;
        all.push_back(ldexpf((float)(int)(state >> 8) - 8388608.0f, (int)(state & 31) - 36));
    }
    return all;
}

/* F of every number, on the device: bits, so that NaNs can be compared. */
template <typename F> static __global__ void apply(const float *x, unsigned *y, int n, F f)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = f(x[i], x[(i + 1) % n], x[(i + 2) % n]);
}

/* ... and on the host. DIFFERENT bits count, NaNs of whatever sign are the same. */
template <typename F, typename Same> static void both(const char *name, F f, Same same)
{
    std::vector<float> x = numbers();
    std::vector<unsigned> y(x.size());
    int n = (int)x.size(), different = 0;
    float *dx;
    unsigned *dy;
    CHECK(cudaMalloc(&dx, n * sizeof(float)));
    CHECK(cudaMalloc(&dy, n * sizeof(unsigned)));
    CHECK(cudaMemcpy(dx, x.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    apply<<<(n + 255) / 256, 256>>>(dx, dy, n, f);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(y.data(), dy, n * sizeof(unsigned), cudaMemcpyDeviceToHost));
    for (int i = 0; i < n; i++) {
        unsigned expect = f(x[i], x[(i + 1) % n], x[(i + 2) % n]);
        if (!same(y[i], expect)) {
            if (!different++)
                printf("%s(%a, %a, %a): 0x%x, the host says 0x%x\n", name, x[i], x[(i + 1) % n],
                       x[(i + 2) % n], y[i], expect);
        }
    }
    printf("%s: %d different\n", name, different);
    CHECK(cudaFree(dx));
    CHECK(cudaFree(dy));
}

static bool same_bits(unsigned a, unsigned b)
{
    return a == b;
}

static bool same_half(unsigned a, unsigned b)
{
    return (uint16_t)a == (uint16_t)b || ((a & 0x7fff) > 0x7c00 && (b & 0x7fff) > 0x7c00);
}

static bool same_brain(unsigned a, unsigned b)
{
    return (uint16_t)a == (uint16_t)b || ((a & 0x7fff) > 0x7f80 && (b & 0x7fff) > 0x7f80);
}

static bool same_halves(unsigned a, unsigned b)
{
    return same_half(a, b) && same_half(a >> 16, b >> 16);
}

static bool same_brains(unsigned a, unsigned b)
{
    return same_brain(a, b) && same_brain(a >> 16, b >> 16);
}

#define HD __host__ __device__

template <typename T> static HD unsigned bits(T v)
{
    unsigned b = 0;
    memcpy(&b, &v, sizeof(v));
    return b;
}

#define PAIR   __floats2half2_rn(x, y), __floats2half2_rn(y, z)
#define BRAINS __floats2bfloat162_rn(x, y), __floats2bfloat162_rn(y, z)

/* A functor: what runs on both sides without a flag of nvcc's. */
#define CASE(id, expr, same)                                                                       \
    struct id {                                                                                    \
        HD unsigned operator()(float x, float y, float z) const                                    \
        {                                                                                          \
            return (unsigned)(expr);                                                               \
        }                                                                                          \
    };

#define CASES(X)                                                                                   \
    X(float_to_e4m3, __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3), same_bits)               \
    X(float_to_e5m2, __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2), same_bits)               \
    X(float2_to_e4m3x2, __nv_cvt_float2_to_fp8x2(make_float2(x, y), __NV_SATFINITE, __NV_E4M3),    \
      same_bits)                                                                                   \
    X(half2_to_e5m2x2,                                                                             \
      __nv_cvt_halfraw2_to_fp8x2(__floats2half2_rn(x, y), __NV_SATFINITE, __NV_E5M2), same_bits)   \
    X(bfloat16_to_e4m3,                                                                            \
      __nv_cvt_bfloat16raw_to_fp8(__float2bfloat16_rn(x), __NV_SATFINITE, __NV_E4M3), same_bits)   \
    X(e4m3x2_to_half2,                                                                             \
      bits(__nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)(bits(x) >> 12), __NV_E4M3)),          \
      same_halves)                                                                                 \
    X(e5m2x2_to_half2,                                                                             \
      bits(__nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)(bits(x) >> 12), __NV_E5M2)),          \
      same_halves)                                                                                 \
    X(float_to_half, bits(__float2half_rn(x)), same_half)                                          \
    X(float_to_half_rz, bits(__float2half_rz(x)), same_half)                                       \
    X(float_to_half_rd, bits(__float2half_rd(x)), same_half)                                       \
    X(float_to_half_ru, bits(__float2half_ru(x)), same_half)                                       \
    X(floats_to_half2, bits(__floats2half2_rn(x, y)), same_halves)                                 \
    X(float_to_bfloat16, bits(__float2bfloat16_rn(x)), same_brain)                                 \
    X(float_to_bfloat16_rz, bits(__float2bfloat16_rz(x)), same_brain)                              \
    X(floats_to_bfloat162, bits(__floats2bfloat162_rn(x, y)), same_brains)                         \
    X(hadd2, bits(__hadd2(PAIR)), same_halves)                                                     \
    X(hsub2, bits(__hsub2(PAIR)), same_halves)                                                     \
    X(hmul2, bits(__hmul2(PAIR)), same_halves)                                                     \
    X(hadd2_sat, bits(__hadd2_sat(PAIR)), same_halves)                                             \
    X(hmin2, bits(__hmin2(PAIR)), same_halves)                                                     \
    X(hmax2_nan, bits(__hmax2_nan(PAIR)), same_halves)                                             \
    X(habs2, bits(__habs2(__floats2half2_rn(x, y))), same_halves)                                  \
    X(hneg2, bits(__hneg2(__floats2half2_rn(x, y))), same_halves)                                  \
    X(heq2_mask, __heq2_mask(PAIR), same_bits)                                                     \
    X(hltu2_mask, __hltu2_mask(PAIR), same_bits)                                                   \
    X(hge2, bits(__hge2(PAIR)), same_bits)                                                         \
    X(hbgt2, __hbgt2(PAIR), same_bits)                                                             \
    X(badd2, bits(__hadd2(BRAINS)), same_brains)                                                   \
    X(bsub2, bits(__hsub2(BRAINS)), same_brains)                                                   \
    X(bmul2, bits(__hmul2(BRAINS)), same_brains)                                                   \
    X(bmin2, bits(__hmin2(BRAINS)), same_brains)                                                   \
    X(bmax2_nan, bits(__hmax2_nan(BRAINS)), same_brains)                                           \
    X(bneg2, bits(__hneg2(__floats2bfloat162_rn(x, y))), same_brains)                              \
    X(beq2_mask, __heq2_mask(BRAINS), same_bits)                                                   \
    X(blt2, bits(__hlt2(BRAINS)), same_bits)                                                       \
    X(badd, bits(__hadd(__float2bfloat16_rn(x), __float2bfloat16_rn(y))), same_brain)
CASES(CASE)

/* What the host has no answer to. */
static __global__ void device_only(unsigned *out)
{
    __half2 h = __floats2half2_rn(1.0f, -2.0f), one = __floats2half2_rn(1.0f, 1.0f);
    __nv_bfloat162 b = __floats2bfloat162_rn(1.0f, -2.0f),
                   b_one = __floats2bfloat162_rn(1.0f, 1.0f);
    out[0] = bits(__hfma2_relu(h, one, one));
    out[1] = bits(__hfma2_relu(b, b_one, b_one));
    out[2] = bits(h2exp2(h));
    out[3] = bits(h2tanh_approx(__floats2half2_rn(0.0f, INFINITY)));
    out[4] = bits(h2tanh_approx(__floats2bfloat162_rn(-INFINITY, 0.0f)));
    out[5] = __dp2a_lo(0x00020003, 0x05060708, 1);
    out[6] = __dp2a_hi(0x00020003u, 0x05060708u, 1u);
    out[7] = __dp4a(0x01020304, 0x01ff01ff, 0);
    out[8] = __vabsdiffu4(0x01ff0510, 0x0201080f);
    out[9] = __vsadu4(0x01ff0510, 0x0201080f);
    out[10] =
        (unsigned)__half2float(__hfma(__float2half(3.0f), __float2half(5.0f), __float2half(2.0f)));
    out[11] = bits(__hfma2(h, one, h));
}

static __global__ void sums(__half2 *h, __nv_bfloat162 *b, float4 *f, __half *one)
{
    atomicAdd(h, __floats2half2_rn(1.0f, 2.0f));
    atomicAdd(b, __floats2bfloat162_rn(1.0f, 2.0f));
    atomicAdd(f, make_float4(1.0f, 2.0f, 3.0f, (float)threadIdx.x));
    atomicAdd(one, __float2half(0.5f));
}

int main()
{
#define RUN(id, expr, same) both(#id, id(), same);
    CASES(RUN)
    unsigned *out, host[16] = {0};
    CHECK(cudaMalloc(&out, sizeof(host)));
    CHECK(cudaMemset(out, 0, sizeof(host)));
    device_only<<<1, 1>>>(out);
    CHECK(cudaMemcpy(host, out, sizeof(host), cudaMemcpyDeviceToHost));
    for (int i = 0; i < 12; i++)
        printf("%d: 0x%x\n", i, host[i]);
    CHECK(cudaMemset(out, 0, sizeof(host)));
    sums<<<2, 64>>>((__half2 *)(out + 4), (__nv_bfloat162 *)(out + 5), (float4 *)out,
                    (__half *)(out + 6));
    CHECK(cudaMemcpy(host, out, sizeof(host), cudaMemcpyDeviceToHost));
    float4 four;
    memcpy(&four, host, sizeof(four));
    printf("sums: 0x%x 0x%x 0x%x, %g %g %g %g\n", host[4], host[5], host[6], four.x, four.y, four.z,
           four.w);
    CHECK(cudaFree(out));
    return 0;
}
