/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's life: its machine, its zone in gpu-proxy, its record. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "core/events.h"
#include "core/runtime.h"
#include "cri/cri.h"
#include "rpc/pb.h"

#define STOP_GRACE_MS 2000 /* after its containers were killed */
#define KILL_WAIT_NS  2000000000LL

/* ---- the GPU ---- */

int pod_make_gpu_zone(struct pod *p, char **ret_socket, struct gi_error *err)
{
    char label[CONTROL_LABEL_MAX + 1];
    const Runtime__V1__PodSandboxMetadata *m = p->rec->config->metadata;
    const struct control_quota quota = {.memory_bytes = p->rec->gpu_memory,
                                        .compute_weight = p->rec->gpu_weight,
                                        .compute_cap = p->rec->gpu_cap};
    cleanup_free char *socket = NULL;
    snprintf(label, sizeof(label), "%s/%s", m->namespace_, m->name);
    for (char *c = label; *c; c++) { /* gpu-proxy's rule for labels; no half of a UTF-8 sequence */
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
    }
    int rc = control_create_zone(p->rt->control, p->rec->zone, label, &quota, &socket, err);
    if (rc < 0)
        return gi_prefix(err, "the GPU's proxy");
    if (ret_socket)
        *ret_socket = TAKE_PTR(socket);
    return 0;
}

static void drop_gpu_zone(struct pod *p)
{
    struct gi_error err = GI_ERROR_INIT;
    if (!p->rec->gpu || !p->rec->zone)
        return;
    if (control_drop_zone(p->rt->control, p->rec->zone, &err) == 0)
        return;
    gi_log(GI_LOG_WARNING, "gpu-proxy could not be told that a zone is gone, trying again later",
           "pod", p->id, "reason", err.message, NULL);
    GI_LOCK_SCOPE(&p->rt->lock);
    p->rt->zones_doubtful = true;
}

/* ---- making ---- */

static char **sysctls_of(const Runtime__V1__PodSandboxConfig *config)
{
    const Runtime__V1__LinuxPodSandboxConfig *l = config->linux;
    size_t n = l ? l->n_sysctls : 0;
    char **list = calloc(n + 1, sizeof(*list));
    if (!list)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (asprintf(&list[i], "%s=%s", l->sysctls[i]->key, l->sysctls[i]->value) < 0)
            abort();
    }
    return list;
}

static int make_machine(struct rpc_call *call, struct pod *p, const struct pod_wants *w,
                        const char *gpu_socket, struct gi_error *err)
{
    const Runtime__V1__PodSandboxConfig *config = p->rec->config;
    char hostname[65];
    struct machine *m = NULL;
    char **sysctls = sysctls_of(config);
    snprintf(hostname, sizeof(hostname), "%.63s", podconfig_hostname(config));
    const struct machine_config mc = {
        .id = p->id,
        .hostname = hostname,
        .sysctls = (const char *const *)sysctls,
        .netns_path = *p->rec->netns ? p->rec->netns : NULL,
        .gpu_socket = gpu_socket,
        .cgroup_parent =
            config->linux && *config->linux->cgroup_parent ? config->linux->cgroup_parent : NULL,
        .memory_bytes = w->memory_bytes,
        .vcpus = w->vcpus,
        .zone_id = p->rec->zone,
    };
    int rc = machine_create(p->rt->mgr, &mc,
                            rpc_timeout_ms(call, (int)p->rt->config->machine_start_ms), &m, err);
    for (size_t i = 0; sysctls[i]; i++)
        free(sysctls[i]);
    free(sysctls);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&p->rt->lock);
    p->machine = m;
    return 0;
}

static int make_folder(const struct pod *p, struct gi_error *err)
{
    char path[PATH_MAX];
    pod_path(p, "", path, sizeof(path));
    return gi_mkdir_p(path, 0700, err);
}

/* Everything of a new pod, in an order that a restart can take back: the
 * record is there before anything it would have to clean. */
static int build(struct rpc_call *call, struct pod *p, const struct pod_wants *w,
                 struct gi_error *err)
{
    cleanup_free char *gpu_socket = NULL;
    uint32_t zone = 0;
    int rc = xenmgr_draw_zone(p->rt->mgr, &zone, err);
    if (rc < 0)
        return rc;
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        p->rec->zone = zone;
        p->rec->gpu = w->gpu;
        p->rec->gpu_memory = w->gpu_memory;
        p->rec->gpu_weight = w->gpu_weight;
        p->rec->gpu_cap = w->gpu_cap;
    }
    rc = make_folder(p, err);
    GI_FAILPOINT(rc, "pod_folder_made", err);
    if (rc == 0)
        rc = pod_save(p, err);
    GI_FAILPOINT(rc, "pod_record_saved", err);
    if (rc == 0)
        rc = network_up(p, err);
    GI_FAILPOINT(rc, "pod_network_up", err);
    if (rc == 0) /* with the address in it */
        rc = podconfig_write_files(p, err);
    GI_FAILPOINT(rc, "pod_files_written", err);
    if (rc == 0 && w->gpu)
        rc = pod_make_gpu_zone(p, &gpu_socket, err);
    GI_FAILPOINT(rc, "pod_gpu_zone_made", err);
    if (rc == 0)
        rc = make_machine(call, p, w, gpu_socket, err);
    GI_FAILPOINT(rc, "pod_machine_made", err);
    if (rc == 0 && machine_zone_id(p->machine) != zone)
        rc = gi_fail(err, GI_INTERNAL, "the machine has another zone than it was given");
    if (rc == 0)
        rc = pod_connect(p, rpc_timeout_ms(call, (int)p->rt->config->machine_start_ms), err);
    GI_FAILPOINT(rc, "pod_agent_connected", err);
    if (rc == 0 && runtime_copies_files(p->rt))
        rc = podconfig_send_files(p, p->agent->client, agent_patience(p->rt, call), err);
    GI_FAILPOINT(rc, "pod_files_sent", err);
    if (rc == 0)
        rc = pod_watch(p, err);
    GI_FAILPOINT(rc, "pod_watched", err);
    return rc;
}

