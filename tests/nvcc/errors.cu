/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, and how it is told. */
#include "check.h"

__global__ void store(int *p, int v)
{
    p[threadIdx.x] = v;
}

__global__ void greedy()
{
    extern __shared__ char room[];
    room[threadIdx.x] = 1;
}

int main()
{
    int *p = NULL, host[32], dev = -1;
    void *huge;
    cudaEvent_t event;
    SHOW(cudaSetDevice(99));
    SHOW(cudaGetDevice(&dev));
    SHOW(cudaGetLastError());
    SHOW(cudaGetLastError());
    SHOW(cudaMalloc(&huge, (size_t)1 << 60));
    SHOW(cudaGetLastError());
    SHOW(cudaMalloc(NULL, 4));
    SHOW(cudaGetLastError());
    CHECK(cudaMalloc(&p, sizeof(host)));
    SHOW(cudaMemcpy(p, NULL, 4, cudaMemcpyHostToDevice));
    SHOW(cudaMemcpy(p, host, 4, (cudaMemcpyKind)77));
    SHOW(cudaGetLastError());
    /* Which of two errors a bad shape is depends on the driver. */
    store<<<1, 2048>>>(p, 1);
    REQUIRE(cudaPeekAtLastError() != cudaSuccess && cudaGetLastError() != cudaSuccess);
    SHOW(cudaGetLastError());
    store<<<0, 32>>>(p, 1);
    REQUIRE(cudaGetLastError() != cudaSuccess);
    store<<<1, dim3(1, 1, 65)>>>(p, 1);
    REQUIRE(cudaGetLastError() != cudaSuccess);
    greedy<<<1, 32, 1 << 20>>>();
    REQUIRE(cudaGetLastError() != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess);
    cudaGetLastError();
    store<<<1, 32>>>(p, 42);
    SHOW(cudaMemcpy(host, p, sizeof(host), cudaMemcpyDeviceToHost));
    printf("%d %d\n", host[0], host[31]);
    CHECK(cudaEventCreate(&event));
    SHOW(cudaEventQuery(event));
    CHECK(cudaEventDestroy(event));
    SHOW(cudaFree(p + 1));
    SHOW(cudaFree(NULL));
    SHOW(cudaFreeHost(NULL));
    SHOW(cudaGetLastError());
    printf("%s: %s\n", cudaGetErrorName(cudaErrorIllegalAddress),
           cudaGetErrorString(cudaErrorIllegalAddress));
    /* From here on nothing works but a reset. */
    store<<<1, 32>>>((int *)64, 1);
    SHOW(cudaDeviceSynchronize());
    SHOW(cudaMemcpy(host, p, sizeof(host), cudaMemcpyDeviceToHost));
    SHOW(cudaMalloc(&huge, 4));
    SHOW(cudaGetLastError());
    return 0;
}
