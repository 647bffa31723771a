/* SPDX-License-Identifier: Apache-2.0 */
#include "cri/pbjson_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cri/cri.h"
#include "cri/pbjson_names.h"

#define MAX_DEPTH 32

static int bad(const struct gi_json *v, const ProtobufCFieldDescriptor *f, const char *expected,
               struct gi_error *err)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: %s is %s, not %s", v->line, f->name,
                   gi_json_type_name(v->type), expected);
}

static int no_memory(struct gi_error *err)
{
    return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
}

/* "123" as well as 123 for any integer, as the mapping allows. */
static bool to_int(const struct gi_json *v, int64_t min, int64_t max, int64_t *ret)
{
    char *end = NULL;
    if ((v->type != GI_JSON_STRING && v->type != GI_JSON_NUMBER) || !v->text[0] ||
        v->text[0] == ' ' || v->text[0] == '+')
        return false;
    errno = 0;
    long long n = strtoll(v->text, &end, 10);
    if (errno || *end || n < min || n > max)
        return false;
    *ret = n;
    return true;
}

static bool to_uint(const struct gi_json *v, uint64_t max, uint64_t *ret)
{
    char *end = NULL;
    if ((v->type != GI_JSON_STRING && v->type != GI_JSON_NUMBER) || v->text[0] < '0' ||
        v->text[0] > '9')
        return false;
    errno = 0;
    unsigned long long n = strtoull(v->text, &end, 10);
    if (errno || *end || n > max)
        return false;
    *ret = n;
    return true;
}

static bool to_double(const struct gi_json *v, double *ret)
{
    char *end = NULL;
    if (v->type == GI_JSON_STRING) {
        if (strcmp(v->text, "NaN") == 0)
            *ret = NAN;
        else if (strcmp(v->text, "Infinity") == 0)
            *ret = INFINITY;
        else if (strcmp(v->text, "-Infinity") == 0)
            *ret = -INFINITY;
        else
            return false;
        return true;
    }
    if (v->type != GI_JSON_NUMBER)
        return false;
    *ret = strtod(v->text, &end);
    return !*end;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* Standard or URL alphabet, with or without padding. */
static bool to_bytes(const struct gi_json *v, ProtobufCBinaryData *ret)
{
    if (v->type != GI_JSON_STRING)
        return false;
    size_t n = strlen(v->text);
    while (n > 0 && v->text[n - 1] == '=')
        n--;
    if (strlen(v->text) - n > 2 || n % 4 == 1)
        return false;
    uint8_t *data = malloc(n / 4 * 3 + 3);
    size_t len = 0;
    uint32_t bits = 0;
    if (!data)
        return false;
    for (size_t i = 0; i < n; i++) {
        int d = base64_digit(v->text[i]);
        if (d < 0) {
            free(data);
            return false;
        }
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 == 3) {
            data[len++] = (uint8_t)(bits >> 16);
            data[len++] = (uint8_t)(bits >> 8);
            data[len++] = (uint8_t)bits;
        }
    }
    if (n % 4 == 2) {
        data[len++] = (uint8_t)(bits >> 4);
    } else if (n % 4 == 3) {
        data[len++] = (uint8_t)(bits >> 10);
        data[len++] = (uint8_t)(bits >> 2);
    }
    if (len == 0) {
        free(data);
        data = NULL;
    }
    *ret = (ProtobufCBinaryData){len, data};
    return true;
}

static int read_message(const ProtobufCMessageDescriptor *type, const struct gi_json *v,
                        unsigned depth, ProtobufCMessage **ret, struct gi_error *err);

static int read_enum(const ProtobufCFieldDescriptor *f, const struct gi_json *v, int *p,
                     struct gi_error *err)
{
    int64_t n = 0;
    if (v->type == GI_JSON_STRING) {
        const ProtobufCEnumValue *e =
            protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, v->text);
        if (!e)
            return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: %s: \"%.64s\" is no value of it",
                           v->line, f->name, v->text);
        *p = e->value;
        return 0;
    }
    if (v->type != GI_JSON_NUMBER || !to_int(v, INT32_MIN, INT32_MAX, &n))
        return bad(v, f, "a name", err);
    *p = (int)n;
    return 0;
}

static int read_string(const struct gi_json *v, char **p, struct gi_error *err)
{
    if (!v->text[0])
        return 0; /* stays the shared empty string */
    char *copy = strdup(v->text);
    if (!copy)
        return no_memory(err);
    *p = copy;
    return 0;
}

/* One value of F's type into the slot P (of that type, defaults inside). */
static int read_value(const ProtobufCFieldDescriptor *f, const struct gi_json *v, unsigned depth,
                      void *p, struct gi_error *err)
{
    int64_t i = 0;
    uint64_t u = 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return v->type == GI_JSON_STRING ? read_string(v, p, err) : bad(v, f, "a string", err);
    case PROTOBUF_C_TYPE_BYTES:
        return to_bytes(v, p) ? 0 : bad(v, f, "base64", err);
    case PROTOBUF_C_TYPE_BOOL:
        if (v->type != GI_JSON_BOOL)
            return bad(v, f, "true or false", err);
        *(protobuf_c_boolean *)p = v->truth;
        return 0;
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(f, v, p, err);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        if (!to_int(v, INT32_MIN, INT32_MAX, &i))
            return bad(v, f, "a 32-bit integer", err);
        *(int32_t *)p = (int32_t)i;
        return 0;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return to_int(v, INT64_MIN, INT64_MAX, p) ? 0 : bad(v, f, "a 64-bit integer", err);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (!to_uint(v, UINT32_MAX, &u))
            return bad(v, f, "an unsigned 32-bit integer", err);
        *(uint32_t *)p = (uint32_t)u;
        return 0;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return to_uint(v, UINT64_MAX, p) ? 0 : bad(v, f, "an unsigned 64-bit integer", err);
    case PROTOBUF_C_TYPE_DOUBLE:
        return to_double(v, p) ? 0 : bad(v, f, "a number", err);
    case PROTOBUF_C_TYPE_FLOAT: {
        double d = 0;
        if (!to_double(v, &d))
            return bad(v, f, "a number", err);
        *(float *)p = (float)d;
        return 0;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        if (v->type != GI_JSON_OBJECT)
            return bad(v, f, "an object", err);
        return read_message(f->descriptor, v, depth + 1, p, err);
    }
    return gi_fail(err, GI_INTERNAL, "%s: a type that isn't known", f->name);
}

