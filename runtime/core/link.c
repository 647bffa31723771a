/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to agents: made, lost, made again; what agents report on their
 * own (ends of containers, log records); the death of machines.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "core/events.h"
#include "core/runtime.h"
#include "rpc/pb.h"

#define RETRY_MIN_NS   200000000LL
#define RETRY_MAX_NS   10000000000LL
#define CONNECT_MS     5000
#define LAST_WORDS_NS  500000000LL
#define EXIT_KILLED    137
#define ZONES_EVERY_NS 5000000000LL

int agent_patience(const struct runtime *rt, const struct rpc_call *call)
{
    int ms = (int)rt->config->agent_timeout_ms;
    return call ? rpc_timeout_ms(call, ms) : ms;
}

/* ---- what containers did ---- */

static int64_t clamp_time(int64_t ns, int64_t from)
{
    int64_t now = gi_now_ns();
    if (ns > now)
        ns = now;
    return ns < from ? from : ns;
}

void container_set_exit(struct container *c, const struct agent_exit *exit, const char *message)
{
    Gi__State__ContainerRecord *r = c->rec;
    if (r->finished_ns)
        return;
    /* The agent's word, but never outside of what we know ourselves. */
    if (!r->started_ns && exit->started_ns) {
        r->started_ns = clamp_time(exit->started_ns, r->created_ns);
        events_container(c, EVENT_STARTED);
    }
    r->finished_ns = clamp_time(exit->finished_ns, r->started_ns ? r->started_ns : r->created_ns);
    r->exit_code = exit->exit_code;
    r->oom_killed = exit->oom_killed;
    pb_set(&r->reason, exit->oom_killed       ? "OOMKilled"
                       : !r->started_ns       ? "StartError"
                       : exit->exit_code == 0 ? "Completed"
                                              : "Error");
    pb_set(&r->message, message ? message : "");
    pthread_cond_broadcast(&c->pod->rt->changed);
    events_container(c, EVENT_STOPPED);
}

/* A reference to the pod's container ID, or NULL. */
static struct container *container_of(struct pod *p, const char *id)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++) {
        if (strcmp(p->containers[i]->id, id) == 0) {
            p->containers[i]->refs++;
            return p->containers[i];
        }
    }
    return NULL;
}

void pod_mark_dead(struct pod *p, const char *message)
{
    const struct agent_exit killed = {.exit_code = EXIT_KILLED, .finished_ns = gi_now_ns()};
    for (size_t i = 0;; i++) {
        cleanup_container struct container *c = NULL;
        bool ended;
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            if (i >= p->n_containers)
                break;
            c = p->containers[i];
            c->refs++;
            ended = c->rec->finished_ns || !c->rec->created_ns || c->unknown;
            if (!ended)
                container_set_exit(c, &killed, message);
        }
        if (!ended)
            container_save_or_log(c);
    }
}

/* ---- callbacks; on the connection's reader thread ---- */

static void end_container(struct container *c, const struct agent_exit *exit)
{
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        container_set_exit(c, exit, NULL);
    }
    container_save_or_log(c);
}

struct ending {
    struct container *c;
    struct agent_exit exit;
};

/* Who hears of an end looks for its termination message at once: first the files. */
static void end_job(void *arg)
{
    cleanup_free struct ending *e = arg;
    volumes_write_back(e->c);
    end_container(e->c, &e->exit);
    container_unref(e->c);
}

static void on_exit_event(void *data, const char *id, const struct agent_exit *exit)
{
    struct agent_ref *a = data;
    cleanup_container struct container *c = container_of(a->pod, id);
    if (!c)
        return;
    {
        GI_LOCK_SCOPE(&a->pod->rt->lock);
        if (!c->rec->created_ns)
            return; /* it is CreateContainer's to say what became of it */
    }
    struct ending *e = volumes_to_write_back(c) ? malloc(sizeof(*e)) : NULL;
    if (e) {
        *e = (struct ending){.c = container_ref(c), .exit = *exit};
        if (pool_submit(c->pod->rt->jobs, end_job, e) == 0)
            return;
        container_unref(c);
        free(e);
    }
    end_container(c, exit);
}

static void on_log(void *data, const char *id, const struct agent_log_record *records, size_t n)
{
    struct agent_ref *a = data;
    struct gi_error err = GI_ERROR_INIT;
    cleanup_container struct container *c = container_of(a->pod, id);
    if (!c || n == 0)
        return;
    /* A full disk stops neither the container nor its exit: what can't be
     * written is gone, and said to be. */
    if (c->log && logfile_write(c->log, records, n, &err) < 0) {
        gi_log(GI_LOG_ERROR, "log records are lost", "container", id, "reason", err.message, NULL);
        logfile_set_last_ns(c->log, records[n - 1].time_ns);
    }
    agent_ack_logs(a->client, id, records[n - 1].time_ns, NULL);
}

