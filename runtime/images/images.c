/* SPDX-License-Identifier: Apache-2.0 */
/* What callers ask of the store besides pulling. */
#include "images.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "store.h"

#define MIN_ID_PREFIX 12

/* ---- finding; the lock is held ---- */

static struct store_image *visible(struct images *s, const char *id)
{
    struct store_image *image = store_find_image(s, id);
    return image && !image->removed ? image : NULL;
}

static struct store_image *by_prefix(struct images *s, const char *hex, struct gi_error *err)
{
    struct store_image *found = NULL;
    size_t n = strlen(hex);
    for (size_t i = 0; i < s->n_images; i++) {
        struct store_image *image = s->images[i];
        if (image->removed || strncmp(digest_hex(image->id), hex, n) != 0)
            continue;
        if (found) {
            gi_fail(err, GI_INVALID_ARGUMENT, "image id \"%s\" is ambiguous", hex);
            return NULL;
        }
        found = image;
    }
    return found;
}

static struct store_image *find(struct images *s, const char *text, struct gi_error *err)
{
    struct store_image *image = NULL;
    struct image_ref ref;
    char full[REF_TEXT_SIZE];
    gi_fail(err, GI_NOT_FOUND, "no image \"%.300s\"", text);
    if (digest_valid(text))
        return visible(s, text);
    if (image_ref_parse(text, &ref, NULL) == 0) {
        image_ref_format(&ref, full);
        const struct store_ref *known = store_find_ref(s, full);
        if (known && (image = visible(s, known->id)))
            return image;
    }
    const char *hex = strncmp(text, "sha256:", 7) == 0 ? text + 7 : text;
    size_t n = strspn(hex, "0123456789abcdef");
    if (n >= MIN_ID_PREFIX && hex[n] == '\0')
        return by_prefix(s, hex, err);
    if (image_ref_parse(text, &ref, NULL) < 0)
        image_ref_parse(text, &ref, err); /* says what is wrong with it */
    return NULL;
}

/* ---- copies for the caller ---- */

void images_image_free(struct images_image *image)
{
    if (!image)
        return;
    char **lists[] = {image->repo_tags, image->repo_digests, image->entrypoint, image->cmd,
                      image->env};
    for (size_t i = 0; i < GI_ARRAY_SIZE(lists); i++) {
        for (size_t k = 0; lists[i] && lists[i][k]; k++)
            free(lists[i][k]);
        free(lists[i]);
    }
    free(image->id);
    free(image->user);
    free(image->working_dir);
    free(image->rootfs);
    free(image->config_json);
    free(image);
}
GI_DEFINE_CLEANUP(struct images_image *, images_image_free);

void images_list_free(struct images_image **list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        images_image_free(list[i]);
    free(list);
}

static char **copy_list(char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    char **copy = calloc(n + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i]) {
            while (i--)
                free(copy[i]);
            free(copy);
            return NULL;
        }
    }
    return copy;
}

static int append(char **list, size_t *n, const char *text)
{
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(list[i], text) == 0)
            return 0;
    }
    list[*n] = strdup(text);
    return list[*n] ? ((*n)++, 0) : -1;
}

/* "name:tag" and "name@digest" of each reference. */
static int copy_names(struct images *s, const char *id, struct images_image *out)
{
    size_t tags = 0;
    size_t digests = 0;
    out->repo_tags = calloc(s->n_refs + 1, sizeof(char *));
    out->repo_digests = calloc(s->n_refs + 1, sizeof(char *));
    if (!out->repo_tags || !out->repo_digests)
        return -1;
    for (size_t i = 0; i < s->n_refs; i++) {
        struct image_ref ref;
        char text[REF_TEXT_SIZE];
        if (strcmp(s->refs[i]->id, id) != 0 || image_ref_parse(s->refs[i]->text, &ref, NULL) < 0)
            continue;
        if (ref.tag[0] && append(out->repo_tags, &tags, s->refs[i]->text) < 0)
            return -1;
        ref.tag[0] = '\0';
        memcpy(ref.digest, s->refs[i]->manifest, sizeof(ref.digest));
        image_ref_format(&ref, text);
        if (append(out->repo_digests, &digests, text) < 0)
            return -1;
    }
    return 0;
}

