/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

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

int disk_find_image(const struct agent *a, const char *image_rootfs, char *out,
                    struct gi_error *err)
{
    char device[32], parent[PATH_MAX];
    const char *name = image_rootfs + strlen(PREFIX);
    if (strncmp(image_rootfs, PREFIX, strlen(PREFIX)) != 0)
        return snprintf(out, PATH_MAX, "%s", image_rootfs) < PATH_MAX
                   ? 0
                   : gi_fail(err, GI_INVALID_ARGUMENT, "image path too long");
    if (!name_valid(name))
        return gi_fail(err, GI_INVALID_ARGUMENT, "no disk of an image: \"%.40s\"", image_rootfs);
    snprintf(device, sizeof(device), "/dev/%s", name);
    if (snprintf(parent, sizeof(parent), "%s/.images", a->opt.scratch) >= PATH_MAX - 8)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    snprintf(out, PATH_MAX, "%s/%s", parent, name);
    if (is_mounted(out, parent))
        return 0;
    int rc = gi_mkdir_p(out, 0700, err);
    return rc < 0 ? rc : mount_disk(device, out, err);
}
