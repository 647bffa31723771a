/* SPDX-License-Identifier: Apache-2.0 */
/* A small kubectl: the client's ends of SPDY/3.1 and WebSocket. */
#ifndef GI_TESTS_STREAMING_CLIENT_H
#define GI_TESTS_STREAMING_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

struct client {
    int sock;
    z_stream deflate;
    bool spdy;
    bool tunnel; /* SPDY in binary messages */
    uint32_t next_id;
    size_t left; /* tunnel: of the message that is being read */
};

struct frame {
    uint32_t id; /* stream, or WebSocket channel */
    bool control;
    bool fin; /* SPDY FIN, or the connection's end */
    size_t len;
    uint8_t bytes[70000];
};

/* Connects to URL and upgrades; to SPDY in a WebSocket where PROTOCOL begins with
 * "SPDY" and SPDY is false. The HTTP status; 0 when nothing came. */
int client_open(struct client *c, const char *url, bool spdy, const char *protocol);
void client_close(struct client *c);
/* SPDY: opens a stream with up to three headers (NULL-terminated pairs); its id. */
uint32_t client_stream(struct client *c, const char *const *headers);
int client_send(struct client *c, uint32_t id, const void *bytes, size_t len, bool fin);
/* The next frame; -1 at the end or after 10 s. */
int client_recv(struct client *c, struct frame *f);

/* ---- remotecommand ---- */

struct client_answer {
    char *text[5]; /* by channel: stdin, stdout, stderr, error, resize */
    size_t len[5];
    unsigned strange; /* frames of other channels */
};

/* Reads to the end of the connection. IDS: the stream of each channel. */
void client_read_all(struct client *c, const uint32_t ids[5], struct client_answer *a);
void client_answer_free(struct client_answer *a);
/* Opens the streams kubectl opens. */
void client_spdy_streams(struct client *c, bool in, bool tty, uint32_t ids[5]);
extern const uint32_t client_ws_ids[5];

#endif
