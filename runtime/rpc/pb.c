/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/pb.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_die(void *p)
{
    if (!p) {
        fprintf(stderr, "gpu-isolated-runtime: out of memory\n");
        abort();
    }
    return p;
}

void *pb_new(const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *m = or_die(calloc(1, type->sizeof_message));
    protobuf_c_message_init(type, m);
    return m;
}

void *pb_copy(const void *message)
{
    const ProtobufCMessage *m = message;
    if (!m)
        return NULL;
    size_t len = protobuf_c_message_get_packed_size(m);
    cleanup_free uint8_t *bytes = or_die(malloc(len + 1));
    protobuf_c_message_pack(m, bytes);
    return or_die(protobuf_c_message_unpack(m->descriptor, NULL, len, bytes));
}

void pb_free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

char *pb_strdup(const char *text)
{
    return or_die(strdup(text));
}

void pb_set(char **field, const char *text)
{
    char *copy = text ? pb_strdup(text) : (char *)protobuf_c_empty_string;
    if (*field && *field != protobuf_c_empty_string)
        free(*field);
    *field = copy;
}

void pb_push(void *list, size_t *n, void *item)
{
    void ***array = list;
    *array = or_die(reallocarray(*array, *n + 1, sizeof(**array)));
    (*array)[(*n)++] = item;
}

void pb_push_string(char ***list, size_t *n, const char *text)
{
    pb_push(list, n, pb_strdup(text));
}

void pb_push_entry(void *list, size_t *n, const ProtobufCMessageDescriptor *type, const char *key,
                   const char *value)
{
    struct gi_cri_entry *e = pb_new(type);
    pb_set(&e->key, key);
    pb_set(&e->value, value);
    pb_push(list, n, e);
}

void pb_copy_map(void *list, size_t *n, const ProtobufCMessageDescriptor *type, const void *from,
                 size_t n_from)
{
    const struct gi_cri_entry *const *e = from;
    for (size_t i = 0; i < n_from; i++)
        pb_push_entry(list, n, type, e[i]->key, e[i]->value);
}

Runtime__V1__UInt64Value *pb_uint64(uint64_t value)
{
    Runtime__V1__UInt64Value *v = pb_new(&runtime__v1__uint64_value__descriptor);
    v->value = value;
    return v;
}

/* ---- strings ---- */

/* Length of the UTF-8 sequence at S, 0 when there is none (RFC 3629). */
static size_t sequence(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((s[0] & 0xf0) == 0xe0) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xe0 && s[1] < 0xa0;
        bool surrogate = s[0] == 0xed && s[1] > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        bool overlong = s[0] == 0xf0 && s[1] < 0x90;
        bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

/* True when it is UTF-8; with FIX the bytes that aren't are replaced. */
static bool walk_string(char *text, bool fix)
{
    bool good = true;
    for (unsigned char *s = (unsigned char *)text; *s;) {
        size_t n = sequence(s);
        if (n) {
            s += n;
            continue;
        }
        good = false;
        if (!fix)
            break;
        *s++ = '?';
    }
    return good;
}

struct walk {
    bool fix;
    char path[256];
    size_t len;
};

static bool walk_message(struct walk *w, ProtobufCMessage *m);

static size_t count_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)((const char *)m + f->quantifier_offset);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
    return 1;
}

static bool walk_field(struct walk *w, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    void *at = (char *)m + f->offset;
    size_t n = count_of(m, f);
    size_t before = w->len;
    for (size_t i = 0; i < n; i++) {
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        void *value = repeated ? (*(void ***)at)[i] : *(void **)at;
        if (!value || value == protobuf_c_empty_string)
            continue;
        int more = repeated ? snprintf(w->path + w->len, sizeof(w->path) - w->len, "%s%s[%zu]",
                                       w->len ? "." : "", f->name, i)
                            : snprintf(w->path + w->len, sizeof(w->path) - w->len, "%s%s",
                                       w->len ? "." : "", f->name);
        w->len +=
            (size_t)more < sizeof(w->path) - w->len ? (size_t)more : sizeof(w->path) - w->len - 1;
        bool good =
            f->type == PROTOBUF_C_TYPE_STRING ? walk_string(value, w->fix) : walk_message(w, value);
        if (!good && !w->fix)
            return false;
        w->len = before;
        w->path[before] = '\0';
    }
    return true;
}

static bool walk_message(struct walk *w, ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (!walk_field(w, m, f))
            return false;
    }
    return true;
}

int pb_check_strings(const ProtobufCMessage *message, struct gi_error *err)
{
    struct walk w = {.fix = false};
    if (walk_message(&w, (ProtobufCMessage *)message))
        return 0;
    return gi_fail(err, GI_INVALID_ARGUMENT, "%s: not valid UTF-8", w.path);
}

void pb_clean_text(char *text)
{
    walk_string(text, true);
}

void pb_clean_strings(ProtobufCMessage *message)
{
    struct walk w = {.fix = true};
    walk_message(&w, message);
}

/* ---- unpacking ---- */

struct budget {
    size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL;
    b->left -= size;
    return malloc(size);
}

static void budget_free(void *data, void *p)
{
    free(p);
}

ProtobufCMessage *pb_unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t len,
                            size_t budget)
{
    struct budget b = {budget};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &b};
    return protobuf_c_message_unpack(type, &allocator, len, data);
}
