/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of a pod, limits of a container. */
#include <string.h>

#include "agent/client_internal.h"

_Static_assert(AGENT_POD_INTERFACES_MAX == AGENT_INTERFACES_MAX, "one limit, two headers");

void client_copy_stats(struct agent_stats *to, const Gi__Agent__StatsReply *s)
{
    to->time_ns = s->time_ns;
#define COPY(name) to->name = s->name;
    AGENT_STATS_FIGURES(COPY)
#undef COPY
}

static void copy_interface(struct agent_interface_stats *to, const Gi__Agent__NetInterface *i)
{
    *to = (struct agent_interface_stats){
        .rx_bytes = i->rx_bytes,
        .rx_packets = i->rx_packets,
        .rx_errors = i->rx_errors,
        .rx_dropped = i->rx_dropped,
        .tx_bytes = i->tx_bytes,
        .tx_packets = i->tx_packets,
        .tx_errors = i->tx_errors,
        .tx_dropped = i->tx_dropped,
    };
    memcpy(to->name, i->name, strnlen(i->name, sizeof(to->name) - 1));
}

int agent_pod_stats(struct agent_client *c, int timeout_ms, struct agent_pod_stats *ret_stats,
                    struct gi_error *err)
{
    Gi__Agent__Empty empty = GI__AGENT__EMPTY__INIT;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_POD_STATS;
    msg.pod_stats = &empty;
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_POD_STATS);
    int rc = client_call(c, &msg, &p, timeout_ms, err);
    if (rc == 0) {
        const Gi__Agent__PodStatsReply *s = p.reply->reply->pod_stats;
        client_copy_stats(&ret_stats->total, s->total);
        ret_stats->n_interfaces = s->n_interfaces;
        for (size_t i = 0; i < s->n_interfaces; i++)
            copy_interface(&ret_stats->interfaces[i], s->interfaces[i]);
    }
    pending_free(&p);
    return rc;
}

int agent_update_resources(struct agent_client *c, const char *id, const struct agent_resources *r,
                           int timeout_ms, struct gi_error *err)
{
    Gi__Agent__UpdateResources update = GI__AGENT__UPDATE_RESOURCES__INIT;
    update.container_id = (char *)id;
    update.cpu_period = r->cpu_period;
    update.cpu_quota = r->cpu_quota;
    update.cpu_shares = r->cpu_shares;
    update.memory_limit = r->memory_limit;
    update.memory_swap = r->memory_swap;
    if (r->cpuset_cpus)
        update.cpuset_cpus = (char *)r->cpuset_cpus;
    if (r->cpuset_mems)
        update.cpuset_mems = (char *)r->cpuset_mems;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_UPDATE;
    msg.update = &update;
    return client_simple_call(c, &msg, timeout_ms, err);
}
