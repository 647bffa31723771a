/* SPDX-License-Identifier: Apache-2.0 */
/* The client's streams against agents that lie, stop short, or never answer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent_stream.h"
#include "agent/record.h"
#include "agent/wire.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "zone_util.h"

static int ours; /* the lying agent's end */

static const char *const argv_true[] = {"true", NULL};
static const struct agent_stream_spec pipes = {
    .container_id = "c", .argv = argv_true, .in = true, .out = true, .err = true};

static int pair(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours = fds[0];
    return fds[1];
}

static void tell(const void *data, size_t len)
{
    assert_int_equal(send(ours, data, len, MSG_NOSIGNAL), len);
}

static void reply(uint64_t id, uint32_t code, const char *text)
{
    struct gi_buf b = GI_BUF_INIT(AGENT_FRAME_MAX);
    Gi__Agent__Reply r = GI__AGENT__REPLY__INIT;
    r.id = id;
    r.code = code;
    r.message = (char *)text;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_REPLY;
    msg.reply = &r;
    assert_ok(agent_frame_append(&b, &msg.base, err));
    tell(b.data, b.len);
    gi_buf_free(&b);
}

static struct agent_session *opened(struct agent_stream_spec spec)
{
    struct agent_session *s = NULL;
    int fd = pair();
    reply(1, 0, "");
    assert_ok(agent_exec_open(fd, &spec, 2000, &s, err));
    return s;
}

static int refused(struct gi_error *e)
{
    struct agent_session *s = NULL;
    int rc = agent_attach_open(pair(), &pipes, 200, &s, e);
    assert_null(s);
    close(ours);
    return rc;
}

/* The socket takes the bytes before the client is there: what is told first is
 * what the client then finds. */
static int refused_after(void (*play)(void), struct gi_error *e)
{
    struct agent_session *s = NULL;
    int fd = pair();
    play();
    int rc = agent_attach_open(fd, &pipes, 200, &s, e);
    assert_null(s);
    close(ours);
    return rc;
}

static void play_wrong_id(void)
{
    reply(2, 0, "");
}

static void play_error(void)
{
    reply(1, GI_NOT_FOUND, "no\x1b[2J\xff container");
}

static void play_odd_code(void)
{
    reply(1, 4711, "");
}

static void play_long_frame(void)
{
    tell("\xff\xff\xff\xff", 4);
}

static void play_no_frame(void)
{
    tell("\0\0\0\0", 4);
}

static void play_half(void)
{
    tell("\x10\0\0\0abc", 7);
    shutdown(ours, SHUT_WR);
}

static void play_event(void)
{
    struct gi_buf b = GI_BUF_INIT(4096);
    Gi__Agent__Exit exit = GI__AGENT__EXIT__INIT;
    Gi__Agent__ContainerExit event = GI__AGENT__CONTAINER_EXIT__INIT;
    event.container_id = (char *)"c";
    event.exit = &exit;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXIT;
    msg.exit = &event;
    assert_ok(agent_frame_append(&b, &msg.base, err));
    tell(b.data, b.len);
    gi_buf_free(&b);
}

