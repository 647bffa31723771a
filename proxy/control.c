/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: connections, credentials, and the calls' functions. */
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "broker.h"
#include "control/server.h"
#include "listen.h"

/* Requests of one connection served before others get their turn. */
#define REQUEST_BURST 8

static int op_info(void *data, const struct control_nothing *req, struct control_text *ret,
                   struct gi_error *err)
{
    struct broker *b = data;
    snprintf(ret->text, sizeof(ret->text),
             "gpu-proxy %s, driver %.300s, %" PRIu32 " zones, %" PRIu32 " clients", GI_VERSION,
             b->options->driver, b->n_zones, b->n_clients);
    return 0;
}

static int op_create_zone(void *data, const struct control_create_zone *req,
                          struct control_path *ret, struct gi_error *err)
{
    struct zone *z = NULL;
    int rc = zone_create(data, req->zone, req->label, &req->quota, &z, err);
    if (z)
        memcpy(ret->path, z->path, sizeof(ret->path));
    return rc;
}

static int op_drop_zone(void *data, const struct control_zone *req, struct control_nothing *ret,
                        struct gi_error *err)
{
    struct zone *z = zone_find(data, req->zone);
    if (z)
        zone_drop(z);
    return 0;
}

static struct zone *find(struct broker *b, uint32_t number, struct gi_error *err)
{
    struct zone *z = zone_find(b, number);
    if (!z)
        gi_fail(err, GI_NOT_FOUND, "no zone %u", number);
    return z;
}

static int op_zone_stats(void *data, const struct control_zone *req, struct control_zone_stats *ret,
                         struct gi_error *err)
{
    struct zone *z = find(data, req->zone, err);
    if (!z)
        return -GI_NOT_FOUND;
    zone_stats(z, ret);
    return 0;
}

static int op_list_zones(void *data, const struct control_nothing *req,
                         struct control_zone_list *ret, struct gi_error *err)
{
    struct broker *b = data;
    for (struct zone *z = b->zones; z && ret->n_zones < CONTROL_MAX_ZONES; z = z->next) {
        if (!z->dropped)
            ret->zones[ret->n_zones++].zone = z->number;
    }
    return 0;
}

static int op_zone_info(void *data, const struct control_zone *req, struct control_zone_info *ret,
                        struct gi_error *err)
{
    struct zone *z = find(data, req->zone, err);
    if (!z)
        return -GI_NOT_FOUND;
    ret->zone = z->number;
    memcpy(ret->label, z->label, sizeof(ret->label));
    memcpy(ret->path, z->path, sizeof(ret->path));
    ret->quota = z->quota;
    return 0;
}

static int op_list_clients(void *data, const struct control_zone *req,
                           struct control_client_list *ret, struct gi_error *err)
{
    struct zone *z = find(data, req->zone, err);
    if (!z)
        return -GI_NOT_FOUND;
    for (struct client *c = z->clients; c && ret->n_clients < CONTROL_MAX_CLIENTS; c = c->next)
        client_stats(c, &ret->clients[ret->n_clients++]);
    return 0;
}

static const struct control_ops ops = {
#define ENTRY(number, name, request, response) .name = op_##name,
    CONTROL_CALLS(ENTRY)
#undef ENTRY
};

/* One request, if one is there: true when there may be more. */
static bool serve_one(struct control_connection *cc)
{
    static uint8_t in[CONTROL_MAX_MESSAGE + 1];
    static uint8_t out[CONTROL_MAX_MESSAGE];
    int none;
    size_t nfds = 0;
    ssize_t n = gi_recv_fds(cc->socket.fd, in, sizeof(in), &none, &nfds);
    if (n == -EAGAIN)
        return false;
    struct gi_error err = GI_ERROR_INIT;
    int len = n > 0 ? control_serve(&ops, cc->broker, in, (size_t)n, out, &err) : -1;
    if (err.code)
        gi_log(GI_LOG_WARNING, "control connection closed", "why", err.message, NULL);
    cc->used_ns = gi_monotonic_ns();
    /* A peer that doesn't fetch its answers is cut off rather than waited for. */
    if (len < 0 || send(cc->socket.fd, out, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
        loop_drop(cc->broker->loop, &cc->socket);
        return false;
    }
    return true;
}

static void on_request(struct source *s, uint32_t events)
{
    struct control_connection *cc = s->owner;
    for (int i = 0; i < REQUEST_BURST && serve_one(cc); i++)
        ;
}

static struct control_connection *free_connection(struct broker *b)
{
    struct control_connection *oldest = &b->connections[0];
    for (size_t i = 0; i < MAX_CONTROL_CONNECTIONS; i++) {
        struct control_connection *cc = &b->connections[i];
        if (cc->socket.fd < 0)
            return cc;
        if (cc->used_ns < oldest->used_ns)
            oldest = cc;
    }
    /* The client side connects again by itself. */
    loop_drop(b->loop, &oldest->socket);
    return oldest;
}

static void on_control_connection(struct source *s, uint32_t events)
{
    struct broker *b = s->owner;
    cleanup_close int fd = listen_accept(s->fd);
    if (fd < 0)
        return;
    uid_t uid;
    struct gi_error err = GI_ERROR_INIT;
    if (peer_uid(fd, &uid, &err) < 0 || (uid != 0 && uid != geteuid())) {
        char text[16];
        snprintf(text, sizeof(text), "%u", (unsigned)uid);
        gi_log(GI_LOG_WARNING, "control connection refused", "uid", text, NULL);
        return;
    }
    struct control_connection *cc = free_connection(b);
    cc->broker = b;
    cc->used_ns = gi_monotonic_ns();
    if (loop_add(b->loop, &cc->socket, fd, EPOLLIN, on_request, cc, &err) < 0)
        gi_log(GI_LOG_ERROR, "control connection", "why", err.message, NULL);
    else
        (void)TAKE_FD(fd);
}

int control_start(struct broker *b, struct gi_error *err)
{
    for (size_t i = 0; i < MAX_CONTROL_CONNECTIONS; i++)
        b->connections[i].socket = SOURCE_OFF;
    cleanup_close int fd = -1;
    int rc = listen_at(b->options->control, 0660, &fd, err);
    if (rc < 0)
        return rc;
    rc = loop_add(b->loop, &b->control, fd, EPOLLIN, on_control_connection, b, err);
    if (rc < 0) {
        unlink(b->options->control);
        return rc;
    }
    (void)TAKE_FD(fd);
    return 0;
}

void control_stop(struct broker *b)
{
    if (b->control.fd < 0)
        return;
    loop_drop(b->loop, &b->control);
    unlink(b->options->control);
    for (size_t i = 0; i < MAX_CONTROL_CONNECTIONS; i++)
        loop_drop(b->loop, &b->connections[i].socket);
}
