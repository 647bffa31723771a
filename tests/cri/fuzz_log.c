/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a CRI log file, as gpuictl reads them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "logfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_record r;
    char *copy = malloc(size + 1); /* so that a read past the end is seen */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (log_parse(copy, size, &r) == 0 && (r.text < copy || r.text + r.len != copy + size))
        abort();
    free(copy);
    return 0;
}
