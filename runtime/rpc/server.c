/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Polling threads take events from one completion queue. A call goes through
 * REQUEST (it came), MESSAGE (its request is here), a handler on a thread of a
 * pool, DONE (the answer is out); CLOSED comes at any time after REQUEST and
 * says whether the client gave up. The call is freed after DONE and CLOSED.
 */
#include <errno.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cri/cri.h"
#include "rpc/call.h"

static const ProtobufCServiceDescriptor *const services[] = {
    &runtime__v1__runtime_service__descriptor,
    &runtime__v1__image_service__descriptor,
};

/* ---- the table ---- */

static const struct rpc_method *find_handler(const struct rpc_method *methods, size_t n,
                                             const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    }
    return NULL;
}

static int build_table(struct rpc_server *s, const struct rpc_method *methods, size_t n_methods,
                       struct gi_error *err)
{
    size_t total = 0, bound = 0;
    for (size_t i = 0; i < GI_ARRAY_SIZE(services); i++)
        total += services[i]->n_methods;
    s->slots = calloc(total, sizeof(*s->slots));
    if (!s->slots)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < GI_ARRAY_SIZE(services); i++) {
        for (unsigned k = 0; k < services[i]->n_methods; k++) {
            const ProtobufCMethodDescriptor *m = &services[i]->methods[k];
            struct rpc_slot *slot = &s->slots[s->n_slots++];
            slot->method = m;
            slot->handler = find_handler(methods, n_methods, m->name);
            slot->streams = gi_cri_method_streams(m);
            bound += slot->handler != NULL;
        }
    }
    if (bound != n_methods)
        return gi_fail(err, GI_INTERNAL, "a handler's method is not in the descriptors");
    return 0;
}

static const struct rpc_slot *find_slot(const struct rpc_server *s, grpc_slice path)
{
    char name[128];
    size_t len = GRPC_SLICE_LENGTH(path);
    if (len >= sizeof(name))
        return NULL;
    memcpy(name, GRPC_SLICE_START_PTR(path), len);
    name[len] = '\0';
    const ProtobufCMethodDescriptor *m = gi_cri_find_method(name, NULL);
    for (size_t i = 0; m && i < s->n_slots; i++) {
        if (s->slots[i].method == m)
            return &s->slots[i];
    }
    return NULL;
}

/* ---- calls ---- */

static void call_unref(struct rpc_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    if (c->in)
        grpc_byte_buffer_destroy(c->in);
    if (c->grpc)
        grpc_call_unref(c->grpc);
    grpc_call_details_destroy(&c->details);
    grpc_metadata_array_destroy(&c->metadata);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->cond);
    free(c);
}

/* Makes ready to take one more call. */
static void accept_call(struct rpc_server *s)
{
    struct rpc_call *c = calloc(1, sizeof(*c));
    if (!c)
        return;
    c->server = s;
    for (int e = RPC_REQUEST; e <= RPC_DONE; e++)
        c->tags[e] = (struct rpc_tag){c, (enum rpc_event)e};
    grpc_call_details_init(&c->details);
    grpc_metadata_array_init(&c->metadata);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    atomic_init(&c->refs, 1);
    RPC_HAND_OVER(&c->tags[RPC_REQUEST]);
    if (grpc_server_request_call(s->grpc, &c->grpc, &c->details, &c->metadata, s->cq, s->cq,
                                 &c->tags[RPC_REQUEST]) != GRPC_CALL_OK)
        call_unref(c);
}

static int64_t deadline_of(const struct rpc_call *c)
{
    gpr_timespec never = gpr_inf_future(c->details.deadline.clock_type);
    if (gpr_time_cmp(c->details.deadline, never) == 0)
        return INT64_MAX;
    gpr_timespec left = gpr_time_sub(c->details.deadline, gpr_now(c->details.deadline.clock_type));
    if (left.tv_sec > 365 * 86400)
        return INT64_MAX;
    return gi_monotonic_ns() + left.tv_sec * 1000000000 + left.tv_nsec;
}

static bool start_batch(struct rpc_call *c, const grpc_op *op, enum rpc_event event)
{
    RPC_HAND_OVER(&c->tags[event]);
    return grpc_call_start_batch(c->grpc, op, 1, &c->tags[event], NULL) == GRPC_CALL_OK;
}

