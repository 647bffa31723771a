/* SPDX-License-Identifier: Apache-2.0 */
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "local.h"

int loopback_up(void)
{
    struct ifreq req = {.ifr_name = "lo"};
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &req) < 0)
        return -errno;
    req.ifr_flags |= IFF_UP | IFF_RUNNING;
    return ioctl(fd, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
}

struct job {
    const char *path;
    const char *what; /* failed, with */
    int errnum;
};

/* A thread of its own: its namespace is left with it. */
static void *make(void *arg)
{
    struct job *j = arg;
    int rc = 0;
    if (unshare(CLONE_NEWNET) < 0) {
        j->what = "unshare";
        j->errnum = errno;
    } else if ((rc = loopback_up()) < 0) {
        j->what = "loopback";
        j->errnum = -rc;
    } else if (mount("/proc/thread-self/ns/net", j->path, NULL, MS_BIND, NULL) < 0) {
        j->what = "mount";
        j->errnum = errno;
    }
    return NULL;
}

int netns_create(const char *path, struct gi_error *err)
{
    struct job j = {.path = path};
    pthread_t thread;
    cleanup_close int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0)
        return gi_fail_errno(err, errno, "network namespace %s", path);
    int rc = pthread_create(&thread, NULL, make, &j);
    if (rc == 0) {
        pthread_join(thread, NULL);
    } else {
        j.what = "thread";
        j.errnum = rc;
    }
    if (!j.errnum)
        return 0;
    unlink(path);
    return gi_fail_errno(err, j.errnum, "network namespace %s: %s", path, j.what);
}

bool netns_exists(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == NSFS_MAGIC;
}

int netns_remove(const char *path, struct gi_error *err)
{
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return gi_fail_errno(err, errno, "unmount network namespace %s", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "network namespace %s", path);
    return 0;
}
