/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcufft */
/* A transform and its inverse. */
#include <cmath>
#include <cufft.h>
#include <vector>

#include "../nvcc/check.h"

#define FFT(call)                                                                                  \
    do {                                                                                           \
        cufftResult fft_rc = (call);                                                               \
        if (fft_rc != CUFFT_SUCCESS) {                                                             \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, (int)fft_rc);                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

int main()
{
    const int n = 1024;
    std::vector<cufftComplex> x(n), y(n);
    cufftComplex *d;
    cufftHandle plan;
    for (int i = 0; i < n; i++)
        x[i] = {(float)(i % 13), (float)(i % 5)};
    CHECK(cudaMalloc(&d, n * sizeof(*d)));
    CHECK(cudaMemcpy(d, x.data(), n * sizeof(*d), cudaMemcpyHostToDevice));
    FFT(cufftPlan1d(&plan, n, CUFFT_C2C, 1));
    FFT(cufftExecC2C(plan, d, d, CUFFT_FORWARD));
    FFT(cufftExecC2C(plan, d, d, CUFFT_INVERSE));
    CHECK(cudaMemcpy(y.data(), d, n * sizeof(*d), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += std::fabs(y[i].x / n - x[i].x) > 1e-3 || std::fabs(y[i].y / n - x[i].y) > 1e-3;
    printf("there and back: %d wrong\n", wrong);
    FFT(cufftDestroy(plan));
    CHECK(cudaFree(d));
    return wrong != 0;
}
