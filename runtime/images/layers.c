/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: downloaded by a few threads, unpacked in order while later ones still come. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "pull.h"
#include "unpack.h"

#define MAX_THREADS 16

enum layer_state { LAYER_WAITING, LAYER_READY };

struct layers {
    struct pull_job *job;
    struct registry *registry;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next; /* to download */
    enum layer_state state[DOCUMENT_MAX_LAYERS];
    atomic_bool stop; /* one failed, or the unpacking did */
    struct gi_error err;
};

static bool stopped(void *data)
{
    struct layers *l = data;
    return atomic_load(&l->stop) || pull_cancelled(l->job);
}

static void stop(struct layers *l, const struct gi_error *why)
{
    GI_LOCK_SCOPE(&l->lock);
    if (l->err.code == GI_OK && why->code != GI_OK)
        l->err = *why;
    atomic_store(&l->stop, true);
    pthread_cond_broadcast(&l->changed);
}

static void count_bytes(void *data, int64_t delta)
{
    struct pull_job *job = data;
    atomic_fetch_add(&job->bytes_done, delta);
}

static bool blob_present(struct images *s, const struct document_descriptor *layer)
{
    char path[STORE_PATH];
    struct stat st;
    store_path(path, STORE_BLOBS, layer->digest);
    if (fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if ((uint64_t)st.st_size == layer->size)
        return true;
    unlinkat(s->root_fd, path, 0); /* a power cut's work */
    return false;
}

/* With the layer's key held. */
static int download(struct layers *l, struct http *h, const struct document_descriptor *layer,
                    struct gi_error *err)
{
    struct images *s = l->job->store;
    char partial[STORE_PATH];
    char path[STORE_PATH];
    if (blob_present(s, layer)) {
        count_bytes(l->job, (int64_t)layer->size);
        return 0;
    }
    store_path(partial, STORE_PARTIAL, layer->digest);
    store_path(path, STORE_BLOBS, layer->digest);
    cleanup_close int fd =
        openat(s->root_fd, partial, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return gi_fail_errno(err, errno, "create %s", partial);
    int64_t start = gi_monotonic_ns();
    int rc = registry_get_blob(l->registry, h, layer, fd, count_bytes, l->job, err);
    if (rc < 0) {
        struct stat st;
        if (fstat(fd, &st) == 0 && st.st_size == 0)
            unlinkat(s->root_fd, partial, 0);
        return rc;
    }
    if (renameat(s->root_fd, partial, s->root_fd, path) < 0)
        return gi_fail_errno(err, errno, "rename %s", partial);
    gi_logf(GI_LOG_DEBUG, "layer %.19s: %" PRIu64 " bytes in %" PRId64 " ms", layer->digest,
            layer->size, (gi_monotonic_ns() - start) / 1000000);
    return 0;
}

static int fetch_layer(struct layers *l, struct http *h, size_t i, struct gi_error *err)
{
    struct images *s = l->job->store;
    const struct document_descriptor *layer = &l->job->layers[i];
    int rc = store_take_key(s, "blob", layer->digest, stopped, l, err);
    if (rc < 0)
        return rc;
    rc = download(l, h, layer, err);
    store_drop_key(s, "blob", layer->digest);
    return rc < 0 ? gi_prefix(err, "layer %.19s", layer->digest) : 0;
}

static void *download_thread(void *data)
{
    struct layers *l = data;
    struct gi_error err = GI_ERROR_INIT;
    cleanup_http struct http *h = NULL;
    struct http_options options = {
        .cancelled = stopped, .data = l, .stall_seconds = l->job->store->config.stall_seconds};
    int rc = http_new(&options, &h, &err);
    while (rc == 0 && !stopped(l)) {
        size_t i;
        {
            GI_LOCK_SCOPE(&l->lock);
            i = l->next;
            if (i == l->job->n_layers)
                return NULL;
            l->next++;
        }
        rc = fetch_layer(l, h, i, &err);
        if (rc == 0) {
            GI_LOCK_SCOPE(&l->lock);
            l->state[i] = LAYER_READY;
            pthread_cond_broadcast(&l->changed);
        }
    }
    if (rc == 0)
        gi_fail(&err, GI_CANCELLED, "the pull was cancelled");
    stop(l, &err);
    return NULL;
}

static int wait_for_layer(struct layers *l, size_t i, struct gi_error *err)
{
    GI_LOCK_SCOPE(&l->lock);
    while (l->state[i] != LAYER_READY && !atomic_load(&l->stop))
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->state[i] == LAYER_READY)
        return 0;
    if (err)
        *err = l->err;
    return -(int)l->err.code;
}

static int unpack_one(struct layers *l, struct unpack *u, size_t i, const char *diff_id,
                      struct gi_error *err)
{
    struct images *s = l->job->store;
    const char *digest = l->job->layers[i].digest;
    char path[STORE_PATH];
    int rc = wait_for_layer(l, i, err);
    if (rc < 0)
        return rc;
    store_path(path, STORE_BLOBS, digest);
    cleanup_close int fd = openat(s->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "open layer %.19s", digest);
    rc = unpack_layer(u, fd, diff_id, err);
    /* If it is the disk's fault and not the image's, the next pull heals it. */
    if (rc == -GI_DATA_LOSS || rc == -GI_INVALID_ARGUMENT)
        unlinkat(s->root_fd, path, 0);
    if (rc < 0)
        return gi_prefix(err, "layer %zu (%.19s)", i + 1, digest);
    unsigned done = atomic_fetch_add(&l->job->layers_done, 1) + 1;
    char progress[96];
    snprintf(progress, sizeof(progress), "%u/%zu", done, l->job->n_layers);
    gi_log(GI_LOG_INFO, "layer unpacked", "layer", digest, "layers", progress, NULL);
    return 0;
}

static int unpack_all(struct layers *l, char *const *diff_ids, int rootfs_fd, struct gi_error *err)
{
    const struct images_config *config = &l->job->store->config;
    struct unpack_limits limits = {.max_bytes = config->max_image_bytes,
                                   .max_entries = config->max_entries};
    cleanup_unpack struct unpack *u = NULL;
    int rc = unpack_new(rootfs_fd, &limits, stopped, l, &u, err);
    for (size_t i = 0; rc == 0 && i < l->job->n_layers; i++)
        rc = unpack_one(l, u, i, diff_ids[i], err);
    return rc;
}

int layers_pull(struct pull_job *job, struct registry *registry, char *const *diff_ids,
                int rootfs_fd, struct gi_error *err)
{
    struct layers l = {.job = job, .registry = registry};
    pthread_t threads[MAX_THREADS];
    size_t n = job->store->config.parallel_layers;
    size_t started = 0;
    struct gi_error local = GI_ERROR_INIT;
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.changed, NULL);
    n = n < MAX_THREADS ? n : MAX_THREADS;
    n = n < job->n_layers ? n : job->n_layers;
    while (started < n && pthread_create(&threads[started], NULL, download_thread, &l) == 0)
        started++;
    int rc = n && !started ? gi_fail(&local, GI_RESOURCE_EXHAUSTED, "can't start a thread")
                           : unpack_all(&l, diff_ids, rootfs_fd, &local);
    if (rc < 0)
        stop(&l, &local);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    /* Whoever failed first is the reason; the others were only told to stop. */
    if (rc < 0 && err)
        *err = l.err.code != GI_OK ? l.err : local;
    rc = rc < 0 ? -(int)(l.err.code != GI_OK ? l.err.code : local.code) : 0;
    pthread_mutex_destroy(&l.lock);
    pthread_cond_destroy(&l.changed);
    return rc;
}
