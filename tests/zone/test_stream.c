/* SPDX-License-Identifier: Apache-2.0 */
/* Interactive exec, attach and ports, in a real zone through the real client. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent_stream.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "zone_util.h"

static struct place place;
static struct xenmgr *mgr;
static struct machine *zone;
static struct recorder rec;
static struct agent_client *client;

static int zone_up(void **state)
{
    char id[64];
    snprintf(id, sizeof(id), "gi-stream-test-%d", getpid());
    const struct machine_config config = {.id = id, .hostname = "pod-a"};
    recorder_init(&rec);
    assert_ok(machine_create(mgr, &config, 10000, &zone, err));
    client = connect_recorder(zone, &rec);
    return 0;
}

static int zone_down(void **state)
{
    agent_client_free(client);
    client = NULL;
    assert_ok(machine_destroy(zone, 2000, err));
    machine_put(zone);
    recorder_free(&rec);
    return 0;
}

static void run_with(const char *id, const char *script, struct agent_container_spec spec)
{
    cleanup_free char *json = spec_text(script, "");
    spec.id = id;
    spec.oci_json = json;
    spec.image_rootfs = place.rootfs;
    assert_ok(agent_create_container(client, &spec, 20000, err));
    assert_ok(agent_follow_logs(client, id, 0, 2000, err));
    assert_ok(agent_start_container(client, id, 10000, err));
}

static void run(const char *id, const char *script)
{
    run_with(id, script, (struct agent_container_spec){0});
}

static int connection(void)
{
    int fd = -1;
    assert_ok(machine_connect_agent(zone, 2000, &fd, err));
    return fd;
}

/* ---- a session and all it said ---- */

struct talk {
    struct agent_session *s;
    struct gi_buf out;
    struct gi_buf err;
    bool ended;
    int exit_code;
    int rc;
    struct gi_error why;
};

static void talk_init(struct talk *t)
{
    memset(t, 0, sizeof(*t));
    t->out.max = t->err.max = 256u << 20;
}

static void talk_free(struct talk *t)
{
    agent_session_free(t->s);
    gi_buf_free(&t->out);
    gi_buf_free(&t->err);
    talk_init(t);
}

static int try_exec(struct talk *t, const char *script, struct agent_stream_spec spec)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    talk_init(t);
    spec.container_id = "c";
    spec.argv = argv;
    return agent_exec_open(connection(), &spec, 10000, &t->s, &t->why);
}

static void exec_open(struct talk *t, const char *script, struct agent_stream_spec spec)
{
    if (try_exec(t, script, spec) < 0)
        fail_msg("exec: %s", t->why.message);
}

static int try_attach(struct talk *t, const char *id, struct agent_stream_spec spec)
{
    talk_init(t);
    spec.container_id = id;
    return agent_attach_open(connection(), &spec, 5000, &t->s, &t->why);
}

static void attach_open(struct talk *t, const char *id, struct agent_stream_spec spec)
{
    if (try_attach(t, id, spec) < 0)
        fail_msg("attach: %s", t->why.message);
}

/* Takes what is there; false when the session is over. */
static bool talk_read(struct talk *t)
{
    struct agent_session_frame f;
    while (!t->ended && (t->rc = agent_session_read(t->s, &f, &t->why)) > 0) {
        if (f.kind == AGENT_SESSION_END) {
            t->ended = true;
            t->exit_code = f.exit_code;
        } else {
            gi_buf_append(f.kind == AGENT_SESSION_STDOUT ? &t->out : &t->err, f.data, f.len);
        }
    }
    return t->rc == 0 && !t->ended;
}

static void wait_session(struct talk *t, short events, int64_t deadline)
{
    struct pollfd p = {.fd = agent_session_fd(t->s), .events = events};
    int64_t left = deadline - gi_monotonic_ns();
    if (left <= 0 || poll(&p, 1, (int)(left / 1000000) + 1) == 0)
        fail_msg("waited in vain; so far out \"%s\", err \"%s\"", t->out.data ? t->out.data : "",
                 t->err.data ? t->err.data : "");
}

