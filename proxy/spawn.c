/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define MAX_ENVIRONMENT 64

/* What of our environment a driver may need; NOTIFY_SOCKET and the like stay. */
static const char *const passed[] = {
    "CUDA_", "NVIDIA_", "GI_", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LD_LIBRARY_PATH="};

static bool is_passed(const char *entry)
{
    for (size_t i = 0; i < GI_ARRAY_SIZE(passed); i++) {
        if (strncmp(entry, passed[i], strlen(passed[i])) == 0)
            return true;
    }
    return false;
}

static void make_environment(const char *env[MAX_ENVIRONMENT])
{
    size_t n = 0;
    /* The driver's kernel cache would be a file that one client writes and
     * another reads; the worker couldn't write it anyway. */
    env[n++] = "CUDA_CACHE_DISABLE=1";
    env[n++] = "HOME=/nonexistent";
    for (char **e = environ; *e && n < MAX_ENVIRONMENT - 1; e++) {
        if (is_passed(*e))
            env[n++] = *e;
    }
    env[n] = NULL;
}

/* Between fork and exec: system calls only. */
__attribute__((noreturn)) static void child(char *const argv[], const char *const env[],
                                            const int *fds, size_t nfds, const sigset_t *mask)
{
    /* First all out of the way of the final numbers, then into place. */
    int high[WORKER_MAX_FDS];
    for (size_t i = 0; i < nfds; i++) {
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, WORKER_MAX_FDS);
        if (high[i] < 0)
            _exit(127);
    }
    for (size_t i = 0; i < nfds; i++) {
        if (dup2(high[i], (int)i) < 0)
            _exit(127);
    }
    /* Everything is close-on-exec already; this holds if something wasn't. */
    syscall(SYS_close_range, (unsigned)nfds, ~0u, 0);
    setsid(); /* the operator's ^C is for the broker */
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve("/proc/self/exe", argv, (char *const *)(uintptr_t)env);
    _exit(127);
}

int worker_spawn(char *const argv[], const int *fds, size_t nfds, const sigset_t *mask,
                 pid_t *ret_pid, int *ret_pidfd, struct gi_error *err)
{
    const char *env[MAX_ENVIRONMENT];
    if (nfds > WORKER_MAX_FDS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%zu descriptors for a worker", nfds);
    make_environment(env);
    pid_t pid = fork();
    if (pid < 0)
        return gi_fail_errno(err, errno, "fork a worker");
    if (pid == 0)
        child(argv, env, fds, nfds, mask);
    /* Not reaped by anyone but us: the number is still this child's. */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int saved = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return gi_fail_errno(err, saved, "pidfd_open");
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}
