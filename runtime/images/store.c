/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, sweeping, and the tables in memory with their files. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"

#define PARTIAL_KEEP_SECONDS (7 * 24 * 3600)
#define ORPHAN_KEEP_SECONDS  (24 * 3600) /* layers of a pull that failed: it may be tried again */
#define POLL_NS              (50 * 1000000L)

void store_path(char ret_path[STORE_PATH], const char *folder, const char *digest)
{
    snprintf(ret_path, STORE_PATH, "%s/%.*s-%s", folder, (int)strcspn(digest, ":"), digest,
             digest_hex(digest));
}

/* "ALG-HEX" back to a digest. */
static bool digest_of_name(const char *name, char ret_digest[DIGEST_SIZE])
{
    size_t n = strlen(name);
    if (n >= DIGEST_SIZE || n < 8 || name[6] != '-')
        return false;
    memcpy(ret_digest, name, n + 1);
    ret_digest[6] = ':';
    return digest_valid(ret_digest);
}

void store_image_free(struct store_image *image)
{
    if (!image)
        return;
    document_config_free(&image->config);
    free(image->layers);
    free(image);
}

/* ---- configuration ---- */

static char *copy_string(const char *s, bool *failed)
{
    char *copy = s ? strdup(s) : NULL;
    *failed = *failed || (s && !copy);
    return copy;
}

static char **copy_list(const char *const *list, bool *failed)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    char **copy = list ? calloc(n + 1, sizeof(*copy)) : NULL;
    *failed = *failed || (list && !copy);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = copy_string(list[i], failed);
    return copy;
}

static void free_list(const char *const *list)
{
    for (size_t i = 0; list && list[i]; i++)
        free((void *)list[i]);
    free((void *)list);
}

static int copy_config(struct images *s, const struct images_config *c, struct gi_error *err)
{
    bool failed = false;
    s->config = *c;
    s->config.registries = NULL;
    s->config.n_registries = 0;
    s->root = copy_string(c->root, &failed);
    s->config.root = s->root;
    s->config.pinned = (const char *const *)copy_list(c->pinned, &failed);
    s->config.platform_arch =
        copy_string(c->platform_arch ? c->platform_arch : document_host_arch(), &failed);
    struct images_registry *r = calloc(c->n_registries ? c->n_registries : 1, sizeof(*r));
    failed = failed || !r;
    for (size_t i = 0; r && i < c->n_registries; i++) {
        r[i] = c->registries[i];
        r[i].host = copy_string(c->registries[i].host, &failed);
        r[i].ca_file = copy_string(c->registries[i].ca_file, &failed);
        r[i].mirrors = (const char *const *)copy_list(c->registries[i].mirrors, &failed);
    }
    s->config.registries = r;
    s->config.n_registries = r ? c->n_registries : 0;
    if (!s->config.parallel_layers)
        s->config.parallel_layers = 3;
    if (!s->config.max_image_bytes)
        s->config.max_image_bytes = 64ULL << 30;
    if (!s->config.max_entries)
        s->config.max_entries = 4ULL << 20;
    return failed ? gi_fail_errno(err, ENOMEM, "image store") : 0;
}

static void free_config(struct images *s)
{
    for (size_t i = 0; i < s->config.n_registries; i++) {
        free((void *)s->config.registries[i].host);
        free((void *)s->config.registries[i].ca_file);
        free_list(s->config.registries[i].mirrors);
    }
    free((void *)s->config.registries);
    free_list(s->config.pinned);
    free((void *)s->config.platform_arch);
    free(s->root);
}

/* ---- opening ---- */

static int open_folders(struct images *s, struct gi_error *err)
{
    static const char *const folders[] = {STORE_BLOBS, STORE_PARTIAL, STORE_IMAGES, STORE_REFS,
                                          STORE_TMP};
    int rc = gi_mkdir_p(s->root, 0700, err);
    if (rc < 0)
        return rc;
    s->root_fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0)
        return gi_fail_errno(err, errno, "open %s", s->root);
    /* Images carry setuid programs and world-writable folders: nobody else on
     * this host may walk in. */
    if (fchmod(s->root_fd, 0700) < 0)
        return gi_fail_errno(err, errno, "chmod %s", s->root);
    s->lock_fd = openat(s->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* A POSIX record lock: unlike flock(2) a forked child doesn't keep it. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (s->lock_fd < 0)
        return gi_fail_errno(err, errno, "open %s/lock", s->root);
    if (fcntl(s->lock_fd, F_SETLK, &lock) < 0)
        return gi_fail(err, GI_FAILED_PRECONDITION, "image store %s is in use by another process",
                       s->root);
    for (size_t i = 0; i < GI_ARRAY_SIZE(folders); i++) {
        if (mkdirat(s->root_fd, folders[i], 0700) < 0 && errno != EEXIST)
            return gi_fail_errno(err, errno, "mkdir %s/%s", s->root, folders[i]);
    }
    return 0;
}

