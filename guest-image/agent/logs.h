/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's output: read from its pipes (or terminal), cut into lines,
 * kept in a bounded buffer until the runtime acknowledges it. When the buffer
 * is full the pipes aren't read, so the container's writes block: nothing is
 * lost, whoever restarts.
 */
#ifndef AGENT_LOGS_H
#define AGENT_LOGS_H

#include "agent.h"

#define LOGS_MAX (1u << 20) /* bytes buffered a container, records' heads included */

struct log_rec;

struct log_stream {
    struct logs *logs;
    enum agent_stream name;
    struct loop_io io;
    char *line; /* AGENT_LOG_RECORD_MAX */
    size_t len;
};

struct logs {
    struct container *c;
    struct log_stream streams[2];
    struct log_rec *first;
    struct log_rec *last;
    struct log_rec *unsent; /* first not given to this connection */
    size_t bytes;
    int64_t last_ns;
    bool following;
};

void logs_init(struct logs *l, struct container *c);
/* Takes FD. */
int logs_attach(struct logs *l, enum agent_stream stream, int fd);
void logs_free(struct logs *l);

void logs_follow(struct logs *l, int64_t after_ns);
void logs_ack(struct logs *l, int64_t upto_ns);
/* Another connection: nobody follows until told. */
void logs_unfollow(struct logs *l);
/* Queues what is due while the connection has room. */
void logs_send(struct logs *l);
/* Reads on or waits, by what is buffered here and at those attached. */
void logs_pace(struct logs *l);
/* Both streams have ended and the follower, if any, has been sent everything. */
bool logs_drained(const struct logs *l);
bool logs_ended(const struct logs *l);

#endif