static void talk_until(struct talk *t, const char *text, int ms)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)ms * 1000000;
    while (talk_read(t) && !(t->out.data && strstr(t->out.data, text)))
        wait_session(t, POLLIN, deadline);
    if (!t->out.data || !strstr(t->out.data, text))
        fail_msg("ended without \"%s\": \"%s\" %s", text, t->out.data ? t->out.data : "",
                 t->why.message);
}

static void talk_end(struct talk *t, int ms)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)ms * 1000000;
    while (talk_read(t))
        wait_session(t, POLLIN, deadline);
    if (!t->ended)
        fail_msg("the session failed: %s", t->why.message);
}

static void say(struct talk *t, const char *text)
{
    size_t done = 0;
    size_t len = strlen(text);
    int64_t deadline = gi_monotonic_ns() + 10000000000;
    while (done < len) {
        struct gi_error e = GI_ERROR_INIT;
        ssize_t n = agent_session_write_stdin(t->s, text + done, len - done, &e);
        if (n < 0)
            fail_msg("stdin: %s", e.message);
        done += (size_t)n;
        if (n == 0)
            wait_session(t, POLLOUT, deadline);
    }
}

static const struct agent_stream_spec all = {.in = true, .out = true, .err = true};
static const struct agent_stream_spec output = {.out = true, .err = true};
static const struct agent_stream_spec terminal = {.in = true, .out = true, .tty = true};

/* How many processes of container c have TEXT in their command line. */
static int count_processes(const char *text)
{
    char script[256];
    snprintf(script, sizeof(script),
             "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null");
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct agent_exec_result r;
    memset(&r, 0, sizeof(r));
    assert_ok(agent_exec_sync(client, "c", argv, 5000, 100000, &r, err));
    int n = 0;
    for (const char *p = r.out; (p = strstr(p, text)); p++)
        n++;
    free(r.out);
    free(r.errout);
    return n;
}

static void wait_processes(const char *text, int n)
{
    for (int i = 0; i < 100; i++) {
        if (count_processes(text) == n)
            return;
        usleep(50000);
    }
    fail_msg("not %d processes \"%s\"", n, text);
}

/* ---- exec ---- */

static void exec_pipes(void **state)
{
    struct talk t;
    run("c", "sleep 1000");
    exec_open(&t, "cat; echo err >&2; exit 5", all);
    say(&t, "hello\n");
    talk_until(&t, "hello\n", 5000);
    assert_ok(agent_session_close_stdin(t.s, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 5);
    assert_string_equal(t.out.data, "hello\n");
    assert_string_equal(t.err.data, "err\n");
    struct gi_error e = GI_ERROR_INIT;
    assert_true(agent_session_write_stdin(t.s, "x", 1, &e) < 0);
    talk_free(&t);
    /* Only what was asked for comes; stdin that wasn't is at its end. */
    exec_open(&t, "cat; echo out; echo err >&2; kill -9 $$",
              (struct agent_stream_spec){.out = true});
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 137);
    assert_string_equal(t.out.data, "out\n");
    assert_int_equal(t.err.len, 0);
    talk_free(&t);
}

static void exec_errors(void **state)
{
    static const char *const missing[] = {"no-such-program", NULL};
    struct agent_stream_spec spec = output;
    struct talk t;
    struct gi_error e = GI_ERROR_INIT;
    run("c", "sleep 1000");
    spec.container_id = "c";
    spec.argv = missing;
    for (int tty = 0; tty < 2; tty++) {
        spec.tty = tty;
        spec.err = !tty;
        int64_t t0 = gi_monotonic_ns();
        struct agent_session *s = NULL;
        assert_int_equal(agent_exec_open(connection(), &spec, 10000, &s, &e),
                         -GI_FAILED_PRECONDITION);
        assert_non_null(strstr(e.message, "no-such-program"));
        assert_true(gi_monotonic_ns() - t0 < 5000000000);
    }
    spec.container_id = "nobody";
    struct agent_session *s = NULL;
    assert_int_equal(agent_exec_open(connection(), &spec, 10000, &s, &e), -GI_NOT_FOUND);
    spec.container_id = "../c";
    assert_int_equal(agent_exec_open(connection(), &spec, 10000, &s, &e), -GI_INVALID_ARGUMENT);
    assert_ok(agent_kill_container(client, "c", SIGKILL, false, 1000, err));
    recorder_exit(&rec, "c");
    assert_int_equal(try_exec(&t, "true", output), -GI_FAILED_PRECONDITION);
    assert_int_equal(try_attach(&t, "c", output), -GI_FAILED_PRECONDITION);
}

