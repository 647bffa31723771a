/* SPDX-License-Identifier: Apache-2.0 */
#include "build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_die(void *p)
{
    if (!p) {
        fprintf(stderr, "gpuictl: out of memory\n");
        exit(EXIT_OWN);
    }
    return p;
}

void *build_new(const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *m = or_die(calloc(1, type->sizeof_message));
    protobuf_c_message_init(type, m);
    return m;
}

void build_set(char **field, const char *text)
{
    if (*field && *field != protobuf_c_empty_string)
        free(*field);
    *field = or_die(strdup(text));
}

void build_push(void *list, size_t *n, void *item)
{
    void ***array = list;
    *array = or_die(reallocarray(*array, *n + 1, sizeof(**array)));
    (*array)[(*n)++] = item;
}

void build_push_string(char ***list, size_t *n, const char *text)
{
    build_push(list, n, or_die(strdup(text)));
}

void build_push_entry(void *list, size_t *n, const ProtobufCMessageDescriptor *type,
                      const char *key, const char *value)
{
    struct gi_cri_entry *e = build_new(type);
    build_set(&e->key, key);
    build_set(&e->value, value);
    build_push(list, n, e);
}
