/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks and warps that work together: shuffles, votes, shared memory, atomics. */
#include "check.h"

__inline__ __device__ int warp_sum(int v)
{
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_down_sync(0xffffffffu, v, d);
    return v;
}

template <int THREADS> __global__ void block_sum(const int *x, int n, int *total)
{
    __shared__ int part[THREADS / 32];
    int v = 0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        v += x[i];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < THREADS / 32 ? part[threadIdx.x] : 0;
        v = warp_sum(v);
        if (threadIdx.x == 0)
            atomicAdd(total, v);
    }
}

__global__ void count_odd(const int *x, int n, unsigned *votes, int *largest)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = i < n ? x[i] : 0;
    unsigned mask = __ballot_sync(0xffffffffu, v & 1);
    if (threadIdx.x % 32 == 0)
        atomicAdd(votes, __popc(mask));
    int top = v;
    for (int d = 16; d > 0; d /= 2)
        top = max(top, __shfl_xor_sync(0xffffffffu, top, d));
    if (threadIdx.x % 32 == 0)
        atomicMax(largest, top);
}

/* Inclusive, within a block; the size of shared memory is the launch's. */
__global__ void scan(const int *x, int *y)
{
    extern __shared__ int s[];
    int t = threadIdx.x;
    s[t] = x[t];
    __syncthreads();
    for (int d = 1; d < blockDim.x; d *= 2) {
        int v = t >= d ? s[t - d] : 0;
        __syncthreads();
        s[t] += v;
        __syncthreads();
    }
    y[t] = s[t];
}

#define TILE 16
__global__ void transpose(const float *in, float *out, int width, int height)
{
    __shared__ float tile[TILE][TILE + 1];
    int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    if (x < width && y < height)
        tile[threadIdx.y][threadIdx.x] = in[y * width + x];
    __syncthreads();
    x = blockIdx.y * TILE + threadIdx.x;
    y = blockIdx.x * TILE + threadIdx.y;
    if (x < height && y < width)
        out[y * height + x] = tile[threadIdx.x][threadIdx.y];
}

static void sums()
{
    const int n = 100003;
    int *host = (int *)malloc(n * sizeof(int)), *x, *total, *largest, sum = 0, top = 0;
    unsigned *votes, odd = 0;
    long long expected = 0;
    unsigned expected_odd = 0;
    for (int i = 0; i < n; i++) {
        host[i] = i * 31 % 997;
        expected += host[i];
        expected_odd += host[i] & 1;
    }
    CHECK(cudaMalloc(&x, n * sizeof(int)));
    CHECK(cudaMalloc(&total, sizeof(int)));
    CHECK(cudaMalloc(&largest, sizeof(int)));
    CHECK(cudaMalloc(&votes, sizeof(unsigned)));
    CHECK(cudaMemcpy(x, host, n * sizeof(int), cudaMemcpyHostToDevice));
    CHECK(cudaMemset(total, 0, sizeof(int)));
    CHECK(cudaMemset(largest, 0, sizeof(int)));
    CHECK(cudaMemset(votes, 0, sizeof(unsigned)));
    block_sum<256><<<20, 256>>>(x, n, total);
    count_odd<<<(n + 127) / 128, 128>>>(x, n, votes, largest);
    CHECK(cudaMemcpy(&sum, total, sizeof(int), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&odd, votes, sizeof(odd), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&top, largest, sizeof(top), cudaMemcpyDeviceToHost));
    printf("sum %d, odd %u, largest %d\n", sum, odd, top);
    REQUIRE(sum == expected && odd == expected_odd && top == 996);
    CHECK(cudaFree(x));
    CHECK(cudaFree(total));
    CHECK(cudaFree(largest));
    CHECK(cudaFree(votes));
    free(host);
}

static void scans()
{
    const int n = 512;
    int host[n], *x, *y;
    for (int i = 0; i < n; i++)
        host[i] = i % 7;
    CHECK(cudaMalloc(&x, sizeof(host)));
    CHECK(cudaMalloc(&y, sizeof(host)));
    CHECK(cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice));
    scan<<<1, n, n * sizeof(int)>>>(x, y);
    CHECK(cudaMemcpy(host, y, sizeof(host), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0, s = 0; i < n; i++) {
        s += i % 7;
        wrong += host[i] != s;
    }
    printf("scan: %d wrong, the last is %d\n", wrong, host[n - 1]);
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
}

static void matrices()
{
    const int w = 100, h = 70;
    static float host[w * h], turned[w * h];
    float *a, *b;
    for (int i = 0; i < w * h; i++)
        host[i] = (float)i;
    CHECK(cudaMalloc(&a, sizeof(host)));
    CHECK(cudaMalloc(&b, sizeof(host)));
    CHECK(cudaMemcpy(a, host, sizeof(host), cudaMemcpyHostToDevice));
    transpose<<<dim3((w + TILE - 1) / TILE, (h + TILE - 1) / TILE), dim3(TILE, TILE)>>>(a, b, w, h);
    CHECK(cudaMemcpy(turned, b, sizeof(turned), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            wrong += turned[x * h + y] != host[y * w + x];
    printf("transpose: %d wrong\n", wrong);
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
}

int main()
{
    sums();
    scans();
    matrices();
    return 0;
}
