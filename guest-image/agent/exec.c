/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of an exec: the OCI runtime starts the process detached and ends
 * (SPAWNING); the process is then our child, whose exit and output are waited
 * for (RUNNING); after the exit, output that is still in the pipes is read,
 * but a process left behind that holds them open delays the answer only for
 * DRAIN_MS (DRAINING).
 */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "create.h"
#include "oci.h"
#include "spec.h"

#define DRAIN_MS   500
#define READ_CHUNK 65536

struct exec_stream {
    struct exec *e;
    struct loop_io io;
    uint64_t sent;
};

struct exec {
    struct exec *next;
    struct agent *a;
    struct container *c; /* NULL once it is being removed */
    struct request req;
    unsigned number;
    char *dir;     /* of the container */
    pid_t spawner; /* the OCI runtime, while it runs */
    pid_t pid;     /* the process, while it runs */
    bool spawned;
    bool exited;
    bool timed_out;
    bool draining_over;
    bool truncated;
    int status;
    uint64_t max_output;
    uint32_t timeout_ms;
    struct exec_stream out[2];
    struct loop_timer timeout;
    struct loop_timer drain;
};

static void exec_path(const struct exec *e, const char *suffix, char *out)
{
    snprintf(out, PATH_MAX, "%s/exec-%u.%s", e->dir, e->number, suffix);
}

static void close_stream(struct exec_stream *s)
{
    int fd = s->io.fd;
    if (fd < 0)
        return;
    loop_unwatch(s->e->a->loop, &s->io);
    close(fd);
}

static void exec_free(struct exec *e)
{
    static const char *const suffixes[] = {"json", "pid", "log"};
    char path[PATH_MAX];
    for (struct exec **at = &e->a->execs; *at; at = &(*at)->next) {
        if (*at == e) {
            *at = e->next;
            e->a->n_execs--;
            break;
        }
    }
    for (size_t i = 0; i < GI_ARRAY_SIZE(suffixes); i++) {
        exec_path(e, suffixes[i], path);
        unlink(path);
    }
    proc_forget(e);
    loop_disarm(e->a->loop, &e->timeout);
    loop_disarm(e->a->loop, &e->drain);
    close_stream(&e->out[0]);
    close_stream(&e->out[1]);
    free(e->dir);
    free(e);
}

static void send_output(struct exec *e, int stream, const char *data, size_t len)
{
    struct exec_stream *s = &e->out[stream - AGENT_STDOUT];
    if (len > e->max_output - s->sent) {
        len = (size_t)(e->max_output - s->sent);
        e->truncated = true;
    }
    s->sent += len;
    if (!len || !conn_current(e->a, e->req))
        return;
    Gi__Agent__ExecOutput output = GI__AGENT__EXEC_OUTPUT__INIT;
    output.id = e->req.id;
    output.stream = (uint32_t)stream;
    output.data.data = (uint8_t *)data;
    output.data.len = len;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXEC_OUTPUT;
    msg.exec_output = &output;
    conn_send(e->a, &msg);
}

/* Answers and frees E. */
static void answer(struct exec *e, int exit_code, const struct gi_error *err)
{
    Gi__Agent__ExecReply result = GI__AGENT__EXEC_REPLY__INIT;
    result.exit_code = (uint32_t)exit_code;
    result.truncated = e->truncated;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_EXEC;
    reply.exec = &result;
    conn_reply(e->a, e->req, &reply, err);
    exec_free(e);
}

static void finish_if_done(struct exec *e)
{
    struct gi_error err = GI_ERROR_INIT;
    bool eof = e->out[0].io.fd < 0 && e->out[1].io.fd < 0;
    if (!e->exited || (!eof && !e->draining_over))
        return;
    if (e->timed_out)
        gi_fail(&err, GI_DEADLINE_EXCEEDED, "the command did not end within %u ms", e->timeout_ms);
    else if (!e->c)
        gi_fail(&err, GI_ABORTED, "the container was removed meanwhile");
    answer(e, proc_exit_code(e->status), &err);
}

static void on_readable(void *data, uint32_t events)
{
    static char chunk[READ_CHUNK];
    struct exec_stream *s = data;
    struct exec *e = s->e;
    if (conn_current(e->a, e->req) && !conn_has_room(e->a)) {
        loop_events(e->a->loop, &s->io, 0);
        return;
    }
    ssize_t n = read(s->io.fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        send_output(e, s == &e->out[0] ? AGENT_STDOUT : AGENT_STDERR, chunk, (size_t)n);
        return;
    }
    close_stream(s);
    finish_if_done(e);
}

static void on_drain_over(void *data)
{
    struct exec *e = data;
    e->draining_over = true;
    finish_if_done(e);
}

static void on_process_exit(void *data, int status)
{
    struct exec *e = data;
    e->pid = 0;
    e->exited = true;
    e->status = status;
    loop_arm(e->a->loop, &e->drain, e->timed_out ? 0 : DRAIN_MS, on_drain_over, e);
    finish_if_done(e);
}

static void kill_exec(struct exec *e)
{
    if (e->spawner)
        proc_kill_tree(e->spawner);
    if (e->pid)
        proc_kill_tree(e->pid);
}

static void on_timeout(void *data)
{
    struct exec *e = data;
    e->timed_out = true;
    kill_exec(e);
    /* Should the processes be stuck in the kernel, the caller isn't. */
    if (!e->exited) {
        e->exited = true;
        e->status = SIGKILL;
    }
    loop_arm(e->a->loop, &e->drain, 100, on_drain_over, e);
}

