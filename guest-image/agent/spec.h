/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's OCI runtime spec (config.json, runtime-spec 1.0) with the
 * parts only the zone knows filled in. Pure functions.
 */
#ifndef AGENT_SPEC_H
#define AGENT_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct spec_mount {
    const char *source;
    const char *destination;
    bool exec; /* the container maps code from it */
};

struct spec_changes {
    const char *root;                /* root.path */
    const char *cgroup;              /* linux.cgroupsPath; NULL: no cgroup, limits are dropped */
    bool tty;                        /* process.terminal */
    const char *env;                 /* NAME=VALUE for process.env that hasn't NAME; may be NULL */
    int oom_score_min;               /* process.oomScoreAdj is raised to at least this */
    const struct spec_mount *mounts; /* bind mounts added at the end */
    size_t n_mounts;
    /* What stands for a mount's source that begins with "volume:" or "image:", or a pid
     * namespace's path that begins with "container:"; OUT has PATH_MAX bytes. NULL: it stays. */
    int (*source)(void *data, const char *source, char *out, struct gi_error *err);
    void *data;
};

/* JSON → the config.json to write, and the text of its "process" for exec.
 * Both heap, NUL-terminated. INVALID_ARGUMENT when it is no spec. */
int spec_build(const char *json, const struct spec_changes *changes, char **ret_config,
               char **ret_process, struct gi_error *err);

struct spec_terminal {
    bool tty;
    uint16_t width; /* 0: not known */
    uint16_t height;
};

/* A container's "process" with other arguments and TERMINAL. Heap. */
int spec_exec_process(const char *process_json, char *const *argv, size_t argc,
                      const struct spec_terminal *terminal, char **ret_json, struct gi_error *err);

/* The last error in an OCI runtime's JSON log, in TEXT. Heap, or NULL. */
char *spec_last_log_error(const char *text);

#endif
