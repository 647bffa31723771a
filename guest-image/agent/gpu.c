/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "idm/handover.h"
#include "proc.h"

#define MAX_CLIENTS      64u   /* of one container */
#define STEP_MS          60000 /* a driver's first start on a busy host takes long */
#define MAX_ARENA        (1ull << 30)
#define GPU_FRONT_CLIENT 3 /* gpu-isolated-gpu-front's descriptor for it */

/*
 * Each client is served by a forked child that holds the two connections and
 * nothing else: the handover may block on a hostile client without anybody
 * noticing, and the end of either connection ends both with the child.
 */
struct client {
    struct client *next;
    struct gpu *g;
    pid_t pid;
};

struct gpu {
    struct agent *a;
    struct loop_io listener;
    struct client *clients;
    unsigned n_clients;
};

/* Through /proc/self/fd: the folder's own path may be longer than sun_path. */
static int listen_in(const char *folder, struct gi_error *err)
{
    if (mkdir(folder, 0755) < 0)
        return gi_fail_errno(err, errno, "mkdir %s", folder);
    cleanup_close int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" GPU_SOCKET_NAME, dir);
    if (dir < 0 || fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return gi_fail_errno(err, errno, "GPU socket in %s", folder);
    /* Any user inside the container may use the container's GPU. */
    if (fchmodat(dir, GPU_SOCKET_NAME, 0666, 0) < 0 || listen(fd, 64) < 0)
        return gi_fail_errno(err, errno, "GPU socket in %s", folder);
    return TAKE_FD(fd);
}

struct serve {
    int sock;
    const struct options *o;
};

/* Over Xen a program of its own makes the channel: what it needs of Xen, the
 * agent doesn't. */
static int execute_front(const struct serve *s)
{
    char domain[16];
    snprintf(domain, sizeof(domain), "%u", s->o->gpu_domain);
    int there =
        s->sock == GPU_FRONT_CLIENT ? fcntl(s->sock, F_SETFD, 0) : dup2(s->sock, GPU_FRONT_CLIENT);
    if (s->o->gpu_front && there >= 0)
        execl(s->o->gpu_front, s->o->gpu_front, domain, NULL);
    gi_log(GI_LOG_ERROR, "GPU client refused", "reason", strerror(errno), NULL);
    return 1;
}

static int serve(void *arg)
{
    const struct serve *s = arg;
    struct gi_error err = GI_ERROR_INIT;
    int proxy = -1;
    if (s->o->gpu_domain)
        return execute_front(s);
    if (handover_serve_client(s->sock, s->o->gpu_socket, MAX_ARENA, STEP_MS, &proxy, &err) < 0) {
        gi_log(GI_LOG_WARNING, "GPU client refused", "reason", err.message, NULL);
        return 1;
    }
    /* Neither side has more to say: anything readable is the end. */
    struct pollfd fds[2] = {{.fd = s->sock, .events = POLLIN}, {.fd = proxy, .events = POLLIN}};
    while (poll(fds, 2, -1) <= 0)
        ;
    return 0;
}

static void on_served(void *data, int status)
{
    struct client *cl = data;
    struct gpu *g = cl->g;
    for (struct client **at = &g->clients; *at; at = &(*at)->next) {
        if (*at == cl) {
            *at = cl->next;
            g->n_clients--;
            break;
        }
    }
    free(cl);
    loop_events(g->a->loop, &g->listener, EPOLLIN);
}

static void on_client(void *data, uint32_t events)
{
    struct gpu *g = data;
    if (g->n_clients >= MAX_CLIENTS) {
        /* The others wait in the backlog until one has gone. */
        loop_events(g->a->loop, &g->listener, 0);
        return;
    }
    cleanup_close int fd = accept4(g->listener.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct gi_error err = GI_ERROR_INIT;
    struct client *cl = calloc(1, sizeof(*cl));
    if (!cl)
        return;
    struct serve s = {fd, &g->a->opt};
    cl->g = g;
    cl->pid = proc_fork(serve, &s, fd, on_served, cl, &err);
    if (cl->pid < 0) {
        gi_log(GI_LOG_WARNING, "GPU client refused", "reason", err.message, NULL);
        free(cl);
        return;
    }
    cl->next = g->clients;
    g->clients = cl;
    g->n_clients++;
}

int gpu_new(struct agent *a, const char *folder, struct gpu **ret_gpu, struct gi_error *err)
{
    int fd = listen_in(folder, err);
    if (fd < 0)
        return fd;
    struct gpu *g = calloc(1, sizeof(*g));
    if (!g || loop_watch(a->loop, &g->listener, fd, EPOLLIN, on_client, g) < 0) {
        close(fd);
        free(g);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "GPU socket");
    }
    g->a = a;
    *ret_gpu = g;
    return 0;
}

void gpu_free(struct gpu *g)
{
    if (!g)
        return;
    int fd = g->listener.fd;
    loop_unwatch(g->a->loop, &g->listener);
    close(fd);
    while (g->clients) {
        struct client *cl = g->clients;
        g->clients = cl->next;
        proc_forget(cl);
        kill(cl->pid, SIGKILL);
        free(cl);
    }
    free(g);
}
