/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcufft */
/* cuFFT: transforms against their definition, and there and back. */
#include <cmath>
#include <complex>
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

typedef std::complex<double> complex;

static std::vector<complex> some(int n)
{
    std::vector<complex> v(n);
    for (int i = 0; i < n; i++)
        v[i] = complex(i % 13 - 6, i % 5 - 2);
    return v;
}

/* The definition, of N elements that are STEP apart. */
static void transform(complex *v, int n, int step)
{
    std::vector<complex> to(n);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < n; i++)
            to[k] += v[i * step] * std::polar(1.0, -2 * M_PI * ((long)i * k % n) / n);
    for (int k = 0; k < n; k++)
        v[k * step] = to[k];
}

static int far(const std::vector<complex> &expect, const cufftComplex *got, double scale)
{
    int n = 0;
    for (size_t i = 0; i < expect.size(); i++)
        n += std::abs(expect[i] - complex(got[i].x, got[i].y) / scale) >
             2e-3 * std::sqrt(expect.size());
    return n;
}

static void one_dimension(int n, int batch)
{
    std::vector<complex> x = some(n * batch), there = x;
    std::vector<cufftComplex> host(x.size());
    cufftComplex *d;
    cufftHandle plan;
    for (int b = 0; b < batch; b++)
        transform(&there[(size_t)b * n], n, 1);
    for (size_t i = 0; i < x.size(); i++)
        host[i] = {(float)x[i].real(), (float)x[i].imag()};
    CHECK(cudaMalloc(&d, host.size() * sizeof(*d)));
    CHECK(cudaMemcpy(d, host.data(), host.size() * sizeof(*d), cudaMemcpyHostToDevice));
    FFT(cufftPlan1d(&plan, n, CUFFT_C2C, batch));
    FFT(cufftExecC2C(plan, d, d, CUFFT_FORWARD));
    CHECK(cudaMemcpy(host.data(), d, host.size() * sizeof(*d), cudaMemcpyDeviceToHost));
    int forward = far(there, host.data(), 1);
    FFT(cufftExecC2C(plan, d, d, CUFFT_INVERSE));
    CHECK(cudaMemcpy(host.data(), d, host.size() * sizeof(*d), cudaMemcpyDeviceToHost));
    printf("%d x %d: %d far, and back: %d far\n", batch, n, forward, far(x, host.data(), n));
    FFT(cufftDestroy(plan));
    CHECK(cudaFree(d));
}

static void two_dimensions(int rows, int columns)
{
    std::vector<complex> x = some(rows * columns);
    std::vector<cufftComplex> host(x.size());
    cufftComplex *d;
    cufftHandle plan;
    for (size_t i = 0; i < x.size(); i++)
        host[i] = {(float)x[i].real(), (float)x[i].imag()};
    for (int r = 0; r < rows; r++)
        transform(&x[(size_t)r * columns], columns, 1);
    for (int c = 0; c < columns; c++)
        transform(&x[c], rows, columns);
    CHECK(cudaMalloc(&d, host.size() * sizeof(*d)));
    CHECK(cudaMemcpy(d, host.data(), host.size() * sizeof(*d), cudaMemcpyHostToDevice));
    FFT(cufftPlan2d(&plan, rows, columns, CUFFT_C2C));
    FFT(cufftExecC2C(plan, d, d, CUFFT_FORWARD));
    CHECK(cudaMemcpy(host.data(), d, host.size() * sizeof(*d), cudaMemcpyDeviceToHost));
    printf("%d by %d: %d far\n", rows, columns, far(x, host.data(), 1));
    FFT(cufftDestroy(plan));
    CHECK(cudaFree(d));
}

static void real_numbers(int n)
{
    std::vector<complex> x = some(n);
    std::vector<float> host(n);
    std::vector<cufftComplex> got(n / 2 + 1);
    float *in;
    cufftComplex *out;
    cufftHandle plan;
    for (int i = 0; i < n; i++) {
        host[i] = (float)x[i].real();
        x[i] = host[i];
    }
    transform(x.data(), n, 1);
    x.resize(n / 2 + 1);
    CHECK(cudaMalloc(&in, n * sizeof(*in)));
    CHECK(cudaMalloc(&out, got.size() * sizeof(*out)));
    CHECK(cudaMemcpy(in, host.data(), n * sizeof(*in), cudaMemcpyHostToDevice));
    FFT(cufftPlan1d(&plan, n, CUFFT_R2C, 1));
    FFT(cufftExecR2C(plan, in, out));
    CHECK(cudaMemcpy(got.data(), out, got.size() * sizeof(*out), cudaMemcpyDeviceToHost));
    printf("%d real ones: %d far\n", n, far(x, got.data(), 1));
    FFT(cufftDestroy(plan));
    CHECK(cudaFree(in));
    CHECK(cudaFree(out));
}

int main()
{
    one_dimension(1024, 1);
    one_dimension(64, 10);
    one_dimension(60, 3);
    one_dimension(17, 2); /* a prime */
    two_dimensions(32, 48);
    real_numbers(500);
    return 0;
}
