/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcublas */
/* cuBLAS, levels 1 to 3, against loops on the CPU. Values are small integers: all sums are exact.
 */
#include <cmath>
#include <cublas_v2.h>
#include <cuda_fp16.h>
#include <vector>

#include "../nvcc/check.h"

#define BLAS(call)                                                                                 \
    do {                                                                                           \
        cublasStatus_t blas_rc = (call);                                                           \
        if (blas_rc != CUBLAS_STATUS_SUCCESS) {                                                    \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, blas_rc);                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static cublasHandle_t handle;

template <class T> static std::vector<T> some(size_t n, int factor)
{
    std::vector<T> v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = (T)(float)((int)(i * factor % 13) - 6);
    return v;
}

template <class T> struct device {
    T *p;
    size_t n;
    explicit device(const std::vector<T> &from) : n(from.size())
    {
        CHECK(cudaMalloc(&p, n * sizeof(T)));
        CHECK(cudaMemcpy(p, from.data(), n * sizeof(T), cudaMemcpyHostToDevice));
    }
    std::vector<T> get() const
    {
        std::vector<T> v(n);
        CHECK(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
        return v;
    }
    ~device()
    {
        cudaFree(p);
    }
};

static void level1()
{
    const int n = 10000;
    const std::vector<float> x = some<float>(n, 7), y = some<float>(n, 5);
    const float a = 3, half = 0.5f;
    device<float> dx(x), dy(y);
    float dot, sum, norm;
    int largest, wrong = 0;
    BLAS(cublasSaxpy(handle, n, &a, dx.p, 1, dy.p, 1));
    BLAS(cublasSscal(handle, n, &half, dx.p, 1));
    std::vector<float> gx = dx.get(), gy = dy.get();
    for (int i = 0; i < n; i++)
        wrong += gy[i] != a * x[i] + y[i] || gx[i] != half * x[i];
    printf("axpy, scal: %d wrong\n", wrong);
    BLAS(cublasSdot(handle, n, dx.p, 1, dy.p, 1, &dot));
    BLAS(cublasSasum(handle, n, dx.p, 1, &sum));
    BLAS(cublasSnrm2(handle, n, dx.p, 1, &norm));
    BLAS(cublasIsamax(handle, n, dx.p, 1, &largest));
    double edot = 0, esum = 0, enorm = 0;
    for (int i = 0; i < n; i++) {
        edot += (double)gx[i] * gy[i];
        esum += std::fabs(gx[i]);
        enorm += (double)gx[i] * gx[i];
    }
    wrong = std::fabs(dot - edot) > 1e-3 * std::fabs(edot);
    wrong += std::fabs(sum - esum) > 1e-3 * esum;
    wrong += std::fabs(norm - std::sqrt(enorm)) > 1e-3 * norm;
    wrong += std::fabs(gx[largest - 1]) != 3;
    printf("dot, asum, nrm2, amax: %d wrong\n", wrong);
    BLAS(cublasSswap(handle, n, dx.p, 1, dy.p, 1));
    BLAS(cublasScopy(handle, n / 2, dx.p, 2, dy.p, 2));
    std::vector<float> hx = dx.get(), hy = dy.get();
    wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += hx[i] != gy[i] || hy[i] != (i % 2 ? gx[i] : gy[i]);
    printf("swap, copy: %d wrong\n", wrong);
}

static void level2()
{
    const int m = 70, n = 45;
    const std::vector<double> a = some<double>((size_t)m * n, 3), x = some<double>(n, 4),
                              y = some<double>(m, 9);
    const double alpha = 2, beta = -1;
    device<double> da(a), dx(x), dy(y);
    BLAS(cublasDgemv(handle, CUBLAS_OP_N, m, n, &alpha, da.p, m, dx.p, 1, &beta, dy.p, 1));
    std::vector<double> got = dy.get();
    int wrong = 0;
    for (int i = 0; i < m; i++) {
        double sum = beta * y[i];
        for (int j = 0; j < n; j++)
            sum += alpha * a[(size_t)j * m + i] * x[j];
        wrong += got[i] != sum;
    }
    printf("gemv: %d wrong\n", wrong);
    device<double> again(y);
    BLAS(cublasDger(handle, m, n, &alpha, again.p, 1, dx.p, 1, da.p, m));
    got = da.get();
    wrong = 0;
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++)
            wrong += got[(size_t)j * m + i] != a[(size_t)j * m + i] + alpha * y[i] * x[j];
    printf("ger: %d wrong\n", wrong);
}

/* C = A^opA B^opB, N by N. */
template <class T, class S>
static void gemm(const char *name, cudaDataType type, cublasComputeType_t compute, int n,
                 cublasOperation_t opa, cublasOperation_t opb)
{
    const std::vector<T> a = some<T>((size_t)n * n, 7), b = some<T>((size_t)n * n, 5);
    const S alpha = 1, beta = 0;
    device<T> da(a), db(b), dc(a);
    BLAS(cublasGemmEx(handle, opa, opb, n, n, n, &alpha, da.p, type, n, db.p, type, n, &beta, dc.p,
                      type, n, compute, CUBLAS_GEMM_DEFAULT));
    const std::vector<T> got = dc.get();
    int wrong = 0;
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += (double)(float)a[opa == CUBLAS_OP_N ? k * n + i : i * n + k] *
                       (double)(float)b[opb == CUBLAS_OP_N ? j * n + k : k * n + j];
            wrong += (double)(float)got[j * n + i] != (double)(float)(T)(float)sum;
        }
    }
    printf("%s, %d: %d wrong\n", name, n, wrong);
}

