/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: --compress-mode=speed */
/* The first program everybody writes, in several types and sizes. */
#include <vector>

#include "check.h"

template <typename T> __global__ void add(const T *a, const T *b, T *c, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

template <typename T> static void test(const char *name, int n)
{
    std::vector<T> a(n), b(n), c(n);
    T *da, *db, *dc;
    for (int i = 0; i < n; i++) {
        a[i] = (T)(i % 1000);
        b[i] = (T)(i * 7 % 13);
    }
    CHECK(cudaMalloc(&da, n * sizeof(T)));
    CHECK(cudaMalloc(&db, n * sizeof(T)));
    CHECK(cudaMalloc(&dc, n * sizeof(T)));
    CHECK(cudaMemcpy(da, a.data(), n * sizeof(T), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b.data(), n * sizeof(T), cudaMemcpyHostToDevice));
    CHECK(cudaMemset(dc, 0xff, n * sizeof(T)));
    add<<<(n + 127) / 128, 128>>>(da, db, dc, n);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(c.data(), dc, n * sizeof(T), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += c[i] != (T)(a[i] + b[i]);
    printf("%s %d: %d wrong\n", name, n, wrong);
    CHECK(cudaMemcpy(da, dc, n * sizeof(T), cudaMemcpyDeviceToDevice));
    CHECK(cudaMemcpy(a.data(), da, n * sizeof(T), cudaMemcpyDefault));
    REQUIRE(a == c);
    CHECK(cudaFree(da));
    CHECK(cudaFree(db));
    CHECK(cudaFree(dc));
}

int main()
{
    int devices = 0, driver = 0, runtime = 0, dev = -1;
    size_t free_bytes = 0, total = 0;
    cudaDeviceProp p;
    CHECK(cudaGetDeviceCount(&devices));
    CHECK(cudaDriverGetVersion(&driver));
    CHECK(cudaRuntimeGetVersion(&runtime));
    REQUIRE(devices > 0 && driver >= runtime / 1000 * 1000);
    CHECK(cudaGetDeviceProperties(&p, 0));
    REQUIRE(p.name[0] && p.major >= 3 && p.multiProcessorCount > 0 && p.warpSize == 32);
    REQUIRE(p.totalGlobalMem > 0 && p.maxThreadsPerBlock >= 512 && p.sharedMemPerBlock >= 16384);
    CHECK(cudaSetDevice(0));
    CHECK(cudaGetDevice(&dev));
    CHECK(cudaMemGetInfo(&free_bytes, &total));
    REQUIRE(dev == 0 && free_bytes > 0 && free_bytes <= total);
    test<float>("float", 1);
    test<float>("float", 100000);
    test<double>("double", 4097);
    test<int>("int", 33);
    test<unsigned char>("unsigned char", 5000);
    test<long long>("long long", 777);
    CHECK(cudaDeviceReset());
    test<float>("float again", 1000);
    return 0;
}
