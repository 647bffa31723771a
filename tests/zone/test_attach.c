/* SPDX-License-Identifier: Apache-2.0 */
/* Attach, ports and strangers, in a real zone through the real client. */
#include <arpa/inet.h>
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

#include "base/cleanup.h"
#include "base/io.h"
#include "talk.h"

/* ---- attach ---- */

static void attach_output_twice(void **state)
{
    struct talk t[3];
    run_with("c", "read x; echo out $x; echo err >&2; read x; echo end",
             (struct agent_container_spec){.stdin_open = true});
    attach_open(&t[0], "c", talk_all);
    attach_open(&t[1], "c", talk_output);
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
    attach_open(&t[0], "c", talk_all);
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
    attach_open(&t, "c", talk_all);
    say(&t, "text\n");
    assert_ok(agent_session_close_stdin(t.s, err));
    talk_end(&t, 5000);
    assert_string_equal(t.out.data, "text\nover\n");
    talk_free(&t);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 2);
    /* The same when the client vanishes. */
    run_with("d", "cat; exit 3", once);
    attach_open(&t, "d", talk_all);
    talk_free(&t);
    assert_int_equal(recorder_exit(&rec, "d").exit_code, 3);
    /* Without stdin_once the end of one's input ends his attachment alone. */
    run_with("e", "cat", (struct agent_container_spec){.stdin_open = true});
    attach_open(&t, "e", talk_all);
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
    attach_open(&t, "f", talk_all);
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
    attach_open(&t[0], "c", talk_terminal);
    attach_open(&t[1], "c", talk_terminal);
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
    run_with("c", "read x; seq 1 100000; echo end",
             (struct agent_container_spec){.stdin_open = true});
    attach_open(&slow, "c", talk_output);
    attach_open(&good, "c", talk_all);
    say(&good, "go\n");
    talk_end(&good, 30000);
    assert_string_equal(good.out.data + good.out.len - 11, "100000\nend\n");
    assert_int_equal(good.out.len, 588895 + 4);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 0);
    assert_int_equal(rec.n_lines, 100001);
    while (talk_read(&slow))
        wait_session(&slow, POLLIN, gi_monotonic_ns() + 5000000000);
    assert_false(slow.ended);
    assert_true(slow.out.len < 500000);
    talk_free(&slow);
    talk_free(&good);
}

/* The container is long gone when its last bytes are read: they come all the same. */
static void attach_late_reader(void **state)
{
    enum { N = 4 };
    struct talk t[N];
    for (int i = 0; i < N; i++) {
        char id[8];
        char script[64];
        snprintf(id, sizeof(id), "c%d", i);
        snprintf(script, sizeof(script), "read x; exec head -c %d /dev/zero", (10 + i) * 32768);
        run_with(id, script, (struct agent_container_spec){.stdin_open = true});
        attach_open(&t[i], id, talk_all);
        say(&t[i], "go\n");
    }
    usleep(3000000);
    for (int i = 0; i < N; i++) {
        talk_end(&t[i], 10000);
        assert_int_equal(t[i].out.len, (10 + i) * 32768);
        talk_free(&t[i]);
    }
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
    int fds[40];
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
    exec_open(&t, "sleep 4321", talk_all);
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
        rc = try_exec(&many[n], "sleep 1000", talk_all);
    assert_int_equal(rc, -GI_RESOURCE_EXHAUSTED);
    assert_true(n > 60);
    while (n--)
        talk_free(&many[n]);
    for (int i = 0; i < 100 && try_exec(&t, "true", talk_output) < 0; i++)
        usleep(50000);
    talk_free(&t);
    wait_processes("sleep 1000", 1);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(attach_output_twice),
        T(attach_stdin_once),
        T(attach_terminal),
        T(attach_that_never_reads),
        T(attach_late_reader),
        T(ports),
        T(port_v6),
        T(strangers),
    };
    return talk_tests(argc, argv, "attach", tests, GI_ARRAY_SIZE(tests));
}
