/* SPDX-License-Identifier: Apache-2.0 */
/* One container from create to remove. */
#ifndef AGENT_CONTAINER_H
#define AGENT_CONTAINER_H

#include "agent.h"
#include "console.h"
#include "gpu.h"
#include "logs.h"

enum phase { PHASE_CREATING, PHASE_CREATED, PHASE_RUNNING, PHASE_EXITED, PHASE_REMOVING };

#define MAX_REMOVERS 4u

struct container {
    struct container *next;
    struct agent *a;
    char id[AGENT_ID_MAX + 1];
    enum phase phase;
    char *dir;          /* <scratch>/<id> */
    char *cgroup;       /* path below each hierarchy's mount point; NULL: none */
    char *process_json; /* for exec */
    bool tty;
    bool stdin_open;
    bool stdin_once;
    bool starting;  /* a start is under way */
    bool dead;      /* its first process was reaped */
    bool published; /* the exit event went out */
    int stop_signal;
    pid_t pid;         /* 0 when there is none */
    struct loop_io in; /* its stdin, kept for attach; fd -1 */
    struct attach *attaches;
    size_t n_attaches;
    struct console console;
    struct agent_exit exit;
    struct logs logs;
    struct loop_timer exit_timer;
    unsigned n_binds; /* <dir>/binds/N, parts of volumes */
    struct gpu *gpu;
    struct request create_req;
    struct gi_error create_error; /* answered once what was made is gone again */
    struct request start_req;
    struct request removers[MAX_REMOVERS];
    size_t n_removers;
};

struct container *container_find(struct agent *a, const char *id);
/* Replies NOT_FOUND, and returns NULL, for one that isn't there or not yet. */
struct container *container_find_made(struct agent *a, struct request req, const char *id);
void container_create(struct agent *a, struct request req, const Gi__Agent__CreateContainer *m);
void container_start(struct agent *a, struct request req, const char *id);
void container_kill(struct agent *a, struct request req, const Gi__Agent__KillContainer *m);
void container_remove(struct agent *a, struct request req, const char *id);
void container_status(struct agent *a, struct request req, const char *id);
/* update.c */
void container_update(struct agent *a, struct request req, const Gi__Agent__UpdateResources *m);

/* Kills every process of C, not only its first. Number signalled. */
unsigned container_signal_all(struct container *c, int sig);
/* Sends the exit event when it is time. */
void container_publish(struct container *c);
/* The runtime wants records later than AFTER_NS, and the exit once more. */
void container_followed(struct container *c, int64_t after_ns);

/* Releases C itself; it must be out of the table. */
void container_free(struct container *c);
/* Its first process ended. */
void container_on_exit(void *data, int status);

#endif
