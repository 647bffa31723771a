/* SPDX-License-Identifier: Apache-2.0 */
/* A session as three pipes: one thread moves the bytes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/agent_stream.h"
#include "base/cleanup.h"

#define CHUNK (64u << 10)
/* Input must get its turn, however fast the output is. */
#define FRAMES_MAX 16

struct agent_pipes {
    struct agent_session *session;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool stop;
    /* The thread's, until it is joined. */
    int in;
    int out[2]; /* stdout, stderr */
    char input[CHUNK];
    size_t input_len;
    size_t input_at;
    struct agent_session_frame frame; /* output that a pipe had no room for */
    bool more;                        /* frames may be there without the socket saying so */
    bool ended;
    int rc;
    int exit_code;
    struct gi_error why;
};

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int *end_for(struct agent_pipes *p)
{
    return &p->out[p->frame.kind == AGENT_SESSION_STDERR];
}

/* Writes what is left of the frame. Whoever closed his end gets nothing more. */
static void put_output(struct agent_pipes *p)
{
    int *fd = end_for(p);
    while (p->frame.len) {
        ssize_t n = *fd < 0 ? (ssize_t)p->frame.len : write(*fd, p->frame.data, p->frame.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            close_end(fd);
            continue;
        }
        p->frame.data += n;
        p->frame.len -= (size_t)n;
    }
}

/* Frames until a pipe is full or there is none. */
static int take_output(struct agent_pipes *p)
{
    put_output(p);
    p->more = true;
    for (int i = 0; i < FRAMES_MAX && !p->frame.len; i++) {
        int rc = agent_session_read(p->session, &p->frame, &p->why);
        p->more = rc > 0;
        if (rc <= 0)
            return rc;
        if (p->frame.kind == AGENT_SESSION_END) {
            p->ended = true;
            p->exit_code = p->frame.exit_code;
            return 0;
        }
        put_output(p);
    }
    return 0;
}

static int read_input(struct agent_pipes *p)
{
    ssize_t n = read(p->in, p->input, sizeof(p->input));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    p->input_at = 0;
    p->input_len = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return 0;
    close_end(&p->in);
    return agent_session_close_stdin(p->session, &p->why);
}

static int give_input(struct agent_pipes *p)
{
    int rc = agent_session_flush(p->session, &p->why);
    while (rc == 0 && p->input_at < p->input_len) {
        ssize_t n = agent_session_write_stdin(p->session, p->input + p->input_at,
                                              p->input_len - p->input_at, &p->why);
        if (n <= 0)
            return (int)n;
        p->input_at += (size_t)n;
    }
    return rc;
}

static int one_round(struct agent_pipes *p)
{
    bool held = p->frame.len > 0;
    bool hungry = p->in >= 0 && p->input_at == p->input_len;
    bool blocked = p->input_at < p->input_len;
    short events = agent_session_events(p->session);
    struct pollfd fds[4] = {
        {.fd = p->wake, .events = POLLIN},
        {.fd = agent_session_fd(p->session),
         .events = (short)((held ? 0 : POLLIN) | (events & POLLOUT) | (blocked ? POLLOUT : 0))},
        {.fd = hungry ? p->in : -1, .events = POLLIN},
        {.fd = held ? *end_for(p) : -1, .events = POLLOUT},
    };
    /* A connection that hung up while a pipe is full would be heard again and again. */
    if (held && !fds[1].events)
        fds[1].fd = -1;
    if (poll(fds, 4, p->more && !held ? 0 : -1) < 0)
        return errno == EINTR ? 0 : gi_fail_errno(&p->why, errno, "poll");
    if (fds[0].revents) {
        uint64_t n;
        ssize_t got = read(p->wake, &n, sizeof(n));
        (void)got;
    }
    int rc = fds[2].revents ? read_input(p) : 0;
    /* The agent may have told the end before it stopped taking input. */
    int in_rc = rc < 0 ? rc : give_input(p);
    if (in_rc < 0) {
        close_end(&p->in);
        p->input_at = p->input_len = 0;
    }
    return take_output(p);
}

static void *run(void *data)
{
    struct agent_pipes *p = data;
    while (p->rc == 0 && !p->ended && !atomic_load(&p->stop))
        p->rc = one_round(p);
    close_end(&p->in);
    close_end(&p->out[0]);
    close_end(&p->out[1]);
    return NULL;
}

static void wake(const struct agent_pipes *p)
{
    uint64_t one = 1;
    ssize_t n = write(p->wake, &one, sizeof(one));
    (void)n;
}

static void pipes_free(struct agent_pipes *p)
{
    close_end(&p->in);
    close_end(&p->out[0]);
    close_end(&p->out[1]);
    close_end(&p->wake);
    agent_session_free(p->session);
    free(p);
}

/* One pipe with our end non-blocking. */
static int make_pipe(bool we_write, int *ret_ours, int *ret_theirs, struct gi_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return gi_fail_errno(err, errno, "pipe");
    *ret_ours = fds[we_write];
    *ret_theirs = fds[!we_write];
    if (fcntl(*ret_ours, F_SETFL, O_NONBLOCK | (we_write ? O_WRONLY : O_RDONLY)) < 0)
        return gi_fail_errno(err, errno, "pipe");
    return 0;
}

static int start(struct agent_pipes *p, struct gi_error *err)
{
    sigset_t all;
    sigset_t old;
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake < 0)
        return gi_fail_errno(err, errno, "eventfd");
    /* Signals are the program's; a broken pipe is told by write(). */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc ? gi_fail_errno(err, rc, "thread of a session") : 0;
}

int agent_pipes_open(struct agent_session *session, const struct agent_stream_spec *spec,
                     struct agent_pipes **ret_pipes, int *ret_in, int *ret_out, int *ret_err,
                     struct gi_error *err)
{
    struct agent_pipes *p = calloc(1, sizeof(*p));
    if (!p) {
        agent_session_free(session);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a session");
    }
    p->session = session;
    p->in = p->out[0] = p->out[1] = p->wake = -1;
    cleanup_close int in = -1;
    cleanup_close int out = -1;
    cleanup_close int errout = -1;
    int rc = spec->in ? make_pipe(false, &p->in, &in, err) : 0;
    if (rc == 0 && spec->out)
        rc = make_pipe(true, &p->out[0], &out, err);
    if (rc == 0 && spec->err && !spec->tty)
        rc = make_pipe(true, &p->out[1], &errout, err);
    if (rc == 0)
        rc = start(p, err);
    if (rc < 0) {
        pipes_free(p);
        return rc;
    }
    *ret_pipes = p;
    *ret_in = TAKE_FD(in);
    *ret_out = TAKE_FD(out);
    *ret_err = TAKE_FD(errout);
    return 0;
}

int agent_pipes_resize(struct agent_pipes *p, uint16_t width, uint16_t height, struct gi_error *err)
{
    int rc = agent_session_resize(p->session, width, height, err);
    wake(p);
    return rc;
}

int agent_pipes_close(struct agent_pipes *p, bool abandon, int *ret_exit_code, struct gi_error *err)
{
    if (abandon)
        atomic_store(&p->stop, true);
    wake(p);
    pthread_join(p->thread, NULL);
    int rc = p->rc;
    if (rc < 0)
        gi_fail(err, p->why.code, "%s", p->why.message);
    else if (!p->ended)
        rc = gi_fail(err, GI_CANCELLED, "the session was given up");
    else
        *ret_exit_code = p->exit_code;
    pipes_free(p);
    return rc;
}
