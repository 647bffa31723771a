/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lnvrtc -lcuda */
/* A kernel compiled when it is needed, linked by the driver with another text. */
#include <cuda.h>
#include <nvrtc.h>
#include <string>
#include <vector>

#include "../nvcc/check.h"

#define RTC(call)                                                                                  \
    do {                                                                                           \
        nvrtcResult rtc_rc = (call);                                                               \
        if (rtc_rc != NVRTC_SUCCESS) {                                                             \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, nvrtcGetErrorString(rtc_rc));     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define DRIVER(call)                                                                               \
    do {                                                                                           \
        CUresult driver_rc = (call);                                                               \
        if (driver_rc != CUDA_SUCCESS) {                                                           \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, (int)driver_rc);                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static std::string compile(const char *source, const char *name, const std::string &arch)
{
    nvrtcProgram program;
    const char *options[] = {arch.c_str(), "-rdc=true"};
    size_t bytes = 0;
    RTC(nvrtcCreateProgram(&program, source, name, 0, nullptr, nullptr));
    RTC(nvrtcCompileProgram(program, 2, options));
    RTC(nvrtcGetPTXSize(program, &bytes));
    std::string ptx(bytes, '\0');
    RTC(nvrtcGetPTX(program, &ptx[0]));
    RTC(nvrtcDestroyProgram(&program));
    return ptx;
}

/* The newest architecture that both the compiler and the device know. */
static int architecture()
{
    int major = 0, minor = 0, n = 0, newest = 0;
    CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
    RTC(nvrtcGetNumSupportedArchs(&n));
    std::vector<int> all(n);
    RTC(nvrtcGetSupportedArchs(all.data()));
    for (int arch : all)
        newest = arch > newest && arch <= major * 10 + minor ? arch : newest;
    return newest;
}

int main()
{
    void *image = nullptr;
    size_t bytes = 0;
    CUlinkState state;
    CUmodule module;
    CUfunction fn;
    CHECK(cudaFree(nullptr));
    std::string arch = "--gpu-architecture=compute_" + std::to_string(architecture());
    std::string user = compile("extern \"C\" __device__ int twice(int);\n"
                               "extern \"C\" __global__ void run(int *out, int n)\n"
                               "{ int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                               "  if (i < n) out[i] = twice(i) + 1; }\n",
                               "user.cu", arch);
    std::string helper =
        compile("extern \"C\" __device__ int twice(int x) { return 2 * x; }\n", "helper.cu", arch);
    DRIVER(cuLinkCreate(0, nullptr, nullptr, &state));
    DRIVER(
        cuLinkAddData(state, CU_JIT_INPUT_PTX, &user[0], user.size(), "user", 0, nullptr, nullptr));
    DRIVER(cuLinkAddData(state, CU_JIT_INPUT_PTX, &helper[0], helper.size(), "helper", 0, nullptr,
                         nullptr));
    DRIVER(cuLinkComplete(state, &image, &bytes));
    DRIVER(cuModuleLoadData(&module, image));
    DRIVER(cuLinkDestroy(state));
    DRIVER(cuModuleGetFunction(&fn, module, "run"));
    int n = 1000, *out;
    std::vector<int> got(n);
    CHECK(cudaMalloc(&out, n * sizeof(int)));
    void *params[] = {&out, &n};
    DRIVER(cuLaunchKernel(fn, 8, 1, 1, 128, 1, 1, 0, nullptr, params, nullptr));
    CHECK(cudaMemcpy(got.data(), out, n * sizeof(int), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += got[i] != 2 * i + 1;
    printf("linked: %d wrong\n", wrong);
    CHECK(cudaFree(out));
    return wrong != 0;
}
