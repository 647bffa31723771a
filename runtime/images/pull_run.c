/* SPDX-License-Identifier: Apache-2.0 */
/* One pull from reference to image: manifest, platform, configuration, layers, commit. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth.h"
#include "base/io.h"
#include "base/log.h"
#include "pull.h"

#define MAX_INDEX_DEPTH 3

static const struct images_registry *registry_config(const struct images *s, const char *host)
{
    for (size_t i = 0; i < s->config.n_registries; i++) {
        if (strcmp(s->config.registries[i].host, host) == 0)
            return &s->config.registries[i];
    }
    return NULL;
}

/* Follows indexes to the manifest for this platform. TOP: the digest the
 * reference itself names, an index's where there is one. */
static int resolve(struct pull_job *job, struct registry *registry, struct http *h,
                   char ret_top[DIGEST_SIZE], struct document_manifest *ret_manifest,
                   struct gi_error *err)
{
    const char *arch = job->store->config.platform_arch;
    const char *name = job->ref.digest[0] ? job->ref.digest : job->ref.tag;
    struct document_descriptor child;
    for (int depth = 0; depth < MAX_INDEX_DEPTH; depth++) {
        cleanup_registry_manifest struct registry_manifest raw = {0};
        struct document_manifest m = {0};
        int rc = registry_get_manifest(registry, h, depth ? child.digest : name,
                                       depth ? &child : NULL, &raw, err);
        if (rc == 0)
            rc = document_manifest_parse(raw.body.data ? raw.body.data : "", raw.body.len,
                                         raw.content_type, &m, err);
        if (rc < 0)
            return rc;
        if (depth == 0)
            memcpy(ret_top, raw.digest, DIGEST_SIZE);
        if (!m.is_index) {
            *ret_manifest = m;
            return 0;
        }
        size_t i = 0;
        rc = document_pick(&m, arch, &i, err);
        if (rc == 0)
            child = m.children[i].descriptor;
        document_manifest_free(&m);
        if (rc < 0)
            return rc;
    }
    return gi_fail(err, GI_INVALID_ARGUMENT, "more than %d indexes inside each other",
                   MAX_INDEX_DEPTH);
}

/* The configuration is small: through memory, verified on the way. */
static int get_config(struct registry *registry, struct http *h,
                      const struct document_descriptor *d, char **ret_data, struct gi_error *err)
{
    cleanup_close int fd = memfd_create("image-config", MFD_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "memfd");
    int rc = registry_get_blob(registry, h, d, fd, NULL, NULL, err);
    if (rc < 0)
        return gi_prefix(err, "image configuration");
    char *data = calloc(1, d->size + 1);
    if (!data || lseek(fd, 0, SEEK_SET) < 0 || gi_read_full(fd, data, d->size) < 0) {
        free(data);
        return gi_fail_errno(err, ENOMEM, "image configuration");
    }
    *ret_data = data;
    return 0;
}

static int check_config(const struct pull_job *job, const struct document_config *c,
                        struct gi_error *err)
{
    const char *arch = job->store->config.platform_arch;
    size_t n = 0;
    while (c->diff_ids[n])
        n++;
    if (n != job->n_layers)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "manifest has %zu layers, but the image configuration %zu diff ids",
                       job->n_layers, n);
    if ((c->os[0] && strcmp(c->os, "linux") != 0) || (c->arch[0] && strcmp(c->arch, arch) != 0))
        return gi_fail(err, GI_FAILED_PRECONDITION, "the image is for %s/%s, not for linux/%s",
                       c->os, c->arch, arch);
    return 0;
}

/* Publishes the layer list: sweeping leaves these blobs alone from now on. */
static int take_layers(struct pull_job *job, struct document_manifest *m, struct gi_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_layers; i++) {
        if (m->layers[i].size > job->store->config.max_image_bytes - total)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                           "image is larger than the %" PRIu64 " bytes allowed",
                           job->store->config.max_image_bytes);
        total += m->layers[i].size;
    }
    GI_LOCK_SCOPE(&job->store->lock);
    job->layers = TAKE_PTR(m->layers);
    job->n_layers = m->n_layers;
    atomic_store(&job->bytes_total, total);
    return 0;
}