static void exec_terminal(void **state)
{
    struct agent_stream_spec spec = terminal;
    struct talk t;
    run("c", "sleep 1000");
    spec.width = 101;
    spec.height = 37;
    exec_open(&t, "stty size; tty; echo $TERM; while read x; do stty size; done", spec);
    talk_until(&t, "xterm", 5000);
    assert_non_null(strstr(t.out.data, "37 101"));
    assert_non_null(strstr(t.out.data, "/dev/pts/"));
    assert_ok(agent_session_resize(t.s, 70, 20, err));
    say(&t, "\n");
    talk_until(&t, "20 70", 5000);
    /* The terminal turns ^C into a signal, ^D into an end. */
    say(&t, "\003");
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 130);
    talk_free(&t);
    exec_open(&t, "cat; exit 6", terminal);
    say(&t, "line\n\004");
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 6);
    talk_free(&t);
}

/* 32 MiB through cat: the caller writes and reads as it can. */
static void exec_big_transfer(void **state)
{
    const size_t total = 32u << 20;
    cleanup_free char *block = malloc(1u << 20);
    struct talk t;
    size_t sent = 0;
    for (size_t i = 0; i < 1u << 20; i++)
        block[i] = (char)(i * 2654435761u >> 13);
    run("c", "sleep 1000");
    exec_open(&t, "cat", all);
    int64_t t0 = gi_monotonic_ns();
    while (talk_read(&t)) {
        size_t at = sent % (1u << 20);
        struct gi_error e = GI_ERROR_INIT;
        ssize_t n =
            sent < total ? agent_session_write_stdin(t.s, block + at, (1u << 20) - at, &e) : 0;
        assert_true(n >= 0);
        sent += (size_t)n;
        if (n > 0 && sent == total)
            assert_ok(agent_session_close_stdin(t.s, err));
        assert_ok(agent_session_flush(t.s, err));
        wait_session(&t, n > 0 ? POLLIN | POLLOUT : POLLIN | agent_session_events(t.s),
                     t0 + 60000000000);
    }
    assert_true(t.ended);
    assert_int_equal(t.exit_code, 0);
    assert_int_equal(t.out.len, total);
    for (size_t i = 0; i < total; i += 1u << 20)
        assert_memory_equal(t.out.data + i, block, 1u << 20);
    printf("exec: %.0f MB/s each way\n", (double)total / 1e-3 / (double)(gi_monotonic_ns() - t0));
    talk_free(&t);
}

/* Nobody reads: the process stands, the agent holds little, and others go on. */
static void exec_back_pressure(void **state)
{
    struct talk slow;
    struct talk quick;
    run("c", "sleep 1000");
    exec_open(&slow, "yes; echo never", output);
    usleep(700000);
    exec_open(&quick, "echo quick", output);
    talk_end(&quick, 2000);
    assert_string_equal(quick.out.data, "quick\n");
    talk_free(&quick);
    assert_ok(agent_ping(client, 1000, err));
    /* A process that reads nothing stops who writes to it. */
    exec_open(&quick, "sleep 1000", all);
    static char zeros[65536];
    size_t taken = 0;
    for (int idle = 0; idle < 20;) {
        struct gi_error e = GI_ERROR_INIT;
        ssize_t n = agent_session_write_stdin(quick.s, zeros, sizeof(zeros), &e);
        assert_true(n >= 0);
        taken += (size_t)n;
        idle = n ? 0 : idle + 1;
        if (!n)
            usleep(10000);
        assert_true(taken < 4u << 20);
    }
    /* The signal waits behind what was written, so hanging up is what helps. */
    talk_free(&quick);
    wait_processes("sleep 1000", 1);
    talk_free(&slow);
    wait_processes("yes", 0);
}

