/* SPDX-License-Identifier: Apache-2.0 */
/* Rectangles and boxes of memory; launches with attributes. */
#include <vector>

#include "check.h"

__global__ void mark(char *base, size_t pitch, int width, int height)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height)
        *(int *)(base + y * pitch + x * sizeof(int)) += y * 1000 + x;
}

static void planes()
{
    const int w = 77, h = 33;
    std::vector<int> host(w * h, 5), back(w * h);
    char *dev;
    size_t pitch = 0;
    CHECK(cudaMallocPitch(&dev, &pitch, w * sizeof(int), h));
    REQUIRE(pitch >= w * sizeof(int) && pitch % 32 == 0);
    CHECK(cudaMemset2D(dev, pitch, 0x11, w * sizeof(int), h));
    CHECK(cudaMemcpy2D(back.data(), w * sizeof(int), dev, pitch, w * sizeof(int), h,
                       cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int v : back)
        wrong += v != 0x11111111;
    CHECK(cudaMemcpy2D(dev, pitch, host.data(), w * sizeof(int), w * sizeof(int), h,
                       cudaMemcpyHostToDevice));
    mark<<<dim3((w + 15) / 16, (h + 15) / 16), dim3(16, 16)>>>(dev, pitch, w, h);
    cudaStream_t s;
    CHECK(cudaStreamCreate(&s));
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy2DAsync(back.data(), w * sizeof(int), dev, pitch, w * sizeof(int), h,
                            cudaMemcpyDeviceToHost, s));
    CHECK(cudaStreamSynchronize(s));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            wrong += back[y * w + x] != 5 + y * 1000 + x;
    printf("planes: %d wrong\n", wrong);
    SHOW(cudaMemcpy2D(dev, 8, host.data(), w * sizeof(int), w * sizeof(int), h,
                      cudaMemcpyHostToDevice));
    cudaGetLastError();
    CHECK(cudaStreamDestroy(s));
    CHECK(cudaFree(dev));
}

static void boxes()
{
    const int w = 20, h = 10, d = 6;
    std::vector<int> host(w * h * d), back(w * h * d);
    cudaPitchedPtr box;
    cudaExtent size = make_cudaExtent(w * sizeof(int), h, d);
    cudaMemcpy3DParms p = {};
    for (size_t i = 0; i < host.size(); i++)
        host[i] = (int)i;
    CHECK(cudaMalloc3D(&box, size));
    p.srcPtr = make_cudaPitchedPtr(host.data(), w * sizeof(int), w, h);
    p.dstPtr = box;
    p.extent = size;
    p.kind = cudaMemcpyHostToDevice;
    CHECK(cudaMemcpy3D(&p));
    p = {};
    p.srcPtr = box;
    p.dstPtr = make_cudaPitchedPtr(back.data(), w * sizeof(int), w, h);
    p.extent = size;
    p.kind = cudaMemcpyDeviceToHost;
    CHECK(cudaMemcpy3D(&p));
    printf("boxes: %s\n", host == back ? "equal" : "different");
    CHECK(cudaFree(box.ptr));
}

static void attributes()
{
    int *x, host[64], n = 64, one = 1;
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute at[2] = {};
    at[0].id = cudaLaunchAttributePriority;
    at[0].val.priority = 0;
    at[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    at[1].val.programmaticStreamSerializationAllowed = 1;
    CHECK(cudaMalloc(&x, sizeof(host)));
    CHECK(cudaMemset(x, 0, sizeof(host)));
    config.gridDim = dim3(1);
    config.blockDim = dim3(64);
    config.attrs = at;
    config.numAttrs = 2;
    CHECK(cudaLaunchKernelEx(&config, mark, (char *)x, (size_t)256, n, one));
    CHECK(cudaMemcpy(host, x, sizeof(host), cudaMemcpyDeviceToHost));
    printf("launched: %d %d\n", host[1], host[63]);
    CHECK(cudaFree(x));
}

static void questions()
{
    size_t stack = 0;
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    cudaFuncCache cache;
    CHECK(cudaDeviceGetLimit(&stack, cudaLimitStackSize));
    REQUIRE(stack > 0);
    CHECK(cudaDeviceSetLimit(cudaLimitStackSize, 4096));
    CHECK(cudaDeviceGetLimit(&stack, cudaLimitStackSize));
    REQUIRE(stack >= 4096);
    SHOW(cudaDeviceGetLimit(&stack, (cudaLimit)77));
    cudaGetLastError();
    CHECK(cudaStreamIsCapturing(0, &status));
    REQUIRE(status == cudaStreamCaptureStatusNone);
    CHECK(cudaDeviceSetCacheConfig(cudaFuncCachePreferL1));
    CHECK(cudaDeviceGetCacheConfig(&cache));
    CHECK(cudaFuncSetCacheConfig(mark, cudaFuncCachePreferShared));
    printf("questions answered\n");
}

int main()
{
    planes();
    boxes();
    attributes();
    questions();
    return 0;
}
