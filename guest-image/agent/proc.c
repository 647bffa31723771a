/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define WORK_RESULT_MAX 640u /* a struct gi_error fits */
#define STRAYS          512u
#define KILL_ROUNDS     8
#define TREE_MAX        4096u
#define FILES_MAX       65536u

struct watch {
    struct watch *next;
    pid_t pid;
    proc_exit_fn fn;
    void *data;
};

/* Exits nobody had asked for yet: a container's first process can be gone
 * before the OCI runtime has written its pid. */
struct stray {
    pid_t pid;
    int status;
};

static struct {
    struct loop_io io;
    struct watch *watches;
    struct stray strays[STRAYS];
    unsigned next_stray;
    struct rlimit files; /* as it was given to us: containers' default */
    void (*on_terminate)(void *data);
    void *data;
} procs = {.io = {.fd = -1}};

static void reaped(pid_t pid, int status)
{
    for (struct watch **at = &procs.watches; *at; at = &(*at)->next) {
        struct watch *w = *at;
        if (w->pid != pid)
            continue;
        *at = w->next;
        proc_exit_fn fn = w->fn;
        void *data = w->data;
        free(w);
        fn(data, status);
        return;
    }
    procs.strays[procs.next_stray++ % STRAYS] = (struct stray){pid, status};
}

static void on_signal(void *data, uint32_t events)
{
    struct signalfd_siginfo info;
    bool terminate = false;
    while (read(procs.io.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        terminate |= info.ssi_signo != SIGCHLD;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            break;
        reaped(pid, status);
    }
    if (terminate)
        procs.on_terminate(procs.data);
}

/* Hundreds of containers and streams need more descriptors than the usual 1024. */
static void raise_files(void)
{
    if (getrlimit(RLIMIT_NOFILE, &procs.files) < 0)
        return;
    struct rlimit more = procs.files;
    rlim_t wanted = more.rlim_max < FILES_MAX ? more.rlim_max : FILES_MAX;
    if (more.rlim_cur >= wanted)
        return;
    more.rlim_cur = wanted;
    setrlimit(RLIMIT_NOFILE, &more);
}

int proc_init(struct loop *l, void (*on_terminate)(void *data), void *data, struct gi_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGPWR);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return gi_fail_errno(err, errno, "signalfd");
    raise_files();
    procs.on_terminate = on_terminate;
    procs.data = data;
    int rc = loop_watch(l, &procs.io, fd, EPOLLIN, on_signal, NULL);
    return rc < 0 ? gi_fail_errno(err, -rc, "epoll") : 0;
}

void proc_expect(pid_t pid, proc_exit_fn fn, void *data)
{
    for (unsigned i = 0; i < STRAYS; i++) {
        if (procs.strays[i].pid != pid)
            continue;
        int status = procs.strays[i].status;
        procs.strays[i].pid = 0;
        fn(data, status);
        return;
    }
    struct watch *w = calloc(1, sizeof(*w));
    if (!w)
        abort(); /* losing an exit would hang a pod for ever */
    *w = (struct watch){.next = procs.watches, .pid = pid, .fn = fn, .data = data};
    procs.watches = w;
}

