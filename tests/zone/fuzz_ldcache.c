/* SPDX-License-Identifier: Apache-2.0 */
/* An image's loader cache: what comes out of it is one, and so again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ldcache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ldcache_library libraries[] = {
        {"libcuda.so.1", "/usr/lib/libcuda.so.1"},
        {"libcuda.so", "/usr/lib/libcuda.so"},
    };
    void *once = NULL, *twice = NULL;
    size_t once_len = 0, twice_len = 0;
    if (ldcache_add(data, size, libraries, 2, &once, &once_len, NULL) < 0)
        return 0;
    if (once_len > size + 1024 || !memmem(once, once_len, "/usr/lib/libcuda.so.1", 22))
        abort();
    if (ldcache_add(once, once_len, libraries, 2, &twice, &twice_len, NULL) < 0)
        abort();
    free(once);
    free(twice);
    return 0;
}
