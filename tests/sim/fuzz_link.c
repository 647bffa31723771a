/* SPDX-License-Identifier: Apache-2.0 */
/* Texts, one behind the other's NUL: what the parser accepts of each can be linked or is refused
 * with a reason, and what was linked can be parsed again without harm. */
#include <stdlib.h>
#include <string.h>

#include "ir.h"
#include "link.h"

#define MAX_TEXTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_accepted(const char *text, size_t len)
{
    struct sim_log log;
    struct sim_module *code = NULL;
    if (sim_parse_part(text, len, &code, &log) != 0)
        return false;
    sim_module_free(code);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct link_input inputs[MAX_TEXTS];
    unsigned n = 0;
    char why[256];
    size_t linked_len = 0;
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    for (char *at = copy; at < copy + size && n < MAX_TEXTS; at += strlen(at) + 1) {
        size_t len = strlen(at);
        if (is_accepted(at, len))
            inputs[n++] = (struct link_input){at, len};
    }
    char *linked = n ? link_texts(inputs, n, &linked_len, why) : NULL;
    if (linked && linked[linked_len] != '\0')
        abort();
    if (linked)
        is_accepted(linked, linked_len);
    else if (n && !why[0])
        abort();
    free(linked);
    free(copy);
    return 0;
}