static bool is_pinned(const struct images *s, const struct images_image *image)
{
    for (size_t i = 0; s->config.pinned && s->config.pinned[i]; i++) {
        struct image_ref ref;
        char text[REF_TEXT_SIZE];
        if (image_ref_parse(s->config.pinned[i], &ref, NULL) < 0)
            continue;
        image_ref_format(&ref, text);
        for (size_t k = 0; image->repo_tags[k]; k++) {
            if (strcmp(image->repo_tags[k], text) == 0)
                return true;
        }
        for (size_t k = 0; image->repo_digests[k]; k++) {
            if (strcmp(image->repo_digests[k], text) == 0)
                return true;
        }
    }
    return false;
}

static struct images_image *copy_image(struct images *s, const struct store_image *image)
{
    __attribute__((cleanup(images_image_freep))) struct images_image *out = calloc(1, sizeof(*out));
    char path[STORE_PATH];
    if (!out)
        return NULL;
    store_path(path, STORE_IMAGES, image->id);
    if (asprintf(&out->rootfs, "%s/%s/rootfs", s->root, path) < 0)
        out->rootfs = NULL;
    out->id = strdup(image->id);
    out->user = strdup(image->config.user);
    out->working_dir = strdup(image->config.working_dir);
    out->entrypoint = copy_list(image->config.entrypoint);
    out->cmd = copy_list(image->config.cmd);
    out->env = copy_list(image->config.env);
    out->stop_signal = image->config.stop_signal;
    out->size = image->size;
    if (!out->rootfs || !out->id || !out->user || !out->working_dir || !out->entrypoint ||
        !out->cmd || !out->env || copy_names(s, image->id, out) < 0)
        return NULL;
    out->pinned = is_pinned(s, out);
    return TAKE_PTR(out);
}

/* ---- the interface ---- */

int images_status(struct images *s, const char *ref, struct images_image **ret_image,
                  struct gi_error *err)
{
    __attribute__((cleanup(images_image_freep))) struct images_image *out = NULL;
    {
        struct gi_error local = GI_ERROR_INIT;
        GI_LOCK_SCOPE(&s->lock);
        const struct store_image *image = find(s, ref, &local);
        if (!image) {
            if (err)
                *err = local;
            return -(int)local.code;
        }
        out = copy_image(s, image);
        if (!out)
            return gi_fail_errno(err, ENOMEM, "image");
    }
    char path[PATH_MAX];
    char folder[STORE_PATH];
    store_path(folder, STORE_IMAGES, out->id);
    snprintf(path, sizeof(path), "%s/%s/config.json", s->root, folder);
    int rc = gi_read_file(path, DOCUMENT_MAX_CONFIG, &out->config_json, NULL, err);
    if (rc < 0)
        return rc;
    *ret_image = TAKE_PTR(out);
    return 0;
}

int images_list(struct images *s, struct images_image ***ret_list, size_t *ret_n,
                struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->lock);
    struct images_image **list = calloc(s->n_images + 1, sizeof(struct images_image *));
    size_t n = 0;
    if (!list)
        return gi_fail_errno(err, ENOMEM, "image list");
    for (size_t i = 0; i < s->n_images; i++) {
        if (s->images[i]->removed)
            continue;
        list[n] = copy_image(s, s->images[i]);
        if (!list[n]) {
            images_list_free(list, n);
            return gi_fail_errno(err, ENOMEM, "image list");
        }
        n++;
    }
    *ret_list = list;
    *ret_n = n;
    return 0;
}

int images_remove(struct images *s, const char *ref, struct gi_error *err)
{
    char tmp[STORE_PATH] = "";
    {
        struct gi_error local = GI_ERROR_INIT;
        GI_LOCK_SCOPE(&s->lock);
        struct store_image *image = find(s, ref, &local);
        int rc = image                        ? store_remove(s, image, tmp, &local)
                 : local.code == GI_NOT_FOUND ? 0
                                              : -(int)local.code;
        if (rc < 0) {
            if (err)
                *err = local;
            return rc;
        }
    }
    store_finish_remove(s, tmp);
    return 0;
}

