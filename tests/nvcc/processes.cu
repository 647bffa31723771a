/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that work on one piece of memory, as torch.multiprocessing's do: handles go through
 * pipes, events say when it is whose turn. */
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "check.h"

static const int workers = 3, n = 30000;

struct job {
    cudaIpcMemHandle_t memory;
    cudaIpcEventHandle_t ready;
};

static __global__ void add(int *data, int count, int what)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        data[i] += what;
}

/* Waits for the parent's stream, adds NUMBER to its part, and says when that is done. */
static void work(int number, int from, int to)
{
    job j;
    int *data;
    cudaEvent_t ready, done;
    cudaStream_t stream;
    cudaIpcEventHandle_t handle;
    REQUIRE(read(from, &j, sizeof(j)) == (ssize_t)sizeof(j));
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaIpcOpenMemHandle((void **)&data, j.memory, cudaIpcMemLazyEnablePeerAccess));
    CHECK(cudaIpcOpenEventHandle(&ready, j.ready));
    CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming | cudaEventInterprocess));
    CHECK(cudaStreamWaitEvent(stream, ready, 0));
    add<<<(n + 127) / 128, 128, 0, stream>>>(data + number * n, n, number + 1);
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(done, stream));
    CHECK(cudaIpcGetEventHandle(&handle, done));
    REQUIRE(write(to, &handle, sizeof(handle)) == (ssize_t)sizeof(handle));
    /* The event lives as long as this process: until the parent has waited for it. */
    char over;
    REQUIRE(read(from, &over, 1) == 1);
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaIpcCloseMemHandle(data));
    CHECK(cudaEventDestroy(ready));
    CHECK(cudaEventDestroy(done));
}

int main()
{
    int down[workers][2], up[workers][2], wrong = 0;
    for (int i = 0; i < workers; i++) {
        REQUIRE(pipe(down[i]) == 0 && pipe(up[i]) == 0);
        if (fork() == 0) {
            work(i, down[i][0], up[i][1]);
            _exit(0);
        }
        close(up[i][1]); /* a worker that dies is seen */
    }
    job j;
    int *data;
    cudaEvent_t ready;
    cudaStream_t stream;
    std::vector<int> host(workers * n);
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMalloc(&data, workers * n * sizeof(int)));
    CHECK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming | cudaEventInterprocess));
    CHECK(cudaMemsetAsync(data, 0, workers * n * sizeof(int), stream));
    add<<<(workers * n + 127) / 128, 128, 0, stream>>>(data, workers * n, 100);
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(ready, stream));
    CHECK(cudaIpcGetMemHandle(&j.memory, data));
    CHECK(cudaIpcGetEventHandle(&j.ready, ready));
    for (int i = 0; i < workers; i++)
        REQUIRE(write(down[i][1], &j, sizeof(j)) == (ssize_t)sizeof(j));
    for (int i = 0; i < workers; i++) {
        cudaIpcEventHandle_t handle;
        cudaEvent_t done;
        REQUIRE(read(up[i][0], &handle, sizeof(handle)) == (ssize_t)sizeof(handle));
        CHECK(cudaIpcOpenEventHandle(&done, handle));
        CHECK(cudaStreamWaitEvent(stream, done, 0));
        CHECK(cudaEventDestroy(done));
    }
    add<<<(workers * n + 127) / 128, 128, 0, stream>>>(data, workers * n, 1000);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpyAsync(host.data(), data, host.size() * sizeof(int), cudaMemcpyDeviceToHost,
                          stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < workers; i++) {
        int status = 1;
        REQUIRE(write(down[i][1], "", 1) == 1);
        REQUIRE(wait(&status) > 0);
        wrong += status != 0;
    }
    for (int i = 0; i < workers * n; i++)
        wrong += host[i] != 1100 + i / n + 1;
    printf("%d processes: %d wrong\n", workers + 1, wrong);
    CHECK(cudaFree(data));
    CHECK(cudaEventDestroy(ready));
    return wrong != 0;
}
