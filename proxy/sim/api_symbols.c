/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress: names, and since when they are there in which form. */
#include <string.h>

#include "driver.h"

#define MODES (CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)

/* NAME as programs ask for it, the form of it, the first version that has that form. */
static const struct {
    const char *name;
    int since;
    void (*fn)(void);
} symbols[] = {
#define X(name, form, since) {name, since, (void (*)(void))(form)},
    X("cuCtxCreate", cuCtxCreate_v2, 3020) X("cuCtxDestroy", cuCtxDestroy_v2, 4000) X(
        "cuCtxGetApiVersion", cuCtxGetApiVersion,
        3020) X("cuCtxGetCurrent", cuCtxGetCurrent,
                4000) X("cuCtxGetDevice", cuCtxGetDevice,
                        2000) X("cuCtxGetFlags", cuCtxGetFlags,
                                7000) X("cuCtxGetStreamPriorityRange", cuCtxGetStreamPriorityRange,
                                        5050) X("cuCtxPopCurrent", cuCtxPopCurrent_v2,
                                                4000) X("cuCtxPushCurrent", cuCtxPushCurrent_v2,
                                                        4000)
        X("cuCtxSetCurrent", cuCtxSetCurrent, 4000) X("cuCtxSynchronize", cuCtxSynchronize, 2000) X(
            "cuDeviceComputeCapability", cuDeviceComputeCapability,
            2000) X("cuDeviceGet", cuDeviceGet, 2000)
            X("cuDeviceGetAttribute", cuDeviceGetAttribute, 2000) X(
                "cuDeviceGetByPCIBusId",
                cuDeviceGetByPCIBusId, 4010) X("cuDeviceGetCount", cuDeviceGetCount,
                                               2000) X("cuDeviceGetName", cuDeviceGetName, 2000)
                X("cuDeviceGetPCIBusId", cuDeviceGetPCIBusId, 4010) X("cuDeviceGetUuid", cuDeviceGetUuid, 9020) X(
                    "cuDeviceGetUuid", cuDeviceGetUuid_v2,
                    11040) X("cuDevicePrimaryCtxGetState", cuDevicePrimaryCtxGetState,
                             7000) X("cuDevicePrimaryCtxRelease", cuDevicePrimaryCtxRelease_v2,
                                     11000) X("cuDevicePrimaryCtxReset", cuDevicePrimaryCtxReset_v2, 11000)
                    X("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain, 7000) X(
                        "cuDevicePrimaryCtxSetFlags",
                        cuDevicePrimaryCtxSetFlags_v2,
                        11000) X("cuDeviceTotalMem", cuDeviceTotalMem_v2,
                                 3020) X("cuDriverGetVersion", cuDriverGetVersion,
                                         2020) X("cuEventCreate", cuEventCreate, 2000)
                        X("cuEventDestroy",
                          cuEventDestroy_v2, 4000) X("cuEventElapsedTime", cuEventElapsedTime,
                                                     2000) X("cuEventQuery", cuEventQuery, 2000)
                            X("cuEventRecord",
                              cuEventRecord, 2000) X("cuEventSynchronize", cuEventSynchronize,
                                                     2000) X("cuFuncGetAttribute",
                                                             cuFuncGetAttribute, 2020)
                                X("cuFuncGetModule", cuFuncGetModule, 11000) X(
                                    "cuFuncGetParamInfo",
                                    cuFuncGetParamInfo,
                                    12040) X("cuFuncSetAttribute", cuFuncSetAttribute,
                                             9000) X("cuGetErrorName", cuGetErrorName,
                                                     6000) X("cuGetErrorString", cuGetErrorString,
                                                             6000) X("cuGetProcAddress",
                                                                     cuGetProcAddress_v2, 12000)
                                    X("cuInit", cuInit, 2000) X("cuLaunchKernel", cuLaunchKernel, 4000) X(
                                        "cuMemAlloc",
                                        cuMemAlloc_v2,
                                        3020) X("cuMemAllocHost", cuMemAllocHost_v2, 3020)
                                        X("cuMemFree", cuMemFree_v2, 3020) X("cuMemFreeHost", cuMemFreeHost, 2000) X(
                                            "cuMemGetAddressRange",
                                            cuMemGetAddressRange_v2,
                                            3020) X("cuMemGetInfo", cuMemGetInfo_v2, 3020)
                                            X("cuMemHostAlloc", cuMemHostAlloc, 2020) X(
                                                "cuMemHostGetDevicePointer",
                                                cuMemHostGetDevicePointer_v2,
                                                3020) X("cuMemHostGetFlags", cuMemHostGetFlags, 2030)
                                                X("cuMemHostRegister", cuMemHostRegister_v2, 6050) X(
                                                    "cuMemHostUnregister", cuMemHostUnregister,
                                                    4000) X("cuMemcpy", cuMemcpy, 4000)
                                                    X("cuMemcpyAsync", cuMemcpyAsync, 4000) X(
                                                        "cuMemcpyDtoD",
                                                        cuMemcpyDtoD_v2,
                                                        3020) X("cuMemcpyDtoDAsync", cuMemcpyDtoDAsync_v2, 3020)
                                                        X("cuMemcpyDtoH", cuMemcpyDtoH_v2, 3020) X(
                                                            "cuMemcpyDtoHAsync",
                                                            cuMemcpyDtoHAsync_v2,
                                                            3020) X("cuMemcpyHtoD", cuMemcpyHtoD_v2, 3020)
                                                            X("cuMemcpyHtoDAsync", cuMemcpyHtoDAsync_v2, 3020) X(
                                                                "cuMemsetD16", cuMemsetD16_v2,
                                                                3020) X("cuMemsetD16Async", cuMemsetD16Async, 3020)
                                                                X("cuMemsetD32", cuMemsetD32_v2, 3020) X(
                                                                    "cuMemsetD32Async",
                                                                    cuMemsetD32Async,
                                                                    3020) X("cuMemsetD8", cuMemsetD8_v2, 3020)
                                                                    X("cuMemsetD8Async", cuMemsetD8Async, 3020) X(
                                                                        "cuM"
                                                                        "odu"
                                                                        "leG"
                                                                        "etF"
                                                                        "unc"
                                                                        "tio"
                                                                        "n",
                                                                        cuModuleGetFunction, 2000)
                                                                        X(
                                                                            "cuModuleGetGlobal",
                                                                            cuModuleGetGlobal_v2,
                                                                            3020) X("cuModuleLoadDa"
                                                                                    "ta",
                                                                                    cuModuleLoadData,
                                                                                    2000)
                                                                            X("cuModuleLoadDataE"
                                                                              "x",
                                                                              cuModuleLoadDataEx,
                                                                              2010) X("cuModuleLoad"
                                                                                      "FatB"
                                                                                      "inary",
                                                                                      cuModuleLoadFatBinary,
                                                                                      2000)
                                                                                X("cuModuleUnlo"
                                                                                  "ad",
                                                                                  cuModuleUnload,
                                                                                  2000)
                                                                                    X("cuPo"
                                                                                      "inte"
                                                                                      "rGet"
                                                                                      "Attr"
                                                                                      "ibut"
                                                                                      "e",
                                                                                      cuPointerGetAttribute,
                                                                                      4000) X("cuSt"
                                                                                              "ream"
                                                                                              "Crea"
                                                                                              "te",
                                                                                              cuStreamCreate,
                                                                                              2000)
                                                                                        X("cuStream"
                                                                                          "CreateWi"
                                                                                          "thPriori"
                                                                                          "ty",
                                                                                          cuStreamCreateWithPriority,
                                                                                          5050) X("cuSt"
                                                                                                  "ream"
                                                                                                  "Dest"
                                                                                                  "roy",
                                                                                                  cuStreamDestroy_v2,
                                                                                                  4000)
                                                                                            X("cuSt"
                                                                                              "ream"
                                                                                              "GetC"
                                                                                              "tx",
                                                                                              cuStreamGetCtx,
                                                                                              9020)
                                                                                                X("cuStreamGetFlags",
                                                                                                  cuStreamGetFlags,
                                                                                                  5050) X("cuStreamGetPriority",
                                                                                                          cuStreamGetPriority,
                                                                                                          5050)
                                                                                                    X("cuStreamQuery",
                                                                                                      cuStreamQuery,
                                                                                                      2000) X("cuStreamSynchronize",
                                                                                                              cuStreamSynchronize,
                                                                                                              2000)
                                                                                                        X("cuStreamWaitEvent",
                                                                                                          cuStreamWaitEvent,
                                                                                                          3020)
#undef X
};

/* The newest form that VERSION knows. There are no forms for per-thread streams of their own. */
CUresult cuGetProcAddress_v2(const char *symbol, void **fn, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status)
{
    int best = -1;
    bool known = false;
    if (!symbol || !fn || (flags & ~(uint64_t)MODES) || flags == MODES)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (strcmp(symbols[i].name, symbol) != 0)
            continue;
        known = true;
        if (symbols[i].since <= version && (best < 0 || symbols[i].since > symbols[best].since))
            best = (int)i;
    }
    *fn = NULL;
    if (best >= 0)
        memcpy(fn, &symbols[best].fn, sizeof(*fn));
    if (status)
        *status = best >= 0 ? CU_GET_PROC_ADDRESS_SUCCESS
                  : known   ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                            : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return best >= 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
