/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the program's own that it registers. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo/kernels.h"
#include "program.h"

#define N 50000u

static float in_bss[N];
static CUfunction saxpy;

/* y = 2 * x + y by the device, on memory that is the host's. */
static void compute(const float *x, float *y)
{
    CUdeviceptr dx = 0, dy = 0;
    float two = 2;
    unsigned n = N, wrong = 0;
    for (unsigned i = 0; i < N; i++)
        y[i] = (float)i;
    SHOW(cuMemHostGetDevicePointer_v2, &dx, (void *)x, 0);
    SHOW(cuMemHostGetDevicePointer_v2, &dy, y, 0);
    void *args[] = {&two, &dx, &dy, &n};
    SHOW(cuLaunchKernel, saxpy, (N + 255) / 256, 1, 1, 256, 1, 1, 0, NULL, args, NULL);
    SHOW(cuCtxSynchronize);
    for (unsigned i = 0; i < N; i++)
        wrong += y[i] != 2 * x[i] + (float)i;
    printf("%u wrong\n", wrong);
}

static void copies(float *p)
{
    CUdeviceptr d = 0;
    CUstream stream = NULL;
    SHOW(cuMemAlloc_v2, &d, N * sizeof(*p));
    SHOW(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    p[N - 1] = 17;
    SHOW(cuMemcpyHtoDAsync_v2, d, p, N * sizeof(*p), stream);
    SHOW(cuStreamSynchronize, stream);
    show_device(d, N * sizeof(*p));
    memset(p, 0, N * sizeof(*p));
    SHOW(cuMemcpyDtoHAsync_v2, p, d, N * sizeof(*p), stream);
    SHOW(cuStreamSynchronize, stream);
    printf("%g %g\n", (double)p[1], (double)p[N - 1]);
    SHOW(cuMemcpy, (CUdeviceptr)(uintptr_t)(p + 1), d, 4);
    printf("%g\n", (double)p[1]);
    SHOW(cuStreamDestroy_v2, stream);
    SHOW(cuMemFree_v2, d);
}

static void what_is_known(char *p, size_t bytes)
{
    unsigned type = 0, managed = 9, flags = 0;
    void *host = NULL;
    CUdeviceptr d = 0, base = 0;
    size_t size = 0;
    SHOW(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)p + 5);
    SHOW(cuPointerGetAttribute, &managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, (uintptr_t)p + 5);
    SHOW(cuPointerGetAttribute, &host, CU_POINTER_ATTRIBUTE_HOST_POINTER, (uintptr_t)p + 5);
    SHOW(cuPointerGetAttribute, &size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, (uintptr_t)p + 5);
    printf("%u %u %d %d\n", type, managed, host == p + 5, size == bytes);
    SHOW(cuMemHostGetFlags, &flags, p);
    SHOW(cuMemHostGetFlags, &flags, p + bytes);
    printf("%u\n", flags);
    SHOW(cuMemHostGetDevicePointer_v2, &d, p + 8, 0);
    SHOW(cuMemGetAddressRange_v2, &base, &size, d);
    printf("%d %d\n", base == d - 8, size == bytes);
    SHOW(cuPointerGetAttribute, &host, CU_POINTER_ATTRIBUTE_HOST_POINTER, d);
    printf("%d\n", host == p + 8);
    SHOW(cuMemHostGetDevicePointer_v2, &d, p, 1);
    SHOW(cuMemFreeHost, p);
    SHOW(cuMemFree_v2, d - 8);
    SHOW(cuMemHostRegister_v2, p, bytes, 0);
    SHOW(cuMemHostRegister_v2, p + bytes / 2, bytes, 0);
    SHOW(cuMemHostUnregister, p + 4096);
}

static void life(float *x, float *y)
{
    char *around = (char *)x;
    around[-1] = 42;
    SHOW(cuMemHostRegister_v2, x, N * sizeof(*x), 0x80);
    SHOW(cuMemHostRegister_v2, x, N * sizeof(*x), CU_MEMHOSTREGISTER_PORTABLE);
    SHOW(cuMemHostRegister_v2, y, N * sizeof(*y), CU_MEMHOSTREGISTER_DEVICEMAP);
    what_is_known((char *)x, N * sizeof(*x));
    compute(x, y);
    copies(y);
    pid_t child = fork();
    if (child == 0) {
        bool as_it_was = x[3] == 3 && around[-1] == 42;
        memset(x, 0xff, N * sizeof(*x));
        around[-1] = 1;
        _exit(as_it_was ? 7 : 8);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child %d, %g %d\n", WEXITSTATUS(status), (double)x[3], around[-1]);
    SHOW(cuMemHostUnregister, x);
    SHOW(cuMemHostUnregister, x);
    SHOW(cuMemHostUnregister, y);
    printf("%g %g %d\n", (double)x[3], (double)y[N - 1], around[-1]);
    SHOW(cuMemHostRegister_v2, x, N * sizeof(*x), 0);
    SHOW(cuMemHostRegister_v2, y, N * sizeof(*y), 0);
    compute(x, y);
    SHOW(cuMemHostUnregister, y);
    SHOW(cuMemHostUnregister, x);
}

/* Two that share a page. */
static void neighbours(void)
{
    CUdeviceptr d = 0;
    char *p = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(cuMemHostRegister_v2, p + 100, 10000, 0);
    SHOW(cuMemHostRegister_v2, p + 10100, 100, 0);
    SHOW(cuMemHostGetDevicePointer_v2, &d, p + 200, 0);
    SHOW(cuMemHostGetDevicePointer_v2, &d, p + 10150, 0);
    SHOW(cuMemHostUnregister, p + 100);
    SHOW(cuMemsetD8_v2, d, 3, 50);
    SHOW(cuCtxSynchronize);
    printf("%d %d\n", p[10149], p[10150]);
    SHOW(cuMemHostUnregister, p + 10100);
    printf("%d %d\n", p[10149], p[10150]);
    munmap(p, 12288);
    SHOW(cuMemHostRegister_v2, p, 8192, 0);
    SHOW(cuMemHostRegister_v2, NULL, 8192, 0);
    SHOW(cuMemHostUnregister, NULL);
}

static bool has_userfaultfd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void *sleeper(void *barrier)
{
    pthread_barrier_wait(barrier);
    return NULL;
}

void registered(CUmodule module)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    float *one = malloc((N + 1024) * sizeof(*one)), *two = malloc((N + 1024) * sizeof(*two));
    if (!one || !two)
        abort();
    /* No page's beginning or end. */
    float *x = one + 256, *y = two + 512;
    SHOW(cuModuleGetFunction, &saxpy, module, "saxpy");
    for (unsigned i = 0; i < N; i++)
        x[i] = (float)i;
    life(x, y);
    neighbours();
    if (!has_userfaultfd()) {
        puts("needs userfaultfd(2) for what is beside another thread");
        free(one);
        free(two);
        return;
    }
    puts("and with another thread");
    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&thread, NULL, sleeper, &barrier) != 0)
        abort();
    for (unsigned i = 0; i < N; i++)
        x[i] = (float)i;
    life(x, in_bss + 0);
    neighbours();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    free(one);
    free(two);
}
