/* SPDX-License-Identifier: Apache-2.0 */
#include "cri/client.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"

struct gi_cri_client {
    grpc_channel *channel;
    char target[sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static int make_target(char *target, size_t size, const char *endpoint, struct gi_error *err)
{
    const char *path = endpoint;
    if (strncmp(path, "unix:", 5) == 0) {
        path += 5;
        if (strncmp(path, "//", 2) == 0)
            path += 2;
    }
    if (path[0] != '/')
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "endpoint \"%.200s\" is not unix:///path or an absolute path", endpoint);
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "endpoint \"%.200s\" is longer than a socket's name", endpoint);
    snprintf(target, size, "unix:%s", path);
    return 0;
}

int gi_cri_client_new(const char *endpoint, struct gi_cri_client **ret_client, struct gi_error *err)
{
    cleanup_free struct gi_cri_client *c = calloc(1, sizeof(*c));
    if (!c)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    int rc = make_target(c->target, sizeof(c->target), endpoint, err);
    if (rc < 0)
        return rc;

    grpc_init();
    /* Servers written in Go refuse the percent-encoded socket path that the C
     * core would send as :authority; a restarted server is wanted back soon. */
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = GI_CRI_MAX_MESSAGE},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
         .value.integer = GI_CRI_MAX_MESSAGE},
        {.type = GRPC_ARG_STRING,
         .key = (char *)GRPC_ARG_DEFAULT_AUTHORITY,
         .value.string = (char *)"localhost"},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
         .value.integer = 100},
        /* In spite of its name: how long one attempt to connect may take. A server
         * with much to do answers late, and that is no reason to give up. */
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
         .value.integer = 20000},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
         .value.integer = 1000},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
         .value.integer = 1},
    };
    grpc_channel_args channel_args = {GI_ARRAY_SIZE(args), args};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    c->channel = grpc_channel_create(c->target, creds, &channel_args);
    grpc_channel_credentials_release(creds);
    *ret_client = TAKE_PTR(c);
    return 0;
}

void gi_cri_client_free(struct gi_cri_client *c)
{
    if (!c)
        return;
    grpc_channel_destroy(c->channel);
    grpc_shutdown_blocking();
    free(c);
}

/* One call in flight: what gRPC writes into until its batches completed. */
struct call {
    grpc_completion_queue *cq;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *send, *recv;
    grpc_status_code status;
    grpc_slice details;
    bool cancelled;
};

enum { TAG_START = 1, TAG_STATUS, TAG_MESSAGE };

static void call_begin(struct call *k, struct gi_cri_client *c, const char *path,
                       const void *request, size_t len, const struct gi_cri_call_options *opt)
{
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (opt && opt->timeout_ms > 0)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis(opt->timeout_ms, GPR_TIMESPAN));
    *k = (struct call){.status = GRPC_STATUS_UNKNOWN, .details = grpc_empty_slice()};
    grpc_metadata_array_init(&k->initial);
    grpc_metadata_array_init(&k->trailing);
    k->cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice method = grpc_slice_from_copied_string(path);
    k->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, k->cq, method,
                                       NULL, deadline, NULL);
    grpc_slice_unref(method);
    grpc_slice body = grpc_slice_from_copied_buffer(request, len);
    k->send = grpc_raw_byte_buffer_create(&body, 1);
    grpc_slice_unref(body);
}

static void call_end(struct call *k)
{
    grpc_byte_buffer_destroy(k->send);
    if (k->recv)
        grpc_byte_buffer_destroy(k->recv);
    grpc_metadata_array_destroy(&k->initial);
    grpc_metadata_array_destroy(&k->trailing);
    grpc_slice_unref(k->details);
    grpc_call_unref(k->call);
    grpc_completion_queue_shutdown(k->cq);
    grpc_completion_queue_destroy(k->cq);
}

/* Waits for the batch TAG; asks meanwhile whether the caller lost interest. */
static void call_wait(struct call *k, intptr_t tag, const struct gi_cri_call_options *opt)
{
    for (;;) {
        bool poll = opt && opt->cancelled && !k->cancelled;
        gpr_timespec until = gpr_inf_future(GPR_CLOCK_MONOTONIC);
        if (poll)
            until =
                gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(100, GPR_TIMESPAN));
        grpc_event ev = grpc_completion_queue_pluck(k->cq, (void *)tag, until, NULL);
        if (ev.type == GRPC_OP_COMPLETE)
            return;
        if (poll && opt->cancelled(opt->data)) {
            k->cancelled = true;
            grpc_call_cancel(k->call, NULL);
        }
    }
}

