/* SPDX-License-Identifier: Apache-2.0 */
#include "mini_server.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cri/cri.h"

enum { TAG_CALL = 1, TAG_BATCH, TAG_SHUTDOWN, TAG_CLOSED };
#define MAX_HANGING 16

struct mini_server {
    grpc_server *server;
    grpc_completion_queue *cq;
    pthread_t thread;
    grpc_call *hanging[MAX_HANGING];
    size_t n_hanging;
    bool ended; /* TAG_SHUTDOWN came */
    int closed; /* written by gRPC when a hanging call ends */
};

static grpc_op make_op(grpc_op_type type)
{
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = type;
    return op;
}

/* Batches of one call at a time: the next completion is this batch's, but for
 * the ends of hanging calls, and the server's own end. */
static void batch(struct mini_server *s, grpc_call *call, grpc_op *ops, size_t n)
{
    if (grpc_call_start_batch(call, ops, n, (void *)TAG_BATCH, NULL) != GRPC_CALL_OK)
        abort();
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (ev.tag == (void *)TAG_BATCH)
            return;
        s->ended |= ev.tag == (void *)TAG_SHUTDOWN;
    }
}

static void send_headers(struct mini_server *s, grpc_call *call)
{
    grpc_op op = make_op(GRPC_OP_SEND_INITIAL_METADATA);
    batch(s, call, &op, 1);
}

static void send_message(struct mini_server *s, grpc_call *call, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    grpc_slice slice = grpc_slice_malloc(len);
    protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op op = make_op(GRPC_OP_SEND_MESSAGE);
    op.data.send_message.send_message = bytes;
    batch(s, call, &op, 1);
    grpc_byte_buffer_destroy(bytes);
    grpc_slice_unref(slice);
}

static void send_status(struct mini_server *s, grpc_call *call, grpc_status_code code,
                        const char *text)
{
    int cancelled = 0;
    grpc_slice details = grpc_slice_from_copied_string(text);
    grpc_op ops[2] = {make_op(GRPC_OP_SEND_STATUS_FROM_SERVER),
                      make_op(GRPC_OP_RECV_CLOSE_ON_SERVER)};
    ops[0].data.send_status_from_server.status = code;
    ops[0].data.send_status_from_server.status_details = &details;
    ops[1].data.recv_close_on_server.cancelled = &cancelled;
    batch(s, call, ops, 2);
    grpc_slice_unref(details);
}

static ProtobufCMessage *receive(struct mini_server *s, grpc_call *call,
                                 const ProtobufCMessageDescriptor *type)
{
    grpc_byte_buffer *bytes = NULL;
    grpc_op op = make_op(GRPC_OP_RECV_MESSAGE);
    op.data.recv_message.recv_message = &bytes;
    batch(s, call, &op, 1);
    if (!bytes)
        return NULL;
    grpc_byte_buffer_reader reader;
    grpc_byte_buffer_reader_init(&reader, bytes);
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(bytes);
    ProtobufCMessage *m =
        protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
    grpc_slice_unref(all);
    return m;
}

static void version(struct mini_server *s, grpc_call *call, const ProtobufCMessage *m)
{
    const Runtime__V1__VersionRequest *request = (const void *)m;
    Runtime__V1__VersionResponse response = RUNTIME__V1__VERSION_RESPONSE__INIT;
    char *big = NULL;
    response.runtime_name = request->version;
    if (strcmp(request->version, "big") == 0) {
        big = malloc((20 << 20) + 1);
        memset(big, 'x', 20 << 20);
        big[20 << 20] = '\0';
        response.runtime_version = big;
    }
    send_headers(s, call);
    send_message(s, call, &response.base);
    send_status(s, call, GRPC_STATUS_OK, "");
    free(big);
}

static void stream_images(struct mini_server *s, grpc_call *call, const ProtobufCMessage *m)
{
    const Runtime__V1__StreamImagesRequest *request = (const void *)m;
    bool broken = request->filter && request->filter->image &&
                  strcmp(request->filter->image->image, "broken") == 0;
    send_headers(s, call);
    for (int i = 0; i < 3; i++) {
        char id[32];
        snprintf(id, sizeof(id), "image-%d", i);
        Runtime__V1__Image image = RUNTIME__V1__IMAGE__INIT;
        Runtime__V1__Image *list[] = {&image};
        Runtime__V1__StreamImagesResponse response = RUNTIME__V1__STREAM_IMAGES_RESPONSE__INIT;
        image.id = id;
        response.images = list;
        response.n_images = 1;
        send_message(s, call, &response.base);
    }
    send_status(s, call, broken ? GRPC_STATUS_DATA_LOSS : GRPC_STATUS_OK, broken ? "broken" : "");
}

