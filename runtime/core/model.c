/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and containers in memory, and their records on disk. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "core/events.h"
#include "core/runtime.h"
#include "rpc/pb.h"

#define MAX_WAITERS 32

void model_new_id(char id[ID_SIZE])
{
    memcpy(id, "gi-", 3);
    if (gi_random_hex(id + 3, 30) < 0)
        abort();
}

/* ---- references ---- */

struct pod *pod_ref(struct pod *p)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    p->refs++;
    return p;
}

static void pod_free(struct pod *p)
{
    pb_free(p->rec);
    free(p->containers);
    free(p->figures);
    free(p->volumes);
    pthread_mutex_destroy(&p->op.lock);
    pthread_cond_destroy(&p->op.cond);
    pthread_mutex_destroy(&p->save_lock);
    free(p);
}

void pod_unref(struct pod *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->rt->lock);
    bool last = --p->refs == 0;
    pthread_mutex_unlock(&p->rt->lock);
    if (last)
        pod_free(p);
}

struct container *container_ref(struct container *c)
{
    GI_LOCK_SCOPE(&c->pod->rt->lock);
    c->refs++;
    return c;
}

void container_unref(struct container *c)
{
    if (!c)
        return;
    struct runtime *rt = c->pod->rt;
    pthread_mutex_lock(&rt->lock);
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&rt->lock);
    if (!last)
        return;
    pod_unref(c->pod);
    logfile_close(c->log);
    pb_free(c->rec);
    free(c);
}

/* ---- tables; the state lock is held ---- */

static void push(void *list, size_t *n, void *item)
{
    pb_push(list, n, item);
}

static bool take_out(void *list, size_t *n, const void *item)
{
    void **array = *(void ***)list;
    for (size_t i = 0; i < *n; i++) {
        if (array[i] != item)
            continue;
        memmove(&array[i], &array[i + 1], (*n - i - 1) * sizeof(*array));
        (*n)--;
        return true;
    }
    return false;
}

struct pod *pod_add(struct runtime *rt, Gi__State__PodRecord *rec)
{
    struct pod *p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    p->rt = rt;
    snprintf(p->id, sizeof(p->id), "%s", rec->id);
    pthread_mutex_init(&p->op.lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->op.cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->save_lock, NULL);
    p->refs = 2;
    p->rec = rec;
    push(&rt->pods, &rt->n_pods, p);
    return p;
}

struct container *container_add(struct pod *p, Gi__State__ContainerRecord *rec)
{
    struct container *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    snprintf(c->id, sizeof(c->id), "%s", rec->id);
    c->pod = p;
    p->refs++;
    c->refs = 2;
    c->rec = rec;
    push(&p->containers, &p->n_containers, c);
    return c;
}

void pod_drop(struct pod *p)
{
    pthread_mutex_lock(&p->rt->lock);
    p->gone = true;
    bool was_in = take_out(&p->rt->pods, &p->rt->n_pods, p);
    if (was_in && p->rec->ready_ns)
        events_pod(p, EVENT_DELETED);
    pthread_cond_broadcast(&p->rt->changed);
    pthread_mutex_unlock(&p->rt->lock);
    if (was_in)
        pod_unref(p);
}

void container_drop(struct container *c)
{
    pthread_mutex_lock(&c->pod->rt->lock);
    c->gone = true;
    bool was_in = take_out(&c->pod->containers, &c->pod->n_containers, c);
    if (was_in && c->rec->created_ns)
        events_container(c, EVENT_DELETED);
    pthread_cond_broadcast(&c->pod->rt->changed);
    pthread_mutex_unlock(&c->pod->rt->lock);
    if (was_in)
        container_unref(c);
}

/* ---- finding ---- */

#define MIN_PREFIX 4 /* "gi-" and one more */

/* The one of ITEM's id that is ID, or the only one that begins with it. */
static int match(const char *id, const char *candidate, size_t *ret_matches)
{
    size_t len = strlen(id);
    if (strcmp(id, candidate) == 0)
        return 2;
    if (len < MIN_PREFIX || strncmp(id, candidate, len) != 0)
        return 0;
    (*ret_matches)++;
    return 1;
}