/* The elements of a list. The count grows with the elements, so that freeing
 * the message is right at any time. */
static int read_list(const ProtobufCFieldDescriptor *f, const struct gi_json *v, unsigned depth,
                     void **list, size_t *n, struct gi_error *err)
{
    size_t size = gi_pbjson_element_size(f->type);
    if (v->type != GI_JSON_ARRAY)
        return bad(v, f, "an array", err);
    if (v->n == 0)
        return 0;
    char *items = calloc(v->n, size);
    if (!items)
        return no_memory(err);
    *list = items;
    for (size_t i = 0; i < v->n; i++) {
        char *slot = items + i * size;
        if (v->items[i].type == GI_JSON_NULL)
            return bad(&v->items[i], f, "an element", err);
        /* In a list even an empty string is its own: freed one by one. */
        if (f->type == PROTOBUF_C_TYPE_STRING) {
            if (v->items[i].type != GI_JSON_STRING)
                return bad(&v->items[i], f, "a string", err);
            *(char **)(void *)slot = strdup(v->items[i].text);
            if (!*(char **)(void *)slot)
                return no_memory(err);
        } else {
            int rc = read_value(f, &v->items[i], depth, slot, err);
            if (rc < 0)
                return rc;
        }
        *n = i + 1;
    }
    return 0;
}

static int read_map(const ProtobufCFieldDescriptor *f, const struct gi_json *v, void **list,
                    size_t *n, struct gi_error *err)
{
    if (v->type != GI_JSON_OBJECT)
        return bad(v, f, "an object", err);
    if (v->n == 0)
        return 0;
    struct gi_cri_entry **entries = calloc(v->n, sizeof(struct gi_cri_entry *));
    if (!entries)
        return no_memory(err);
    *list = (void *)entries;
    for (size_t i = 0; i < v->n; i++) {
        if (v->items[i].type != GI_JSON_STRING)
            return bad(&v->items[i], f, "a string", err);
        entries[i] = calloc(1, sizeof(struct gi_cri_entry));
        if (!entries[i])
            return no_memory(err);
        protobuf_c_message_init(f->descriptor, &entries[i]->base);
        *n = i + 1;
        entries[i]->key = strdup(v->items[i].key);
        entries[i]->value = strdup(v->items[i].text);
        if (!entries[i]->key || !entries[i]->value)
            return no_memory(err);
    }
    return 0;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  const char *key)
{
    char camel[GI_PBJSON_NAME_SIZE];
    for (unsigned i = 0; i < type->n_fields; i++) {
        gi_pbjson_camel(type->fields[i].name, camel);
        if (strcmp(camel, key) == 0 || strcmp(type->fields[i].name, key) == 0)
            return &type->fields[i];
    }
    return NULL;
}

static int read_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                      const struct gi_json *v, unsigned depth, struct gi_error *err)
{
    char *p = (char *)m + f->offset;
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        if (!gi_pbjson_is_default(f, p))
            return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: %s is there twice", v->line,
                           f->name);
        return read_value(f, v, depth, p, err);
    }
    size_t *n = (size_t *)(void *)((char *)m + f->quantifier_offset);
    void **list = (void **)(void *)p;
    if (*list)
        return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: %s is there twice", v->line, f->name);
    return gi_pbjson_is_map(f) ? read_map(f, v, list, n, err)
                               : read_list(f, v, depth, list, n, err);
}

static int read_message(const ProtobufCMessageDescriptor *type, const struct gi_json *v,
                        unsigned depth, ProtobufCMessage **ret, struct gi_error *err)
{
    if (depth > MAX_DEPTH)
        return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: nested too deep", v->line);
    ProtobufCMessage *m = calloc(1, type->sizeof_message);
    if (!m)
        return no_memory(err);
    protobuf_c_message_init(type, m);
    for (size_t i = 0; i < v->n; i++) {
        const struct gi_json *item = &v->items[i];
        const ProtobufCFieldDescriptor *f = find_field(type, item->key);
        int rc = 0;
        if (!f)
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "line %u: unknown field \"%.64s\"", item->line,
                         item->key);
        else if (item->type != GI_JSON_NULL)
            rc = read_field(m, f, item, depth, err);
        if (rc < 0) {
            protobuf_c_message_free_unpacked(m, NULL);
            return rc;
        }
    }
    *ret = m;
    return 0;
}

int gi_pbjson_read(const ProtobufCMessageDescriptor *type, const struct gi_json *root,
                   ProtobufCMessage **ret_message, struct gi_error *err)
{
    if (root->type != GI_JSON_OBJECT)
        return gi_fail(err, GI_INVALID_ARGUMENT, "line %u: %s, not an object", root->line,
                       gi_json_type_name(root->type));
    return read_message(type, root, 0, ret_message, err);
}