static void batched()
{
    const int n = 24, count = 5;
    const std::vector<float> a = some<float>((size_t)n * n * count, 7),
                             b = some<float>((size_t)n * n * count, 5);
    const float alpha = 1, beta = 0;
    device<float> da(a), db(b), dc(a);
    BLAS(cublasSgemmStridedBatched(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &alpha, da.p, n,
                                   n * n, db.p, n, n * n, &beta, dc.p, n, n * n, count));
    const std::vector<float> got = dc.get();
    int wrong = 0;
    for (int c = 0; c < count; c++) {
        for (int j = 0; j < n; j++) {
            for (int i = 0; i < n; i++) {
                float sum = 0;
                for (int k = 0; k < n; k++)
                    sum += a[(c * n + k) * n + i] * b[(c * n + j) * n + k];
                wrong += got[(c * n + j) * n + i] != sum;
            }
        }
    }
    printf("batched: %d wrong\n", wrong);
}

static void triangular()
{
    const int n = 40;
    std::vector<double> a((size_t)n * n), x = some<double>(n, 3), b(n);
    for (int j = 0; j < n; j++)
        for (int i = j; i < n; i++)
            a[(size_t)j * n + i] = i == j ? 1 : (i + j) % 3 - 1;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            b[i] += a[(size_t)j * n + i] * x[j];
    const double one = 1;
    device<double> da(a), db(b);
    BLAS(cublasDtrsm(handle, CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N,
                     CUBLAS_DIAG_UNIT, n, 1, &one, da.p, n, db.p, n));
    const std::vector<double> got = db.get();
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += got[i] != x[i];
    printf("trsm: %d wrong\n", wrong);
}

int main()
{
    BLAS(cublasCreate(&handle));
    level1();
    level2();
    for (int n : {16, 96, 160}) {
        gemm<float, float>("sgemm", CUDA_R_32F, CUBLAS_COMPUTE_32F, n, CUBLAS_OP_N, CUBLAS_OP_N);
        gemm<float, float>("sgemm, transposed", CUDA_R_32F, CUBLAS_COMPUTE_32F, n, CUBLAS_OP_T,
                           CUBLAS_OP_N);
        gemm<double, double>("dgemm", CUDA_R_64F, CUBLAS_COMPUTE_64F, n, CUBLAS_OP_N, CUBLAS_OP_T);
        gemm<__half, float>("half, in float", CUDA_R_16F, CUBLAS_COMPUTE_32F, n, CUBLAS_OP_N,
                            CUBLAS_OP_N);
    }
    gemm<float, float>("tf32", CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, 96, CUBLAS_OP_T,
                       CUBLAS_OP_N);
    batched();
    triangular();
    BLAS(cublasDestroy(handle));
    return 0;
}
