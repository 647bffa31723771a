/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, SPDY protocol draft 3.1) as far as
 * Kubernetes' streaming uses it: the client opens streams, both send data.
 *
 * Flow control is TCP's. The peers of this field neither send WINDOW_UPDATE
 * nor wait for it, so a sender that honoured the 64 KiB windows of draft 3.1
 * would stop for good after 64 KiB; back-pressure is a socket that isn't read.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "streaming/mux.h"
#include "streaming/spdy_dictionary.h"

#define FRAME_SYN_STREAM    1
#define FRAME_SYN_REPLY     2
#define FRAME_RST_STREAM    3
#define FRAME_SETTINGS      4
#define FRAME_PING          6
#define FRAME_GOAWAY        7
#define FRAME_HEADERS       8
#define FRAME_WINDOW_UPDATE 9

#define FLAG_FIN            0x01
#define RST_REFUSED         3
#define MAX_CONTROL_FRAME   (64u << 10)
#define MAX_HEADER_BLOCK    (64u << 10) /* decompressed */
#define MAX_HEADERS         64

struct spdy {
    struct mux mux;
    z_stream inflate;
    z_stream deflate;
    uint8_t head[8];
    size_t head_len;
    bool control;
    uint32_t left;           /* of the frame's payload */
    struct mux_stream *sink; /* of a data frame; NULL: dropped */
    struct gi_buf frame;     /* a control frame's payload */
    uint32_t last_id;
    uint8_t block[MAX_HEADER_BLOCK];
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static int put_control(struct mux *m, uint16_t type, uint8_t flags, const void *payload, size_t len)
{
    uint8_t head[8] = {0x80, 3, (uint8_t)(type >> 8), (uint8_t)type};
    put32(head + 4, (uint32_t)len);
    head[4] = flags;
    if (gi_buf_append(m->out, head, 8) < 0)
        return -1;
    return gi_buf_append(m->out, payload, len);
}

static int put_data(struct mux *m, uint32_t id, uint8_t flags, const void *bytes, size_t len)
{
    uint8_t head[8];
    put32(head, id & 0x7fffffff);
    put32(head + 4, (uint32_t)len);
    head[4] = flags;
    if (gi_buf_append(m->out, head, 8) < 0)
        return -1;
    return gi_buf_append(m->out, bytes, len);
}

static int spdy_send(struct mux *m, struct mux_stream *s, const void *bytes, size_t len)
{
    return put_data(m, s->id, 0, bytes, len);
}

static int spdy_finish(struct mux *m, struct mux_stream *s)
{
    if (s->ended_out)
        return 0;
    s->ended_out = true;
    return put_data(m, s->id, FLAG_FIN, NULL, 0);
}

static void spdy_goodbye(struct mux *m)
{
    struct spdy *p = (struct spdy *)m;
    uint8_t text[8] = {0};
    put32(text, p->last_id);
    put_control(m, FRAME_GOAWAY, 0, text, 8);
}

static void spdy_free(struct mux *m)
{
    struct spdy *p = (struct spdy *)m;
    inflateEnd(&p->inflate);
    deflateEnd(&p->deflate);
    gi_buf_free(&p->frame);
    free(p);
}

/* Decompresses a header block into p->block; its length, or negative. The
 * compression state spans all blocks of a connection, so one that can't be read
 * ends it. */
static int read_block(struct spdy *p, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    p->inflate.next_in = (Bytef *)bytes;
    p->inflate.avail_in = (uInt)len;
    p->inflate.next_out = p->block;
    p->inflate.avail_out = sizeof(p->block);
    while (p->inflate.avail_in) {
        int rc = inflate(&p->inflate, Z_SYNC_FLUSH);
        if (rc == Z_NEED_DICT)
            rc = inflateSetDictionary(&p->inflate, spdy_dictionary(), SPDY_DICTIONARY_LEN);
        if (rc != Z_OK)
            return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: header block can't be decompressed");
        if (!p->inflate.avail_out)
            return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: header block is too long");
    }
    return (int)(sizeof(p->block) - p->inflate.avail_out);
}

struct field {
    const uint8_t *text;
    size_t len;
};

static bool take_field(const uint8_t **at, size_t *left, struct field *ret)
{
    if (*left < 4)
        return false;
    uint32_t len = be32(*at);
    if (len > *left - 4)
        return false;
    *ret = (struct field){*at + 4, len};
    *at += 4 + len;
    *left -= 4 + len;
    return true;
}

static bool field_is(const struct field *f, const char *text)
{
    return f->len == strlen(text) && memcmp(f->text, text, f->len) == 0;
}

static bool field_number(const struct field *f, uint32_t max, uint32_t *ret)
{
    uint64_t n = 0;
    if (f->len == 0 || f->len > 10)
        return false;
    for (size_t i = 0; i < f->len; i++) {
        if (f->text[i] < '0' || f->text[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(f->text[i] - '0');
    }
    if (n > max)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static enum mux_type type_of(const struct field *value)
{
    static const struct {
        const char *name;
        enum mux_type type;
    } types[] = {{"stdin", MUX_STDIN}, {"stdout", MUX_STDOUT}, {"stderr", MUX_STDERR},
                 {"error", MUX_ERROR}, {"resize", MUX_RESIZE}, {"data", MUX_DATA}};
    for (size_t i = 0; i < GI_ARRAY_SIZE(types); i++) {
        if (field_is(value, types[i].name))
            return types[i].type;
    }
    return MUX_UNKNOWN;
}

/* Kubernetes' headers of a stream: streamtype, and for port-forward port and requestid. */
static int read_headers(struct spdy *p, size_t len, struct mux_stream *s, struct gi_error *err)
{
    const uint8_t *at = p->block;
    if (len < 4 || be32(at) > MAX_HEADERS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: bad header count");
    uint32_t n = be32(at);
    at += 4;
    len -= 4;
    while (n--) {
        struct field name;
        struct field value;
        uint32_t number = 0;
        if (!take_field(&at, &len, &name) || !take_field(&at, &len, &value))
            return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: header block is cut short");
        if (field_is(&name, "streamtype"))
            s->type = type_of(&value);
        else if (field_is(&name, "port") && field_number(&value, 65535, &number))
            s->port = (uint16_t)number;
        else if (field_is(&name, "requestid") && field_number(&value, UINT32_MAX, &number))
            s->request_id = number;
    }
    return 0;
}

static int send_reply(struct spdy *p, uint32_t id, struct gi_error *err)
{
    static const uint8_t no_headers[4] = {0};
    uint8_t text[128];
    put32(text, id);
    p->deflate.next_in = (Bytef *)no_headers;
    p->deflate.avail_in = sizeof(no_headers);
    p->deflate.next_out = text + 4;
    p->deflate.avail_out = sizeof(text) - 4;
    if (deflate(&p->deflate, Z_SYNC_FLUSH) != Z_OK || p->deflate.avail_in)
        return gi_fail(err, GI_INTERNAL, "spdy: can't compress a reply");
    put_control(&p->mux, FRAME_SYN_REPLY, 0, text, sizeof(text) - p->deflate.avail_out);
    return 0;
}

static void refuse(struct spdy *p, uint32_t id)
{
    uint8_t text[8];
    put32(text, id);
    put32(text + 4, RST_REFUSED);
    put_control(&p->mux, FRAME_RST_STREAM, 0, text, 8);
}

static int syn_stream(struct spdy *p, uint8_t flags, const uint8_t *b, size_t len,
                      struct gi_error *err)
{
    if (len < 10)
        return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: SYN_STREAM is cut short");
    uint32_t id = be32(b) & 0x7fffffff;
    if (id % 2 == 0 || id <= p->last_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: stream id %u out of order", id);
    p->last_id = id;
    int n = read_block(p, b + 10, len - 10, err);
    if (n < 0)
        return n;
    struct mux_stream *s = mux_add(&p->mux, id);
    if (!s) {
        refuse(p, id);
        return 0;
    }
    int rc = read_headers(p, (size_t)n, s, err);
    if (rc < 0)
        return rc;
    rc = send_reply(p, id, err);
    if (rc < 0)
        return rc;
    if (p->mux.events.opened(p->mux.events.data, s) < 0) {
        s->open = false;
        refuse(p, id);
        return 0;
    }
    if (flags & FLAG_FIN) {
        s->ended_in = true;
        p->mux.events.received(p->mux.events.data, s, NULL, 0, true);
    }
    return 0;
}

static int control_frame(struct spdy *p, struct gi_error *err)
{
    uint16_t version = (uint16_t)((p->head[0] & 0x7f) << 8 | p->head[1]);
    uint16_t type = (uint16_t)(p->head[2] << 8 | p->head[3]);
    uint8_t flags = p->head[4];
    const uint8_t *b = (const uint8_t *)p->frame.data;
    size_t len = p->frame.len;
    if (version != 3)
        return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: version %u", version);
    if (type == FRAME_SYN_STREAM)
        return syn_stream(p, flags, b, len, err);
    if (type == FRAME_HEADERS && len >= 4) {
        int n = read_block(p, b + 4, len - 4, err); /* keeps the compression state */
        return n < 0 ? n : 0;
    }
    if (type == FRAME_PING && len == 4)
        put_control(&p->mux, FRAME_PING, 0, b, 4);
    if (type == FRAME_RST_STREAM && len == 8) {
        struct mux_stream *s = mux_by_id(&p->mux, be32(b) & 0x7fffffff);
        if (s) {
            p->mux.events.reset(p->mux.events.data, s);
            if (p->sink == s)
                p->sink = NULL;
            s->open = false;
        }
    }
    if (type == FRAME_GOAWAY)
        return 0; /* the peer closes when it is done */
    return 0;     /* SETTINGS, WINDOW_UPDATE and unknown ones don't matter */
}

static int begin_frame(struct spdy *p, struct gi_error *err)
{
    p->control = p->head[0] & 0x80;
    p->left = be32(p->head + 4) & 0x00ffffff;
    p->frame.len = 0;
    if (p->control) {
        if (p->left > MAX_CONTROL_FRAME)
            return gi_fail(err, GI_INVALID_ARGUMENT, "spdy: control frame of %u bytes", p->left);
        return 0;
    }
    p->sink = mux_by_id(&p->mux, be32(p->head) & 0x7fffffff);
    if (p->sink && p->sink->ended_in)
        p->sink = NULL;
    return 0;
}

static int end_frame(struct spdy *p, struct gi_error *err)
{
    p->head_len = 0;
    if (p->control)
        return control_frame(p, err);
    if (p->sink && (p->head[4] & FLAG_FIN)) {
        p->sink->ended_in = true;
        p->mux.events.received(p->mux.events.data, p->sink, NULL, 0, true);
    }
    p->sink = NULL;
    return 0;
}

static int payload(struct spdy *p, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    if (p->control && gi_buf_append(&p->frame, bytes, len) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "spdy: no memory");
    if (!p->control && p->sink && len)
        p->mux.events.received(p->mux.events.data, p->sink, bytes, len, false);
    p->left -= (uint32_t)len;
    return 0;
}

static int spdy_feed(struct mux *m, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    struct spdy *p = (struct spdy *)m;
    while (len) {
        int rc = 0;
        if (p->head_len < 8) {
            p->head[p->head_len++] = *bytes++;
            len--;
            if (p->head_len == 8)
                rc = begin_frame(p, err);
        } else {
            size_t n = p->left < len ? p->left : len;
            rc = payload(p, bytes, n, err);
            bytes += n;
            len -= n;
        }
        if (rc == 0 && p->head_len == 8 && !p->left)
            rc = end_frame(p, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct mux_ops spdy_ops = {
    .feed = spdy_feed,
    .send = spdy_send,
    .finish = spdy_finish,
    .goodbye = spdy_goodbye,
    .free = spdy_free,
};

struct mux *spdy_new(const struct mux_events *events, struct gi_buf *out)
{
    struct spdy *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->mux.ops = &spdy_ops;
    p->mux.events = *events;
    p->mux.out = out;
    p->frame.max = MAX_CONTROL_FRAME;
    if (inflateInit(&p->inflate) != Z_OK ||
        deflateInit2(&p->deflate, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflateSetDictionary(&p->deflate, spdy_dictionary(), SPDY_DICTIONARY_LEN) != Z_OK) {
        spdy_free(&p->mux);
        return NULL;
    }
    return &p->mux;
}