static void link_job(void *arg);

/* Takes a reference to the pod for the job. The ticker comes later anyway. */
static void start_job(struct pod *p, void (*fn)(void *))
{
    pod_ref(p);
    if (pool_submit(p->rt->jobs, fn, p) < 0)
        pod_unref(p);
}

static void on_disconnect(void *data, const struct gi_error *why)
{
    struct agent_ref *a = data;
    bool ours;
    bool expected;
    {
        GI_LOCK_SCOPE(&a->pod->rt->lock);
        a->dead = true;
        ours = a->pod->agent == a;
        expected = a->pod->ending;
        pthread_cond_broadcast(&a->pod->rt->changed);
    }
    if (!ours)
        return;
    gi_log(expected ? GI_LOG_DEBUG : GI_LOG_WARNING, "connection to an agent ended", "pod",
           a->pod->id, "reason", why->message, NULL);
    start_job(a->pod, link_job);
}

static const struct agent_callbacks callbacks = {
    .on_exit = on_exit_event,
    .on_log = on_log,
    .on_disconnect = on_disconnect,
};

/* ---- the connection ---- */

void agent_unref(struct agent_ref *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->pod->rt->lock);
    bool last = --a->refs == 0;
    pthread_mutex_unlock(&a->pod->rt->lock);
    if (!last)
        return;
    agent_client_free(a->client);
    pod_unref(a->pod);
    free(a);
}

int pod_agent(struct pod *p, struct agent_ref **ret_agent, struct gi_error *err)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    if (!p->agent || p->agent->dead)
        return gi_fail(err, GI_UNAVAILABLE, "the agent of pod %s is not connected", p->id);
    p->agent->refs++;
    *ret_agent = p->agent;
    return 0;
}

void pod_disconnect(struct pod *p)
{
    pthread_mutex_lock(&p->rt->lock);
    struct agent_ref *a = TAKE_PTR(p->agent);
    pthread_mutex_unlock(&p->rt->lock);
    agent_unref(a);
}

int pod_connect(struct pod *p, int timeout_ms, struct gi_error *err)
{
    int fd = -1;
    int64_t until = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    int rc = machine_connect_agent(p->machine, timeout_ms, &fd, err);
    if (rc < 0)
        return gi_prefix(err, "connect to the agent of pod %s", p->id);
    struct agent_ref *a = calloc(1, sizeof(*a));
    if (!a)
        abort();
    a->pod = pod_ref(p);
    a->refs = 1;
    int64_t left = (until - gi_monotonic_ns()) / 1000000;
    rc = agent_client_new(fd, &callbacks, a, left > 100 ? (int)left : 100, &a->client, err);
    if (rc < 0) {
        pod_unref(a->pod);
        free(a);
        return gi_prefix(err, "agent of pod %s", p->id);
    }
    pod_disconnect(p);
    bool dead;
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        p->agent = a;
        p->failures = 0;
        dead = a->dead;
    }
    return dead ? gi_fail(err, GI_UNAVAILABLE, "the agent of pod %s hung up", p->id) : 0;
}

/* With the state lock held. */
static bool wants_link(const struct pod *p)
{
    return p->rec->ready_ns && !p->rec->stopped_ns && !p->unknown && !p->gone && !p->ended &&
           p->machine && (!p->agent || p->agent->dead);
}

static void put_off(struct pod *p, const struct gi_error *why)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    int64_t pause = RETRY_MIN_NS << (p->failures < 6 ? p->failures : 6);
    p->retry_ns = gi_monotonic_ns() + (pause < RETRY_MAX_NS ? pause : RETRY_MAX_NS);
    if (p->failures++ == 0)
        gi_log(GI_LOG_WARNING, "can't reach an agent, trying on", "pod", p->id, "reason",
               why->message, NULL);
}

/* Connects again and asks what happened meanwhile. */
static void link_job(void *arg)
{
    cleanup_pod struct pod *p = arg;
    struct gi_error err = GI_ERROR_INIT;
    bool wanted;
    pod_begin(p, NULL, NULL);
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        wanted = wants_link(p);
    }
    if (wanted && machine_alive(p->machine)) {
        pod_disconnect(p);
        int rc = pod_connect(p, CONNECT_MS, &err);
        if (rc == 0)
            rc = restart_reconcile(p, &err);
        if (rc < 0) {
            pod_disconnect(p);
            put_off(p, &err);
        } else {
            gi_log(GI_LOG_INFO, "agent connected again", "pod", p->id, NULL);
        }
    }
    pod_end(p);
    GI_LOCK_SCOPE(&p->rt->lock);
    p->connecting = false;
}

/* ---- death ---- */

