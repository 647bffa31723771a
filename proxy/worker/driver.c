/* SPDX-License-Identifier: Apache-2.0 */
/* The libcuda in use: real or simulated, loaded by name. */
#include <dlfcn.h>

#include "internal.h"

/* Without these nothing works; any other one that an older driver lacks makes
 * the calls that need it NOT_SUPPORTED. */
static bool has_what_is_needed(const struct worker_driver *cu, const char **ret_missing)
{
#define NEED(symbol)                                                                               \
    if (!cu->symbol) {                                                                             \
        *ret_missing = #symbol;                                                                    \
        return false;                                                                              \
    }
    NEED(cuInit)
    NEED(cuDriverGetVersion)
    NEED(cuDeviceGetCount)
    NEED(cuDeviceGet)
    NEED(cuDeviceGetName)
    NEED(cuDeviceTotalMem_v2)
    NEED(cuDeviceGetAttribute)
    NEED(cuCtxCreate_v2)
    NEED(cuCtxDestroy_v2)
    NEED(cuCtxSetCurrent)
    NEED(cuCtxPopCurrent_v2)
    NEED(cuDevicePrimaryCtxRetain)
    NEED(cuDevicePrimaryCtxRelease_v2)
    NEED(cuDevicePrimaryCtxReset_v2)
    NEED(cuMemAlloc_v2)
    NEED(cuMemFree_v2)
    NEED(cuMemGetInfo_v2)
    NEED(cuMemHostRegister_v2)
    NEED(cuMemHostUnregister)
    NEED(cuMemHostGetDevicePointer_v2)
    NEED(cuMemcpyHtoDAsync_v2)
    NEED(cuMemcpyDtoHAsync_v2)
    NEED(cuMemsetD8Async)
    NEED(cuModuleLoadData)
    NEED(cuModuleLoadDataEx)
    NEED(cuModuleUnload)
    NEED(cuModuleGetFunction)
    NEED(cuModuleGetGlobal_v2)
    NEED(cuFuncGetAttribute)
    NEED(cuLaunchKernel)
    NEED(cuStreamCreate)
    NEED(cuStreamQuery)
    NEED(cuEventCreate)
    NEED(cuEventDestroy_v2)
    NEED(cuEventQuery)
    NEED(cuEventRecord)
#undef NEED
    return true;
}

static void *symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

int worker_load_driver(struct worker *w, struct gi_error *err)
{
    /* Now: nothing is resolved after the process is sealed. Local: its names
     * are not to meet those of a libvgpu in the same process (tests). */
    void *library = dlopen(w->config->driver, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return gi_fail(err, GI_UNAVAILABLE, "driver %s: %s", w->config->driver, dlerror());
#define LOAD(name)                                                                                 \
    {                                                                                              \
        void *p = symbol(library, #name);                                                          \
        memcpy(&w->cu.name, &p, sizeof(p));                                                        \
    }
    WORKER_DRIVER(LOAD)
#undef LOAD
    const char *missing = NULL;
    if (!has_what_is_needed(&w->cu, &missing))
        return gi_fail(err, GI_UNAVAILABLE, "driver %s: it has no %s", w->config->driver, missing);
    CUresult rc = w->cu.cuInit(0);
    if (rc != CUDA_SUCCESS)
        return gi_fail(err, GI_UNAVAILABLE, "driver %s: cuInit returned %d", w->config->driver,
                       (int)rc);
    return 0;
}
