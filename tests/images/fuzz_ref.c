/* SPDX-License-Identifier: Apache-2.0 */
/* A reference that parses must be in normal form once formatted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_ref ref;
    struct image_ref again;
    char full[REF_TEXT_SIZE];
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free char *text = strndup((const char *)data, size);
    if (!text || image_ref_parse(text, &ref, &err) < 0)
        return 0;
    image_ref_format(&ref, full);
    if (image_ref_parse(full, &again, &err) < 0 || memcmp(&ref, &again, sizeof(ref)) != 0)
        abort();
    /* Host and path end up in URLs. */
    if (strstr(ref.path, "..") || strpbrk(full, " ?#%\\\r\n\t"))
        abort();
    return 0;
}
