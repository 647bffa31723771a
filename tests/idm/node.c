/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

bool node_has_driver(const char *path)
{
    if (access(path, R_OK) == 0)
        return true;
    printf("needs the simulated GPU, %s\n", path);
    return false;
}

bool node_start(struct node *n, const char *proxy, const char *driver, uint64_t memory_quota)
{
    const struct control_quota quota = {
        .memory_bytes = memory_quota, .max_clients = 34, .max_channel_bytes = 16ull << 30};
    if (!proxy_start(&n->proxy, proxy, driver, NULL))
        return false;
    if (!proxy_zone(&n->proxy, NODE_ZONE, &quota, n->zone, sizeof(n->zone)) ||
        !agent_start(&n->agent, n->proxy.dir, n->zone)) {
        proxy_stop(&n->proxy);
        return false;
    }
    setenv("GI_GPU_SOCKET", n->agent.path, 1);
    return true;
}

int node_stop(struct node *n)
{
    agent_stop(&n->agent);
    return proxy_stop(&n->proxy);
}

bool node_apart(struct node *n, void (*test)(void), unsigned *failed)
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        *failed = 0;
        test();
        fflush(stdout);
        _exit(*failed != 0);
    }
    waitpid(pid, &status, 0);
    if (status != 0)
        fprintf(stderr, "the test's process ended with status %x\n", (unsigned)status);
    return WAIT_FOR(5000, proxy_stats(&n->proxy, NODE_ZONE).clients == 0) && status == 0;
}
