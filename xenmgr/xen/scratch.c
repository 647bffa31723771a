/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scratch disks: where a zone's containers write. Each is a sparse file of the
 * configured size with an empty ext4 on it, attached as xvdz when the domain is
 * made; its size is the pod's quota, and what it takes on the host is what was
 * written.
 *
 * The file never has a name: it lives by its loop device, the loop device by
 * the domain's disk. So nothing is left of it, whoever dies when.
 *
 * The file system is made once a daemon and copied: only its few blocks that
 * are not holes. The host never mounts it: after the zone has had it, it is
 * hostile.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "xen_driver.h"

/* More than that of an empty file system is a folder that can't have holes. */
#define MAX_EMPTY (256LL << 20)
#define MIN_SIZE  (16u << 20)

/* A file in DIR that has no name. */
static int nameless(const char *dir, uint64_t size, struct gi_error *err)
{
    cleanup_close int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return gi_fail_errno(err, errno, "scratch disk in %s", dir);
    return TAKE_FD(fd);
}

/* No journal: after a crash nobody reads it again. */
static int make_file_system(int fd, struct gi_error *err)
{
    char file[32];
    snprintf(file, sizeof(file), "/proc/%d/fd/%d", getpid(), fd);
    const char *argv[] = {"mkfs.ext4",    "-q", "-F",
                          "-m",           "0",  "-O",
                          "^has_journal", "-E", "lazy_itable_init=1,nodiscard",
                          file,           NULL};
    return run_program(argv, "e2fsprogs", err);
}

/* Calls FN for each stretch of FD that is no hole. */
static int each_stretch(int fd, int (*fn)(void *data, off_t at, off_t len), void *data)
{
    off_t end = 0;
    for (;;) {
        off_t at = lseek(fd, end, SEEK_DATA);
        if (at < 0)
            return errno == ENXIO ? 0 : -1;
        end = lseek(fd, at, SEEK_HOLE);
        if (end < 0 || fn(data, at, end - at) < 0)
            return -1;
    }
}

static int count(void *data, off_t at, off_t len)
{
    off_t *sum = data;
    (void)at;
    *sum += len;
    return 0;
}

int scratch_open(struct xen *x, const char *dir, uint64_t size, struct gi_error *err)
{
    off_t sum = 0;
    if (size == 0)
        return 0;
    if (size < MIN_SIZE)
        return gi_fail(err, GI_INVALID_ARGUMENT, "xen_scratch_size: neither 0 nor 16Mi or more");
    int rc = gi_mkdir_p(dir, 0700, err);
    if (rc < 0)
        return rc;
    cleanup_close int fd = nameless(dir, size, err);
    if (fd < 0)
        return fd;
    rc = make_file_system(fd, err);
    if (rc < 0)
        return rc;
    if (each_stretch(fd, count, &sum) < 0 || sum > MAX_EMPTY)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "xen_scratch_size: the file system of %s has no sparse files", dir);
    x->scratch_dir = strdup(dir);
    if (!x->scratch_dir)
        return gi_fail_errno(err, ENOMEM, "scratch disks");
    x->scratch_bytes = size;
    x->scratch_empty = TAKE_FD(fd);
    return 0;
}

struct copying {
    int from, to;
};

static int copy(void *data, off_t at, off_t len)
{
    const struct copying *c = data;
    off_t out = at;
    while (len > 0) {
        ssize_t n = copy_file_range(c->from, &at, c->to, &out, (size_t)len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        len -= n;
    }
    return 0;
}

int scratch_make(const struct xen *x, int *ret_loop, char device[32], struct gi_error *err)
{
    cleanup_close int fd = nameless(x->scratch_dir, x->scratch_bytes, err);
    if (fd < 0)
        return fd;
    struct copying c = {x->scratch_empty, fd};
    if (each_stretch(x->scratch_empty, copy, &c) < 0)
        return gi_fail_errno(err, errno, "scratch disk in %s", x->scratch_dir);
    return loop_of(fd, "scratch", true, ret_loop, device, err);
}