static void exec_ends_with_its_caller(void **state)
{
    struct talk t;
    run("c", "sleep 1000");
    exec_open(&t, "echo up; trap '' HUP; sleep 4321 & sleep 4322; sleep 4323", all);
    talk_until(&t, "up\n", 5000);
    wait_processes("sleep 432", 5); /* the shell names them, too */
    talk_free(&t);
    wait_processes("sleep 432", 0);
    exec_open(&t, "echo up; sleep 4321", terminal);
    talk_until(&t, "up", 5000);
    talk_free(&t);
    wait_processes("sleep 432", 0);
    /* Another runtime's connection is not the caller's. */
    exec_open(&t, "echo up; cat; exit 3", all);
    talk_until(&t, "up\n", 5000);
    agent_client_free(client);
    client = connect_recorder(zone, &rec);
    assert_ok(agent_session_close_stdin(t.s, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 3);
    talk_free(&t);
}

static void exec_signal(void **state)
{
    struct talk t;
    run("c", "sleep 1000");
    exec_open(&t, "trap 'echo got; exit 4' TERM; echo up; while true; do sleep 0.05; done", output);
    talk_until(&t, "up\n", 5000);
    assert_ok(agent_session_signal(t.s, SIGTERM, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 4);
    talk_free(&t);
    struct gi_error e = GI_ERROR_INIT;
    exec_open(&t, "sleep 1000", output);
    assert_int_equal(agent_session_signal(t.s, 0, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_session_signal(t.s, 65, &e), -GI_INVALID_ARGUMENT);
    assert_ok(agent_session_signal(t.s, SIGKILL, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 137);
    talk_free(&t);
    /* The container goes: so does the session, with its reason. */
    exec_open(&t, "sleep 1000", output);
    assert_ok(agent_remove_container(client, "c", 10000, err));
    int64_t deadline = gi_monotonic_ns() + 5000000000;
    while (talk_read(&t))
        wait_session(&t, POLLIN, deadline);
    assert_int_equal(t.rc, -GI_ABORTED);
    talk_free(&t);
}

/* As the streaming server sees it: three descriptors and a thread. */
static void exec_descriptors(void **state)
{
    const char *const argv[] = {"sh", "-c", "tr a-z A-Z; echo done >&2; exit 9", NULL};
    const struct agent_stream_spec spec = {
        .container_id = "c", .argv = argv, .in = true, .out = true, .err = true};
    struct agent_session *s = NULL;
    struct agent_pipes *p = NULL;
    int in = -1;
    int out = -1;
    int errout = -1;
    char text[64] = "";
    run("c", "sleep 1000");
    assert_ok(agent_exec_open(connection(), &spec, 5000, &s, err));
    assert_ok(agent_pipes_open(s, &spec, &p, &in, &out, &errout, err));
    assert_int_equal(write(in, "words\n", 6), 6);
    assert_int_equal(gi_read_full(out, text, 6), 0);
    assert_string_equal(text, "WORDS\n");
    assert_ok(agent_pipes_resize(p, 10, 10, err));
    close(in);
    memset(text, 0, sizeof(text));
    assert_int_equal(gi_read_full(errout, text, 5), 0);
    assert_string_equal(text, "done\n");
    assert_int_equal(read(errout, text, 1), 0);
    assert_int_equal(read(out, text, 1), 0);
    close(out);
    close(errout);
    int exit_code = -1;
    assert_ok(agent_pipes_close(p, false, &exit_code, err));
    assert_int_equal(exit_code, 9);
    /* A client that vanished in the middle of endless output. */
    const char *const yes[] = {"yes", NULL};
    const struct agent_stream_spec endless = {.container_id = "c", .argv = yes, .out = true};
    assert_ok(agent_exec_open(connection(), &endless, 5000, &s, err));
    assert_ok(agent_pipes_open(s, &endless, &p, &in, &out, &errout, err));
    assert_int_equal(in, -1);
    assert_int_equal(errout, -1);
    assert_int_equal(gi_read_full(out, text, 10), 0);
    close(out);
    struct gi_error e = GI_ERROR_INIT;
    assert_int_equal(agent_pipes_close(p, true, &exit_code, &e), -GI_CANCELLED);
    wait_processes("yes", 0);
}

/* ---- attach ---- */

static void attach_output_twice(void **state)
{
    struct talk t[3];
    run_with("c", "read x; echo out $x; echo err >&2; read x; echo end",
             (struct agent_container_spec){.stdin_open = true});
    attach_open(&t[0], "c", all);
    attach_open(&t[1], "c", output);
    attach_open(&t[2], "c", (struct agent_stream_spec){.err = true});
    say(&t[0], "one\n");
    for (int i = 0; i < 2; i++) {
        talk_until(&t[i], "out one\n", 5000);
        while (talk_read(&t[i]) && !t[i].err.len)
            wait_session(&t[i], POLLIN, gi_monotonic_ns() + 5000000000);
        assert_string_equal(t[i].err.data, "err\n");
    }
    /* One leaves; stdin stays, for whoever comes next. */
    talk_free(&t[0]);
    attach_open(&t[0], "c", all);
    say(&t[0], "two\n");
    for (int i = 0; i < 3; i++)
        talk_end(&t[i], 5000);
    assert_string_equal(t[0].out.data, "end\n");
    assert_string_equal(t[1].out.data, "out one\nend\n");
    assert_string_equal(t[2].err.data, "err\n");
    assert_int_equal(t[2].out.len, 0);
    for (int i = 0; i < 3; i++)
        talk_free(&t[i]);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 0);
    cleanup_free char *log = recorder_text(&rec, AGENT_STDOUT, NULL);
    assert_string_equal(log, "out one\nend\n");
}

static void attach_stdin_once(void **state)
{
    struct talk t;
    const struct agent_container_spec once = {.stdin_open = true, .stdin_once = true};
    run_with("c", "cat; echo over; exit 2", once);
    attach_open(&t, "c", all);
    say(&t, "text\n");
    assert_ok(agent_session_close_stdin(t.s, err));
    talk_end(&t, 5000);
    assert_string_equal(t.out.data, "text\nover\n");
    talk_free(&t);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 2);
    /* The same when the client vanishes. */
    run_with("d", "cat; exit 3", once);
    attach_open(&t, "d", all);
    talk_free(&t);
    assert_int_equal(recorder_exit(&rec, "d").exit_code, 3);
    /* Without stdin_once the end of one's input ends his attachment alone. */
    run_with("e", "cat", (struct agent_container_spec){.stdin_open = true});
    attach_open(&t, "e", all);
    say(&t, "more\n");
    assert_ok(agent_session_close_stdin(t.s, err));
    talk_end(&t, 5000);
    assert_string_equal(t.out.data, "more\n");
    talk_free(&t);
    struct agent_status st;
    assert_ok(agent_container_status(client, "e", 1000, &st, err));
    assert_int_equal(st.state, AGENT_RUNNING);
    /* Input for one without stdin goes nowhere. */
    run("f", "cat; sleep 1; echo end");
    attach_open(&t, "f", all);
    say(&t, "lost\n");
    talk_end(&t, 5000);
    assert_string_equal(t.out.data, "end\n");
    talk_free(&t);
}

static void attach_terminal(void **state)
{
    struct talk t[2];
    run_with("c", "while read x; do echo got $x; stty size; done; exit 8",
             (struct agent_container_spec){.tty = true, .stdin_open = true});
    attach_open(&t[0], "c", terminal);
    attach_open(&t[1], "c", terminal);
    assert_ok(agent_session_resize(t[1].s, 44, 33, err));
    usleep(100000);
    say(&t[0], "abc\n");
    talk_until(&t[0], "got abc\r\n33 44\r\n", 5000);
    talk_until(&t[1], "got abc\r\n33 44\r\n", 5000);
    say(&t[1], "\004");
    talk_end(&t[0], 5000);
    talk_end(&t[1], 5000);
    talk_free(&t[0]);
    talk_free(&t[1]);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 8);
}

/* One attacher never reads. The log, the container and the other go on. */
static void attach_that_never_reads(void **state)
{
    struct talk slow;
    struct talk good;
    run_with("c", "read x; seq 1 1000000; echo end",
             (struct agent_container_spec){.stdin_open = true});
    attach_open(&slow, "c", output);
    attach_open(&good, "c", all);
    say(&good, "go\n");
    talk_end(&good, 30000);
    assert_string_equal(good.out.data + good.out.len - 12, "1000000\nend\n");
    assert_int_equal(good.out.len, 6888896 + 4);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 0);
    assert_int_equal(rec.n_lines, 1000001);
    while (talk_read(&slow))
        wait_session(&slow, POLLIN, gi_monotonic_ns() + 5000000000);
    assert_false(slow.ended);
    assert_true(slow.out.len < 1u << 20);
    talk_free(&slow);
    talk_free(&good);
}

