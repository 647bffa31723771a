/* SPDX-License-Identifier: Apache-2.0 */
/* The third part of cuda_abi.h, which includes it: linking, what is in modules,
 * tensor maps, questions about devices, forms of before CUDA 4. */
#ifndef GI_CUDA_ABI_LINK_H
#define GI_CUDA_ABI_LINK_H

#include "idm/cuda_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* --- Linking --------------------------------------------------------------------- */

typedef struct CUlinkState_st *CUlinkState;

typedef enum CUjitInputType_enum {
    CU_JIT_INPUT_CUBIN = 0,
    CU_JIT_INPUT_PTX = 1,
    CU_JIT_INPUT_FATBINARY = 2,
    CU_JIT_INPUT_OBJECT = 3,
    CU_JIT_INPUT_LIBRARY = 4,
    CU_JIT_INPUT_NVVM = 5,
    CU_JIT_NUM_INPUT_TYPES = 6
} CUjitInputType;

CUresult cuLinkCreate_v2(unsigned int n, CUjit_option *options, void **values, CUlinkState *state);
CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t bytes,
                          const char *name, unsigned int n, CUjit_option *options, void **values);
CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path, unsigned int n,
                          CUjit_option *options, void **values);
CUresult cuLinkComplete(CUlinkState state, void **image, size_t *bytes);
CUresult cuLinkDestroy(CUlinkState state);
CUresult cuLinkCreate(unsigned int n, CUjit_option *options, void **values, CUlinkState *state);
CUresult cuLinkAddData(CUlinkState state, CUjitInputType type, void *data, size_t bytes,
                       const char *name, unsigned int n, CUjit_option *options, void **values);
CUresult cuLinkAddFile(CUlinkState state, CUjitInputType type, const char *path, unsigned int n,
                       CUjit_option *options, void **values);

/* --- Modules, libraries, functions ------------------------------------------------ */

typedef enum CUfunctionLoadingState_enum {
    CU_FUNCTION_LOADING_STATE_UNLOADED = 0,
    CU_FUNCTION_LOADING_STATE_LOADED = 1,
    CU_FUNCTION_LOADING_STATE_MAX
} CUfunctionLoadingState;

CUresult cuModuleLoad(CUmodule *module, const char *path);
CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule module);
CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int n, CUmodule module);
CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int n, CUlibrary library);
CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction fn);
CUresult cuFuncLoad(CUfunction fn);

/* --- Tensor maps ------------------------------------------------------------------ */

typedef struct CUtensorMap_st {
    uint64_t opaque[16] __attribute__((aligned(64)));
} CUtensorMap;

/* What CUDA has enums for are numbers here. */
CUresult cuTensorMapEncodeTiled(CUtensorMap *map, unsigned int type, uint32_t rank, void *address,
                                const uint64_t *dim, const uint64_t *stride, const uint32_t *box,
                                const uint32_t *element_stride, unsigned int interleave,
                                unsigned int swizzle, unsigned int promotion, unsigned int fill);
CUresult cuTensorMapEncodeIm2col(CUtensorMap *map, unsigned int type, uint32_t rank, void *address,
                                 const uint64_t *dim, const uint64_t *stride, const int *lower,
                                 const int *upper, uint32_t channels, uint32_t pixels,
                                 const uint32_t *element_stride, unsigned int interleave,
                                 unsigned int swizzle, unsigned int promotion, unsigned int fill);
CUresult cuTensorMapEncodeIm2colWide(CUtensorMap *map, unsigned int type, uint32_t rank,
                                     void *address, const uint64_t *dim, const uint64_t *stride,
                                     int lower, int upper, uint32_t channels, uint32_t pixels,
                                     const uint32_t *element_stride, unsigned int interleave,
                                     unsigned int mode, unsigned int swizzle,
                                     unsigned int promotion, unsigned int fill);
CUresult cuTensorMapReplaceAddress(CUtensorMap *map, void *address);

/* --- Devices, contexts ------------------------------------------------------------ */

typedef struct CUdevprop_st {
    int maxThreadsPerBlock;
    int maxThreadsDim[3];
    int maxGridSize[3];
    int sharedMemPerBlock;
    int totalConstantMemory;
    int SIMDWidth;
    int memPitch;
    int regsPerBlock;
    int clockRate;
    int textureAlign;
} CUdevprop;

CUresult cuDeviceGetP2PAttribute(int *value, int what, CUdevice src, CUdevice dst);
CUresult cuDeviceGetP2PAtomicCapabilities(unsigned int *capabilities, const int *operations,
                                          unsigned int n, CUdevice src, CUdevice dst);
CUresult cuDeviceGetHostAtomicCapabilities(unsigned int *capabilities, const int *operations,
                                           unsigned int n, CUdevice dev);
CUresult cuDeviceGetExecAffinitySupport(int *has, int type, CUdevice dev);
CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice dev);
CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice dev);
CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t *width, int format, unsigned int channels,
                                            CUdevice dev);
CUresult cuCtxGetId(CUcontext ctx, unsigned long long *id);
CUresult cuCtxSetFlags(unsigned int flags);
CUresult cuCtxRecordEvent(CUcontext ctx, CUevent event);
CUresult cuCtxWaitEvent(CUcontext ctx, CUevent event);
CUresult cuProfilerStart(void);
CUresult cuProfilerStop(void);

/* --- Forms of before CUDA 4 (derived_old.c) ---------------------------------------- */

CUresult cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev);
CUresult cuCtxDestroy(CUcontext ctx);
CUresult cuCtxDetach(CUcontext ctx);
CUresult cuCtxPopCurrent(CUcontext *ctx);
CUresult cuCtxPushCurrent(CUcontext ctx);
CUresult cuEventDestroy(CUevent event);
CUresult cuStreamDestroy(CUstream stream);
CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx *green);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
