/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(struct gen *g, yajl_gen_status s)
{
    if (g->status == yajl_gen_status_ok)
        g->status = s;
}

int gen_init(struct gen *g, struct gi_error *err)
{
    g->status = yajl_gen_status_ok;
    g->yajl = yajl_gen_alloc(NULL);
    if (!g->yajl)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    yajl_gen_config(g->yajl, yajl_gen_validate_utf8, 1);
    return 0;
}

void gen_free(struct gen *g)
{
    if (g->yajl)
        yajl_gen_free(g->yajl);
    g->yajl = NULL;
}

int gen_finish(struct gen *g, const char *what, char **ret_text, struct gi_error *err)
{
    const unsigned char *text = NULL;
    size_t len = 0;
    note(g, yajl_gen_get_buf(g->yajl, &text, &len));
    if (g->status == yajl_gen_invalid_string)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: a string is not UTF-8", what);
    if (g->status != yajl_gen_status_ok)
        return gi_fail(err, GI_INTERNAL, "%s: can't be written (%d)", what, (int)g->status);
    char *copy = strndup((const char *)text, len);
    if (!copy)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    *ret_text = copy;
    return 0;
}

void gen_map(struct gen *g)
{
    note(g, yajl_gen_map_open(g->yajl));
}

void gen_end_map(struct gen *g)
{
    note(g, yajl_gen_map_close(g->yajl));
}

void gen_array(struct gen *g)
{
    note(g, yajl_gen_array_open(g->yajl));
}

void gen_end_array(struct gen *g)
{
    note(g, yajl_gen_array_close(g->yajl));
}

void gen_string(struct gen *g, const char *s)
{
    note(g, yajl_gen_string(g->yajl, (const unsigned char *)s, strlen(s)));
}

static void number(struct gen *g, const char *text)
{
    note(g, yajl_gen_number(g->yajl, text, strlen(text)));
}

void gen_uint(struct gen *g, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    number(g, text);
}

void gen_key_map(struct gen *g, const char *key)
{
    gen_string(g, key);
    gen_map(g);
}

void gen_key_array(struct gen *g, const char *key)
{
    gen_string(g, key);
    gen_array(g);
}

void gen_key_string(struct gen *g, const char *key, const char *s)
{
    gen_string(g, key);
    gen_string(g, s);
}

void gen_key_int(struct gen *g, const char *key, int64_t n)
{
    gen_string(g, key);
    note(g, yajl_gen_integer(g->yajl, n));
}

void gen_key_uint(struct gen *g, const char *key, uint64_t n)
{
    gen_string(g, key);
    gen_uint(g, n);
}

void gen_key_bool(struct gen *g, const char *key, bool b)
{
    gen_string(g, key);
    note(g, yajl_gen_bool(g->yajl, b));
}

void gen_key_strings(struct gen *g, const char *key, const char *const *list, size_t n)
{
    gen_key_array(g, key);
    for (size_t i = 0; i < n; i++)
        gen_string(g, list[i]);
    gen_end_array(g);
}

void gen_json(struct gen *g, const struct gi_json *v)
{
    switch (v->type) {
    case GI_JSON_NULL:
        note(g, yajl_gen_null(g->yajl));
        break;
    case GI_JSON_BOOL:
        note(g, yajl_gen_bool(g->yajl, v->truth));
        break;
    case GI_JSON_NUMBER:
        number(g, v->text);
        break;
    case GI_JSON_STRING:
        gen_string(g, v->text);
        break;
    case GI_JSON_ARRAY:
        gen_array(g);
        for (size_t i = 0; i < v->n; i++)
            gen_json(g, &v->items[i]);
        gen_end_array(g);
        break;
    case GI_JSON_OBJECT:
        gen_map(g);
        for (size_t i = 0; i < v->n; i++) {
            gen_string(g, v->items[i].key);
            gen_json(g, &v->items[i]);
        }
        gen_end_map(g);
        break;
    }
}
