/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the program has already, registered, in kernels and copies. */
#include <cstring>
#include <thread>
#include <vector>

#include "check.h"

__global__ void saxpy(float a, const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] += a * x[i];
}

static const int n = 100000;
static float in_static[n];

static int compute(float *x, float *y)
{
    float *dx, *dy;
    int wrong = 0;
    CHECK(cudaHostRegister(x, n * sizeof(float), cudaHostRegisterMapped));
    CHECK(cudaHostRegister(y, n * sizeof(float), cudaHostRegisterDefault));
    CHECK(cudaHostGetDevicePointer(&dx, x, 0));
    CHECK(cudaHostGetDevicePointer(&dy, y, 0));
    for (int i = 0; i < n; i++) {
        x[i] = i;
        y[i] = 1;
    }
    for (int round = 0; round < 2; round++)
        saxpy<<<(n + 255) / 256, 256>>>(2, dx, dy, n);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < n; i++)
        wrong += y[i] != 4.0f * i + 1;
    cudaPointerAttributes at;
    CHECK(cudaPointerGetAttributes(&at, x + 5));
    REQUIRE(at.type == cudaMemoryTypeHost && at.hostPointer == x + 5 && at.devicePointer == dx + 5);
    SHOW(cudaHostRegister(x, 4, 0));
    CHECK(cudaHostUnregister(x));
    CHECK(cudaHostUnregister(y));
    SHOW(cudaHostUnregister(y));
    cudaGetLastError();
    return wrong;
}

/* Asynchronous copies: what is behind them in the stream sees their bytes. */
static int copy(float *x)
{
    float *d;
    int wrong = 0;
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMalloc(&d, n * sizeof(float)));
    CHECK(cudaHostRegister(x, n * sizeof(float), cudaHostRegisterPortable));
    for (int i = 0; i < n; i++)
        x[i] = i;
    CHECK(cudaMemcpyAsync(d, x, n * sizeof(float), cudaMemcpyHostToDevice, stream));
    saxpy<<<(n + 255) / 256, 256, 0, stream>>>(1, d, d, n);
    CHECK(cudaMemcpyAsync(x, d, n * sizeof(float), cudaMemcpyDefault, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < n; i++)
        wrong += x[i] != 2.0f * i;
    CHECK(cudaHostUnregister(x));
    CHECK(cudaFree(d));
    CHECK(cudaStreamDestroy(stream));
    return wrong;
}

int main()
{
    std::vector<float> x(n), y(n);
    printf("%d wrong\n", compute(x.data(), y.data()));
    printf("%d wrong\n", compute(in_static, y.data()));
    /* In a thread, beside another one. */
    int wrong = 0;
    std::thread other([&] { wrong = compute(x.data(), in_static) + copy(y.data()); });
    other.join();
    printf("%d wrong\n", wrong);
    printf("%d wrong\n", copy(x.data()));
    return 0;
}
