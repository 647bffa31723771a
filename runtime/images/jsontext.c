/* SPDX-License-Identifier: Apache-2.0 */
#include "jsontext.h"

#include <string.h>

#define MAX_DEPTH  32
#define MAX_VALUES 200000

static int bad(struct gi_error *err, const char *what, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "%s: %s", what, why);
}

/* A lexer just good enough to bound what the real one will build. */
static int check_bounds(const char *text, size_t len, const char *what, struct gi_error *err)
{
    int depth = 0;
    unsigned values = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\0')
            return bad(err, what, "contains a NUL byte");
        if (in_string) {
            if (c == '"')
                in_string = false;
            else if (c == '\\' && len - i > 5 && memcmp(text + i, "\\u0000", 6) == 0)
                return bad(err, what, "contains a NUL character");
            else if (c == '\\')
                i++;
            continue;
        }
        if (c == '/')
            return bad(err, what, "contains a comment");
        if (c == '"')
            in_string = true;
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        values += c == ',' || c == '{' || c == '[';
        if (depth > MAX_DEPTH)
            return bad(err, what, "is nested too deeply");
        if (values > MAX_VALUES)
            return bad(err, what, "has too many values");
    }
    return 0;
}

int json_text_parse(const char *text, size_t len, const char *what, yajl_val *ret_root,
                    struct gi_error *err)
{
    char why[256] = "";
    int rc = check_bounds(text, len, what, err);
    if (rc < 0)
        return rc;
    cleanup_free char *copy = strndup(text, len);
    if (!copy)
        return gi_fail_errno(err, ENOMEM, "%s", what);
    yajl_val root = yajl_tree_parse(copy, why, sizeof(why));
    if (!root) {
        why[strcspn(why, "\n")] = '\0';
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s is not JSON: %s", what, why);
    }
    if (!YAJL_IS_OBJECT(root)) {
        yajl_tree_free(root);
        return bad(err, what, "is no JSON object");
    }
    *ret_root = root;
    return 0;
}

yajl_val json_member(yajl_val v, const char *key)
{
    if (!YAJL_IS_OBJECT(v))
        return NULL;
    for (size_t i = 0; i < v->u.object.len; i++) {
        if (strcmp(v->u.object.keys[i], key) == 0)
            return YAJL_IS_NULL(v->u.object.values[i]) ? NULL : v->u.object.values[i];
    }
    return NULL;
}

const char *json_string(yajl_val v, const char *key)
{
    yajl_val s = json_member(v, key);
    return YAJL_IS_STRING(s) ? YAJL_GET_STRING(s) : NULL;
}

bool json_uint(yajl_val v, const char *key, uint64_t *ret_value)
{
    yajl_val n = json_member(v, key);
    if (!YAJL_IS_INTEGER(n) || YAJL_GET_INTEGER(n) < 0)
        return false;
    *ret_value = (uint64_t)YAJL_GET_INTEGER(n);
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
