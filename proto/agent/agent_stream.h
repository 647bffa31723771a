/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a zone's agent: interactive exec, attach, ports. Each has its own
 * connection (from machine_connect_agent), so its flow control is the
 * socket's: who doesn't read slows only his own process down. The agent is
 * hostile: what it says is bounded and checked before a caller sees it.
 *
 * A session may be read by one thread and written by another at once; no
 * function but the openers blocks.
 */
#ifndef GI_AGENT_STREAM_H
#define GI_AGENT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct agent_session;

struct agent_stream_spec {
    const char *container_id;
    const char *const *argv; /* exec: NULL-terminated; attach: not looked at */
    bool tty;                /* exec; attach: the container's own */
    bool in;
    bool out;
    bool err;       /* not with tty */
    uint16_t width; /* of the terminal at the start; 0: not known */
    uint16_t height;
};

/* All three take FD, a fresh connection to the agent, also on failure, and wait at most
 * TIMEOUT_MS. Exec returns when the process runs; a program that doesn't exist or can't be
 * run is FAILED_PRECONDITION with the reason, promptly. */
int agent_exec_open(int fd, const struct agent_stream_spec *spec, int timeout_ms,
                    struct agent_session **ret_session, struct gi_error *err);
/* FAILED_PRECONDITION when the container isn't running. Input for a container without stdin
 * is dropped. The container's log goes on; an attacher who doesn't read is cut off when he
 * holds the container up for seconds. */
int agent_attach_open(int fd, const struct agent_stream_spec *spec, int timeout_ms,
                      struct agent_session **ret_session, struct gi_error *err);
/* *ret_fd: a byte pipe to PORT on the zone's loopback; shutdown(SHUT_WR) is its half-close.
 * UNAVAILABLE when nobody listens there. */
int agent_port_open(int fd, uint16_t port, int timeout_ms, int *ret_fd, struct gi_error *err);

/* Ends the connection: an exec's process is killed when it still runs; with stdin_once the
 * container's stdin closes. NULL is fine. */
void agent_session_free(struct agent_session *s);

/* What to poll for: agent_session_fd for agent_session_events. */
int agent_session_fd(const struct agent_session *s);
short agent_session_events(struct agent_session *s);

enum agent_session_kind {
    AGENT_SESSION_STDOUT = 1,
    AGENT_SESSION_STDERR = 2,
    AGENT_SESSION_END = 3
};
struct agent_session_frame {
    enum agent_session_kind kind;
    const char *data; /* valid until the next agent_session_read */
    size_t len;
    int exit_code; /* END: 0..255, 128+signal when killed; attach: 0 */
};
/* 1: a frame; 0: none now, poll (not before: frames may wait here); negative: the session failed
 * (lost, cut off, the agent lied). After END or a failure there is nothing more. */
int agent_session_read(struct agent_session *s, struct agent_session_frame *ret_frame,
                       struct gi_error *err);

/* Bytes taken; 0: no room now, poll for POLLOUT. */
ssize_t agent_session_write_stdin(struct agent_session *s, const void *data, size_t len,
                                  struct gi_error *err);
/* Half-close, after what was written. */
int agent_session_close_stdin(struct agent_session *s, struct gi_error *err);
/* Of several resizes that find no room the last one counts. */
int agent_session_resize(struct agent_session *s, uint16_t width, uint16_t height,
                         struct gi_error *err);
/* Exec only: to its first process. */
int agent_session_signal(struct agent_session *s, int signal, struct gi_error *err);
/* Sends what found no room; to be called when poll says POLLOUT. */
int agent_session_flush(struct agent_session *s, struct gi_error *err);

/* ---- a session as descriptors, moved by a thread of its own ---- */

struct agent_pipes;

/* Takes SESSION, also on failure. *ret_in is the writing end of the process's stdin,
 * *ret_out and *ret_err the reading ends; the caller's to close; -1 for what SPEC (as given to
 * the opener) didn't ask for. OUT and ERR end when the session ends. */
int agent_pipes_open(struct agent_session *session, const struct agent_stream_spec *spec,
                     struct agent_pipes **ret_pipes, int *ret_in, int *ret_out, int *ret_err,
                     struct gi_error *err);
int agent_pipes_resize(struct agent_pipes *p, uint16_t width, uint16_t height,
                       struct gi_error *err);
/* Waits for the session's end (ABANDON: ends it), frees P. *ret_exit_code as in the END frame;
 * fails when the session failed. */
int agent_pipes_close(struct agent_pipes *p, bool abandon, int *ret_exit_code,
                      struct gi_error *err);

#endif
