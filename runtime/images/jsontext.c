/* SPDX-License-Identifier: Apache-2.0 */
#include "jsontext.h"

#define MAX_DEPTH  32
#define MAX_VALUES 200000

int json_text_parse(const char *text, size_t len, size_t max, const char *what,
                    struct gi_json **ret_root, struct gi_error *err)
{
    struct gi_json_limits limits = {
        .max_bytes = max, .max_depth = MAX_DEPTH, .max_values = MAX_VALUES};
    struct gi_error why = GI_ERROR_INIT;
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = gi_json_parse(text, len, &limits, what, &root, &why);
    if (rc == -GI_RESOURCE_EXHAUSTED)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s", why.message);
    if (rc < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad JSON: %s", why.message);
    if (root->type != GI_JSON_OBJECT)
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad JSON: %s is no object", what);
    *ret_root = TAKE_PTR(root);
    return 0;
}

bool json_is_array(const struct gi_json *v)
{
    return v && v->type == GI_JSON_ARRAY;
}

bool json_uint(const struct gi_json *v, const char *key, uint64_t *ret_value)
{
    int64_t n;
    if (!gi_json_int(gi_json_get(v, key), &n) || n < 0)
        return false;
    *ret_value = (uint64_t)n;
    return true;
}

int json_quote(struct gi_buf *b, const char *text)
{
    int rc = gi_buf_append(b, "\"", 1);
    for (const char *p = text; rc == 0 && *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            rc = gi_buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            rc = gi_buf_printf(b, "\\u%04x", c);
        else
            rc = gi_buf_append(b, p, 1);
    }
    return rc == 0 ? gi_buf_append(b, "\"", 1) : rc;
}
