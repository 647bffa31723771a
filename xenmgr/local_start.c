/* SPDX-License-Identifier: Apache-2.0 */
/* The agent of a machine of the `local` driver: what it is given, and until it is ready. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "local.h"

/* Through /proc/self/fd: the path itself may be longer than sun_path. */
int local_socket_address(int dirfd, struct sockaddr_un *addr)
{
    memset(addr, 0, sizeof(*addr));
    addr->sun_family = AF_UNIX;
    return snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/agent.sock", dirfd);
}

static int listen_agent(int dirfd, struct gi_error *err)
{
    struct sockaddr_un addr;
    local_socket_address(dirfd, &addr);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        fchmodat(dirfd, "agent.sock", 0600, 0) < 0 || listen(fd, 8) < 0)
        return gi_fail_errno(err, errno, "agent socket");
    return TAKE_FD(fd);
}

struct args {
    const char *v[40 + 2 * LOCAL_MAX_SYSCTLS];
    size_t n;
    char zone[16];
};

static void add(struct args *a, const char *key, const char *value)
{
    a->v[a->n++] = key;
    a->v[a->n++] = value;
}

static void agent_args(const struct local *l, const struct machine_config *c,
                       const struct record *r, const char *scratch, struct args *a)
{
    static const char *const versions[] = {"none", "v1", "v2"};
    memset(a, 0, sizeof(*a));
    a->v[a->n++] = l->agent;
    add(a, "--listen-fd", "3");
    add(a, "--ready-fd", "4");
    add(a, "--scratch", scratch);
    add(a, "--oci", l->oci.path);
    add(a, "--oci-kind", l->oci.crun ? "crun" : "runc");
    add(a, "--cgroup", versions[l->oci.cgroup]);
    if (l->oci.cgroup)
        add(a, "--cgroup-path", r->cgroup);
    if (l->libvgpu && c->gpu_socket) {
        add(a, "--libvgpu", l->libvgpu);
        add(a, "--gpu-socket", c->gpu_socket);
    }
    snprintf(a->zone, sizeof(a->zone), "%u", r->zone);
    add(a, "--zone", a->zone);
    for (size_t i = 0; c->sysctls && c->sysctls[i]; i++)
        add(a, "--sysctl", c->sysctls[i]);
}

/* The last line of the agent's log: why it could not even say why. */
static void last_words(int dirfd, char out[160])
{
    char text[512];
    cleanup_close int fd = openat(dirfd, "agent.log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t at = size < (off_t)sizeof(text) ? 0 : size - (off_t)sizeof(text) + 1;
    ssize_t n = size > 0 ? pread(fd, text, sizeof(text) - 1, at) : 0;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    snprintf(out, 160, "%s%.*s", *line ? ": " : "", 150, line);
}

/* What came over the ready pipe: "ok", a reason, or "step: eNNN" from before
 * the exec, where strerror can't be called. */
static int read_ready(int fd, int dirfd, int timeout_ms, struct gi_error *err)
{
    char text[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, timeout_ms);
    if (n == 0)
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "the agent was not ready within %d ms",
                       timeout_ms);
    ssize_t len = n < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len <= 0) {
        char why[160];
        last_words(dirfd, why);
        return gi_fail(err, GI_INTERNAL, "the agent ended before it was ready%s", why);
    }
    text[len] = '\0';
    if (strcmp(text, "ok") == 0)
        return 0;
    char *e = strstr(text, ": e");
    int errnum = e ? (int)strtol(e + 3, NULL, 10) : 0;
    if (e && errnum > 0) {
        *e = '\0';
        return gi_fail_errno(err, errnum, "start the machine: %s", text);
    }
    return gi_fail(err, GI_INTERNAL, "start the machine: %s", text);
}

int local_open_ends(const struct machine_config *c, struct building *b, struct gi_error *err)
{
    int ready[2];
    b->dirfd = open(b->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (b->dirfd < 0)
        return gi_fail_errno(err, errno, "open %s", b->dir);
    b->listen_fd = listen_agent(b->dirfd, err);
    if (b->listen_fd < 0)
        return b->listen_fd;
    b->log_fd = openat(b->dirfd, "agent.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (b->log_fd < 0 || pipe2(ready, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "agent log");
    b->ready_r = ready[0];
    b->ready_w = ready[1];
    if (c->netns_path) {
        b->netns_fd = open(c->netns_path, O_RDONLY | O_CLOEXEC);
        if (b->netns_fd < 0)
            return gi_fail_errno(err, errno, "network namespace %s", c->netns_path);
    }
    return 0;
}

int local_start_agent(struct local *l, const struct machine_config *c, struct building *b,
                      int timeout_ms, struct gi_error *err)
{
    struct args args;
    agent_args(l, c, &b->record, b->scratch, &args);
    const struct spawn s = {
        .argv = args.v,
        .hostname = c->hostname && *c->hostname ? c->hostname : NULL,
        .listen_fd = b->listen_fd,
        .ready_fd = b->ready_w,
        .log_fd = b->log_fd,
        .netns_fd = b->netns_fd,
        .hide = l->oci.hide,
        .cgroup_fds = b->cgroup_fds,
        .n_cgroup_fds = b->n_cgroup_fds,
    };
    pid_t pid = 0;
    cleanup_close int go = -1;
    int rc = spawn_init(&s, &pid, &go, err);
    gi_cleanup_closep(&b->ready_w);
    b->ready_w = -1;
    if (rc < 0)
        return read_ready(b->ready_r, b->dirfd, 0, err) < 0 ? -(int)GI_INTERNAL : rc;
    b->pidfd = pidfd_open(pid, 0);
    if (b->pidfd < 0)
        return gi_fail_errno(err, errno, "pidfd of the machine");
    rc = record_fill_process(&b->record, pid, err);
    GI_FAILPOINT(rc, "local_spawned", err);
    if (rc == 0)
        rc = record_write(b->dir, &b->record, err);
    GI_FAILPOINT(rc, "local_process_recorded", err);
    if (rc < 0)
        return rc;
    if (write(go, "", 1) != 1)
        return gi_fail_errno(err, errno, "start the agent");
    return read_ready(b->ready_r, b->dirfd, timeout_ms, err);
}
