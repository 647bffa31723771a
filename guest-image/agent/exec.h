/* SPDX-License-Identifier: Apache-2.0 */
/* One more process in a container: ExecSync (exec_sync.c), interactive (exec_stream.c). */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "console.h"
#include "container.h"

struct exec;

/* Who wants the output and the end. */
struct exec_sink {
    bool (*has_room)(void *owner);
    void (*output)(void *owner, enum agent_stream stream, const char *data, size_t len);
    /* It runs. */
    void (*started)(void *owner);
    /* It doesn't; CODE is 127 or 126 when the program is the reason, else 0. The last call. */
    void (*failed)(void *owner, int code, const struct gi_error *err);
    /* Its output is read, its exit known; CODE is how that ended for us. The last call. */
    void (*done)(void *owner, int exit_code, const struct gi_error *err);
    /* The runtime's connection is lost. */
    void (*orphaned)(void *owner);
};

struct exec_stream {
    struct exec *e;
    struct loop_io io;
};

/* Its owner reads it; exec.c alone changes it. */
struct exec {
    struct exec *next;
    struct agent *a;
    struct container *c; /* NULL once it is being removed */
    const struct exec_sink *sink;
    void *owner;
    unsigned number;
    char *dir;     /* of the container */
    pid_t spawner; /* the OCI runtime, while it runs */
    pid_t pid;     /* the process, while it runs */
    bool tty;
    uint16_t width;
    uint16_t height;
    bool spawned;
    bool exited;
    bool killed;
    bool given_up;
    bool draining_over; /* what is in the pipes is all */
    size_t rest;        /* bytes that may still be read then */
    int status;
    struct exec_stream out[2];
    int in; /* non-blocking; whoever wants input written takes it over; -1 */
    struct console console;
    struct loop_timer drain;
};

struct exec_what {
    const char *container_id;
    char *const *argv;
    size_t argc;
    bool tty;
    bool in;
    bool out;
    bool err;
    uint16_t width;
    uint16_t height;
};

/* NULL with ERR, or an exec that frees itself after `failed` or `done`. */
struct exec *exec_start(struct agent *a, const struct exec_what *what, const struct exec_sink *sink,
                        void *owner, struct gi_error *err);
/* Kills what was started; `done` comes. */
void exec_kill(struct exec *e);
/* The same, and `done` comes soon even when the processes are stuck. */
void exec_give_up(struct exec *e);
/* There is room for output again. */
void exec_read_on(struct exec *e);
/* The terminal's master; -1. */
int exec_master(const struct exec *e);

void exec_sync(struct agent *a, struct request req, const Gi__Agent__ExecSync *m);

/* The connection has room again: go on reading output. */
void exec_resume(struct agent *a);
/* The caller is gone: ends what it started. */
void exec_end_orphans(struct agent *a);
/* C is being removed. */
void exec_end_of(struct container *c);

#endif
