/* SPDX-License-Identifier: Apache-2.0 */
/* From the bytes of a request to the bytes of its answer. */
#include "rpc/call.h"

#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "rpc/pb.h"

void *rpc_app(const struct rpc_call *call)
{
    return call->server->app;
}

bool rpc_cancelled(const struct rpc_call *call)
{
    return atomic_load(&call->gone) || atomic_load(&call->server->stopping) ||
           gi_monotonic_ns() >= call->deadline_ns;
}

int rpc_check(const struct rpc_call *call, struct gi_error *err)
{
    if (gi_monotonic_ns() >= call->deadline_ns)
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "context deadline exceeded");
    if (atomic_load(&call->gone))
        return gi_fail(err, GI_CANCELLED, "context canceled");
    if (atomic_load(&call->server->stopping))
        return gi_fail(err, GI_UNAVAILABLE, "the runtime is stopping");
    return 0;
}

int rpc_timeout_ms(const struct rpc_call *call, int max_ms)
{
    int64_t left = call->deadline_ns - gi_monotonic_ns();
    if (call->deadline_ns == INT64_MAX || left / 1000000 >= max_ms)
        return max_ms;
    return left < 1000000 ? 1 : (int)(left / 1000000);
}

int64_t rpc_deadline_ns(const struct rpc_call *call)
{
    return call->deadline_ns;
}

void rpc_note(struct rpc_call *call, const char *id)
{
    snprintf(call->note, sizeof(call->note), "%s", id);
}

/* ---- the log line ---- */

static const char *string_field(const ProtobufCMessage *m, const char *name)
{
    if (!m)
        return "";
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    if (!f || f->type != PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED)
        return "";
    const char *text = *(char *const *)((const char *)m + f->offset);
    return text ? text : "";
}

static const char *image_of(const ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *f =
        m ? protobuf_c_message_descriptor_get_field_by_name(m->descriptor, "image") : NULL;
    if (!f || f->type != PROTOBUF_C_TYPE_MESSAGE || f->label == PROTOBUF_C_LABEL_REPEATED)
        return "";
    const ProtobufCMessage *image = *(ProtobufCMessage *const *)((const char *)m + f->offset);
    return string_field(image, "image");
}

static enum gi_log_level level_of(const struct rpc_call *c, enum gi_code code)
{
    bool read = c->slot && c->slot->handler && (c->slot->handler->flags & RPC_READ);
    if (code == GI_INTERNAL || code == GI_DATA_LOSS || code == GI_UNKNOWN)
        return GI_LOG_ERROR;
    if (!c->slot || !c->slot->handler || read)
        return GI_LOG_DEBUG;
    return code == GI_OK ? GI_LOG_INFO : GI_LOG_WARNING;
}

static void log_call(const struct rpc_call *c, const ProtobufCMessage *request,
                     const struct gi_error *err)
{
    char took[32];
    snprintf(took, sizeof(took), "%.1f", (double)(gi_monotonic_ns() - c->start_ns) / 1e6);
    const char *pairs[][2] = {
        {"pod", string_field(request, "pod_sandbox_id")},
        {"container", string_field(request, "container_id")},
        {"image", image_of(request)},
        {"id", c->note},
        {"reason", err->message},
    };
    /* gi_log ends at the first NULL key. */
    const char *a[10] = {NULL};
    size_t n = 0;
    for (size_t i = 0; i < GI_ARRAY_SIZE(pairs); i++) {
        if (!*pairs[i][1])
            continue;
        a[n++] = pairs[i][0];
        a[n++] = pairs[i][1];
    }
    gi_log(level_of(c, err->code), "rpc", "method", c->slot ? c->slot->method->name : "?", "code",
           gi_code_name(err->code), "ms", took, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
           a[8], a[9], NULL);
}

/* ---- the answer ---- */

static void set_status(grpc_op *op, const struct gi_error *err, grpc_slice *details)
{
    *details = grpc_slice_from_copied_string(err->message);
    op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op->data.send_status_from_server.status = (grpc_status_code)err->code;
    op->data.send_status_from_server.status_details = err->code ? details : NULL;
}

