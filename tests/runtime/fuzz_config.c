/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a configuration file: taken or refused, and what is taken can be printed. */
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gi_error err = GI_ERROR_INIT;
    struct config *c = NULL;
    if (config_defaults(&c, &err) < 0)
        return 0;
    if (config_apply(c, (const char *)data, size, "fuzz", &err) == 0) {
        cleanup_buf struct gi_buf b = GI_BUF_INIT(1 << 20);
        config_print(c, size % 2, &b);
    }
    config_free(c);
    return 0;
}