/* ---- ports ---- */

static int open_port(uint16_t port)
{
    int fd = -1;
    assert_ok(agent_port_open(connection(), port, 5000, &fd, err));
    fcntl(fd, F_SETFL, 0); /* the rest of the test blocks */
    return fd;
}

static void wait_port(uint16_t port)
{
    for (int i = 0; i < 100; i++) {
        int fd = -1;
        if (agent_port_open(connection(), port, 5000, &fd, NULL) == 0) {
            close(fd);
            return;
        }
        usleep(50000);
    }
    fail_msg("nobody listens on %u", port);
}

struct flood {
    int fd;
    size_t total;
};

static void *send_flood(void *data)
{
    const struct flood *f = data;
    cleanup_free char *block = malloc(65536);
    for (size_t sent = 0; sent < f->total; sent += 65536) {
        memset(block, (int)(sent >> 16), 65536);
        if (gi_write_full(f->fd, block, 65536) < 0)
            return NULL;
    }
    shutdown(f->fd, SHUT_WR);
    return NULL;
}

static void echo_through(uint16_t port, size_t total)
{
    struct flood f = {open_port(port), total};
    pthread_t thread;
    cleanup_free char *block = malloc(65536);
    int64_t t0 = gi_monotonic_ns();
    assert_int_equal(pthread_create(&thread, NULL, send_flood, &f), 0);
    for (size_t got = 0; got < total; got += 65536) {
        assert_int_equal(gi_read_full(f.fd, block, 65536), 0);
        for (size_t i = 0; i < 65536; i += 4096)
            assert_int_equal((unsigned char)block[i], (got >> 16) & 255);
    }
    assert_int_equal(read(f.fd, block, 1), 0);
    pthread_join(thread, NULL);
    printf("port: %.0f MB/s each way\n", (double)total / 1e-3 / (double)(gi_monotonic_ns() - t0));
    close(f.fd);
}

