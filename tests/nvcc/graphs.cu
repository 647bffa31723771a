/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA graphs: captured as deep learning frameworks do, and made by hand. */
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "check.h"

constexpr int n = 1 << 14;

__global__ void scale(float *p, float by, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        p[i] *= by;
}

__global__ void add(const float *a, const float *b, float *c, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        c[i] = a[i] + b[i];
}

static double sum(const float *device)
{
    std::vector<float> host(n);
    CHECK(cudaMemcpy(host.data(), device, n * sizeof(float), cudaMemcpyDeviceToHost));
    double s = 0;
    for (float f : host)
        s += f;
    return s;
}

static void CUDART_CB count(void *data)
{
    ++*(int *)data;
}

static void captured(float *a, float *b, float *c)
{
    cudaStream_t s, side;
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamCaptureStatus status;
    size_t nodes = 0;
    int calls = 0;
    std::vector<float> in(n, 1.0f);
    CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    CHECK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    CHECK(cudaMemcpyAsync(a, in.data(), n * sizeof(float), cudaMemcpyHostToDevice, s));
    CHECK(cudaEventRecord(fork, s));
    CHECK(cudaStreamWaitEvent(side, fork, 0));
    scale<<<n / 256, 256, 0, s>>>(a, 3.0f, n);
    CHECK(cudaMemsetAsync(b, 0, n * sizeof(float), side));
    CHECK(cudaEventRecord(join, side));
    CHECK(cudaStreamWaitEvent(s, join, 0));
    add<<<n / 256, 256, 0, s>>>(a, b, c, n);
    CHECK(cudaLaunchHostFunc(s, count, &calls));
    CHECK(cudaStreamIsCapturing(s, &status));
    printf("capturing: %d\n", status == cudaStreamCaptureStatusActive);
    CHECK(cudaStreamEndCapture(s, &graph));
    CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
    printf("%zu nodes, %d calls\n", nodes, calls);
    CHECK(cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagAutoFreeOnLaunch));
    for (int i = 1; i <= 4; i++) {
        for (float &f : in)
            f = (float)i;
        CHECK(cudaGraphLaunch(exec, s));
        CHECK(cudaStreamSynchronize(s));
        printf("sum %g\n", sum(c));
    }
    printf("%d calls\n", calls);
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    /* Not while it is captured. */
    CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    printf("%s\n", cudaGetErrorName(cudaStreamSynchronize(s)));
    printf("%s\n", cudaGetErrorName(cudaStreamEndCapture(s, &graph)));
    (void)cudaGetLastError();
    CHECK(cudaEventDestroy(fork));
    CHECK(cudaEventDestroy(join));
    CHECK(cudaStreamDestroy(s));
    CHECK(cudaStreamDestroy(side));
}

static void by_hand(float *a, float *b, float *c)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t set_a, set_b, sum_node, scale_node;
    float by = 2.0f;
    int count = n;
    void *add_params[] = {&a, &b, &c, &count};
    void *scale_params[] = {&c, &by, &count};
    cudaMemsetParams set = {};
    set.dst = a;
    set.value = 0x3f800000;
    set.elementSize = 4;
    set.width = n;
    set.height = 1;
    cudaKernelNodeParams kernel = {};
    kernel.func = (void *)add;
    kernel.gridDim = dim3(n / 256);
    kernel.blockDim = dim3(256);
    kernel.kernelParams = add_params;
    CHECK(cudaGraphCreate(&graph, 0));
    CHECK(cudaGraphAddMemsetNode(&set_a, graph, nullptr, 0, &set));
    set.dst = b;
    CHECK(cudaGraphAddMemsetNode(&set_b, graph, nullptr, 0, &set));
    cudaGraphNode_t both[] = {set_a, set_b};
    CHECK(cudaGraphAddKernelNode(&sum_node, graph, both, 2, &kernel));
    kernel.func = (void *)scale;
    kernel.kernelParams = scale_params;
    CHECK(cudaGraphAddKernelNode(&scale_node, graph, &sum_node, 1, &kernel));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphLaunch(exec, cudaStreamPerThread));
    CHECK(cudaStreamSynchronize(cudaStreamPerThread));
    printf("by hand: %g\n", sum(c));
    by = 10.0f;
    CHECK(cudaGraphExecKernelNodeSetParams(exec, scale_node, &kernel));
    CHECK(cudaGraphLaunch(exec, 0));
    CHECK(cudaDeviceSynchronize());
    printf("changed: %g\n", sum(c));
    by = 100.0f;
    CHECK(cudaGraphKernelNodeSetParams(scale_node, &kernel));
    cudaGraphExecUpdateResultInfo info;
    CHECK(cudaGraphExecUpdate(exec, graph, &info));
    CHECK(cudaGraphLaunch(exec, 0));
    CHECK(cudaDeviceSynchronize());
    printf("updated: %g\n", sum(c));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
}

int main()
{
    float *a, *b, *c;
    CHECK(cudaMalloc(&a, n * sizeof(float)));
    CHECK(cudaMalloc(&b, n * sizeof(float)));
    CHECK(cudaMalloc(&c, n * sizeof(float)));
    captured(a, b, c);
    by_hand(a, b, c);
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
    CHECK(cudaFree(c));
    return 0;
}
