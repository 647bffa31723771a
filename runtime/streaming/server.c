/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "streaming/http.h"
#include "streaming/session.h"
#include "streaming/token.h"

#define HEAD_TIMEOUT_NS 10000000000

struct streaming {
    struct streaming_config config;
    char address[64];
    uint16_t port;
    const struct streaming_backend *backend;
    struct token_store *tokens;
    int listener;
    int wake; /* eventfd, readable for good once the server ends */
    pthread_t acceptor;
    pthread_mutex_t lock; /* connections */
    pthread_cond_t idle;
    unsigned connections;
};

struct connection {
    struct streaming *server;
    int sock;
};

static const char *const remote_protocols_spdy[] = {"v5.channel.k8s.io", "v4.channel.k8s.io",
                                                    "v3.channel.k8s.io", "v2.channel.k8s.io",
                                                    "channel.k8s.io",    NULL};
static const char *const remote_protocols_ws[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
static const char *const forward_protocols[] = {"portforward.k8s.io", NULL};
static const char *const forward_protocols_ws[] = {"SPDY/3.1+portforward.k8s.io", NULL};

static int send_text(int sock, const char *text)
{
    size_t len = strlen(text);
    return send(sock, text, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

static void answer_error(int sock, const struct gi_error *why)
{
    char text[1024];
    const char *status = why->code == GI_NOT_FOUND ? "404 Not Found" : "400 Bad Request";
    snprintf(text, sizeof(text),
             "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n%s\n",
             status, strlen(why->message) + 1, why->message);
    send_text(sock, text);
}

/* Reads up to the empty line; what follows it stays in REST. */
static int read_head(struct connection *c, char *head, char **ret_rest, size_t *ret_rest_len,
                     struct gi_error *err)
{
    size_t len = 0;
    int64_t until = gi_monotonic_ns() + HEAD_TIMEOUT_NS;
    while (len < HTTP_MAX_HEAD) {
        int left = (int)((until - gi_monotonic_ns()) / 1000000);
        struct pollfd fds[2] = {{.fd = c->sock, .events = POLLIN},
                                {.fd = c->server->wake, .events = POLLIN}};
        if (left <= 0 || poll(fds, 2, left) <= 0 || fds[1].revents)
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "no request");
        ssize_t n = recv(c->sock, head + len, HTTP_MAX_HEAD - len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return gi_fail(err, GI_UNAVAILABLE, "the peer is gone");
        len += (size_t)n;
        head[len] = '\0';
        char *end = memmem(head, len, "\r\n\r\n", 4);
        if (!end)
            continue;
        *ret_rest = end + 4;
        *ret_rest_len = len - (size_t)(end + 4 - head);
        if (memchr(head, '\0', (size_t)(end - head)))
            return gi_fail(err, GI_INVALID_ARGUMENT, "a NUL byte in the request");
        return 0;
    }
    return gi_fail(err, GI_INVALID_ARGUMENT, "the request's head is longer than %d bytes",
                   HTTP_MAX_HEAD);
}

static int choose(const struct http_request *h, const char **ret_protocol, struct gi_error *err)
{
    bool ws = h->upgrade == HTTP_UPGRADE_WEBSOCKET;
    const char *const *choices = ws ? remote_protocols_ws : remote_protocols_spdy;
    if (h->kind == STREAMING_PORTFORWARD)
        choices = ws ? forward_protocols_ws : forward_protocols;
    const char *chosen = http_choose(h->protocols, choices);
    if (!chosen && !ws && !h->protocols[0])
        chosen = choices[h->kind == STREAMING_PORTFORWARD ? 0 : 4]; /* oldest clients name none */
    if (!chosen)
        return gi_fail(err, GI_INVALID_ARGUMENT, "none of the protocols \"%.200s\" is spoken here",
                       h->protocols);
    *ret_protocol = chosen;
    return 0;
}

static int answer_upgrade(int sock, const struct http_request *h, const char *protocol)
{
    char text[512];
    if (h->upgrade == HTTP_UPGRADE_WEBSOCKET) {
        char accept[64];
        http_ws_accept(h->ws_key, accept);
        snprintf(text, sizeof(text),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                 accept, protocol);
    } else {
        snprintf(text, sizeof(text),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"
                 "X-Stream-Protocol-Version: %s\r\n\r\n",
                 protocol);
    }
    return send_text(sock, text);
}

static void run_session(struct connection *c, const struct http_request *h,
                        const struct streaming_request *q, const char *protocol, const char *rest,
                        size_t rest_len)
{
    int version = protocol[0] == 'v' ? protocol[1] - '0' : 1;
    struct session s = {.sock = c->sock,
                        .wake = c->server->wake,
                        .idle_timeout_ms = c->server->config.idle_timeout_ms,
                        .backend = c->server->backend,
                        .request = q,
                        .out = GI_BUF_INIT(SESSION_OUT_MAX),
                        .early = rest,
                        .early_len = rest_len,
                        .version = version};
    struct mux_events none = {0};
    bool ws = h->upgrade == HTTP_UPGRADE_WEBSOCKET, forward = q->kind == STREAMING_PORTFORWARD;
    if (ws && forward)
        s.mux = ws_tunnel_new(&none, &s.out);
    else
        s.mux = ws ? ws_new(&none, &s.out, version, q->in, q->out, q->err, q->tty)
                   : spdy_new(&none, &s.out);
    if (!s.mux)
        return;
    if (ws && !forward) {
        /* As Kubernetes does: an empty message tells the client that it is connected. */
        struct mux_stream *first = mux_find(s.mux, MUX_STDOUT);
        first = first ? first : mux_find(s.mux, MUX_ERROR);
        s.mux->ops->send(s.mux, first, NULL, 0);
    }
    if (forward)
        session_portforward(&s);
    else
        session_remote(&s);
    s.mux->ops->free(s.mux);
    gi_buf_free(&s.out);
}

static void serve(struct connection *c)
{
    cleanup_free char *head = malloc(HTTP_MAX_HEAD + 1);
    if (!head)
        return;
    struct gi_error err = GI_ERROR_INIT;
    char *rest = NULL;
    size_t rest_len = 0;
    struct http_request h = {.upgrade = HTTP_UPGRADE_NONE};
    const char *protocol = "";
    int rc = read_head(c, head, &rest, &rest_len, &err);
    if (rc == 0)
        rc = http_parse(head, &h, &err);
    cleanup_free struct streaming_request *q = NULL;
    if (rc == 0) {
        q = token_take(c->server->tokens, h.kind, h.token);
        if (!q)
            rc = gi_fail(&err, GI_NOT_FOUND, "unknown, used or expired token");
    }
    if (rc == 0)
        rc = choose(&h, &protocol, &err);
    if (rc < 0) {
        if (err.code != GI_UNAVAILABLE && err.code != GI_DEADLINE_EXCEEDED)
            answer_error(c->sock, &err);
        return;
    }
    if (q && answer_upgrade(c->sock, &h, protocol) == 0)
        run_session(c, &h, q, protocol, rest, rest_len);
}

static void *connection_thread(void *arg)
{
    struct connection *c = arg;
    struct streaming *s = c->server;
    serve(c);
    close(c->sock);
    free(c);
    GI_LOCK_SCOPE(&s->lock);
    s->connections--;
    pthread_cond_signal(&s->idle);
    return NULL;
}

static void start_connection(struct streaming *s, int sock)
{
    int on = 1;
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    GI_LOCK_SCOPE(&s->lock);
    if (s->connections >= s->config.max_connections) {
        send_text(sock, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                        "Connection: close\r\n\r\n");
        close(sock);
        return;
    }
    struct connection *c = malloc(sizeof(*c));
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 512 << 10);
    if (c)
        *c = (struct connection){s, sock};
    if (!c || pthread_create(&thread, &attr, connection_thread, c) != 0) {
        free(c);
        close(sock);
    } else {
        s->connections++;
    }
    pthread_attr_destroy(&attr);
}

static void *acceptor_thread(void *arg)
{
    struct streaming *s = arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = s->listener, .events = POLLIN},
                                {.fd = s->wake, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            return NULL;
        int sock = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (sock >= 0)
            start_connection(s, sock);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            poll(&fds[1], 1, 100); /* don't spin on a connection we can't take */
    }
}

static int listen_on(struct streaming *s, struct gi_error *err)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(s->config.port)};
    if (inet_pton(AF_INET, s->address, &addr.sin_addr) != 1)
        return gi_fail(err, GI_INVALID_ARGUMENT, "streaming address \"%s\" is no IPv4 address",
                       s->address);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (s->listener < 0)
        return gi_fail_errno(err, errno, "streaming: socket");
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t len = sizeof(addr);
    if (bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(s->listener, 128) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&addr, &len) < 0)
        return gi_fail_errno(err, errno, "streaming: listen on %s:%u", s->address, s->config.port);
    fcntl(s->listener, F_SETFL, O_NONBLOCK);
    s->port = ntohs(addr.sin_port);
    return 0;
}

