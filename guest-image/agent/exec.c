/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of an exec: the OCI runtime starts the process detached and ends
 * (SPAWNING); the process is then our child, whose exit and output are waited
 * for (RUNNING); after the exit, its output is read to the end (DRAINING). A
 * process left behind may hold the pipes open: after DRAIN_MS, what is in them
 * (REST_MAX at most, should it write on) is the end. Both wait for a caller who
 * takes his time, so that he gets everything.
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
#define GIVE_UP_MS 100
#define READ_CHUNK 65536
#define REST_MAX   (1u << 20)

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
    loop_disarm(e->a->loop, &e->drain);
    close_stream(&e->out[0]);
    close_stream(&e->out[1]);
    console_close(&e->console);
    gi_cleanup_closep(&e->in);
    free(e->dir);
    free(e);
}

static void finish_if_done(struct exec *e)
{
    struct gi_error err = GI_ERROR_INIT;
    bool eof = e->out[0].io.fd < 0 && e->out[1].io.fd < 0;
    if (!e->exited || (!eof && !(e->given_up && e->draining_over)))
        return;
    if (!e->c)
        gi_fail(&err, GI_ABORTED, "the container was removed meanwhile");
    e->sink->done(e->owner, proc_exit_code(e->status), &err);
    exec_free(e);
}

/* ---- output ---- */

/* 1: took some; 0: nothing there now, or no room for it; -1: the stream is closed. */
static int read_some(struct exec_stream *s)
{
    static char chunk[READ_CHUNK];
    struct exec *e = s->e;
    if (!e->sink->has_room(e->owner)) {
        loop_events(e->a->loop, &s->io, 0);
        return 0;
    }
    ssize_t n = read(s->io.fd, chunk, sizeof(chunk));
    bool nothing = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (n > 0)
        e->sink->output(e->owner, s == &e->out[0] ? AGENT_STDOUT : AGENT_STDERR, chunk, (size_t)n);
    if (n > 0 && e->draining_over)
        e->rest -= e->rest < (size_t)n ? e->rest : (size_t)n;
    if (n > 0 && (!e->draining_over || e->rest))
        return 1;
    if (nothing && (!e->draining_over || errno == EINTR))
        return 0;
    close_stream(s); /* a terminal says EIO */
    return -1;
}

static void on_readable(void *data, uint32_t events)
{
    struct exec_stream *s = data;
    if (read_some(s) < 0)
        finish_if_done(s->e);
}

static void on_drain_over(void *data);

void exec_read_on(struct exec *e)
{
    for (int i = 0; i < 2 && e->spawned; i++)
        loop_events(e->a->loop, &e->out[i].io, EPOLLIN);
    /* No event comes from an empty pipe. Not at once: E may end by it. */
    if (e->draining_over)
        loop_arm(e->a->loop, &e->drain, 0, on_drain_over, e);
}

static int watch_output(struct exec *e, int i, int fd, struct gi_error *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        close(fd);
        return gi_fail(err, GI_INTERNAL, "pipe");
    }
    /* Until the command runs, only the OCI runtime's own words come. */
    loop_prepare(&e->out[i].io, fd, on_readable, &e->out[i]);
    return 0;
}

static void on_drain_over(void *data)
{
    struct exec *e = data;
    if (!e->draining_over)
        e->rest = REST_MAX;
    e->draining_over = true;
    for (int i = 0; i < 2; i++) {
        while (e->spawned && e->out[i].io.fd >= 0 && read_some(&e->out[i]) > 0)
            ;
    }
    finish_if_done(e);
}

/* ---- the process ---- */

static void on_process_exit(void *data, int status)
{
    struct exec *e = data;
    e->pid = 0;
    e->exited = true;
    e->status = status;
    loop_arm(e->a->loop, &e->drain, e->given_up ? 0 : DRAIN_MS, on_drain_over, e);
    finish_if_done(e);
}

void exec_kill(struct exec *e)
{
    e->killed = true;
    if (e->spawner)
        proc_kill_tree(e->spawner);
    if (e->pid)
        proc_kill_tree(e->pid);
}

void exec_give_up(struct exec *e)
{
    e->given_up = true;
    exec_kill(e);
    /* Should the processes be stuck in the kernel, the caller isn't. */
    if (!e->exited) {
        e->exited = true;
        e->status = SIGKILL;
    }
    loop_arm(e->a->loop, &e->drain, GIVE_UP_MS, on_drain_over, e);
}

static void not_started(struct exec *e)
{
    struct gi_error err = GI_ERROR_INIT;
    char log[PATH_MAX];
    if (e->given_up) {
        finish_if_done(e);
        return;
    }
    exec_path(e, "log", log);
    int code = oci_why(log, "start the command", &err);
    if (!code && (!e->c || e->c->dead))
        gi_fail(&err, GI_FAILED_PRECONDITION, "the container is not running");
    e->sink->failed(e->owner, code, &err);
    exec_free(e);
}

static void on_spawned(void *data, int status)
{
    struct exec *e = data;
    char path[PATH_MAX];
    e->spawner = 0;
    e->spawned = true;
    console_finish(&e->console);
    exec_path(e, "pid", path);
    pid_t pid = status == 0 ? oci_read_pid(path) : 0;
    if (!pid) {
        not_started(e);
        return;
    }
    e->pid = pid;
    if (e->killed)
        proc_kill_tree(pid);
    else
        e->sink->started(e->owner);
    exec_read_on(e);
    proc_expect(pid, on_process_exit, e);
}

