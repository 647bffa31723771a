/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -arch=sm_90 */
/* Matrix products by <mma.h> and by PTX's own instructions; values whose sums are exact. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <mma.h>
#include <vector>

#include "check.h"

namespace wmma = nvcuda::wmma;

template <typename T> static __host__ __device__ T number(int v)
{
    return (T)v;
}

template <> __host__ __device__ __half number(int v)
{
    return __float2half((float)v);
}

template <> __host__ __device__ __nv_bfloat16 number(int v)
{
    return __float2bfloat16((float)v);
}

template <> __host__ __device__ __nv_fp8_e4m3 number(int v)
{
    return __nv_fp8_e4m3((float)v);
}

template <> __host__ __device__ __nv_fp8_e5m2 number(int v)
{
    return __nv_fp8_e5m2((float)v);
}

static int element(int i, int j, int salt)
{
    return (i * 7 + j * 13 + salt) % 8 - 3;
}

/* A by rows, B by columns unless told otherwise, C and D by rows. */
template <typename T, typename C, int M, int N, int K> struct problem {
    T *a, *b;
    C *c;

    problem(bool a_rows = true, bool b_columns = true)
    {
        std::vector<T> ha(M * K), hb(K * N);
        std::vector<C> hc(M * N);
        for (int p = 0; p < K; p++) {
            for (int i = 0; i < M; i++)
                ha[a_rows ? i * K + p : p * M + i] = number<T>(element(i, p, 1));
            for (int j = 0; j < N; j++)
                hb[b_columns ? j * K + p : p * N + j] = number<T>(element(p, j, 2));
        }
        for (int i = 0; i < M * N; i++)
            hc[i] = number<C>(element(i / N, i % N, 3));
        CHECK(cudaMalloc(&a, ha.size() * sizeof(T)));
        CHECK(cudaMalloc(&b, hb.size() * sizeof(T)));
        CHECK(cudaMalloc(&c, hc.size() * sizeof(C)));
        CHECK(cudaMemcpy(a, ha.data(), ha.size() * sizeof(T), cudaMemcpyHostToDevice));
        CHECK(cudaMemcpy(b, hb.data(), hb.size() * sizeof(T), cudaMemcpyHostToDevice));
        CHECK(cudaMemcpy(c, hc.data(), hc.size() * sizeof(C), cudaMemcpyHostToDevice));
    }

    void check(const char *name, int scale = 1)
    {
        std::vector<C> d(M * N);
        CHECK(cudaGetLastError());
        CHECK(cudaMemcpy(d.data(), c, d.size() * sizeof(C), cudaMemcpyDeviceToHost));
        int wrong = 0;
        for (int i = 0; i < M; i++) {
            for (int j = 0; j < N; j++) {
                int v = element(i, j, 3);
                for (int p = 0; p < K; p++)
                    v += scale * element(i, p, 1) * element(p, j, 2);
                wrong += (float)d[i * N + j] != (float)v;
            }
        }
        printf("%s %dx%dx%d: %d wrong\n", name, M, N, K, wrong);
        CHECK(cudaFree(a));
        CHECK(cudaFree(b));
        CHECK(cudaFree(c));
    }
};

/* ---- fragments ---- */

/* One warp a block, one tile of D a warp; a fragment is doubled element by element. */
template <int M, int N, int K, typename F, typename T, typename C, typename LA, typename LB>
__global__ void product(const T *a, const T *b, C *c, int n, int k, int lda, int ldb)
{
    wmma::fragment<wmma::matrix_a, M, N, K, F, LA> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, F, LB> fb;
    wmma::fragment<wmma::accumulator, M, N, K, C> fc;
    int row = blockIdx.y * M, col = blockIdx.x * N;
    bool rows = std::is_same<LA, wmma::row_major>::value;
    bool columns = std::is_same<LB, wmma::col_major>::value;
    wmma::load_matrix_sync(fc, c + row * n + col, n, wmma::mem_row_major);
    for (int p = 0; p < k; p += K) {
        wmma::load_matrix_sync(fa, a + (rows ? row * lda + p : p * lda + row), lda);
        wmma::load_matrix_sync(fb, b + (columns ? col * ldb + p : p * ldb + col), ldb);
        for (int i = 0; i < fa.num_elements; i++)
            fa.x[i] = fa.x[i] + fa.x[i];
        wmma::mma_sync(fc, fa, fb, fc);
    }
    wmma::store_matrix_sync(c + row * n + col, fc, n, wmma::mem_row_major);
}

