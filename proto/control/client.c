/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "control/messages.h"

/* The proxy answers from memory; one that needs longer is stuck. */
#define CALL_TIMEOUT_MS 5000

struct control_client {
    pthread_mutex_t lock;
    struct sockaddr_un address;
    int fd; /* -1: not connected */
    uint32_t seq;
};

int control_client_new(const char *socket_path, struct control_client **ret_client,
                       struct gi_error *err)
{
    size_t len = strlen(socket_path);
    if (len == 0 || len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT, "control socket path \"%.150s\" is %s",
                       socket_path, len ? "too long" : "empty");
    struct control_client *c = calloc(1, sizeof(*c));
    if (!c)
        return gi_fail_errno(err, ENOMEM, "control client");
    pthread_mutex_init(&c->lock, NULL);
    c->fd = -1;
    c->address.sun_family = AF_UNIX;
    memcpy(c->address.sun_path, socket_path, len + 1);
    *ret_client = c;
    return 0;
}

static void disconnect(struct control_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void control_client_free(struct control_client *c)
{
    if (!c)
        return;
    disconnect(c);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static int connect_to_proxy(struct control_client *c, struct gi_error *err)
{
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return gi_fail_errno(err, errno, "socket");
    struct timeval tv = {.tv_sec = CALL_TIMEOUT_MS / 1000};
    /* Bounds connect(2) against a full backlog, and each send. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
        return gi_fail_errno(err, errno, "SO_SNDTIMEO");
    if (connect(fd, (struct sockaddr *)&c->address, sizeof(c->address)) < 0) {
        int saved = errno;
        /* No socket file, nobody listening, a full backlog: the proxy isn't
         * there (yet); the caller may try again. */
        if (saved == ENOENT || saved == EAGAIN)
            return gi_fail(err, GI_UNAVAILABLE, "connect to gpu-proxy at %s: %s",
                           c->address.sun_path, strerror(saved));
        return gi_fail_errno(err, saved, "connect to gpu-proxy at %s", c->address.sun_path);
    }
    c->fd = TAKE_FD(fd);
    return 0;
}

/* Receives the response with SEQ into IN. Only an old answer to a call that
 * failed could have another seq, and those connections are closed. */
static int receive(struct control_client *c, char *in, size_t size, struct gi_error *err)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)CALL_TIMEOUT_MS * 1000000;
    for (;;) {
        int64_t left_ms = (deadline - gi_monotonic_ns() + 999999) / 1000000;
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int n = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gi_fail_errno(err, errno, "poll");
        if (n == 0)
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "gpu-proxy didn't answer in %d ms",
                           CALL_TIMEOUT_MS);
        ssize_t got = recv(c->fd, in, size, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return gi_fail_errno(err, errno, "receive from gpu-proxy");
        if (got == 0)
            return gi_fail(err, GI_UNAVAILABLE, "gpu-proxy closed the connection");
        return (int)got;
    }
}

/* One try: send, receive. UNAVAILABLE means that the connection was dead. */
static int exchange(struct control_client *c, const char *out, int out_len, char *in,
                    size_t in_size, struct gi_error *err)
{
    if (c->fd < 0) {
        int rc = connect_to_proxy(c, err);
        if (rc < 0)
            return rc;
    }
    ssize_t n = gi_send_fds(c->fd, out, (size_t)out_len, NULL, 0);
    if (n == -EAGAIN)
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "gpu-proxy takes no requests");
    if (n < 0)
        return gi_fail_errno(err, (int)-n, "send to gpu-proxy");
    return receive(c, in, in_size, err);
}

/* Every call may be repeated without harm, so one that met a connection which
 * died since the last call (the proxy was restarted) is made again, once. */
static int transact(struct control_client *c, uint16_t type, const void *request,
                    union control_any *ret_response, struct gi_error *err)
{
    GI_LOCK_SCOPE(&c->lock);
    cleanup_free char *buffers = malloc(2 * CONTROL_MAX_MESSAGE);
    if (!buffers)
        return gi_fail_errno(err, ENOMEM, "control call");
    char *in = buffers + CONTROL_MAX_MESSAGE;
    uint32_t seq = ++c->seq;
    int len = control_encode(type, seq, request, buffers, CONTROL_MAX_MESSAGE, err);
    if (len < 0)
        return len;
    bool reused = c->fd >= 0;
    int got = exchange(c, buffers, len, in, CONTROL_MAX_MESSAGE, err);
    if (got < 0)
        disconnect(c);
    if (got == -GI_UNAVAILABLE && reused) {
        got = exchange(c, buffers, len, in, CONTROL_MAX_MESSAGE, err);
        if (got < 0)
            disconnect(c);
    }
    if (got < 0)
        return got;
    struct control_header h = {0};
    int rc = control_decode(in, (size_t)got, &h, ret_response, err);
    if (rc == 0 && h.seq == seq && h.type == (type | CONTROL_RESPONSE))
        return 0;
    if (rc == 0 && h.seq == seq && h.type == CONTROL_FAILURE) {
        uint32_t code = ret_response->error.code;
        return gi_fail(err, code && code <= GI_UNAUTHENTICATED ? (enum gi_code)code : GI_UNKNOWN,
                       "%s", ret_response->error.message);
    }
    disconnect(c);
    return rc < 0 ? gi_prefix(err, "answer of gpu-proxy")
                  : gi_fail(err, GI_INTERNAL, "gpu-proxy answered another call than %s",
                            control_call_name(type));
}