/* MESSAGE may be NULL. */
static void answer(struct rpc_call *c, grpc_byte_buffer *message, const struct gi_error *err)
{
    grpc_op ops[3];
    size_t n = 0;
    grpc_slice details;
    memset(ops, 0, sizeof(ops));
    if (!c->headers_sent)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = message;
    }
    set_status(&ops[n++], err, &details);
    RPC_HAND_OVER(&c->tags[RPC_DONE]);
    if (grpc_call_start_batch(c->grpc, ops, n, &c->tags[RPC_DONE], NULL) != GRPC_CALL_OK) {
        gi_log(GI_LOG_ERROR, "gRPC refuses an answer", NULL);
        grpc_call_cancel(c->grpc, NULL);
    }
    grpc_slice_unref(details);
    if (message)
        grpc_byte_buffer_destroy(message);
}

void rpc_call_fail(struct rpc_call *call, const struct gi_error *err)
{
    log_call(call, NULL, err);
    answer(call, NULL, err);
}

static grpc_byte_buffer *pack(const struct rpc_call *c, ProtobufCMessage *m, struct gi_error *err)
{
    pb_clean_strings(m);
    size_t len = protobuf_c_message_get_packed_size(m);
    if (len > c->server->config.max_message) {
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "the answer has %zu bytes, more than %u", len,
                c->server->config.max_message);
        return NULL;
    }
    grpc_slice slice = grpc_slice_malloc(len);
    protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* ---- the request ---- */

static ProtobufCMessage *unpack(struct rpc_call *c, struct gi_error *err)
{
    grpc_byte_buffer_reader reader;
    const ProtobufCMessageDescriptor *type = c->slot->method->input;
    if (!grpc_byte_buffer_reader_init(&reader, c->in)) {
        gi_fail(err, GI_INVALID_ARGUMENT, "%s: unreadable request", c->slot->method->name);
        return NULL;
    }
    grpc_slice body = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    size_t len = GRPC_SLICE_LENGTH(body);
    ProtobufCMessage *m =
        pb_unpack(type, GRPC_SLICE_START_PTR(body), len, RPC_SMALL + len * RPC_UNPACKED);
    grpc_slice_unref(body);
    if (!m) {
        gi_fail(err, GI_INVALID_ARGUMENT, "%s: the request is not a %s", c->slot->method->name,
                type->short_name);
        return NULL;
    }
    if (pb_check_strings(m, err) < 0) {
        pb_free(m);
        return NULL;
    }
    return m;
}

void rpc_call_run(void *arg)
{
    struct rpc_call *c = arg;
    struct gi_error err = GI_ERROR_INIT;
    grpc_byte_buffer *out = NULL;
    cleanup_pb void *request = unpack(c, &err);
    cleanup_pb void *response = c->slot->streams ? NULL : pb_new(c->slot->method->output);
    if (request && rpc_check(c, &err) == 0) {
        int rc = c->slot->handler->fn(c, request, response, &err);
        if (rc < 0 && err.code == GI_OK)
            gi_fail(&err, (enum gi_code) - rc, "%s failed", c->slot->method->name);
        else if (rc >= 0)
            err = (struct gi_error)GI_ERROR_INIT;
        if (rc >= 0 && response)
            out = pack(c, response, &err);
    }
    pb_clean_text(err.message); /* it may hold what a guest or a registry said */
    log_call(c, request, &err);
    answer(c, out, &err);
}

/* ---- streaming ---- */

int rpc_send(struct rpc_call *c, ProtobufCMessage *message, struct gi_error *err)
{
    grpc_op ops[2];
    size_t n = 0;
    int rc = rpc_check(c, err);
    if (rc < 0)
        return rc;
    grpc_byte_buffer *buffer = pack(c, message, err);
    if (!buffer)
        return -GI_RESOURCE_EXHAUSTED;
    memset(ops, 0, sizeof(ops));
    if (!c->headers_sent)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = buffer;
    c->headers_sent = true;
    c->sent = false;
    RPC_HAND_OVER(&c->tags[RPC_SENT]);
    bool started = grpc_call_start_batch(c->grpc, ops, n, &c->tags[RPC_SENT], NULL) == GRPC_CALL_OK;
    grpc_byte_buffer_destroy(buffer);
    if (!started)
        return gi_fail(err, GI_INTERNAL, "gRPC refuses a message");
    /* gRPC completes the batch also when the client is gone. */
    GI_LOCK_SCOPE(&c->lock);
    while (!c->sent)
        pthread_cond_wait(&c->cond, &c->lock);
    return c->sent_ok ? 0 : gi_fail(err, GI_CANCELLED, "context canceled");
}
