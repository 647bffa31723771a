/* SPDX-License-Identifier: Apache-2.0 */
/* Fatbin containers: whatever is found lies within the bytes there are, or was expanded. */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

struct sim_driver sim = {.capability = 90};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image = {NULL, 0, NULL};
    /* Of exactly that size, so that the sanitizer sees a step beyond. */
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    CUresult rc = fatbin_parse(copy, size, &image);
    if (rc == CUDA_SUCCESS) {
        const uint8_t *text = (const uint8_t *)image.text;
        if (image.owned
                ? image.text[image.len] != '\0'
                : text < copy || text > copy + size || image.len > (size_t)(copy + size - text))
            abort();
    } else if (rc != CUDA_ERROR_INVALID_IMAGE && rc != CUDA_ERROR_NO_BINARY_FOR_GPU) {
        abort();
    }
    free(image.owned);
    free(copy);
    return 0;
}