void proc_forget(const void *data)
{
    struct watch **at = &procs.watches;
    while (*at) {
        struct watch *w = *at;
        if (w->data == data) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
}

/* A pid that is used again must not inherit an old exit. */
static void drop_stray(pid_t pid)
{
    for (unsigned i = 0; i < STRAYS; i++) {
        if (procs.strays[i].pid == pid)
            procs.strays[i].pid = 0;
    }
}

static void child_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child_exec(const char *const *argv, const int stdio[3])
{
    int fds[3];
    for (int i = 0; i < 3; i++) {
        /* Out of the way of 0..2 first, so that no dup2 hits a later source. */
        int fd = stdio[i] >= 0 ? stdio[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    }
    for (int i = 0; i < 3; i++) {
        if (fds[i] < 0 || dup2(fds[i], i) < 0)
            _exit(127);
    }
    child_signals();
    if (procs.files.rlim_max)
        setrlimit(RLIMIT_NOFILE, &procs.files);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

pid_t proc_spawn(const char *const *argv, const int stdio[3], proc_exit_fn fn, void *data,
                 struct gi_error *err)
{
    pid_t pid = fork();
    if (pid < 0)
        return (pid_t)gi_fail_errno(err, errno, "fork");
    if (pid == 0)
        child_exec(argv, stdio);
    drop_stray(pid);
    proc_expect(pid, fn, data);
    return pid;
}

struct work {
    int fd;
    size_t size;
    void (*done)(void *data, int rc, const void *result);
    void *data;
};

struct work_answer {
    int rc;
    _Alignas(16) char bytes[WORK_RESULT_MAX];
};

static void work_done(void *data, int status)
{
    struct work *w = data;
    struct work_answer answer;
    memset(&answer, 0, sizeof(answer));
    if (status != 0 || gi_read_full(w->fd, &answer, sizeof(answer)) < 0)
        answer.rc = -GI_INTERNAL;
    close(w->fd);
    w->done(w->data, answer.rc, answer.bytes);
    free(w);
}

int proc_work(int (*fn)(void *arg, void *result), void *arg, size_t result_size,
              void (*done)(void *data, int rc, const void *result), void *data,
              struct gi_error *err)
{
    int fds[2];
    if (result_size > WORK_RESULT_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "result of %zu bytes", result_size);
    struct work *w = calloc(1, sizeof(*w));
    if (!w || pipe2(fds, O_CLOEXEC) < 0) {
        free(w);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory or descriptors");
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct work_answer answer;
        memset(&answer, 0, sizeof(answer));
        child_signals();
        answer.rc = fn(arg, answer.bytes);
        _exit(gi_write_full(fds[1], &answer, sizeof(answer)) < 0);
    }
    int saved = errno;
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        free(w);
        return gi_fail_errno(err, saved, "fork");
    }
    *w = (struct work){fds[0], result_size, done, data};
    drop_stray(pid);
    proc_expect(pid, work_done, w);
    return 0;
}

static void keep_only(int fd)
{
    if (fd > 3)
        close_range(3, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0u, 0);
}

pid_t proc_fork(int (*fn)(void *arg), void *arg, int keep, proc_exit_fn done, void *data,
                struct gi_error *err)
{
    pid_t pid = fork();
    if (pid < 0)
        return (pid_t)gi_fail_errno(err, errno, "fork");
    if (pid == 0) {
        child_signals();
        keep_only(keep);
        _exit(fn(arg));
    }
    drop_stray(pid);
    proc_expect(pid, done, data);
    return pid;
}

struct tree {
    pid_t pids[TREE_MAX];
    size_t n;
};

static bool in_tree(const struct tree *t, pid_t pid)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->pids[i] == pid)
            return true;
    }
    return false;
}

/* Parent and session of PID; false when it is gone or a zombie. */
static bool read_stat(const char *pid, pid_t *ret_parent, pid_t *ret_session)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    cleanup_free char *text = NULL;
    if (gi_read_file(path, 4096, &text, NULL, NULL) < 0)
        return false;
    const char *after = strrchr(text, ')'); /* the name may contain anything */
    char state;
    return after && sscanf(after + 1, " %c %d %*d %d", &state, ret_parent, ret_session) == 3 &&
           state != 'Z';
}

static bool grow_tree(struct tree *t, pid_t leader)
{
    bool grown = false;
    cleanup_closedir DIR *d = opendir("/proc");
    struct dirent *e;
    while (d && (e = readdir(d))) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        pid_t parent;
        pid_t session;
        if (pid <= 1 || in_tree(t, pid) || !read_stat(e->d_name, &parent, &session))
            continue;
        if ((session == leader || in_tree(t, parent)) && t->n < TREE_MAX) {
            t->pids[t->n++] = pid;
            grown = true;
        }
    }
    return grown;
}

void proc_kill_tree(pid_t pid)
{
    struct tree *t = calloc(1, sizeof(*t));
    if (!t || pid <= 1) {
        free(t);
        return;
    }
    t->pids[t->n++] = pid;
    /* The root last: while it lives, what it forks still leads back to it. */
    for (int round = 0; round < KILL_ROUNDS && grow_tree(t, pid); round++) {
        for (size_t i = 1; i < t->n; i++)
            kill(t->pids[i], SIGKILL);
    }
    kill(pid, SIGKILL);
    free(t);
}

int proc_exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