/* A program that isn't there is a result of the exec, not an error of the call. */
static void not_started(struct exec *e)
{
    struct gi_error err = GI_ERROR_INIT;
    char log[PATH_MAX];
    exec_path(e, "log", log);
    int code = oci_why(log, "start the command", &err);
    if (e->timed_out) {
        finish_if_done(e);
    } else if (code) {
        send_output(e, AGENT_STDERR, err.message, strlen(err.message));
        answer(e, code, NULL);
    } else if (!e->c || e->c->dead) {
        gi_fail(&err, GI_FAILED_PRECONDITION, "the container is not running");
        answer(e, 0, &err);
    } else {
        answer(e, 0, &err);
    }
}

static void watch_output(struct exec *e)
{
    for (int i = 0; i < 2; i++)
        loop_events(e->a->loop, &e->out[i].io, EPOLLIN);
}

static void on_spawned(void *data, int status)
{
    struct exec *e = data;
    char path[PATH_MAX];
    e->spawner = 0;
    e->spawned = true;
    exec_path(e, "pid", path);
    pid_t pid = status == 0 ? oci_read_pid(path) : 0;
    if (!pid) {
        not_started(e);
        return;
    }
    e->pid = pid;
    watch_output(e);
    if (e->timed_out || !conn_current(e->a, e->req))
        proc_kill_tree(pid);
    proc_expect(pid, on_process_exit, e);
}

static int open_outputs(struct exec *e, int theirs[3], struct gi_error *err)
{
    for (int i = 0; i < 2; i++) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
            return gi_fail_errno(err, errno, "pipe");
        theirs[i + 1] = fds[1];
        int flags = fcntl(fds[0], F_GETFL);
        if (fcntl(fds[0], F_SETFL, flags | O_NONBLOCK) < 0 ||
            loop_watch(e->a->loop, &e->out[i].io, fds[0], EPOLLIN, on_readable, &e->out[i]) < 0) {
            close(fds[0]);
            return gi_fail(err, GI_INTERNAL, "pipe");
        }
        /* Until the command runs, only the OCI runtime's own words come. */
        loop_events(e->a->loop, &e->out[i].io, 0);
    }
    return 0;
}

static int spawn(struct exec *e, const Gi__Agent__ExecSync *m, struct gi_error *err)
{
    cleanup_free char *process = NULL;
    char json[PATH_MAX];
    char pid_file[PATH_MAX];
    char log[PATH_MAX];
    exec_path(e, "json", json);
    exec_path(e, "pid", pid_file);
    exec_path(e, "log", log);
    int rc = spec_exec_process(e->c->process_json, m->argv, m->n_argv, &process, err);
    if (rc == 0)
        rc = oci_write_file(json, process, err);
    if (rc < 0)
        return rc;
    int theirs[3] = {-1, -1, -1};
    rc = open_outputs(e, theirs, err);
    const char *args[] = {"exec",       "--detach", "--process", json,
                          "--pid-file", pid_file,   e->c->id,    NULL};
    if (rc == 0)
        rc = oci_run(e->a, log, args, theirs, on_spawned, e, err);
    for (int i = 0; i < 3; i++)
        gi_cleanup_closep(&theirs[i]);
    if (rc < 0)
        return rc;
    e->spawner = rc;
    return 0;
}

void exec_sync(struct agent *a, struct request req, const Gi__Agent__ExecSync *m)
{
    static unsigned number;
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find(a, m->container_id);
    struct exec *e = NULL;
    if (!c || c->phase == PHASE_CREATING)
        gi_fail(&err, GI_NOT_FOUND, "no container %s", m->container_id);
    else if (c->phase != PHASE_RUNNING)
        gi_fail(&err, GI_FAILED_PRECONDITION, "container %s is not running", c->id);
    else if (a->n_execs >= MAX_EXECS)
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "%u execs are running", MAX_EXECS);
    else if (!(e = calloc(1, sizeof(*e))) || !(e->dir = strdup(c->dir)))
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for an exec");
    if (err.code || !e) {
        free(e);
        conn_done(a, req, &err);
        return;
    }
    e->a = a;
    e->c = c;
    e->req = req;
    e->number = number++;
    e->max_output = m->max_output;
    e->timeout_ms = m->timeout_ms;
    for (int i = 0; i < 2; i++) {
        e->out[i].e = e;
        e->out[i].io.fd = -1;
    }
    e->next = a->execs;
    a->execs = e;
    a->n_execs++;
    if (spawn(e, m, &err) < 0) {
        answer(e, 0, &err);
        return;
    }
    if (m->timeout_ms)
        loop_arm(a->loop, &e->timeout, m->timeout_ms > INT_MAX ? INT_MAX : (int)m->timeout_ms,
                 on_timeout, e);
}

void exec_resume(struct agent *a)
{
    for (struct exec *e = a->execs; e; e = e->next) {
        if (e->spawned)
            watch_output(e);
    }
}

void exec_end_orphans(struct agent *a)
{
    for (struct exec *e = a->execs; e; e = e->next) {
        if (!conn_current(a, e->req))
            kill_exec(e);
    }
    exec_resume(a);
}

void exec_end_of(struct container *c)
{
    for (struct exec *e = c->a->execs; e; e = e->next) {
        if (e->c != c)
            continue;
        e->c = NULL;
        kill_exec(e);
    }
}