static void death_job(void *arg)
{
    cleanup_pod struct pod *p = arg;
    struct gi_error err = GI_ERROR_INIT;
    pod_begin(p, NULL, NULL);
    {
        /* What the agent said before its end is still being read. */
        int64_t at = gi_monotonic_ns() + LAST_WORDS_NS;
        struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
        GI_LOCK_SCOPE(&p->rt->lock);
        while (p->agent && !p->agent->dead &&
               pthread_cond_timedwait(&p->rt->changed, &p->rt->lock, &until) == 0)
            ;
    }
    if (p->machine && pod_stop(p, &err) < 0)
        gi_log(GI_LOG_ERROR, "leftovers of a dead pod", "pod", p->id, "reason", err.message, NULL);
    pod_end(p);
}

static void on_death(void *data, struct machine *m, const char *reason)
{
    struct pod *p = data;
    bool expected;
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        expected = p->ending;
        p->ended = true;
        snprintf(p->why_ended, sizeof(p->why_ended), "%s", reason);
        pthread_cond_broadcast(&p->rt->changed);
    }
    gi_log(expected ? GI_LOG_DEBUG : GI_LOG_WARNING, "a pod's machine is no more", "pod", p->id,
           "reason", reason, NULL);
    start_job(p, death_job);
}

int pod_watch(struct pod *p, struct gi_error *err)
{
    return machine_watch(p->machine, on_death, p, err);
}

/* ---- gpu-proxy's zones ---- */

static bool knows_zone(struct runtime *rt, uint32_t zone)
{
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (rt->pods[i]->rec->zone == zone && rt->pods[i]->rec->gpu &&
            !rt->pods[i]->rec->stopped_ns)
            return true;
    }
    return false;
}

static bool has_zone(const uint32_t *zones, uint32_t n, uint32_t zone)
{
    for (uint32_t i = 0; i < n; i++) {
        if (zones[i] == zone)
            return true;
    }
    return false;
}

/* gpu-proxy forgets its zones when it is restarted, and keeps those whose end
 * it wasn't told. */
static void zones_job(void *arg)
{
    struct runtime *rt = arg;
    cleanup_free uint32_t *zones = NULL;
    uint32_t n = 0;
    bool doubtful = false;
    int rc = control_list_zones(rt->control, &zones, &n, NULL);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        if (!knows_zone(rt, zones[i]) && control_drop_zone(rt->control, zones[i], NULL) < 0)
            doubtful = true;
    }
    for (size_t i = 0; rc == 0; i++) {
        cleanup_pod struct pod *p = NULL;
        {
            GI_LOCK_SCOPE(&rt->lock);
            if (i >= rt->n_pods)
                break;
            p = rt->pods[i];
            p->refs++;
            if (!p->rec->gpu || !p->rec->ready_ns || p->rec->stopped_ns || p->ended ||
                has_zone(zones, n, p->rec->zone))
                continue;
        }
        if (pod_make_gpu_zone(p, NULL, NULL) == 0)
            gi_log(GI_LOG_INFO, "gpu-proxy was told of a pod's zone again", "pod", p->id, NULL);
    }
    GI_LOCK_SCOPE(&rt->lock);
    if (rc == 0)
        rt->zones_doubtful = doubtful;
    rt->zones_ns = gi_monotonic_ns();
    rt->zones_busy = false;
}

static void zones_tick(struct runtime *rt)
{
    {
        GI_LOCK_SCOPE(&rt->lock);
        bool wanted = rt->zones_doubtful;
        for (size_t i = 0; i < rt->n_pods && !wanted; i++)
            wanted = rt->pods[i]->rec->gpu && !rt->pods[i]->rec->stopped_ns;
        if (!wanted || rt->zones_busy || gi_monotonic_ns() - rt->zones_ns < ZONES_EVERY_NS)
            return;
        rt->zones_busy = true;
    }
    if (pool_submit(rt->jobs, zones_job, rt) < 0) {
        GI_LOCK_SCOPE(&rt->lock);
        rt->zones_busy = false;
    }
}

void link_tick(struct runtime *rt)
{
    zones_tick(rt);
    for (size_t i = 0;; i++) {
        cleanup_pod struct pod *p = NULL;
        {
            GI_LOCK_SCOPE(&rt->lock);
            if (i >= rt->n_pods)
                break;
            p = rt->pods[i];
            p->refs++;
            if (!wants_link(p) || p->connecting || p->retry_ns > gi_monotonic_ns())
                continue;
            p->connecting = true;
        }
        pod_ref(p);
        if (pool_submit(rt->jobs, link_job, p) < 0) {
            {
                GI_LOCK_SCOPE(&rt->lock);
                p->connecting = false;
            }
            pod_unref(p);
        }
    }
}
