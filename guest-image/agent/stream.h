/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that carries one stream. Of exec and attach it carries records
 * (proto/agent/record.h), of a port plain bytes. What the runtime doesn't read
 * stays in a bounded buffer here and then in whoever writes it.
 */
#ifndef AGENT_STREAM_H
#define AGENT_STREAM_H

#include "agent.h"
#include "agent/record.h"

#define MAX_STREAMS 256u
/* Output waits when this much is unsent, until no more than that is. */
#define STREAM_HIGH (128u << 10)
#define STREAM_LOW  (32u << 10)
#define STREAM_MAX  (512u << 10)

struct stream;

struct stream_ops {
    /* One record. False: not now; it comes again after stream_resume. */
    bool (*record)(void *owner, const struct agent_record *r);
    /* The buffer is below STREAM_LOW again. */
    void (*room)(void *owner);
    /* The connection is no more, and after this the stream neither; the owner
     * forgets it. Not called after stream_end. */
    void (*gone)(void *owner);
};

/* Takes FD. EARLY: bytes that came behind the opening message. */
void stream_open(struct agent *a, int fd, uint64_t id, const Gi__Agent__OpenStream *m,
                 const char *early, size_t early_len);
/* Whether there may be one more; ports count too. */
bool stream_count(struct agent *a, int change, struct gi_error *err);

/* The answer to the opening, made before any record. An ERR ends the stream. */
void stream_reply(struct stream *s, const struct gi_error *err);
bool stream_has_room(const struct stream *s);
/* Splits what is longer than a record. */
void stream_send(struct stream *s, enum agent_record_type type, const char *data, size_t len);
/* The last record; the owner forgets the stream. WHY may be NULL. */
void stream_end(struct stream *s, int exit_code, const struct gi_error *why);
/* A record that could not be taken can be now. */
void stream_resume(struct stream *s);

/* The owner takes his place, which he must before anything is sent. */
void stream_own(struct stream *s, const struct stream_ops *ops, void *owner);

/* ---- exec_stream.c, attach.c ---- */
void exec_stream(struct agent *a, struct stream *s, const Gi__Agent__ExecStream *m);
void attach_stream(struct agent *a, struct stream *s, const Gi__Agent__AttachStream *m);
/* ---- port.c: takes FD ---- */
void port_stream(struct agent *a, int fd, uint64_t id, const Gi__Agent__PortStream *m);

/* The frame that answers request ID, appended to OUT. */
void stream_reply_frame(struct gi_buf *out, uint64_t id, const struct gi_error *err);

#endif
