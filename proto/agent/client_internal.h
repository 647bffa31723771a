/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the client. One I/O thread owns the socket: callers append whole
 * frames to a bounded queue and wake it, so a caller whose deadline passes can
 * never leave half a frame on the wire. `mu` guards everything but `fd`,
 * `in`, `greeted` and the callbacks, which belong to the I/O thread.
 */
#ifndef GI_AGENT_CLIENT_INTERNAL_H
#define GI_AGENT_CLIENT_INTERNAL_H

#include <pthread.h>

#include "agent/agent_client.h"
#include "agent/wire.h"

#define CLIENT_OUT_MAX   (4u << 20)
#define CLIENT_IN_MAX    (AGENT_FRAME_MAX + AGENT_FRAME_HEADER + (64u << 10))
#define CLIENT_CALLS_MAX 256u

struct pending {
    struct pending *next;
    uint64_t id;
    Gi__Agent__Reply__ResultCase expect;
    pthread_cond_t cond;
    bool done;
    struct gi_error why;         /* code GI_OK: reply is there */
    Gi__Agent__FromAgent *reply; /* owned */
    bool is_exec;
    size_t max_output;
    struct gi_buf output[2];
};

/* A container whose logs are followed or whose acknowledgement is due. */
struct follow {
    struct follow *next;
    char id[AGENT_ID_MAX + 1];
    bool followed;
    int64_t last_ns; /* of the records seen */
    int64_t ack_ns;  /* to be sent; 0: nothing */
};

struct agent_client {
    int fd;
    int wake; /* eventfd */
    pthread_t thread;
    struct agent_callbacks cb;
    void *data;
    struct gi_buf in;
    bool greeted; /* the agent has answered Hello */

    pthread_mutex_t mu;
    pthread_cond_t room; /* in `out`, or `ready` changed */
    bool ready;          /* agent_client_new succeeded: callbacks may run */
    bool stop;
    bool dead;
    struct gi_error why;
    struct gi_buf out;
    struct pending *calls;
    size_t n_calls;
    uint64_t next_id;
    uint64_t abandoned; /* calls given up whose replies may still come */
    struct follow *follows;
    size_t n_follows;
};

/* client_io.c */
void *client_io_thread(void *client);
void client_wake(struct agent_client *c);

/* client_receive.c: one frame's payload, on the I/O thread. A negative result
 * means that the agent broke the protocol and the connection must end. */
int client_receive(struct agent_client *c, const void *payload, size_t len, struct gi_error *err);
/* An error the agent told, made fit to be shown. */
void client_set_error(struct gi_error *err, uint32_t code, const char *text);

/* client.c */
void pending_init(struct pending *p, Gi__Agent__Reply__ResultCase expect);
void pending_free(struct pending *p);
/* Sends MSG under a new id and waits. 0: p->reply holds a result of the
 * expected kind. A negative TIMEOUT_MS waits for ever. */
int client_call(struct agent_client *c, Gi__Agent__ToAgent *msg, struct pending *p, int timeout_ms,
                struct gi_error *err);
/* client_calls.c: checks MSG; the reply has no result. */
int client_simple_call(struct agent_client *c, Gi__Agent__ToAgent *msg, int timeout_ms,
                       struct gi_error *err);

void client_copy_stats(struct agent_stats *to, const Gi__Agent__StatsReply *s);

/* With mu held; NULL when ADD is false and there is none, or the table is full. */
struct follow *client_follow(struct agent_client *c, const char *id, bool add);
void client_forget(struct agent_client *c, const char *id);

#endif
