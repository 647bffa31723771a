/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket (RFC 6455) with Kubernetes' channel subprotocols: a message's
 * first byte is its channel (0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize);
 * in v5 the client ends a channel by channel 255 and that channel's number.
 *
 * A data frame's payload is handed on as it comes, so its length needs no
 * buffer; control frames hold at most 125 bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "streaming/mux.h"

#define OP_CONTINUATION 0x0
#define OP_TEXT         0x1
#define OP_BINARY       0x2
#define OP_CLOSE        0x8
#define OP_PING         0x9
#define OP_PONG         0xa
#define CHANNEL_CLOSE   255

struct ws {
    struct mux mux;
    int protocol;
    uint8_t head[14];
    size_t head_len;
    bool in_payload;
    uint8_t opcode;
    bool fin;
    uint64_t left; /* of the payload */
    uint64_t at;   /* position in it, for the mask */
    uint8_t mask[4];
    uint8_t control[125];
    size_t control_len;
    bool in_message; /* between a first fragment and its last */
    int channel;     /* of the message; -1: not read yet */
    bool closed;
    struct mux *inner; /* tunnel: the SPDY in it; NULL otherwise */
    struct gi_buf inner_out;
};

static int put_frame(struct mux *m, uint8_t opcode, const void *a, size_t alen, const void *b,
                     size_t blen)
{
    uint8_t head[10] = {0x80 | opcode};
    size_t len = alen + blen;
    size_t n = 2;
    if (len < 126) {
        head[1] = (uint8_t)len;
    } else if (len < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(len >> 8);
        head[3] = (uint8_t)len;
        n = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
        n = 10;
    }
    if (gi_buf_append(m->out, head, n) < 0 || gi_buf_append(m->out, a, alen) < 0)
        return -1;
    return gi_buf_append(m->out, b, blen);
}

static int ws_send(struct mux *m, struct mux_stream *s, const void *bytes, size_t len)
{
    uint8_t channel = (uint8_t)s->id;
    return put_frame(m, OP_BINARY, &channel, 1, bytes, len);
}

/* Only clients end channels; they complain about servers that do. Ours end with
 * the connection. */
static int ws_finish(struct mux *m, struct mux_stream *s)
{
    (void)m;
    s->ended_out = true;
    return 0;
}

static void ws_goodbye(struct mux *m)
{
    struct ws *w = (struct ws *)m;
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xff};
    if (!w->closed)
        put_frame(m, OP_CLOSE, normal, 2, NULL, 0);
    w->closed = true;
}

static void ws_free(struct mux *m)
{
    free(m);
}

static int deliver(struct ws *w, uint8_t *bytes, size_t len, struct gi_error *err)
{
    if (w->inner)
        return w->inner->ops->feed(w->inner, bytes, len, err);
    if (w->channel < 0 && len) {
        w->channel = bytes[0];
        bytes++;
        len--;
    }
    if (!len)
        return 0;
    if (w->channel == CHANNEL_CLOSE) {
        struct mux_stream *s = w->protocol >= 5 ? mux_by_id(&w->mux, bytes[0]) : NULL;
        if (s && !s->ended_in) {
            s->ended_in = true;
            w->mux.events.received(w->mux.events.data, s, NULL, 0, true);
        }
        return 0;
    }
    struct mux_stream *s = mux_by_id(&w->mux, (uint32_t)w->channel);
    if (s && !s->ended_in && (s->type == MUX_STDIN || s->type == MUX_RESIZE))
        w->mux.events.received(w->mux.events.data, s, bytes, len, false);
    return 0;
}

static int control_frame(struct ws *w, struct gi_error *err)
{
    if (w->opcode == OP_PING)
        put_frame(&w->mux, OP_PONG, w->control, w->control_len, NULL, 0);
    if (w->opcode == OP_CLOSE) {
        ws_goodbye(&w->mux);
        return gi_fail(err, GI_CANCELLED, "the peer closed the connection");
    }
    return 0;
}

/* Bytes the frame's head has in all, as far as its beginning tells. */
static size_t head_size(const struct ws *w)
{
    if (w->head_len < 2)
        return 2;
    size_t n = 2 + 4;
    if ((w->head[1] & 0x7f) == 126)
        n += 2;
    else if ((w->head[1] & 0x7f) == 127)
        n += 8;
    return n;
}

static int begin_frame(struct ws *w, struct gi_error *err)
{
    const uint8_t *h = w->head;
    uint8_t opcode = h[0] & 0x0f;
    bool fin = h[0] & 0x80;
    uint64_t len = h[1] & 0x7f;
    size_t at = 2;
    if (h[0] & 0x70)
        return gi_fail(err, GI_INVALID_ARGUMENT, "websocket: reserved bits are set");
    if (!(h[1] & 0x80))
        return gi_fail(err, GI_INVALID_ARGUMENT, "websocket: a client's frame without a mask");
    if (len >= 126) {
        size_t n = len == 126 ? 2 : 8;
        len = 0;
        for (size_t i = 0; i < n; i++)
            len = len << 8 | h[at++];
    }
    memcpy(w->mask, h + at, 4);
    if (opcode >= OP_CLOSE) {
        if (!fin || len > sizeof(w->control) || opcode > OP_PONG)
            return gi_fail(err, GI_INVALID_ARGUMENT, "websocket: bad control frame");
        w->control_len = 0;
    } else {
        if ((opcode == OP_CONTINUATION) != w->in_message || opcode > OP_BINARY)
            return gi_fail(err, GI_INVALID_ARGUMENT, "websocket: frame out of order");
        if (opcode != OP_CONTINUATION)
            w->channel = -1;
        w->in_message = !fin;
    }
    w->opcode = opcode;
    w->fin = fin;
    w->left = len;
    w->at = 0;
    w->in_payload = true;
    return 0;
}

