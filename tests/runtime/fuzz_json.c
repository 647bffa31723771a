/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct gi_json *v)
{
    size_t n = v->line + (v->text ? strlen(v->text) : 0) + (v->key ? strlen(v->key) : 0);
    for (size_t i = 0; i < v->n; i++)
        n += walk(&v->items[i]);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gi_json_limits limits = {.max_depth = 8, .max_values = 1000, .comments = size & 1};
    struct gi_error err = GI_ERROR_INIT;
    struct gi_json *root = NULL;
    if (gi_json_parse((const char *)data, size, &limits, "fuzz", &root, &err) == 0 &&
        walk(root) == SIZE_MAX)
        abort();
    gi_json_free(root);
    return 0;
}