static void remove_folder(const struct pod *p)
{
    char path[PATH_MAX];
    struct gi_error err = GI_ERROR_INIT;
    /* The record goes first: without it the rest is a stranger's, and swept. */
    pod_path(p, "pod.rec", path, sizeof(path));
    unlink(path);
    GI_FAILPOINT_HERE("pod_record_removed");
    pod_path(p, "", path, sizeof(path));
    if (gi_remove_tree_at(AT_FDCWD, path, &err) < 0)
        gi_log(GI_LOG_ERROR, "a pod's folder can't be removed", "pod", p->id, "reason", err.message,
               NULL);
}

/* Forgets it, too. */
static void unbuild(struct pod *p)
{
    struct gi_error err = GI_ERROR_INIT;
    pod_disconnect(p);
    pthread_mutex_lock(&p->rt->lock);
    struct machine *m = TAKE_PTR(p->machine);
    pthread_mutex_unlock(&p->rt->lock);
    if (m && machine_destroy(m, 0, &err) < 0)
        gi_log(GI_LOG_ERROR, "a machine can't be removed", "pod", p->id, "reason", err.message,
               NULL);
    machine_put(m);
    drop_gpu_zone(p);
    bool owed = network_down(p, &err) < 0;
    if (owed)
        gi_log(GI_LOG_ERROR, "a network can't be taken down, trying again later", "pod", p->id,
               "reason", err.message, NULL);
    remove_folder(p);
    pod_drop(p);
    if (owed)
        network_owed(p->rt);
}

static bool same_metadata(const Runtime__V1__PodSandboxMetadata *a,
                          const Runtime__V1__PodSandboxMetadata *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->namespace_, b->namespace_) == 0 &&
           strcmp(a->uid, b->uid) == 0 && a->attempt == b->attempt;
}

/* The pod of this name, with a reference; or a new one, whose operation has
 * begun. Names are reserved by the objects themselves. */
static int reserve(struct runtime *rt, const Runtime__V1__PodSandboxConfig *config,
                   const char *handler, struct pod **ret_pod, bool *ret_new, struct gi_error *err)
{
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        struct pod *p = rt->pods[i];
        if (p->unknown || !same_metadata(p->rec->config->metadata, config->metadata))
            continue;
        p->refs++;
        *ret_pod = p;
        *ret_new = false;
        return 0;
    }
    if (rt->n_pods >= rt->config->max_pods)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "there are %zu pods already", rt->n_pods);
    char id[ID_SIZE];
    Gi__State__PodRecord *rec = pb_new(&gi__state__pod_record__descriptor);
    model_new_id(id);
    pb_set(&rec->id, id);
    pb_set(&rec->handler, handler);
    rec->config = pb_copy(config);
    rec->created_ns = gi_now_ns();
    struct pod *p = pod_add(rt, rec);
    p->op.busy = true;
    *ret_pod = p;
    *ret_new = true;
    return 0;
}

/* A request for a pod that is there or being made. 1: it is gone, try again. */
static int adopt(struct rpc_call *call, struct pod *p, const char *handler, struct gi_error *err)
{
    int rc = pod_begin(p, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = p;
    GI_LOCK_SCOPE(&p->rt->lock);
    if (p->gone)
        return 1;
    if (pod_state(p) == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY &&
        strcmp(p->rec->handler, handler) == 0)
        return 0;
    const Runtime__V1__PodSandboxMetadata *m = p->rec->config->metadata;
    return gi_fail(err, GI_ALREADY_EXISTS,
                   "failed to reserve sandbox name \"%.60s_%.60s_%.60s_%u\": name is reserved for "
                   "\"%s\"",
                   m->name, m->namespace_, m->uid, m->attempt, p->id);
}

static int make(struct rpc_call *call, struct pod *p, const struct pod_wants *w,
                struct gi_error *err)
{
    cleanup_op struct pod *op = p;
    int rc = build(call, p, w, err);
    if (rc == 0) {
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            p->rec->ready_ns = gi_now_ns();
            events_pod(p, EVENT_CREATED);
            events_pod(p, EVENT_STARTED);
        }
        rc = pod_save(p, err);
        GI_FAILPOINT(rc, "pod_ready_saved", err);
    }
    if (rc < 0)
        unbuild(p);
    return rc;
}

