/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/io.h"

#define OPEN_TRIES 1000

/* Names made by the current layer, as 64-bit hashes of (folder inode, name). */
struct name_set {
    uint64_t *slots; /* 0: free */
    size_t cap;      /* a power of two */
    size_t used;
};

struct tree {
    int root_fd;
    size_t root_len; /* of the root's own path, and its components */
    unsigned root_depth;
    uint64_t key[2];
    struct name_set made;
    /* The folder last used. */
    int dir_fd;
    char dir_path[PATH_MAX];
    struct timespec dir_mtime;
};

int tree_path_parse(const char *raw, struct tree_path *ret_path, struct gi_error *err)
{
    char text[PATH_MAX];
    size_t len = 0;
    size_t last = 0; /* where the last component starts */
    unsigned depth = 0;
    for (const char *p = raw; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.')) {
            p += n ? n : 1;
            continue;
        }
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return gi_fail(err, GI_INVALID_ARGUMENT, "path \"%.200s\" contains \"..\"", raw);
        if (n > NAME_MAX || len + n + 2 > sizeof(text))
            return gi_fail(err, GI_INVALID_ARGUMENT, "path \"%.60s...\" is too long", raw);
        if (++depth > TREE_MAX_DEPTH)
            return gi_fail(err, GI_INVALID_ARGUMENT, "path \"%.60s...\" is deeper than %d folders",
                           raw, TREE_MAX_DEPTH);
        if (len)
            text[len++] = '/';
        last = len;
        memcpy(text + len, p, n);
        len += n;
        p += n;
    }
    text[len] = '\0';
    memcpy(ret_path->name, text + last, len - last + 1);
    if (last)
        last--;
    memcpy(ret_path->parent, text, last);
    ret_path->parent[last] = '\0';
    return 0;
}

int tree_open(int root_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    for (int i = 0;; i++) {
        long fd = syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: a rename somewhere on the system raced with a ".." in a link. */
        if ((errno != EAGAIN && errno != EINTR) || i > OPEN_TRIES)
            return -errno;
    }
}

/* The length of FD's path on the host, and its number of components. */
static int real_path_extent(int fd, size_t *ret_len, unsigned *ret_depth)
{
    char link[64];
    char real[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, sizeof(real));
    if (n < 0)
        return -errno;
    if ((size_t)n >= sizeof(real))
        return -ENAMETOOLONG;
    *ret_len = (size_t)n;
    *ret_depth = 0;
    for (ssize_t i = 0; i < n; i++)
        *ret_depth += real[i] == '/';
    return 0;
}

int tree_new(int root_fd, struct tree **ret_tree, struct gi_error *err)
{
    cleanup_tree struct tree *t = calloc(1, sizeof(*t));
    if (!t)
        return gi_fail_errno(err, ENOMEM, "tree");
    t->root_fd = root_fd;
    t->dir_fd = -1;
    char hex[33];
    int rc = gi_random_hex(hex, 16);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "getrandom");
    memcpy(t->key, hex, sizeof(t->key));
    rc = real_path_extent(root_fd, &t->root_len, &t->root_depth);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "root folder's path");
    *ret_tree = TAKE_PTR(t);
    return 0;
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    tree_flush(t);
    free(t->made.slots);
    free(t);
}

static void put_mtime_back(int fd, const struct timespec *mtime)
{
    struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
    futimens(fd, ts); /* cosmetic: nothing depends on it */
}

void tree_flush(struct tree *t)
{
    if (t->dir_fd < 0)
        return;
    put_mtime_back(t->dir_fd, &t->dir_mtime);
    close(t->dir_fd);
    t->dir_fd = -1;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 33);
}

/* Keyed, so that an archive can't aim for collisions. */
static uint64_t name_hash(const struct tree *t, ino_t dir, const char *name)
{
    uint64_t h = mix(t->key[0] ^ (uint64_t)dir);
    for (const char *p = name; *p; p++)
        h = mix((h + (unsigned char)*p) ^ t->key[1]);
    return h ? h : 1;
}

static bool set_has(const struct name_set *s, uint64_t h)
{
    for (size_t i = h; s->cap; i++) {
        uint64_t slot = s->slots[i & (s->cap - 1)];
        if (slot == h)
            return true;
        if (!slot)
            return false;
    }
    return false;
}

static void set_insert(struct name_set *s, uint64_t h)
{
    size_t i = h;
    while (s->slots[i & (s->cap - 1)])
        i++;
    s->slots[i & (s->cap - 1)] = h;
    s->used++;
}

static int set_add(struct name_set *s, uint64_t h)
{
    if (set_has(s, h))
        return 0;
    if (2 * (s->used + 1) > s->cap) {
        struct name_set bigger = {.cap = s->cap ? 2 * s->cap : 1024};
        bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
        if (!bigger.slots)
            return -ENOMEM;
        for (size_t i = 0; i < s->cap; i++) {
            if (s->slots[i])
                set_insert(&bigger, s->slots[i]);
        }
        free(s->slots);
        *s = bigger;
    }
    set_insert(s, h);
    return 0;
}

void tree_next_layer(struct tree *t)
{
    free(t->made.slots);
    t->made = (struct name_set){0};
}

