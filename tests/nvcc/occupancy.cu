/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime knows of kernels, and what may be asked of them. */
#include "check.h"

__global__ void small(int *x)
{
    x[threadIdx.x] = threadIdx.x;
}

__global__ void __launch_bounds__(128) bounded(int *x)
{
    __shared__ int s[1000];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[127 - threadIdx.x];
}

__global__ void dynamic(int *x)
{
    extern __shared__ int s[];
    s[threadIdx.x * 200] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[(blockDim.x - 1 - threadIdx.x) * 200];
}

int main()
{
    cudaFuncAttributes a;
    int blocks = 0, size = 0, grid = 0, *x, host[128], value = -1;
    CHECK(cudaFuncGetAttributes(&a, small));
    REQUIRE(a.sharedSizeBytes == 0 && a.maxThreadsPerBlock == 1024 && a.numRegs > 0);
    CHECK(cudaFuncGetAttributes(&a, bounded));
    REQUIRE(a.sharedSizeBytes == 4000 && a.maxThreadsPerBlock == 128);
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small, 1024, 0));
    REQUIRE(blocks >= 1 && blocks <= 2);
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, bounded, 128, 0));
    REQUIRE(blocks >= 1);
    CHECK(cudaOccupancyMaxPotentialBlockSize(&grid, &size, bounded));
    REQUIRE(grid >= 1 && size == 128);
    CHECK(cudaMalloc(&x, sizeof(host)));
    small<<<1, 128>>>(x);
    bounded<<<1, 128>>>(x);
    CHECK(cudaMemcpy(host, x, sizeof(host), cudaMemcpyDeviceToHost));
    printf("%d %d\n", host[0], host[127]);
    /* Told at once, or by the next call that waits. */
    bounded<<<1, 256>>>(x);
    cudaError_t rc = cudaGetLastError();
    printf("%s\n", cudaGetErrorName(rc != cudaSuccess ? rc : cudaDeviceSynchronize()));
    cudaGetLastError();
    SHOW(cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 90000));
    dynamic<<<1, 100, 80000>>>(x);
    SHOW(cudaGetLastError());
    CHECK(cudaMemcpy(host, x, sizeof(host), cudaMemcpyDeviceToHost));
    printf("%d %d %d\n", host[0], host[99], host[100]);
    SHOW(cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 30));
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    REQUIRE(value >= 90000);
    SHOW(cudaDeviceGetAttribute(&value, (cudaDeviceAttr)9999, 0));
    int usable = 0;
    CHECK(cudaDeviceCanAccessPeer(&usable, 0, 0));
    REQUIRE(usable == 0);
    CHECK(cudaFree(x));
    return 0;
}
