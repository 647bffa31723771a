/* SPDX-License-Identifier: Apache-2.0 */
/* The one codec of the control protocol: it walks tables made from messages.h,
 * in both directions and at both ends. */
#include "control/messages.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"

enum kind { KIND_U32, KIND_U64, KIND_STR, KIND_REC, KIND_LIST };

struct record;

struct field {
    enum kind kind;
    uint32_t offset;       /* in the record's struct; a list's first element */
    uint32_t count_offset; /* of a list's element count */
    uint32_t max;          /* bytes of text, elements of a list */
    const char *name;
    struct record (*record)(void);
};

struct record {
    const char *name;
    size_t size;
    size_t n_fields;
    const struct field *fields;
};

/* clang-format off */
#define FIELD(kind, ...) FIELD_##kind(__VA_ARGS__)
#define FIELD_U32(name)      {KIND_U32, offsetof(T, name), 0, 0, #name, NULL},
#define FIELD_U64(name)      {KIND_U64, offsetof(T, name), 0, 0, #name, NULL},
#define FIELD_STR(name, max) {KIND_STR, offsetof(T, name), 0, max, #name, NULL},
#define FIELD_REC(name, rec) {KIND_REC, offsetof(T, name), 0, 0, #name, record_##rec},
#define FIELD_LIST(name, rec, max) \
    {KIND_LIST, offsetof(T, name), offsetof(T, n_##name), max, #name, record_##rec},

#define RECORD(rec, FIELDS) \
    static struct record record_##rec(void) \
    { \
        typedef struct control_##rec T; \
        static const struct field fields[] = {FIELDS(FIELD)}; \
        return (struct record){#rec, sizeof(T), GI_ARRAY_SIZE(fields), fields}; \
    }
CONTROL_PUBLIC_RECORDS(RECORD)
CONTROL_WIRE_RECORDS(RECORD)

static struct record record_nothing(void)
{
    return (struct record){"nothing", sizeof(struct control_nothing), 0, NULL};
}

/* A field added to a public struct and not to its list would be lost silently. */
#define AGREES(rec, FIELDS) \
    struct described_##rec { FIELDS(CONTROL_MEMBER) }; \
    _Static_assert(sizeof(struct described_##rec) == sizeof(struct control_##rec), #rec);
CONTROL_PUBLIC_RECORDS(AGREES)

static const struct call {
    uint16_t number;
    const char *name;
    struct record (*request)(void);
    struct record (*response)(void);
} calls[] = {
#define CALL(number, name, request, response) \
    {number, #name, record_##request, record_##response},
    CONTROL_CALLS(CALL)
};
/* clang-format on */

static const struct call *find_call(uint16_t type)
{
    for (size_t i = 0; i < GI_ARRAY_SIZE(calls); i++) {
        if (calls[i].number == (type & ~CONTROL_RESPONSE))
            return &calls[i];
    }
    return NULL;
}

const char *control_call_name(uint16_t type)
{
    const struct call *c = find_call(type);
    return c ? c->name : "unknown";
}

/* size 0: we have no such type. */
static struct record record_of_type(uint16_t type, struct gi_error *err)
{
    if (type == CONTROL_FAILURE)
        return record_error();
    const struct call *c = find_call(type);
    if (c)
        return type & CONTROL_RESPONSE ? c->response() : c->request();
    gi_fail(err, GI_UNIMPLEMENTED, "control message of unknown type %u", type);
    return (struct record){0};
}

/* A position in a message: writing when OUT is set, else reading IN. */
struct cursor {
    const uint8_t *in;
    uint8_t *out;
    size_t pos;
    size_t size;
};

static bool take(struct cursor *c, size_t n)
{
    if (n > c->size - c->pos)
        return false;
    c->pos += n;
    return true;
}

/* Numbers are little-endian whatever the machine's order is. */
static bool number(struct cursor *c, uint64_t *v, size_t width)
{
    size_t at = c->pos;
    if (!take(c, width))
        return false;
    if (c->out) {
        for (size_t i = 0; i < width; i++)
            c->out[at + i] = (uint8_t)(*v >> (8 * i));
        return true;
    }
    *v = 0;
    for (size_t i = 0; i < width; i++)
        *v |= (uint64_t)c->in[at + i] << (8 * i);
    return true;
}

static bool number32(struct cursor *c, uint32_t *v)
{
    uint64_t wide = c->out ? *v : 0;
    if (!number(c, &wide, sizeof(*v)))
        return false;
    if (!c->out)
        *v = (uint32_t)wide;
    return true;
}

static bool clean_text(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)s[i];
        if (ch < 0x20 || ch == 0x7f)
            return false;
    }
    return true;
}

static int walk_text(struct cursor *c, const struct field *f, char *text, struct gi_error *err)
{
    uint32_t len = c->out ? (uint32_t)strnlen(text, f->max + 1) : 0;
    if (!number32(c, &len))
        return gi_fail(err, GI_OUT_OF_RANGE, "%s doesn't fit", f->name);
    if (len > f->max)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s is longer than %u bytes", f->name, f->max);
    size_t at = c->pos;
    if (!take(c, len))
        return gi_fail(err, GI_OUT_OF_RANGE, "%s doesn't fit", f->name);
    const char *source = c->out ? text : (const char *)c->in + at;
    if (!clean_text(source, len))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s has a control character", f->name);
    if (c->out) {
        memcpy(c->out + at, text, len);
    } else {
        memcpy(text, source, len);
        text[len] = '\0';
    }
    return 0;
}

static int walk(struct cursor *c, const struct record *r, uint8_t *base, struct gi_error *err);

static int walk_list(struct cursor *c, const struct field *f, uint8_t *base, struct gi_error *err)
{
    uint32_t *n = (uint32_t *)(void *)(base + f->count_offset);
    struct record element = f->record();
    if (!number32(c, n))
        return gi_fail(err, GI_OUT_OF_RANGE, "%s doesn't fit", f->name);
    if (*n > f->max)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s has more than %u elements", f->name, f->max);
    for (uint32_t i = 0; i < *n; i++) {
        int rc = walk(c, &element, base + f->offset + i * element.size, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Both directions in one walk: what can be read is what can be written. The
 * nesting is that of the tables, which is fixed. */
static int walk(struct cursor *c, const struct record *r, uint8_t *base, struct gi_error *err)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct field *f = &r->fields[i];
        void *at = base + f->offset;
        struct record inner;
        int rc = 0;
        switch (f->kind) {
        case KIND_U32:
            rc = number32(c, at) ? 0 : gi_fail(err, GI_OUT_OF_RANGE, "%s doesn't fit", f->name);
            break;
        case KIND_U64:
            rc = number(c, at, 8) ? 0 : gi_fail(err, GI_OUT_OF_RANGE, "%s doesn't fit", f->name);
            break;
        case KIND_STR:
            rc = walk_text(c, f, at, err);
            break;
        case KIND_REC:
            inner = f->record();
            rc = walk(c, &inner, at, err);
            break;
        case KIND_LIST:
            rc = walk_list(c, f, base, err);
            break;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

struct wire_header {
    uint32_t magic;
    uint32_t version_type; /* version in the low half */
    uint32_t seq;
    uint32_t payload_len;
};

static bool walk_header(struct cursor *c, struct wire_header *h)
{
    return number32(c, &h->magic) && number32(c, &h->version_type) && number32(c, &h->seq) &&
           number32(c, &h->payload_len);
}

int control_encode(uint16_t type, uint32_t seq, const void *body, void *out, size_t out_size,
                   struct gi_error *err)
{
    struct record r = record_of_type(type, err);
    if (!r.size)
        return -GI_UNIMPLEMENTED;
    if (out_size < CONTROL_HEADER_SIZE)
        return gi_fail(err, GI_OUT_OF_RANGE, "no room for a control header");
    size_t room = out_size < CONTROL_MAX_MESSAGE ? out_size : CONTROL_MAX_MESSAGE;
    struct cursor c = {.out = out, .pos = CONTROL_HEADER_SIZE, .size = room};
    /* An encoding cursor only reads the body. */
    int rc = walk(&c, &r, (uint8_t *)(uintptr_t)body, err);
    if (rc < 0)
        return rc;
    struct wire_header h = {.magic = CONTROL_MAGIC,
                            .version_type = CONTROL_VERSION | (uint32_t)type << 16,
                            .seq = seq,
                            .payload_len = (uint32_t)(c.pos - CONTROL_HEADER_SIZE)};
    struct cursor head = {.out = out, .size = CONTROL_HEADER_SIZE};
    walk_header(&head, &h);
    return (int)c.pos;
}

int control_decode(const void *data, size_t len, struct control_header *ret_header,
                   union control_any *ret_body, struct gi_error *err)
{
    struct cursor c = {.in = data, .size = len};
    struct wire_header h = {0};
    if (!walk_header(&c, &h) || h.magic != CONTROL_MAGIC)
        return gi_fail(err, GI_INVALID_ARGUMENT, "not a control message");
    *ret_header = (struct control_header){.type = (uint16_t)(h.version_type >> 16), .seq = h.seq};
    if ((h.version_type & 0xffff) != CONTROL_VERSION)
        return gi_fail(err, GI_UNIMPLEMENTED, "control protocol version %u, ours is %u",
                       h.version_type & 0xffff, CONTROL_VERSION);
    if (h.payload_len > CONTROL_MAX_PAYLOAD || h.payload_len != len - CONTROL_HEADER_SIZE)
        return gi_fail(err, GI_INVALID_ARGUMENT, "control message of %zu bytes says %u", len,
                       h.payload_len);
    struct record r = record_of_type(ret_header->type, err);
    if (!r.size)
        return -GI_UNIMPLEMENTED;
    cleanup_free union control_any *body = calloc(1, sizeof(*body));
    if (!body)
        return gi_fail_errno(err, ENOMEM, "control message");
    int rc = walk(&c, &r, (uint8_t *)body, err);
    if (rc < 0)
        return rc == -GI_OUT_OF_RANGE ? gi_fail(err, GI_INVALID_ARGUMENT, "%s is cut short", r.name)
                                      : rc;
    if (c.pos != len)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s has %zu bytes too many", r.name, len - c.pos);
    memcpy(ret_body, body, r.size);
    return 0;
}