static DIR *list_folder(struct images *s, const char *name)
{
    int fd = openat(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    return d;
}

static void sweep_tmp(struct images *s)
{
    cleanup_closedir DIR *d = list_folder(s, STORE_TMP);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct gi_error err = GI_ERROR_INIT;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (gi_remove_tree_at(dirfd(d), e->d_name, &err) < 0)
            gi_log(GI_LOG_ERROR, "leftover of an earlier run stays", "path", e->d_name, "reason",
                   err.message, NULL);
    }
}

static int add_pointer(void ***list, size_t *n, void *item)
{
    void **longer = reallocarray(*list, *n + 1, sizeof(*longer));
    if (!longer)
        return -1;
    longer[(*n)++] = item;
    *list = longer;
    return 0;
}

static void load_images(struct images *s)
{
    cleanup_closedir DIR *d = list_folder(s, STORE_IMAGES);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct gi_error err = GI_ERROR_INIT;
        char id[DIGEST_SIZE];
        struct store_image *image = NULL;
        if (e->d_name[0] == '.' || !digest_of_name(e->d_name, id))
            continue;
        cleanup_close int fd =
            openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int rc =
            fd < 0 ? gi_fail_errno(&err, errno, "open") : record_read_image(fd, id, &image, &err);
        if (rc == 0 && add_pointer((void ***)&s->images, &s->n_images, image) == 0)
            continue;
        /* Not deleted: a container may run on it. The next pull replaces it. */
        gi_log(GI_LOG_ERROR, "image left out: its record is bad", "image", id, "reason",
               err.message, NULL);
        store_image_free(image);
    }
}

static void ref_path(const struct images *s, const char *text, char ret_path[PATH_MAX])
{
    char digest[DIGEST_SIZE] = "sha256:";
    digest_of(text, strlen(text), digest);
    snprintf(ret_path, PATH_MAX, "%s/" STORE_REFS "/%.64s.json", s->root, digest_hex(digest));
}

static void load_refs(struct images *s)
{
    cleanup_closedir DIR *d = list_folder(s, STORE_REFS);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct gi_error err = GI_ERROR_INIT;
        char path[PATH_MAX];
        const char *dot = strrchr(e->d_name, '.');
        if (e->d_name[0] == '.')
            continue;
        if (!dot || strcmp(dot, ".json") != 0) { /* of an atomic write that was cut off */
            unlinkat(dirfd(d), e->d_name, 0);
            continue;
        }
        snprintf(path, sizeof(path), "%s/" STORE_REFS "/%s", s->root, e->d_name);
        struct store_ref *ref = calloc(1, sizeof(*ref));
        int rc = ref ? record_read_ref(path, ref, &err) : -1;
        const struct store_image *image = rc == 0 ? store_find_image(s, ref->id) : NULL;
        if (image && !image->removed && add_pointer((void ***)&s->refs, &s->n_refs, ref) == 0)
            continue;
        if (rc < 0)
            gi_log(GI_LOG_ERROR, "image reference left out: its record is bad", "path", path,
                   "reason", err.message, NULL);
        else
            unlink(path); /* its image is gone */
        free(ref);
    }
}

int images_open(const struct images_config *config, struct images **ret_images,
                struct gi_error *err)
{
    struct images *s = calloc(1, sizeof(*s));
    if (!s)
        return gi_fail_errno(err, ENOMEM, "image store");
    s->root_fd = -1;
    s->lock_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc = copy_config(s, config, err);
    if (rc == 0)
        rc = open_folders(s, err);
    if (rc < 0) {
        images_close(s);
        return rc;
    }
    sweep_tmp(s);
    load_images(s);
    load_refs(s);
    store_sweep_blobs(s, ORPHAN_KEEP_SECONDS);
    gi_logf(GI_LOG_INFO, "image store %s: %zu images, %zu references", s->root, s->n_images,
            s->n_refs);
    *ret_images = s;
    return 0;
}

void images_close(struct images *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_images; i++)
        store_image_free(s->images[i]);
    free(s->images);
    for (size_t i = 0; i < s->n_refs; i++)
        free(s->refs[i]);
    free(s->refs);
    for (size_t i = 0; i < s->n_uses; i++)
        free(s->uses[i].user);
    free(s->uses);
    free(s->busy);
    if (s->root_fd >= 0)
        close(s->root_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free_config(s);
    free(s);
}

/* ---- tables ---- */

struct store_image *store_find_image(struct images *s, const char *id)
{
    for (size_t i = 0; i < s->n_images; i++) {
        if (strcmp(s->images[i]->id, id) == 0)
            return s->images[i];
    }
    return NULL;
}

