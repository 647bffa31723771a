/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What broker and worker tell each other: at the start arguments that an
 * operator can read in ps and the descriptors of spawn.h; then one status
 * message; at the end an exit code.
 */
#ifndef GI_PROXY_BOOT_H
#define GI_PROXY_BOOT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "spawn.h"

/* X(name): the numbers. All of them must be given. */
#define WORKER_BOOT_NUMBERS(X)                                                                     \
    X(zone)                                                                                        \
    X(client)                                                                                      \
    X(slot)                                                                                        \
    X(tag)                                                                                         \
    X(ring_bytes)                                                                                  \
    X(arena_bytes)                                                                                 \
    X(uid)                                                                                         \
    X(gid)                                                                                         \
    X(parent)                                                                                      \
    X(memory_quota)                                                                                \
    X(host_memory)                                                                                 \
    X(context_memory)                                                                              \
    X(max_handles)                                                                                 \
    X(compute_weight)                                                                              \
    X(device_flags)

struct worker_boot {
    const char *driver;
    const char *devices; /* the client's list, as in struct handover_devices */
#define WORKER_BOOT_NUMBER(name) uint64_t name;
    WORKER_BOOT_NUMBERS(WORKER_BOOT_NUMBER)
#undef WORKER_BOOT_NUMBER
};

/* The one message on WORKER_FD_STATUS: ready, or why it never will be. Written
 * before a byte of the client's was read. */
struct worker_status {
    uint32_t code; /* enum gi_code; 0: ready */
    char message[GI_ERROR_MESSAGE_SIZE];
};

enum worker_exit {
    WORKER_EXIT_OK = 0,
    WORKER_EXIT_FAILED = 1,
    WORKER_EXIT_CLIENT = 3, /* the client broke the protocol: no crash */
};

struct worker_args {
    char text[WORKER_MAX_ARGS][64];
    char driver[4096];
    char devices[256];
    char *argv[WORKER_MAX_ARGS + 1];
};

int worker_args_make(const struct worker_boot *boot, struct worker_args *ret_args,
                     struct gi_error *err);
/* *ret_boot's driver is ARGV's. */
int worker_args_parse(int argc, char **argv, struct worker_boot *ret_boot, struct gi_error *err);

/* The worker process, from its exec to its end. */
int worker_main(int argc, char **argv);

#endif