static void openings(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    int64_t t0 = gi_monotonic_ns();
    assert_int_equal(refused(&e), -GI_DEADLINE_EXCEEDED);
    assert_true(gi_monotonic_ns() - t0 < 2000000000);
    assert_int_equal(refused_after(play_wrong_id, &e), -GI_INTERNAL);
    assert_int_equal(refused_after(play_event, &e), -GI_INTERNAL);
    assert_int_equal(refused_after(play_error, &e), -GI_NOT_FOUND);
    assert_string_equal(e.message, "no?[2J? container");
    assert_int_equal(refused_after(play_odd_code, &e), -GI_UNKNOWN);
    assert_int_equal(refused_after(play_long_frame, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(refused_after(play_no_frame, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(refused_after(play_half, &e), -GI_UNAVAILABLE);
    int fd = pair();
    close(ours);
    struct agent_session *s = NULL;
    assert_int_equal(agent_exec_open(fd, &pipes, 200, &s, &e), -GI_UNAVAILABLE);
    /* A port's bytes behind the reply are the caller's. */
    fd = pair();
    int port = -1;
    char text[4] = "";
    reply(1, 0, "");
    tell("abc", 3);
    assert_ok(agent_port_open(fd, 80, 1000, &port, err));
    assert_int_equal(gi_read_full(port, text, 3), 0);
    assert_string_equal(text, "abc");
    close(port);
    close(ours);
}

static void bad_arguments(void **state)
{
    static const char *const none[] = {NULL};
    struct agent_stream_spec spec = pipes;
    struct agent_session *s = NULL;
    struct gi_error e = GI_ERROR_INIT;
    spec.argv = none;
    assert_int_equal(agent_exec_open(pair(), &spec, 100, &s, &e), -GI_INVALID_ARGUMENT);
    close(ours);
    spec = pipes;
    spec.tty = true; /* and stderr */
    assert_int_equal(agent_exec_open(pair(), &spec, 100, &s, &e), -GI_INVALID_ARGUMENT);
    close(ours);
    spec.container_id = NULL;
    assert_int_equal(agent_attach_open(pair(), &spec, 100, &s, &e), -GI_INVALID_ARGUMENT);
    close(ours);
}

static void wait_readable(struct agent_session *s)
{
    struct pollfd p = {.fd = agent_session_fd(s), .events = agent_session_events(s)};
    assert_int_equal(poll(&p, 1, 2000), 1);
}

/* What a session makes of these bytes: the last result of reading. */
static int heard(struct agent_stream_spec spec, const void *bytes, size_t len,
                 struct agent_session_frame *f, struct gi_error *e)
{
    struct agent_session *s = opened(spec);
    int rc = 0;
    tell(bytes, len);
    shutdown(ours, SHUT_WR);
    for (int i = 0; i < 100 && rc >= 0; i++) {
        wait_readable(s);
        rc = agent_session_read(s, f, e);
        if (rc > 0 && f->kind == AGENT_SESSION_END)
            break;
    }
    /* Nothing comes after the end, whatever was said. */
    assert_true(agent_session_read(s, f, NULL) < 0);
    agent_session_free(s);
    close(ours);
    return rc;
}

static void records(void **state)
{
    struct agent_session_frame f = {0};
    struct gi_error e = GI_ERROR_INIT;
    struct agent_stream_spec quiet = pipes;
    quiet.out = false;
#define HEAR(spec, bytes) heard(spec, bytes, sizeof(bytes) - 1, &f, &e)
    assert_int_equal(HEAR(pipes, "\x10\x02\0\0ab\x11\x01\0\0c\x12\x02\0\0\x07\0\x10\x01\0\0z"), 1);
    assert_int_equal(f.kind, AGENT_SESSION_END);
    assert_int_equal(f.exit_code, 7);
    assert_int_equal(HEAR(pipes, "\x12\x05\0\0\0\x0aw\x1b!"), -GI_ABORTED);
    assert_string_equal(e.message, "w?!");
    assert_int_equal(HEAR(pipes, "\x12\x02\0\0\0\x11"), -GI_INVALID_ARGUMENT); /* no such code */
    assert_int_equal(HEAR(pipes, "\x12\x01\0\0\0"), -GI_INVALID_ARGUMENT);
    assert_int_equal(HEAR(pipes, "\x12\x93\x01\0\0"), -GI_INVALID_ARGUMENT); /* text too long */
    assert_int_equal(HEAR(pipes, "\x10\0\0\0"), -GI_INVALID_ARGUMENT);       /* empty */
    assert_int_equal(HEAR(pipes, "\x10\x01\x80\0x"), -GI_INVALID_ARGUMENT);  /* too long */
    assert_int_equal(HEAR(pipes, "\x01\x01\0\0x"), -GI_INVALID_ARGUMENT);    /* the wrong way */
    assert_int_equal(HEAR(pipes, "\x63\x01\0\0x"), -GI_INVALID_ARGUMENT);
    assert_int_equal(HEAR(quiet, "\x10\x01\0\0x"), -GI_INTERNAL); /* not asked for */
    assert_int_equal(HEAR(pipes, "\x10\x02\0\0x"), -GI_UNAVAILABLE);
#undef HEAR
}

/* Of many resizes into a full connection the last one arrives, once. */
static void resizes(void **state)
{
    struct agent_session *s = opened(pipes);
    static char zeros[65536];
    char junk[4096];
    ssize_t n = 0;
    while ((n = agent_session_write_stdin(s, zeros, sizeof(zeros), NULL)) > 0)
        ;
    assert_int_equal(n, 0);
    for (uint16_t i = 1; i <= 5000; i++)
        assert_ok(agent_session_resize(s, i, 1, err));
    assert_true(agent_session_events(s) & POLLOUT);
    uint8_t tail[8] = {0};
    fcntl(ours, F_SETFL, O_NONBLOCK);
    for (;;) {
        n = read(ours, junk, sizeof(junk));
        if (n < 0 && !(agent_session_events(s) & POLLOUT))
            break;
        if (n >= 8)
            memcpy(tail, junk + n - 8, 8);
        assert_ok(agent_session_flush(s, err));
    }
    static const uint8_t expected[8] = {AGENT_RECORD_RESIZE, 4, 0, 0, 0x88, 0x13, 1, 0};
    assert_memory_equal(tail, expected, 8);
    agent_session_free(s);
    close(ours);
}

/* The thread between: a lying agent ends it, and the reason is told. */
static void pipes_and_a_liar(void **state)
{
    int fds[3];
    int exit_code = -1;
    char c;
    struct agent_pipes *p = NULL;
    struct gi_error e = GI_ERROR_INIT;
    assert_ok(agent_pipes_open(opened(pipes), &pipes, &p, &fds[0], &fds[1], &fds[2], err));
    tell("\x10\x01\0\0x\x63\0\0\0", 9);
    assert_int_equal(read(fds[1], &c, 1), 1);
    assert_int_equal(read(fds[1], &c, 1), 0);
    assert_int_equal(read(fds[2], &c, 1), 0);
    assert_int_equal(agent_pipes_close(p, false, &exit_code, &e), -GI_INVALID_ARGUMENT);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(ours);
    /* A silent one is given up. */
    assert_ok(agent_pipes_open(opened(pipes), &pipes, &p, &fds[0], &fds[1], &fds[2], err));
    assert_int_equal(agent_pipes_close(p, true, &exit_code, &e), -GI_CANCELLED);
    assert_int_equal(exit_code, -1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openings), cmocka_unit_test(bad_arguments),    cmocka_unit_test(records),
        cmocka_unit_test(resizes),  cmocka_unit_test(pipes_and_a_liar),
    };
    return cmocka_run_group_tests_name("stream-client", tests, NULL, NULL);
}
