/* SPDX-License-Identifier: Apache-2.0 */
/* A small HTTP/1.1 server on loopback for tests, one thread and one request a
 * connection; the handler writes whatever bytes it likes. */
#ifndef GI_TEST_SERVER_H
#define GI_TEST_SERVER_H

#include <stddef.h>

#define SERVER_MAX_REQUEST 16384

struct server_request {
    char method[8];
    char target[4096];
    char text[SERVER_MAX_REQUEST]; /* all of it, the body of a POST included */
};

/* Called from many threads at once. FD is closed afterwards. */
typedef void server_handler(void *data, int fd, const struct server_request *request);

struct server;

struct server *server_start(server_handler *handler, void *data);
int server_port(const struct server *s);
/* Waits until no handler runs: what they read may be changed then. */
void server_wait_idle(struct server *s);
void server_stop(struct server *s);

/* HEADER's value ("" if absent) in OUT. */
void server_header(const struct server_request *q, const char *header, char *out, size_t size);

void server_send(int fd, const void *bytes, size_t len);
void server_printf(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
