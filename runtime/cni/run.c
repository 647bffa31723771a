/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

struct child {
    pid_t pid;
    int in;  /* write end of its stdin */
    int out; /* read end of its stdout */
};

/* The plugin leads a process group of its own, so that a time-out ends what it
 * started too. Every descriptor of ours is close-on-exec. */
static int start(const char *path, char *const *envp, struct child *ret_child, struct gi_error *err)
{
    int in[2];
    int out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    if (pipe2(out, O_CLOEXEC) < 0) {
        int saved = errno;
        close(in[0]);
        close(in[1]);
        return gi_fail_errno(err, saved, "pipe");
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    sigset_t none;
    sigset_t normal;
    sigemptyset(&none);
    sigemptyset(&normal);
    sigaddset(&normal, SIGPIPE);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &normal);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    char *argv[] = {(char *)path, NULL};
    int rc = posix_spawn(&ret_child->pid, path, &actions, &attr, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(in[0]);
    close(out[1]);
    if (rc) {
        close(in[1]);
        close(out[0]);
        return gi_fail_errno(err, rc, "start %s", path);
    }
    ret_child->in = in[1];
    ret_child->out = out[0];
    fcntl(ret_child->in, F_SETFL, O_NONBLOCK);
    return 0;
}

/* One round of feeding and reading. 1: more to come, 0: its stdout ended. */
static int pump(struct child *ch, const char **input, size_t *left, struct gi_buf *out, int wait_ms)
{
    struct pollfd fds[2] = {{.fd = ch->out, .events = POLLIN},
                            {.fd = *left ? ch->in : -1, .events = POLLOUT}};
    if (poll(fds, 2, wait_ms) < 0)
        return 1;
    if (fds[1].revents) {
        ssize_t n = write(ch->in, *input, *left);
        if (n > 0) {
            *input += n;
            *left -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            *left = 0; /* it doesn't want to read; its answer tells */
        }
        if (!*left) {
            close(ch->in);
            ch->in = -1;
        }
    }
    if (fds[0].revents) {
        char chunk[4096];
        ssize_t n = read(ch->out, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n > 0) {
            size_t room = out->max - out->len;
            (void)gi_buf_append(out, chunk, (size_t)n < room ? (size_t)n : room);
        }
    }
    return 1;
}

/* Waits until DEADLINE_NS for the end of a process that closed its output. */
static bool wait_until(pid_t pid, int64_t deadline_ns, int *ret_status)
{
    for (;;) {
        pid_t got = waitpid(pid, ret_status, WNOHANG);
        if (got == pid)
            return true;
        if (got < 0 && errno != EINTR)
            return false;
        if (gi_monotonic_ns() >= deadline_ns)
            return false;
        usleep(1000);
    }
}

int cni_run(const char *path, char *const *envp, const char *input, size_t input_len,
            int timeout_ms, struct gi_buf *out, int *ret_status, struct gi_error *err)
{
    struct child ch;
    int rc = start(path, envp, &ch, err);
    if (rc < 0)
        return rc;
    int64_t deadline = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    if (!input_len) {
        close(ch.in);
        ch.in = -1;
    }
    for (;;) {
        int64_t left_ms = (deadline - gi_monotonic_ns()) / 1000000;
        if (left_ms <= 0 || !pump(&ch, &input, &input_len, out, (int)left_ms))
            break;
    }
    if (ch.in >= 0)
        close(ch.in);
    close(ch.out);
    int status = 0;
    if (!wait_until(ch.pid, deadline, &status)) {
        kill(-ch.pid, SIGKILL);
        while (waitpid(ch.pid, &status, 0) < 0 && errno == EINTR)
            ;
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "%s did not end within %d ms", path, timeout_ms);
    }
    *ret_status = status;
    return 0;
}