struct store_ref *store_find_ref(struct images *s, const char *text)
{
    for (size_t i = 0; i < s->n_refs; i++) {
        if (strcmp(s->refs[i]->text, text) == 0)
            return s->refs[i];
    }
    return NULL;
}

int store_put_ref(struct images *s, const struct store_ref *ref, struct gi_error *err)
{
    char path[PATH_MAX];
    ref_path(s, ref->text, path);
    GI_LOCK_SCOPE(&s->lock);
    if (!store_find_image(s, ref->id))
        return gi_fail(err, GI_ABORTED, "image %s was removed meanwhile", ref->id);
    int rc = record_write_ref(path, ref, err);
    if (rc < 0)
        return rc;
    struct store_ref *old = store_find_ref(s, ref->text);
    if (old) {
        *old = *ref;
        return 0;
    }
    struct store_ref *copy = malloc(sizeof(*copy));
    if (!copy || add_pointer((void ***)&s->refs, &s->n_refs, copy) < 0) {
        free(copy);
        return gi_fail_errno(err, ENOMEM, "image reference");
    }
    *copy = *ref;
    return 0;
}

int store_make_tmp(struct images *s, char ret_name[STORE_PATH], int *ret_fd, struct gi_error *err)
{
    char hex[17];
    int rc = gi_random_hex(hex, 8);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "getrandom");
    snprintf(ret_name, STORE_PATH, STORE_TMP "/%s", hex);
    if (mkdirat(s->root_fd, ret_name, 0700) < 0)
        return gi_fail_errno(err, errno, "mkdir %s/%s", s->root, ret_name);
    int fd = openat(s->root_fd, ret_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "open %s/%s", s->root, ret_name);
    *ret_fd = fd;
    return 0;
}

/* Out of sight at once; the slow deletion comes after. RET_TMP "" if absent. */
static int move_to_tmp(struct images *s, const char *path, char ret_tmp[STORE_PATH])
{
    char hex[17];
    ret_tmp[0] = '\0';
    int rc = gi_random_hex(hex, 8);
    if (rc < 0)
        return rc;
    char name[STORE_PATH];
    snprintf(name, sizeof(name), STORE_TMP "/%s", hex);
    if (renameat(s->root_fd, path, s->root_fd, name) < 0)
        return errno == ENOENT ? 0 : -errno;
    memcpy(ret_tmp, name, sizeof(name));
    return 0;
}

static void delete_tmp(struct images *s, const char *tmp)
{
    struct gi_error err = GI_ERROR_INIT;
    if (tmp[0] && gi_remove_tree_at(s->root_fd, tmp, &err) < 0)
        gi_log(GI_LOG_ERROR, "can't delete a removed image's files", "path", tmp, "reason",
               err.message, NULL);
}

int store_commit_image(struct images *s, const char *tmp, struct store_image *image,
                       struct gi_error *err)
{
    char path[STORE_PATH];
    char old[STORE_PATH] = "";
    store_path(path, STORE_IMAGES, image->id);
    cleanup_close int folder = openat(s->root_fd, STORE_IMAGES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return gi_fail_errno(err, errno, "open %s/" STORE_IMAGES, s->root);
    /* Files before the name that promises them: one syncfs for the whole tree. */
    if (syncfs(folder) < 0)
        return gi_fail_errno(err, errno, "sync %s", s->root);
    {
        GI_LOCK_SCOPE(&s->lock);
        int rc = move_to_tmp(s, path, old); /* one whose record was bad */
        if (rc < 0)
            return gi_fail_errno(err, -rc, "replace image");
        if (renameat(s->root_fd, tmp, s->root_fd, path) < 0)
            return gi_fail_errno(err, errno, "rename image");
        if (add_pointer((void ***)&s->images, &s->n_images, image) < 0) {
            renameat(s->root_fd, path, s->root_fd, tmp);
            return gi_fail_errno(err, ENOMEM, "image");
        }
    }
    if (fsync(folder) < 0)
        gi_logf(GI_LOG_WARNING, "fsync %s/" STORE_IMAGES " failed", s->root);
    delete_tmp(s, old);
    return 0;
}

int store_revive_image(struct images *s, struct store_image *image, struct gi_error *err)
{
    char path[STORE_PATH];
    char marker[STORE_PATH + 16];
    store_path(path, STORE_IMAGES, image->id);
    snprintf(marker, sizeof(marker), "%s/removed", path);
    if (unlinkat(s->root_fd, marker, 0) < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "keep image");
    image->removed = false;
    return 0;
}

/* ---- removing ---- */

static bool in_use(const struct images *s, const char *id)
{
    for (size_t i = 0; i < s->n_uses; i++) {
        if (strcmp(s->uses[i].id, id) == 0)
            return true;
    }
    return false;
}

static void drop_refs(struct images *s, const char *id)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_refs; i++) {
        if (strcmp(s->refs[i]->id, id) != 0) {
            s->refs[kept++] = s->refs[i];
            continue;
        }
        char path[PATH_MAX];
        ref_path(s, s->refs[i]->text, path);
        unlink(path);
        free(s->refs[i]);
    }
    s->n_refs = kept;
}

