/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of the whole zone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cgroup.h"
#include "pod.h"
#include "stats.h"

#define NET_DEV_MAX (64u << 10)

/* A line of /proc/net/dev: "  eth0: 1 2 ...". False when it is none. */
static bool read_line(char *line, Gi__Agent__NetInterface *i)
{
    char *colon = strrchr(line, ':'); /* a name may contain one */
    if (!colon)
        return false;
    *colon = '\0';
    unsigned long long n[16];
    char *at = colon + 1;
    for (size_t k = 0; k < GI_ARRAY_SIZE(n); k++) {
        char *end;
        n[k] = strtoull(at, &end, 10);
        if (end == at)
            return false;
        at = end;
    }
    i->name = line + strspn(line, " ");
    i->rx_bytes = n[0];
    i->rx_packets = n[1];
    i->rx_errors = n[2];
    i->rx_dropped = n[3];
    i->tx_bytes = n[8];
    i->tx_packets = n[9];
    i->tx_errors = n[10];
    i->tx_dropped = n[11];
    return true;
}

size_t pod_interfaces(char *text, Gi__Agent__NetInterface *out, size_t max)
{
    size_t n = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line && n < max;
         line = strtok_r(NULL, "\n", &save)) {
        gi__agent__net_interface__init(&out[n]);
        /* A container may give its interfaces names the runtime doesn't take. */
        if (read_line(line, &out[n]) && agent_interface_valid(out[n].name) &&
            strcmp(out[n].name, "lo") != 0)
            n++;
    }
    return n;
}

void pod_stats(struct agent *a, struct request req)
{
    static Gi__Agent__NetInterface interfaces[AGENT_INTERFACES_MAX];
    Gi__Agent__NetInterface *pointers[AGENT_INTERFACES_MAX];
    struct agent_stats s;
    memset(&s, 0, sizeof(s));
    /* Containers' cgroups are below the zone's, whose numbers contain theirs. */
    cgroup_stats(a->opt.cgroup_path, &s, NULL);
    Gi__Agent__StatsReply total = GI__AGENT__STATS_REPLY__INIT;
    s.time_ns = gi_now_ns();
    stats_reply(&s, &total);
    Gi__Agent__PodStatsReply pod = GI__AGENT__POD_STATS_REPLY__INIT;
    pod.total = &total;
    cleanup_free char *text = NULL;
    if (gi_read_file("/proc/self/net/dev", NET_DEV_MAX, &text, NULL, NULL) == 0)
        pod.n_interfaces = pod_interfaces(text, interfaces, AGENT_INTERFACES_MAX);
    for (size_t i = 0; i < pod.n_interfaces; i++)
        pointers[i] = &interfaces[i];
    pod.interfaces = pointers;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_POD_STATS;
    reply.pod_stats = &pod;
    conn_reply(a, req, &reply, NULL);
}
