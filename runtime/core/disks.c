/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pod's machine gets for its containers: images, and block devices of the
 * host. Given to it for the first container that has it, taken away after the last.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "core/runtime.h"
#include "rpc/pb.h"

/* For a guest to unmount an image. */
#define LET_GO_MS 5000

GI_DEFINE_CLEANUP(struct images_image *, images_image_free);
#define cleanup_image __attribute__((cleanup(images_image_freep)))

/* For a restart; and in status, what the name meant. */
static void note_mount_image(struct container *c, size_t i, const struct images_image *image)
{
    GI_LOCK_SCOPE(&c->pod->rt->lock);
    pb_push_string(&c->rec->mount_image_ids, &c->rec->n_mount_image_ids, image->id);
    pb_set(&c->rec->config->mounts[i]->image->image_ref,
           image->repo_digests && image->repo_digests[0] ? image->repo_digests[0] : image->id);
}

int disks_share_mount(struct container *c, size_t i, char **ret_name, struct gi_error *err)
{
    struct images *images = c->pod->rt->images;
    cleanup_image struct images_image *image = NULL;
    const Runtime__V1__ImageSpec *spec = c->rec->config->mounts[i]->image;
    int rc = images_status(images, spec->image, &image, err);
    if (rc == 0)
        rc = images_acquire(images, image->id, c->id, err);
    if (rc == 0)
        rc = machine_share_image(c->pod->machine, image->rootfs, ret_name, err);
    if (rc < 0)
        return gi_prefix(err, "config.mounts[%zu].image", i);
    note_mount_image(c, i, image);
    return 0;
}

static bool is_block_device(const Runtime__V1__Device *d)
{
    struct stat st;
    return d->host_path[0] == '/' && stat(d->host_path, &st) == 0 && S_ISBLK(st.st_mode);
}

static bool is_writable(const Runtime__V1__Device *d)
{
    return !*d->permissions || strchr(d->permissions, 'w');
}

int disks_share_devices(const struct container *c, dev_t *numbers, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    for (size_t i = 0; i < config->n_devices; i++) {
        const Runtime__V1__Device *d = config->devices[i];
        if (!is_block_device(d))
            continue;
        if (machine_share_device(c->pod->machine, d->host_path, is_writable(d), &numbers[i], err) <
            0)
            return gi_prefix(err, "config.devices[%zu].host_path", i);
    }
    return 0;
}

/* ---- taken away ---- */

static bool has_image(const struct container *c, const void *image_id)
{
    if (strcmp(c->rec->image_id, image_id) == 0)
        return true;
    for (size_t i = 0; i < c->rec->n_mount_image_ids; i++)
        if (strcmp(c->rec->mount_image_ids[i], image_id) == 0)
            return true;
    return false;
}

static bool has_device(const struct container *c, const void *device)
{
    const Runtime__V1__Device *wanted = device;
    const Runtime__V1__ContainerConfig *config = c->rec->config;
    for (size_t i = 0; i < config->n_devices; i++)
        if (strcmp(config->devices[i]->host_path, wanted->host_path) == 0 &&
            is_writable(config->devices[i]) == is_writable(wanted))
            return true;
    return false;
}

static bool another_has(const struct container *c,
                        bool (*has)(const struct container *c, const void *what), const void *what)
{
    const struct pod *p = c->pod;
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++)
        if (p->containers[i] != c && has(p->containers[i], what))
            return true;
    return false;
}

static int let_go(void *data, const char *name, struct gi_error *err)
{
    return agent_release_image(data, name, LET_GO_MS, err);
}

static void say_it_stays(const struct container *c, const char *what, const struct gi_error *why)
{
    gi_log(GI_LOG_WARNING, "a disk stays in its pod's machine", "container", c->id, "disk", what,
           "reason", why->message, NULL);
}

static void take_image_away(const struct container *c, const char *image_id,
                            struct agent_client *agent)
{
    cleanup_image struct images_image *image = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (another_has(c, has_image, image_id))
        return;
    int rc = images_status(c->pod->rt->images, image_id, &image, &err);
    if (rc == 0)
        rc = machine_unshare_image(c->pod->machine, image->rootfs, let_go, agent, &err);
    GI_FAILPOINT(rc, "container_image_taken_away", &err);
    if (rc < 0)
        say_it_stays(c, image_id, &err);
}

/* Whatever is at its path by now. */
static void take_device_away(const struct container *c, const Runtime__V1__Device *d)
{
    struct gi_error err = GI_ERROR_INIT;
    if (!another_has(c, has_device, d) &&
        machine_unshare_device(c->pod->machine, d->host_path, is_writable(d), &err) < 0)
        say_it_stays(c, d->host_path, &err);
}

void disks_release(const struct container *c, struct agent_client *agent)
{
    take_image_away(c, c->rec->image_id, agent);
    for (size_t i = 0; i < c->rec->n_mount_image_ids; i++)
        take_image_away(c, c->rec->mount_image_ids[i], agent);
    for (size_t i = 0; i < c->rec->config->n_devices; i++)
        take_device_away(c, c->rec->config->devices[i]);
}
