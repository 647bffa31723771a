/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's listening unix sockets. */
#ifndef GI_PROXY_LISTEN_H
#define GI_PROXY_LISTEN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* A non-blocking listening SOCK_SEQPACKET socket at PATH with MODE. A socket
 * left behind by a dead proxy is replaced; FAILED_PRECONDITION when somebody
 * still listens there, or PATH is something else than a socket. */
int listen_at(const char *path, mode_t mode, int *ret_fd, struct gi_error *err);

/* Accepts one connection: its descriptor (non-blocking, close-on-exec), or
 * -EAGAIN when nobody waits. When descriptors have run out the connection is
 * closed unserved (else the ready listener would spin): -EMFILE. */
int listen_accept(int listener);

/* The peer's uid by SO_PEERCRED, as of its connect(2). */
int peer_uid(int fd, uid_t *ret_uid, struct gi_error *err);

#endif