static int make_root(int tmp_fd, int *ret_fd, struct gi_error *err)
{
    if (mkdirat(tmp_fd, "rootfs", 0755) < 0)
        return gi_fail_errno(err, errno, "mkdir rootfs");
    int fd = openat(tmp_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0755) < 0)
        return gi_fail_errno(err, errno, "open rootfs");
    *ret_fd = fd;
    return 0;
}

static int describe(struct pull_job *job, const struct document_descriptor *config_blob,
                    char *config_text, int rootfs_fd, struct store_image **ret_image,
                    struct gi_error *err)
{
    struct store_image *image = calloc(1, sizeof(*image));
    int rc = image ? 0 : gi_fail_errno(err, ENOMEM, "image");
    if (rc == 0) {
        memcpy(image->id, config_blob->digest, sizeof(image->id));
        image->size = config_blob->size;
        image->layers = calloc(job->n_layers ? job->n_layers : 1, sizeof(*image->layers));
        if (!image->layers)
            rc = gi_fail_errno(err, ENOMEM, "image");
    }
    for (size_t i = 0; rc == 0 && i < job->n_layers; i++) {
        image->layers[image->n_layers++] = job->layers[i];
        image->size += job->layers[i].size;
    }
    if (rc == 0)
        rc = document_config_parse(config_text, config_blob->size, &image->config, err);
    if (rc == 0)
        rc = record_measure_tree(rootfs_fd, &image->disk_bytes, &image->inodes, err);
    if (rc < 0) {
        store_image_free(image);
        return rc;
    }
    *ret_image = image;
    return 0;
}

static int write_config(int tmp_fd, const char *text, size_t len, struct gi_error *err)
{
    cleanup_close int fd =
        openat(tmp_fd, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : gi_write_full(fd, text, len);
    return rc < 0 ? gi_fail_errno(err, -rc, "write config.json") : 0;
}

/* Everything in TMP, complete when this returns 0. */
static int build(struct pull_job *job, struct registry *registry,
                 const struct document_descriptor *config_blob, char *config_text,
                 const struct document_config *config, int tmp_fd, struct store_image **ret_image,
                 struct gi_error *err)
{
    cleanup_close int rootfs = -1;
    struct store_image *image = NULL;
    int rc = make_root(tmp_fd, &rootfs, err);
    if (rc == 0)
        rc = layers_pull(job, registry, config->diff_ids, rootfs, err);
    if (rc == 0)
        rc = write_config(tmp_fd, config_text, config_blob->size, err);
    if (rc == 0)
        rc = describe(job, config_blob, config_text, rootfs, &image, err);
    if (rc == 0)
        rc = record_write_image(tmp_fd, image, err);
    if (rc < 0) {
        store_image_free(image);
        return rc;
    }
    *ret_image = image;
    return 0;
}

static int make_image(struct pull_job *job, struct registry *registry, struct http *h,
                      struct document_manifest *m, struct gi_error *err)
{
    struct images *s = job->store;
    cleanup_free char *text = NULL;
    cleanup_config struct document_config config = {0};
    int rc = get_config(registry, h, &m->config, &text, err);
    if (rc == 0)
        rc = document_config_parse(text, m->config.size, &config, err);
    if (rc == 0)
        rc = take_layers(job, m, err);
    if (rc == 0)
        rc = check_config(job, &config, err);
    if (rc < 0)
        return rc;

    char tmp[STORE_PATH];
    cleanup_close int tmp_fd = -1;
    struct store_image *image = NULL;
    rc = store_make_tmp(s, tmp, &tmp_fd, err);
    if (rc < 0)
        return rc;
    rc = build(job, registry, &m->config, text, &config, tmp_fd, &image, err);
    if (rc == 0)
        rc = store_commit_image(s, tmp, image, err);
    if (rc < 0) {
        struct gi_error ignored = GI_ERROR_INIT;
        store_image_free(image);
        if (gi_remove_tree_at(s->root_fd, tmp, &ignored) < 0)
            gi_log(GI_LOG_ERROR, "a failed pull's files stay until the next start", "path", tmp,
                   "reason", ignored.message, NULL);
    }
    return rc;
}

/* Whether the image came from this repository before. Lock held. */
static bool came_from(const struct images *s, const struct image_ref *ref, const char *id)
{
    char repository[2 * REF_NAME_SIZE];
    int n = snprintf(repository, sizeof(repository), "%s/%s", ref->host, ref->path);
    for (size_t i = 0; i < s->n_refs; i++) {
        const char *text = s->refs[i]->text;
        if (strcmp(s->refs[i]->id, id) == 0 && strncmp(text, repository, (size_t)n) == 0 &&
            (text[n] == ':' || text[n] == '@'))
            return true;
    }
    return false;
}

/* Ids are no secret. A repository that names one which is here already must have its
 * configuration, else a manifest made up of an id would get others' images. */
static int check_owns(struct pull_job *job, struct registry *registry, struct http *h,
                      const struct document_descriptor *config, struct gi_error *err)
{
    cleanup_free char *text = NULL;
    {
        GI_LOCK_SCOPE(&job->store->lock);
        if (!store_find_image(job->store, config->digest) ||
            came_from(job->store, &job->ref, config->digest))
            return 0;
    }
    return get_config(registry, h, config, &text, err);
}

/* *ret_present: the image is here already, and stays. */
static int take_present(struct images *s, const char *id, bool *ret_present, struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->lock);
    struct store_image *image = store_find_image(s, id);
    *ret_present = image != NULL;
    return image && image->removed ? store_revive_image(s, image, err) : 0;
}

