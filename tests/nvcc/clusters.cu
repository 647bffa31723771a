/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -arch=sm_90 */
/* Clusters: blocks that meet, and read and write each other's shared memory. */
#include <cooperative_groups.h>
#include <vector>

#include "check.h"

namespace cg = cooperative_groups;

/* Each block counts what it has of 64 kinds; the cluster's first blocks' counts are all of theirs. */
static __global__ void histogram(const unsigned *in, int n, unsigned *out)
{
    __shared__ unsigned count[64];
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), blocks = cluster.num_blocks();
    if (threadIdx.x < 64)
        count[threadIdx.x] = 0;
    cluster.sync();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned kind = in[i] % 64;
        unsigned *there = cluster.map_shared_rank(count, kind % blocks);
        atomicAdd(&there[kind], 1u);
    }
    cluster.sync();
    if (threadIdx.x < 64 && threadIdx.x % blocks == rank)
        atomicAdd(&out[threadIdx.x], count[threadIdx.x]);
}

/* A ring: what the next block of the cluster had. */
static __global__ void __cluster_dims__(4, 1, 1) ring(unsigned *out)
{
    __shared__ unsigned mine[32];
    cg::cluster_group cluster = cg::this_cluster();
    mine[threadIdx.x] = blockIdx.x * 100 + threadIdx.x;
    cluster.sync();
    unsigned next = (cluster.block_rank() + 1) % cluster.num_blocks();
    unsigned got = cluster.map_shared_rank(mine, next)[31 - threadIdx.x];
    cluster.sync();
    out[blockIdx.x * 32 + threadIdx.x] = got + 10000 * cluster.query_shared_rank(mine);
}

static cudaError_t launch(unsigned cluster, const unsigned *in, int n, unsigned *out)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute;
    config.gridDim = dim3(24);
    config.blockDim = dim3(128);
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, histogram, in, n, out);
}

int main()
{
    const int n = 30000;
    std::vector<unsigned> in(n), counted(64), got(24 * 32);
    unsigned *x, *out;
    for (int i = 0; i < n; i++) {
        in[i] = (unsigned)i * 2654435761u >> 7;
        counted[in[i] % 64]++;
    }
    CHECK(cudaMalloc(&x, n * sizeof(unsigned)));
    CHECK(cudaMalloc(&out, got.size() * sizeof(unsigned)));
    CHECK(cudaMemcpy(x, in.data(), n * sizeof(unsigned), cudaMemcpyHostToDevice));
    for (unsigned cluster : {1u, 2u, 4u, 8u}) {
        int wrong = 0;
        CHECK(cudaMemset(out, 0, 64 * sizeof(unsigned)));
        CHECK(launch(cluster, x, n, out));
        CHECK(cudaMemcpy(got.data(), out, 64 * sizeof(unsigned), cudaMemcpyDeviceToHost));
        for (int k = 0; k < 64; k++)
            wrong += got[k] != counted[k];
        printf("clusters of %u: %d wrong\n", cluster, wrong);
    }
    int wrong = 0;
    ring<<<24, 32>>>(out);
    CHECK(cudaMemcpy(got.data(), out, got.size() * sizeof(unsigned), cudaMemcpyDeviceToHost));
    for (unsigned b = 0; b < 24; b++)
        for (unsigned t = 0; t < 32; t++)
            wrong += got[b * 32 + t] != (b / 4 * 4 + (b + 1) % 4) * 100 + 31 - t + 10000 * (b % 4);
    printf("ring: %d wrong\n", wrong);
    printf("of 5 in a grid of 24: %s\n", cudaGetErrorName(launch(5, x, n, out)));
    cudaGetLastError();
    printf("of 12: %s\n", cudaGetErrorName(launch(12, x, n, out)));
    cudaGetLastError();
    CHECK(cudaFree(x));
    CHECK(cudaFree(out));
    return 0;
}
