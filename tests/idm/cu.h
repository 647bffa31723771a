/* SPDX-License-Identifier: Apache-2.0 */
/* A libcuda by its path: libvgpu, the simulated GPU, or a real one. */
#ifndef GI_TESTS_IDM_CU_H
#define GI_TESTS_IDM_CU_H

#include <stdbool.h>

#include "idm/cuda_abi.h"

#define CU_CALLS(X)                                                                                \
    X(cuInit)                                                                                      \
    X(cuDriverGetVersion)                                                                          \
    X(cuGetErrorName)                                                                              \
    X(cuGetErrorString)                                                                            \
    X(cuGetProcAddress_v2)                                                                         \
    X(cuDeviceGetCount)                                                                            \
    X(cuDeviceGet)                                                                                 \
    X(cuDeviceGetName)                                                                             \
    X(cuDeviceGetUuid)                                                                             \
    X(cuDeviceGetUuid_v2)                                                                          \
    X(cuDeviceTotalMem_v2)                                                                         \
    X(cuDeviceGetAttribute)                                                                        \
    X(cuDeviceGetPCIBusId)                                                                         \
    X(cuDeviceGetByPCIBusId)                                                                       \
    X(cuDeviceComputeCapability)                                                                   \
    X(cuDevicePrimaryCtxRetain)                                                                    \
    X(cuDevicePrimaryCtxRelease_v2)                                                                \
    X(cuDevicePrimaryCtxReset_v2)                                                                  \
    X(cuDevicePrimaryCtxSetFlags_v2)                                                               \
    X(cuDevicePrimaryCtxGetState)                                                                  \
    X(cuCtxCreate_v2)                                                                              \
    X(cuCtxDestroy_v2)                                                                             \
    X(cuCtxPushCurrent_v2)                                                                         \
    X(cuCtxPopCurrent_v2)                                                                          \
    X(cuCtxSetCurrent)                                                                             \
    X(cuCtxGetCurrent)                                                                             \
    X(cuCtxGetDevice)                                                                              \
    X(cuCtxGetFlags)                                                                               \
    X(cuCtxGetApiVersion)                                                                          \
    X(cuCtxGetStreamPriorityRange)                                                                 \
    X(cuCtxSynchronize)                                                                            \
    X(cuMemAlloc_v2)                                                                               \
    X(cuMemFree_v2)                                                                                \
    X(cuMemGetInfo_v2)                                                                             \
    X(cuMemGetAddressRange_v2)                                                                     \
    X(cuMemAllocHost_v2)                                                                           \
    X(cuMemHostAlloc)                                                                              \
    X(cuMemFreeHost)                                                                               \
    X(cuMemHostGetDevicePointer_v2)                                                                \
    X(cuMemHostGetFlags)                                                                           \
    X(cuMemHostRegister_v2)                                                                        \
    X(cuMemHostUnregister)                                                                         \
    X(cuPointerGetAttribute)                                                                       \
    X(cuMemcpy)                                                                                    \
    X(cuMemcpyAsync)                                                                               \
    X(cuMemcpyHtoD_v2)                                                                             \
    X(cuMemcpyDtoH_v2)                                                                             \
    X(cuMemcpyDtoD_v2)                                                                             \
    X(cuMemcpyHtoDAsync_v2)                                                                        \
    X(cuMemcpyDtoHAsync_v2)                                                                        \
    X(cuMemcpyDtoDAsync_v2)                                                                        \
    X(cuMemsetD8_v2)                                                                               \
    X(cuMemsetD16_v2)                                                                              \
    X(cuMemsetD32_v2)                                                                              \
    X(cuMemsetD8Async)                                                                             \
    X(cuMemsetD16Async)                                                                            \
    X(cuMemsetD32Async)                                                                            \
    X(cuModuleLoadData)                                                                            \
    X(cuModuleLoadDataEx)                                                                          \
    X(cuModuleUnload)                                                                              \
    X(cuModuleGetFunction)                                                                         \
    X(cuModuleGetGlobal_v2)                                                                        \
    X(cuFuncGetAttribute)                                                                          \
    X(cuFuncSetAttribute)                                                                          \
    X(cuFuncGetParamInfo)                                                                          \
    X(cuFuncGetModule)                                                                             \
    X(cuFuncGetName)                                                                               \
    X(cuLibraryLoadData)                                                                           \
    X(cuLibraryLoadFromFile)                                                                       \
    X(cuLibraryUnload)                                                                             \
    X(cuLibraryGetKernel)                                                                          \
    X(cuLibraryGetKernelCount)                                                                     \
    X(cuLibraryGetModule)                                                                          \
    X(cuLibraryGetGlobal)                                                                          \
    X(cuKernelGetFunction)                                                                         \
    X(cuKernelGetLibrary)                                                                          \
    X(cuKernelGetName)                                                                             \
    X(cuKernelGetParamInfo)                                                                        \
    X(cuKernelGetAttribute)                                                                        \
    X(cuKernelSetAttribute)                                                                        \
    X(cuCtxGetDevice_v2)                                                                           \
    X(cuCtxSynchronize_v2)                                                                         \
    X(cuStreamGetCtx_v2)                                                                           \
    X(cuCtxCreate_v3)                                                                              \
    X(cuCtxCreate_v4)                                                                              \
    X(cuEventRecord_ptsz)                                                                          \
    X(cuStreamSynchronize_ptsz)                                                                    \
    X(cuEventElapsedTime_v2)                                                                       \
    X(cuMemcpyHtoD_v2_ptds)                                                                        \
    X(cuMemcpyHtoDAsync_v2_ptsz)                                                                   \
    X(cuLaunchKernel_ptsz)                                                                         \
    X(cuMemsetD32_v2_ptds)                                                                         \
    X(cuStreamQuery_ptsz)                                                                          \
    X(cuStreamGetFlags_ptsz)                                                                       \
    X(cuStreamGetPriority_ptsz)                                                                    \
    X(cuMemcpyDtoH_v2_ptds)                                                                        \
    X(cuCtxGetCacheConfig)                                                                         \
    X(cuCtxGetLimit)                                                                               \
    X(cuCtxGetSharedMemConfig)                                                                     \
    X(cuCtxSetCacheConfig)                                                                         \
    X(cuCtxSetLimit)                                                                               \
    X(cuCtxSetSharedMemConfig)                                                                     \
    X(cuDeviceCanAccessPeer)                                                                       \
    X(cuFuncSetCacheConfig)                                                                        \
    X(cuFuncSetSharedMemConfig)                                                                    \
    X(cuKernelSetCacheConfig)                                                                      \
    X(cuMemAllocPitch_v2)                                                                          \
    X(cuMemcpy2DAsync_v2)                                                                          \
    X(cuMemcpy2D_v2)                                                                               \
    X(cuMemcpy2D_v2_ptds)                                                                          \
    X(cuMemcpy3D_v2)                                                                               \
    X(cuMemsetD2D16_v2_ptds)                                                                       \
    X(cuMemsetD2D32Async)                                                                          \
    X(cuMemsetD2D32Async_ptsz)                                                                     \
    X(cuMemsetD2D8_v2)                                                                             \
    X(cuModuleGetLoadingMode)                                                                      \
    X(cuOccupancyAvailableDynamicSMemPerBlock)                                                     \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor)                                                 \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)                                        \
    X(cuOccupancyMaxPotentialBlockSize)                                                            \
    X(cuPointerGetAttributes)                                                                      \
    X(cuStreamGetCaptureInfo_v3)                                                                   \
    X(cuStreamIsCapturing)                                                                         \
    X(cuThreadExchangeStreamCaptureMode)                                                           \
    X(cuMemAllocManaged)                                                                           \
    X(cuMemPrefetchAsync)                                                                          \
    X(cuMemPrefetchAsync_v2)                                                                       \
    X(cuMemAdvise)                                                                                 \
    X(cuStreamAttachMemAsync)                                                                      \
    X(cuMemAllocAsync)                                                                             \
    X(cuLaunchHostFunc)                                                                            \
    X(cuLaunchHostFunc_ptsz)                                                                       \
    X(cuStreamAddCallback)                                                                         \
    X(cuStreamAddCallback_ptsz)                                                                    \
    X(cuMemFreeAsync)                                                                              \
    X(cuLaunchKernel)                                                                              \
    X(cuStreamCreate)                                                                              \
    X(cuStreamCreateWithPriority)                                                                  \
    X(cuStreamDestroy_v2)                                                                          \
    X(cuStreamQuery)                                                                               \
    X(cuStreamSynchronize)                                                                         \
    X(cuStreamWaitEvent)                                                                           \
    X(cuStreamGetFlags)                                                                            \
    X(cuStreamGetPriority)                                                                         \
    X(cuStreamGetCtx)                                                                              \
    X(cuEventCreate)                                                                               \
    X(cuEventRecord)                                                                               \
    X(cuEventQuery)                                                                                \
    X(cuEventSynchronize)                                                                          \
    X(cuEventElapsedTime)                                                                          \
    X(cuEventDestroy_v2)

struct cu {
#define CU_POINTER(call) __typeof__(call) *call;
    CU_CALLS(CU_POINTER)
#undef CU_POINTER
};

/* False, with the reason on stderr. */
bool cu_load(struct cu *cu, const char *library);

#endif