/* Lock held. Takes IMAGE out of the table and moves its folder to RET_TMP. */
static int unlink_image(struct images *s, struct store_image *image, char ret_tmp[STORE_PATH],
                        struct gi_error *err)
{
    char path[STORE_PATH];
    store_path(path, STORE_IMAGES, image->id);
    int rc = move_to_tmp(s, path, ret_tmp);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "remove image %s", image->id);
    drop_refs(s, image->id);
    size_t i = 0;
    while (s->images[i] != image)
        i++;
    s->n_images--;
    for (; i < s->n_images; i++)
        s->images[i] = s->images[i + 1];
    store_image_free(image);
    return 0;
}

/* Lock held. Users keep the files until they let go, the marker remembers. */
static int mark_removed(struct images *s, struct store_image *image, struct gi_error *err)
{
    char path[STORE_PATH];
    char marker[STORE_PATH + 16];
    store_path(path, STORE_IMAGES, image->id);
    snprintf(marker, sizeof(marker), "%s/removed", path);
    cleanup_close int fd = openat(s->root_fd, marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return gi_fail_errno(err, errno, "mark image %s", image->id);
    image->removed = true;
    drop_refs(s, image->id);
    return 0;
}

int store_remove(struct images *s, struct store_image *image, char ret_tmp[STORE_PATH],
                 struct gi_error *err)
{
    ret_tmp[0] = '\0';
    return in_use(s, image->id) ? mark_removed(s, image, err)
                                : unlink_image(s, image, ret_tmp, err);
}

void store_finish_remove(struct images *s, const char *tmp)
{
    delete_tmp(s, tmp);
    store_sweep_blobs(s, 0);
}

/* Lock held. */
static bool image_needs_layer(const struct images *s, const char *digest)
{
    for (size_t i = 0; i < s->n_images; i++) {
        for (size_t k = 0; k < s->images[i]->n_layers; k++) {
            if (strcmp(s->images[i]->layers[k].digest, digest) == 0)
                return true;
        }
    }
    return false;
}

static void sweep_folder(struct images *s, const char *name, bool keep_images_layers,
                         int64_t min_age_seconds)
{
    cleanup_closedir DIR *d = list_folder(s, name);
    for (struct dirent *e; d && (e = readdir(d));) {
        char digest[DIGEST_SIZE];
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        bool known = digest_of_name(e->d_name, digest);
        GI_LOCK_SCOPE(&s->lock);
        if (known &&
            (pull_needs_layer(s, digest) || (keep_images_layers && image_needs_layer(s, digest))))
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_mtim.tv_sec + min_age_seconds <= time(NULL))
            unlinkat(dirfd(d), e->d_name, 0);
    }
}

void store_sweep_blobs(struct images *s, int64_t min_age_seconds)
{
    sweep_folder(s, STORE_BLOBS, !s->config.discard_layers, min_age_seconds);
    sweep_folder(s, STORE_PARTIAL, false, PARTIAL_KEEP_SECONDS);
}

/* ---- work in flight ---- */

static char **find_key(struct images *s, const char *key)
{
    for (size_t i = 0; i < s->n_busy; i++) {
        if (strcmp(s->busy[i], key) == 0)
            return &s->busy[i];
    }
    return NULL;
}

int store_take_key(struct images *s, const char *kind, const char *digest,
                   bool (*cancelled)(void *data), void *data, struct gi_error *err)
{
    cleanup_free char *key = NULL;
    if (asprintf(&key, "%s:%s", kind, digest) < 0) {
        key = NULL;
        return gi_fail_errno(err, ENOMEM, "pull");
    }
    GI_LOCK_SCOPE(&s->lock);
    while (find_key(s, key)) {
        if (cancelled && cancelled(data))
            return gi_fail(err, GI_CANCELLED, "the pull was cancelled");
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += POLL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
    if (add_pointer((void ***)&s->busy, &s->n_busy, key) < 0)
        return gi_fail_errno(err, ENOMEM, "pull");
    key = NULL;
    return 0;
}

void store_drop_key(struct images *s, const char *kind, const char *digest)
{
    char key[DIGEST_SIZE + 16];
    snprintf(key, sizeof(key), "%s:%s", kind, digest);
    GI_LOCK_SCOPE(&s->lock);
    char **slot = find_key(s, key);
    if (slot) {
        free(*slot);
        *slot = s->busy[--s->n_busy];
    }
    pthread_cond_broadcast(&s->changed);
}