static int end_frame(struct ws *w, struct gi_error *err)
{
    w->in_payload = false;
    w->head_len = 0;
    return w->opcode >= OP_CLOSE ? control_frame(w, err) : 0;
}

static int payload(struct ws *w, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    uint8_t plain[4096];
    int rc = 0;
    while (rc == 0 && len) {
        size_t n = len < sizeof(plain) ? len : sizeof(plain);
        for (size_t i = 0; i < n; i++)
            plain[i] = bytes[i] ^ w->mask[(w->at + i) % 4];
        if (w->opcode >= OP_CLOSE) {
            memcpy(w->control + w->control_len, plain, n);
            w->control_len += n;
        } else {
            rc = deliver(w, plain, n, err);
        }
        w->at += n;
        w->left -= n;
        bytes += n;
        len -= n;
    }
    return rc;
}

static int ws_feed(struct mux *m, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    struct ws *w = (struct ws *)m;
    while (len || (w->in_payload && !w->left)) {
        if (w->in_payload) {
            size_t n = w->left < len ? (size_t)w->left : len;
            int rc = payload(w, bytes, n, err);
            bytes += n;
            len -= n;
            if (rc == 0 && !w->left)
                rc = end_frame(w, err);
            if (rc < 0)
                return rc;
            continue;
        }
        w->head[w->head_len++] = *bytes++;
        len--;
        if (w->head_len >= 2 && w->head_len == head_size(w)) {
            int rc = begin_frame(w, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static const struct mux_ops ws_ops = {
    .feed = ws_feed,
    .send = ws_send,
    .finish = ws_finish,
    .goodbye = ws_goodbye,
    .free = ws_free,
};

struct mux *ws_new(const struct mux_events *events, struct gi_buf *out, int protocol, bool in,
                   bool out_stream, bool err_stream, bool tty)
{
    struct ws *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->mux.ops = &ws_ops;
    w->mux.events = *events;
    w->mux.out = out;
    w->protocol = protocol;
    w->channel = -1;
    const bool wanted[] = {in, out_stream, err_stream && !tty, true, tty};
    for (uint32_t i = 0; i < GI_ARRAY_SIZE(wanted); i++) {
        if (wanted[i])
            mux_add(&w->mux, i)->type = (enum mux_type)i; /* same order as the channels */
    }
    return &w->mux;
}

/* ---- a tunnel: SPDY's bytes as binary messages, however they are cut ---- */

static int tunnel_flush(struct ws *w)
{
    int rc = 0;
    while (rc == 0 && w->inner_out.len) {
        size_t n = w->inner_out.len < MUX_MAX_FRAME ? w->inner_out.len : MUX_MAX_FRAME;
        rc = put_frame(&w->mux, OP_BINARY, w->inner_out.data, n, NULL, 0);
        gi_buf_consume(&w->inner_out, n);
    }
    return rc;
}

static int tunnel_feed(struct mux *m, const uint8_t *bytes, size_t len, struct gi_error *err)
{
    struct ws *w = (struct ws *)m;
    int rc = ws_feed(m, bytes, len, err);
    tunnel_flush(w);
    return rc;
}

static int tunnel_send(struct mux *m, struct mux_stream *s, const void *bytes, size_t len)
{
    struct ws *w = (struct ws *)m;
    int rc = w->inner->ops->send(w->inner, s, bytes, len);
    return rc < 0 ? rc : tunnel_flush(w);
}

static int tunnel_finish(struct mux *m, struct mux_stream *s)
{
    struct ws *w = (struct ws *)m;
    int rc = w->inner->ops->finish(w->inner, s);
    return rc < 0 ? rc : tunnel_flush(w);
}

static void tunnel_goodbye(struct mux *m)
{
    struct ws *w = (struct ws *)m;
    w->inner->ops->goodbye(w->inner);
    tunnel_flush(w);
    ws_goodbye(m);
}

static void tunnel_free(struct mux *m)
{
    struct ws *w = (struct ws *)m;
    w->inner->ops->free(w->inner);
    gi_buf_free(&w->inner_out);
    free(w);
}

/* The session sets the outer one's events, after it was made. */
static int tunnel_opened(void *data, struct mux_stream *s)
{
    const struct mux_events *e = &((struct ws *)data)->mux.events;
    return e->opened(e->data, s);
}

static void tunnel_received(void *data, struct mux_stream *s, const void *bytes, size_t len,
                            bool fin)
{
    const struct mux_events *e = &((struct ws *)data)->mux.events;
    e->received(e->data, s, bytes, len, fin);
}

static void tunnel_reset(void *data, struct mux_stream *s)
{
    const struct mux_events *e = &((struct ws *)data)->mux.events;
    e->reset(e->data, s);
}

static const struct mux_ops tunnel_ops = {
    .feed = tunnel_feed,
    .send = tunnel_send,
    .finish = tunnel_finish,
    .goodbye = tunnel_goodbye,
    .free = tunnel_free,
};

struct mux *ws_tunnel_new(const struct mux_events *events, struct gi_buf *out)
{
    struct ws *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->mux.ops = &tunnel_ops;
    w->mux.events = *events;
    w->mux.out = out;
    w->inner_out = (struct gi_buf)GI_BUF_INIT(out->max);
    const struct mux_events inner = {w, tunnel_opened, tunnel_received, tunnel_reset};
    w->inner = spdy_new(&inner, &w->inner_out);
    if (!w->inner) {
        free(w);
        return NULL;
    }
    return &w->mux;
}
