/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files into a volume. In place: the file is opened, cut and written. Swapped,
 * as Kubernetes' AtomicWriter lays volumes out:
 *
 *   ..0123456789abcdef/  the files of one transaction
 *   ..data               -> ..0123456789abcdef, replaced by rename
 *   NAME                 -> ..data/NAME, for each file or folder at the top
 *
 * so a reader who opens ..data once sees one whole state.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "volumes.h"

#define DATA     "..data"
#define DATA_NEW "..data_tmp"

/* NAME, one component, as a folder that is no link and no other filesystem. */
static int enter(int dir, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -1;
    return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

/* The folder that holds PATH, its parents made; *ret_name points into PATH. */
static int enter_parents(int root, char *path, const char **ret_name)
{
    int dir = fcntl(root, F_DUPFD_CLOEXEC, 3);
    char *at = path;
    for (char *slash; dir >= 0 && (slash = strchr(at, '/')); at = slash + 1) {
        *slash = '\0';
        cleanup_close int up = dir;
        dir = enter(up, at);
    }
    *ret_name = at;
    return dir;
}

static int write_at(int fd, const Gi__Agent__VolumeFile *f)
{
    for (size_t at = 0; at < f->data.len;) {
        ssize_t n = pwrite(fd, f->data.data + at, f->data.len - at, (off_t)(f->offset + at));
        if (n < 0 && errno != EINTR)
            return -1;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int open_file(int dir, const char *name, bool make)
{
    int fd = -1;
    if (make)
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 && (!make || errno == EEXIST) ? volume_open_regular(dir, name, O_WRONLY) : fd;
}

static int put_file(int root, const Gi__Agent__VolumeFile *f, struct gi_error *err)
{
    char path[AGENT_FILE_PATH_MAX + 1];
    const char *name;
    struct stat st;
    snprintf(path, sizeof(path), "%s", f->path);
    cleanup_close int dir = enter_parents(root, path, &name);
    cleanup_close int fd = dir < 0 ? -1 : open_file(dir, name, f->offset == 0);
    if (fd < 0 && errno == EINVAL)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s is no regular file", f->path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "%s", f->path);
    if (f->offset && (uint64_t)st.st_size != f->offset)
        return gi_fail(err, GI_ABORTED, "%s is written by somebody else, too", f->path);
    bool first = f->offset == 0;
    if ((first && (ftruncate(fd, 0) < 0 || fchown(fd, f->uid, f->gid) < 0 ||
                   fchmod(fd, f->mode ? f->mode & 0777 : 0644) < 0)) ||
        write_at(fd, f) < 0)
        return gi_fail_errno(err, errno, "%s", f->path);
    return 0;
}

static int put_all(int root, const Gi__Agent__PutFiles *m, struct gi_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < m->n_files && rc == 0; i++)
        rc = put_file(root, m->files[i], err);
    return rc;
}

/* ---- the swap ---- */

static bool is_link_to(int root, const char *name, const char *target)
{
    char text[512];
    ssize_t n = readlinkat(root, name, text, sizeof(text));
    return n >= 0 && (size_t)n == strlen(target) && memcmp(text, target, (size_t)n) == 0;
}

/* Calls FN for each name in the folder until one fails. */
static int each_name(int dir, int (*fn)(void *data, const char *name, struct gi_error *err),
                     void *data, struct gi_error *err)
{
    int rc = 0;
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_closedir DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d)
        return gi_fail_errno(err, errno, "folder of a volume");
    struct dirent *e;
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = fn(data, e->d_name, err);
    }
    return rc;
}

struct swap {
    int root;
    int stage;
    char stage_name[24];
};

static int show(void *data, const char *name, struct gi_error *err)
{
    const struct swap *w = data;
    char target[300];
    snprintf(target, sizeof(target), DATA "/%s", name);
    if (is_link_to(w->root, name, target))
        return 0;
    int rc = gi_remove_tree_at(w->root, name, err);
    if (rc == 0 && symlinkat(target, w->root, name) < 0)
        rc = gi_fail_errno(err, errno, "link %s", name);
    return rc;
}

static int clean(void *data, const char *name, struct gi_error *err)
{
    const struct swap *w = data;
    char target[300];
    if (strncmp(name, "..", 2) == 0)
        return strcmp(name, DATA) == 0 || strcmp(name, w->stage_name) == 0
                   ? 0
                   : gi_remove_tree_at(w->root, name, err);
    snprintf(target, sizeof(target), DATA "/%s", name);
    if (is_link_to(w->root, name, target) &&
        faccessat(w->stage, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        unlinkat(w->root, name, 0);
    return 0;
}

static int commit(struct swap *w, struct gi_error *err)
{
    int rc = gi_remove_tree_at(w->root, DATA_NEW, err);
    if (rc < 0)
        return rc;
    if (symlinkat(w->stage_name, w->root, DATA_NEW) < 0 ||
        renameat(w->root, DATA_NEW, w->root, DATA) < 0)
        return gi_fail_errno(err, errno, "swap");
    rc = each_name(w->stage, show, w, err);
    return rc < 0 ? rc : each_name(w->root, clean, w, err);
}

int put_files(int root, const Gi__Agent__PutFiles *m, struct gi_error *err)
{
    if (!m->swap)
        return put_all(root, m, err);
    struct swap w = {.root = root};
    snprintf(w.stage_name, sizeof(w.stage_name), "..%016llx", (unsigned long long)m->transaction);
    /* A transaction's folder is never used again: it may be the one in force. */
    if (is_link_to(root, DATA, w.stage_name))
        return gi_fail(err, GI_ALREADY_EXISTS, "this transaction is over");
    w.stage = enter(root, w.stage_name);
    if (w.stage < 0)
        return gi_fail_errno(err, errno, "folder of a transaction");
    int rc = put_all(w.stage, m, err);
    if (rc == 0 && m->last)
        rc = commit(&w, err);
    close(w.stage);
    if (rc < 0 && !is_link_to(root, DATA, w.stage_name))
        gi_remove_tree_at(root, w.stage_name, NULL);
    return rc;
}
