/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -arch=sm_80 */
/* Copies to shared memory beside computation: pipelines, and barriers in memory. */
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <vector>

#include "check.h"

#pragma nv_diag_suppress static_var_with_dynamic_init
namespace cg = cooperative_groups;

static const int tile = 256;

/* Two tiles: one is read while the other one comes. */
static __global__ void staged(const float *in, float *out, int tiles)
{
    __shared__ alignas(16) float room[2][tile];
    cuda::pipeline<cuda::thread_scope_thread> pipe = cuda::make_pipeline();
    float sum = 0;
    for (int next = 0, i = 0; i < tiles; i++) {
        for (; next < tiles && next < i + 2; next++) {
            pipe.producer_acquire();
            cuda::memcpy_async(&room[next % 2][threadIdx.x * 4], &in[next * tile + threadIdx.x * 4],
                               cuda::aligned_size_t<16>(16), pipe);
            pipe.producer_commit();
        }
        pipe.consumer_wait();
        __syncthreads();
        for (int k = 0; k < 4; k++)
            sum += room[i % 2][(threadIdx.x + k * blockDim.x + 1) % tile];
        __syncthreads();
        pipe.consumer_release();
    }
    out[threadIdx.x] = sum;
}

/* A block's copy, and a barrier that it arrives at. */
static __global__ void guarded(const float *in, float *out, int tiles)
{
    __shared__ alignas(16) float room[tile];
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    auto block = cg::this_thread_block();
    if (threadIdx.x == 0)
        init(&bar, blockDim.x);
    block.sync();
    float sum = 0;
    for (int i = 0; i < tiles; i++) {
        cuda::memcpy_async(block, room, in + i * tile, sizeof(room), bar);
        bar.arrive_and_wait();
        for (int k = 0; k < 4; k++)
            sum += room[(threadIdx.x + k * blockDim.x + 1) % tile];
        bar.wait(bar.arrive());
    }
    cg::memcpy_async(block, room, in, sizeof(float) * 7);
    cg::wait(block);
    out[threadIdx.x] = sum + room[threadIdx.x % 7];
}

int main()
{
    const int tiles = 9, threads = tile / 4;
    std::vector<float> in(tiles * tile), got(threads);
    float *x, *y;
    for (size_t i = 0; i < in.size(); i++)
        in[i] = (float)(i % 101);
    CHECK(cudaMalloc(&x, in.size() * sizeof(float)));
    CHECK(cudaMalloc(&y, threads * sizeof(float)));
    CHECK(cudaMemcpy(x, in.data(), in.size() * sizeof(float), cudaMemcpyHostToDevice));
    for (int which = 0; which < 2; which++) {
        int wrong = 0;
        if (which == 0)
            staged<<<1, threads>>>(x, y, tiles);
        else
            guarded<<<1, threads>>>(x, y, tiles);
        CHECK(cudaGetLastError());
        CHECK(cudaMemcpy(got.data(), y, threads * sizeof(float), cudaMemcpyDeviceToHost));
        for (int t = 0; t < threads; t++) {
            float sum = which ? in[t % 7] : 0;
            for (int i = 0; i < tiles; i++)
                for (int k = 0; k < 4; k++)
                    sum += in[i * tile + (t + k * threads + 1) % tile];
            wrong += got[t] != sum;
        }
        printf("%s: %d wrong\n", which ? "barrier" : "pipeline", wrong);
    }
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
    return 0;
}
