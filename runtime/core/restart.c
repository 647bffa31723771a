/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a start: what is on disk, what machines there are, what their agents
 * say; and what belongs to nobody is removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "core/runtime.h"
#include "rpc/pb.h"

#define ADOPT_MS      3000 /* until a machine's agent must have answered; later in the background */
#define ADOPT_WAIT_MS 10000

/* ---- records ---- */

static bool is_id(const char *name)
{
    return strncmp(name, "gi-", 3) == 0 && strlen(name) == 63 &&
           strspn(name + 3, "0123456789abcdef") == 60;
}

static void set_aside(const char *path, const char *why)
{
    char bad[PATH_MAX];
    snprintf(bad, sizeof(bad), "%.*s.bad", (int)sizeof(bad) - 8, path);
    gi_log(GI_LOG_ERROR, "a record can't be read and is kept aside", "file", bad, "reason", why,
           NULL);
    if (rename(path, bad) < 0)
        gi_log(GI_LOG_ERROR, "it can't even be renamed", "file", path, NULL);
}

/* What stands for a pod or container whose record is damaged: it is listed,
 * and can be stopped and removed. */
static Gi__State__PodRecord *pod_stand_in(const char *id)
{
    Gi__State__PodRecord *r = pb_new(&gi__state__pod_record__descriptor);
    pb_set(&r->id, id);
    r->config = pb_new(&runtime__v1__pod_sandbox_config__descriptor);
    r->config->metadata = pb_new(&runtime__v1__pod_sandbox_metadata__descriptor);
    pb_set(&r->config->metadata->name, "unknown");
    pb_set(&r->config->metadata->uid, id);
    r->ready_ns = 1;
    return r;
}

static Gi__State__ContainerRecord *container_stand_in(const char *id, const char *pod_id)
{
    Gi__State__ContainerRecord *r = pb_new(&gi__state__container_record__descriptor);
    pb_set(&r->id, id);
    pb_set(&r->pod_id, pod_id);
    r->config = pb_new(&runtime__v1__container_config__descriptor);
    r->config->metadata = pb_new(&runtime__v1__container_metadata__descriptor);
    pb_set(&r->config->metadata->name, "unknown");
    r->config->image = pb_new(&runtime__v1__image_spec__descriptor);
    r->created_ns = 1;
    return r;
}

/* Loads PATH, or its stand-in; *ret_unknown says which. */
static void *load(const char *path, enum record_kind kind, const char *id, const char *pod_id,
                  bool *ret_unknown)
{
    struct gi_error err = GI_ERROR_INIT;
    void *m = NULL;
    char bad[PATH_MAX];
    int rc = record_load(path, kind, &m, &err);
    if (rc == 0 && strcmp(kind == RECORD_POD ? ((Gi__State__PodRecord *)m)->id
                                             : ((Gi__State__ContainerRecord *)m)->id,
                          id) != 0) {
        pb_free(TAKE_PTR(m));
        rc = gi_fail(&err, GI_DATA_LOSS, "the record of another id");
    }
    *ret_unknown = rc < 0;
    if (rc == 0)
        return m;
    snprintf(bad, sizeof(bad), "%s.bad", path);
    if (rc != -GI_NOT_FOUND)
        set_aside(path, err.message);
    else if (access(bad, F_OK) < 0)
        return NULL;
    return kind == RECORD_POD ? (void *)pod_stand_in(id) : container_stand_in(id, pod_id);
}

static void load_containers(struct pod *p, const char *dir)
{
    cleanup_closedir DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char id[ID_SIZE], path[PATH_MAX];
        bool unknown;
        snprintf(id, sizeof(id), "%.63s", e->d_name);
        const char *ending = strlen(e->d_name) > 63 ? e->d_name + 63 : "";
        bool bad = strcmp(ending, ".rec.bad") == 0;
        if (!is_id(id) || (strcmp(ending, ".rec") != 0 && !bad))
            continue;
        snprintf(path, sizeof(path), "%s/%s.rec", dir, id);
        if (bad && access(path, F_OK) == 0)
            continue; /* the good one counts */
        Gi__State__ContainerRecord *rec = load(path, RECORD_CONTAINER, id, p->id, &unknown);
        if (!rec)
            continue;
        GI_LOCK_SCOPE(&p->rt->lock);
        struct container *c = container_add(p, rec);
        c->unknown = unknown;
        c->refs--; /* the table's alone */
    }
}

