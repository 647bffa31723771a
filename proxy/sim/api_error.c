/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"
#include "idm/error_names.h"

struct description {
    const char *name, *text;
};

static struct description describe(CUresult error)
{
    switch (error) {
#define X(name, text)                                                                              \
    case CUDA_##name:                                                                              \
        return (struct description){"CUDA_" #name, text};
        GI_CUDA_ERRORS(X)
#undef X
    }
    return (struct description){0};
}

CUresult cuGetErrorName(CUresult error, const char **str)
{
    if (!str)
        return CUDA_ERROR_INVALID_VALUE;
    *str = describe(error).name;
    return *str ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **str)
{
    if (!str)
        return CUDA_ERROR_INVALID_VALUE;
    *str = describe(error).text;
    return *str ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
