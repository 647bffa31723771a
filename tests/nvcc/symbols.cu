/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: --compress-mode=none */
/* Variables of the program on the device, constant memory, structs as parameters. */
#include <cstring>

#include "check.h"

struct Weights {
    float w[8];
    int n;
    double bias;
    char tag;
};

__constant__ float table[16];
__constant__ Weights weights;
__device__ int counter = 5;
__device__ float results[64];
static __device__ double hidden[3] = {0.5, 1.5, 2.5};

__device__ __noinline__ float weigh(const Weights &w, float x)
{
    float y = (float)w.bias;
    for (int i = 0; i < w.n; i++)
        y += w.w[i] * x;
    return y;
}

__global__ void use(Weights mine, char first, double factor)
{
    int i = threadIdx.x;
    float x = table[i % 16];
    results[i] = weigh(weights, x) + weigh(mine, x) * (float)factor + (float)(first - 'a');
    atomicAdd(&counter, 1);
    if (i < 3)
        hidden[i] *= 2;
}

int main()
{
    float host[16], out[64];
    Weights w = {}, mine = {};
    int count = 0;
    size_t bytes = 0;
    void *address = NULL;
    double halves[3];
    for (int i = 0; i < 16; i++)
        host[i] = (float)i / 4;
    for (int i = 0; i < 8; i++) {
        w.w[i] = (float)i;
        mine.w[i] = 1;
    }
    w.n = 8;
    w.bias = 0.25;
    mine.n = 4;
    mine.bias = -1;
    CHECK(cudaMemcpyToSymbol(table, host, sizeof(host)));
    CHECK(cudaMemcpyToSymbol(weights, &w, sizeof(w)));
    CHECK(cudaMemcpyFromSymbol(&count, counter, sizeof(count)));
    printf("counter begins with %d\n", count);
    use<<<1, 64>>>(mine, 'c', 0.5);
    CHECK(cudaMemcpyFromSymbol(out, results, sizeof(out)));
    CHECK(cudaMemcpyFromSymbol(&count, counter, sizeof(count)));
    CHECK(cudaMemcpyFromSymbol(halves, hidden, sizeof(halves)));
    printf("and ends with %d\n", count);
    int wrong = 0;
    for (int i = 0; i < 64; i++) {
        float x = host[i % 16];
        wrong += out[i] != 28 * x + 0.25f + (4 * x - 1) * 0.5f + 2;
    }
    printf("results: %d wrong\n", wrong);
    printf("hidden: %g %g %g\n", halves[0], halves[1], halves[2]);
    CHECK(cudaGetSymbolSize(&bytes, weights));
    REQUIRE(bytes == sizeof(Weights));
    CHECK(cudaGetSymbolAddress(&address, counter));
    count = 70;
    CHECK(cudaMemcpy(address, &count, sizeof(count), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpyFromSymbol(&count, counter, sizeof(count)));
    REQUIRE(count == 70);
    CHECK(cudaMemcpyToSymbol(results, host, 8, 16));
    CHECK(cudaMemcpyFromSymbol(out, results, 24));
    REQUIRE(memcmp(out + 4, host, 8) == 0);
    SHOW(cudaGetSymbolAddress(&address, (const void *)host));
    SHOW(cudaMemcpyToSymbol(table, host, sizeof(host) + 4));
    return 0;
}
