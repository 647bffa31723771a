/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu-isolated-zone-link: a domain's end of the link to the host. Offers a vchan
 * to dom0; each stream that is opened becomes a connection to SOCKET: the agent's
 * in a zone, gpu-proxy's control socket (packets) in the driver domain.
 *
 * When the host's daemon goes, the link ends with all its streams, and a new
 * one is offered: rings are never used again, so nothing half said is left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "link/vchan.h"

#define HOST       0 /* dom0 */
#define RING_BYTES (64u << 10)
#define AGAIN_MS   200

struct target {
    const char *path;
    enum link_kind kind;
};

static int connect_target(void *data)
{
    const struct target *target = data;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", target->path);
    int type = target->kind == LINK_PACKETS ? SOCK_SEQPACKET : SOCK_STREAM;
    cleanup_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        gi_log(GI_LOG_WARNING, "nobody is behind the link", "reason", strerror(errno), NULL);
        return -GI_UNAVAILABLE;
    }
    return TAKE_FD(fd);
}

static int serve_once(struct target *target, struct gi_error *err)
{
    struct libxenvchan *chan =
        libxenvchan_server_init(NULL, HOST, LINK_VCHAN_NODE, RING_BYTES, RING_BYTES);
    if (!chan)
        return gi_fail_errno(err, errno, "offer a vchan");
    struct link_pipe pipe;
    struct link *link = NULL;
    link_over_vchan(chan, &pipe);
    int rc = link_new(&pipe, target->kind, connect_target, target, &link, err);
    if (rc == 0)
        rc = link_run(link, err);
    link_free(link);
    libxenvchan_close(chan);
    return rc;
}

int main(int argc, char **argv)
{
    gi_log_init("gpu-isolated-zone-link", GI_LOG_INFO);
    struct target target = {.path = argv[argc - 1]};
    if (argc == 3 && strcmp(argv[1], "--packets") == 0)
        target.kind = LINK_PACKETS;
    if (argc != 2 + (target.kind == LINK_PACKETS) || target.path[0] != '/') {
        fputs("usage: gpu-isolated-zone-link [--packets] SOCKET\n", stderr);
        return 2;
    }
    for (;;) {
        struct gi_error err = GI_ERROR_INIT;
        serve_once(&target, &err);
        gi_log(GI_LOG_INFO, "the link to the host ended", "reason", err.message, NULL);
        usleep(AGAIN_MS * 1000);
    }
}
