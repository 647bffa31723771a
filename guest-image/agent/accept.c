/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever connects says in his first message what the connection is for: the
 * runtime's one (Hello) or a stream. Until then he has a place in a small
 * table, and not for long.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "stream.h"

#define MAX_ARRIVALS 32u
#define ARRIVAL_MS   10000
#define PAUSE_MS     100
#define READ_CHUNK   65536
#define LOG_MAX      (1 << 20)

struct arrival {
    struct arrival *next;
    struct agent *a;
    struct loop_io io;
    struct loop_timer timer;
    struct gi_buf in;
};

static struct {
    struct arrival *first;
    unsigned n;
    struct loop_timer pause;
} arrivals;

/* The descriptor stays open. */
static int forget(struct arrival *v)
{
    int fd = v->io.fd;
    for (struct arrival **at = &arrivals.first; *at; at = &(*at)->next) {
        if (*at == v) {
            *at = v->next;
            arrivals.n--;
            break;
        }
    }
    loop_unwatch(v->a->loop, &v->io);
    loop_disarm(v->a->loop, &v->timer);
    gi_buf_free(&v->in);
    free(v);
    return fd;
}

static void turn_away(void *data)
{
    int fd = forget(data);
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

/* The first message is whole: PAYLOAD of LEN bytes in a frame of TOTAL. */
static void sort(struct arrival *v, size_t total, struct gi_error *err)
{
    struct agent *a = v->a;
    Gi__Agent__ToAgent *msg = NULL;
    int rc =
        agent_unpack_to(v->in.data + AGENT_FRAME_HEADER, total - AGENT_FRAME_HEADER, &msg, err);
    bool stream = rc == 0 && msg->op_case == GI__AGENT__TO_AGENT__OP_OPEN_STREAM;
    if (rc == 0 && !stream && msg->op_case != GI__AGENT__TO_AGENT__OP_HELLO) {
        rc = gi_fail(err, GI_FAILED_PRECONDITION, "the first message must be Hello or OpenStream");
        agent_to_free(msg);
    }
    if (rc < 0) {
        gi_log(GI_LOG_INFO, "connection turned away", "reason", err->message, NULL);
        turn_away(v);
        return;
    }
    struct gi_buf in = v->in;
    memset(&v->in, 0, sizeof(v->in));
    int fd = forget(v);
    if (stream) {
        stream_open(a, fd, msg->id, msg->open_stream, in.data + total, in.len - total);
        gi_buf_free(&in);
    } else {
        conn_take(a, fd, &in);
    }
    agent_to_free(msg);
}

static void on_arrival(void *data, uint32_t events)
{
    static char chunk[READ_CHUNK];
    struct arrival *v = data;
    struct gi_error err = GI_ERROR_INIT;
    size_t total = 0;
    ssize_t n = recv(v->io.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || gi_buf_append(&v->in, chunk, (size_t)n) < 0) {
        turn_away(v);
        return;
    }
    int rc = agent_frame_peek(v->in.data, v->in.len, &total, &err);
    if (rc < 0)
        turn_away(v);
    else if (rc > 0)
        sort(v, total, &err);
}

/* Our log is a file without a reader who cuts it. */
static void trim_log(void)
{
    struct stat st;
    if (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > LOG_MAX &&
        ftruncate(STDERR_FILENO, 0) < 0)
        gi_log(GI_LOG_WARNING, "can't cut the log", NULL);
}

static void on_pause_over(void *data)
{
    struct agent *a = data;
    loop_events(a->loop, &a->listener, EPOLLIN);
}

static void on_connection(void *data, uint32_t events)
{
    struct agent *a = data;
    int fd = accept4(a->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        /* Without descriptors the listener would be ready again at once. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            loop_events(a->loop, &a->listener, 0);
            loop_arm(a->loop, &arrivals.pause, PAUSE_MS, on_pause_over, a);
        }
        return;
    }
    trim_log();
    struct arrival *v = calloc(1, sizeof(*v));
    /* The oldest has had his time. */
    if (v && arrivals.n >= MAX_ARRIVALS) {
        struct arrival *oldest = arrivals.first;
        while (oldest->next)
            oldest = oldest->next;
        turn_away(oldest);
    }
    if (!v || loop_watch(a->loop, &v->io, fd, EPOLLIN, on_arrival, v) < 0) {
        free(v);
        close(fd);
        return;
    }
    v->a = a;
    v->in.max = AGENT_FRAME_MAX + AGENT_FRAME_HEADER + READ_CHUNK;
    v->next = arrivals.first;
    arrivals.first = v;
    arrivals.n++;
    loop_arm(a->loop, &v->timer, ARRIVAL_MS, turn_away, v);
}

static int bind_path(const char *path, struct gi_error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT, "socket path too long: %s", path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t old = umask(0177);
    unlink(path);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    int saved = errno;
    umask(old);
    if (rc < 0 || listen(fd, 128) < 0)
        return gi_fail_errno(err, rc < 0 ? saved : errno, "listen on %s", path);
    return TAKE_FD(fd);
}

int conn_listen(struct agent *a, struct gi_error *err)
{
    int fd = a->opt.listen_fd;
    if (fd < 0)
        fd = bind_path(a->opt.listen_path, err);
    if (fd < 0)
        return fd;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return gi_fail_errno(err, errno, "listening socket");
    int rc = loop_watch(a->loop, &a->listener, fd, EPOLLIN, on_connection, a);
    return rc < 0 ? gi_fail_errno(err, -rc, "listening socket") : 0;
}
