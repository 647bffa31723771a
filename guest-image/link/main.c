/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu-isolated-zone-link: the zone's end of the link to the host. Offers a vchan
 * to dom0; each stream that is opened becomes a connection to the agent.
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

static int connect_agent(void *data)
{
    const char *path = data;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        gi_log(GI_LOG_WARNING, "the agent can't be reached", "reason", strerror(errno), NULL);
        return -GI_UNAVAILABLE;
    }
    return TAKE_FD(fd);
}

static int serve_once(char *path, struct gi_error *err)
{
    struct libxenvchan *chan =
        libxenvchan_server_init(NULL, HOST, LINK_VCHAN_NODE, RING_BYTES, RING_BYTES);
    if (!chan)
        return gi_fail_errno(err, errno, "offer a vchan");
    struct link_pipe pipe;
    struct link *link = NULL;
    link_over_vchan(chan, &pipe);
    int rc = link_new(&pipe, connect_agent, path, &link, err);
    if (rc == 0)
        rc = link_run(link, err);
    link_free(link);
    libxenvchan_close(chan);
    return rc;
}

int main(int argc, char **argv)
{
    gi_log_init("gpu-isolated-zone-link", GI_LOG_INFO);
    if (argc != 2 || argv[1][0] != '/') {
        fputs("usage: gpu-isolated-zone-link AGENT-SOCKET\n", stderr);
        return 2;
    }
    for (;;) {
        struct gi_error err = GI_ERROR_INIT;
        serve_once(argv[1], &err);
        gi_log(GI_LOG_INFO, "the link to the host ended", "reason", err.message, NULL);
        usleep(AGAIN_MS * 1000);
    }
}