static void release(struct streaming *s)
{
    token_store_free(s->tokens);
    if (s->listener >= 0)
        close(s->listener);
    if (s->wake >= 0)
        close(s->wake);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->idle);
    free(s);
}

int streaming_open(const struct streaming_config *config, const struct streaming_backend *backend,
                   struct streaming **ret_server, struct gi_error *err)
{
    struct streaming *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail_errno(err, ENOMEM, "streaming");
    s->config = *config;
    s->backend = backend;
    snprintf(s->address, sizeof(s->address), "%s", config->address ? config->address : "127.0.0.1");
    if (!s->config.max_connections)
        s->config.max_connections = 256;
    if (!s->config.idle_timeout_ms)
        s->config.idle_timeout_ms = 4 * 3600 * 1000;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->listener = -1;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->tokens = token_store_new(config->token_lifetime_ms ? config->token_lifetime_ms : 60000);
    int rc =
        s->wake < 0 || !s->tokens ? gi_fail_errno(err, ENOMEM, "streaming") : listen_on(s, err);
    if (rc == 0 && pthread_create(&s->acceptor, NULL, acceptor_thread, s) != 0)
        rc = gi_fail(err, GI_RESOURCE_EXHAUSTED, "streaming: can't start a thread");
    if (rc < 0) {
        release(s);
        return rc;
    }
    *ret_server = s;
    return 0;
}

void streaming_close(struct streaming *s)
{
    if (!s)
        return;
    uint64_t one = 1;
    (void)gi_write_full(s->wake, &one, sizeof(one));
    pthread_join(s->acceptor, NULL);
    pthread_mutex_lock(&s->lock);
    while (s->connections)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
    release(s);
}

int streaming_url(struct streaming *s, const struct streaming_request *request, char **ret_url,
                  struct gi_error *err)
{
    static const char *const names[] = {"exec", "attach", "portforward"};
    char token[TOKEN_LENGTH + 1];
    int rc = token_put(s->tokens, request, token, err);
    if (rc < 0)
        return rc;
    char *url = NULL;
    if (asprintf(&url, "http://%s:%u/%s/%s", s->address, s->port, names[request->kind], token) < 0)
        return gi_fail_errno(err, ENOMEM, "streaming");
    *ret_url = url;
    return 0;
}
