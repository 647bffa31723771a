/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of the host's files for zones that do not see them (docs/volumes.md).
 * Each becomes a volume of the zone, named after the path in the request, so
 * that containers which name the same path share it:
 *
 *   an emptyDir            a folder of the zone's, empty at first, as long as the pod
 *   a folder, read-only    copied in; replaced whole when the host's has changed
 *   a file                 copied in; a writable one is copied back when its
 *                          container has ended, before the end is told
 *
 * What a zone holds is not recorded: after a restart it is sent once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/wire.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "core/hostfiles.h"
#include "core/runtime.h"
#include "digest.h"

#define EVERY_NS  2000000000LL /* how often the host's files are looked at */
#define TRIES     3            /* while Kubernetes replaces them */
#define FILE_NAME "file"       /* in the volume that is one file */
#define EMPTY_DIR "/volumes/kubernetes.io~empty-dir/"

enum kind { SHARED, FOLDER, ONE_FILE };

struct host_mount {
    const char *path;
    enum kind kind;
    bool writable;
    char name[AGENT_ID_MAX + 1];
    struct stat st;
};

/* ---- what a mount is ---- */

static bool is_empty_dir(const char *path)
{
    const char *at = strstr(path, EMPTY_DIR);
    /* Its own folder, not one in it. */
    return at && at[strlen(EMPTY_DIR)] && !strchr(at + strlen(EMPTY_DIR), '/');
}

static int name_volume(const char *path, char name[AGENT_ID_MAX + 1], struct gi_error *err)
{
    char digest[DIGEST_SIZE];
    if (digest_of(path, strlen(path), digest) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a digest");
    snprintf(name, AGENT_ID_MAX + 1, "host-%.40s", digest_hex(digest));
    return 0;
}

/* Whether the mount is of the host's files. */
static bool of_host(const Runtime__V1__Mount *m)
{
    return !m->image && *m->host_path;
}

static int look(const Runtime__V1__Mount *m, struct host_mount *ret, struct gi_error *err)
{
    struct host_mount h = {.path = m->host_path, .writable = !m->readonly};
    int rc = name_volume(h.path, h.name, err);
    if (rc < 0)
        return rc;
    if (stat(h.path, &h.st) < 0) {
        /* As for pods that see the host: a folder. */
        if (errno != ENOENT || gi_mkdir_p(h.path, 0755, err) < 0 || stat(h.path, &h.st) < 0)
            return gi_fail_errno(err, errno, "%.200s", h.path);
    }
    if (S_ISREG(h.st.st_mode))
        h.kind = ONE_FILE;
    else if (!S_ISDIR(h.st.st_mode))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%.200s is neither a file nor a folder", h.path);
    else
        h.kind = is_empty_dir(h.path) ? SHARED : FOLDER;
    if (h.kind == FOLDER && h.writable)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "this pod does not see the host's files: of the folder %.200s it can have a "
                       "copy, with readonly, but can't write to it",
                       h.path);
    *ret = h;
    return 0;
}

/* ---- what the zone holds of it ---- */

static uint64_t known_print(struct pod *p, const char *name)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_volumes; i++)
        if (strcmp(p->volumes[i].name, name) == 0)
            return p->volumes[i].print;
    return 0;
}

/* PRINT 0: it holds nothing any more. */
static void remember_print(struct pod *p, const char *name, uint64_t print)
{
    GI_LOCK_SCOPE(&p->rt->lock);
    size_t i = 0;
    while (i < p->n_volumes && strcmp(p->volumes[i].name, name) != 0)
        i++;
    if (!print && i < p->n_volumes) {
        p->volumes[i] = p->volumes[--p->n_volumes];
        return;
    }
    if (!print)
        return;
    if (i == p->n_volumes) {
        struct pod_volume *more = realloc(p->volumes, (i + 1) * sizeof(*more));
        if (!more)
            abort();
        p->volumes = more;
        p->n_volumes++;
        snprintf(p->volumes[i].name, sizeof(p->volumes[i].name), "%s", name);
    }
    p->volumes[i].print = print;
}

static int read_host(const struct host_mount *h, bool with_data, struct hostfiles *ret,
                     struct gi_error *err)
{
    int rc = 0;
    for (int i = 0; i < TRIES; i++) {
        rc = h->kind == FOLDER
                 ? hostfiles_read_folder(h->path, with_data, ret, err)
                 : hostfiles_read_file(h->path, FILE_NAME,
                                       h->writable ? AGENT_READ_MAX : AGENT_VOLUME_MAX, with_data,
                                       ret, err);
        if (rc != -GI_NOT_FOUND)
            break;
    }
    return rc;
}

