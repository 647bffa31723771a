/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/failpoint.h"

#define MAX_FDS_PER_MESSAGE 16
#define MAX_TREE_DEPTH      4096

int gi_read_full(int fd, void *buf, size_t len)
{
    char *p = buf;
    while (len) {
        ssize_t n = read(fd, p, len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (n == 0)
            return -EPIPE;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int gi_write_full(int fd, const void *buf, size_t len)
{
    const char *p = buf;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int gi_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                 struct gi_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "open %s", path);
    size_t cap = 4096;
    size_t len = 0;
    cleanup_free char *data = malloc(cap + 1);
    if (!data)
        return gi_fail_errno(err, ENOMEM, "read %s", path);
    for (;;) {
        ssize_t n = read(fd, data + len, cap - len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return gi_fail_errno(err, errno, "read %s", path);
        }
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return gi_fail(err, GI_OUT_OF_RANGE, "%s is longer than %zu bytes", path, max);
        if (len == cap) {
            cap *= 2;
            char *bigger = realloc(data, cap + 1);
            if (!bigger)
                return gi_fail_errno(err, ENOMEM, "read %s", path);
            data = bigger;
        }
    }
    data[len] = '\0';
    *ret_data = TAKE_PTR(data);
    if (ret_len)
        *ret_len = len;
    return 0;
}

static int sync_parent(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof(dir))
        return -ENAMETOOLONG;
    if (!slash)
        snprintf(dir, sizeof(dir), ".");
    else
        snprintf(dir, sizeof(dir), "%.*s", n ? (int)n : 1, n ? path : "/");
    cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

int gi_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode,
                         struct gi_error *err)
{
    char tmp[PATH_MAX];
    int n = snprintf(tmp, sizeof(tmp), "%s.tmp-XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof(tmp))
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long: %.100s...", path);
    cleanup_close int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return gi_fail_errno(err, errno, "create %s", tmp);
    int rc = gi_write_full(fd, data, len);
    if (rc == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        rc = -errno;
    GI_FAILPOINT(rc, "file_not_renamed", NULL);
    if (rc == 0 && rename(tmp, path) < 0)
        rc = -errno;
    if (rc < 0) {
        unlink(tmp);
        return gi_fail_errno(err, -rc, "write %s", path);
    }
    rc = sync_parent(path);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "sync folder of %s", path);
    return 0;
}

int gi_mkdir_p(const char *path, mode_t mode, struct gi_error *err)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(part))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad folder path \"%.100s\"", path);
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char saved = part[i];
        part[i] = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return gi_fail_errno(err, errno, "mkdir %s", part);
        part[i] = saved;
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return gi_fail_errno(err, errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return gi_fail_errno(err, ENOTDIR, "%s", path);
    return 0;
}

static int remove_children(int fd, dev_t dev, unsigned depth, struct gi_error *err);

static int remove_entry(int dirfd, const char *name, dev_t dev, unsigned depth,
                        struct gi_error *err)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return gi_fail_errno(err, errno, "unlink %s", name);
    cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "open %s", name);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "stat %s", name);
    if (dev && st.st_dev != dev)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s is a mount point", name);
    int rc = remove_children(TAKE_FD(fd), st.st_dev, depth + 1, err);
    if (rc < 0)
        return rc;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "rmdir %s", name);
    return 0;
}

/* Owns FD. Depth is bounded because each level holds a descriptor and stack. */
static int remove_children(int fd, dev_t dev, unsigned depth, struct gi_error *err)
{
    cleanup_closedir DIR *d = fdopendir(fd);
    if (!d) {
        int saved = errno;
        close(fd);
        return gi_fail_errno(err, saved, "fdopendir");
    }
    if (depth > MAX_TREE_DEPTH)
        return gi_fail(err, GI_OUT_OF_RANGE, "folder tree deeper than %d", MAX_TREE_DEPTH);
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e)
            return errno ? gi_fail_errno(err, errno, "readdir") : 0;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int rc = remove_entry(fd, e->d_name, dev, depth, err);
        if (rc < 0)
            return rc;
    }
}

int gi_remove_tree_at(int dirfd, const char *name, struct gi_error *err)
{
    return remove_entry(dirfd, name, 0, 0, err);
}

union fd_control {
    char space[CMSG_SPACE(MAX_FDS_PER_MESSAGE * sizeof(int))];
    struct cmsghdr align;
};

ssize_t gi_send_fds(int sock, const void *buf, size_t len, const int *fds, size_t nfds)
{
    if (nfds > MAX_FDS_PER_MESSAGE)
        return -EINVAL;
    union fd_control control;
    memset(&control, 0, sizeof(control));
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

ssize_t gi_recv_fds(int sock, void *buf, size_t len, int *fds, size_t *nfds)
{
    size_t room = *nfds;
    union fd_control control;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    ssize_t n;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    int got[MAX_FDS_PER_MESSAGE];
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k && count < MAX_FDS_PER_MESSAGE; i++)
            memcpy(&got[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if (count > room || (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
        close_all(got, count);
        return -EMSGSIZE;
    }
    if (n == 0) {
        /* An empty packet reads like the peer's end; callers of an end look for
         * no descriptors, so it brings none. */
        close_all(got, count);
        count = 0;
    }
    if (count)
        memcpy(fds, got, count * sizeof(int));
    *nfds = count;
    return n;
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t gi_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t gi_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int gi_random_hex(char *out, size_t nbytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t done = 0; done < nbytes;) {
        unsigned char chunk[64];
        size_t want = nbytes - done < sizeof(chunk) ? nbytes - done : sizeof(chunk);
        ssize_t n = getrandom(chunk, want, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        for (ssize_t i = 0; i < n; i++, done++) {
            out[2 * done] = digits[chunk[i] >> 4];
            out[2 * done + 1] = digits[chunk[i] & 15];
        }
    }
    out[2 * nbytes] = '\0';
    return 0;
}
