/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gives up before it serves a hostile client. Two steps around
 * the loading of the driver: jail_enter takes the process's privileges, after
 * which the driver's own code runs without them; jail_seal takes the system
 * calls. Both are one-way and meant for a process with one thread (enter) or
 * the driver's threads as well (seal: TSYNC). Details: proxy/README.md.
 */
#ifndef GI_PROXY_JAIL_H
#define GI_PROXY_JAIL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct jail {
    uid_t uid; /* taken on when we are root */
    gid_t gid;
    uint64_t data_bytes; /* RLIMIT_DATA; 0: none */
    uint32_t max_files;
    pid_t parent; /* die with it */
};

/* Limits, user, groups, capabilities, no_new_privs, death with the parent,
 * Landlock (where the kernel has it): no executing, no writing but to the GPU's
 * device nodes and /dev/null. FAILED_PRECONDITION when the parent is gone. */
int jail_enter(const struct jail *j, struct gi_error *err);

/* The seccomp filter, on all threads. */
int jail_seal(struct gi_error *err);

#endif