static void load_pod(struct runtime *rt, const char *name)
{
    char dir[PATH_MAX], path[PATH_MAX];
    bool unknown;
    struct pod *p;
    snprintf(dir, sizeof(dir), "%s/%s", rt->pods_dir, name);
    snprintf(path, sizeof(path), "%s/%s/pod.rec", rt->pods_dir, name);
    Gi__State__PodRecord *rec = is_id(name) ? load(path, RECORD_POD, name, NULL, &unknown) : NULL;
    if (!rec) {
        struct gi_error err = GI_ERROR_INIT;
        gi_log(GI_LOG_INFO, "a folder without a pod is removed", "folder", dir, NULL);
        if (gi_remove_tree_at(AT_FDCWD, dir, &err) < 0)
            gi_log(GI_LOG_ERROR, "it can't be", "reason", err.message, NULL);
        return;
    }
    {
        GI_LOCK_SCOPE(&rt->lock);
        p = pod_add(rt, rec);
        p->unknown = unknown;
        p->refs--;
    }
    load_containers(p, dir);
}

static int load_all(struct runtime *rt, struct gi_error *err)
{
    cleanup_closedir DIR *d = opendir(rt->pods_dir);
    struct dirent *e;
    if (!d)
        return gi_fail_errno(err, errno, "%s", rt->pods_dir);
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            load_pod(rt, e->d_name);
    }
    return 0;
}

/* ---- one pod's containers ---- */

static bool is_ours(struct pod *p, const char *id)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++) {
        const struct container *c = p->containers[i];
        if (strcmp(c->id, id) == 0)
            return c->rec->created_ns != 0;
    }
    return false;
}

/* Containers that only the agent knows: made by a CreateContainer that nobody
 * heard the end of. */
static int remove_strangers(struct pod *p, struct agent_client *agent, struct gi_error *err)
{
    char **ids = NULL;
    size_t n = 0;
    int ms = agent_patience(p->rt, NULL);
    int rc = agent_list_containers(agent, ms, &ids, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (is_ours(p, ids[i]))
            continue;
        gi_log(GI_LOG_INFO, "a container without a record is removed", "pod", p->id, "container",
               ids[i], NULL);
        rc = agent_remove_container(agent, ids[i], ms, err);
    }
    for (size_t i = 0; i < n; i++)
        free(ids[i]);
    free(ids);
    return rc;
}

static void drop_half_made(struct container *c)
{
    char path[PATH_MAX];
    container_path(c, ".rec", path, sizeof(path));
    unlink(path);
    images_release(c->pod->rt->images, c->id);
    container_drop(c);
}

/* One that has ended is believed to have when its log is whole: the agent
 * tells the exit once more after the last record. It may also take a while, so
 * the status counts after that. */
static void take_status(struct container *c, const struct agent_status *s)
{
    bool save = false;
    if (s->state == AGENT_EXITED) {
        int64_t until = gi_monotonic_ns() + 3000000000LL;
        if (!container_wait(c, NULL, until))
            volumes_write_back(c);
    }
    {
        GI_LOCK_SCOPE(&c->pod->rt->lock);
        Gi__State__ContainerRecord *r = c->rec;
        if (s->state == AGENT_EXITED && !r->finished_ns) {
            container_set_exit(c, &s->exit, NULL);
            save = true;
        } else if (s->state == AGENT_RUNNING && !r->started_ns) {
            r->started_ns = s->exit.started_ns > r->created_ns ? s->exit.started_ns : gi_now_ns();
            save = true;
        }
    }
    if (save)
        container_save_or_log(c);
}

