/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "work.h"

#define PREFIX  "disk:"
#define TRIES   200
#define WAIT_US 5000

static bool name_valid(const char *name)
{
    return strncmp(name, "xvd", 3) == 0 && name[3] >= 'b' && name[3] <= 'z' && name[4] == '\0';
}

static bool is_mounted(const char *path, const char *parent)
{
    struct stat in, out;
    return stat(path, &in) == 0 && stat(parent, &out) == 0 && in.st_dev != out.st_dev;
}

/* The host has attached it; the kernel may still be naming it. */
static int mount_disk(const char *device, const char *at, struct gi_error *err)
{
    for (int i = 0; i < TRIES; i++) {
        if (mount(device, at, "erofs", MS_RDONLY | MS_NODEV, NULL) == 0)
            return 0;
        if (errno != ENOENT && errno != ENXIO && errno != ENODEV)
            break;
        usleep(WAIT_US);
    }
    return gi_fail_errno(err, errno, "mount the image of disk %s", device);
}

struct disk {
    char device[32];
    char parent[PATH_MAX];
    char at[PATH_MAX]; /* below it */
};

static int describe(const struct agent *a, const char *image_rootfs, struct disk *d,
                    struct gi_error *err)
{
    const char *name = image_rootfs + strlen(PREFIX);
    if (strncmp(image_rootfs, PREFIX, strlen(PREFIX)) != 0 || !name_valid(name))
        return gi_fail(err, GI_INVALID_ARGUMENT, "no disk of an image: \"%.40s\"", image_rootfs);
    snprintf(d->device, sizeof(d->device), "/dev/%s", name);
    if (snprintf(d->parent, PATH_MAX, "%s/.images", a->opt.scratch) >= PATH_MAX - 8)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    snprintf(d->at, PATH_MAX, "%s/.images/%s", a->opt.scratch, name);
    return 0;
}

int disk_find_image(const struct agent *a, const char *image_rootfs, char *out,
                    struct gi_error *err)
{
    struct disk d;
    if (image_rootfs[0] == '/')
        return snprintf(out, PATH_MAX, "%s", image_rootfs) < PATH_MAX
                   ? 0
                   : gi_fail(err, GI_INVALID_ARGUMENT, "image path too long");
    int rc = describe(a, image_rootfs, &d, err);
    if (rc == 0 && !is_mounted(d.at, d.parent)) {
        rc = gi_mkdir_p(d.at, 0700, err);
        if (rc == 0)
            rc = mount_disk(d.device, d.at, err);
    }
    if (rc == 0)
        snprintf(out, PATH_MAX, "%s", d.at);
    return rc;
}

/* A mounted file system claims its device, wherever and in whose namespace it is mounted, and an
 * overlay mounts its layers for itself: what the path's own unmounting says is not enough. What a
 * container held may be given up a moment after its end. */
static bool in_use(const char *device)
{
    for (int i = 0; i < TRIES; i++) {
        cleanup_close int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
        if (fd >= 0 || errno != EBUSY)
            return false;
        usleep(WAIT_US);
    }
    return true;
}

static int release(void *arg, struct gi_error *err)
{
    const struct disk *d = arg;
    if (!is_mounted(d->at, d->parent))
        return 0;
    if (umount2(d->at, UMOUNT_NOFOLLOW) < 0)
        return gi_fail(err, GI_FAILED_PRECONDITION, "image %s: %s", d->device, strerror(errno));
    if (!in_use(d->device))
        return 0;
    int rc = mount_disk(d->device, d->at, err);
    return rc < 0 ? rc : gi_fail(err, GI_FAILED_PRECONDITION, "image %s is in use", d->device);
}

void disk_release_image(struct agent *a, struct request req, const char *image_rootfs)
{
    struct gi_error err = GI_ERROR_INIT;
    struct disk d;
    if (describe(a, image_rootfs, &d, &err) < 0)
        conn_done(a, req, &err);
    else
        work_answer(a, req, release, &d);
}
