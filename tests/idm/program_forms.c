/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "demo/kernels.h"
#include "program.h"

static void later_forms(void)
{
    CUcontext current = NULL, c = NULL;
    CUgreenCtx green = (CUgreenCtx)1;
    CUdevice dev = -1;
    CUevent a = NULL, b = NULL;
    float ms = -1;
    SHOW(cuCtxGetCurrent, &current);
    SHOW(cuCtxGetDevice_v2, &dev, NULL);
    SHOW(cuCtxGetDevice_v2, &dev, current);
    SHOW(cuCtxGetDevice_v2, NULL, current);
    SHOW(cuCtxGetDevice_v2, &dev, (CUcontext)&dev);
    printf("%d\n", dev);
    SHOW(cuCtxSynchronize_v2, NULL);
    SHOW(cuCtxSynchronize_v2, current);
    SHOW(cuCtxSynchronize_v2, (CUcontext)&dev);
    SHOW(cuStreamGetCtx_v2, NULL, &c, &green);
    printf("%d %d\n", c == current, green == NULL);
    SHOW(cuStreamGetCtx_v2, NULL, &c, NULL);
    SHOW(cuCtxCreate_v3, &c, NULL, 0, 0, 0);
    SHOW(cuCtxGetDevice_v2, &dev, current);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuCtxCreate_v3, &c, NULL, 1, 0, 0);
    CUctxCreateParams params = {.cig = &params};
    SHOW(cuCtxCreate_v4, &c, &params, 0, 0);
    SHOW(cuCtxCreate_v4, &c, NULL, 0, 0);
    SHOW(cuCtxDestroy_v2, c);
    SHOW(cuEventCreate, &a, 0);
    SHOW(cuEventCreate, &b, 0);
    SHOW(cuEventRecord_ptsz, a, NULL);
    SHOW(cuEventRecord_ptsz, b, NULL);
    SHOW(cuStreamSynchronize_ptsz, NULL);
    SHOW(cuEventElapsedTime_v2, &ms, a, b);
    printf("%d\n", ms >= 0);
    SHOW(cuEventDestroy_v2, a);
    SHOW(cuEventDestroy_v2, b);
}

static CUcontext shared_context;
static CUmodule module;

static void *thread(void *result)
{
    enum { N = 1000 };
    float x[N], y[N];
    float a = 3.0f;
    unsigned n = N, flags = 9;
    int priority = 7;
    CUdeviceptr dx = 0, dy = 0;
    CUfunction fn = NULL;
    CUresult rc = cu.cuCtxSetCurrent(shared_context);
    for (unsigned i = 0; i < N; i++) {
        x[i] = (float)i;
        y[i] = 1;
    }
    rc |= cu.cuMemAlloc_v2(&dx, sizeof(x)) | cu.cuMemAlloc_v2(&dy, sizeof(y));
    rc |= cu.cuModuleGetFunction(&fn, module, "saxpy");
    rc |= cu.cuMemcpyHtoD_v2_ptds(dx, x, sizeof(x));
    rc |= cu.cuMemcpyHtoDAsync_v2_ptsz(dy, y, sizeof(y), NULL);
    void *params[] = {&a, &dx, &dy, &n};
    rc |= cu.cuLaunchKernel_ptsz(fn, 8, 1, 1, 128, 1, 1, 0, NULL, params, NULL);
    rc |= cu.cuMemsetD32_v2_ptds(dx, 0, N);
    rc |= cu.cuStreamSynchronize_ptsz(NULL);
    rc |= cu.cuStreamQuery_ptsz(NULL);
    rc |= cu.cuStreamGetFlags_ptsz(NULL, &flags) | cu.cuStreamGetPriority_ptsz(NULL, &priority);
    rc |= cu.cuMemcpyDtoH_v2_ptds(y, dy, sizeof(y)) | cu.cuMemcpyDtoH_v2_ptds(x, dx, sizeof(x));
    unsigned wrong = flags != 0 || priority != 0;
    for (unsigned i = 0; i < N; i++)
        wrong += x[i] != 0.0f || y[i] != 1.0f + 3.0f * (float)i;
    rc |= cu.cuMemFree_v2(dx) | cu.cuMemFree_v2(dy);
    *(int *)result = (int)rc * 10000 + (int)wrong;
    return NULL;
}

static void own_streams(void)
{
    enum { THREADS = 4 };
    pthread_t t[THREADS];
    int result[THREADS];
    SHOW(cuCtxGetCurrent, &shared_context);
    SHOW(cuModuleLoadData, &module, PTX_ALL);
    SHOW(cuStreamDestroy_v2, CU_STREAM_PER_THREAD);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < THREADS; i++)
            pthread_create(&t[i], NULL, thread, &result[i]);
        for (unsigned i = 0; i < THREADS; i++) {
            pthread_join(t[i], NULL);
            printf("thread: %d\n", result[i]);
        }
    }
    SHOW(cuModuleUnload, module);
}

void forms(void)
{
    later_forms();
    own_streams();
}
