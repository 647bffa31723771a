/* SPDX-License-Identifier: Apache-2.0 */
/* What NCCL's programs share; like tests/nvcc/check.h. */
#ifndef GI_TESTS_GPU_NCCL_CHECK_H
#define GI_TESTS_GPU_NCCL_CHECK_H

#include <nccl.h>

#include "../nvcc/check.h"

#define NCCL(call)                                                                                 \
    do {                                                                                           \
        ncclResult_t nccl_rc = (call);                                                             \
        if (nccl_rc != ncclSuccess) {                                                              \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, ncclGetErrorString(nccl_rc));     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