/* Sends it when the zone does not hold it as it is. */
static int send(struct pod *p, struct agent_client *agent, const struct host_mount *h, int ms,
                struct gi_error *err)
{
    cleanup_hostfiles struct hostfiles now = {.n = 0}, files = {.n = 0};
    if (h->kind == SHARED)
        return 0;
    int rc = read_host(h, false, &now, err);
    if (rc < 0 || now.print == known_print(p, h->name))
        return rc;
    rc = read_host(h, true, &files, err);
    if (rc == 0)
        rc = agent_put_files(agent, h->name, h->kind == FOLDER, files.files, files.n, ms, err);
    if (rc == 0)
        remember_print(p, h->name, files.print);
    return rc;
}

static int make(struct pod *p, struct agent_client *agent, const struct host_mount *h, int ms,
                struct gi_error *err)
{
    struct statfs fs;
    struct agent_volume v = {.name = h->name, .mode = 0755};
    if (h->kind != ONE_FILE) {
        v.mode = h->st.st_mode & 07777;
        v.uid = h->st.st_uid;
        v.gid = h->st.st_gid;
    }
    if (h->kind == SHARED && statfs(h->path, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        v.memory = true;
        v.size_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
    }
    int rc = agent_make_volume(agent, &v, ms, err);
    GI_FAILPOINT(rc, "volume_made", err);
    if (rc == 0)
        rc = send(p, agent, h, ms, err);
    GI_FAILPOINT(rc, "volume_filled", err);
    return rc;
}

/* ---- for a container that is made ---- */

int volumes_prepare(struct container *c, struct agent_client *agent, int timeout_ms, char **sources,
                    struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    for (size_t i = 0; i < config->n_mounts; i++) {
        struct host_mount h;
        if (!of_host(config->mounts[i]))
            continue;
        int rc = look(config->mounts[i], &h, err);
        if (rc == 0)
            rc = make(c->pod, agent, &h, timeout_ms, err);
        if (rc < 0)
            return gi_prefix(err, "config.mounts[%zu].host_path", i);
        if (asprintf(&sources[i], AGENT_VOLUME_SOURCE "%s%s", h.name,
                     h.kind == ONE_FILE ? "/" FILE_NAME : "") < 0)
            abort();
    }
    return 0;
}

/* ---- for one that is removed ---- */

static bool used_by_another(struct container *c, const char *path)
{
    struct pod *p = c->pod;
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++) {
        const Runtime__V1__ContainerConfig *other = p->containers[i]->rec->config;
        for (size_t k = 0; p->containers[i] != c && k < other->n_mounts; k++)
            if (of_host(other->mounts[k]) && strcmp(other->mounts[k]->host_path, path) == 0)
                return true;
    }
    return false;
}

void volumes_release(struct container *c, struct agent_client *agent, int timeout_ms)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    if (!runtime_copies_files(c->pod->rt))
        return;
    for (size_t i = 0; i < config->n_mounts; i++) {
        struct gi_error err = GI_ERROR_INIT;
        char name[AGENT_ID_MAX + 1];
        const char *path = config->mounts[i]->host_path;
        if (!of_host(config->mounts[i]) || is_empty_dir(path) || used_by_another(c, path) ||
            name_volume(path, name, &err) < 0)
            continue;
        remember_print(c->pod, name, 0);
        if (agent_remove_volume(agent, name, timeout_ms, &err) < 0)
            gi_log(GI_LOG_WARNING, "a copy of the host's files stays in its pod", "container",
                   c->id, "path", path, "reason", err.message, NULL);
        GI_FAILPOINT_HERE("volume_removed");
    }
}

/* ---- for one that has ended ---- */

bool volumes_to_write_back(const struct container *c)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    struct stat st;
    if (!runtime_copies_files(c->pod->rt))
        return false;
    for (size_t i = 0; i < config->n_mounts; i++)
        if (of_host(config->mounts[i]) && !config->mounts[i]->readonly &&
            stat(config->mounts[i]->host_path, &st) == 0 && S_ISREG(st.st_mode))
            return true;
    return false;
}

/* In place: whoever has the file mounted or open sees the change. */
static int write_host(const char *path, const char *data, size_t len, struct gi_error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s is no regular file", path);
    int rc = ftruncate(fd, 0) < 0 ? -errno : gi_write_full(fd, data, len);
    return rc < 0 ? gi_fail_errno(err, -rc, "%s", path) : 0;
}

