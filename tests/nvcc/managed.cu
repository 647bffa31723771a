/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that host and device use by the same address. */
#include "check.h"

__global__ void increment(int *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] += i;
}

int main()
{
    const int n = 10000;
    int *x, *y, wrong = 0;
    cudaPointerAttributes at;
    CHECK(cudaMallocManaged(&x, n * sizeof(int)));
    CHECK(cudaMallocManaged(&y, n * sizeof(int), cudaMemAttachHost));
    for (int i = 0; i < n; i++)
        x[i] = 1;
    for (int round = 0; round < 3; round++) {
        increment<<<(n + 255) / 256, 256>>>(x, n);
        CHECK(cudaDeviceSynchronize());
        x[7] += 1000;
    }
    for (int i = 0; i < n; i++)
        wrong += x[i] != 1 + 3 * i + (i == 7 ? 3000 : 0);
    CHECK(cudaMemcpy(y, x, n * sizeof(int), cudaMemcpyDefault));
    CHECK(cudaMemset(x, 0, n * sizeof(int)));
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < n; i++)
        wrong += x[i] != 0 || y[i] != 1 + 3 * i + (i == 7 ? 3000 : 0);
    printf("%d wrong\n", wrong);
    CHECK(cudaPointerGetAttributes(&at, x));
    REQUIRE(at.type == cudaMemoryTypeManaged);
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
    SHOW(cudaFree(y));
    return 0;
}