template <int M, int N, int K, typename F, typename T, typename C, typename LA, typename LB>
static void fragments(const char *name)
{
    const int m = 2 * M, n = 3 * N, k = 4 * K;
    bool rows = std::is_same<LA, wmma::row_major>::value;
    bool columns = std::is_same<LB, wmma::col_major>::value;
    problem<T, C, m, n, k> x(rows, columns);
    product<M, N, K, F, T, C, LA, LB>
        <<<dim3(n / N, m / M), 32>>>(x.a, x.b, x.c, n, k, rows ? k : m, columns ? k : n);
    x.check(name, 2);
}

template <int M, int N, int K> static void shapes()
{
    using row = wmma::row_major;
    using col = wmma::col_major;
    fragments<M, N, K, __half, __half, float, row, col>("half, float, row col");
    fragments<M, N, K, __half, __half, float, col, row>("half, float, col row");
    fragments<M, N, K, __half, __half, __half, row, row>("half, half, row row");
    fragments<M, N, K, __nv_bfloat16, __nv_bfloat16, float, col, col>("bfloat16, float, col col");
    fragments<M, N, K, signed char, signed char, int, row, col>("signed char, int, row col");
}

/* Single bits: all elements are 16 a word, then 8 more a word. */
static __global__ void bits(const unsigned *words, unsigned *sums)
{
    using namespace wmma::experimental;
    wmma::fragment<wmma::matrix_a, 8, 8, 128, precision::b1, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 8, 8, 128, precision::b1, wmma::col_major> b;
    wmma::fragment<wmma::accumulator, 8, 8, 128, int> c;
    wmma::load_matrix_sync(a, words, 128);
    wmma::load_matrix_sync(b, words + 32, 128);
    wmma::fill_fragment(c, 1);
    wmma::bmma_sync(c, a, b, c, bmmaBitOpXOR);
    sums[0] = c.x[0];
    wmma::bmma_sync(c, a, b, c, bmmaBitOpAND);
    sums[1] = c.x[1];
}

/* ---- PTX ---- */

/* Tiles through shared memory and ldmatrix; B's rows are columns, so no .trans. */
static __global__ void halves(const __half *a, const __half *b, float *c, int n, int k)
{
    __shared__ __align__(16) __half ta[16][16], tb[8][16];
    int lane = threadIdx.x, row = blockIdx.y * 16, col = blockIdx.x * 8;
    int g = lane / 4, t = lane % 4 * 2;
    float d[4];
    for (int i = 0; i < 4; i++)
        d[i] = c[(row + g + i / 2 * 8) * n + col + t + i % 2];
    for (int p = 0; p < k; p += 16) {
        for (int i = lane; i < 256; i += 32)
            ta[i / 16][i % 16] = a[(row + i / 16) * k + p + i % 16];
        for (int i = lane; i < 128; i += 32)
            tb[i / 16][i % 16] = b[(col + i / 16) * k + p + i % 16];
        __syncwarp();
        unsigned ra[4], rb[2];
        unsigned pa = (unsigned)__cvta_generic_to_shared(&ta[lane % 16][lane / 16 * 8]);
        unsigned pb = (unsigned)__cvta_generic_to_shared(&tb[lane % 8][lane / 8 % 2 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3])
                     : "r"(pa));
        asm volatile("ldmatrix.sync.aligned.x2.m8n8.shared.b16 {%0,%1}, [%2];"
                     : "=r"(rb[0]), "=r"(rb[1])
                     : "r"(pb));
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
        __syncwarp();
    }
    for (int i = 0; i < 4; i++)
        c[(row + g + i / 2 * 8) * n + col + t + i % 2] = d[i];
}

static __global__ void doubles(const double *a, const double *b, double *c, int n, int k)
{
    int lane = threadIdx.x, row = blockIdx.y * 8 + lane / 4, col = blockIdx.x * 8;
    double *to = c + row * n + col + lane % 4 * 2, d0 = to[0], d1 = to[1];
    for (int p = 0; p < k; p += 4)
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
            : "+d"(d0), "+d"(d1)
            : "d"(a[row * k + p + lane % 4]), "d"(b[(col + lane / 4) * k + p + lane % 4]));
    to[0] = d0;
    to[1] = d1;
}