static void ports(void **state)
{
    char text[64] = "";
    struct gi_error e = GI_ERROR_INIT;
    int fd = -1;
    assert_int_equal(agent_port_open(connection(), 8080, 5000, &fd, &e), -GI_UNAVAILABLE);
    assert_non_null(strstr(e.message, "refused"));
    assert_int_equal(agent_port_open(connection(), 0, 5000, &fd, &e), -GI_INVALID_ARGUMENT);
    run("c", "nc -ll -p 8080 -e cat & nc -ll -p 8081 -e echo hello & sleep 1000");
    wait_port(8080);
    wait_port(8081);
    /* Half-close: all of it comes back after our end. */
    fd = open_port(8080);
    assert_int_equal(write(fd, "ping", 4), 4);
    shutdown(fd, SHUT_WR);
    assert_int_equal(gi_read_full(fd, text, 4), 0);
    assert_string_equal(text, "ping");
    assert_int_equal(read(fd, text, 1), 0);
    close(fd);
    fd = open_port(8081);
    memset(text, 0, sizeof(text));
    assert_int_equal(gi_read_full(fd, text, 6), 0);
    assert_string_equal(text, "hello\n");
    assert_int_equal(read(fd, text, 1), 0);
    close(fd);
    echo_through(8080, 32u << 20);
    /* Several at once, left behind in any state. */
    int many[20];
    for (int i = 0; i < 20; i++) {
        many[i] = open_port(8080);
        assert_int_equal(write(many[i], "x", 1), 1);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(gi_read_full(many[i], text, 1), 0);
        close(many[i]);
    }
}

