/* SPDX-License-Identifier: Apache-2.0 */
#include "core/hostfiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/wire.h"
#include "base/cleanup.h"
#include "base/io.h"

#define MAX_DEPTH 16u
#define VERSION   "..data" /* what Kubernetes' AtomicWriter calls the one in force */

struct walk {
    struct hostfiles *h;
    const char *root; /* for people */
    size_t max;
    bool with_data;
};

/* ---- the print ---- */

/* FNV-1a over words: another word at one place is always another print. */
static void mix(uint64_t *print, uint64_t word)
{
    *print = (*print ^ word) * UINT64_C(1099511628211);
}

static void print_file(uint64_t *print, const char *name, const struct stat *st)
{
    for (const char *c = name; *c; c++)
        mix(print, (unsigned char)*c);
    mix(print, 0);
    mix(print, st->st_mode);
    mix(print, st->st_uid);
    mix(print, st->st_gid);
    mix(print, (uint64_t)st->st_size);
    mix(print, st->st_ino);
    mix(print, (uint64_t)st->st_mtim.tv_sec);
    mix(print, (uint64_t)st->st_mtim.tv_nsec);
    if (!*print)
        *print = 1;
}

/* ---- one file ---- */

static int read_data(const struct walk *w, int fd, const char *name, struct agent_file *f,
                     const struct stat *st, struct gi_error *err)
{
    size_t room = w->max - w->h->bytes;
    if ((uint64_t)st->st_size > room)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: over %zu bytes", w->root, w->max);
    char *data = malloc((size_t)st->st_size + 1);
    if (!data)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for %s", w->root);
    f->data = data;
    while (f->len < (size_t)st->st_size) {
        ssize_t n = pread(fd, data + f->len, (size_t)st->st_size - f->len, (off_t)f->len);
        if (n < 0)
            return gi_fail_errno(err, errno, "%s: %s", w->root, name);
        if (n == 0)
            break; /* it got shorter: another print, the next time */
        f->len += (size_t)n;
    }
    w->h->bytes += f->len;
    return 0;
}

static int add_file(const struct walk *w, int fd, const char *name, const struct stat *st,
                    struct gi_error *err)
{
    struct hostfiles *h = w->h;
    if (h->n >= AGENT_FILES_MAX)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: more than %u files", w->root,
                       AGENT_FILES_MAX);
    if (h->n % 64 == 0) {
        struct agent_file *more = realloc(h->files, (h->n + 64) * sizeof(*more));
        if (!more)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for %s", w->root);
        h->files = more;
    }
    struct agent_file *f = &h->files[h->n];
    *f = (struct agent_file){
        .path = strdup(name), .mode = st->st_mode & 0777, .uid = st->st_uid, .gid = st->st_gid};
    if (!f->path)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for %s", w->root);
    h->n++;
    print_file(&h->print, name, st);
    return w->with_data ? read_data(w, fd, name, f, st, err) : 0;
}

/* ---- a folder ---- */

static int walk_folder(const struct walk *w, int dir, const char *prefix, unsigned depth,
                       struct gi_error *err);

static int take(const struct walk *w, int dir, const char *entry, const char *name, unsigned depth,
                struct gi_error *err)
{
    struct stat st;
    /* Nothing waits here for a pipe's other end. */
    cleanup_close int fd =
        openat(dir, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ELOOP)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: %s is a link, which can't be copied", w->root,
                       name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "%s: %s", w->root, name);
    if (S_ISREG(st.st_mode))
        return add_file(w, fd, name, &st, err);
    if (!S_ISDIR(st.st_mode))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: %s is neither a file nor a folder", w->root,
                       name);
    if (depth >= MAX_DEPTH)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: deeper than %u folders", w->root,
                       MAX_DEPTH);
    print_file(&w->h->print, name, &st);
    return walk_folder(w, fd, name, depth + 1, err);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int walk_folder(const struct walk *w, int dir, const char *prefix, unsigned depth,
                       struct gi_error *err)
{
    struct dirent **list = NULL;
    int n = scandirat(dir, ".", &list, no_dots, by_name);
    int rc = n < 0 ? gi_fail_errno(err, errno, "%s: %s", w->root, prefix) : 0;
    for (int i = 0; i < n; i++) {
        char name[AGENT_FILE_PATH_MAX + 1];
        int len =
            snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "/" : "", list[i]->d_name);
        if (rc == 0 && (len > (int)AGENT_FILE_PATH_MAX || strncmp(name, "..", 2) == 0))
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "%s: the name %.200s can't be copied", w->root,
                         list[i]->d_name);
        if (rc == 0)
            rc = take(w, dir, list[i]->d_name, name, depth, err);
        free(list[i]);
    }
    free(list);
    return rc;
}

/* A folder may be one that some guest wrote to before, so its link leads to
 * nothing outside it. */
static int open_version(int root, const char *path, int *ret_fd, struct gi_error *err)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    int fd = (int)syscall(SYS_openat2, root, VERSION, &how, sizeof(how));
    if (fd < 0 && errno == ENOENT && faccessat(root, VERSION, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        fd = openat(root, ".", how.flags);
    if (fd < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: %s leads to no folder in it (%s)", path,
                       VERSION, strerror(errno));
    *ret_fd = fd;
    return 0;
}

/* ---- from outside ---- */

int hostfiles_read_folder(const char *path, bool with_data, struct hostfiles *ret,
                          struct gi_error *err)
{
    cleanup_hostfiles struct hostfiles h = {.print = 1};
    const struct walk w = {.h = &h, .root = path, .max = AGENT_VOLUME_MAX, .with_data = with_data};
    cleanup_close int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return gi_fail_errno(err, errno, "%s", path);
    cleanup_close int version = -1;
    int rc = open_version(root, path, &version, err);
    if (rc == 0)
        rc = walk_folder(&w, version, "", 0, err);
    if (rc < 0)
        return rc;
    *ret = h;
    h = (struct hostfiles){.n = 0};
    return 0;
}

int hostfiles_read_file(const char *path, const char *name, size_t max, bool with_data,
                        struct hostfiles *ret, struct gi_error *err)
{
    cleanup_hostfiles struct hostfiles h = {.print = 1};
    const struct walk w = {.h = &h, .root = path, .max = max, .with_data = with_data};
    struct stat st;
    cleanup_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s is no regular file", path);
    int rc = add_file(&w, fd, name, &st, err);
    if (rc < 0)
        return rc;
    *ret = h;
    h = (struct hostfiles){.n = 0};
    return 0;
}

void hostfiles_free(struct hostfiles *h)
{
    for (size_t i = 0; i < h->n; i++) {
        free((char *)h->files[i].path);
        free((void *)h->files[i].data);
    }
    free(h->files);
    *h = (struct hostfiles){.n = 0};
}
