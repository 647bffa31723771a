/* SPDX-License-Identifier: Apache-2.0 */
#include "cri/pbjson.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cri/cri.h"
#include "cri/pbjson_names.h"

#define MAX_DEPTH        32
#define MAX_SEARCHED_MAP 4096

struct writer {
    struct gi_buf *out;
    unsigned flags;
    unsigned depth;
};

static int put(struct writer *w, const char *text)
{
    return gi_buf_append(w->out, text, strlen(text));
}

/* Length of the valid UTF-8 sequence at P (at most LEFT bytes), 0: none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80                    ? 1
               : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
               : p[0] >= 0xe0 && p[0] <= 0xef ? 3
               : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                              : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

int gi_json_write_string(struct gi_buf *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    int rc = gi_buf_append(out, "\"", 1);
    for (size_t i = 0; i < len && rc == 0;) {
        size_t n = utf8_len(p + i, len - i);
        if (n == 0) {
            rc = gi_buf_append(out, "\\ufffd", 6);
            i++;
        } else if (n > 1) {
            rc = gi_buf_append(out, p + i, n);
            i += n;
        } else {
            unsigned char c = p[i++];
            if (c == '"' || c == '\\')
                rc = gi_buf_printf(out, "\\%c", c);
            else if (c == '\n')
                rc = gi_buf_append(out, "\\n", 2);
            else if (c == '\t')
                rc = gi_buf_append(out, "\\t", 2);
            else if (c < 0x20 || c == 0x7f)
                rc = gi_buf_printf(out, "\\u%04x", c);
            else
                rc = gi_buf_append(out, &c, 1);
        }
    }
    return rc == 0 ? gi_buf_append(out, "\"", 1) : rc;
}

static int put_base64(struct writer *w, const ProtobufCBinaryData *b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int rc = put(w, "\"");
    for (size_t i = 0; i < b->len && rc == 0; i += 3) {
        uint32_t v = (uint32_t)b->data[i] << 16;
        if (i + 1 < b->len)
            v |= (uint32_t)b->data[i + 1] << 8;
        if (i + 2 < b->len)
            v |= b->data[i + 2];
        char q[4] = {digits[v >> 18], digits[v >> 12 & 63],
                     i + 1 < b->len ? digits[v >> 6 & 63] : '=',
                     i + 2 < b->len ? digits[v & 63] : '='};
        rc = gi_buf_append(w->out, q, 4);
    }
    return rc == 0 ? put(w, "\"") : rc;
}

static int put_newline(struct writer *w)
{
    if (!(w->flags & GI_PBJSON_INDENT))
        return 0;
    return gi_buf_printf(w->out, "\n%*s", (int)w->depth * 2, "");
}

/* Begins one more member or element; *first says whether a comma is due. */
static int put_next(struct writer *w, bool *first)
{
    if (!*first && put(w, ",") != 0)
        return -1;
    *first = false;
    return put_newline(w);
}

static int put_open(struct writer *w, const char *bracket)
{
    if (++w->depth > MAX_DEPTH)
        return -1;
    return put(w, bracket);
}

static int put_close(struct writer *w, const char *bracket, bool empty)
{
    w->depth--;
    if (!empty && put_newline(w) != 0)
        return -1;
    return put(w, bracket);
}

static int put_message(struct writer *w, const ProtobufCMessage *m);

static int put_double(struct writer *w, double v)
{
    if (isnan(v))
        return put(w, "\"NaN\"");
    if (isinf(v))
        return put(w, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    return gi_buf_printf(w->out, "%.17g", v);
}

static int put_enum(struct writer *w, const ProtobufCEnumDescriptor *e, int v)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(e, v);
    return value ? gi_buf_printf(w->out, "\"%s\"", value->name) : gi_buf_printf(w->out, "%d", v);
}