/* A server on ::1 alone, in the zone's network; accepts once. */
static pid_t serve_v6(uint16_t port)
{
    int ready[2];
    char c = 0;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        const struct sockaddr_in6 at = {
            .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        int ns = open(machine_netns(zone), O_RDONLY | O_CLOEXEC);
        if (setns(ns, CLONE_NEWNET) < 0)
            _exit(1);
        int l = socket(AF_INET6, SOCK_STREAM, 0);
        if (l < 0 || bind(l, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(l, 1) < 0)
            _exit(2);
        if (write(ready[1], &c, 1) != 1)
            _exit(3);
        int fd = accept(l, NULL, NULL);
        _exit(write(fd, "six", 3) != 3);
    }
    close(ready[1]);
    ssize_t n = read(ready[0], &c, 1);
    close(ready[0]);
    if (n == 1)
        return pid;
    waitpid(pid, NULL, 0);
    return 0;
}

static void port_v6(void **state)
{
    char text[4] = "";
    pid_t pid = serve_v6(8082);
    if (!pid)
        skip(); /* needs IPv6 */
    int fd = open_port(8082);
    assert_int_equal(gi_read_full(fd, text, 3), 0);
    assert_string_equal(text, "six");
    assert_int_equal(read(fd, text, 1), 0);
    close(fd);
    int status = 1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* ---- hostile and broken callers ---- */

static void strangers(void **state)
{
    int fds[300];
    static const char junk[] = "\xff\xff\xff\x7fjunk";
    run("c", "sleep 1000");
    /* Who says nothing, or nonsense, displaces nobody. */
    for (int i = 0; i < 40; i++) {
        fds[i] = connection();
        if (i % 2)
            assert_true(send(fds[i], junk, sizeof(junk), MSG_NOSIGNAL) > 0);
        usleep(1000); /* the listener's queue is short */
    }
    assert_ok(agent_ping(client, 2000, err));
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    assert_ok(agent_ping(client, 2000, err));
    /* A record that makes no sense ends its session, and that alone. */
    struct talk t;
    exec_open(&t, "sleep 4321", all);
    static const char wrong[] = {16, 1, 0, 0, 'x'};
    assert_true(send(agent_session_fd(t.s), wrong, sizeof(wrong), MSG_NOSIGNAL) > 0);
    int64_t deadline = gi_monotonic_ns() + 5000000000;
    while (talk_read(&t))
        wait_session(&t, POLLIN, deadline);
    assert_int_equal(t.rc, -GI_UNAVAILABLE);
    talk_free(&t);
    wait_processes("sleep 4321", 0);
    assert_ok(agent_ping(client, 2000, err));
    /* There is a limit, and it is told. */
    int n = 0;
    int rc = 0;
    struct talk many[80];
    for (; n < 80 && rc == 0; n++)
        rc = try_exec(&many[n], "sleep 1000", all);
    assert_int_equal(rc, -GI_RESOURCE_EXHAUSTED);
    assert_true(n > 60);
    while (n--)
        talk_free(&many[n]);
    for (int i = 0; i < 100 && try_exec(&t, "true", output) < 0; i++)
        usleep(50000);
    talk_free(&t);
    wait_processes("sleep 1000", 1);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    zone_need();
    place_make(&place);
    mgr = place_open(&place);
    printf("%s\n", xenmgr_describe(mgr));
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(exec_pipes),
        T(exec_errors),
        T(exec_terminal),
        T(exec_big_transfer),
        T(exec_back_pressure),
        T(exec_ends_with_its_caller),
        T(exec_signal),
        T(exec_descriptors),
        T(attach_output_twice),
        T(attach_stdin_once),
        T(attach_terminal),
        T(attach_that_never_reads),
        T(ports),
        T(port_v6),
        T(strangers),
    };
    int failed = cmocka_run_group_tests_name("stream", tests, NULL, NULL);
    xenmgr_close(mgr);
    place_remove(&place);
    return failed;
}
