/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define DEFAULT_BYTES  ((size_t)4 << 20)
#define DEFAULT_DEPTH  64u
#define DEFAULT_VALUES 100000u
#define DEPTH_CEILING  512u

struct builder {
    yajl_handle yajl;
    const char *text;
    size_t len;
    size_t counted; /* bytes in which lines were counted */
    unsigned line;
    struct gi_json_limits limits;
    size_t values;
    struct gi_json *root;
    struct gi_json **open; /* containers not closed yet, outermost first */
    unsigned depth;
    char *key;           /* waiting for its value */
    const char *refused; /* why a callback ended the parse */
    enum gi_code code;
};

static int refuse(struct builder *b, enum gi_code code, const char *why)
{
    b->code = code;
    b->refused = why;
    return 0;
}

static char *copy(const unsigned char *s, size_t len)
{
    char *c = malloc(len + 1);
    if (!c)
        return NULL;
    memcpy(c, s, len);
    c[len] = '\0';
    return c;
}

/* A token holds no newline, so the line of its end is its line. */
static unsigned line_now(struct builder *b)
{
    size_t end = yajl_get_bytes_consumed(b->yajl);
    if (end > b->len) /* yajl ends the text with a blank of its own */
        end = b->len;
    for (; b->counted < end; b->counted++)
        b->line += b->text[b->counted] == '\n';
    return b->line;
}

/* Room in the innermost open container for one more; grown by doubling. */
static struct gi_json *place(struct builder *b)
{
    if (b->depth == 0)
        return b->root;
    struct gi_json *c = b->open[b->depth - 1];
    if ((c->n & (c->n - 1)) == 0) {
        struct gi_json *longer = reallocarray(c->items, c->n ? 2 * c->n : 1, sizeof(*longer));
        if (!longer)
            return NULL;
        c->items = longer;
    }
    return &c->items[c->n++];
}

