/* SPDX-License-Identifier: Apache-2.0 */
#include "listen.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"

#define BACKLOG 128

static int remove_stale(const struct sockaddr_un *address, struct gi_error *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "stat %s", path);
    if (!S_ISSOCK(st.st_mode))
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s exists and is no socket", path);
    cleanup_close int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return gi_fail_errno(err, errno, "socket");
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno != ECONNREFUSED)
        return gi_fail(err, GI_FAILED_PRECONDITION, "somebody already listens at %s", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "remove stale %s", path);
    return 0;
}

int listen_at(const char *path, mode_t mode, int *ret_fd, struct gi_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT, "socket path too long: %.120s", path);
    memcpy(address.sun_path, path, len + 1);
    int rc = remove_stale(&address, err);
    if (rc < 0)
        return rc;
    cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return gi_fail_errno(err, errno, "socket");
    /* Nobody can connect before listen(2), so the mode is in place in time. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return gi_fail_errno(err, errno, "bind %s", path);
    if (chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
        int saved = errno;
        unlink(path);
        return gi_fail_errno(err, saved, "listen at %s", path);
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int listen_accept(int listener)
{
    /* Kept so that a connection can be accepted, and closed, when no other
     * descriptor is left. */
    static int spare = -1;
    if (spare < 0)
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            return fd;
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if ((errno != EMFILE && errno != ENFILE) || spare < 0)
            return -EAGAIN;
        close(spare);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return -EMFILE;
    }
}

int peer_uid(int fd, uid_t *ret_uid, struct gi_error *err)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return gi_fail_errno(err, errno, "SO_PEERCRED");
    *ret_uid = cred.uid;
    return 0;
}
