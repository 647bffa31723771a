/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcublas */
/* cuBLAS, levels 1 and 3. */
#include <cublas_v2.h>
#include <vector>

#include "../nvcc/check.h"

#define BLAS(call)                                                                                 \
    do {                                                                                           \
        cublasStatus_t blas_rc = (call);                                                           \
        if (blas_rc != CUBLAS_STATUS_SUCCESS) {                                                    \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, (int)blas_rc);                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

int main()
{
    const int n = 10000;
    std::vector<float> x(n), y(n), z(n);
    float *dx, *dy, a = 3.0f, half = 0.5f;
    cublasHandle_t handle;
    for (int i = 0; i < n; i++) {
        x[i] = (float)(i % 100);
        y[i] = (float)(i % 7);
    }
    BLAS(cublasCreate(&handle));
    CHECK(cudaMalloc(&dx, n * sizeof(float)));
    CHECK(cudaMalloc(&dy, n * sizeof(float)));
    BLAS(cublasSetVector(n, sizeof(float), x.data(), 1, dx, 1));
    BLAS(cublasSetVector(n, sizeof(float), y.data(), 1, dy, 1));
    BLAS(cublasSaxpy(handle, n, &a, dx, 1, dy, 1));
    BLAS(cublasGetVector(n, sizeof(float), dy, 1, z.data(), 1));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += z[i] != a * x[i] + y[i];
    printf("saxpy: %d wrong\n", wrong);
    BLAS(cublasSscal(handle, n, &half, dx, 1));
    BLAS(cublasGetVector(n, sizeof(float), dx, 1, z.data(), 1));
    wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += z[i] != half * x[i];
    printf("sscal: %d wrong\n", wrong);
    double alpha = 1, beta = 0, *da, *db, *dc;
    const int m = 64;
    std::vector<double> ma(m * m), unit(m * m), mc(m * m);
    for (int i = 0; i < m * m; i++) {
        ma[i] = i % 17;
        unit[i] = i % m == i / m;
    }
    CHECK(cudaMalloc(&da, m * m * sizeof(double)));
    CHECK(cudaMalloc(&db, m * m * sizeof(double)));
    CHECK(cudaMalloc(&dc, m * m * sizeof(double)));
    BLAS(cublasSetMatrix(m, m, sizeof(double), ma.data(), m, da, m));
    BLAS(cublasSetMatrix(m, m, sizeof(double), unit.data(), m, db, m));
    BLAS(
        cublasDgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &alpha, da, m, db, m, &beta, dc, m));
    BLAS(cublasGetMatrix(m, m, sizeof(double), dc, m, mc.data(), m));
    printf("dgemm: %d wrong\n", ma != mc);
    CHECK(cudaFree(da));
    CHECK(cudaFree(db));
    CHECK(cudaFree(dc));
    CHECK(cudaFree(dx));
    CHECK(cudaFree(dy));
    BLAS(cublasDestroy(handle));
    return 0;
}
