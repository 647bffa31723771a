/* SPDX-License-Identifier: Apache-2.0 */
/* Variables that host and device both have. */

#include "check.h"

__device__ __managed__ int counter = 5;
__device__ __managed__ double table[300];
__managed__ struct {
    int *where;
    char text[20];
} note;

__global__ void work(int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        table[i] += i * 0.5;
    if (i == 0) {
        counter += n;
        note.where = &counter;
        note.text[1] = 'u';
    }
}

__global__ void through(int *p)
{
    *p *= 2;
}

int main()
{
    cudaStream_t s;
    int wrong = 0, value = 0;
    printf("%d\n", counter);
    snprintf(note.text, sizeof(note.text), "hand");
    for (int i = 0; i < 300; i++)
        table[i] = i;
    work<<<2, 256>>>(300);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < 300; i++)
        wrong += table[i] != i * 1.5;
    printf("%d wrong, %d, %s, %d\n", wrong, counter, note.text, note.where == &counter);
    /* The host's word after the device's, on another stream, by address. */
    counter = 100;
    CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    through<<<1, 1, 0, s>>>(&counter);
    CHECK(cudaStreamSynchronize(s));
    printf("%d\n", counter);
    counter++;
    CHECK(cudaMemcpy(&value, &counter, sizeof(value), cudaMemcpyDefault));
    printf("%d\n", value);
    CHECK(cudaMemset(&counter, 0, sizeof(counter)));
    CHECK(cudaDeviceSynchronize());
    printf("%d\n", counter);
    for (int i = 0; i < 1000; i++) {
        counter += 1;
        through<<<1, 1>>>(&counter);
        CHECK(cudaDeviceSynchronize());
        counter /= 2;
    }
    printf("%d\n", counter);
    CHECK(cudaStreamDestroy(s));
    return 0;
}