static void on_request(struct rpc_call *c)
{
    c->start_ns = gi_monotonic_ns();
    c->deadline_ns = deadline_of(c);
    grpc_op closed = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    closed.data.recv_close_on_server.cancelled = &c->cancelled_result;
    atomic_fetch_add(&c->refs, 1);
    if (!start_batch(c, &closed, RPC_CLOSED))
        call_unref(c);

    struct gi_error err = GI_ERROR_INIT;
    c->slot = find_slot(c->server, c->details.method);
    if (!c->slot) {
        gi_fail(&err, GI_UNIMPLEMENTED, "unknown method %.*s",
                (int)(GRPC_SLICE_LENGTH(c->details.method) > 100
                          ? 100
                          : GRPC_SLICE_LENGTH(c->details.method)),
                (const char *)GRPC_SLICE_START_PTR(c->details.method));
        rpc_call_fail(c, &err);
        return;
    }
    if (!c->slot->handler) {
        gi_fail(&err, GI_UNIMPLEMENTED, "method %s not implemented", c->slot->method->name);
        rpc_call_fail(c, &err);
        return;
    }
    grpc_op message = {.op = GRPC_OP_RECV_MESSAGE};
    message.data.recv_message.recv_message = &c->in;
    if (!start_batch(c, &message, RPC_MESSAGE)) {
        gi_fail(&err, GI_INTERNAL, "the request can't be received");
        rpc_call_fail(c, &err);
    }
}

static void on_message(struct rpc_call *c)
{
    struct gi_error err = GI_ERROR_INIT;
    if (!c->in) {
        gi_fail(&err, GI_INVALID_ARGUMENT, "%s: no request, or one longer than %u bytes",
                c->slot->method->name, c->server->config.max_message);
        rpc_call_fail(c, &err);
        return;
    }
    if ((c->slot->handler->flags & RPC_AT_ONCE) && !c->slot->streams) {
        rpc_call_run(c);
        return;
    }
    bool fast = c->slot->handler->flags & RPC_FAST;
    int rc = pool_submit(fast ? c->server->fast : c->server->work, rpc_call_run, c);
    if (rc == 0)
        return;
    if (rc == -GI_UNAVAILABLE)
        gi_fail(&err, GI_UNAVAILABLE, "the runtime is stopping");
    else
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "too many calls are under way");
    rpc_call_fail(c, &err);
}

static void on_event(const struct rpc_tag *tag, bool ok)
{
    RPC_TAKE_OVER(tag);
    struct rpc_call *c = tag->call;
    switch (tag->event) {
    case RPC_REQUEST:
        if (!ok) { /* the server stops */
            call_unref(c);
            break;
        }
        accept_call(c->server);
        on_request(c);
        break;
    case RPC_MESSAGE:
        on_message(c);
        break;
    case RPC_CLOSED:
        if (c->cancelled_result) {
            pthread_mutex_lock(&c->lock);
            atomic_store(&c->gone, true);
            pthread_cond_broadcast(&c->cond);
            pthread_mutex_unlock(&c->lock);
        }
        call_unref(c);
        break;
    case RPC_SENT:
        pthread_mutex_lock(&c->lock);
        c->sent = true;
        c->sent_ok = ok;
        pthread_cond_broadcast(&c->cond);
        pthread_mutex_unlock(&c->lock);
        break;
    case RPC_DONE:
        call_unref(c);
        break;
    }
}

static void *poll_main(void *arg)
{
    struct rpc_server *s = arg;
    pthread_setname_np(pthread_self(), "grpc");
    for (;;) {
        grpc_event ev =
            grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (ev.type != GRPC_OP_COMPLETE)
            continue;
        if (ev.tag == s) { /* of grpc_server_shutdown_and_notify */
            GI_LOCK_SCOPE(&s->lock);
            s->shut = true;
            pthread_cond_broadcast(&s->changed);
            continue;
        }
        on_event(ev.tag, ev.success);
    }
}

/* ---- start and stop ---- */