int pod_run(struct rpc_call *call, const Runtime__V1__PodSandboxConfig *config, const char *handler,
            char ret_id[ID_SIZE], struct gi_error *err)
{
    struct runtime *rt = rpc_app(call);
    struct pod_wants wants;
    int rc = podconfig_check(rt->config, config, handler, &wants, err);
    while (rc >= 0) {
        cleanup_pod struct pod *p = NULL;
        bool is_new = false;
        rc = reserve(rt, config, handler, &p, &is_new, err);
        if (rc < 0)
            break;
        rc = is_new ? make(call, p, &wants, err) : adopt(call, p, handler, err);
        if (rc == 0) {
            memcpy(ret_id, p->id, ID_SIZE);
            break;
        }
    }
    return rc;
}

/* ---- ending ---- */

static bool all_ended(const struct pod *p)
{
    for (size_t i = 0; i < p->n_containers; i++) {
        const Gi__State__ContainerRecord *r = p->containers[i]->rec;
        if (r->started_ns && !r->finished_ns)
            return false;
    }
    return true;
}

/* The containers first, so that their exit codes and last lines arrive. */
static void kill_containers(struct pod *p)
{
    cleanup_agent struct agent_ref *a = NULL;
    if (pod_agent(p, &a, NULL) < 0)
        return;
    for (size_t i = 0;; i++) {
        char id[ID_SIZE];
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            if (i >= p->n_containers)
                break;
            const struct container *c = p->containers[i];
            if (!c->rec->started_ns || c->rec->finished_ns)
                continue;
            memcpy(id, c->id, sizeof(id));
        }
        if (agent_kill_container(a->client, id, SIGKILL, true, 2000, NULL) == -GI_DEADLINE_EXCEEDED)
            return; /* it doesn't answer: the machine is ended by force */
    }
    int64_t at = gi_monotonic_ns() + KILL_WAIT_NS;
    struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    GI_LOCK_SCOPE(&p->rt->lock);
    while (!all_ended(p) && !a->dead &&
           pthread_cond_timedwait(&p->rt->changed, &p->rt->lock, &until) == 0)
        ;
}

static bool is_linked(struct pod *p)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    return p->agent && !p->agent->dead;
}

int pod_stop(struct pod *p, struct gi_error *err)
{
    struct machine *m;
    char end[MACHINE_REASON + 32] = "the pod was stopped";
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        if (p->rec->stopped_ns && !p->machine && !p->rec->attached)
            return 0;
        m = p->machine;
        if (p->ended)
            snprintf(end, sizeof(end), "the pod's machine ended: %s", p->why_ended);
        p->ending = true;
    }
    if (m && machine_alive(m))
        kill_containers(p);
    GI_FAILPOINT_HERE("pod_containers_killed");
    if (m) {
        int rc = machine_destroy(m, is_linked(p) ? STOP_GRACE_MS : 0, err);
        GI_FAILPOINT(rc, "pod_machine_destroyed", err);
        if (rc < 0)
            return gi_prefix(err, "stop pod %s", p->id);
    }
    pod_disconnect(p);
    pod_mark_dead(p, m ? end : "the pod's machine was gone");
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        p->machine = NULL;
        if (!p->rec->stopped_ns) {
            p->rec->stopped_ns = gi_now_ns();
            events_pod(p, EVENT_STOPPED);
        }
        pthread_cond_broadcast(&p->rt->changed);
    }
    machine_put(m);
    drop_gpu_zone(p);
    /* A failure is the caller's: he stops the pod again until it works. */
    struct gi_error why = GI_ERROR_INIT;
    GI_FAILPOINT_HERE("pod_gpu_zone_dropped");
    int down = network_down(p, &why);
    GI_FAILPOINT(down, "pod_network_down", &why);
    int rc = pod_save(p, err);
    GI_FAILPOINT(rc, "pod_stop_saved", err);
    if (down < 0 && rc == 0)
        return gi_fail(err, why.code, "%s", why.message);
    return rc;
}

int pod_remove(struct pod *p, struct gi_error *err)
{
    int rc = pod_stop(p, err);
    if (rc < 0)
        return rc;
    for (;;) {
        cleanup_container struct container *c = NULL;
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            if (p->n_containers == 0)
                break;
            c = p->containers[0];
            c->refs++;
        }
        images_release(p->rt->images, c->id);
        container_drop(c);
    }
    {
        /* From here on nobody writes a record of it. */
        GI_LOCK_SCOPE(&p->save_lock);
        pod_drop(p);
    }
    GI_FAILPOINT_HERE("pod_forgotten");
    remove_folder(p);
    GI_FAILPOINT_HERE("pod_folder_removed");
    return 0;
}
