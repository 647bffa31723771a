/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events and asynchronous copies of pinned memory. */
#include "check.h"

__global__ void scale(float *x, int n, float by)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        x[i] *= by;
}

__global__ void sum(const float *a, const float *b, float *c, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

/* STREAMS chunks, each copied, computed and copied back in a stream of its own. */
static void pipeline()
{
    enum { STREAMS = 4, CHUNK = 20000 };
    float *host, *dev;
    cudaStream_t s[STREAMS];
    CHECK(cudaMallocHost(&host, STREAMS * CHUNK * sizeof(float)));
    CHECK(cudaMalloc(&dev, STREAMS * CHUNK * sizeof(float)));
    for (int i = 0; i < STREAMS * CHUNK; i++)
        host[i] = (float)(i % 100);
    for (int k = 0; k < STREAMS; k++) {
        float *h = host + k * CHUNK, *d = dev + k * CHUNK;
        CHECK(cudaStreamCreate(&s[k]));
        CHECK(cudaMemcpyAsync(d, h, CHUNK * sizeof(float), cudaMemcpyHostToDevice, s[k]));
        scale<<<8, 128, 0, s[k]>>>(d, CHUNK, (float)(k + 2));
        CHECK(cudaMemcpyAsync(h, d, CHUNK * sizeof(float), cudaMemcpyDeviceToHost, s[k]));
    }
    int wrong = 0;
    for (int k = 0; k < STREAMS; k++) {
        CHECK(cudaStreamSynchronize(s[k]));
        CHECK(cudaStreamQuery(s[k]));
        for (int i = k * CHUNK; i < (k + 1) * CHUNK; i++)
            wrong += host[i] != (float)(i % 100) * (float)(k + 2);
        CHECK(cudaStreamDestroy(s[k]));
    }
    printf("pipeline: %d wrong\n", wrong);
    CHECK(cudaFreeHost(host));
    CHECK(cudaFree(dev));
}

/* One stream's work waits for two others'. */
static void events()
{
    const int n = 50000;
    float *a, *b, *c, *host = (float *)malloc(n * sizeof(float));
    cudaStream_t one, two, three;
    cudaEvent_t begin, a_done, b_done, end;
    int low = 0, high = 0, priority = -99;
    unsigned flags = 99;
    float ms = -1;
    CHECK(cudaMalloc(&a, n * sizeof(float)));
    CHECK(cudaMalloc(&b, n * sizeof(float)));
    CHECK(cudaMalloc(&c, n * sizeof(float)));
    CHECK(cudaDeviceGetStreamPriorityRange(&low, &high));
    CHECK(cudaStreamCreateWithPriority(&one, cudaStreamNonBlocking, high));
    CHECK(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
    CHECK(cudaStreamCreate(&three));
    CHECK(cudaStreamGetPriority(one, &priority));
    CHECK(cudaStreamGetFlags(one, &flags));
    REQUIRE(priority == high && flags == cudaStreamNonBlocking);
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    CHECK(cudaEventCreateWithFlags(&a_done, cudaEventDisableTiming));
    CHECK(cudaEventCreateWithFlags(&b_done, cudaEventDisableTiming | cudaEventBlockingSync));
    for (int i = 0; i < n; i++)
        host[i] = (float)i;
    CHECK(cudaEventRecord(begin, three));
    CHECK(cudaMemcpyAsync(a, host, n * sizeof(float), cudaMemcpyHostToDevice, one));
    scale<<<16, 256, 0, one>>>(a, n, 2.0f);
    CHECK(cudaEventRecord(a_done, one));
    CHECK(cudaMemsetAsync(b, 0, n * sizeof(float), two));
    CHECK(cudaMemcpyAsync(b, host, n / 2 * sizeof(float), cudaMemcpyHostToDevice, two));
    CHECK(cudaEventRecord(b_done, two));
    CHECK(cudaStreamWaitEvent(three, a_done, 0));
    CHECK(cudaStreamWaitEvent(three, b_done, 0));
    sum<<<(n + 255) / 256, 256, 0, three>>>(a, b, c, n);
    CHECK(cudaEventRecord(end, three));
    CHECK(cudaEventSynchronize(end));
    CHECK(cudaEventQuery(end));
    CHECK(cudaEventElapsedTime(&ms, begin, end));
    REQUIRE(ms >= 0 && ms < 60000);
    SHOW(cudaEventElapsedTime(&ms, begin, a_done));
    CHECK(cudaMemcpy(host, c, n * sizeof(float), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += host[i] != (float)i * 2 + (i < n / 2 ? (float)i : 0.0f);
    printf("events: %d wrong\n", wrong);
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    CHECK(cudaEventDestroy(a_done));
    CHECK(cudaEventDestroy(b_done));
    CHECK(cudaStreamDestroy(one));
    CHECK(cudaStreamDestroy(two));
    CHECK(cudaStreamDestroy(three));
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
    CHECK(cudaFree(c));
    free(host);
}

/* Memory of the host that a kernel uses in place. */
static void mapped()
{
    const int n = 1000;
    float *host, *dev;
    unsigned flags = 0;
    cudaPointerAttributes at;
    CHECK(cudaHostAlloc(&host, n * sizeof(float), cudaHostAllocMapped));
    CHECK(cudaHostGetDevicePointer(&dev, host, 0));
    CHECK(cudaHostGetFlags(&flags, host));
    REQUIRE(flags & cudaHostAllocMapped);
    CHECK(cudaPointerGetAttributes(&at, host));
    REQUIRE(at.type == cudaMemoryTypeHost && at.hostPointer == host && at.devicePointer == dev);
    for (int i = 0; i < n; i++)
        host[i] = (float)i;
    scale<<<4, 64>>>(dev, n, 3.0f);
    CHECK(cudaDeviceSynchronize());
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += host[i] != 3.0f * (float)i;
    printf("mapped: %d wrong\n", wrong);
    CHECK(cudaFreeHost(host));
    int local = 0;
    CHECK(cudaPointerGetAttributes(&at, &local));
    REQUIRE(at.type == cudaMemoryTypeUnregistered);
    CHECK(cudaMalloc(&dev, 64));
    CHECK(cudaPointerGetAttributes(&at, dev));
    REQUIRE(at.type == cudaMemoryTypeDevice && at.device == 0 && at.devicePointer == dev);
    CHECK(cudaFree(dev));
}

/* Memory that lives in a stream's order. */
static void in_order()
{
    const int n = 3000;
    float *x, *y;
    cudaStream_t s;
    static float host[n];
    CHECK(cudaStreamCreate(&s));
    for (int i = 0; i < n; i++)
        host[i] = (float)i;
    CHECK(cudaMallocAsync(&x, sizeof(host), s));
    CHECK(cudaMemcpyAsync(x, host, sizeof(host), cudaMemcpyHostToDevice, s));
    scale<<<8, 128, 0, s>>>(x, n, 4.0f);
    CHECK(cudaMallocAsync(&y, sizeof(host), s));
    sum<<<(n + 127) / 128, 128, 0, s>>>(x, x, y, n);
    CHECK(cudaFreeAsync(x, s));
    CHECK(cudaMemcpyAsync(host, y, sizeof(host), cudaMemcpyDeviceToHost, s));
    CHECK(cudaFreeAsync(y, s));
    CHECK(cudaStreamSynchronize(s));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += host[i] != 8.0f * (float)i;
    printf("in order: %d wrong\n", wrong);
    CHECK(cudaStreamDestroy(s));
}

int main()
{
    pipeline();
    events();
    mapped();
    in_order();
    return 0;
}
