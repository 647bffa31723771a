/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: serves one client's channel with one libcuda (docs/idm.md).
 * Everything in the channel's memory is hostile: each record is copied out
 * once, decoded with bounds by generated code (proto/idm/cuda.calls), checked
 * against the client's own handles and addresses, and only then executed.
 *
 * One thread makes all calls of the driver; it never blocks in one that waits
 * for the GPU, so that a client's threads don't hold each other up.
 */
#ifndef GI_PROXY_WORKER_H
#define GI_PROXY_WORKER_H

#include <stdint.h>

#include "base/error.h"
#include "page.h"

struct worker_config {
    /* The channel as in struct handover_channel, seals and sizes already
     * checked. The descriptors stay the caller's. */
    int ring_fd;
    int arena_fd;
    int to_proxy_fd;
    int to_client_fd;
    uint64_t ring_bytes;
    uint64_t arena_bytes;
    int stop_fd;             /* worker_run returns when it becomes readable; -1: none */
    uint32_t zone;           /* what this channel's messages must say */
    uint32_t client;         /* for the log */
    uint32_t tag;            /* owner tag of this client's handles, 1..65535 */
    uint32_t max_handles;    /* 0: the default (65536) */
    uint64_t context_memory; /* of the device, that a context takes: charged for each */
    const char *driver;      /* path or soname of the libcuda to use */
    struct zone_page *page;
    int share_bell; /* eventfd that tells the broker of the page's share words; 0: nobody */
    int shelf;      /* non-blocking socket of shelf.h to the broker; 0: nothing is shared */
    uint32_t slot;  /* in the page: counters and memory are reserved there */
    /* Called once when the driver is loaded and initialized and the channel's
     * memory is mapped, before a byte of the client's is read: the place to seal the process
     * and to report readiness. Its failure ends worker_run. May be NULL. */
    int (*ready)(void *data, struct gi_error *err);
    void *data;
};

/*
 * Serves until the client says goodbye or stop_fd is readable (0), or
 *   UNAVAILABLE       the driver can't be loaded or has no device
 *   INVALID_ARGUMENT  the client broke the protocol beyond repair (counted in
 *                     protocol_errors); its channel is dead. Not a crash.
 *   others            no memory, `ready`'s failure
 * Whatever the client allocated is freed and unreserved on return. The driver
 * stays loaded. Several may run in one process (tests), each on a thread.
 */
int worker_run(const struct worker_config *config, struct gi_error *err);

#endif
