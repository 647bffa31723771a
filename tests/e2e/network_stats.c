/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pod's network has carried, as statistics, list and metrics tell it:
 *   network_stats POD
 * Exit code 0 when all three tell of bytes both ways on eth0. Used by network.sh.
 */
#include <stdio.h>
#include <string.h>

#include "podkit.h"

static struct podkit kit;

static int call(const char *method, const ProtobufCMessage *request, void *ret)
{
    struct gi_error err = GI_ERROR_INIT;
    struct gi_cri_call_options opt = {.timeout_ms = 20000};
    int rc = gi_cri_call(kit.client, method, request, &opt, ret, &err);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", method, err.message);
    return rc;
}

static bool carried(const Runtime__V1__PodSandboxStats *s)
{
    const Runtime__V1__NetworkUsage *n = s->linux ? s->linux->network : NULL;
    const Runtime__V1__NetworkInterfaceUsage *i = n ? n->default_interface : NULL;
    return i && strcmp(i->name, "eth0") == 0 && i->rx_bytes->value > 0 && i->tx_bytes->value > 0 &&
           n->timestamp > 0;
}

static bool in_stats(char *pod)
{
    Runtime__V1__PodSandboxStatsRequest q = RUNTIME__V1__POD_SANDBOX_STATS_REQUEST__INIT;
    Runtime__V1__PodSandboxStatsResponse *r = NULL;
    q.pod_sandbox_id = pod;
    bool ok = call("PodSandboxStats", &q.base, &r) == 0 && carried(r->stats);
    podkit_free(r);
    return ok;
}

static bool in_list(char *pod)
{
    Runtime__V1__PodSandboxStatsFilter f = RUNTIME__V1__POD_SANDBOX_STATS_FILTER__INIT;
    Runtime__V1__ListPodSandboxStatsRequest q = RUNTIME__V1__LIST_POD_SANDBOX_STATS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxStatsResponse *r = NULL;
    f.id = pod;
    q.filter = &f;
    bool ok = call("ListPodSandboxStats", &q.base, &r) == 0 && r->n_stats == 1 &&
              strcmp(r->stats[0]->attributes->id, pod) == 0 && carried(r->stats[0]);
    podkit_free(r);
    return ok;
}

static bool in_metrics(const char *pod)
{
    Runtime__V1__ListPodSandboxMetricsRequest q =
        RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxMetricsResponse *r = NULL;
    unsigned ways = 0;
    if (call("ListPodSandboxMetrics", &q.base, &r) < 0)
        return false;
    for (size_t i = 0; i < r->n_pod_metrics; i++) {
        const Runtime__V1__PodSandboxMetrics *m = r->pod_metrics[i];
        for (size_t k = 0; strcmp(m->pod_sandbox_id, pod) == 0 && k < m->n_metrics; k++) {
            const Runtime__V1__Metric *x = m->metrics[k];
            bool eth0 = x->n_label_values == 5 && strcmp(x->label_values[0], pod) == 0 &&
                        strcmp(x->label_values[4], "eth0") == 0;
            ways += eth0 && x->value->value > 0 &&
                    (strcmp(x->name, "container_network_receive_bytes_total") == 0 ||
                     strcmp(x->name, "container_network_transmit_bytes_total") == 0);
        }
    }
    podkit_free(r);
    return ways == 2;
}

int main(int argc, char **argv)
{
    if (argc != 2 || podkit_open(&kit) < 0)
        return 2;
    bool stats = in_stats(argv[1]), list = in_list(argv[1]), metrics = in_metrics(argv[1]);
    if (!stats || !list || !metrics)
        fprintf(stderr, "no network in%s%s%s\n", stats ? "" : " PodSandboxStats",
                list ? "" : " ListPodSandboxStats", metrics ? "" : " ListPodSandboxMetrics");
    podkit_close(&kit);
    return !stats || !list || !metrics;
}
