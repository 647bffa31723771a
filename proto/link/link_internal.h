/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GI_LINK_INTERNAL_H
#define GI_LINK_INTERNAL_H

#include <pthread.h>

#include "base/buf.h"
#include "frame.h"
#include "link.h"

struct link_stream {
    struct link_stream *next;
    uint32_t id;
    int fd;            /* ours, non-blocking */
    struct gi_buf in;  /* from the peer, for fd */
    uint32_t credit;   /* bytes we may send */
    uint32_t consumed; /* bytes fd took since the last CREDIT */
    bool eof_out;      /* we sent EOF */
    bool eof_in;       /* the peer did */
    bool shut;         /* fd's reader was told so */
    bool deaf;         /* fd's reader went */
    bool closing;      /* the peer sent CLOSE: what is in IN still goes to fd */
    bool dead;         /* taken out at the end of the round */
};

struct link {
    struct link_pipe pipe;
    const char *hello;
    uint32_t prefix; /* bytes before each packet in a stream's buffer; 0: no packets */
    int (*accept)(void *data);
    void *accept_data;
    int wake;  /* eventfd: OPENING or STOP changed */
    int ready; /* eventfd */
    /* Of link_run's thread alone: */
    struct link_stream *streams;
    unsigned n_streams;
    uint32_t last_id;
    struct gi_buf in;  /* an incomplete frame */
    struct gi_buf out; /* frames that wait for room in the pipe */
    bool greeted;
    /* Under lock: */
    pthread_mutex_t lock;
    struct link_stream *opening; /* made by link_open, unknown to the peer */
    unsigned n_all;              /* streams and those that open */
    bool up, over, stop;
};

/* ---- receive.c ---- */

/* Bytes of the pipe. DATA_LOSS when the peer broke the protocol. */
int link_receive(struct link *l, const char *data, size_t n, struct gi_error *err);

/* ---- link.c ---- */

/* Frames queued for the pipe. */
int link_send(struct link *l, enum link_type type, uint32_t stream, const void *payload, size_t n);
struct link_stream *link_stream_new(uint32_t id, int fd);
void link_stream_free(struct link_stream *s);

#endif
