/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a daemon with many threads into a new set of namespaces. Between fork
 * and exec only async-signal-safe calls are made: another thread may have held
 * any lock at the moment of the fork.
 *
 *   daemon --fork--> A: session, namespaces --fork--> B: init of the pid namespace
 *   A tells B's pid and exits, so B is nobody's child here and outlives us.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "local.h"

/* Without the handlers of fork(), which are for children that go on as we do. Only those
 * of TSan, where it watches: no other child could call anything. */
#ifdef __SANITIZE_THREAD__
#define bare_fork fork
#else
#define bare_fork _Fork
#endif

struct plan {
    const struct spawn *s;
    int pid_w;
    int go_r;
};

static _Noreturn void die(int ready_fd, const char *step, int errnum)
{
    char text[128];
    size_t n = strnlen(step, sizeof(text) - 16);
    memcpy(text, step, n);
    text[n++] = ':';
    text[n++] = ' ';
    text[n++] = 'e';
    text[n++] = (char)('0' + errnum / 100 % 10);
    text[n++] = (char)('0' + errnum / 10 % 10);
    text[n++] = (char)('0' + errnum % 10);
    ssize_t w = write(ready_fd, text, n);
    (void)w;
    _exit(1);
}

/* Closes all but KEEP (modified), before anything waits: a copy of another
 * machine's `go` pipe here would hide the daemon's death from that machine. */
static void close_others(int *keep, size_t n)
{
    unsigned from = 3;
    for (size_t left = n; left;) {
        size_t least = 0;
        for (size_t i = 1; i < left; i++) {
            if (keep[i] < keep[least])
                least = i;
        }
        unsigned fd = (unsigned)keep[least];
        keep[least] = keep[--left];
        if (fd > from)
            close_range(from, fd - 1, 0);
        if (fd >= from)
            from = fd + 1;
    }
    close_range(from, ~0u, 0);
}

static void close_strange(const struct plan *p)
{
    const struct spawn *s = p->s;
    int keep[6 + LOCAL_MAX_HIERARCHIES] = {s->listen_fd, s->ready_fd, s->log_fd, p->pid_w, p->go_r};
    size_t n = 5;
    if (s->netns_fd >= 0)
        keep[n++] = s->netns_fd;
    for (unsigned i = 0; i < s->n_cgroup_fds; i++)
        keep[n++] = s->cgroup_fds[i];
    close_others(keep, n);
}

static void default_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < _NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Every source is moved out of the way of the targets first. */
static void place_descriptors(const struct spawn *s)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int from[] = {null, s->log_fd, s->log_fd, s->listen_fd, s->ready_fd};
    int high[GI_ARRAY_SIZE(from)];
    for (size_t i = 0; i < GI_ARRAY_SIZE(from); i++) {
        high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 64);
        if (high[i] < 0)
            die(s->ready_fd, "descriptors", errno);
    }
    for (size_t i = 0; i < GI_ARRAY_SIZE(from); i++)
        dup2(high[i], (int)i);
    close_range(GI_ARRAY_SIZE(from), ~0u, 0);
}

static _Noreturn void run_b(const struct plan *p)
{
    static char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                NULL};
    const struct spawn *s = p->s;
    char byte;
    /* Nothing of us may live that isn't in the record: the daemon says go once
     * it is written, and its death before that is ours. */
    if (read(p->go_r, &byte, 1) != 1)
        _exit(1);
    for (unsigned i = 0; i < s->n_cgroup_fds; i++) {
        if (write(s->cgroup_fds[i], "0", 1) < 0)
            die(s->ready_fd, "join cgroup", errno);
    }
    /* What the host mounts later we see; what we mount the host doesn't. */
    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        die(s->ready_fd, "mount propagation", errno);
    if (s->hide && umount2(s->hide, MNT_DETACH) < 0)
        die(s->ready_fd, "hide the v2 cgroup tree", errno);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        die(s->ready_fd, "mount /proc", errno);
    int rc = s->netns_fd < 0 ? loopback_up() : 0;
    if (rc < 0)
        die(s->ready_fd, "loopback up", -rc);
    if (chdir("/") < 0)
        die(s->ready_fd, "chdir", errno);
    umask(0022);
    default_signals();
    place_descriptors(s);
    execve(s->argv[0], (char *const *)s->argv, env);
    die(SPAWN_READY_FD, "exec the agent", errno);
}

static _Noreturn void run_a(const struct plan *p)
{
    const struct spawn *s = p->s;
    close_strange(p);
    setsid();
    if (s->netns_fd >= 0 ? setns(s->netns_fd, CLONE_NEWNET) < 0 : unshare(CLONE_NEWNET) < 0)
        die(s->ready_fd, "network namespace", errno);
    if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
        die(s->ready_fd, "namespaces", errno);
    if (s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
        die(s->ready_fd, "hostname", errno);
    pid_t pid = bare_fork();
    if (pid < 0)
        die(s->ready_fd, "fork", errno);
    if (pid == 0)
        run_b(p);
    ssize_t n = write(p->pid_w, &pid, sizeof(pid));
    _exit(n != (ssize_t)sizeof(pid));
}

int spawn_init(const struct spawn *s, pid_t *ret_pid, int *ret_go, struct gi_error *err)
{
    int pid_pipe[2];
    int go_pipe[2];
    if (pipe2(pid_pipe, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    cleanup_close int pid_r = pid_pipe[0];
    cleanup_close int pid_w = pid_pipe[1];
    if (pipe2(go_pipe, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    cleanup_close int go_r = go_pipe[0];
    cleanup_close int go_w = go_pipe[1];
    const struct plan plan = {s, pid_w, go_r};
    pid_t a = bare_fork();
    if (a < 0)
        return gi_fail_errno(err, errno, "fork");
    if (a == 0)
        run_a(&plan);
    gi_cleanup_closep(&pid_w);
    pid_w = -1;
    pid_t pid = 0;
    int rc = gi_read_full(pid_r, &pid, sizeof(pid));
    while (waitpid(a, NULL, 0) < 0 && errno == EINTR)
        ;
    if (rc < 0)
        return gi_fail(err, GI_INTERNAL, "the machine's namespaces could not be made");
    *ret_pid = pid;
    *ret_go = TAKE_FD(go_w);
    return 0;
}
