/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of containers and pods. A list asks the agents of all pods at once,
 * waits a moment, and then answers with what is known: a zone that hangs
 * shows its last figures and keeps nobody waiting.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "services/services.h"

#define ONE_MS       5000
#define LIST_ASK_MS  2000
#define LIST_WAIT_NS 1000000000LL

/* ---- asking ---- */

static int refresh(struct container *c, struct agent_client *agent, int timeout_ms,
                   struct gi_error *err)
{
    struct agent_stats s;
    int rc = agent_container_stats(agent, c->id, timeout_ms, &s, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&c->pod->rt->lock);
    struct container_stats_sample *old = &c->sample;
    int64_t took = s.time_ns - old->stats.time_ns;
    if (old->valid && took > 100000000 && s.cpu_ns >= old->stats.cpu_ns)
        old->nano_cores = (uint64_t)((double)(s.cpu_ns - old->stats.cpu_ns) / (double)took * 1e9);
    else if (old->valid && took <= 100000000)
        return 0; /* too close for a rate; the older sample stays */
    old->stats = s;
    old->valid = true;
    return 0;
}

/* A reference to the pod's Nth running container. */
static struct container *running(struct pod *p, size_t n)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++) {
        struct container *c = p->containers[i];
        if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            continue;
        if (n-- == 0) {
            c->refs++;
            return c;
        }
    }
    return NULL;
}

/* The zone's own figures, of which the network is nobody else's. */
static int refresh_zone(struct pod *p, struct agent_client *agent, int timeout_ms,
                        struct gi_error *err)
{
    struct agent_pod_stats *s = malloc(sizeof(*s));
    if (!s)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    int rc = agent_pod_stats(agent, timeout_ms, s, err);
    if (rc == 0) {
        GI_LOCK_SCOPE(&p->rt->lock);
        struct agent_pod_stats *old = p->figures;
        p->figures = s;
        s = old;
    }
    free(s);
    return rc;
}

static int refresh_pod(struct pod *p, int timeout_ms, struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    int rc = pod_agent(p, &a, err);
    for (size_t n = 0; rc == 0; n++) {
        cleanup_container struct container *c = running(p, n);
        if (!c)
            break;
        rc = refresh(c, a->client, timeout_ms, err);
        if (rc == -GI_NOT_FOUND)
            rc = 0;
    }
    return rc < 0 ? rc : refresh_zone(p, a->client, timeout_ms, err);
}

static void refresh_job(void *arg)
{
    cleanup_pod struct pod *p = arg;
    refresh_pod(p, LIST_ASK_MS, NULL);
    GI_LOCK_SCOPE(&p->rt->lock);
    p->stats_busy = false;
    pthread_cond_broadcast(&p->rt->changed);
}

/* With the state lock held. */
static bool any_busy(const struct runtime *rt)
{
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (rt->pods[i]->stats_busy)
            return true;
    }
    return false;
}

/* Only pods WANTED says yes to; it is called with the state lock held. */
void stats_refresh(struct runtime *rt, bool (*wanted)(const void *filter, const struct pod *p),
                   const void *filter)
{
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        struct pod *p = rt->pods[i];
        if (p->stats_busy || !p->agent || p->agent->dead || !wanted(filter, p))
            continue;
        p->refs++;
        p->stats_busy = true;
        if (pool_submit(rt->jobs, refresh_job, p) < 0) {
            p->refs--; /* the table has another */
            p->stats_busy = false;
        }
    }
    int64_t at = gi_monotonic_ns() + LIST_WAIT_NS;
    struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    while (any_busy(rt) && pthread_cond_timedwait(&rt->changed, &rt->lock, &until) == 0)
        ;
}

/* ---- messages; with the state lock held ---- */

static Runtime__V1__CpuUsage *cpu_message(const struct container_stats_sample *s)
{
    Runtime__V1__CpuUsage *m = pb_new(&runtime__v1__cpu_usage__descriptor);
    m->timestamp = s->stats.time_ns;
    m->usage_core_nano_seconds = pb_uint64(s->stats.cpu_ns);
    m->usage_nano_cores = pb_uint64(s->nano_cores);
    return m;
}

static Runtime__V1__MemoryUsage *memory_message(const struct agent_stats *s)
{
    Runtime__V1__MemoryUsage *m = pb_new(&runtime__v1__memory_usage__descriptor);
    m->timestamp = s->time_ns;
    m->working_set_bytes = pb_uint64(s->memory_working_set);
    m->usage_bytes = pb_uint64(s->memory_usage);
    m->rss_bytes = pb_uint64(s->memory_rss);
    m->page_faults = pb_uint64(s->page_faults);
    m->major_page_faults = pb_uint64(s->major_page_faults);
    if (s->memory_limit)
        m->available_bytes = pb_uint64(
            s->memory_limit > s->memory_working_set ? s->memory_limit - s->memory_working_set : 0);
    return m;
}

