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

enum { BLOCKS = 4, ROUNDS = 20 };

/* What a device has for the other one: its next piece, and which that is. */
struct mail {
    volatile int piece[BLOCKS], number[BLOCKS], taken[BLOCKS];
};

/* Each block swaps numbers with the same one of the other device's kernel, round after round: both
 * kernels have to run at once. */
__global__ void swap(struct mail *mine, struct mail *theirs, int seed, int *sum)
{
    int b = (int)blockIdx.x, total = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        while (theirs->taken[b] != round - 1)
            ;
        theirs->piece[b] = seed * round + b;
        __threadfence_system();
        theirs->number[b] = round;
        while (mine->number[b] != round)
            ;
        __threadfence_system();
        total += mine->piece[b];
        __threadfence_system();
        mine->taken[b] = round;
    }
    sum[b] = total;
}

static void swap_all(int other)
{
    struct mail *mail[2];
    int *sum[2], got[2][BLOCKS];
    cudaStream_t s[2];
    for (int d = 0; d < 2; d++) {
        CHECK(cudaSetDevice(d ? other : 0));
        CHECK(cudaMalloc(&mail[d], sizeof(struct mail)));
        CHECK(cudaMemset(mail[d], 0, sizeof(struct mail)));
        CHECK(cudaMalloc(&sum[d], sizeof(got[d])));
        CHECK(cudaStreamCreateWithFlags(&s[d], cudaStreamNonBlocking));
        CHECK(cudaDeviceSynchronize());
    }
    for (int d = 0; d < 2; d++) {
        CHECK(cudaSetDevice(d ? other : 0));
        swap<<<BLOCKS, 1, 0, s[d]>>>(mail[d], mail[!d], d ? 1000 : 1, sum[d]);
        CHECK(cudaGetLastError());
    }
    for (int d = 0; d < 2; d++) {
        CHECK(cudaSetDevice(d ? other : 0));
        CHECK(cudaStreamSynchronize(s[d]));
        CHECK(cudaMemcpy(got[d], sum[d], sizeof(got[d]), cudaMemcpyDeviceToHost));
        printf("swapped: %d %d %d %d\n", got[d][0], got[d][1], got[d][2], got[d][3]);
        CHECK(cudaFree(mail[d]));
        CHECK(cudaFree(sum[d]));
        CHECK(cudaStreamDestroy(s[d]));
    }
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

/* Memory of a pool is open to whom the pool is open, whatever contexts have enabled. */
static void pool_of(int device, int user)
{
    cudaMemPool_t pool;
    cudaMemAccessDesc access = {{cudaMemLocationTypeDevice, user}, cudaMemAccessFlagsProtReadWrite};
    cudaMemAccessFlags flags = cudaMemAccessFlagsProtNone;
    int *first, *second;
    CHECK(cudaSetDevice(device));
    CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
    CHECK(cudaMallocAsync(&first, n * sizeof(int), 0));
    CHECK(cudaMemPoolSetAccess(pool, &access, 1));
    CHECK(cudaMemPoolGetAccess(&flags, pool, &access.location));
    REQUIRE(flags == cudaMemAccessFlagsProtReadWrite);
    CHECK(cudaMallocAsync(&second, 4 << 20, 0));
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaSetDevice(user));
    fill<<<4, 256>>>(first, 1);
    fill<<<4, 256>>>(second, 2);
    CHECK(cudaDeviceSynchronize());
    printf("pool: %d %d\n", value_at(first + 1), value_at(second + 1));
    CHECK(cudaSetDevice(device));
    CHECK(cudaFreeAsync(first, 0));
    CHECK(cudaFreeAsync(second, 0));
    CHECK(cudaDeviceSynchronize());
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

    swap_all(other);
    pool_of(0, other);
    CHECK(cudaSetDevice(other));
    if (other) {
        CHECK(cudaDeviceDisablePeerAccess(0));
        REQUIRE(cudaDeviceDisablePeerAccess(0) == cudaErrorPeerAccessNotEnabled);
        cudaGetLastError();
    }
    pool_of(0, other);
    CHECK(cudaSetDevice(other));
    CHECK(cudaFree(there));
    CHECK(cudaFree(total));
    CHECK(cudaSetDevice(0));
    CHECK(cudaFree(here));
    printf("done\n");
    return 0;
}
