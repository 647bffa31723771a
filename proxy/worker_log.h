/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker says on stderr, quoted into the broker's log. A worker may be
 * its client's by now, so its lines are bounded in length and number and can't
 * pass for the broker's own.
 */
#ifndef GI_PROXY_WORKER_LOG_H
#define GI_PROXY_WORKER_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct worker_log {
    struct loop *loop;
    struct source source;
    uint32_t zone;
    uint32_t client;
    int64_t window_ns; /* start of the window whose lines are counted */
    unsigned lines;    /* in it */
    uint64_t dropped;
    size_t len;
    char line[512];
};

/* Watches the reading end FD, which LOG owns from now on (not on failure). */
int worker_log_start(struct worker_log *log, struct loop *loop, int fd, uint32_t zone,
                     uint32_t client, struct gi_error *err);
/* Reads what is there still, then closes. */
void worker_log_stop(struct worker_log *log);

#endif
