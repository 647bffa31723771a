/* SPDX-License-Identifier: Apache-2.0 */
/* A connection after its upgrade: moves bytes between a mux and descriptors. */
#ifndef GI_STREAMING_SESSION_H
#define GI_STREAMING_SESSION_H

#include "streaming/mux.h"
#include "streaming/streaming.h"

#define SESSION_PENDING (256u << 10) /* bytes held per direction of a stream */
/* Room for the frame in work beyond which nothing is read from a process. */
#define SESSION_OUT_MAX (SESSION_PENDING + 4 * MUX_MAX_FRAME + (128u << 10))

struct session {
    int sock; /* non-blocking */
    int wake; /* readable when the server ends */
    int idle_timeout_ms;
    const struct streaming_backend *backend;
    const struct streaming_request *request;
    struct mux *mux;
    struct gi_buf out; /* to the peer */
    const char *early; /* what came behind the request's head */
    size_t early_len;
    int version; /* of channel.k8s.io: 1..5; from 4 on a Status object ends an exec */
    bool peer_gone;
};

/* Both run until the end of the connection; they close nothing of the session. */
void session_remote(struct session *s); /* exec, attach */
void session_portforward(struct session *s);

/* Feeds what came with the request. Negative when the session is over. */
int session_feed_early(struct session *s);

/* Sends what the peer takes now. To be called before deciding what to poll for:
 * who decides on a full buffer that is then emptied waits for nothing. */
int session_flush(struct session *s);

/* One poll of the peer and N descriptors more; handles the peer's side.
 * Negative when the session is over (peer gone, idle, server ends). */
struct pollfd;
int session_poll(struct session *s, struct pollfd *fds, size_t n, bool read_peer);

#endif
