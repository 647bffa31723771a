/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SPDY/3.1 and a WebSocket have in common for us: several byte streams
 * over one connection. A mux owns no descriptor: bytes from the peer are fed
 * in, frames for the peer are appended to an output buffer the connection
 * empties. Everything fed is hostile; a broken rule ends the connection.
 */
#ifndef GI_STREAMING_MUX_H
#define GI_STREAMING_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define MUX_MAX_STREAMS 64
#define MUX_MAX_FRAME   (16u << 10) /* of what we send */

enum mux_type {
    MUX_STDIN,
    MUX_STDOUT,
    MUX_STDERR,
    MUX_ERROR,
    MUX_RESIZE,
    MUX_DATA, /* port-forward */
    MUX_UNKNOWN,
};

struct mux_stream {
    bool open;
    uint32_t id; /* SPDY stream, WebSocket channel */
    enum mux_type type;
    uint16_t port;       /* port-forward */
    uint32_t request_id; /* port-forward: pairs data with error */
    bool ended_in;       /* the peer sends no more */
    bool ended_out;      /* we send no more */
    void *user;          /* the session's */
};

struct mux;

struct mux_events {
    void *data;
    /* A new stream. Negative: refuse it. */
    int (*opened)(void *data, struct mux_stream *s);
    /* Bytes of a stream, or its end (LEN 0 and FIN). */
    void (*received)(void *data, struct mux_stream *s, const void *bytes, size_t len, bool fin);
    /* The peer gave the stream up. */
    void (*reset)(void *data, struct mux_stream *s);
};

struct mux {
    const struct mux_ops *ops;
    struct mux_events events;
    struct gi_buf *out;
    struct mux_stream streams[MUX_MAX_STREAMS];
};

struct mux_ops {
    /* Negative: the connection is over. */
    int (*feed)(struct mux *m, const uint8_t *bytes, size_t len, struct gi_error *err);
    int (*send)(struct mux *m, struct mux_stream *s, const void *bytes, size_t len);
    int (*finish)(struct mux *m, struct mux_stream *s); /* end of our side of a stream */
    void (*goodbye)(struct mux *m);
    void (*free)(struct mux *m);
};

struct mux *spdy_new(const struct mux_events *events, struct gi_buf *out);
/* PROTOCOL: 4 or 5 (v4/v5.channel.k8s.io). Its streams exist from the start:
 * the ones of an exec or attach with these properties. */
struct mux *ws_new(const struct mux_events *events, struct gi_buf *out, int protocol, bool in,
                   bool out_stream, bool err_stream, bool tty);

/* SPDY within a WebSocket. Its streams are SPDY's: known by the events alone, not
 * by mux_find or mux_by_id. */
struct mux *ws_tunnel_new(const struct mux_events *events, struct gi_buf *out);

struct mux_stream *mux_find(struct mux *m, enum mux_type type);
struct mux_stream *mux_by_id(struct mux *m, uint32_t id);
struct mux_stream *mux_add(struct mux *m, uint32_t id);

#endif
