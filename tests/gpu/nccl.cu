/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lnccl */
/* NCCL: one process, all of its GPUs; what a rank gives comes back as the sum. */
#include <vector>

#include "nccl_check.h"

static const int most = 8, n = 5000;

int main()
{
    int devices;
    ncclComm_t comm[most];
    float *in[most], *out[most];
    cudaStream_t stream[most];
    std::vector<float> host(n);
    CHECK(cudaGetDeviceCount(&devices));
    if (devices > most)
        devices = most;
    for (int d = 0; d < devices; d++) {
        CHECK(cudaSetDevice(d));
        CHECK(cudaStreamCreate(&stream[d]));
        CHECK(cudaMalloc(&in[d], n * sizeof(float)));
        CHECK(cudaMalloc(&out[d], n * sizeof(float)));
        for (int i = 0; i < n; i++)
            host[i] = (float)(i % 17 + d);
        CHECK(cudaMemcpy(in[d], host.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    }
    NCCL(ncclCommInitAll(comm, devices, NULL));
    NCCL(ncclGroupStart());
    for (int d = 0; d < devices; d++)
        NCCL(ncclAllReduce(in[d], out[d], n, ncclFloat, ncclSum, comm[d], stream[d]));
    NCCL(ncclGroupEnd());
    int wrong = 0;
    for (int d = 0; d < devices; d++) {
        CHECK(cudaSetDevice(d));
        CHECK(cudaStreamSynchronize(stream[d]));
        CHECK(cudaMemcpy(host.data(), out[d], n * sizeof(float), cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            wrong += host[i] != (float)(devices * (i % 17) + devices * (devices - 1) / 2);
    }
    printf("sum over all ranks: %d wrong\n", wrong);
    for (int d = 0; d < devices; d++)
        NCCL(ncclCommDestroy(comm[d]));
    return 0;
}
