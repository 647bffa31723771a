/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"

#define USAGE_MAX_ENTRIES 2000000u
#define USAGE_MAX_DEPTH   256

static int make_folder(int dirfd, const char *name, mode_t mode, struct gi_error *err)
{
    if (mkdirat(dirfd, name, mode) < 0)
        return gi_fail_errno(err, errno, "mkdir %s", name);
    return 0;
}

/* The overlay's root takes owner and mode from the upper folder. */
static int copy_root_attributes(int dirfd, const char *image_rootfs, struct gi_error *err)
{
    struct stat st;
    if (stat(image_rootfs, &st) < 0)
        return gi_fail_errno(err, errno, "image %s", image_rootfs);
    if (!S_ISDIR(st.st_mode))
        return gi_fail_errno(err, ENOTDIR, "image %s", image_rootfs);
    if (fchownat(dirfd, "upper", st.st_uid, st.st_gid, 0) < 0 ||
        fchmodat(dirfd, "upper", st.st_mode & 07777, 0) < 0)
        return gi_fail_errno(err, errno, "attributes of the root folder");
    return 0;
}

/* Relative upper and work folders keep the option string short and free of
 * the separators that a path may contain. */
static int mount_overlay(int dirfd, const char *image_rootfs, struct gi_error *err)
{
    char options[PATH_MAX + 64];
    if (image_rootfs[0] != '/' || strpbrk(image_rootfs, ":,\\"))
        return gi_fail(err, GI_INVALID_ARGUMENT, "unusable image path \"%s\"", image_rootfs);
    int n = snprintf(options, sizeof(options), "lowerdir=%s,upperdir=upper,workdir=work,volatile",
                     image_rootfs);
    if (n < 0 || (size_t)n >= sizeof(options))
        return gi_fail(err, GI_INVALID_ARGUMENT, "image path too long");
    if (fchdir(dirfd) < 0)
        return gi_fail_errno(err, errno, "chdir");
    int rc = mount("overlay", "rootfs", "overlay", 0, options);
    if (rc < 0 && errno == EINVAL) {
        /* Kernels before 5.10 don't know `volatile` (no sync of the upper
         * layer, which nobody reads after a crash). */
        options[n - (int)strlen(",volatile")] = '\0';
        rc = mount("overlay", "rootfs", "overlay", 0, options);
    }
    int saved = errno;
    if (chdir("/") < 0)
        return gi_fail_errno(err, errno, "chdir /");
    return rc < 0 ? gi_fail_errno(err, saved, "mount overlay over %s", image_rootfs) : 0;
}

int bundle_make(const char *dir, const char *image_rootfs, struct gi_error *err)
{
    if (mkdir(dir, 0700) < 0)
        return gi_fail_errno(err, errno, "mkdir %s", dir);
    cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "open %s", dir);
    int rc = make_folder(fd, "upper", 0755, err);
    if (rc == 0)
        rc = make_folder(fd, "work", 0700, err);
    if (rc == 0)
        rc = make_folder(fd, "rootfs", 0755, err);
    if (rc == 0)
        rc = copy_root_attributes(fd, image_rootfs, err);
    if (rc == 0)
        rc = mount_overlay(fd, image_rootfs, err);
    return rc;
}

int bundle_bind(const char *dir, unsigned number, int fd, char *out, struct gi_error *err)
{
    char source[64];
    struct stat st;
    if (number >= BUNDLE_BINDS_MAX)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "more than %u binds", BUNDLE_BINDS_MAX);
    if (snprintf(out, PATH_MAX, "%s/binds", dir) >= PATH_MAX - 8)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    if ((mkdir(out, 0700) < 0 && errno != EEXIST) || fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "mkdir %s", out);
    size_t n = strlen(out);
    snprintf(out + n, PATH_MAX - n, "/%u", number);
    if (S_ISDIR(st.st_mode) ? mkdir(out, 0700) < 0 : mknod(out, S_IFREG | 0600, 0) < 0)
        return gi_fail_errno(err, errno, "make %s", out);
    snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
    if (mount(source, out, NULL, MS_BIND, NULL) < 0)
        return gi_fail_errno(err, errno, "bind %s", out);
    return 0;
}

/* All of them, before anything is removed: behind each is a volume. */
static int unbind(const char *dir, struct gi_error *err)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < BUNDLE_BINDS_MAX; i++) {
        if (snprintf(path, sizeof(path), "%s/binds/%u", dir, i) >= PATH_MAX)
            return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno == EINVAL)
            continue;
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "umount %s", path);
    }
    return 0;
}

