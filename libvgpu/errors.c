/* SPDX-License-Identifier: Apache-2.0 */
/* The errors' names and meanings; they can be asked for before cuInit. */
#include "connection.h"
#include "idm/error_names.h"

static const char *name_of(CUresult error)
{
    switch (error) {
#define NAME(code, text)                                                                           \
    case CUDA_##code:                                                                              \
        return "CUDA_" #code;
        GI_CUDA_ERRORS(NAME)
#undef NAME
    }
    return NULL;
}

static const char *text_of(CUresult error)
{
    switch (error) {
#define TEXT(code, text)                                                                           \
    case CUDA_##code:                                                                              \
        return text;
        GI_CUDA_ERRORS(TEXT)
#undef TEXT
    }
    return NULL;
}

static CUresult give(const char *text, const char **str)
{
    if (!str)
        return CUDA_ERROR_INVALID_VALUE;
    *str = text;
    return text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VG_EXPORT CUresult cuGetErrorName(CUresult error, const char **str)
{
    return give(name_of(error), str);
}

VG_EXPORT CUresult cuGetErrorString(CUresult error, const char **str)
{
    return give(text_of(error), str);
}