static int reconcile_container(struct container *c, struct agent_client *agent,
                               struct gi_error *err)
{
    struct agent_status status;
    struct gi_error why = GI_ERROR_INIT;
    int ms = agent_patience(c->pod->rt, NULL);
    if (!c->log && container_open_log(c, &why) < 0)
        gi_log(GI_LOG_ERROR, "a log file can't be opened", "container", c->id, "reason",
               why.message, NULL);
    int rc = agent_container_status(agent, c->id, ms, &status, err);
    if (rc == -GI_NOT_FOUND) {
        const struct agent_exit lost = {.exit_code = 255, .finished_ns = gi_now_ns()};
        {
            GI_LOCK_SCOPE(&c->pod->rt->lock);
            container_set_exit(c, &lost, "the zone doesn't know the container");
        }
        container_save_or_log(c);
        return 0;
    }
    if (rc == 0)
        rc = agent_follow_logs(agent, c->id, c->log ? logfile_last_ns(c->log) : 0, ms, err);
    if (rc == 0)
        take_status(c, &status);
    return rc;
}

int restart_reconcile(struct pod *p, struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    int rc = pod_agent(p, &a, err);
    if (rc == 0)
        rc = remove_strangers(p, a->client, err);
    for (size_t i = 0; rc == 0;) {
        cleanup_container struct container *c = NULL;
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            if (i >= p->n_containers)
                break;
            c = p->containers[i];
            c->refs++;
        }
        if (!c->unknown && !c->rec->created_ns) {
            drop_half_made(c);
            continue;
        }
        if (!c->unknown)
            rc = reconcile_container(c, a->client, err);
        i++;
    }
    return rc;
}

/* ---- one pod ---- */

static void adopt(struct pod *p)
{
    struct gi_error err = GI_ERROR_INIT;
    struct machine *m = NULL;
    int rc = machine_adopt(p->rt->mgr, p->id, &m, &err);
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        p->machine = m;
    }
    /* Half made, or nearly gone, or gone: it ends. */
    if (!p->unknown && !p->rec->ready_ns) {
        gi_log(GI_LOG_INFO, "a half-made pod is removed", "pod", p->id, NULL);
        rc = pod_remove(p, &err);
    } else if (p->rec->stopped_ns || rc < 0) {
        if (!p->rec->stopped_ns)
            gi_log(GI_LOG_WARNING, "a pod has lost its machine", "pod", p->id, "reason",
                   err.message, NULL);
        rc = p->unknown && !m ? 0 : pod_stop(p, &err);
    } else if (p->unknown) {
        rc = 0; /* runs on until somebody stops it */
    } else {
        rc = pod_watch(p, &err);
        if (rc == 0)
            rc = pod_connect(p, ADOPT_MS, &err);
        if (rc == 0)
            rc = restart_reconcile(p, &err);
        if (rc < 0)
            pod_disconnect(p); /* the ticker tries on */
        else
            gi_log(GI_LOG_INFO, "pod taken up", "pod", p->id, NULL);
    }
    if (rc < 0)
        gi_log(GI_LOG_ERROR, "taking up a pod", "pod", p->id, "reason", err.message, NULL);
}

struct adoption {
    struct pod *pod;
    pthread_mutex_t *lock;
    pthread_cond_t *cond;
    unsigned *left;
};

static void adopt_job(void *arg)
{
    struct adoption *a = arg;
    adopt(a->pod);
    pod_end(a->pod);
    pod_unref(a->pod);
    GI_LOCK_SCOPE(a->lock);
    if (--*a->left == 0)
        pthread_cond_broadcast(a->cond);
    free(a);
}

/* All pods at once; each one's operation has begun, so that a call that comes
 * early waits. One that hangs doesn't keep the others from being served. */
static void adopt_all(struct runtime *rt)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    static unsigned left;
    size_t n = 0;
    {
        GI_LOCK_SCOPE(&rt->lock);
        n = rt->n_pods;
    }
    cleanup_free struct pod **pods = calloc(n + 1, sizeof(struct pod *));
    if (!pods)
        abort();
    {
        GI_LOCK_SCOPE(&rt->lock);
        for (size_t i = 0; i < n; i++) {
            pods[i] = rt->pods[i];
            pods[i]->refs++;
        }
    }
    pthread_mutex_lock(&lock);
    left = (unsigned)n;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < n; i++) {
        struct adoption *a = malloc(sizeof(*a));
        if (!a)
            abort();
        *a = (struct adoption){pods[i], &lock, &cond, &left};
        pod_begin(pods[i], NULL, NULL);
        if (pool_submit(rt->jobs, adopt_job, a) < 0)
            adopt_job(a);
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ADOPT_WAIT_MS / 1000;
    GI_LOCK_SCOPE(&lock);
    while (left > 0 && pthread_cond_timedwait(&cond, &lock, &until) == 0)
        ;
}

