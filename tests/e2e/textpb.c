/* SPDX-License-Identifier: Apache-2.0 */
#include "textpb.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void bad(const char *at, const char *why)
{
    fprintf(stderr, "textpb: %s at \"%.40s\"\n", why, at);
    abort();
}

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static void skip(const char **p)
{
    while (isspace((unsigned char)**p))
        ++*p;
}

/* A name, or a value without quotes. */
static char *word(const char **p)
{
    skip(p);
    size_t n = strcspn(*p, " \n:{}'");
    if (n == 0)
        bad(*p, "a word is missing");
    char *w = must(strndup(*p, n));
    *p += n;
    return w;
}

static char *value(const char **p)
{
    skip(p);
    if (**p != '\'')
        return word(p);
    const char *begin = ++*p;
    size_t n = strcspn(begin, "'");
    if (!begin[n])
        bad(begin, "a quote is missing");
    *p += n + 1;
    return must(strndup(begin, n));
}

/* Room for one more FIELD of M. */
static void *place(ProtobufCMessage *m, const ProtobufCFieldDescriptor *field, size_t size)
{
    char *at = (char *)m + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return at;
    size_t *n = (size_t *)(void *)((char *)m + field->quantifier_offset);
    char **list = (char **)(void *)at;
    *list = must(realloc(*list, (*n + 1) * size));
    return *list + (*n)++ * size;
}

static void put_scalar(ProtobufCMessage *m, const ProtobufCFieldDescriptor *field, char *text)
{
    const ProtobufCEnumValue *e;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)place(m, field, sizeof(char *)) = text;
        return;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)place(m, field, sizeof(ProtobufCBinaryData)) =
            (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
        return;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)place(m, field, sizeof(protobuf_c_boolean)) =
            strcmp(text, "true") == 0;
        break;
    case PROTOBUF_C_TYPE_ENUM:
        e = protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, text);
        if (!e)
            bad(text, "no such value");
        *(int *)place(m, field, sizeof(int)) = e->value;
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
        *(int32_t *)place(m, field, sizeof(int32_t)) = (int32_t)strtoll(text, NULL, 10);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(int64_t *)place(m, field, sizeof(int64_t)) = strtoll(text, NULL, 10);
        break;
    default:
        bad(field->name, "a type that is not needed so far");
    }
    free(text);
}

/* The fields up to the end of the text or a brace. */
static void *fields(const ProtobufCMessageDescriptor *type, const char **p)
{
    ProtobufCMessage *m = must(calloc(1, type->sizeof_message));
    type->message_init(m);
    for (skip(p); **p && **p != '}'; skip(p)) {
        const char *begin = *p;
        char *name = word(p);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(type, name);
        free(name);
        if (!field)
            bad(begin, "no such field");
        skip(p);
        bool is_message = field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (*(*p)++ != (is_message ? '{' : ':'))
            bad(begin, is_message ? "a message needs braces" : "a value needs a colon");
        if (!is_message) {
            put_scalar(m, field, value(p));
            continue;
        }
        void *child = fields(field->descriptor, p);
        if (*(*p)++ != '}')
            bad(begin, "a brace is missing");
        void **at = place(m, field, sizeof(void *));
        if (field->label != PROTOBUF_C_LABEL_REPEATED && *at)
            protobuf_c_message_free_unpacked(*at, NULL);
        *at = child;
    }
    return m;
}

void *textpb(const ProtobufCMessageDescriptor *type, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    const char *p = text;
    void *m = fields(type, &p);
    if (*p)
        bad(p, "more braces than were opened");
    free(text);
    return m;
}