static int add_refs(struct pull_job *job, const char *top, struct gi_error *err)
{
    struct store_ref ref = {0};
    struct image_ref by_digest = job->ref;
    int rc = 0;
    memcpy(ref.id, job->id, sizeof(ref.id));
    memcpy(ref.manifest, top, sizeof(ref.manifest));
    auth_describe(&job->auth, ref.pulled_by, sizeof(ref.pulled_by));
    if (job->ref.tag[0]) {
        image_ref_format(&job->ref, ref.text);
        rc = store_put_ref(job->store, &ref, err);
    }
    by_digest.tag[0] = '\0';
    memcpy(by_digest.digest, top, sizeof(by_digest.digest));
    image_ref_format(&by_digest, ref.text);
    return rc < 0 ? rc : store_put_ref(job->store, &ref, err);
}

int pull_run(struct pull_job *job, struct gi_error *err)
{
    struct images *s = job->store;
    struct registry_options options = {.config = registry_config(s, job->ref.host),
                                       .auth = &job->auth,
                                       .attempts = s->config.attempts,
                                       .retry_delay_ms = s->config.retry_delay_ms,
                                       .cancelled = pull_cancelled,
                                       .data = job};
    struct http_options http_options = {
        .cancelled = pull_cancelled, .data = job, .stall_seconds = s->config.stall_seconds};
    cleanup_registry struct registry *registry = NULL;
    cleanup_http struct http *h = NULL;
    cleanup_manifest struct document_manifest manifest = {0};
    char top[DIGEST_SIZE];
    int rc = registry_new(&job->ref, &options, &registry, err);
    if (rc == 0)
        rc = http_new(&http_options, &h, err);
    if (rc == 0)
        rc = resolve(job, registry, h, top, &manifest, err);
    if (rc < 0)
        return rc;
    char id[DIGEST_SIZE];
    memcpy(id, manifest.config.digest, sizeof(id));
    rc = store_take_key(s, "image", id, pull_cancelled, job, err);
    if (rc < 0)
        return rc;
    bool present = false;
    rc = check_owns(job, registry, h, &manifest.config, err);
    if (rc == 0)
        rc = take_present(s, id, &present, err);
    if (rc == 0 && !present)
        rc = make_image(job, registry, h, &manifest, err);
    if (rc == 0) {
        memcpy(job->id, id, sizeof(id));
        rc = add_refs(job, top, err);
    }
    store_drop_key(s, "image", id);
    return rc;
}
