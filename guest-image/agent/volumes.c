/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "work.h"

static int folder_of(const struct agent *a, const char *name, char *out, struct gi_error *err)
{
    if (!agent_id_valid(name))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad volume name");
    if (snprintf(out, PATH_MAX, "%s/.volumes/%s", a->opt.scratch, name) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "volume's path too long");
    return 0;
}

int volume_path(const struct agent *a, const char *name, char *out, struct gi_error *err)
{
    int rc = folder_of(a, name, out, err);
    if (rc == 0 && access(out, F_OK) < 0)
        rc = gi_fail(err, GI_NOT_FOUND, "no volume %s", name);
    return rc;
}

static int open_in(int root, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = resolve | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

int volume_open(const struct agent *a, const char *name, const char *path, struct gi_error *err)
{
    char folder[PATH_MAX];
    int rc = volume_path(a, name, folder, err);
    if (rc == 0)
        rc = volume_open_in(folder, path, err);
    return rc < 0 ? gi_prefix(err, "volume %s", name) : rc;
}

int volume_open_in(const char *folder, const char *path, struct gi_error *err)
{
    cleanup_close int root = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = root < 0 || !path ? TAKE_FD(root) : open_in(root, path, O_PATH, RESOLVE_IN_ROOT);
    return fd < 0 ? gi_fail_errno(err, errno, "%.200s", path ? path : folder) : fd;
}

int volume_open_regular(int dir, const char *path, int flags)
{
    char name[64];
    struct stat st;
    cleanup_close int fd =
        open_in(dir, path, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return open(name, flags | O_CLOEXEC);
}

/* ---- make ---- */

static unsigned count_volumes(const char *folder)
{
    unsigned n = 0;
    cleanup_closedir DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    return n;
}

static int mount_memory(const char *folder, const Gi__Agent__MakeVolume *m, struct gi_error *err)
{
    char options[96] = "";
    if (m->size_bytes)
        snprintf(options, sizeof(options), "size=%llu", (unsigned long long)m->size_bytes);
    if (mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return gi_fail_errno(err, errno, "memory of volume %s", m->volume);
    return 0;
}

static int make(struct agent *a, const Gi__Agent__MakeVolume *m, struct gi_error *err)
{
    char folder[PATH_MAX];
    int rc = folder_of(a, m->volume, folder, err);
    if (rc < 0)
        return rc;
    char *last = strrchr(folder, '/');
    *last = '\0';
    rc = gi_mkdir_p(folder, 0711, err); /* the scratch folder above is 0700 */
    unsigned n = count_volumes(folder);
    *last = '/';
    if (rc < 0)
        return rc;
    if (n >= MAX_VOLUMES)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%u volumes exist", MAX_VOLUMES);
    if (mkdir(folder, 0700) < 0)
        return errno == EEXIST ? 0 : gi_fail_errno(err, errno, "volume %s", m->volume);
    if (m->memory)
        rc = mount_memory(folder, m, err);
    if (rc == 0 &&
        (chown(folder, m->uid, m->gid) < 0 || chmod(folder, m->mode ? m->mode : 0755) < 0))
        rc = gi_fail_errno(err, errno, "volume %s", m->volume);
    if (rc < 0) {
        umount2(folder, MNT_DETACH | UMOUNT_NOFOLLOW);
        rmdir(folder);
    }
    return rc;
}

void volume_make(struct agent *a, struct request req, const Gi__Agent__MakeVolume *m)
{
    struct gi_error err = GI_ERROR_INIT;
    make(a, m, &err);
    conn_done(a, req, &err);
}

/* ---- what may take long runs in a child ---- */

struct folder_op {
    char folder[PATH_MAX];
    const Gi__Agent__PutFiles *put;
};

static int remove_work(void *arg, struct gi_error *err)
{
    const struct folder_op *op = arg;
    if (umount2(op->folder, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return gi_fail_errno(err, errno, "unmount a volume");
    return gi_remove_tree_at(AT_FDCWD, op->folder, err);
}

static int put_work(void *arg, struct gi_error *err)
{
    const struct folder_op *op = arg;
    cleanup_close int root = open(op->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return gi_fail_errno(err, errno, "volume %s", op->put->volume);
    return put_files(root, op->put, err);
}

void volume_remove(struct agent *a, struct request req, const char *name)
{
    struct gi_error err = GI_ERROR_INIT;
    struct folder_op op = {.put = NULL};
    int rc = volume_path(a, name, op.folder, &err);
    if (rc == 0)
        work_answer(a, req, remove_work, &op);
    else /* one that is gone is gone, as wanted */
        conn_done(a, req, rc == -GI_NOT_FOUND ? NULL : &err);
}

void volume_put(struct agent *a, struct request req, const Gi__Agent__PutFiles *m)
{
    struct gi_error err = GI_ERROR_INIT;
    struct folder_op op = {.put = m};
    if (volume_path(a, m->volume, op.folder, &err) == 0)
        work_answer(a, req, put_work, &op);
    else
        conn_done(a, req, &err);
}

/* ---- read ---- */

static int read_some(const struct agent *a, const Gi__Agent__ReadFile *m, void *data,
                     Gi__Agent__FileReply *reply, struct gi_error *err)
{
    cleanup_close int root = volume_open(a, m->volume, NULL, err);
    if (root < 0)
        return root;
    cleanup_close int fd = volume_open_regular(root, m->path, O_RDONLY);
    struct stat st;
    if (fd < 0 && errno == EINVAL)
        return gi_fail(err, GI_FAILED_PRECONDITION, "volume %s: %s is no regular file", m->volume,
                       m->path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "volume %s: %s", m->volume, m->path);
    size_t len = 0;
    while (len < m->max_bytes) {
        ssize_t n = pread(fd, (char *)data + len, m->max_bytes - len, (off_t)len);
        if (n < 0)
            return gi_fail_errno(err, errno, "volume %s: %s", m->volume, m->path);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    reply->data.data = data;
    reply->data.len = len;
    reply->size = (uint64_t)st.st_size;
    return 0;
}

void volume_read(struct agent *a, struct request req, const Gi__Agent__ReadFile *m)
{
    struct gi_error err = GI_ERROR_INIT;
    Gi__Agent__FileReply file = GI__AGENT__FILE_REPLY__INIT;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_FILE;
    reply.file = &file;
    cleanup_free void *data = malloc(m->max_bytes + 1);
    if (!data)
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for a file");
    else
        read_some(a, m, data, &file, &err);
    conn_reply(a, req, &reply, &err);
}
