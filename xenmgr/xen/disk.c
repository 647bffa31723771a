/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images as disks. The tree that was unpacked becomes an EROFS file beside it,
 * once; a zone that needs it gets it as a read-only disk while it runs, and
 * its own kernel is the only one that parses it. A block device of the host is a
 * disk as it is.
 *
 * What a zone has is in its entry: <id>/disks/<number> = the tree's path, written
 * before the disk is attached and removed after it is gone (X1): after a restart an
 * image is not attached twice, and none is forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "xen_driver.h"

extern char **environ;

#define CONNECT_MS 10000
#define DISK_NAME  "disk:" /* guest-image/agent/disk.c */

/* ---- the file ---- */

int run_program(const char *const argv[], const char *package, struct gi_error *err)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int why = posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (why)
        return gi_fail_errno(err, why, "%s (Debian package %s)", argv[0], package);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return gi_fail_errno(err, errno, "wait for %s", argv[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return gi_fail(err, GI_INTERNAL, "%s failed (status %d)", argv[0], status);
    return 0;
}

/* The pages of an image are in dom0's cache once for all its zones: what
 * compressing would save there it costs in every zone. */
static int run_mkfs(const char *tree, const char *file, struct gi_error *err)
{
    const char *argv[] = {"mkfs.erofs", "--quiet", file, tree, NULL};
    int rc = run_program(argv, "erofs-utils", err);
    return rc < 0 ? gi_prefix(err, "make a disk of %s", tree) : 0;
}

/* TREE's EROFS file; made when it is not there. */
static int image_file(const char *tree, char file[PATH_MAX], struct gi_error *err)
{
    char making[PATH_MAX], lock[PATH_MAX];
    if (snprintf(file, PATH_MAX, "%s.erofs", tree) >= PATH_MAX - 8)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    snprintf(making, sizeof(making), "%s.new", file);
    snprintf(lock, sizeof(lock), "%s.lock", file);
    if (access(file, R_OK) == 0)
        return 0;
    cleanup_close int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return gi_fail_errno(err, errno, "%s", lock);
    if (access(file, R_OK) == 0)
        return 0;
    unlink(making); /* a crash left it */
    int rc = run_mkfs(tree, making, err);
    if (rc == 0 && rename(making, file) < 0)
        rc = gi_fail_errno(err, errno, "%s", file);
    if (rc < 0)
        unlink(making);
    return rc;
}

/* ---- the disk ---- */

int disk_describe(const struct xen *x, const char *device, const char *vdev, libxl_device_disk *d)
{
    libxl_device_disk_init(d);
    d->pdev_path = strdup(device);
    d->vdev = strdup(vdev);
    d->script = strdup(x->block_script);
    d->format = LIBXL_DISK_FORMAT_RAW;
    d->backend = LIBXL_DISK_BACKEND_PHY;
    d->readwrite = 0;
    return d->pdev_path && d->vdev && d->script ? 0 : -1;
}

static int attach(struct xen *x, uint32_t domid, const char *device, bool writable,
                  const char *vdev, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    libxl_device_disk d;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    rc = disk_describe(x, device, vdev, &d) ? ERROR_NOMEM : 0;
    d.readwrite = writable;
    if (rc == 0)
        rc = libxl_device_disk_add(op.ctx, domid, &d, NULL);
    libxl_device_disk_dispose(&d);
    return rc ? operation_failed(&op, err, rc, "attach %s to domain %u", device, domid) : 0;
}

static void detach(struct xen *x, uint32_t domid, const char *device, const char *vdev)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    libxl_device_disk d;
    if (operation_begin(&op, NULL) < 0)
        return;
    if (disk_describe(x, device, vdev, &d) == 0)
        libxl_device_disk_destroy(op.ctx, domid, &d, NULL);
    libxl_device_disk_dispose(&d);
}