int tree_mark(struct tree *t, int dir_fd, const char *name, struct gi_error *err)
{
    struct stat st;
    if (fstat(dir_fd, &st) < 0)
        return gi_fail_errno(err, errno, "stat folder of %s", name);
    int rc = set_add(&t->made, name_hash(t, st.st_ino, name));
    return rc < 0 ? gi_fail_errno(err, -rc, "names of the layer") : 0;
}

static int lookup_failed(struct gi_error *err, int errnum, const char *path)
{
    switch (errnum) {
    case ELOOP:
    case ENOTDIR:
    case EXDEV:
    case ENAMETOOLONG:
    case EEXIST:
        return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.200s\" can't be reached as a folder: %s",
                       path, strerror(errnum));
    default:
        return gi_fail_errno(err, errnum, "open folder \"%.200s\"", path);
    }
}

/* Makes the missing folders of PATH one by one; fd of the last or -code. */
static int make_parents(struct tree *t, const char *path, struct gi_error *err)
{
    char part[PATH_MAX];
    cleanup_close int dir = tree_open(t->root_fd, "", O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return lookup_failed(err, -dir, path);
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        size_t upto = (size_t)(p - path) + n;
        memcpy(part, path, upto);
        part[upto] = '\0';
        const char *name = part + (p - path);
        int next = tree_open(t->root_fd, part, O_RDONLY | O_DIRECTORY);
        if (next == -ENOENT) {
            struct stat st;
            if (fstat(dir, &st) < 0 || mkdirat(dir, name, 0755) < 0)
                return lookup_failed(err, errno, part);
            put_mtime_back(dir, &st.st_mtim);
            next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            struct timespec epoch = {0};
            if (next < 0 || fchown(next, 0, 0) < 0 || fchmod(next, 0755) < 0)
                next = next < 0 ? next : (close(next), -1);
            else
                put_mtime_back(next, &epoch);
            if (next < 0)
                return gi_fail_errno(err, errno, "make folder \"%.200s\"", part);
            int rc = tree_mark(t, dir, name, err);
            if (rc < 0) {
                close(next);
                return rc;
            }
        } else if (next < 0) {
            return lookup_failed(err, -next, part);
        }
        close(dir);
        dir = next;
        p += n + (p[n] == '/');
    }
    return TAKE_FD(dir);
}

/* After symbolic links the real place may be deeper than the name says. */
static int check_depth(const struct tree *t, int fd, const char *path, struct gi_error *err)
{
    size_t len = 0;
    unsigned depth = 0;
    int rc = real_path_extent(fd, &len, &depth);
    if (rc < 0 || len - t->root_len + NAME_MAX + 2 > PATH_MAX ||
        depth - t->root_depth > TREE_MAX_DEPTH)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "folder \"%.100s\" lies too deep after following symbolic links", path);
    return 0;
}

int tree_parent(struct tree *t, const struct tree_path *path, bool create, int *ret_fd,
                struct gi_error *err)
{
    if (t->dir_fd >= 0 && strcmp(t->dir_path, path->parent) == 0) {
        *ret_fd = t->dir_fd;
        return 0;
    }
    tree_flush(t);
    cleanup_close int fd = tree_open(t->root_fd, path->parent, O_RDONLY | O_DIRECTORY);
    if (fd == -ENOENT && create) {
        fd = make_parents(t, path->parent, err);
        if (fd < 0)
            return fd;
    }
    if (fd < 0)
        return lookup_failed(err, -fd, path->parent);
    int rc = check_depth(t, fd, path->parent, err);
    if (rc < 0)
        return rc;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "stat \"%.200s\"", path->parent);
    t->dir_mtime = st.st_mtim;
    memcpy(t->dir_path, path->parent, strlen(path->parent) + 1);
    t->dir_fd = TAKE_FD(fd);
    *ret_fd = t->dir_fd;
    return 0;
}

int tree_remove(struct tree *t, int dir_fd, const char *name, struct gi_error *err)
{
    return gi_remove_tree_at(dir_fd, name, err);
}

static int hide_children(struct tree *t, int fd, struct gi_error *err)
{
    /* Own descriptor for the listing: the caller's offset stays alone. */
    int list_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_closedir DIR *d = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (!d) {
        int saved = errno;
        if (list_fd >= 0)
            close(list_fd);
        return gi_fail_errno(err, saved, "list a folder");
    }
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e)
            return errno ? gi_fail_errno(err, errno, "list a folder") : 0;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int rc = tree_hide(t, fd, e->d_name, false, err);
        if (rc < 0)
            return rc;
    }
}

int tree_hide(struct tree *t, int dir_fd, const char *name, bool keep_self, struct gi_error *err)
{
    struct stat dir_st;
    if (fstat(dir_fd, &dir_st) < 0)
        return gi_fail_errno(err, errno, "stat folder of %s", name);
    bool ours = set_has(&t->made, name_hash(t, dir_st.st_ino, name));
    cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return 0;
        if (errno != ENOTDIR && errno != ELOOP)
            return gi_fail_errno(err, errno, "open %.200s", name);
        if (ours || keep_self)
            return 0;
        return unlinkat(dir_fd, name, 0) < 0 ? gi_fail_errno(err, errno, "remove %.200s", name) : 0;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "stat %.200s", name);
    int rc = hide_children(t, fd, err);
    if (rc < 0)
        return rc;
    put_mtime_back(fd, &st.st_mtim);
    if (keep_self || ours)
        return 0;
    /* What this layer put below it keeps the folder. */
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        return gi_fail_errno(err, errno, "remove %.200s", name);
    return 0;
}