int images_acquire(struct images *s, const char *id, const char *user, struct gi_error *err)
{
    GI_LOCK_SCOPE(&s->lock);
    if (!store_find_image(s, id)) /* one that is removed but still in use counts too */
        return gi_fail(err, GI_NOT_FOUND, "no image \"%.200s\"", id);
    for (size_t i = 0; i < s->n_uses; i++) {
        if (strcmp(s->uses[i].id, id) == 0 && strcmp(s->uses[i].user, user) == 0)
            return 0;
    }
    struct store_use *longer = reallocarray(s->uses, s->n_uses + 1, sizeof(*longer));
    if (longer)
        s->uses = longer;
    char *copy = strdup(user);
    if (!longer || !copy) {
        free(copy);
        return gi_fail_errno(err, ENOMEM, "image use");
    }
    struct store_use *use = &s->uses[s->n_uses++];
    memcpy(use->id, store_find_image(s, id)->id, sizeof(use->id));
    use->user = copy;
    return 0;
}

/* One image that is removed and no longer used goes; false: there is none. */
static bool collect_one(struct images *s)
{
    char tmp[STORE_PATH] = "";
    struct gi_error err = GI_ERROR_INIT;
    bool gone = false;
    {
        GI_LOCK_SCOPE(&s->lock);
        for (size_t i = 0; i < s->n_images && !gone; i++) {
            if (!s->images[i]->removed)
                continue;
            size_t before = s->n_images;
            if (store_remove(s, s->images[i], tmp, &err) < 0)
                gi_log(GI_LOG_ERROR, "can't collect an image", "reason", err.message, NULL);
            gone = s->n_images < before;
        }
    }
    store_finish_remove(s, tmp);
    return gone;
}

void images_release(struct images *s, const char *user)
{
    bool collect = false;
    {
        GI_LOCK_SCOPE(&s->lock);
        size_t kept = 0;
        for (size_t i = 0; i < s->n_uses; i++) {
            if (strcmp(s->uses[i].user, user) != 0) {
                s->uses[kept++] = s->uses[i];
                continue;
            }
            const struct store_image *image = store_find_image(s, s->uses[i].id);
            collect = collect || (image && image->removed);
            free(s->uses[i].user);
        }
        s->n_uses = kept;
    }
    while (collect && collect_one(s))
        ;
}

int images_gc(struct images *s, struct gi_error *err)
{
    while (collect_one(s))
        ;
    return 0;
}

/* Files of FOLDER itself, not below it. */
static void add_files(int dir_fd, const char *folder, struct images_fs_info *info)
{
    int fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    cleanup_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
            continue;
        info->used_bytes += (uint64_t)st.st_blocks * 512;
        info->inodes_used++;
    }
}

int images_fs_info(struct images *s, struct images_fs_info *ret_info, struct gi_error *err)
{
    struct images_fs_info info = {.mountpoint = s->root, .time_ns = gi_now_ns()};
    cleanup_free char(*folders)[STORE_PATH] = NULL;
    size_t n;
    {
        GI_LOCK_SCOPE(&s->lock);
        n = s->n_images;
        folders = calloc(n + 1, sizeof(*folders));
        if (!folders)
            return gi_fail_errno(err, ENOMEM, "image store");
        for (size_t i = 0; i < n; i++) {
            info.used_bytes += s->images[i]->disk_bytes; /* measured once, it never changes */
            info.inodes_used += s->images[i]->inodes;
            store_path(folders[i], STORE_IMAGES, s->images[i]->id);
        }
    }
    for (size_t i = 0; i < n; i++)
        add_files(s->root_fd, folders[i], &info);
    add_files(s->root_fd, STORE_BLOBS, &info);
    add_files(s->root_fd, STORE_PARTIAL, &info);
    add_files(s->root_fd, STORE_REFS, &info);
    *ret_info = info;
    return 0;
}