/* What the zone's kernel has let go of is gone at once. */
static int take_away(struct xen *x, uint32_t domid, const char *vdev, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    libxl_device_disk d;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    rc = disk_describe(x, "", vdev, &d) ? ERROR_NOMEM
                                        : libxl_device_disk_remove(op.ctx, domid, &d, NULL);
    libxl_device_disk_dispose(&d);
    return rc ? operation_failed(&op, err, rc, "take %s from domain %u", vdev, domid) : 0;
}

/* Disk NUMBER's name and id, and its device's number in the zone: Xen's
 * docs/man/xen-vbd-interface.7, and what Linux' xen-blkfront makes of it. From xvdq on they are
 * of another form. */
#define XVD_MAJOR 202u
#define XVD_PLAIN 16u

static void vdev_of(unsigned number, char vdev[8])
{
    snprintf(vdev, 8, "xvd%c", 'a' + (int)number);
}

static unsigned vbd_of(unsigned number)
{
    return number < XVD_PLAIN ? XVD_MAJOR << 8 | number << 4 : 1u << 28 | number << 8;
}

static dev_t device_number_of(unsigned number)
{
    return makedev(XVD_MAJOR, number < XVD_PLAIN ? number << 4 : number << 8);
}

/* The backend has opened it and the zone's kernel has found it, or the time is up,
 * which is the zone's own loss, or there is no such disk. It is the backend's word
 * that counts: what the zone's side says, the zone writes. */
static int wait_connected(uint32_t domid, unsigned number, int death_fd, struct gi_error *err)
{
    char path[96];
    int64_t until = gi_monotonic_ns() + CONNECT_MS * 1000000LL;
    struct xs_handle *xs = xs_open(0);
    snprintf(path, sizeof(path), "/local/domain/0/backend/vbd/%u/%u/state", domid, vbd_of(number));
    if (!xs)
        return gi_fail_errno(err, errno, "xenstore");
    for (;;) {
        unsigned len = 0;
        cleanup_free char *state = xs_read(xs, XBT_NULL, path, &len);
        struct pollfd p = {.fd = death_fd, .events = POLLIN};
        if (!state || strcmp(state, "4") == 0 || gi_monotonic_ns() >= until || poll(&p, 1, 5) > 0) {
            bool connected = state && strcmp(state, "4") == 0;
            xs_close(xs);
            return connected ? 0
                             : gi_fail(err, GI_UNAVAILABLE, "domain %u does not take its new disk",
                                       domid);
        }
    }
}

/* What a disk is made of: an image's FILE, or a block device. */
struct source {
    const char *key; /* in the zone's entry */
    const char *file;
    const char *device;
    bool writable;
};

/* The loop device lives by our descriptor until the backend has opened it, which
 * it does in its own time after libxl returned: that it is connected is the
 * proof. Closed earlier, the number could be another image's by then. From then on it lives as long
 * as the disk. */
static int attach_source(struct xen *x, const struct machine_facts *m, const struct source *source,
                         unsigned number, const char *vdev, struct gi_error *err)
{
    char name[32];
    const char *device = source->device;
    cleanup_close int loop = -1;
    int rc = 0;
    if (!device) {
        rc = loop_open(source->file, &loop, name, err);
        device = name;
    }
    if (rc == 0)
        rc = attach(x, m->zone, device, source->writable, vdev, err);
    if (rc < 0)
        return rc;
    GI_FAILPOINT(rc, "xen_disk_attached", err);
    if (rc == 0)
        rc = wait_connected(m->zone, number, m->death_fd, err);
    GI_FAILPOINT(rc, "xen_disk_connected", err);
    if (rc < 0)
        detach(x, m->zone, device, vdev);
    return rc;
}

static int share_disk(struct xen *x, const char *id, const struct machine_facts *m,
                      const struct source *source, unsigned *ret_number, struct gi_error *err)
{
    char vdev[8];
    unsigned number = 0;
    bool there = false;
    int rc = zone_disk_take(id, source->key, &number, &there, err);
    if (rc < 0)
        return rc;
    vdev_of(number, vdev);
    GI_FAILPOINT(rc, "xen_disk_taken", err);
    /* A daemon before us may have died while it attached it, or before that. */
    if (rc == 0 && there && wait_connected(m->zone, number, m->death_fd, NULL) < 0) {
        detach(x, m->zone, "", vdev);
        there = false;
    }
    if (rc == 0 && !there)
        rc = attach_source(x, m, source, number, vdev, err);
    if (rc < 0 && !there)
        zone_disk_give(id, number);
    if (rc == 0)
        *ret_number = number;
    return rc;
}

