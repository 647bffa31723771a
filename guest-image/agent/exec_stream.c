/* SPDX-License-Identifier: Apache-2.0 */
/* Interactive exec: a process whose streams a connection carries. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "exec.h"
#include "input.h"
#include "stream.h"

/* Between the hang-up and the kill, for a process whose caller went away. */
#define HANGUP_MS 500

struct shell {
    struct agent *a;
    struct stream *s; /* NULL: the caller is gone */
    struct exec *e;
    bool want[2];
    struct loop_io in;
    struct loop_timer hangup;
    struct input input;
};

static void close_input(struct shell *h)
{
    int fd = h->in.fd;
    if (fd < 0)
        return;
    loop_unwatch(h->a->loop, &h->in);
    close(fd);
}

static void shell_free(struct shell *h)
{
    close_input(h);
    loop_disarm(h->a->loop, &h->hangup);
    free(h);
}

/* ---- input ---- */

/* True when nothing waits any more. */
static bool write_input(struct shell *h)
{
    int rc = input_write(&h->input, h->in.fd);
    if (rc < 0)
        close_input(h);
    else
        loop_events(h->a->loop, &h->in, rc ? 0 : EPOLLOUT);
    return rc != 0;
}

static void on_writable(void *data, uint32_t events)
{
    struct shell *h = data;
    if (write_input(h) && h->s)
        stream_resume(h->s);
}

static bool on_record(void *owner, const struct agent_record *r)
{
    struct shell *h = owner;
    uint16_t width;
    uint16_t height;
    bool waits = h->input.at < h->input.len;
    switch (r->type) {
    case AGENT_RECORD_IN:
        if (waits)
            return false;
        input_put(&h->input, r);
        write_input(h);
        return true;
    case AGENT_RECORD_IN_END:
        /* A terminal has one end for both directions: it stays open. */
        if (!waits && !h->e->tty)
            close_input(h);
        return !waits;
    case AGENT_RECORD_RESIZE:
        agent_record_size(r, &width, &height);
        console_resize(exec_master(h->e), width, height);
        return true;
    case AGENT_RECORD_SIGNAL:
        if (h->e->pid)
            kill(h->e->pid, r->data[0]);
        return true;
    case AGENT_RECORD_OUT:
    case AGENT_RECORD_ERR:
    case AGENT_RECORD_END:
    default:
        return true;
    }
}

/* ---- the caller ---- */

static void on_room(void *owner)
{
    struct shell *h = owner;
    exec_read_on(h->e);
}

static void on_hangup_over(void *data)
{
    struct shell *h = data;
    exec_kill(h->e);
}

static void on_gone(void *owner)
{
    struct shell *h = owner;
    h->s = NULL;
    close_input(h);
    exec_read_on(h->e); /* to nobody: so that it doesn't wait for a reader */
    if (h->e->pid) {
        kill(h->e->pid, SIGHUP);
        loop_arm(h->a->loop, &h->hangup, HANGUP_MS, on_hangup_over, h);
    } else {
        exec_kill(h->e);
    }
}

/* ---- the process ---- */

static bool has_room(void *owner)
{
    const struct shell *h = owner;
    return !h->s || stream_has_room(h->s);
}

static void output(void *owner, enum agent_stream stream, const char *data, size_t len)
{
    const struct shell *h = owner;
    bool out = stream == AGENT_STDOUT;
    if (h->s && h->want[!out])
        stream_send(h->s, out ? AGENT_RECORD_OUT : AGENT_RECORD_ERR, data, len);
}

static void started(void *owner)
{
    struct shell *h = owner;
    loop_prepare(&h->in, h->e->in, on_writable, h);
    h->e->in = -1;
    if (h->s)
        stream_reply(h->s, NULL);
}

static void failed(void *owner, int code, const struct gi_error *err)
{
    struct shell *h = owner;
    if (h->s)
        stream_reply(h->s, err);
    shell_free(h);
}

static void done(void *owner, int exit_code, const struct gi_error *err)
{
    struct shell *h = owner;
    if (h->s)
        stream_end(h->s, exit_code, err);
    shell_free(h);
}

/* The caller has his own connection. */
static void orphaned(void *owner)
{
}

void exec_stream(struct agent *a, struct stream *s, const Gi__Agent__ExecStream *m)
{
    static const struct exec_sink sink = {.has_room = has_room,
                                          .output = output,
                                          .started = started,
                                          .failed = failed,
                                          .done = done,
                                          .orphaned = orphaned};
    static const struct stream_ops ops = {on_record, on_room, on_gone};
    const struct exec_what what = {.container_id = m->container_id,
                                   .argv = m->argv,
                                   .argc = m->n_argv,
                                   .tty = m->tty,
                                   .in = m->in,
                                   .out = m->out,
                                   .err = m->err,
                                   .width = (uint16_t)m->width,
                                   .height = (uint16_t)m->height};
    struct gi_error err = GI_ERROR_INIT;
    struct shell *h = calloc(1, sizeof(*h));
    if (!h) {
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for an exec");
        stream_reply(s, &err);
        return;
    }
    h->a = a;
    h->s = s;
    h->in.fd = -1;
    h->want[0] = m->out;
    h->want[1] = m->err;
    h->e = exec_start(a, &what, &sink, h, &err);
    if (!h->e) {
        stream_reply(s, &err);
        shell_free(h);
        return;
    }
    stream_own(s, &ops, h);
}
