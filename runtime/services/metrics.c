/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of pods, under the names that Kubernetes' dashboards know from
 * cAdvisor. One table: descriptors and values come from the same rows.
 */
#include <stdlib.h>
#include <string.h>

#include "services/services.h"

#define NANO 1000000000u

struct metric {
    const char *name, *help;
    Runtime__V1__MetricType type;
    size_t offset;   /* in struct agent_stats */
    uint64_t divide; /* the figure by this */
};

#define ROW(name, help, type, field, divide)                                                       \
    {                                                                                              \
        name, help, RUNTIME__V1__METRIC_TYPE__##type, offsetof(struct agent_stats, field), divide  \
    }
static const struct metric metrics[] = {
    ROW("container_cpu_usage_seconds_total", "CPU time used, in seconds", COUNTER, cpu_ns, NANO),
    ROW("container_memory_usage_bytes", "Memory in use, caches included", GAUGE, memory_usage, 1),
    ROW("container_memory_working_set_bytes", "Memory in use that can't be reclaimed at once",
        GAUGE, memory_working_set, 1),
    ROW("container_memory_rss", "Anonymous memory", GAUGE, memory_rss, 1),
    ROW("container_memory_failures_total", "Page faults that needed the disk", COUNTER,
        major_page_faults, 1),
    ROW("container_fs_usage_bytes", "Bytes in the writable layer", GAUGE, writable_bytes, 1),
    ROW("container_fs_inodes_used", "Files in the writable layer", GAUGE, writable_inodes, 1),
    ROW("container_processes", "Processes and threads", GAUGE, pids, 1),
};
static const char *const label_keys[] = {"id", "name", "pod", "namespace"};

HANDLER(list_metric_descriptors)
{
    Runtime__V1__ListMetricDescriptorsResponse *r = response;
    (void)call;
    (void)request;
    (void)err;
    for (size_t i = 0; i < GI_ARRAY_SIZE(metrics); i++) {
        Runtime__V1__MetricDescriptor *d = pb_new(&runtime__v1__metric_descriptor__descriptor);
        pb_set(&d->name, metrics[i].name);
        pb_set(&d->help, metrics[i].help);
        for (size_t k = 0; k < GI_ARRAY_SIZE(label_keys); k++)
            pb_push_string(&d->label_keys, &d->n_label_keys, label_keys[k]);
        pb_push(&r->descriptors, &r->n_descriptors, d);
    }
    return 0;
}

/* With the state lock held. */
static Runtime__V1__ContainerMetrics *container_metrics(const struct container *c)
{
    const Runtime__V1__PodSandboxMetadata *pod = c->pod->rec->config->metadata;
    Runtime__V1__ContainerMetrics *m = pb_new(&runtime__v1__container_metrics__descriptor);
    pb_set(&m->container_id, c->id);
    for (size_t i = 0; c->sample.valid && i < GI_ARRAY_SIZE(metrics); i++) {
        uint64_t value;
        memcpy(&value, (const char *)&c->sample.stats + metrics[i].offset, sizeof(value));
        Runtime__V1__Metric *x = pb_new(&runtime__v1__metric__descriptor);
        pb_set(&x->name, metrics[i].name);
        x->timestamp = c->sample.stats.time_ns;
        x->metric_type = metrics[i].type;
        const char *labels[] = {c->id, c->rec->config->metadata->name, pod->name, pod->namespace_};
        for (size_t k = 0; k < GI_ARRAY_SIZE(labels); k++)
            pb_push_string(&x->label_values, &x->n_label_values, labels[k]);
        x->value = pb_uint64(value / metrics[i].divide);
        pb_push(&m->metrics, &m->n_metrics, x);
    }
    return m;
}

static bool is_ready(const void *filter, const struct pod *p)
{
    (void)filter;
    return pod_state(p) == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
}

HANDLER(list_pod_sandbox_metrics)
{
    Runtime__V1__ListPodSandboxMetricsResponse *r = response;
    struct runtime *rt = rpc_app(call);
    (void)request;
    (void)err;
    stats_refresh(rt, is_ready, NULL);
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        const struct pod *p = rt->pods[i];
        if (!is_ready(NULL, p))
            continue;
        Runtime__V1__PodSandboxMetrics *m = pb_new(&runtime__v1__pod_sandbox_metrics__descriptor);
        pb_set(&m->pod_sandbox_id, p->id);
        for (size_t k = 0; k < p->n_containers; k++) {
            if (container_state(p->containers[k]) ==
                RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
                pb_push(&m->container_metrics, &m->n_container_metrics,
                        container_metrics(p->containers[k]));
        }
        pb_push(&r->pod_metrics, &r->n_pod_metrics, m);
    }
    return 0;
}
