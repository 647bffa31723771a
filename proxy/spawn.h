/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a worker: this same program, executed again with --worker. */
#ifndef GI_PROXY_SPAWN_H
#define GI_PROXY_SPAWN_H

#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Descriptors of a worker. All others are closed. */
enum worker_fd {
    WORKER_FD_NULL_IN = 0,
    WORKER_FD_NULL_OUT = 1,
    WORKER_FD_LOG = 2,    /* pipe to the broker, which bounds and quotes it */
    WORKER_FD_STATUS = 3, /* pipe to the broker: one byte when ready */
    WORKER_FD_PAGE = 4,   /* the zone's page */
    WORKER_FD_RING = 5,   /* the channel, as in struct handover_channel */
    WORKER_FD_ARENA = 6,
    WORKER_FD_TO_PROXY = 7,
    WORKER_FD_TO_CLIENT = 8,
    WORKER_FD_BELL = 9,   /* the zone's, of share.h */
    WORKER_FD_SHELF = 10, /* socket to the broker, of shelf.h */
    WORKER_FDS
};

#define WORKER_MAX_ARGS 32
#define WORKER_MAX_FDS  32

/* Forks and executes ourselves with ARGV (NULL-terminated). FDS[i] becomes
 * descriptor i of the child; the caller keeps its own. *ret_pidfd is the
 * caller's. MASK is the child's signal mask. */
int worker_spawn(char *const argv[], const int *fds, size_t nfds, const sigset_t *mask,
                 pid_t *ret_pid, int *ret_pidfd, struct gi_error *err);

#endif
