/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -rdc=true parts/rdc.cu */
/* Device code in two files: a function, variables and a kernel of the other one. */
#include "check.h"
#include "parts/rdc.h"

__device__ unsigned calls;

static __global__ void mix(unsigned *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    x[i] = scramble(x[i]) + offset;
    atomicAdd(&calls, 1u);
}

int main()
{
    const int n = 1000;
    unsigned *x, host[n], counted;
    int wrong = 0;
    for (int i = 0; i < n; i++)
        host[i] = (unsigned)i;
    CHECK(cudaMalloc(&x, sizeof(host)));
    CHECK(cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice));
    set_offset(11);
    mix<<<(n + 127) / 128, 128>>>(x, n);
    CHECK(cudaGetLastError());
    double_all(x, n);
    CHECK(cudaMemcpy(host, x, sizeof(host), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpyFromSymbol(&counted, calls, sizeof(counted)));
    for (int i = 0; i < n; i++)
        wrong += host[i] != 2 * (((unsigned)i * 2654435761u ^ 7u) + 11u);
    printf("%d wrong, %u calls\n", wrong, counted);
    CHECK(cudaFree(x));
    return 0;
}
