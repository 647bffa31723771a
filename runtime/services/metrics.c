/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of pods, under the names that Kubernetes' dashboards know from
 * cAdvisor. One table: descriptors and values come from the same rows.
 */
#include <stdlib.h>
#include <string.h>

#include "services/services.h"

#define NANO 1000000000u

enum where { OF_FIGURES, OF_SPEC, OF_INTERFACE };

struct metric {
    const char *name, *help;
    Runtime__V1__MetricType type;
    enum where where;
    size_t offset;          /* in struct agent_stats, in struct spec, in agent_interface_stats */
    uint64_t divide;        /* the figure by this */
    const char *key, *text; /* a label beside the usual ones; NULL: none */
};

/* What was asked for, and since when it runs. */
struct spec {
    uint64_t cpu_period, cpu_shares, cpu_quota, memory, swap, started_ns, seen_ns;
};

#define ROW(name, help, type, field, divide)                                                       \
    {                                                                                              \
        name, help, RUNTIME__V1__METRIC_TYPE__##type, OF_FIGURES,                                  \
            offsetof(struct agent_stats, field), divide, NULL, NULL                                \
    }
#define IO(name, help, field, operation)                                                           \
    {                                                                                              \
        name, help, RUNTIME__V1__METRIC_TYPE__COUNTER, OF_FIGURES,                                 \
            offsetof(struct agent_stats, field), 1, "operation", operation                         \
    }
#define SPEC(name, help, field, divide)                                                            \
    {                                                                                              \
        name, help, RUNTIME__V1__METRIC_TYPE__GAUGE, OF_SPEC, offsetof(struct spec, field),        \
            divide, NULL, NULL                                                                     \
    }
#define NET(name, help, field)                                                                     \
    {                                                                                              \
        name, help, RUNTIME__V1__METRIC_TYPE__COUNTER, OF_INTERFACE,                               \
            offsetof(struct agent_interface_stats, field), 1, "interface", NULL                    \
    }
/* Rows of one name stand together. */
static const struct metric metrics[] = {
    ROW("container_cpu_usage_seconds_total", "CPU time used, in seconds", COUNTER, cpu_ns, NANO),
    ROW("container_cpu_user_seconds_total", "CPU time used by programs themselves", COUNTER,
        cpu_user_ns, NANO),
    ROW("container_cpu_system_seconds_total", "CPU time used by the kernel for them", COUNTER,
        cpu_system_ns, NANO),
    ROW("container_cpu_cfs_periods_total", "Periods of the CPU quota", COUNTER, cpu_periods, 1),
    ROW("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up",
        COUNTER, cpu_throttled_periods, 1),
    ROW("container_cpu_cfs_throttled_seconds_total", "Time kept waiting by the quota", COUNTER,
        cpu_throttled_ns, NANO),
    ROW("container_memory_usage_bytes", "Memory in use, caches included", GAUGE, memory_usage, 1),
    ROW("container_memory_working_set_bytes", "Memory in use that can't be reclaimed at once",
        GAUGE, memory_working_set, 1),
    ROW("container_memory_rss", "Anonymous memory", GAUGE, memory_rss, 1),
    ROW("container_memory_cache", "Memory that holds files", GAUGE, memory_cache, 1),
    ROW("container_memory_mapped_file", "Memory of mapped files", GAUGE, memory_mapped, 1),
    ROW("container_memory_kernel_usage", "Memory of the kernel for them", GAUGE, memory_kernel, 1),
    ROW("container_memory_swap", "Memory swapped out", GAUGE, memory_swap, 1),
    ROW("container_memory_max_usage_bytes", "The most memory that was in use", GAUGE, memory_peak,
        1),
    ROW("container_memory_failcnt", "How often the memory limit was met", COUNTER,
        memory_limit_hits, 1),
    ROW("container_memory_failures_total", "Page faults that needed the disk", COUNTER,
        major_page_faults, 1),
    ROW("container_oom_events_total", "Processes killed for want of memory", COUNTER, oom_kills, 1),
    ROW("container_fs_usage_bytes", "Bytes in the writable layer", GAUGE, writable_bytes, 1),
    ROW("container_fs_inodes_used", "Files in the writable layer", GAUGE, writable_inodes, 1),
    ROW("container_fs_limit_bytes", "Size of the file system below the writable layer", GAUGE,
        disk_bytes, 1),
    ROW("container_fs_inodes_total", "Inodes of that file system", GAUGE, disk_inodes, 1),
    ROW("container_fs_inodes_free", "Inodes of that file system that are free", GAUGE,
        disk_inodes_free, 1),
    ROW("container_fs_reads_bytes_total", "Bytes read from block devices", COUNTER, read_bytes, 1),
    ROW("container_fs_reads_total", "Reads from block devices", COUNTER, reads, 1),
    ROW("container_fs_writes_bytes_total", "Bytes written to block devices", COUNTER, written_bytes,
        1),
    ROW("container_fs_writes_total", "Writes to block devices", COUNTER, writes, 1),
    IO("container_blkio_device_usage_total", "Bytes moved by all block devices", read_bytes,
       "Read"),
    IO("container_blkio_device_usage_total", "Bytes moved by all block devices", written_bytes,
       "Write"),
    ROW("container_processes", "Processes", GAUGE, processes, 1),
    ROW("container_threads", "Threads", GAUGE, pids, 1),
    ROW("container_threads_max", "Limit of threads, 0: none", GAUGE, pids_limit, 1),
    ROW("container_file_descriptors", "Open file descriptors", GAUGE, descriptors, 1),
    ROW("container_sockets", "Open sockets", GAUGE, sockets, 1),
    SPEC("container_spec_cpu_period", "Period of the CPU quota in microseconds", cpu_period, 1),
    SPEC("container_spec_cpu_quota", "CPU quota in microseconds a period, 0: none", cpu_quota, 1),
    SPEC("container_spec_cpu_shares", "CPU shares", cpu_shares, 1),
    SPEC("container_spec_memory_limit_bytes", "Memory limit, 0: none", memory, 1),
    SPEC("container_spec_memory_swap_limit_bytes", "Limit of memory and swap, 0: none", swap, 1),
    SPEC("container_start_time_seconds", "When it was started, in seconds since 1970", started_ns,
         NANO),
    SPEC("container_last_seen", "When these figures were taken, in seconds since 1970", seen_ns,
         NANO),
    NET("container_network_receive_bytes_total", "Bytes received", rx_bytes),
    NET("container_network_receive_packets_total", "Packets received", rx_packets),
    NET("container_network_receive_packets_dropped_total", "Packets received and dropped",
        rx_dropped),
    NET("container_network_receive_errors_total", "Errors in receiving", rx_errors),
    NET("container_network_transmit_bytes_total", "Bytes sent", tx_bytes),
    NET("container_network_transmit_packets_total", "Packets sent", tx_packets),
    NET("container_network_transmit_packets_dropped_total", "Packets dropped instead of sent",
        tx_dropped),
    NET("container_network_transmit_errors_total", "Errors in sending", tx_errors),
};
static const char *const label_keys[] = {"id", "name", "pod", "namespace"};

