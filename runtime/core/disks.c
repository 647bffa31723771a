/* SPDX-License-Identifier: Apache-2.0 */
/* Images in a pod's machine: given to it for a container, taken away after its last one. */
#include <string.h>

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

int shared_image_for_mount(struct container *c, size_t i, char **ret_name, struct gi_error *err)
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

/* ---- taken away ---- */

static bool has(const struct container *c, const char *image_id)
{
    if (strcmp(c->rec->image_id, image_id) == 0)
        return true;
    for (size_t i = 0; i < c->rec->n_mount_image_ids; i++)
        if (strcmp(c->rec->mount_image_ids[i], image_id) == 0)
            return true;
    return false;
}

static bool another_has(const struct container *c, const char *image_id)
{
    const struct pod *p = c->pod;
    GI_LOCK_SCOPE(&p->rt->lock);
    for (size_t i = 0; i < p->n_containers; i++)
        if (p->containers[i] != c && has(p->containers[i], image_id))
            return true;
    return false;
}

static int let_go(void *data, const char *name, struct gi_error *err)
{
    return agent_release_image(data, name, LET_GO_MS, err);
}

static void take_away(const struct container *c, const char *image_id, struct agent_client *agent)
{
    cleanup_image struct images_image *image = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (another_has(c, image_id))
        return;
    int rc = images_status(c->pod->rt->images, image_id, &image, &err);
    if (rc == 0)
        rc = machine_unshare_image(c->pod->machine, image->rootfs, let_go, agent, &err);
    GI_FAILPOINT(rc, "container_image_taken_away", &err);
    if (rc < 0)
        gi_log(GI_LOG_WARNING, "an image stays in its pod's machine", "container", c->id, "image",
               image_id, "reason", err.message, NULL);
}

void shared_images_release(const struct container *c, struct agent_client *agent)
{
    take_away(c, c->rec->image_id, agent);
    for (size_t i = 0; i < c->rec->n_mount_image_ids; i++)
        take_away(c, c->rec->mount_image_ids[i], agent);
}
