/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's state: one zone, its containers, at most one connection. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/agent_client.h"
#include "agent/wire.h"
#include "base/buf.h"
#include "loop.h"

#define MAX_EXECS    64u
#define MAX_REQUESTS 256u
#define OUT_HIGH     (512u << 10) /* logs, exec output and new requests wait above this */
#define OUT_MAX      (4u << 20)

struct options {
    int listen_fd;
    int ready_fd; /* one line: "ok", or why not */
    const char *listen_path;
    const char *scratch;     /* folder for containers' writable layers and bundles */
    const char *oci;         /* path of crun or runc */
    bool oci_is_crun;        /* its command line differs */
    int cgroup;              /* 1, 2; 0: containers get none of their own */
    const char *cgroup_path; /* parent of the containers' cgroups, "/..." */
    const char *libvgpu;     /* NULL: no GPU */
    const char *gpu_socket;  /* gpu-proxy's for this zone; NULL: none */
    uint32_t gpu_domain;     /* or the Xen domain that has gpu-proxy; 0: none */
    const char **addresses;  /* of eth0: "10.1.0.5/16"; a zone that is a domain */
    size_t n_addresses;
    const char **routes; /* "0.0.0.0/0=10.1.0.1" */
    size_t n_routes;
    long mtu;              /* 0: as it is */
    const char *gpu_front; /* with it: what serves a client */
    uint32_t zone;
    const char **sysctls;
    size_t n_sysctls;
};

struct container;
struct exec;
struct conn;

struct agent {
    struct options opt;
    struct loop *loop;
    struct loop_io listener;
    struct conn *conn;
    uint64_t generation; /* of the connection: replies to older ones are dropped */
    struct container *containers;
    size_t n_containers;
    struct exec *execs;
    size_t n_execs;
    size_t n_streams;  /* connections that carry one */
    int oom_score_min; /* lowest value we may give a container */
    bool ending;
    struct loop_timer end_timer;
};

/* Whom to answer. */
struct request {
    uint64_t generation;
    uint64_t id; /* 0: nobody */
};

/* ---- accept.c ---- */
int conn_listen(struct agent *a, struct gi_error *err);

/* ---- conn.c ---- */
/* Takes FD and *IN, which holds what came from it so far. */
void conn_take(struct agent *a, int fd, struct gi_buf *in);
/* REPLY with result and id left out is filled in; err NULL or code OK: success. */
void conn_reply(struct agent *a, struct request req, Gi__Agent__Reply *reply,
                const struct gi_error *err);
/* Success or ERR without a result. */
void conn_done(struct agent *a, struct request req, const struct gi_error *err);
/* An event or output. False when there is no (such) connection. */
bool conn_send(struct agent *a, const Gi__Agent__FromAgent *msg);
/* May more bulk data be queued? */
bool conn_has_room(const struct agent *a);
bool conn_current(const struct agent *a, struct request req);

/* ---- dispatch.c ---- */
void dispatch(struct agent *a, struct request req, const Gi__Agent__ToAgent *msg);
/* The connection has room again. */
void dispatch_resume(struct agent *a);
void dispatch_lost_connection(struct agent *a);

/* ---- end.c ---- */
/* Stops every container, then the loop. */
void agent_end(struct agent *a);
void agent_end_check(struct agent *a);

#endif