static union control_any *new_response(struct gi_error *err)
{
    union control_any *r = calloc(1, sizeof(*r));
    if (!r)
        gi_fail_errno(err, ENOMEM, "control call");
    return r;
}

int control_create_zone(struct control_client *c, uint32_t zone, const char *label,
                        const struct control_quota *quota, char **ret_socket_path,
                        struct gi_error *err)
{
    struct control_create_zone req = {.zone = zone};
    if (strlen(label) > CONTROL_LABEL_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "zone label is longer than %u bytes",
                       CONTROL_LABEL_MAX);
    snprintf(req.label, sizeof(req.label), "%s", label);
    if (quota)
        req.quota = *quota;
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_create_zone, &req, ret, err);
    if (rc < 0)
        return rc;
    char *path = strdup(ret->path.path);
    if (!path)
        return gi_fail_errno(err, ENOMEM, "control call");
    *ret_socket_path = path;
    return 0;
}

int control_drop_zone(struct control_client *c, uint32_t zone, struct gi_error *err)
{
    struct control_zone req = {.zone = zone};
    cleanup_free union control_any *ret = new_response(err);
    return ret ? transact(c, CONTROL_CALL_drop_zone, &req, ret, err) : -GI_RESOURCE_EXHAUSTED;
}

int control_zone_stats(struct control_client *c, uint32_t zone,
                       struct control_zone_stats *ret_stats, struct gi_error *err)
{
    struct control_zone req = {.zone = zone};
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_zone_stats, &req, ret, err);
    if (rc == 0)
        *ret_stats = ret->zone_stats;
    return rc;
}

int control_zone_info(struct control_client *c, uint32_t zone, struct control_zone_info *ret_info,
                      struct gi_error *err)
{
    struct control_zone req = {.zone = zone};
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_zone_info, &req, ret, err);
    if (rc == 0)
        *ret_info = ret->zone_info;
    return rc;
}

int control_list_zones(struct control_client *c, uint32_t **ret_zones, uint32_t *ret_n,
                       struct gi_error *err)
{
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_list_zones, NULL, ret, err);
    if (rc < 0)
        return rc;
    uint32_t n = ret->zone_list.n_zones;
    uint32_t *zones = calloc(n ? n : 1, sizeof(*zones));
    if (!zones)
        return gi_fail_errno(err, ENOMEM, "control call");
    for (uint32_t i = 0; i < n; i++)
        zones[i] = ret->zone_list.zones[i].zone;
    *ret_zones = zones;
    *ret_n = n;
    return 0;
}

int control_list_clients(struct control_client *c, uint32_t zone,
                         struct control_client_stats **ret_clients, uint32_t *ret_n,
                         struct gi_error *err)
{
    struct control_zone req = {.zone = zone};
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_list_clients, &req, ret, err);
    if (rc < 0)
        return rc;
    uint32_t n = ret->client_list.n_clients;
    struct control_client_stats *clients = calloc(n ? n : 1, sizeof(*clients));
    if (!clients)
        return gi_fail_errno(err, ENOMEM, "control call");
    memcpy(clients, ret->client_list.clients, n * sizeof(*clients));
    *ret_clients = clients;
    *ret_n = n;
    return 0;
}

int control_info(struct control_client *c, char **ret_text, struct gi_error *err)
{
    cleanup_free union control_any *ret = new_response(err);
    if (!ret)
        return -GI_RESOURCE_EXHAUSTED;
    int rc = transact(c, CONTROL_CALL_info, NULL, ret, err);
    if (rc < 0)
        return rc;
    char *text = strdup(ret->text.text);
    if (!text)
        return gi_fail_errno(err, ENOMEM, "control call");
    *ret_text = text;
    return 0;
}