static Runtime__V1__ContainerStats *stats_message(const struct container *c)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    Runtime__V1__ContainerStats *m = pb_new(&runtime__v1__container_stats__descriptor);
    Runtime__V1__ContainerAttributes *a = pb_new(&runtime__v1__container_attributes__descriptor);
    m->attributes = a;
    pb_set(&a->id, c->id);
    a->metadata = pb_copy(config->metadata);
    pb_copy_map(&a->labels, &a->n_labels,
                &runtime__v1__container_attributes__labels_entry__descriptor, config->labels,
                config->n_labels);
    pb_copy_map(&a->annotations, &a->n_annotations,
                &runtime__v1__container_attributes__annotations_entry__descriptor,
                config->annotations, config->n_annotations);
    if (!c->sample.valid)
        return m;
    const struct agent_stats *s = &c->sample.stats;
    m->cpu = cpu_message(&c->sample);
    m->memory = memory_message(s);
    m->writable_layer = pb_new(&runtime__v1__filesystem_usage__descriptor);
    m->writable_layer->timestamp = s->time_ns;
    m->writable_layer->fs_id = pb_new(&runtime__v1__filesystem_identifier__descriptor);
    pb_set(&m->writable_layer->fs_id->mountpoint, c->pod->rt->config->state_dir);
    m->writable_layer->used_bytes = pb_uint64(s->writable_bytes);
    m->writable_layer->inodes_used = pb_uint64(s->writable_inodes);
    return m;
}

static Runtime__V1__NetworkInterfaceUsage *interface_message(const struct agent_interface_stats *i)
{
    Runtime__V1__NetworkInterfaceUsage *m =
        pb_new(&runtime__v1__network_interface_usage__descriptor);
    pb_set(&m->name, i->name);
    m->rx_bytes = pb_uint64(i->rx_bytes);
    m->rx_errors = pb_uint64(i->rx_errors);
    m->tx_bytes = pb_uint64(i->tx_bytes);
    m->tx_errors = pb_uint64(i->tx_errors);
    return m;
}

/* CNI's interface is eth0; others that a pod made follow. NULL without one. */
static Runtime__V1__NetworkUsage *network_message(const struct agent_pod_stats *s)
{
    if (!s || s->n_interfaces == 0)
        return NULL;
    Runtime__V1__NetworkUsage *m = pb_new(&runtime__v1__network_usage__descriptor);
    m->timestamp = s->total.time_ns;
    for (size_t i = 0; i < s->n_interfaces; i++) {
        Runtime__V1__NetworkInterfaceUsage *u = interface_message(&s->interfaces[i]);
        if (!m->default_interface && strcmp(s->interfaces[i].name, "eth0") == 0)
            m->default_interface = u;
        else
            pb_push(&m->interfaces, &m->n_interfaces, u);
    }
    return m;
}

static Runtime__V1__PodSandboxStats *pod_message(const struct pod *p)
{
    const Runtime__V1__PodSandboxConfig *config = p->rec->config;
    Runtime__V1__PodSandboxStats *m = pb_new(&runtime__v1__pod_sandbox_stats__descriptor);
    Runtime__V1__PodSandboxAttributes *a = pb_new(&runtime__v1__pod_sandbox_attributes__descriptor);
    m->attributes = a;
    pb_set(&a->id, p->id);
    a->metadata = pb_copy(config->metadata);
    pb_copy_map(&a->labels, &a->n_labels,
                &runtime__v1__pod_sandbox_attributes__labels_entry__descriptor, config->labels,
                config->n_labels);
    pb_copy_map(&a->annotations, &a->n_annotations,
                &runtime__v1__pod_sandbox_attributes__annotations_entry__descriptor,
                config->annotations, config->n_annotations);
    m->linux = pb_new(&runtime__v1__linux_pod_sandbox_stats__descriptor);
    m->linux->network = network_message(p->figures);
    struct container_stats_sample sum = {.valid = false};
    for (size_t i = 0; i < p->n_containers; i++) {
        const struct container *c = p->containers[i];
        if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            continue;
        pb_push(&m->linux->containers, &m->linux->n_containers, stats_message(c));
        const struct agent_stats *s = &c->sample.stats;
        if (!c->sample.valid)
            continue;
        sum.valid = true;
        sum.nano_cores += c->sample.nano_cores;
        sum.stats.cpu_ns += s->cpu_ns;
        sum.stats.memory_usage += s->memory_usage;
        sum.stats.memory_working_set += s->memory_working_set;
        sum.stats.memory_rss += s->memory_rss;
        sum.stats.page_faults += s->page_faults;
        sum.stats.major_page_faults += s->major_page_faults;
        sum.stats.pids += s->pids;
        if (s->time_ns > sum.stats.time_ns)
            sum.stats.time_ns = s->time_ns;
    }
    if (!sum.valid)
        return m;
    m->linux->cpu = cpu_message(&sum);
    m->linux->memory = memory_message(&sum.stats);
    m->linux->process = pb_new(&runtime__v1__process_usage__descriptor);
    m->linux->process->timestamp = sum.stats.time_ns;
    m->linux->process->process_count = pb_uint64(sum.stats.pids);
    return m;
}