static int write_back(struct container *c, struct agent_client *agent, const struct host_mount *h,
                      int ms, struct gi_error *err)
{
    cleanup_hostfiles struct hostfiles host = {.n = 0}, after = {.n = 0};
    cleanup_free char *data = NULL;
    size_t len = 0;
    int rc = agent_read_file(agent, h->name, FILE_NAME, AGENT_READ_MAX, ms, &data, &len, err);
    if (rc == 0)
        rc = read_host(h, true, &host, err);
    if (rc < 0)
        return rc;
    if (host.n == 1 && host.files[0].len == len && memcmp(host.files[0].data, data, len) == 0)
        return 0;
    rc = write_host(h->path, data, len, err);
    GI_FAILPOINT(rc, "volume_written_back", err);
    if (rc == 0)
        rc = read_host(h, false, &after, err);
    if (rc == 0) /* it holds what it wrote */
        remember_print(c->pod, h->name, after.print);
    return rc;
}

void volumes_write_back(struct container *c)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    cleanup_agent struct agent_ref *a = NULL;
    int ms = agent_patience(c->pod->rt, NULL);
    if (pod_agent(c->pod, &a, NULL) < 0)
        return;
    for (size_t i = 0; i < config->n_mounts; i++) {
        struct gi_error err = GI_ERROR_INIT;
        struct host_mount h;
        if (!of_host(config->mounts[i]) || config->mounts[i]->readonly ||
            look(config->mounts[i], &h, NULL) < 0 || h.kind != ONE_FILE)
            continue;
        if (write_back(c, a->client, &h, ms, &err) < 0)
            gi_log(GI_LOG_WARNING, "a container's file does not come back to the host", "container",
                   c->id, "path", h.path, "reason", err.message, NULL);
    }
}

/* ---- as time goes by ---- */

static void refresh(struct container *c, struct agent_client *agent)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    for (size_t i = 0; i < config->n_mounts; i++) {
        struct gi_error err = GI_ERROR_INIT;
        struct host_mount h;
        struct stat st;
        if (!of_host(config->mounts[i]) || !config->mounts[i]->readonly ||
            stat(config->mounts[i]->host_path, &st) < 0) /* gone: it keeps what it has */
            continue;
        int rc = look(config->mounts[i], &h, &err);
        if (rc == 0)
            rc = send(c->pod, agent, &h, agent_patience(c->pod->rt, NULL), &err);
        if (rc < 0)
            gi_log(GI_LOG_WARNING, "a change of the host's files does not get to a container",
                   "container", c->id, "path", config->mounts[i]->host_path, "reason", err.message,
                   NULL);
    }
}

static void refresh_job(void *arg)
{
    cleanup_pod struct pod *p = arg;
    cleanup_agent struct agent_ref *a = NULL;
    pod_begin(p, NULL, NULL);
    for (size_t i = 0; pod_agent(p, &a, NULL) == 0; i++) {
        cleanup_container struct container *c = NULL;
        cleanup_agent struct agent_ref *one = TAKE_PTR(a);
        {
            GI_LOCK_SCOPE(&p->rt->lock);
            if (i >= p->n_containers)
                break;
            c = p->containers[i];
            c->refs++;
            if (c->unknown || !c->rec->created_ns || c->rec->finished_ns)
                continue;
        }
        refresh(c, one->client);
    }
    pod_end(p);
    GI_LOCK_SCOPE(&p->rt->lock);
    p->volumes_busy = false;
    p->volumes_ns = gi_monotonic_ns();
}

/* With the state lock held. */
static bool wants_refresh(const struct pod *p)
{
    if (!p->rec->ready_ns || p->rec->stopped_ns || p->ended || p->ending || p->volumes_busy ||
        !p->agent || p->agent->dead || gi_monotonic_ns() - p->volumes_ns < EVERY_NS)
        return false;
    for (size_t i = 0; i < p->n_containers; i++) {
        const Gi__State__ContainerRecord *r = p->containers[i]->rec;
        for (size_t k = 0; r->created_ns && !r->finished_ns && k < r->config->n_mounts; k++)
            if (of_host(r->config->mounts[k]) && r->config->mounts[k]->readonly)
                return true;
    }
    return false;
}

void volumes_tick(struct runtime *rt)
{
    if (!runtime_copies_files(rt))
        return;
    for (size_t i = 0;; i++) {
        cleanup_pod struct pod *p = NULL;
        {
            GI_LOCK_SCOPE(&rt->lock);
            if (i >= rt->n_pods)
                break;
            p = rt->pods[i];
            p->refs++;
            if (!wants_refresh(p))
                continue;
            p->volumes_busy = true;
        }
        if (pool_submit(rt->jobs, refresh_job, pod_ref(p)) == 0)
            continue;
        {
            GI_LOCK_SCOPE(&rt->lock);
            p->volumes_busy = false;
        }
        pod_unref(p);
    }
}