/* Four elements of a byte in a register: integers, or floats of eight bits. */
#define BYTES(name, T, C, letter, types)                                                           \
    static __global__ void name(const T *a, const T *b, C *c, int n, int k)                        \
    {                                                                                              \
        int lane = threadIdx.x, g = lane / 4, t = lane % 4;                                        \
        int row = blockIdx.y * 16 + g, col = blockIdx.x * 8;                                       \
        const unsigned *wa = (const unsigned *)a, *wb = (const unsigned *)b;                       \
        C *to = c + row * n + col + t * 2, d[4] = {to[0], to[1], to[8 * n], to[8 * n + 1]};        \
        int words = k / 4;                                                                         \
        for (int p = 0; p < words; p += 8)                                                         \
            asm("mma.sync.aligned.m16n8k32.row.col." types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, "       \
                "{%8,%9}, {%0,%1,%2,%3};"                                                          \
                : "+" letter(d[0]), "+" letter(d[1]), "+" letter(d[2]), "+" letter(d[3])           \
                : "r"(wa[row * words + p + t]), "r"(wa[(row + 8) * words + p + t]),                \
                  "r"(wa[row * words + p + t + 4]), "r"(wa[(row + 8) * words + p + t + 4]),        \
                  "r"(wb[(col + g) * words + p + t]), "r"(wb[(col + g) * words + p + t + 4]));     \
        to[0] = d[0];                                                                              \
        to[1] = d[1];                                                                              \
        to[8 * n] = d[2];                                                                          \
        to[8 * n + 1] = d[3];                                                                      \
    }
BYTES(integers, signed char, int, "r", "s32.s8.s8.s32")
BYTES(floats_e4m3, __nv_fp8_e4m3, float, "f", "f32.e4m3.e4m3.f32")
BYTES(floats_e5m2, __nv_fp8_e5m2, float, "f", "f32.e5m2.e5m2.f32")

template <typename T, typename C, int M, int N, int K>
static void by_ptx(const char *name, void (*kernel)(const T *, const T *, C *, int, int), int rows)
{
    problem<T, C, M, N, K> x;
    kernel<<<dim3(N / 8, M / rows), 32>>>(x.a, x.b, x.c, N, K);
    x.check(name);
}

int main()
{
    shapes<16, 16, 16>();
    shapes<32, 8, 16>();
    shapes<8, 32, 16>();
    fragments<16, 16, 8, wmma::precision::tf32, float, float, wmma::row_major, wmma::col_major>(
        "tf32, float, row col");
    fragments<8, 8, 4, double, double, double, wmma::row_major, wmma::col_major>(
        "double, double, row col");
    fragments<8, 8, 4, double, double, double, wmma::col_major, wmma::row_major>(
        "double, double, col row");
    unsigned *words, host[64], sums[2];
    for (int i = 0; i < 64; i++)
        host[i] = i < 32 ? 0xffff0000u : 0xff00ff00u;
    CHECK(cudaMalloc(&words, sizeof(host)));
    CHECK(cudaMemcpy(words, host, sizeof(host), cudaMemcpyHostToDevice));
    bits<<<1, 32>>>(words, words);
    CHECK(cudaMemcpy(sums, words, sizeof(sums), cudaMemcpyDeviceToHost));
    printf("bits: %u, %u\n", sums[0], sums[1]);
    CHECK(cudaFree(words));
    by_ptx<__half, float, 64, 48, 96>("ldmatrix and m16n8k16", halves, 16);
    by_ptx<double, double, 24, 16, 20>("m8n8k4 of double", doubles, 8);
    by_ptx<signed char, int, 48, 16, 64>("m16n8k32 of signed char", integers, 16);
    by_ptx<__nv_fp8_e4m3, float, 32, 24, 64>("m16n8k32 of e4m3", floats_e4m3, 16);
    by_ptx<__nv_fp8_e5m2, float, 32, 24, 64>("m16n8k32 of e5m2", floats_e5m2, 16);
    return 0;
}
