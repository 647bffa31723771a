/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs here share: they print what they find out, nothing that
 * depends on the device, and end with 1 at the first call that fails. */
#ifndef GI_TESTS_NVCC_CHECK_H
#define GI_TESTS_NVCC_CHECK_H

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t check_rc = (call);                                                             \
        if (check_rc != cudaSuccess) {                                                             \
            printf("%s:%d: %s: %d %s\n", __FILE__, __LINE__, #call, (int)check_rc,                 \
                   cudaGetErrorString(check_rc));                                                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A call that is to fail, or whose result is of interest. */
#define SHOW(call) printf("%s: %s\n", #call, cudaGetErrorName(call))

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s is not so\n", __FILE__, __LINE__, #condition);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
