/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the streaming server's connections end at: processes and ports in
 * zones. Every one has a connection of its own to the agent, so a slow peer
 * holds up nothing but his own process.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_stream.h"
#include "core/runtime.h"
#include "streaming/streaming.h"

#define OPEN_MS 10000

/* A fresh connection to the agent of P's machine. */
static int dial(struct pod *p, int *ret_fd, struct gi_error *err)
{
    /* The machine can't be put away while the operation is ours. */
    int rc = pod_begin(p, NULL, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = p;
    if (p->gone || !p->machine)
        return gi_fail(err, GI_FAILED_PRECONDITION, "sandbox \"%s\" is not running", p->id);
    return machine_connect_agent(p->machine, OPEN_MS, ret_fd, err);
}

static int open_process(void *data, const struct streaming_request *request,
                        struct streaming_process *ret_process, struct gi_error *err)
{
    struct runtime *rt = data;
    cleanup_container struct container *c = NULL;
    struct agent_session *session = NULL;
    struct agent_pipes *pipes = NULL;
    int fd = -1;
    bool exec = request->kind == STREAMING_EXEC;
    struct agent_stream_spec spec = {
        .argv = request->argv,
        .tty = request->tty,
        .in = request->in,
        .out = request->out,
        .err = request->err && !request->tty,
    };
    int rc = container_find(rt, request->id, &c, err);
    if (rc == 0)
        rc = streams_check(c, err);
    if (rc == 0)
        rc = dial(c->pod, &fd, err);
    if (rc < 0)
        return rc;
    spec.container_id = c->id;
    rc = exec ? agent_exec_open(fd, &spec, OPEN_MS, &session, err)
              : agent_attach_open(fd, &spec, OPEN_MS, &session, err);
    if (rc < 0)
        return gi_prefix(err, "%s \"%s\"", exec ? "exec in container" : "attach to container",
                         c->id);
    struct streaming_process p = {.in = -1, .out = -1, .err = -1};
    rc = agent_pipes_open(session, &spec, &pipes, &p.in, &p.out, &p.err, err);
    if (rc < 0)
        return rc;
    p.handle = pipes;
    *ret_process = p;
    return 0;
}

static void resize(void *data, void *handle, uint16_t width, uint16_t height)
{
    (void)data;
    agent_pipes_resize(handle, width, height, NULL);
}

static int close_process(void *data, void *handle, bool peer_gone, int *ret_exit_code,
                         struct gi_error *err)
{
    (void)data;
    return agent_pipes_close(handle, peer_gone, ret_exit_code, err);
}

static int connect_port(void *data, const char *sandbox_id, uint16_t port, int *ret_fd,
                        struct gi_error *err)
{
    cleanup_pod struct pod *p = NULL;
    int fd = -1;
    int rc = pod_find(data, sandbox_id, &p, err);
    if (rc == 0)
        rc = dial(p, &fd, err);
    return rc < 0 ? rc : agent_port_open(fd, port, OPEN_MS, ret_fd, err);
}

int streams_check(struct container *c, struct gi_error *err)
{
    GI_LOCK_SCOPE(&c->pod->rt->lock);
    if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
        return gi_fail(err, GI_FAILED_PRECONDITION, "container \"%s\" is not running", c->id);
    return 0;
}

int streams_open(struct runtime *rt, struct gi_error *err)
{
    static struct streaming_backend backend = {
        .open_process = open_process,
        .resize = resize,
        .close_process = close_process,
        .connect_port = connect_port,
    };
    const struct streaming_config sc = {
        .address = rt->config->streaming_address,
        .port = (uint16_t)rt->config->streaming_port,
        .idle_timeout_ms = (int)rt->config->streaming_idle_ms,
    };
    backend.data = rt;
    return streaming_open(&sc, &backend, &rt->streaming, err);
}
