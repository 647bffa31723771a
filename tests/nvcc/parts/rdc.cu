/* SPDX-License-Identifier: Apache-2.0 */
#include "rdc.h"

#include "../check.h"

__constant__ unsigned offset;

/* A name that both files have, and each its own. */
static __device__ unsigned twist(unsigned x)
{
    return x ^ 7u;
}

__device__ unsigned scramble(unsigned x)
{
    return twist(x * 2654435761u);
}

static __global__ void mix(unsigned *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] *= 2;
}

void set_offset(unsigned v)
{
    CHECK(cudaMemcpyToSymbol(offset, &v, sizeof(v)));
}

void double_all(unsigned *x, int n)
{
    mix<<<(n + 63) / 64, 64>>>(x, n);
    CHECK(cudaGetLastError());
}
