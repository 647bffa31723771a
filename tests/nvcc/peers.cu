/* SPDX-License-Identifier: Apache-2.0 */
/* Two devices: copies between them, and kernels that use each other's memory. Where there is one
 * device only, all of it is done there. */
#include "check.h"

static const int n = 1000;

__global__ void fill(int *to, int first)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        to[i] = first + i;
}

/* Reads one device's memory, and counts in it. */
__global__ void add_up(const int *from, int *total)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        atomicAdd_system(total, from[i]);
}

static int value_at(const int *p)
{
    int v = 0;
    CHECK(cudaMemcpy(&v, p, sizeof(v), cudaMemcpyDefault));
    return v;
}

static void enable(int from, int to, bool two)
{
    int can = 0;
    CHECK(cudaSetDevice(from));
    CHECK(cudaDeviceCanAccessPeer(&can, from, to));
    REQUIRE(can == two);
    if (!two)
        return;
    REQUIRE(cudaDeviceDisablePeerAccess(to) == cudaErrorPeerAccessNotEnabled);
    REQUIRE(cudaDeviceEnablePeerAccess(to, 1) == cudaErrorInvalidValue);
    CHECK(cudaDeviceEnablePeerAccess(to, 0));
    REQUIRE(cudaDeviceEnablePeerAccess(to, 0) == cudaErrorPeerAccessAlreadyEnabled);
    cudaGetLastError();
}

int main()
{
    int devices = 0, supported = 0;
    int *here, *there, *total;
    CHECK(cudaGetDeviceCount(&devices));
    int other = devices > 1 ? 1 : 0;
    if (other) {
        CHECK(cudaDeviceGetP2PAttribute(&supported, cudaDevP2PAttrAccessSupported, 0, other));
        REQUIRE(supported);
    }
    CHECK(cudaSetDevice(other));
    CHECK(cudaMalloc(&there, n * sizeof(int)));
    CHECK(cudaMalloc(&total, sizeof(int)));
    CHECK(cudaMemset(total, 0, sizeof(int)));
    CHECK(cudaSetDevice(0));
    CHECK(cudaMalloc(&here, n * sizeof(int)));
    enable(other, 0, other != 0);
    enable(0, other, other != 0);

    fill<<<4, 256>>>(there, 5); /* from the first device */
    CHECK(cudaDeviceSynchronize());
    printf("there: %d %d\n", value_at(there), value_at(there + n - 1));
    CHECK(cudaMemcpyPeer(here, 0, there, other, n * sizeof(int)));
    printf("here: %d %d\n", value_at(here), value_at(here + n - 1));

    add_up<<<4, 256>>>(there, total);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaSetDevice(other));
    add_up<<<4, 256>>>(here, total);
    CHECK(cudaDeviceSynchronize());
    printf("total: %d\n", value_at(total));

    fill<<<4, 256>>>(here, 1000);
    cudaStream_t s;
    CHECK(cudaStreamCreate(&s));
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpyPeerAsync(there, other, here, 0, n * sizeof(int), s));
    CHECK(cudaStreamSynchronize(s));
    CHECK(cudaStreamDestroy(s));
    printf("there: %d %d\n", value_at(there), value_at(there + n - 1));

    if (other) {
        CHECK(cudaDeviceDisablePeerAccess(0));
        REQUIRE(cudaDeviceDisablePeerAccess(0) == cudaErrorPeerAccessNotEnabled);
        cudaGetLastError();
    }
    CHECK(cudaFree(there));
    CHECK(cudaFree(total));
    CHECK(cudaSetDevice(0));
    CHECK(cudaFree(here));
    printf("done\n");
    return 0;
}