/* One value of FIELD's type at P. */
static int put_value(struct writer *w, const ProtobufCFieldDescriptor *f, const void *p)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = *(char *const *)p;
        return gi_json_write_string(w->out, s ? s : "", s ? strlen(s) : 0);
    }
    case PROTOBUF_C_TYPE_BYTES:
        return put_base64(w, p);
    case PROTOBUF_C_TYPE_BOOL:
        return put(w, *(const protobuf_c_boolean *)p ? "true" : "false");
    case PROTOBUF_C_TYPE_ENUM:
        return put_enum(w, f->descriptor, *(const int *)p);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return gi_buf_printf(w->out, "%" PRId32, *(const int32_t *)p);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return gi_buf_printf(w->out, "%" PRIu32, *(const uint32_t *)p);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return gi_buf_printf(w->out, "\"%" PRId64 "\"", *(const int64_t *)p);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return gi_buf_printf(w->out, "\"%" PRIu64 "\"", *(const uint64_t *)p);
    case PROTOBUF_C_TYPE_FLOAT:
        return put_double(w, *(const float *)p);
    case PROTOBUF_C_TYPE_DOUBLE:
        return put_double(w, *(const double *)p);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *m = *(ProtobufCMessage *const *)p;
        return m ? put_message(w, m) : put(w, "null");
    }
    }
    return -1;
}

size_t gi_pbjson_element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

bool gi_pbjson_is_map(const ProtobufCFieldDescriptor *f)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *d = f->descriptor;
    size_t len = strlen(d->name);
    return len > 5 && strcmp(d->name + len - 5, "Entry") == 0 && d->n_fields == 2 &&
           strcmp(d->fields[0].name, "key") == 0 && strcmp(d->fields[1].name, "value") == 0 &&
           d->sizeof_message == sizeof(struct gi_cri_entry);
}

static int put_map(struct writer *w, struct gi_cri_entry *const *e, size_t n)
{
    bool first = true;
    if (put_open(w, "{") != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        /* Of two equal keys the later one holds (a huge map isn't searched). */
        if (n <= MAX_SEARCHED_MAP && gi_cri_map_get(e + i + 1, n - i - 1, e[i]->key))
            continue;
        if (put_next(w, &first) != 0 ||
            gi_json_write_string(w->out, e[i]->key, strlen(e[i]->key)) != 0 ||
            put(w, w->flags & GI_PBJSON_INDENT ? ": " : ":") != 0 ||
            gi_json_write_string(w->out, e[i]->value, strlen(e[i]->value)) != 0)
            return -1;
    }
    return put_close(w, "}", first);
}

static int put_list(struct writer *w, const ProtobufCFieldDescriptor *f, const char *data, size_t n)
{
    bool first = true;
    if (put_open(w, "[") != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (put_next(w, &first) != 0 ||
            put_value(w, f, data + i * gi_pbjson_element_size(f->type)) != 0)
            return -1;
    }
    return put_close(w, "]", first);
}

bool gi_pbjson_is_default(const ProtobufCFieldDescriptor *f, const void *p)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = *(char *const *)p;
        return !s || !*s;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)p == NULL;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)p)->len == 0;
    default: {
        static const char zero[8];
        return memcmp(p, zero, gi_pbjson_element_size(f->type)) == 0;
    }
    }
}

void gi_pbjson_camel(const char *name, char out[GI_PBJSON_NAME_SIZE])
{
    size_t n = 0;
    for (const char *p = name; *p && n < GI_PBJSON_NAME_SIZE - 1; p++) {
        if (*p == '_' && p[1]) {
            p++;
            out[n++] = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        } else {
            out[n++] = *p;
        }
    }
    out[n] = '\0';
}

static int put_name(struct writer *w, const char *name)
{
    char camel[GI_PBJSON_NAME_SIZE];
    gi_pbjson_camel(name, camel);
    return gi_buf_printf(w->out, "\"%s\":%s", camel, w->flags & GI_PBJSON_INDENT ? " " : "");
}

static int put_message(struct writer *w, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    bool first = true;

    if (put_open(w, "{") != 0)
        return -1;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const char *p = (const char *)m + f->offset;
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = repeated ? *(const size_t *)((const char *)m + f->quantifier_offset) : 0;
        if (!(w->flags & GI_PBJSON_DEFAULTS) && (repeated ? n == 0 : gi_pbjson_is_default(f, p)))
            continue;
        if (put_next(w, &first) != 0 || put_name(w, f->name) != 0)
            return -1;
        int rc = gi_pbjson_is_map(f)
                     ? put_map(w, *(struct gi_cri_entry *const *const *)(const void *)p, n)
                 : repeated ? put_list(w, f, *(const char *const *)(const void *)p, n)
                            : put_value(w, f, p);
        if (rc != 0)
            return -1;
    }
    return put_close(w, "}", first);
}

int gi_pbjson_write(struct gi_buf *out, const ProtobufCMessage *message, unsigned flags)
{
    struct writer w = {.out = out, .flags = flags};
    return put_message(&w, message);
}