int pod_find(struct runtime *rt, const char *id, struct pod **ret_pod, struct gi_error *err)
{
    struct pod *found = NULL;
    size_t matches = 0;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        int m = match(id, rt->pods[i]->id, &matches);
        if (m)
            found = rt->pods[i];
        if (m == 2) {
            matches = 1;
            break;
        }
    }
    if (!found || matches != 1)
        return gi_fail(err, GI_NOT_FOUND,
                       "an error occurred when try to find sandbox \"%.100s\": "
                       "%s",
                       id, matches > 1 ? "the id is ambiguous" : "not found");
    found->refs++;
    *ret_pod = found;
    return 0;
}

int container_find(struct runtime *rt, const char *id, struct container **ret_c,
                   struct gi_error *err)
{
    struct container *found = NULL;
    size_t matches = 0;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        struct pod *p = rt->pods[i];
        for (size_t k = 0; k < p->n_containers; k++) {
            int m = match(id, p->containers[k]->id, &matches);
            if (m)
                found = p->containers[k];
            if (m == 2) {
                found->refs++;
                *ret_c = found;
                return 0;
            }
        }
    }
    if (!found || matches != 1)
        return gi_fail(err, GI_NOT_FOUND,
                       "an error occurred when try to find container \"%.100s\": %s", id,
                       matches > 1 ? "the id is ambiguous" : "not found");
    found->refs++;
    *ret_c = found;
    return 0;
}

/* ---- states ---- */

Runtime__V1__PodSandboxState pod_state(const struct pod *p)
{
    bool ready = p->rec->ready_ns && !p->rec->stopped_ns && !p->unknown && !p->ended;
    return ready ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
                 : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

Runtime__V1__ContainerState container_state(const struct container *c)
{
    if (c->unknown)
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN;
    if (c->rec->finished_ns)
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    if (c->rec->started_ns)
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    return RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
}

/* ---- records ---- */

void pod_path(const struct pod *p, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s%s%s", p->rt->pods_dir, p->id, *name ? "/" : "", name);
}

void container_path(const struct container *c, const char *ending, char *out, size_t size)
{
    snprintf(out, size, "%s/%s/%s%s", c->pod->rt->pods_dir, c->pod->id, c->id, ending);
}

/* The record is packed under the state lock and written without it; the save
 * lock sees to it that the newest is written last. */
static int save(struct pod *p, enum record_kind kind, const void *record, const bool *unknown,
                const bool *gone, const char *path, struct gi_error *err)
{
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    GI_LOCK_SCOPE(&p->save_lock);
    {
        GI_LOCK_SCOPE(&p->rt->lock);
        if (*unknown || *gone)
            return 0;
        int rc = record_encode(kind, record, &data, &len, err);
        if (rc < 0)
            return rc;
    }
    return gi_write_file_atomic(path, data, len, 0600, err);
}

int pod_save(struct pod *p, struct gi_error *err)
{
    char path[PATH_MAX];
    pod_path(p, "pod.rec", path, sizeof(path));
    return save(p, RECORD_POD, p->rec, &p->unknown, &p->gone, path, err);
}

int container_save(struct container *c, struct gi_error *err)
{
    char path[PATH_MAX];
    container_path(c, ".rec", path, sizeof(path));
    return save(c->pod, RECORD_CONTAINER, c->rec, &c->unknown, &c->gone, path, err);
}

void container_save_or_log(struct container *c)
{
    struct gi_error err = GI_ERROR_INIT;
    if (container_save(c, &err) < 0)
        gi_log(GI_LOG_ERROR, "a container's record can't be written", "container", c->id, "reason",
               err.message, NULL);
}

/* ---- one operation at a time ---- */

int pod_begin(struct pod *p, struct rpc_call *call, struct gi_error *err)
{
    struct oplock *l = &p->op;
    GI_LOCK_SCOPE(&l->lock);
    if (call && l->waiters >= MAX_WAITERS)
        return gi_fail(err, GI_ABORTED, "%u operations wait for pod %s already", l->waiters, p->id);
    int rc = 0;
    l->waiters++;
    while (l->busy) {
        /* Cancellation has no other way to wake us. */
        int64_t at = gi_monotonic_ns() + 100000000;
        struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
        pthread_cond_timedwait(&l->cond, &l->lock, &until);
        if (call && l->busy && (rc = rpc_check(call, err)) < 0)
            break;
    }
    l->waiters--;
    if (rc < 0)
        return gi_prefix(err, "waiting for another operation on pod %s", p->id);
    l->busy = true;
    return 0;
}

void pod_end(struct pod *p)
{
    GI_LOCK_SCOPE(&p->op.lock);
    p->op.busy = false;
    pthread_cond_broadcast(&p->op.cond);
}
