/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streaming server: what kubectl exec, attach and port-forward end at.
 *
 * CRI's Exec, Attach and PortForward answer a URL; the kubelet (or crictl)
 * connects there and upgrades to SPDY/3.1 or WebSocket, as in Kubernetes'
 * remotecommand subprotocols v1 to v5.channel.k8s.io and portforward.k8s.io.
 * A URL carries a token that is good once and for a minute. The server listens
 * on loopback. One thread accepts, one serves each connection; both kinds and
 * the bytes held per connection are bounded, a slow peer slows its own process
 * down and nobody else.
 */
#ifndef GI_STREAMING_H
#define GI_STREAMING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct streaming;

enum streaming_kind { STREAMING_EXEC, STREAMING_ATTACH, STREAMING_PORTFORWARD };

struct streaming_request {
    enum streaming_kind kind;
    const char *id;          /* container, or sandbox for port-forward */
    const char *const *argv; /* exec: NULL-terminated */
    bool tty;
    bool in;
    bool out;
    bool err;
};

/* A process whose streams a connection carries. Descriptors are the server's
 * once open_process returned; -1 where a stream wasn't asked for. */
struct streaming_process {
    int in;
    int out;
    int err;
    void *handle; /* the backend's */
};

struct streaming_backend {
    void *data;
    /* Starts the exec or joins the attach. Runs on the connection's thread. */
    int (*open_process)(void *data, const struct streaming_request *request,
                        struct streaming_process *ret_process, struct gi_error *err);
    void (*resize)(void *data, void *handle, uint16_t width, uint16_t height);
    /* Called once OUT and ERR have ended (or the peer vanished: PEER_GONE, then an exec's
     * process need not be waited for). Frees HANDLE. For attach the exit code is 0. */
    int (*close_process)(void *data, void *handle, bool peer_gone, int *ret_exit_code,
                         struct gi_error *err);
    /* A stream socket to PORT on the pod's loopback. */
    int (*connect_port)(void *data, const char *sandbox_id, uint16_t port, int *ret_fd,
                        struct gi_error *err);
};

struct streaming_config {
    const char *address;      /* NULL: 127.0.0.1 */
    uint16_t port;            /* 0: any */
    unsigned max_connections; /* 0: 256 */
    int idle_timeout_ms;      /* without a byte in either direction; 0: 4 hours */
    int token_lifetime_ms;    /* 0: 60 s */
};

/* BACKEND must outlive the server. */
int streaming_open(const struct streaming_config *config, const struct streaming_backend *backend,
                   struct streaming **ret_server, struct gi_error *err);
/* Ends every connection and joins all threads. */
void streaming_close(struct streaming *s);

/* *ret_url (heap): absolute, "http://127.0.0.1:PORT/exec/TOKEN". RESOURCE_EXHAUSTED
 * when too many tokens wait to be used. */
int streaming_url(struct streaming *s, const struct streaming_request *request, char **ret_url,
                  struct gi_error *err);

#endif
