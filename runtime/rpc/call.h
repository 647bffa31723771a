/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the gRPC server: one call and what runs it. */
#ifndef RT_RPC_CALL_H
#define RT_RPC_CALL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rpc/pool.h"
#include "rpc/rpc.h"

#define RPC_POLLERS  2
#define RPC_ACCEPTS  8          /* calls we are ready to take at once */
#define RPC_UNPACKED 32         /* a request may take this much more memory than bytes... */
#define RPC_SMALL    (1u << 20) /* ...but any may take this */

struct rpc_slot {
    const ProtobufCMethodDescriptor *method;
    const struct rpc_method *handler; /* NULL: UNIMPLEMENTED */
    bool streams;
};

struct rpc_server {
    struct rpc_config config;
    char *socket;
    void *app;
    struct rpc_slot *slots; /* of both services */
    size_t n_slots;
    grpc_server *grpc;
    grpc_completion_queue *cq;
    pthread_t pollers[RPC_POLLERS];
    unsigned n_pollers;
    struct pool *fast, *work;
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut; /* gRPC says that all calls ended */
};

enum rpc_event { RPC_REQUEST, RPC_MESSAGE, RPC_CLOSED, RPC_SENT, RPC_DONE };

/* A call goes from thread to thread through gRPC's queue, which TSan does not see: what was
 * done to it before its tag was handed over happened before whoever takes that out. */
#ifdef __SANITIZE_THREAD__
void __tsan_release(void *p);
void __tsan_acquire(void *p);
#define RPC_HAND_OVER(tag) __tsan_release((void *)(tag))
#define RPC_TAKE_OVER(tag) __tsan_acquire((void *)(tag))
#else
#define RPC_HAND_OVER(tag) ((void)(tag))
#define RPC_TAKE_OVER(tag) ((void)(tag))
#endif

struct rpc_tag {
    struct rpc_call *call;
    enum rpc_event event;
};

struct rpc_call {
    struct rpc_server *server;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *in;
    const struct rpc_slot *slot;
    struct rpc_tag tags[RPC_DONE + 1];
    int cancelled_result; /* written by gRPC before RPC_CLOSED */
    atomic_bool gone;
    atomic_uint refs;
    int64_t start_ns, deadline_ns;
    char note[80];
    /* Streaming; lock orders `sent`. */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool headers_sent, sent, sent_ok;
};

/* Runs on a thread of a pool. */
void rpc_call_run(void *call);
/* Ends the call without a message. */
void rpc_call_fail(struct rpc_call *call, const struct gi_error *err);

#endif