HANDLER(list_metric_descriptors)
{
    Runtime__V1__ListMetricDescriptorsResponse *r = response;
    (void)call;
    (void)request;
    (void)err;
    for (size_t i = 0; i < GI_ARRAY_SIZE(metrics); i++) {
        if (i && strcmp(metrics[i].name, metrics[i - 1].name) == 0)
            continue;
        Runtime__V1__MetricDescriptor *d = pb_new(&runtime__v1__metric_descriptor__descriptor);
        pb_set(&d->name, metrics[i].name);
        pb_set(&d->help, metrics[i].help);
        for (size_t k = 0; k < GI_ARRAY_SIZE(label_keys); k++)
            pb_push_string(&d->label_keys, &d->n_label_keys, label_keys[k]);
        if (metrics[i].key)
            pb_push_string(&d->label_keys, &d->n_label_keys, metrics[i].key);
        pb_push(&r->descriptors, &r->n_descriptors, d);
    }
    return 0;
}

/* ID and NAME: the container's, or the pod's and "". OBJECT: what OFFSET is in. */
static Runtime__V1__Metric *make_metric(const struct metric *m, const void *object, int64_t time_ns,
                                        const struct pod *p, const char *id, const char *name,
                                        const char *text)
{
    const Runtime__V1__PodSandboxMetadata *pod = p->rec->config->metadata;
    const char *labels[] = {id, name, pod->name, pod->namespace_};
    uint64_t value;
    memcpy(&value, (const char *)object + m->offset, sizeof(value));
    Runtime__V1__Metric *x = pb_new(&runtime__v1__metric__descriptor);
    pb_set(&x->name, m->name);
    x->timestamp = time_ns;
    x->metric_type = m->type;
    for (size_t k = 0; k < GI_ARRAY_SIZE(labels); k++)
        pb_push_string(&x->label_values, &x->n_label_values, labels[k]);
    if (text)
        pb_push_string(&x->label_values, &x->n_label_values, text);
    x->value = pb_uint64(value / m->divide);
    return x;
}

static uint64_t positive(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

/* With the state lock held. */
static struct spec spec_of(const struct container *c)
{
    const Runtime__V1__LinuxContainerConfig *l = c->rec->config->linux;
    const Runtime__V1__LinuxContainerResources *r = l ? l->resources : NULL;
    struct spec s = {.started_ns = positive(c->rec->started_ns),
                     .seen_ns = positive(c->sample.stats.time_ns),
                     .memory = c->sample.stats.memory_limit};
    if (r) {
        s.cpu_period = positive(r->cpu_period);
        s.cpu_quota = positive(r->cpu_quota);
        s.cpu_shares = positive(r->cpu_shares);
        s.swap = positive(r->memory_swap_limit_in_bytes);
    }
    return s;
}

/* With the state lock held. */
static Runtime__V1__ContainerMetrics *container_metrics(const struct container *c)
{
    Runtime__V1__ContainerMetrics *m = pb_new(&runtime__v1__container_metrics__descriptor);
    const struct agent_stats *s = &c->sample.stats;
    const struct spec spec = spec_of(c);
    pb_set(&m->container_id, c->id);
    for (size_t i = 0; c->sample.valid && i < GI_ARRAY_SIZE(metrics); i++) {
        const void *object = metrics[i].where == OF_FIGURES ? (const void *)s : &spec;
        if (metrics[i].where != OF_INTERFACE)
            pb_push(&m->metrics, &m->n_metrics,
                    make_metric(&metrics[i], object, s->time_ns, c->pod, c->id,
                                c->rec->config->metadata->name, metrics[i].text));
    }
    return m;
}

/* The network is the pod's. With the state lock held. */
static void push_network(Runtime__V1__PodSandboxMetrics *m, const struct pod *p)
{
    for (size_t i = 0; p->figures && i < GI_ARRAY_SIZE(metrics); i++) {
        if (metrics[i].where != OF_INTERFACE)
            continue;
        for (size_t k = 0; k < p->figures->n_interfaces; k++)
            pb_push(&m->metrics, &m->n_metrics,
                    make_metric(&metrics[i], &p->figures->interfaces[k], p->figures->total.time_ns,
                                p, p->id, "", p->figures->interfaces[k].name));
    }
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
        push_network(m, p);
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
