/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
    int fd;
    int port;
    server_handler *handler;
    void *data;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    int running;
};

struct connection {
    struct server *server;
    int fd;
};

void server_send(int fd, const void *bytes, size_t len)
{
    for (const char *p = bytes; len;) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

void server_printf(int fd, const char *format, ...)
{
    char *text;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    server_send(fd, text, (size_t)n);
    free(text);
}

void server_header(const struct server_request *q, const char *header, char *out, size_t size)
{
    size_t n = strlen(header);
    out[0] = '\0';
    for (const char *p = strstr(q->text, "\r\n"); p && strncmp(p, "\r\n\r\n", 4) != 0;
         p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, header, n) == 0 && p[2 + n] == ':') {
            const char *value = p + 3 + n + strspn(p + 3 + n, " ");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\r\n"), value);
            return;
        }
    }
}

static int read_request(int fd, struct server_request *q)
{
    size_t len = 0;
    size_t want = 0; /* known once the headers are in */
    while (len < sizeof(q->text) - 1 && (!want || len < want)) {
        ssize_t n = recv(fd, q->text + len, sizeof(q->text) - 1 - len, 0);
        if (n <= 0)
            return -1;
        len += (size_t)n;
        q->text[len] = '\0';
        const char *end = strstr(q->text, "\r\n\r\n");
        if (end && !want) {
            char length[32];
            server_header(q, "content-length", length, sizeof(length));
            want = (size_t)(end + 4 - q->text) + strtoul(length, NULL, 10);
        }
    }
    return sscanf(q->text, "%7s %4095s", q->method, q->target) == 2 ? 0 : -1;
}

static void *serve(void *data)
{
    struct connection *c = data;
    struct server *s = c->server;
    struct server_request *q = calloc(1, sizeof(*q));
    if (q && read_request(c->fd, q) == 0)
        s->handler(s->data, c->fd, q);
    free(q);
    shutdown(c->fd, SHUT_WR);
    close(c->fd);
    free(c);
    pthread_mutex_lock(&s->lock);
    s->running--;
    pthread_cond_signal(&s->idle);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *accept_loop(void *data)
{
    struct server *s = data;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return NULL;
        struct connection *c = malloc(sizeof(*c));
        *c = (struct connection){s, fd};
        pthread_mutex_lock(&s->lock);
        s->running++;
        pthread_mutex_unlock(&s->lock);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, c))
            abort();
        pthread_detach(thread);
    }
}

struct server *server_start(server_handler *handler, void *data)
{
    struct server *s = calloc(1, sizeof(*s));
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    s->handler = handler;
    s->data = data;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(s->fd, 64) < 0 ||
        getsockname(s->fd, (struct sockaddr *)&addr, &len) < 0 ||
        pthread_create(&s->thread, NULL, accept_loop, s))
        abort();
    s->port = ntohs(addr.sin_port);
    return s;
}

int server_port(const struct server *s)
{
    return s->port;
}

void server_wait_idle(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->running)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    server_wait_idle(s);
    free(s);
}