int bundle_remove(const char *dir, struct gi_error *err)
{
    char root[PATH_MAX];
    if (snprintf(root, sizeof(root), "%s/rootfs", dir) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    if (umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return gi_fail_errno(err, errno, "umount %s", root);
    if (unbind(dir, err) < 0)
        return -GI_INTERNAL;
    return gi_remove_tree_at(AT_FDCWD, dir, err);
}

struct usage {
    uint64_t bytes;
    uint64_t inodes;
};

static void add_usage(int dirfd, const char *name, int depth, struct usage *u)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    cleanup_closedir DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    while (d && u->inodes < USAGE_MAX_ENTRIES && (e = readdir(d))) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        u->bytes += (uint64_t)st.st_blocks * 512;
        u->inodes++;
        if (S_ISDIR(st.st_mode) && depth < USAGE_MAX_DEPTH)
            add_usage(fd, e->d_name, depth + 1, u);
    }
}

void bundle_usage(const char *dir, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
    struct usage u = {0, 1}; /* the upper folder itself */
    char upper[PATH_MAX];
    if (snprintf(upper, sizeof(upper), "%s/upper", dir) < PATH_MAX)
        add_usage(AT_FDCWD, upper, 0, &u);
    *ret_bytes = u.bytes;
    *ret_inodes = u.inodes;
}

static bool folder_in_image(int rootfd, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    cleanup_close int fd = (int)syscall(SYS_openat2, rootfd, path, &how, sizeof(how));
    return fd >= 0;
}

const char *bundle_library_folder(const char *image_rootfs)
{
    static const char *const folders[] = {
#if defined(__x86_64__)
        "/usr/lib/x86_64-linux-gnu",
        "/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
        "/usr/lib/aarch64-linux-gnu",
        "/lib/aarch64-linux-gnu",
#endif
        "/usr/lib64",
        "/lib64",
    };
    cleanup_close int root = open(image_rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; root >= 0 && i < GI_ARRAY_SIZE(folders); i++) {
        if (folder_in_image(root, folders[i]))
            return folders[i];
    }
    return "/usr/lib";
}

/* A regular file's bytes, heap. Whatever else it is: INVALID_ARGUMENT. */
static int read_regular(int fd, void **ret, size_t *ret_len, struct gi_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)LDCACHE_MAX_BYTES)
        return gi_fail(err, GI_INVALID_ARGUMENT, "ld.so.cache: no file, or too large");
    size_t len = 0, room = (size_t)st.st_size;
    cleanup_free char *data = malloc(room + 1);
    ssize_t n = 1;
    while (data && len < room && (n = read(fd, data + len, room - len)) > 0)
        len += (size_t)n;
    if (!data || n < 0)
        return gi_fail_errno(err, data ? errno : ENOMEM, "ld.so.cache");
    *ret = TAKE_PTR(data);
    *ret_len = len;
    return 0;
}

static int write_beside(int etc, const void *data, size_t len, struct gi_error *err)
{
    static const char name[] = ".ld.so.cache.gpu-isolated";
    cleanup_close int fd =
        openat(etc, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return gi_fail_errno(err, errno, "ld.so.cache");
    if (gi_write_full(fd, data, len) == 0 && fchmod(fd, 0644) == 0 &&
        renameat(etc, name, etc, "ld.so.cache") == 0)
        return 0;
    int saved = errno;
    unlinkat(etc, name, 0);
    return gi_fail_errno(err, saved, "ld.so.cache");
}

int bundle_cache_libraries(const char *dir, const struct ldcache_library *libraries, size_t n,
                           struct gi_error *err)
{
    char root[PATH_MAX];
    struct open_how folder = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                              .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    if (snprintf(root, sizeof(root), "%s/rootfs", dir) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    cleanup_close int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return gi_fail_errno(err, errno, "open %s", root);
    cleanup_close int etc = (int)syscall(SYS_openat2, top, "/etc", &folder, sizeof(folder));
    /* Not to be held up by a pipe. */
    cleanup_close int fd =
        etc < 0 ? -1 : openat(etc, "ld.so.cache", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) /* an image whose loader has none */
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "ld.so.cache");
    cleanup_free void *old = NULL;
    cleanup_free void *grown = NULL;
    size_t old_len = 0, len = 0;
    int rc = read_regular(fd, &old, &old_len, err);
    if (rc == 0)
        rc = ldcache_add(old, old_len, libraries, n, &grown, &len, err);
    return rc < 0 ? rc : write_beside(etc, grown, len, err);
}
