/* SPDX-License-Identifier: Apache-2.0 */
/* A real gpu-proxy in a folder of its own, for the tests of this room. */
#ifndef GI_TESTS_PROXY_HARNESS_H
#define GI_TESTS_PROXY_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "control/control.h"

struct proxy {
    pid_t pid;
    char dir[64];
    char control[96];
    char zones[96];
    char log[96];
    struct control_client *client;
};

/* Starts PROGRAM with DRIVER and the further arguments (NULL-terminated, may be
 * NULL) and waits until it answers. False, with the reason on stderr. */
bool proxy_start(struct proxy *p, const char *program, const char *driver,
                 const char *const *extra);
/* Kills it with SIGKILL and starts another in the same folder. */
bool proxy_restart(struct proxy *p, const char *program, const char *driver,
                   const char *const *extra);
/* SIGTERM; its exit code (128+n: killed by signal n; -1: it had to be killed). */
int proxy_stop(struct proxy *p);
/* Its log so far, heap. */
char *proxy_log(const struct proxy *p);
bool proxy_log_has(const struct proxy *p, const char *text);

/* Creates the zone and copies its socket's path; false if it fails. */
bool proxy_zone(struct proxy *p, uint32_t zone, const struct control_quota *quota, char *path,
                size_t size);
struct control_zone_stats proxy_stats(struct proxy *p, uint32_t zone);
/* The only client of ZONE, or one with pid 0. */
struct control_client_stats proxy_client(struct proxy *p, uint32_t zone);

/* Connects a SOCK_SEQPACKET socket; -errno. */
int proxy_connect(const char *path);

/* Waits up to MS for COND, looking every few milliseconds. */
#define WAIT_FOR(ms, cond)                                                                         \
    ({                                                                                             \
        bool wait_ok = false;                                                                      \
        for (int wait_i = 0; wait_i < (ms) / 5 + 1 && !(wait_ok = (cond)); wait_i++)               \
            usleep(5000);                                                                          \
        wait_ok;                                                                                   \
    })

#endif
