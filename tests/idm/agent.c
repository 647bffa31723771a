/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "idm/handover.h"

#define MAX_ARENA (256ull << 20)
#define STEP_MS   30000

static const char *zone;

/* One client, from its connection to its end. */
static void *serve(void *data)
{
    int client = (int)(intptr_t)data;
    int proxy = -1;
    struct gi_error err = GI_ERROR_INIT;
    if (handover_serve_client(client, zone, MAX_ARENA, STEP_MS, &proxy, &err) == 0) {
        struct pollfd p[2] = {{.fd = client, .events = POLLIN}, {.fd = proxy, .events = POLLIN}};
        poll(p, 2, -1);
        close(proxy);
    }
    close(client);
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
        return -1;
    return fd;
}

static void serve_all(int fd)
{
    for (;;) {
        pthread_t thread;
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) == 0)
            pthread_detach(thread);
        else
            close(client);
    }
}

bool agent_start(struct agent *a, const char *dir, const char *zone_socket)
{
    snprintf(a->path, sizeof(a->path), "%s/agent.sock", dir);
    int fd = listen_at(a->path);
    if (fd < 0) {
        perror(a->path);
        return false;
    }
    a->pid = fork();
    if (a->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        zone = zone_socket;
        serve_all(fd);
    }
    close(fd);
    return a->pid > 0;
}

void agent_stop(struct agent *a)
{
    kill(a->pid, SIGKILL);
    waitpid(a->pid, NULL, 0);
    unlink(a->path);
}