/* ---- handlers ---- */

HANDLER(container_stats)
{
    const Runtime__V1__ContainerStatsRequest *q = request;
    Runtime__V1__ContainerStatsResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_container struct container *c = NULL;
    cleanup_agent struct agent_ref *a = NULL;
    if (!*q->container_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container_id: missing");
    int rc = container_find(rt, q->container_id, &c, err);
    if (rc < 0)
        return rc;
    bool is_running;
    {
        GI_LOCK_SCOPE(&rt->lock);
        is_running = container_state(c) == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    }
    if (is_running) {
        rc = pod_agent(c->pod, &a, err);
        if (rc == 0)
            rc = refresh(c, a->client, rpc_timeout_ms(call, ONE_MS), err);
        if (rc < 0)
            return rc;
    }
    GI_LOCK_SCOPE(&rt->lock);
    r->stats = stats_message(c);
    return 0;
}

static bool container_wanted(const Runtime__V1__ContainerStatsFilter *f, const struct container *c)
{
    if (container_state(c) != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
        return false;
    return !f ||
           (filter_id_matches(f->id, c->id) && filter_id_matches(f->pod_sandbox_id, c->pod->id) &&
            labels_match(c->rec->config->labels, c->rec->config->n_labels, f->label_selector,
                         f->n_label_selector));
}

static bool has_wanted_container(const void *filter, const struct pod *p)
{
    for (size_t i = 0; i < p->n_containers; i++) {
        if (container_wanted(filter, p->containers[i]))
            return true;
    }
    return false;
}

HANDLER(list_container_stats)
{
    const Runtime__V1__ListContainerStatsRequest *q = request;
    Runtime__V1__ListContainerStatsResponse *r = response;
    struct runtime *rt = rpc_app(call);
    stats_refresh(rt, has_wanted_container, q->filter);
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        const struct pod *p = rt->pods[i];
        for (size_t k = 0; k < p->n_containers; k++) {
            if (container_wanted(q->filter, p->containers[k]))
                pb_push(&r->stats, &r->n_stats, stats_message(p->containers[k]));
        }
    }
    return 0;
}

HANDLER(pod_sandbox_stats)
{
    const Runtime__V1__PodSandboxStatsRequest *q = request;
    Runtime__V1__PodSandboxStatsResponse *r = response;
    struct runtime *rt = rpc_app(call);
    cleanup_pod struct pod *p = NULL;
    if (!*q->pod_sandbox_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    int rc = pod_find(rt, q->pod_sandbox_id, &p, err);
    if (rc == 0)
        rc = refresh_pod(p, rpc_timeout_ms(call, ONE_MS), err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&rt->lock);
    r->stats = pod_message(p);
    return 0;
}

static bool pod_wanted(const void *filter, const struct pod *p)
{
    const Runtime__V1__PodSandboxStatsFilter *f = filter;
    if (pod_state(p) != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
        return false;
    return !f || (filter_id_matches(f->id, p->id) &&
                  labels_match(p->rec->config->labels, p->rec->config->n_labels, f->label_selector,
                               f->n_label_selector));
}

HANDLER(list_pod_sandbox_stats)
{
    const Runtime__V1__ListPodSandboxStatsRequest *q = request;
    Runtime__V1__ListPodSandboxStatsResponse *r = response;
    struct runtime *rt = rpc_app(call);
    stats_refresh(rt, pod_wanted, q->filter);
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (pod_wanted(q->filter, rt->pods[i]))
            pb_push(&r->stats, &r->n_stats, pod_message(rt->pods[i]));
    }
    return 0;
}
