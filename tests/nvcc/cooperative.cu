/* SPDX-License-Identifier: Apache-2.0 */
/* Cooperative groups: all blocks of a grid meet; a grid that can't be there at once. */
#include <cooperative_groups.h>
#include <cstdio>
#include <cstdlib>

#include "check.h"

namespace cg = cooperative_groups;

/* Each round, every block reads what its neighbour wrote in the last one. */
__global__ void rounds(int *cells, int *next, int times)
{
    cg::grid_group grid = cg::this_grid();
    for (int i = 0; i < times; i++) {
        unsigned from = (blockIdx.x + 1) % gridDim.x;
        if (threadIdx.x == 0)
            next[blockIdx.x] = cells[from] + 1;
        grid.sync();
        if (threadIdx.x == 0)
            cells[blockIdx.x] = next[blockIdx.x];
        grid.sync();
    }
}

__global__ void total(const int *in, int count, int *out)
{
    cg::thread_block block = cg::this_thread_block();
    cg::thread_block_tile<32> tile = cg::tiled_partition<32>(block);
    int sum = 0;
    for (int i = (int)block.thread_rank(); i < count; i += (int)block.size())
        sum += in[i];
    for (int d = 16; d > 0; d /= 2)
        sum += tile.shfl_down(sum, d);
    if (tile.thread_rank() == 0)
        atomicAdd(out, sum);
}

int main()
{
    const int blocks = 24;
    int times = 20, host[24], can = 0, *cells, *next, *out;
    CHECK(cudaDeviceGetAttribute(&can, cudaDevAttrCooperativeLaunch, 0));
    printf("cooperative: %d\n", can);
    CHECK(cudaMalloc(&cells, blocks * sizeof(int)));
    CHECK(cudaMalloc(&next, blocks * sizeof(int)));
    CHECK(cudaMalloc(&out, sizeof(int)));
    for (int i = 0; i < blocks; i++)
        host[i] = i * 100;
    CHECK(cudaMemcpy(cells, host, sizeof(host), cudaMemcpyHostToDevice));
    void *args[] = {&cells, &next, &times};
    CHECK(cudaLaunchCooperativeKernel((void *)rounds, blocks, 64, args, 0, 0));
    CHECK(cudaMemcpy(host, cells, sizeof(host), cudaMemcpyDeviceToHost));
    for (int i = 0; i < blocks; i++)
        printf("%d ", host[i]);
    printf("\n");
    CHECK(cudaMemset(out, 0, sizeof(int)));
    total<<<1, 64>>>(cells, blocks, out);
    CHECK(cudaMemcpy(host, out, sizeof(int), cudaMemcpyDeviceToHost));
    printf("total %d\n", host[0]);
    printf("%s\n", cudaGetErrorName(
                       cudaLaunchCooperativeKernel((void *)rounds, 1 << 20, 64, args, 0, 0)));
    printf("%s\n", cudaGetErrorName(cudaGetLastError()));
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaFree(cells));
    CHECK(cudaFree(next));
    CHECK(cudaFree(out));
    return 0;
}
