/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CRI client over a unix socket: gRPC's C core, driven by the protobuf-c
 * service descriptors. A client may be used from many threads at once; each
 * call has its own completion queue. The connection is made at the first call
 * and again after the server restarted. What the server says is bounded
 * (GI_CRI_MAX_MESSAGE) and must parse, but is otherwise the caller's to judge.
 *
 * An error is the server's status (code and message) or, when the call never
 * reached it, UNAVAILABLE, DEADLINE_EXCEEDED or CANCELLED.
 */
#ifndef GI_CRI_CLIENT_H
#define GI_CRI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cri/cri.h"

#define GI_CRI_MAX_MESSAGE (32u << 20) /* bytes, each way */

struct gi_cri_client;

/* ENDPOINT: "unix:///path", "unix:/path" or "/path". Doesn't connect yet. */
int gi_cri_client_new(const char *endpoint, struct gi_cri_client **ret_client,
                      struct gi_error *err);
/* No call may be in flight. */
void gi_cri_client_free(struct gi_cri_client *c);

struct gi_cri_call_options {
    int timeout_ms;                /* 0: none */
    bool (*cancelled)(void *data); /* polled ten times a second; NULL: never */
    void *data;
};

/* One call of METHOD ("PullImage"), found in the two CRI services. REQUEST
 * must be of the method's input type. *ret_response is freed with
 * protobuf_c_message_free_unpacked(m, NULL). OPT may be NULL. */
int gi_cri_call(struct gi_cri_client *c, const char *method, const ProtobufCMessage *request,
                const struct gi_cri_call_options *opt, ProtobufCMessage **ret_response,
                struct gi_error *err);

/* The same for a server-streaming method: FN gets each message and does not
 * own it; a non-zero return ends the stream, which then is a success. */
int gi_cri_stream(struct gi_cri_client *c, const char *method, const ProtobufCMessage *request,
                  const struct gi_cri_call_options *opt,
                  int (*fn)(void *data, const ProtobufCMessage *message), void *data,
                  struct gi_error *err);

/* The same two without looking into the bytes, for passing calls on. PATH is
 * the gRPC path "/runtime.v1.ImageService/PullImage"; the response is heap
 * memory the caller frees (NULL when it is empty). */
int gi_cri_call_raw(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                    const struct gi_cri_call_options *opt, uint8_t **ret_response, size_t *ret_len,
                    struct gi_error *err);
int gi_cri_stream_raw(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                      const struct gi_cri_call_options *opt,
                      int (*fn)(void *data, const uint8_t *message, size_t len), void *data,
                      struct gi_error *err);

#endif
