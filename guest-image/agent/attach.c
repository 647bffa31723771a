/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attach. Output is copied to every attacher before it becomes log records.
 * One who doesn't read holds the container up, but only for STALL_MS at a
 * time: then he is cut off and everybody else goes on.
 *
 * Input: the container's stdin stays open between attachers, with stdin_once
 * until the first one's end. When an attacher's input ends otherwise, his
 * attachment ends too, a moment later for what his last bytes bring.
 */
#include "attach.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "input.h"
#include "stream.h"

#define STALL_MS  5000
#define DETACH_MS 300

struct attach {
    struct attach *next;
    struct container *c;
    struct stream *s;
    bool out[2];
    bool in;
    bool stalled;
    struct loop_timer stall;
    struct loop_timer detach;
    struct loop_timer kick;
    struct input input;
};

/* T's stream is ended or gone. */
static void attach_free(struct attach *t)
{
    struct container *c = t->c;
    for (struct attach **at = &c->attaches; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            c->n_attaches--;
            break;
        }
    }
    loop_disarm(c->a->loop, &t->stall);
    loop_disarm(c->a->loop, &t->detach);
    loop_disarm(c->a->loop, &t->kick);
    if (t->in && c->stdin_once && !c->tty)
        attach_close_input(c);
    free(t);
    logs_pace(&c->logs);
}

static void end(struct attach *t, const struct gi_error *why)
{
    stream_end(t->s, 0, why);
    attach_free(t);
}

/* ---- output ---- */

static void on_stall_over(void *data)
{
    struct gi_error err = GI_ERROR_INIT;
    gi_fail(&err, GI_RESOURCE_EXHAUSTED, "the output was not read for %d ms", STALL_MS);
    end(data, &err);
}

void attach_output(struct container *c, enum agent_stream stream, const char *data, size_t len)
{
    for (struct attach *t = c->attaches; t; t = t->next) {
        if (!t->out[stream - AGENT_STDOUT])
            continue;
        stream_send(t->s, stream == AGENT_STDOUT ? AGENT_RECORD_OUT : AGENT_RECORD_ERR, data, len);
        if (t->stalled || stream_has_room(t->s))
            continue;
        t->stalled = true;
        loop_arm(c->a->loop, &t->stall, STALL_MS, on_stall_over, t);
    }
}

bool attach_blocked(const struct container *c)
{
    for (const struct attach *t = c->attaches; t; t = t->next) {
        if (t->stalled)
            return true;
    }
    return false;
}

static void on_room(void *owner)
{
    struct attach *t = owner;
    t->stalled = false;
    loop_disarm(t->c->a->loop, &t->stall);
    logs_pace(&t->c->logs);
}

void attach_end_all(struct container *c, const struct gi_error *why)
{
    while (c->attaches)
        end(c->attaches, why);
}

/* ---- input ---- */

static void on_writable(void *data, uint32_t events)
{
    struct container *c = data;
    loop_events(c->a->loop, &c->in, 0);
    /* Whoever waits tries; the first to fill it arms the event again. */
    struct attach *next;
    for (struct attach *t = c->attaches; t; t = next) {
        next = t->next;
        if (t->input.at == t->input.len)
            continue;
        int rc = input_write(&t->input, c->in.fd);
        if (rc == 0)
            loop_events(c->a->loop, &c->in, EPOLLOUT);
        else
            stream_resume(t->s); /* may end T, no other */
    }
}

int attach_input(struct container *c, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        close(fd);
        return -1;
    }
    loop_prepare(&c->in, fd, on_writable, c);
    return 0;
}

/* Not at once: this may be in the middle of another one's records. */
static void on_kick(void *data)
{
    const struct attach *t = data;
    stream_resume(t->s);
}

void attach_close_input(struct container *c)
{
    int fd = c->in.fd;
    if (fd < 0)
        return;
    loop_unwatch(c->a->loop, &c->in);
    close(fd);
    /* What others still had for it goes nowhere. */
    for (struct attach *t = c->attaches; t; t = t->next) {
        if (t->input.at == t->input.len)
            continue;
        t->input.at = t->input.len;
        loop_arm(c->a->loop, &t->kick, 0, on_kick, t);
    }
}

static void write_input(struct attach *t)
{
    if (t->c->in.fd >= 0 && input_write(&t->input, t->c->in.fd) == 0)
        loop_events(t->c->a->loop, &t->c->in, EPOLLOUT);
    else
        t->input.at = t->input.len;
}

static void on_detach(void *data)
{
    end(data, NULL);
}

static void input_ended(struct attach *t)
{
    struct container *c = t->c;
    if (!t->in)
        return;
    t->in = false;
    if (c->stdin_once && !c->tty)
        attach_close_input(c); /* the output goes on until the container's end */
    else
        loop_arm(c->a->loop, &t->detach, DETACH_MS, on_detach, t);
}

static bool on_record(void *owner, const struct agent_record *r)
{
    struct attach *t = owner;
    uint16_t width;
    uint16_t height;
    bool waits = t->input.at < t->input.len;
    switch (r->type) {
    case AGENT_RECORD_IN:
        if (waits)
            return false;
        if (t->in) {
            input_put(&t->input, r);
            write_input(t);
        }
        return true;
    case AGENT_RECORD_IN_END:
        if (!waits)
            input_ended(t);
        return !waits;
    case AGENT_RECORD_RESIZE:
        agent_record_size(r, &width, &height);
        if (t->c->tty)
            console_resize(t->c->logs.streams[0].io.fd, width, height);
        return true;
    case AGENT_RECORD_SIGNAL:
    case AGENT_RECORD_OUT:
    case AGENT_RECORD_ERR:
    case AGENT_RECORD_END:
    default:
        return true;
    }
}

static void on_gone(void *owner)
{
    attach_free(owner);
}

/* ---- opening ---- */

void attach_stream(struct agent *a, struct stream *s, const Gi__Agent__AttachStream *m)
{
    static const struct stream_ops ops = {on_record, on_room, on_gone};
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find(a, m->container_id);
    struct attach *t = NULL;
    if (!c || c->phase == PHASE_CREATING)
        gi_fail(&err, GI_NOT_FOUND, "no container %s", m->container_id);
    else if (c->phase != PHASE_RUNNING && !c->starting)
        gi_fail(&err, GI_FAILED_PRECONDITION, "container %s is not running", c->id);
    else if (c->n_attaches >= MAX_ATTACHES)
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "%u clients are attached to %s", MAX_ATTACHES, c->id);
    else if (!(t = calloc(1, sizeof(*t))))
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for an attachment");
    stream_reply(s, &err);
    if (!t)
        return;
    t->c = c;
    t->s = s;
    t->in = m->in;
    t->out[0] = m->out;
    t->out[1] = m->err;
    t->next = c->attaches;
    c->attaches = t;
    c->n_attaches++;
    stream_own(s, &ops, t);
}
