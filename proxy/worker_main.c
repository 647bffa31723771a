/* SPDX-License-Identifier: Apache-2.0 */
/* A worker process: jail, driver, seal, then proxy/worker's loop. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "boot.h"
#include "jail.h"
#include "page.h"
#include "visible.h"
#include "worker/worker.h"

/* A driver opens its device nodes again for each mapping. */
#define MAX_FILES 1024

static bool told; /* ready, or why not */

/* The broker reads one message of this pipe: see read_status in client.c. */
static void tell(const struct worker_status *status)
{
    told = true;
    ssize_t ignored = write(WORKER_FD_STATUS, status, sizeof(*status));
    (void)ignored;
    close(WORKER_FD_STATUS);
}

/* The driver is loaded, nothing of the client was read yet. */
static int on_ready(void *data, struct gi_error *err)
{
    int rc = jail_seal(err);
    if (rc < 0)
        return rc;
    struct worker_status ok = {.code = GI_OK};
    tell(&ok);
    return 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

static int enter(const struct worker_boot *b, struct gi_error *err)
{
    struct jail j = {.uid = (uid_t)b->uid,
                     .gid = (gid_t)b->gid,
                     .data_bytes = add(b->host_memory, b->memory_quota),
                     .max_files = MAX_FILES,
                     .parent = (pid_t)b->parent};
    return jail_enter(&j, err);
}

/* The folder of the driver may be closed to the worker's user though the file
 * isn't; then the descriptor opened before leads to it. */
static const char *driver_path(const char *driver, int opened, char *buf, size_t size)
{
    if (opened < 0 || access(driver, R_OK) == 0)
        return driver;
    snprintf(buf, size, "/proc/self/fd/%d", opened);
    return buf;
}

static int serve(const struct worker_boot *b, struct gi_error *err)
{
    char path[64];
    struct zone_page *page = NULL;
    int rc = page_map(WORKER_FD_PAGE, &page, err);
    if (rc < 0)
        return rc;
    cleanup_close int file = strchr(b->driver, '/') ? open(b->driver, O_RDONLY | O_CLOEXEC) : -1;
    rc = enter(b, err);
    if (rc == 0)
        rc = visible_apply((uint32_t)b->device_flags, b->devices, err);
    if (rc < 0)
        return rc;
    struct worker_config config = {.ring_fd = WORKER_FD_RING,
                                   .arena_fd = WORKER_FD_ARENA,
                                   .to_proxy_fd = WORKER_FD_TO_PROXY,
                                   .to_client_fd = WORKER_FD_TO_CLIENT,
                                   .ring_bytes = b->ring_bytes,
                                   .arena_bytes = b->arena_bytes,
                                   .stop_fd = -1,
                                   .zone = (uint32_t)b->zone,
                                   .client = (uint32_t)b->client,
                                   .tag = (uint32_t)b->tag,
                                   .max_handles = (uint32_t)b->max_handles,
                                   .context_memory = b->context_memory,
                                   .driver = driver_path(b->driver, file, path, sizeof(path)),
                                   .page = page,
                                   .share_bell = WORKER_FD_BELL,
                                   .shelf = WORKER_FD_SHELF,
                                   .slot = (uint32_t)b->slot,
                                   .ready = on_ready};
    return worker_run(&config, err);
}

int worker_main(int argc, char **argv)
{
    struct worker_boot boot;
    struct gi_error err = GI_ERROR_INIT;
    gi_log_init("gpu-proxy-worker", GI_LOG_INFO);
    prctl(PR_SET_NAME, "gpu-proxy-work", 0, 0, 0);
    if (worker_args_parse(argc, argv, &boot, &err) < 0) {
        fprintf(stderr, "gpu-proxy: %s\n", err.message);
        return 2;
    }
    int rc = boot.slot < PAGE_SLOTS ? serve(&boot, &err)
                                    : gi_fail(&err, GI_INVALID_ARGUMENT, "worker argument slot");
    if (rc < 0) {
        gi_log(GI_LOG_WARNING, "ends", "why", err.message, NULL);
        if (!told) {
            struct worker_status failure = {.code = (uint32_t)err.code};
            snprintf(failure.message, sizeof(failure.message), "%s", err.message);
            tell(&failure);
        }
    }
    /* No destructors: they belong to libraries that a client's calls went
     * through, and some of them use system calls that kill by now. */
    _exit(rc == 0                      ? WORKER_EXIT_OK
          : rc == -GI_INVALID_ARGUMENT ? WORKER_EXIT_CLIENT
                                       : WORKER_EXIT_FAILED);
}