/* ---- what belongs to nobody ---- */

static bool knows_pod(void *data, const char *id)
{
    struct runtime *rt = data;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        if (strcmp(rt->pods[i]->id, id) == 0)
            return true;
    }
    return false;
}

static void end_stray(struct runtime *rt, const char *id)
{
    struct gi_error err = GI_ERROR_INIT;
    struct machine *m = NULL;
    gi_log(GI_LOG_WARNING, "a machine without a record is ended", "machine", id, NULL);
    int rc = machine_adopt(rt->mgr, id, &m, &err);
    if (rc == 0)
        rc = machine_destroy(m, 0, &err);
    if (rc < 0 && rc != -GI_NOT_FOUND)
        gi_log(GI_LOG_ERROR, "it can't be ended", "machine", id, "reason", err.message, NULL);
    machine_put(m);
}

static void free_leftovers(struct runtime *rt, bool (*keep)(void *data, const char *id))
{
    struct gi_error err = GI_ERROR_INIT;
    if (xenmgr_sweep(rt->mgr, keep, rt, &err) < 0)
        gi_log(GI_LOG_ERROR, "leftovers of machines stay", "reason", err.message, NULL);
}

/* A pod whose machine ended without us has nobody else to clean up after it. */
static bool has_machine(void *data, const char *id)
{
    struct runtime *rt = data;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        const struct pod *p = rt->pods[i];
        if (strcmp(p->id, id) == 0)
            return p->machine || p->op.busy;
    }
    return false;
}

static void end_strays(struct runtime *rt)
{
    struct gi_error err = GI_ERROR_INIT;
    char **ids = NULL;
    size_t n = 0;
    if (machine_list(rt->mgr, &ids, &n, &err) < 0)
        gi_log(GI_LOG_ERROR, "machines can't be listed", "reason", err.message, NULL);
    for (size_t i = 0; i < n; i++) {
        if (!knows_pod(rt, ids[i]))
            end_stray(rt, ids[i]);
        free(ids[i]);
    }
    free(ids);
    free_leftovers(rt, knows_pod);
}

static void acquire_images(struct runtime *rt)
{
    struct gi_error err = GI_ERROR_INIT;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        for (size_t k = 0; k < rt->pods[i]->n_containers; k++) {
            const struct container *c = rt->pods[i]->containers[k];
            if (c->unknown)
                continue;
            int rc = images_acquire(rt->images, c->rec->image_id, c->id, &err);
            for (size_t m = 0; m < c->rec->n_mount_image_ids; m++)
                rc |= images_acquire(rt->images, c->rec->mount_image_ids[m], c->id, &err);
            if (rc < 0)
                gi_log(GI_LOG_ERROR, "a container's image is not there", "container", c->id,
                       "reason", err.message, NULL);
        }
    }
}

int restart_recover(struct runtime *rt, struct gi_error *err)
{
    struct gi_error why = GI_ERROR_INIT;
    int rc = load_all(rt, err);
    if (rc < 0)
        return rc;
    acquire_images(rt);
    GI_FAILPOINT_HERE("restart_images_acquired");
    end_strays(rt);
    GI_FAILPOINT_HERE("restart_strays_ended");
    network_sweep(rt);
    GI_FAILPOINT_HERE("restart_network_swept");
    adopt_all(rt);
    free_leftovers(rt, has_machine);
    GI_FAILPOINT_HERE("restart_adopted");
    if (images_gc(rt->images, &why) < 0)
        gi_log(GI_LOG_WARNING, "unused images stay", "reason", why.message, NULL);
    GI_LOCK_SCOPE(&rt->lock);
    rt->zones_doubtful = true;
    return 0;
}
