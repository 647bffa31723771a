/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many byte streams over one: what a unix socket is to a zone on the host's
 * kernel, a link is to a zone that is a domain. On the host each stream is one
 * end of a socket pair; in the zone, the other party connects it to the
 * agent's socket. Neither the agent nor its client notices.
 *
 * One end opens streams (the host), the other accepts them. Frames on the pipe:
 *
 *   type u8 | 0 u8 | length u16 | stream u32 | payload         host byte order
 *
 *   HELLO   "GILINK01" (bytes) or "GIPACK01" (packets), each side's first frame
 *   OPEN    a new stream; numbers only go up
 *   DATA    1..LINK_CHUNK bytes, or one packet
 *   EOF     no more DATA from this side
 *   CLOSE   the stream is no more; nothing about it follows
 *   CREDIT  u32: so many more bytes may be sent
 *
 * Invariants:
 *  L1  Per stream at most LINK_WINDOW bytes are under way or kept here; who
 *      sends more broke the protocol, and the link ends.
 *  L2  The pipe is always read: a stream whose reader is slow holds up no other.
 *  L3  Nothing is sent in reply to a frame but by the accepting end, once per OPEN:
 *      the peer can't make us keep more than LINK_WINDOW * LINK_STREAMS bytes.
 *  L4  A frame about a stream we don't know is ignored (its CLOSE and ours may
 *      cross), but an OPEN from a peer that may not open ends the link.
 */
#ifndef GI_LINK_LINK_H
#define GI_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define LINK_WINDOW  (256u << 10)
#define LINK_CHUNK   (36u << 10) /* a packet of proto/control fits */
#define LINK_STREAMS 512u

/* What carries it: two directions of bytes to one peer. */
struct link_pipe {
    int fd;          /* readable when something may have changed */
    bool polls_room; /* FD tells by POLLOUT that there is room again; else by POLLIN */
    /* 0: nothing now, or no room; negative: the peer is gone. */
    ssize_t (*read)(void *data, void *buf, size_t n);
    ssize_t (*write)(void *data, const void *buf, size_t n);
    /* FD was readable. Negative: the peer is gone. */
    int (*attend)(void *data);
    void *data;
    int end_fd; /* readable: the peer is gone, whatever the pipe says. 0: none */
};

struct link;

/* What its streams are: SOCK_STREAM or SOCK_SEQPACKET. Both ends must agree. */
enum link_kind { LINK_BYTES, LINK_PACKETS };

/* ACCEPT is called by link_run for each stream the peer opens and returns a
 * connected descriptor, which the link then owns, or a negative gi_code. NULL:
 * this end opens, the peer may not. *PIPE is copied; what it stands for must
 * live as long as the link. */
int link_new(const struct link_pipe *pipe, enum link_kind kind, int (*accept)(void *data),
             void *accept_data, struct link **ret, struct gi_error *err);

/* Carries until the pipe's end or link_stop (then 0). All streams are closed on
 * return. One thread, once. UNAVAILABLE: the peer went; DATA_LOSS: it broke the
 * protocol. */
int link_run(struct link *l, struct gi_error *err);

/* The rest may be called from any thread. */

/* A descriptor readable once the peer has said HELLO or link_run is over. */
int link_ready_fd(const struct link *l);
/* Between the two: a stream can be opened. */
bool link_up(struct link *l);
/* A new stream; the caller owns *RET_FD. UNAVAILABLE when the link is not up. */
int link_open(struct link *l, int *ret_fd, struct gi_error *err);
/* FD, a connected socket of the link's kind, becomes a stream's near end; taken on success. */
int link_carry(struct link *l, int fd, struct gi_error *err);
void link_stop(struct link *l);
/* After link_run has returned, or before it was called. NULL is fine. */
void link_free(struct link *l);

#endif
