/* SPDX-License-Identifier: Apache-2.0 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

void console_init(struct console *c)
{
    c->io.fd = -1;
    c->dir = -1;
}

void console_close(struct console *c)
{
    int fd = c->io.fd;
    if (fd >= 0) {
        loop_unwatch(c->a->loop, &c->io);
        close(fd);
    }
    if (c->dir >= 0) {
        unlinkat(c->dir, c->name, 0);
        close(c->dir);
    }
    c->dir = -1;
}

/* The OCI runtime connects and sends its master. */
static void on_console(void *data, uint32_t events)
{
    struct console *c = data;
    cleanup_close int conn = accept4(c->io.fd, NULL, NULL, SOCK_CLOEXEC);
    char name[4096];
    int master = -1;
    size_t n = 1;
    struct timeval patience = {.tv_sec = 1};
    if (conn < 0)
        return;
    setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (gi_recv_fds(conn, name, sizeof(name), &master, &n) <= 0 || n != 1)
        return;
    int listener = c->io.fd;
    loop_unwatch(c->a->loop, &c->io);
    close(listener);
    if (isatty(master))
        c->fn(c->data, master);
    else
        close(master);
}

int console_listen(struct console *c, struct agent *a, const char *folder, const char *name,
                   void (*fn)(void *data, int master), void *data, char *path, struct gi_error *err)
{
    cleanup_close int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    c->a = a;
    c->fn = fn;
    c->data = data;
    snprintf(c->name, sizeof(c->name), "%s", name);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir, c->name);
    if (dir < 0 || fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, 1) < 0)
        return gi_fail_errno(err, errno, "console socket");
    int rc = loop_watch(a->loop, &c->io, fd, EPOLLIN, on_console, c);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "console socket");
    TAKE_FD(fd);
    /* The path must fit sun_path in the OCI runtime. */
    snprintf(path, CONSOLE_PATH_MAX, "/proc/%d/fd/%d/%s", getpid(), dir, c->name);
    c->dir = TAKE_FD(dir);
    return 0;
}

void console_finish(struct console *c)
{
    if (c->io.fd >= 0)
        on_console(c, EPOLLIN);
    console_close(c);
}

void console_resize(int master, uint16_t width, uint16_t height)
{
    const struct winsize size = {.ws_row = height, .ws_col = width};
    if (master >= 0 && (width || height))
        ioctl(master, TIOCSWINSZ, &size);
}