/* ---- start ---- */

static void on_master(void *data, int master)
{
    struct exec *e = data;
    int in = fcntl(master, F_DUPFD_CLOEXEC, 3);
    if (watch_output(e, 0, master, NULL) < 0) {
        gi_cleanup_closep(&in);
        return;
    }
    e->in = in; /* the same open file: non-blocking, too */
    /* consoleSize says so, too, but who sets it first isn't known. */
    console_resize(master, e->width, e->height);
}

int exec_master(const struct exec *e)
{
    return e->tty ? e->out[0].io.fd : -1;
}

static int open_input(struct exec *e, int *ret_theirs, struct gi_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    *ret_theirs = fds[0];
    e->in = fds[1];
    if (fcntl(e->in, F_SETFL, O_WRONLY | O_NONBLOCK) < 0)
        return gi_fail_errno(err, errno, "pipe");
    return 0;
}

static int open_streams(struct exec *e, const struct exec_what *what, int theirs[3], char *console,
                        struct gi_error *err)
{
    const bool wanted[] = {what->out, what->err};
    char name[32];
    if (what->tty) {
        snprintf(name, sizeof(name), "exec-%u.tty", e->number);
        return console_listen(&e->console, e->a, e->dir, name, on_master, e, console, err);
    }
    int rc = what->in ? open_input(e, &theirs[0], err) : 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        int fds[2];
        if (!wanted[i])
            continue;
        if (pipe2(fds, O_CLOEXEC) < 0)
            return gi_fail_errno(err, errno, "pipe");
        theirs[i + 1] = fds[1];
        rc = watch_output(e, i, fds[0], err);
    }
    return rc;
}

static int write_process(const struct exec *e, const struct exec_what *what, const char *path,
                         struct gi_error *err)
{
    const struct spec_terminal terminal = {what->tty, what->width, what->height};
    cleanup_free char *process = NULL;
    int rc =
        spec_exec_process(e->c->process_json, what->argv, what->argc, &terminal, &process, err);
    return rc < 0 ? rc : oci_write_file(path, process, err);
}

static int spawn(struct exec *e, const struct exec_what *what, struct gi_error *err)
{
    char json[PATH_MAX];
    char pid_file[PATH_MAX];
    char log[PATH_MAX];
    char console[CONSOLE_PATH_MAX] = "";
    exec_path(e, "json", json);
    exec_path(e, "pid", pid_file);
    exec_path(e, "log", log);
    int theirs[3] = {-1, -1, -1};
    int rc = write_process(e, what, json, err);
    if (rc == 0)
        rc = open_streams(e, what, theirs, console, err);
    const char *plain[] = {"exec",       "--detach", "--process", json,
                           "--pid-file", pid_file,   e->c->id,    NULL};
    const char *tty[] = {"exec",   "--detach",         "--process", json,     "--pid-file",
                         pid_file, "--console-socket", console,     e->c->id, NULL};
    if (rc == 0)
        rc = oci_run(e->a, log, what->tty ? tty : plain, theirs, on_spawned, e, err);
    for (int i = 0; i < 3; i++)
        gi_cleanup_closep(&theirs[i]);
    if (rc < 0)
        return rc;
    e->spawner = rc;
    return 0;
}

static struct exec *exec_new(struct agent *a, struct container *c)
{
    static unsigned number;
    struct exec *e = calloc(1, sizeof(*e));
    if (!e || !(e->dir = strdup(c->dir))) {
        free(e);
        return NULL;
    }
    e->a = a;
    e->c = c;
    e->number = number++;
    e->in = -1;
    console_init(&e->console);
    for (int i = 0; i < 2; i++) {
        e->out[i].e = e;
        e->out[i].io.fd = -1;
    }
    e->next = a->execs;
    a->execs = e;
    a->n_execs++;
    return e;
}

struct exec *exec_start(struct agent *a, const struct exec_what *what, const struct exec_sink *sink,
                        void *owner, struct gi_error *err)
{
    struct container *c = container_find(a, what->container_id);
    struct exec *e = NULL;
    if (!c || c->phase == PHASE_CREATING)
        gi_fail(err, GI_NOT_FOUND, "no container %s", what->container_id);
    else if (c->phase != PHASE_RUNNING)
        gi_fail(err, GI_FAILED_PRECONDITION, "container %s is not running", c->id);
    else if (a->n_execs >= MAX_EXECS)
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "%u execs are running", MAX_EXECS);
    else if (!(e = exec_new(a, c)))
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for an exec");
    if (!e)
        return NULL;
    e->sink = sink;
    e->owner = owner;
    e->tty = what->tty;
    e->width = what->width;
    e->height = what->height;
    if (spawn(e, what, err) < 0) {
        exec_free(e);
        return NULL;
    }
    return e;
}

/* ---- all of them ---- */

void exec_resume(struct agent *a)
{
    for (struct exec *e = a->execs; e; e = e->next)
        exec_read_on(e);
}

void exec_end_orphans(struct agent *a)
{
    for (struct exec *e = a->execs; e; e = e->next)
        e->sink->orphaned(e->owner);
    exec_resume(a);
}

void exec_end_of(struct container *c)
{
    for (struct exec *e = c->a->execs; e; e = e->next) {
        if (e->c != c)
            continue;
        e->c = NULL;
        exec_kill(e);
    }
}
