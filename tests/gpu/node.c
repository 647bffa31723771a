/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command beside gpu-proxy with ZONES zones, each with an agent that hands channels over:
 *   gpu-node GPU-PROXY DRIVER ZONES QUOTA-MIB COMMAND...
 * The agents' sockets are in GI_GPU_SOCKET, GI_GPU_SOCKET_2 and so on. At the end it says what
 * the zones did; its exit code is the command's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "proxy/harness.h"

#define MAX_ZONES 4

static struct proxy proxy;
static struct agent agents[MAX_ZONES];
static char sockets[MAX_ZONES][128];

static bool start_zone(unsigned i, uint64_t quota_mib)
{
    const struct control_quota quota = {
        .memory_bytes = quota_mib << 20, .max_clients = 32, .max_channel_bytes = 8ull << 30};
    char dir[96], name[32];
    snprintf(dir, sizeof(dir), "%s/agent%u", proxy.dir, i);
    if (mkdir(dir, 0700) < 0 ||
        !proxy_zone(&proxy, i + 1, &quota, sockets[i], sizeof(sockets[i])) ||
        !agent_start(&agents[i], dir, sockets[i]))
        return false;
    snprintf(name, sizeof(name), i ? "GI_GPU_SOCKET_%u" : "GI_GPU_SOCKET", i + 1);
    return setenv(name, agents[i].path, 1) == 0;
}

static int run(char *const argv[])
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void report(unsigned zone)
{
    struct control_zone_stats s = proxy_stats(&proxy, zone);
    fprintf(stderr,
            "zone %u: %" PRIu64 " clients, %" PRIu64 " calls, %" PRIu64
            " launches; refused: %" PRIu64 " handles, %" PRIu64 " addresses, %" PRIu64
            " for the quota; %" PRIu64 " protocol errors, %" PRIu64 " crashes\n",
            zone, (uint64_t)s.clients_total, (uint64_t)s.calls, (uint64_t)s.launches,
            (uint64_t)s.refused_handles, (uint64_t)s.refused_addresses, (uint64_t)s.quota_refusals,
            (uint64_t)s.protocol_errors, (uint64_t)s.worker_crashes);
}

int main(int argc, char **argv)
{
    unsigned zones = argc > 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    uint64_t quota = argc > 5 ? strtoull(argv[4], NULL, 10) : 0;
    if (zones < 1 || zones > MAX_ZONES || quota == 0) {
        fprintf(stderr, "usage: gpu-node GPU-PROXY DRIVER ZONES QUOTA-MIB COMMAND...\n");
        return 2;
    }
    if (!proxy_start(&proxy, argv[1], argv[2], NULL))
        return 125;
    unsigned started = 0;
    while (started < zones && start_zone(started, quota))
        started++;
    int rc = started == zones ? run(argv + 5) : 125;
    for (unsigned i = 0; i < started; i++) {
        report(i + 1);
        agent_stop(&agents[i]);
    }
    int end = proxy_stop(&proxy);
    return rc ? rc : end;
}
