/* SPDX-License-Identifier: Apache-2.0 */
/* ImageService over the image store. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cri/pbjson.h"
#include "services/services.h"

GI_DEFINE_CLEANUP(struct images_image *, images_image_free);
#define cleanup_image __attribute__((cleanup(images_image_freep)))

static void push_all(char ***list, size_t *n, char *const *from)
{
    for (; from && *from; from++)
        pb_push_string(list, n, *from);
}

/* "1000:1000" is a number, "nginx" a name; the kubelet asks for runAsNonRoot. */
static void set_user(Runtime__V1__Image *m, const char *user)
{
    char name[256];
    size_t len = user ? strcspn(user, ":") : 0;
    if (len == 0 || len >= sizeof(name))
        return;
    memcpy(name, user, len);
    name[len] = '\0';
    if (strspn(name, "0123456789") == len && len < 11) {
        m->uid = pb_new(&runtime__v1__int64_value__descriptor);
        m->uid->value = strtoll(name, NULL, 10);
    } else {
        pb_set(&m->username, name);
    }
}

static Runtime__V1__Image *image_message(const struct images_image *i)
{
    Runtime__V1__Image *m = pb_new(&runtime__v1__image__descriptor);
    pb_set(&m->id, i->id);
    push_all(&m->repo_tags, &m->n_repo_tags, i->repo_tags);
    push_all(&m->repo_digests, &m->n_repo_digests, i->repo_digests);
    m->size = i->size;
    set_user(m, i->user);
    m->spec = pb_new(&runtime__v1__image_spec__descriptor);
    pb_set(&m->spec->image, i->id);
    m->pinned = i->pinned;
    return m;
}

HANDLER(list_images)
{
    const Runtime__V1__ListImagesRequest *q = request;
    Runtime__V1__ListImagesResponse *r = response;
    const struct runtime *rt = rpc_app(call);
    if (q->filter && q->filter->image && *q->filter->image->image) {
        cleanup_image struct images_image *image = NULL;
        int rc = images_status(rt->images, q->filter->image->image, &image, err);
        if (rc == 0)
            pb_push(&r->images, &r->n_images, image_message(image));
        return rc == -GI_NOT_FOUND ? 0 : rc;
    }
    struct images_image **list = NULL;
    size_t n = 0;
    int rc = images_list(rt->images, &list, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        pb_push(&r->images, &r->n_images, image_message(list[i]));
    images_list_free(list, n);
    return 0;
}

static int name_of(const Runtime__V1__ImageSpec *spec, const char **ret_name, struct gi_error *err)
{
    if (!spec || !*spec->image)
        return gi_fail(err, GI_INVALID_ARGUMENT, "image.image: missing");
    *ret_name = spec->image;
    return 0;
}

/* {"imageSpec": <the image's own configuration>} */
static void add_info(Runtime__V1__ImageStatusResponse *r, const struct images_image *image)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(10 << 20);
    if (!image->config_json || gi_buf_printf(&b, "{\"rootfs\": ") < 0 ||
        gi_json_write_string(&b, image->rootfs, strlen(image->rootfs)) < 0 ||
        gi_buf_printf(&b, ", \"imageSpec\": ") < 0 ||
        gi_buf_append(&b, image->config_json, strlen(image->config_json)) < 0 ||
        gi_buf_printf(&b, "}") < 0)
        return;
    pb_push_entry(&r->info, &r->n_info, &runtime__v1__image_status_response__info_entry__descriptor,
                  "info", b.data);
}

HANDLER(image_status)
{
    const Runtime__V1__ImageStatusRequest *q = request;
    Runtime__V1__ImageStatusResponse *r = response;
    const struct runtime *rt = rpc_app(call);
    cleanup_image struct images_image *image = NULL;
    const char *name;
    int rc = name_of(q->image, &name, err);
    if (rc == 0)
        rc = images_status(rt->images, name, &image, err);
    if (rc == -GI_NOT_FOUND)
        return 0; /* an answer without an image says so */
    if (rc < 0)
        return rc;
    r->image = image_message(image);
    if (q->verbose)
        add_info(r, image);
    return 0;
}

static bool is_cancelled(void *data)
{
    return rpc_cancelled(data);
}

HANDLER(pull_image)
{
    const Runtime__V1__PullImageRequest *q = request;
    Runtime__V1__PullImageResponse *r = response;
    const struct runtime *rt = rpc_app(call);
    const Runtime__V1__AuthConfig *a = q->auth;
    struct images_auth auth;
    cleanup_free char *id = NULL;
    const char *name;
    int rc = name_of(q->image, &name, err);
    if (rc < 0)
        return rc;
    if (a)
        auth = (struct images_auth){a->username,       a->password,       a->auth,
                                    a->server_address, a->identity_token, a->registry_token};
    rc = images_pull(rt->images, name, a ? &auth : NULL, is_cancelled, call, &id, err);
    if (rc < 0) {
        struct gi_error why = GI_ERROR_INIT;
        if (rpc_check(call, &why) < 0 && err)
            *err = why;
        return gi_prefix(err, "failed to pull image \"%.200s\"", name);
    }
    pb_set(&r->image_ref, id);
    return 0;
}

HANDLER(remove_image)
{
    const Runtime__V1__RemoveImageRequest *q = request;
    const struct runtime *rt = rpc_app(call);
    const char *name;
    int rc = name_of(q->image, &name, err);
    return rc < 0 ? rc : images_remove(rt->images, name, err);
}

/* What containers wrote, by the last figures of each. */
static Runtime__V1__FilesystemUsage *containers_usage(struct runtime *rt, int64_t time_ns)
{
    Runtime__V1__FilesystemUsage *u = pb_new(&runtime__v1__filesystem_usage__descriptor);
    uint64_t bytes = 0, inodes = 0;
    u->timestamp = time_ns;
    u->fs_id = pb_new(&runtime__v1__filesystem_identifier__descriptor);
    pb_set(&u->fs_id->mountpoint, rt->config->state_dir);
    {
        GI_LOCK_SCOPE(&rt->lock);
        for (size_t i = 0; i < rt->n_pods; i++) {
            for (size_t k = 0; k < rt->pods[i]->n_containers; k++) {
                const struct container_stats_sample *s = &rt->pods[i]->containers[k]->sample;
                bytes += s->valid ? s->stats.writable_bytes : 0;
                inodes += s->valid ? s->stats.writable_inodes : 0;
            }
        }
    }
    u->used_bytes = pb_uint64(bytes);
    u->inodes_used = pb_uint64(inodes);
    return u;
}

HANDLER(image_fs_info)
{
    Runtime__V1__ImageFsInfoResponse *r = response;
    struct runtime *rt = rpc_app(call);
    struct images_fs_info info;
    int rc = images_fs_info(rt->images, &info, err);
    if (rc < 0)
        return rc;
    Runtime__V1__FilesystemUsage *u = pb_new(&runtime__v1__filesystem_usage__descriptor);
    u->timestamp = info.time_ns;
    u->fs_id = pb_new(&runtime__v1__filesystem_identifier__descriptor);
    pb_set(&u->fs_id->mountpoint, info.mountpoint);
    u->used_bytes = pb_uint64(info.used_bytes);
    u->inodes_used = pb_uint64(info.inodes_used);
    pb_push(&r->image_filesystems, &r->n_image_filesystems, u);
    pb_push(&r->container_filesystems, &r->n_container_filesystems,
            containers_usage(rt, info.time_ns));
    return 0;
}