static int call_status(const struct call *k, struct gi_error *err)
{
    if (k->status == GRPC_STATUS_OK)
        return 0;
    int code = (int)k->status;
    if (code < 0 || code > (int)GI_UNAUTHENTICATED)
        code = GI_UNKNOWN;
    return gi_fail(err, (enum gi_code)code, "%.*s", (int)GRPC_SLICE_LENGTH(k->details),
                   (const char *)GRPC_SLICE_START_PTR(k->details));
}

/* The received message as one piece of memory; false: it can't be read. */
static bool read_all(grpc_byte_buffer *buffer, grpc_slice *ret)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer))
        return false;
    *ret = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

static void put_send_ops(struct call *k, grpc_op ops[4])
{
    memset(ops, 0, 4 * sizeof(*ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = k->send;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &k->initial;
}

static void put_status_op(struct call *k, grpc_op *op)
{
    memset(op, 0, sizeof(*op));
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &k->trailing;
    op->data.recv_status_on_client.status = &k->status;
    op->data.recv_status_on_client.status_details = &k->details;
}

static int start_batch(struct call *k, const grpc_op *ops, size_t n, intptr_t tag,
                       struct gi_error *err)
{
    grpc_call_error e = grpc_call_start_batch(k->call, ops, n, (void *)tag, NULL);
    if (e != GRPC_CALL_OK)
        return gi_fail(err, GI_INTERNAL, "gRPC refuses the call: %s", grpc_call_error_to_string(e));
    return 0;
}

/* Runs a unary call up to its status; the response is in *ret_body. */
static int unary(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                 const struct gi_cri_call_options *opt, grpc_slice *ret_body, struct gi_error *err)
{
    struct call k;
    grpc_op ops[6];

    call_begin(&k, c, path, request, len, opt);
    put_send_ops(&k, ops);
    memset(&ops[4], 0, sizeof(ops[4]));
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &k.recv;
    put_status_op(&k, &ops[5]);
    int rc = start_batch(&k, ops, 6, TAG_START, err);
    if (rc == 0) {
        call_wait(&k, TAG_START, opt);
        rc = call_status(&k, err);
    }
    if (rc == 0 && (!k.recv || !read_all(k.recv, ret_body)))
        rc = gi_fail(err, GI_INTERNAL, "%s: the server sent no message", path);
    call_end(&k);
    return rc;
}

/* Runs a streaming call; FN gets each message's bytes. */
static int stream(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                  const struct gi_cri_call_options *opt,
                  int (*fn)(void *data, const uint8_t *message, size_t len), void *data,
                  struct gi_error *err)
{
    struct call k;
    grpc_op ops[4], status, recv = {.op = GRPC_OP_RECV_MESSAGE};
    bool enough = false;

    call_begin(&k, c, path, request, len, opt);
    put_send_ops(&k, ops);
    put_status_op(&k, &status);
    recv.data.recv_message.recv_message = &k.recv;
    int rc = start_batch(&k, &status, 1, TAG_STATUS, err);
    if (rc < 0) {
        call_end(&k);
        return rc;
    }
    rc = start_batch(&k, ops, 4, TAG_START, err);
    if (rc == 0)
        call_wait(&k, TAG_START, opt);
    while (rc == 0 && !enough) {
        rc = start_batch(&k, &recv, 1, TAG_MESSAGE, err);
        if (rc < 0)
            break;
        call_wait(&k, TAG_MESSAGE, opt);
        if (!k.recv)
            break;
        grpc_slice body;
        if (read_all(k.recv, &body)) {
            enough = fn(data, GRPC_SLICE_START_PTR(body), GRPC_SLICE_LENGTH(body)) != 0;
            grpc_slice_unref(body);
        } else {
            rc = gi_fail(err, GI_INTERNAL, "%s: the server sent an unreadable message", path);
        }
        grpc_byte_buffer_destroy(TAKE_PTR(k.recv));
    }
    if (rc < 0 || enough)
        grpc_call_cancel(k.call, NULL);
    call_wait(&k, TAG_STATUS, opt);
    if (rc == 0 && !enough)
        rc = call_status(&k, err);
    call_end(&k);
    return rc;
}

int gi_cri_call_raw(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                    const struct gi_cri_call_options *opt, uint8_t **ret_response, size_t *ret_len,
                    struct gi_error *err)
{
    grpc_slice body = grpc_empty_slice();
    int rc = unary(c, path, request, len, opt, &body, err);
    if (rc < 0)
        return rc;
    size_t n = GRPC_SLICE_LENGTH(body);
    uint8_t *copy = n > 0 ? malloc(n) : NULL;
    if (copy)
        memcpy(copy, GRPC_SLICE_START_PTR(body), n);
    grpc_slice_unref(body);
    if (n > 0 && !copy)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    *ret_response = copy;
    *ret_len = n;
    return 0;
}

int gi_cri_stream_raw(struct gi_cri_client *c, const char *path, const void *request, size_t len,
                      const struct gi_cri_call_options *opt,
                      int (*fn)(void *data, const uint8_t *message, size_t len), void *data,
                      struct gi_error *err)
{
    return stream(c, path, request, len, opt, fn, data, err);
}

/* Finds METHOD in either service, packs REQUEST for it. */
static int prepare(const char *method, const ProtobufCMessage *request, bool streams, char *path,
                   size_t path_size, const ProtobufCMethodDescriptor **ret_method,
                   uint8_t **ret_bytes, size_t *ret_len, struct gi_error *err)
{
    const ProtobufCMethodDescriptor *m = NULL;
    static const char *const services[] = {"RuntimeService", "ImageService"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(services) && !m; i++) {
        snprintf(path, path_size, "/runtime.v1.%s/%s", services[i], method);
        m = gi_cri_find_method(path, NULL);
    }
    if (!m || m->input != request->descriptor || gi_cri_method_streams(m) != streams)
        return gi_fail(err, GI_INTERNAL, "%s is not called like this", method);
    size_t len = protobuf_c_message_get_packed_size(request);
    if (len > GI_CRI_MAX_MESSAGE)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: a request of %zu bytes is too long", method,
                       len);
    uint8_t *bytes = malloc(len + 1);
    if (!bytes)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    protobuf_c_message_pack(request, bytes);
    *ret_method = m;
    *ret_bytes = bytes;
    *ret_len = len;
    return 0;
}

int gi_cri_call(struct gi_cri_client *c, const char *method, const ProtobufCMessage *request,
                const struct gi_cri_call_options *opt, ProtobufCMessage **ret_response,
                struct gi_error *err)
{
    char path[128];
    const ProtobufCMethodDescriptor *m = NULL;
    cleanup_free uint8_t *bytes = NULL;
    size_t len = 0;
    grpc_slice body = grpc_empty_slice();

    int rc = prepare(method, request, false, path, sizeof(path), &m, &bytes, &len, err);
    if (rc < 0 || !m)
        return rc;
    rc = unary(c, path, bytes, len, opt, &body, err);
    if (rc < 0)
        return rc;
    ProtobufCMessage *response = protobuf_c_message_unpack(m->output, NULL, GRPC_SLICE_LENGTH(body),
                                                           GRPC_SLICE_START_PTR(body));
    grpc_slice_unref(body);
    if (!response)
        return gi_fail(err, GI_INTERNAL, "%s: the server's answer is damaged", method);
    *ret_response = response;
    return 0;
}

struct unpacker {
    const ProtobufCMessageDescriptor *type;
    int (*fn)(void *data, const ProtobufCMessage *message);
    void *data;
    bool damaged;
};

static int unpack_one(void *data, const uint8_t *bytes, size_t len)
{
    struct unpacker *u = data;
    ProtobufCMessage *m = protobuf_c_message_unpack(u->type, NULL, len, bytes);
    if (!m) {
        u->damaged = true;
        return -1;
    }
    int rc = u->fn(u->data, m);
    protobuf_c_message_free_unpacked(m, NULL);
    return rc;
}

int gi_cri_stream(struct gi_cri_client *c, const char *method, const ProtobufCMessage *request,
                  const struct gi_cri_call_options *opt,
                  int (*fn)(void *data, const ProtobufCMessage *message), void *data,
                  struct gi_error *err)
{
    char path[128];
    const ProtobufCMethodDescriptor *m = NULL;
    cleanup_free uint8_t *bytes = NULL;
    size_t len = 0;

    int rc = prepare(method, request, true, path, sizeof(path), &m, &bytes, &len, err);
    if (rc < 0 || !m)
        return rc;
    struct unpacker u = {.type = m->output, .fn = fn, .data = data};
    rc = stream(c, path, bytes, len, opt, unpack_one, &u, err);
    if (rc == 0 && u.damaged)
        return gi_fail(err, GI_INTERNAL, "%s: the server's answer is damaged", method);
    return rc;
}
