/* SPDX-License-Identifier: Apache-2.0 */
/* Exec, Attach, PortForward: each answers a URL at the streaming server. */
#include <stdlib.h>

#include "services/services.h"
#include "streaming/streaming.h"

#define MAX_ARGS 4096u

/* What all of CRI's runtimes ask of the combination. */
static int check_streams(bool tty, bool in, bool out, bool err_stream, struct gi_error *err)
{
    if (!in && !out && !err_stream)
        return gi_fail(err, GI_INVALID_ARGUMENT, "stdin, stdout, stderr: none is asked for");
    if (tty && err_stream)
        return gi_fail(err, GI_INVALID_ARGUMENT, "stderr: a terminal has no stderr of its own");
    return 0;
}

static int find_running(struct rpc_call *call, const char *id, struct container **ret_c,
                        struct gi_error *err)
{
    cleanup_container struct container *c = NULL;
    if (!*id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container_id: missing");
    int rc = container_find(rpc_app(call), id, &c, err);
    if (rc == 0)
        rc = streams_check(c, err);
    if (rc == 0)
        *ret_c = TAKE_PTR(c);
    return rc;
}

static int make_url(struct rpc_call *call, const struct streaming_request *request, char **field,
                    struct gi_error *err)
{
    const struct runtime *rt = rpc_app(call);
    cleanup_free char *url = NULL;
    int rc = streaming_url(rt->streaming, request, &url, err);
    if (rc == 0)
        pb_set(field, url);
    return rc;
}

HANDLER(exec)
{
    const Runtime__V1__ExecRequest *q = request;
    Runtime__V1__ExecResponse *r = response;
    cleanup_container struct container *c = NULL;
    if (q->n_cmd == 0 || !*q->cmd[0])
        return gi_fail(err, GI_INVALID_ARGUMENT, "cmd: missing");
    if (q->n_cmd > MAX_ARGS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "cmd: more than %u arguments", MAX_ARGS);
    int rc = check_streams(q->tty, q->stdin, q->stdout, q->stderr, err);
    if (rc == 0)
        rc = find_running(call, q->container_id, &c, err);
    if (rc < 0)
        return rc;
    cleanup_free const char **argv = calloc(q->n_cmd + 1, sizeof(*argv));
    if (!argv)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < q->n_cmd; i++)
        argv[i] = q->cmd[i];
    const struct streaming_request s = {
        .kind = STREAMING_EXEC,
        .id = c->id,
        .argv = argv,
        .tty = q->tty,
        .in = q->stdin,
        .out = q->stdout,
        .err = q->stderr,
    };
    return make_url(call, &s, &r->url, err);
}

HANDLER(attach)
{
    const Runtime__V1__AttachRequest *q = request;
    Runtime__V1__AttachResponse *r = response;
    cleanup_container struct container *c = NULL;
    int rc = check_streams(q->tty, q->stdin, q->stdout, q->stderr, err);
    if (rc == 0)
        rc = find_running(call, q->container_id, &c, err);
    if (rc < 0 || !c)
        return rc;
    /* The container's own terminal counts, not what the request says of it. */
    bool tty = c->rec->config->tty;
    const struct streaming_request s = {
        .kind = STREAMING_ATTACH,
        .id = c->id,
        .tty = tty,
        .in = q->stdin,
        .out = q->stdout,
        .err = q->stderr && !tty,
    };
    return make_url(call, &s, &r->url, err);
}

HANDLER(port_forward)
{
    const Runtime__V1__PortForwardRequest *q = request;
    Runtime__V1__PortForwardResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_pod struct pod *p = NULL;
    if (!*q->pod_sandbox_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    int rc = pod_find(rt, q->pod_sandbox_id, &p, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < q->n_port; i++) {
        if (q->port[i] < 1 || q->port[i] > 65535)
            return gi_fail(err, GI_INVALID_ARGUMENT, "port[%zu]: %d is no port", i, q->port[i]);
    }
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (pod_state(p) != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
            return gi_fail(err, GI_FAILED_PRECONDITION, "sandbox \"%s\" is not running", p->id);
    }
    const struct streaming_request s = {.kind = STREAMING_PORTFORWARD, .id = p->id};
    return make_url(call, &s, &r->url, err);
}
