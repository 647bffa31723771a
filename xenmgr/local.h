/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the `local` driver: a machine is a process tree whose first
 * process, the agent, is the init of fresh pid, mount, uts and ipc namespaces.
 * NO security boundary.
 *
 *   <run_dir>/zones/<id>/record      what the machine is (record.c)
 *   <run_dir>/zones/<id>/agent.sock  its agent
 *   <run_dir>/zones/<id>/agent.log   the agent's stderr
 *   <state_dir>/zones/<id>/          writable layers
 *   <cgroup root>/<parent>/<id>/     its cgroups
 */
#ifndef GI_XENMGR_LOCAL_H
#define GI_XENMGR_LOCAL_H

#include <limits.h>
#include <pthread.h>
#include <sys/types.h>
#include <sys/un.h>

#include "driver.h"

#define LOCAL_MAX_HIERARCHIES 16u

/* ---- cgroup.c ---- */

struct cgroup_host {
    int version;        /* 1, 2; 0: none usable */
    const char *hybrid; /* v1 with a v2 tree beside it, mounted here; NULL: not so */
    struct {
        char point[128];
        bool join;   /* machines are put there; else only cleaned */
        bool memory; /* carries limits */
        bool cpu;
    } h[LOCAL_MAX_HIERARCHIES];
    unsigned n;
};

void cgroup_probe(struct cgroup_host *ret_host);
/* "" or NULL → "/gpu-isolated", a systemd slice → its folders, else the path itself. */
int cgroup_machine_path(const char *parent, const char *id, char *out, size_t size,
                        struct gi_error *err);
/* Makes the machine's cgroups, sets its limits (0: none), and opens the
 * cgroup.procs that its init joins by writing "0". */
int cgroup_make(const struct cgroup_host *h, const char *path, uint64_t memory_bytes,
                unsigned vcpus, int *ret_fds, unsigned *ret_n, struct gi_error *err);
/* New limits (0: as they are); FAILED_PRECONDITION, see machine_resize(). */
int cgroup_resize(const struct cgroup_host *h, const char *path, uint64_t memory_bytes,
                  unsigned vcpus, struct gi_error *err);
/* Removes the machine's cgroups with all below, waiting for dying processes. */
int cgroup_remove(const struct cgroup_host *h, const char *path, struct gi_error *err);

/* ---- runtime.c ---- */

struct oci_choice {
    char path[PATH_MAX];
    bool crun;
    char version[64];
    int cgroup;       /* 0: the OCI runtime makes none */
    const char *hide; /* mount point it must not see; NULL: none */
};
/* WANTED: NULL or "auto", or a path. */
int oci_choose(const char *wanted, const struct cgroup_host *h, struct oci_choice *ret_choice,
               struct gi_error *err);

/* ---- record.c ---- */

struct record {
    uint32_t zone;
    pid_t pid;                /* 0: being made */
    unsigned long long start; /* of the process, in ticks after boot */
    char boot[40];            /* boot id: ticks of another boot mean nothing */
    char netns[PATH_MAX];     /* "": its own */
    char cgroup[PATH_MAX];    /* "": none */
};

int record_write(const char *dir, const struct record *r, struct gi_error *err);
int record_read(const char *dir, struct record *ret_record, struct gi_error *err);
/* Of the process PID now. */
int record_fill_process(struct record *r, pid_t pid, struct gi_error *err);
/* A pidfd when exactly the recorded process lives, else -1. */
int record_open_process(const struct record *r);

/* ---- netns.c ---- */

/* Of the calling thread's network namespace; 0 or -errno. After fork(), too. */
int loopback_up(void);

/* ---- spawn.c ---- */

struct spawn {
    const char *const *argv;
    const char *hostname;
    int listen_fd;    /* becomes 3 */
    int ready_fd;     /* becomes 4 */
    int log_fd;       /* becomes 1 and 2 */
    int netns_fd;     /* -1: a fresh one, lo up */
    const char *hide; /* a mount point the zone must not see; NULL: none */
    const int *cgroup_fds;
    unsigned n_cgroup_fds;
};
#define SPAWN_LISTEN_FD 3
#define SPAWN_READY_FD  4
/* Starts the agent as init of fresh namespaces, in its own session and no
 * child of ours. It waits: closing *ret_go without a byte written ends it. */
int spawn_init(const struct spawn *s, pid_t *ret_pid, int *ret_go, struct gi_error *err);

/* ---- local.c ---- */

struct making {
    struct making *next;
    const char *id;
};

struct local {
    char *zones;   /* <run_dir>/zones */
    char *scratch; /* <state_dir>/zones */
    char *counter; /* <run_dir>/zone-counter */
    char *agent;
    char *libvgpu; /* NULL: no GPU containers */
    struct cgroup_host cgroups;
    struct oci_choice oci;
    char text[256];
    pthread_mutex_t mu;
    struct making *making; /* ids that a create or destroy is busy with */
};

/* ---- local_start.c ---- */

#define LOCAL_MAX_SYSCTLS 64u

/* A machine that is being made; descriptors that are not open yet are -1. */
struct building {
    struct record record;
    char dir[PATH_MAX];
    char scratch[PATH_MAX];
    int dirfd;
    int listen_fd;
    int log_fd;
    int ready_r;
    int ready_w;
    int netns_fd;
    int cgroup_fds[LOCAL_MAX_HIERARCHIES];
    unsigned n_cgroup_fds;
    int pidfd;
};

/* <zones>/<id>/agent.sock, DIRFD being that folder: *RET_ADDR is good as long as it is open.
 * Negative: it doesn't fit. */
int local_socket_address(int dirfd, struct sockaddr_un *ret_addr);
/* The folder, its socket, the log, the pipe for the agent's word, the network namespace. */
int local_open_ends(const struct machine_config *c, struct building *b, struct gi_error *err);
/* Starts it, has its process in the record, and waits for its word. On failure b->pidfd says
 * whether there is a process. */
int local_start_agent(struct local *l, const struct machine_config *c, struct building *b,
                      int timeout_ms, struct gi_error *err);

#endif
