/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server: CRI's methods, found by the protobuf-c service
 * descriptors, each answered by one handler function on a thread of a pool.
 *
 * What a handler sees of a call: the request, unpacked, its strings UTF-8; an
 * empty response on the heap that it fills with heap values (rpc/pb.h); an
 * error. Everything else (decoding, limits, UNIMPLEMENTED, packing, the log
 * line) happens once, here.
 */
#ifndef RT_RPC_RPC_H
#define RT_RPC_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

struct rpc_server;
struct rpc_call;

/* REQUEST and RESPONSE are of the method's types. Of a streaming method
 * RESPONSE is NULL: messages go out by rpc_send. */
typedef int (*rpc_handler)(struct rpc_call *call, const void *request, void *response,
                           struct gi_error *err);

enum rpc_flags {
    RPC_READ = 1,    /* changes nothing: logged as debug */
    RPC_FAST = 2,    /* never waits for a zone or the network: threads of its own, so that lists are
                        answered when everything else is stuck */
    RPC_AT_ONCE = 4, /* only looks at tables, and does not stream: run by the thread that got the
                        request, a thread's waking sooner */
};

struct rpc_method {
    const char *name; /* "RunPodSandbox", in either service */
    rpc_handler fn;
    unsigned flags;
};

struct rpc_config {
    const char *socket;   /* absolute path; an old socket there is replaced */
    unsigned mode;        /* of the socket */
    int gid;              /* of the socket; -1: ours */
    unsigned max_message; /* bytes, each way */
    unsigned max_calls;   /* running at once, apart from fast ones */
    unsigned max_queued;
};

/* Starts to answer. METHODS is kept; a name in it that CRI doesn't have is an
 * INTERNAL error. APP is for the handlers. */
int rpc_server_start(const struct rpc_config *config, const struct rpc_method *methods,
                     size_t n_methods, void *app, struct rpc_server **ret_server,
                     struct gi_error *err);
/* Takes no new calls, gives those under way GRACE_MS, then cancels them and
 * waits as long again. False: a handler doesn't return; nothing was freed. */
bool rpc_server_stop(struct rpc_server *s, int grace_ms);

/* ---- for handlers ---- */

void *rpc_app(const struct rpc_call *call);
/* The client went away or its deadline has passed: nobody reads the answer. */
bool rpc_cancelled(const struct rpc_call *call);
/* CANCELLED or DEADLINE_EXCEEDED, or 0. */
int rpc_check(const struct rpc_call *call, struct gi_error *err);
/* Milliseconds until the call's deadline, at most MAX_MS, at least 1. */
int rpc_timeout_ms(const struct rpc_call *call, int max_ms);
/* CLOCK_MONOTONIC; INT64_MAX: none. */
int64_t rpc_deadline_ns(const struct rpc_call *call);
/* Sends one message of a streaming method and waits until it is on its way. */
int rpc_send(struct rpc_call *call, ProtobufCMessage *message, struct gi_error *err);
/* An id that the log line is to name besides those in the request. Copied. */
void rpc_note(struct rpc_call *call, const char *id);

#endif