/* Leaves the call open; gRPC tells on TAG_CLOSED when the client gave up. */
static void hang(struct mini_server *s, grpc_call *call)
{
    if (s->n_hanging == MAX_HANGING)
        abort();
    grpc_op op = make_op(GRPC_OP_RECV_CLOSE_ON_SERVER);
    op.data.recv_close_on_server.cancelled = &s->closed;
    if (grpc_call_start_batch(call, &op, 1, (void *)TAG_CLOSED, NULL) != GRPC_CALL_OK)
        abort();
    s->hanging[s->n_hanging++] = call;
}

static void serve(struct mini_server *s, grpc_call *call, const char *path)
{
    const ProtobufCMethodDescriptor *m = gi_cri_find_method(path, NULL);
    ProtobufCMessage *request = m ? receive(s, call, m->input) : NULL;
    bool keep = false;

    if (request && strcmp(m->name, "Version") == 0) {
        version(s, call, request);
    } else if (request && strcmp(m->name, "StreamImages") == 0) {
        stream_images(s, call, request);
    } else if (request && strcmp(m->name, "StopContainer") == 0) {
        hang(s, call);
        keep = true;
    } else if (request && strcmp(m->name, "GetContainerEvents") == 0) {
        Runtime__V1__ContainerEventResponse event = RUNTIME__V1__CONTAINER_EVENT_RESPONSE__INIT;
        event.container_id = (char *)"c1";
        send_headers(s, call);
        send_message(s, call, &event.base);
        hang(s, call);
        keep = true;
    } else {
        send_headers(s, call);
        if (request && strcmp(m->name, "RemoveImage") == 0)
            send_status(s, call, GRPC_STATUS_FAILED_PRECONDITION, "in use");
        else
            send_status(s, call, GRPC_STATUS_UNIMPLEMENTED, path);
    }
    if (request)
        protobuf_c_message_free_unpacked(request, NULL);
    if (!keep)
        grpc_call_unref(call);
}

static void *run(void *arg)
{
    struct mini_server *s = arg;
    grpc_call *call = NULL;
    grpc_call_details details;
    grpc_metadata_array metadata;
    bool down = false;

    grpc_call_details_init(&details);
    grpc_metadata_array_init(&metadata);
    grpc_server_request_call(s->server, &call, &details, &metadata, s->cq, s->cq, (void *)TAG_CALL);
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            break;
        s->ended |= ev.tag == (void *)TAG_SHUTDOWN;
        if (ev.tag == (void *)TAG_CALL && ev.success) {
            char *path = grpc_slice_to_c_string(details.method);
            serve(s, call, path);
            gpr_free(path);
            grpc_call_details_destroy(&details);
            grpc_metadata_array_destroy(&metadata);
            grpc_call_details_init(&details);
            grpc_metadata_array_init(&metadata);
            grpc_server_request_call(s->server, &call, &details, &metadata, s->cq, s->cq,
                                     (void *)TAG_CALL);
        }
        if (s->ended && !down) {
            grpc_completion_queue_shutdown(s->cq);
            down = true;
        }
    }
    grpc_call_details_destroy(&details);
    grpc_metadata_array_destroy(&metadata);
    return NULL;
}

struct mini_server *mini_server_start(const char *socket_path)
{
    char address[256];
    struct mini_server *s = calloc(1, sizeof(*s));
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    grpc_init();
    s->cq = grpc_completion_queue_create_for_next(NULL);
    s->server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(s->server, s->cq, NULL);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    if (!grpc_server_add_http2_port(s->server, address, creds))
        abort();
    grpc_server_credentials_release(creds);
    grpc_server_start(s->server);
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        abort();
    return s;
}

void mini_server_stop(struct mini_server *s)
{
    grpc_server_shutdown_and_notify(s->server, s->cq, (void *)TAG_SHUTDOWN);
    /* Again and again: a call that came just before may begin to hang only now. */
    struct timespec until;
    do {
        grpc_server_cancel_all_calls(s->server);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
    } while (pthread_timedjoin_np(s->thread, NULL, &until) != 0);
    for (size_t i = 0; i < s->n_hanging; i++)
        grpc_call_unref(s->hanging[i]);
    grpc_server_destroy(s->server);
    grpc_completion_queue_destroy(s->cq);
    grpc_shutdown_blocking();
    free(s);
}