static struct gi_json *add(struct builder *b, enum gi_json_type type)
{
    if (b->values >= b->limits.max_values) {
        refuse(b, GI_OUT_OF_RANGE, "too many values");
        return NULL;
    }
    struct gi_json *v = place(b);
    if (!v) {
        refuse(b, GI_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    b->values++;
    *v = (struct gi_json){.type = type, .line = line_now(b), .key = TAKE_PTR(b->key)};
    return v;
}

static int on_null(void *ctx)
{
    return add(ctx, GI_JSON_NULL) != NULL;
}

static int on_bool(void *ctx, int truth)
{
    struct gi_json *v = add(ctx, GI_JSON_BOOL);
    if (v)
        v->truth = truth != 0;
    return v != NULL;
}

static int add_text(struct builder *b, enum gi_json_type type, const void *s, size_t len)
{
    if (memchr(s, '\0', len))
        return refuse(b, GI_INVALID_ARGUMENT, "a string with a NUL in it");
    struct gi_json *v = add(b, type);
    if (!v)
        return 0;
    v->text = copy(s, len);
    return v->text ? 1 : refuse(b, GI_RESOURCE_EXHAUSTED, "out of memory");
}

static int on_number(void *ctx, const char *s, size_t len)
{
    return add_text(ctx, GI_JSON_NUMBER, s, len);
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
    return add_text(ctx, GI_JSON_STRING, s, len);
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
    struct builder *b = ctx;
    if (memchr(s, '\0', len))
        return refuse(b, GI_INVALID_ARGUMENT, "a key with a NUL in it");
    b->key = copy(s, len);
    return b->key ? 1 : refuse(b, GI_RESOURCE_EXHAUSTED, "out of memory");
}

static int open_container(struct builder *b, enum gi_json_type type)
{
    if (b->depth >= b->limits.max_depth)
        return refuse(b, GI_OUT_OF_RANGE, "nested too deeply");
    struct gi_json *v = add(b, type);
    if (!v)
        return 0;
    /* Its parent doesn't grow while it is open, so the pointer stays good. */
    b->open[b->depth++] = v;
    return 1;
}

static int on_object(void *ctx)
{
    return open_container(ctx, GI_JSON_OBJECT);
}

static int on_array(void *ctx)
{
    return open_container(ctx, GI_JSON_ARRAY);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int on_object_end(void *ctx)
{
    struct builder *b = ctx;
    const struct gi_json *o = b->open[--b->depth];
    if (o->n < 2)
        return 1;
    cleanup_free char **keys = calloc(o->n, sizeof(*keys));
    if (!keys)
        return refuse(b, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < o->n; i++)
        keys[i] = o->items[i].key;
    qsort(keys, o->n, sizeof(*keys), by_key);
    for (size_t i = 1; i < o->n; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0)
            return refuse(b, GI_INVALID_ARGUMENT, "an object with the same key twice");
    }
    return 1;
}

static int on_array_end(void *ctx)
{
    struct builder *b = ctx;
    b->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_key,
    .yajl_end_map = on_object_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_array_end,
};

static int syntax_error(struct builder *b, const char *what, struct gi_error *err)
{
    unsigned line = line_now(b);
    if (b->refused)
        return gi_fail(err, b->code, "%s:%u: %s", what, line, b->refused);
    unsigned char *why = yajl_get_error(b->yajl, 0, (const unsigned char *)b->text, b->counted);
    size_t len = why ? strlen((char *)why) : 0;
    while (len > 0 && isspace(why[len - 1]))
        len--;
    int rc = gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: %.*s", what, line, (int)len,
                     why ? (const char *)why : "");
    if (why)
        yajl_free_error(b->yajl, why);
    return rc;
}

static void set_limits(struct builder *b, const struct gi_json_limits *limits)
{
    if (limits)
        b->limits = *limits;
    if (!b->limits.max_bytes)
        b->limits.max_bytes = DEFAULT_BYTES;
    if (!b->limits.max_depth)
        b->limits.max_depth = DEFAULT_DEPTH;
    if (b->limits.max_depth > DEPTH_CEILING)
        b->limits.max_depth = DEPTH_CEILING;
    if (!b->limits.max_values)
        b->limits.max_values = DEFAULT_VALUES;
}

static int parse(struct builder *b, size_t len, const char *what, struct gi_error *err)
{
    yajl_config(b->yajl, yajl_allow_comments, b->limits.comments ? 1 : 0);
    if (yajl_parse(b->yajl, (const unsigned char *)b->text, len) != yajl_status_ok ||
        yajl_complete_parse(b->yajl) != yajl_status_ok)
        return syntax_error(b, what, err);
    return 0;
}

int gi_json_parse(const char *text, size_t len, const struct gi_json_limits *limits,
                  const char *what, struct gi_json **ret_root, struct gi_error *err)
{
    struct builder b = {.text = text, .len = len, .line = 1};
    set_limits(&b, limits);
    if (len > b.limits.max_bytes)
        return gi_fail(err, GI_OUT_OF_RANGE, "%s: longer than %zu bytes", what, b.limits.max_bytes);
    cleanup_free struct gi_json **open = calloc(b.limits.max_depth, sizeof(struct gi_json *));
    cleanup_gi_json struct gi_json *root = calloc(1, sizeof(*root));
    b.yajl = yajl_alloc(&callbacks, NULL, &b);
    b.open = open;
    b.root = root;
    int rc = open && root && b.yajl
                 ? parse(&b, len, what, err)
                 : gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: out of memory", what);
    if (b.yajl)
        yajl_free(b.yajl);
    free(b.key);
    if (rc == 0)
        *ret_root = TAKE_PTR(root);
    return rc;
}

static void free_inside(struct gi_json *v)
{
    for (size_t i = 0; i < v->n; i++)
        free_inside(&v->items[i]);
    free(v->items);
    free(v->key);
    free(v->text);
}

void gi_json_free(struct gi_json *root)
{
    if (!root)
        return;
    free_inside(root);
    free(root);
}

const struct gi_json *gi_json_get(const struct gi_json *v, const char *key)
{
    for (size_t i = 0; v && v->type == GI_JSON_OBJECT && i < v->n; i++) {
        if (strcmp(v->items[i].key, key) == 0)
            return v->items[i].type == GI_JSON_NULL ? NULL : &v->items[i];
    }
    return NULL;
}

const char *gi_json_get_string(const struct gi_json *v, const char *key)
{
    const struct gi_json *m = gi_json_get(v, key);
    return m && m->type == GI_JSON_STRING ? m->text : NULL;
}

bool gi_json_int(const struct gi_json *v, int64_t *ret_value)
{
    if (!v || v->type != GI_JSON_NUMBER)
        return false;
    char *end;
    errno = 0;
    long long n = strtoll(v->text, &end, 10);
    if (errno || *end)
        return false;
    *ret_value = n;
    return true;
}

bool gi_json_uint(const struct gi_json *v, uint64_t *ret_value)
{
    if (!v || v->type != GI_JSON_NUMBER || v->text[0] == '-')
        return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v->text, &end, 10);
    if (errno || *end)
        return false;
    *ret_value = n;
    return true;
}

const char *gi_json_type_name(enum gi_json_type type)
{
    switch (type) {
    case GI_JSON_NULL:
        return "null";
    case GI_JSON_BOOL:
        return "true or false";
    case GI_JSON_NUMBER:
        return "a number";
    case GI_JSON_STRING:
        return "a string";
    case GI_JSON_ARRAY:
        return "a list";
    case GI_JSON_OBJECT:
        return "an object";
    }
    return "?";
}
