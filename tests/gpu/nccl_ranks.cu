/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lnccl */
/* NCCL as torchrun uses it: a process a GPU. */
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "nccl_check.h"

/* As many as the simulated driver shows devices: one process can't ask before it forks. */
static const int ranks = 2, n = 5000;

static int rank_main(int rank, int from, int to)
{
    ncclUniqueId id;
    int devices;
    ncclComm_t comm;
    float *in, *out;
    cudaStream_t stream;
    std::vector<float> host(n);
    CHECK(cudaGetDeviceCount(&devices));
    if (devices < ranks)
        return 77;
    CHECK(cudaSetDevice(rank));
    if (rank == 0) {
        NCCL(ncclGetUniqueId(&id));
        if (write(to, &id, sizeof(id)) != sizeof(id))
            return 1;
    } else if (read(from, &id, sizeof(id)) != sizeof(id)) {
        return 1;
    }
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMalloc(&in, n * sizeof(float)));
    CHECK(cudaMalloc(&out, n * sizeof(float)));
    for (int i = 0; i < n; i++)
        host[i] = (float)(i % 17 + rank);
    CHECK(cudaMemcpy(in, host.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    NCCL(ncclCommInitRank(&comm, ranks, id, rank));
    NCCL(ncclAllReduce(in, out, n, ncclFloat, ncclSum, comm, stream));
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaMemcpy(host.data(), out, n * sizeof(float), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += host[i] != (float)(ranks * (i % 17) + ranks * (ranks - 1) / 2);
    NCCL(ncclCommDestroy(comm));
    return wrong ? 2 : 0;
}

int main()
{
    int pipe_of[2], wrong = 0, skipped = 0;
    pid_t pids[ranks];
    if (pipe(pipe_of) < 0)
        return 1;
    for (int rank = 0; rank < ranks; rank++) {
        pids[rank] = fork();
        if (pids[rank] == 0) {
            close(pipe_of[rank == 0 ? 0 : 1]); /* a rank that ends is seen by the other */
            exit(rank_main(rank, pipe_of[0], pipe_of[1]));
        }
    }
    close(pipe_of[0]);
    close(pipe_of[1]);
    for (int left = ranks; left > 0; left--) {
        int status;
        pid_t pid = wait(&status);
        skipped += WIFEXITED(status) && WEXITSTATUS(status) == 77;
        wrong += status != 0;
        for (int rank = 0; rank < ranks; rank++) {
            if (pids[rank] == pid)
                pids[rank] = 0;
            else if (status != 0 && pids[rank] > 0) /* it would wait for the one that failed */
                kill(pids[rank], SIGKILL);
        }
    }
    if (skipped) {
        printf("needs %d GPUs\n", ranks);
        return 77;
    }
    printf("sums of %d processes: %d wrong\n", ranks, wrong);
    return wrong != 0;
}