/* LET_GO may be NULL. */
static int unshare_disk(struct xen *x, const char *id, const struct machine_facts *m,
                        const char *key, machine_let_go let_go, void *data, struct gi_error *err)
{
    char vdev[8], name[16];
    unsigned number = 0;
    int rc = zone_disk_find(id, key, &number, err);
    if (rc < 0)
        return rc == -GI_NOT_FOUND ? 0 : rc;
    vdev_of(number, vdev);
    snprintf(name, sizeof(name), DISK_NAME "%s", vdev);
    rc = let_go ? let_go(data, name, err) : 0;
    GI_FAILPOINT(rc, "xen_disk_let_go", err);
    if (rc == 0)
        rc = take_away(x, m->zone, vdev, err);
    GI_FAILPOINT(rc, "xen_disk_removed", err);
    if (rc == 0)
        zone_disk_give(id, number);
    return rc;
}

/* ---- images ---- */

int disk_share_image(struct xen *x, const char *id, const struct machine_facts *m, const char *tree,
                     char **ret_name, struct gi_error *err)
{
    char file[PATH_MAX], vdev[8];
    unsigned number = 0;
    const struct source source = {.key = tree, .file = file};
    int rc = image_file(tree, file, err);
    if (rc == 0)
        rc = share_disk(x, id, m, &source, &number, err);
    if (rc < 0)
        return rc;
    vdev_of(number, vdev);
    if (asprintf(ret_name, DISK_NAME "%s", vdev) < 0)
        return gi_fail_errno(err, ENOMEM, "name of a disk");
    return 0;
}

int disk_unshare_image(struct xen *x, const char *id, const struct machine_facts *m,
                       const char *tree, machine_let_go let_go, void *data, struct gi_error *err)
{
    return unshare_disk(x, id, m, tree, let_go, data, err);
}

/* ---- block devices ---- */

#define DEVICE_KEY 2048 /* half of what xenstore takes at once */

static int device_key(const char *host_path, bool writable, char key[DEVICE_KEY],
                      struct gi_error *err)
{
    /* No image's tree begins like that. */
    int n = snprintf(key, DEVICE_KEY, "block-%s:%s", writable ? "rw" : "ro", host_path);
    return n < DEVICE_KEY ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
}

/* Opened for itself alone if it is to be written to: what the host has mounted is not given away.
 */
static int check_device(const char *path, bool writable, struct gi_error *err)
{
    struct stat st;
    cleanup_close int fd =
        open(path, (writable ? O_RDWR | O_EXCL : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s: the host uses it", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "%s", path);
    return S_ISBLK(st.st_mode) ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "%s: no block device", path);
}

int disk_share_device(struct xen *x, const char *id, const struct machine_facts *m,
                      const char *host_path, bool writable, dev_t *ret_number, struct gi_error *err)
{
    char key[DEVICE_KEY];
    unsigned number = 0;
    cleanup_free char *device = realpath(host_path, NULL);
    const struct source source = {.key = key, .device = device, .writable = writable};
    if (!device)
        return gi_fail_errno(err, errno, "%s", host_path);
    int rc = device_key(host_path, writable, key, err);
    if (rc == 0)
        rc = check_device(device, writable, err);
    if (rc == 0)
        rc = share_disk(x, id, m, &source, &number, err);
    if (rc == 0)
        *ret_number = device_number_of(number);
    return rc;
}

int disk_unshare_device(struct xen *x, const char *id, const struct machine_facts *m,
                        const char *host_path, bool writable, struct gi_error *err)
{
    char key[DEVICE_KEY];
    int rc = device_key(host_path, writable, key, err);
    return rc < 0 ? rc : unshare_disk(x, id, m, key, NULL, NULL, err);
}
