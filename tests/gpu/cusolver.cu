/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcusolver */
/* cuSOLVER: systems of equations by LU and by Cholesky, put back into the equations. */
#include <cmath>
#include <cusolverDn.h>
#include <vector>

#include "../nvcc/check.h"

#define SOLVER(call)                                                                               \
    do {                                                                                           \
        cusolverStatus_t solver_rc = (call);                                                       \
        if (solver_rc != CUSOLVER_STATUS_SUCCESS) {                                                \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, solver_rc);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const int n = 48;

static void report(const char *name, const std::vector<double> &a, const std::vector<double> &b,
                   const double *dx, const int *dinfo)
{
    std::vector<double> x(n);
    int info, wrong = 0;
    CHECK(cudaMemcpy(x.data(), dx, n * sizeof(double), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&info, dinfo, sizeof(info), cudaMemcpyDeviceToHost));
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += a[(size_t)j * n + i] * x[j];
        wrong += std::fabs(sum - b[i]) > 1e-8;
    }
    printf("%s: info %d, %d wrong\n", name, info, wrong);
}

int main()
{
    std::vector<double> a((size_t)n * n), b(n);
    double *da, *db, *work;
    int *pivots, *info, doubles;
    cusolverDnHandle_t handle;
    /* Symmetric and positive definite: the diagonal outweighs the rest. */
    for (int i = 0; i < n; i++) {
        b[i] = i % 5 - 2;
        for (int j = 0; j < n; j++)
            a[(size_t)j * n + i] = i == j ? n : 1.0 / (1 + std::abs(i - j));
    }
    SOLVER(cusolverDnCreate(&handle));
    CHECK(cudaMalloc(&da, a.size() * sizeof(double)));
    CHECK(cudaMalloc(&db, n * sizeof(double)));
    CHECK(cudaMalloc(&pivots, n * sizeof(int)));
    CHECK(cudaMalloc(&info, sizeof(int)));

    CHECK(cudaMemcpy(da, a.data(), a.size() * sizeof(double), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b.data(), n * sizeof(double), cudaMemcpyHostToDevice));
    SOLVER(cusolverDnDgetrf_bufferSize(handle, n, n, da, n, &doubles));
    CHECK(cudaMalloc(&work, (size_t)(doubles + 1) * sizeof(double)));
    SOLVER(cusolverDnDgetrf(handle, n, n, da, n, work, pivots, info));
    SOLVER(cusolverDnDgetrs(handle, CUBLAS_OP_N, n, 1, da, n, pivots, db, n, info));
    report("LU", a, b, db, info);
    CHECK(cudaFree(work));

    CHECK(cudaMemcpy(da, a.data(), a.size() * sizeof(double), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b.data(), n * sizeof(double), cudaMemcpyHostToDevice));
    SOLVER(cusolverDnDpotrf_bufferSize(handle, CUBLAS_FILL_MODE_LOWER, n, da, n, &doubles));
    CHECK(cudaMalloc(&work, (size_t)(doubles + 1) * sizeof(double)));
    SOLVER(cusolverDnDpotrf(handle, CUBLAS_FILL_MODE_LOWER, n, da, n, work, doubles, info));
    SOLVER(cusolverDnDpotrs(handle, CUBLAS_FILL_MODE_LOWER, n, 1, da, n, db, n, info));
    report("Cholesky", a, b, db, info);
    CHECK(cudaFree(work));
    SOLVER(cusolverDnDestroy(handle));
    return 0;
}
