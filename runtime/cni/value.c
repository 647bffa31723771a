/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/value.h"

#include <string.h>

#define MAX_DEPTH 32

/* yajl's tree is freed recursively, so depth is bounded before one is built. */
static bool depth_is_bounded(const char *text, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return false;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return true;
}

int cni_value_parse(const char *text, size_t len, const char *what, yajl_val *ret_value,
                    struct gi_error *err)
{
    if (len > CNI_MAX_DOCUMENT)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: longer than %u bytes", what,
                       CNI_MAX_DOCUMENT);
    if (memchr(text, '\0', len))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: holds a NUL byte", what);
    if (!depth_is_bounded(text, len))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: nested deeper than %d", what, MAX_DEPTH);
    char why[256] = "";
    cleanup_value yajl_val v = yajl_tree_parse(text, why, sizeof(why));
    if (!v) {
        char *newline = strchr(why, '\n');
        if (newline)
            *newline = '\0';
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: %s", what, why[0] ? why : "no JSON");
    }
    if (!YAJL_IS_OBJECT(v))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: not a JSON object", what);
    *ret_value = TAKE_PTR(v);
    return 0;
}

yajl_val cni_value_get(yajl_val obj, const char *key)
{
    if (!obj || !YAJL_IS_OBJECT(obj))
        return NULL;
    for (size_t i = 0; i < obj->u.object.len; i++) {
        if (strcmp(obj->u.object.keys[i], key) == 0)
            return obj->u.object.values[i];
    }
    return NULL;
}

const char *cni_value_string(yajl_val obj, const char *key)
{
    yajl_val v = cni_value_get(obj, key);
    return v && YAJL_IS_STRING(v) ? YAJL_GET_STRING(v) : NULL;
}

bool cni_value_true(yajl_val obj, const char *key)
{
    yajl_val v = cni_value_get(obj, key);
    return v && YAJL_IS_TRUE(v);
}

void cni_gen_string(yajl_gen g, const char *text)
{
    yajl_gen_string(g, (const unsigned char *)text, strlen(text));
}

void cni_gen_member(yajl_gen g, const char *key, const char *text)
{
    cni_gen_string(g, key);
    cni_gen_string(g, text);
}

static void write_array(yajl_gen g, yajl_val v)
{
    yajl_gen_array_open(g);
    for (size_t i = 0; i < v->u.array.len; i++)
        cni_value_write(g, v->u.array.values[i]);
    yajl_gen_array_close(g);
}

/* Recursion is bounded by the depth the parser admitted. */
void cni_value_write(yajl_gen g, yajl_val v)
{
    switch (v->type) {
    case yajl_t_string:
        cni_gen_string(g, v->u.string);
        break;
    case yajl_t_number:
        yajl_gen_number(g, v->u.number.r, strlen(v->u.number.r));
        break;
    case yajl_t_object:
        yajl_gen_map_open(g);
        cni_value_write_members(g, v, NULL);
        yajl_gen_map_close(g);
        break;
    case yajl_t_array:
        write_array(g, v);
        break;
    case yajl_t_true:
    case yajl_t_false:
        yajl_gen_bool(g, v->type == yajl_t_true);
        break;
    default:
        yajl_gen_null(g);
        break;
    }
}

void cni_value_write_members(yajl_gen g, yajl_val obj, const char *const *skip)
{
    for (size_t i = 0; i < obj->u.object.len; i++) {
        const char *key = obj->u.object.keys[i];
        bool skipped = false;
        for (const char *const *s = skip; s && *s && !skipped; s++)
            skipped = strcmp(*s, key) == 0;
        if (skipped)
            continue;
        cni_gen_string(g, key);
        cni_value_write(g, obj->u.object.values[i]);
    }
}