static int bind_socket(struct rpc_server *s, struct gi_error *err)
{
    char address[sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path)];
    if (s->socket[0] != '/' || strlen(s->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "socket \"%.200s\": not an absolute path of at "
                       "most %zu bytes",
                       s->socket, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    struct stat st;
    if (lstat(s->socket, &st) == 0 && !S_ISSOCK(st.st_mode))
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s exists and is not a socket", s->socket);
    if (unlink(s->socket) < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "old socket %s", s->socket);
    snprintf(address, sizeof(address), "unix:%s", s->socket);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    /* Nobody but us may connect before owner and mode are right. */
    mode_t old = umask(0177);
    int port = grpc_server_add_http2_port(s->grpc, address, creds);
    umask(old);
    grpc_server_credentials_release(creds);
    if (port == 0)
        return gi_fail(err, GI_UNAVAILABLE, "can't listen on %s", s->socket);
    if (chown(s->socket, (uid_t)-1, (gid_t)s->config.gid) < 0 ||
        chmod(s->socket, s->config.mode) < 0)
        return gi_fail_errno(err, errno, "owner and mode of %s", s->socket);
    return 0;
}

static void server_free(struct rpc_server *s)
{
    pool_free(s->fast);
    pool_free(s->work);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->slots);
    free(s->socket);
    free(s);
}

static int make_grpc(struct rpc_server *s, struct gi_error *err)
{
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = (int)s->config.max_message},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
         .value.integer = -1},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ALLOW_REUSEPORT, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_METADATA_SIZE,
         .value.integer = 16 << 10},
    };
    grpc_channel_args channel_args = {GI_ARRAY_SIZE(args), args};
    s->grpc = grpc_server_create(&channel_args, NULL);
    s->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(s->grpc, s->cq, NULL);
    return bind_socket(s, err);
}

static void stop_polling(struct rpc_server *s)
{
    grpc_completion_queue_shutdown(s->cq);
    for (unsigned i = 0; i < s->n_pollers; i++)
        pthread_join(s->pollers[i], NULL);
    if (s->n_pollers == 0) {
        while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
            ;
    }
    grpc_server_destroy(s->grpc);
    grpc_completion_queue_destroy(s->cq);
    grpc_shutdown_blocking();
}

int rpc_server_start(const struct rpc_config *config, const struct rpc_method *methods,
                     size_t n_methods, void *app, struct rpc_server **ret_server,
                     struct gi_error *err)
{
    struct rpc_server *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    s->config = *config;
    s->app = app;
    s->socket = strdup(config->socket);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc = s->socket ? build_table(s, methods, n_methods, err)
                       : gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    if (rc == 0)
        rc = pool_new("rpc-fast", 4, config->max_queued, &s->fast, err);
    if (rc == 0)
        rc = pool_new("rpc", config->max_calls, config->max_queued, &s->work, err);
    if (rc < 0) {
        server_free(s);
        return rc;
    }
    grpc_init();
    rc = make_grpc(s, err);
    if (rc < 0) {
        grpc_server_shutdown_and_notify(s->grpc, s->cq, s);
        stop_polling(s);
        server_free(s);
        return rc;
    }
    grpc_server_start(s->grpc);
    for (int i = 0; i < RPC_ACCEPTS; i++)
        accept_call(s);
    for (int i = 0; i < RPC_POLLERS; i++) {
        if (pthread_create(&s->pollers[s->n_pollers], NULL, poll_main, s) == 0)
            s->n_pollers++;
    }
    *ret_server = s;
    return 0;
}

/* True when gRPC has seen the end of all calls. */
static bool wait_shut(struct rpc_server *s, int timeout_ms)
{
    int64_t at = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    GI_LOCK_SCOPE(&s->lock);
    while (!s->shut) {
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
            return s->shut;
    }
    return true;
}

bool rpc_server_stop(struct rpc_server *s, int grace_ms)
{
    grpc_server_shutdown_and_notify(s->grpc, s->cq, s);
    if (!wait_shut(s, grace_ms)) {
        atomic_store(&s->stopping, true);
        grpc_server_cancel_all_calls(s->grpc);
        wait_shut(s, grace_ms);
    }
    atomic_store(&s->stopping, true);
    bool all = pool_stop(s->fast, grace_ms);
    all = pool_stop(s->work, grace_ms) && all;
    if (!all || !wait_shut(s, 1000))
        return false;
    stop_polling(s);
    unlink(s->socket);
    server_free(s);
    return true;
}
