/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: --default-stream per-thread */
/* Threads whose default streams are their own. */
#include <thread>
#include <vector>

#include "check.h"

__global__ void step(unsigned *x, int n, unsigned k)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] = x[i] * 1664525u + k;
}

static void work(int thread, int *wrong)
{
    const int n = 4000;
    unsigned *x;
    std::vector<unsigned> host(n);
    cudaEvent_t done;
    for (int i = 0; i < n; i++)
        host[i] = (unsigned)(i + thread);
    CHECK(cudaMalloc(&x, n * sizeof(unsigned)));
    CHECK(cudaMemcpy(x, host.data(), n * sizeof(unsigned), cudaMemcpyHostToDevice));
    for (unsigned k = 0; k < 10; k++)
        step<<<(n + 127) / 128, 128>>>(x, n, k);
    CHECK(cudaEventCreate(&done));
    CHECK(cudaEventRecord(done));
    CHECK(cudaEventSynchronize(done));
    CHECK(cudaStreamSynchronize(0));
    CHECK(cudaStreamQuery(0));
    CHECK(cudaMemcpy(host.data(), x, n * sizeof(unsigned), cudaMemcpyDeviceToHost));
    *wrong = 0;
    for (int i = 0; i < n; i++) {
        unsigned v = (unsigned)(i + thread);
        for (unsigned k = 0; k < 10; k++)
            v = v * 1664525u + k;
        *wrong += host[i] != v;
    }
    CHECK(cudaMemsetAsync(x, 0, n * sizeof(unsigned)));
    CHECK(cudaMemcpyAsync(host.data(), x, n * sizeof(unsigned), cudaMemcpyDeviceToHost));
    CHECK(cudaStreamSynchronize(cudaStreamPerThread));
    for (int i = 0; i < n; i++)
        *wrong += host[i] != 0;
    CHECK(cudaEventDestroy(done));
    CHECK(cudaFree(x));
}

int main()
{
    const int threads = 4;
    int wrong[threads];
    for (int round = 0; round < 2; round++) {
        std::vector<std::thread> all;
        for (int i = 0; i < threads; i++)
            all.emplace_back(work, i, &wrong[i]);
        for (int i = 0; i < threads; i++) {
            all[i].join();
            printf("thread %d: %d wrong\n", i, wrong[i]);
        }
    }
    work(9, wrong);
    printf("main thread: %d wrong\n", wrong[0]);
    return 0;
}
