/* SPDX-License-Identifier: Apache-2.0 */
/* Interactive exec in a real zone through the real client. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "talk.h"

/* ---- exec ---- */

static void exec_pipes(void **state)
{
    struct talk t;
    run("c", "sleep 1000");
    exec_open(&t, "cat; echo err >&2; exit 5", talk_all);
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
    struct agent_stream_spec spec = talk_output;
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
    assert_int_equal(try_exec(&t, "true", talk_output), -GI_FAILED_PRECONDITION);
    assert_int_equal(try_attach(&t, "c", talk_output), -GI_FAILED_PRECONDITION);
}

static void exec_terminal(void **state)
{
    struct agent_stream_spec spec = talk_terminal;
    struct talk t;
    run("c", "sleep 1000");
    spec.width = 101;
    spec.height = 37;
    exec_open(&t,
              "until stty size; do :; done 2>/dev/null; tty; echo $TERM; while read x; do stty "
              "size; done",
              spec);
    talk_until(&t, "xterm", 5000);
    if (!strstr(t.out.data, "37 101"))
        fail_msg("the terminal's size is lost: \"%s\"", t.out.data);
    assert_non_null(strstr(t.out.data, "/dev/pts/"));
    assert_ok(agent_session_resize(t.s, 70, 20, err));
    say(&t, "\n");
    talk_until(&t, "20 70", 5000);
    /* The terminal turns ^C into a signal, ^D into an end. */
    say(&t, "\003");
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 130);
    talk_free(&t);
    exec_open(&t, "cat; exit 6", talk_terminal);
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
    exec_open(&t, "cat", talk_all);
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
    exec_open(&slow, "yes; echo never", talk_output);
    usleep(700000);
    exec_open(&quick, "echo quick", talk_output);
    talk_end(&quick, 2000);
    assert_string_equal(quick.out.data, "quick\n");
    talk_free(&quick);
    assert_ok(agent_ping(client, 1000, err));
    /* A process that reads nothing stops who writes to it. */
    exec_open(&quick, "sleep 1000", talk_all);
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

/* The process is gone long before its last bytes are read: they come all the
 * same. Where between pipe, agent and socket they wait depends on their number. */
static void exec_late_reader(void **state)
{
    enum { N = 16 };
    struct talk t[N];
    run("c", "sleep 1000");
    for (int i = 0; i < N; i++) {
        char script[64];
        snprintf(script, sizeof(script), "head -c %d /dev/zero; exit 3", (i + 4) * 32768);
        exec_open(&t[i], script, talk_output);
    }
    usleep(1500000);
    for (int i = 0; i < N; i++) {
        talk_end(&t[i], 10000);
        assert_int_equal(t[i].exit_code, 3);
        assert_int_equal(t[i].out.len, (i + 4) * 32768);
        talk_free(&t[i]);
    }
    /* One left behind that holds the pipes and talks on is not waited for. */
    exec_open(&t[0], "yes & echo", talk_output);
    usleep(1500000);
    talk_end(&t[0], 10000);
    assert_int_equal(t[0].exit_code, 0);
    talk_free(&t[0]);
}

static void exec_ends_with_its_caller(void **state)
{
    struct talk t;
    run("c", "sleep 1000");
    exec_open(&t, "echo up; trap '' HUP; sleep 4321 & sleep 4322; sleep 4323", talk_all);
    talk_until(&t, "up\n", 5000);
    wait_processes("sleep 432", 5); /* the shell names them, too */
    talk_free(&t);
    wait_processes("sleep 432", 0);
    exec_open(&t, "echo up; sleep 4321", talk_terminal);
    talk_until(&t, "up", 5000);
    talk_free(&t);
    wait_processes("sleep 432", 0);
    /* Another runtime's connection is not the caller's. */
    exec_open(&t, "echo up; cat; exit 3", talk_all);
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
    exec_open(&t, "trap 'echo got; exit 4' TERM; echo up; while true; do sleep 0.05; done",
              talk_output);
    talk_until(&t, "up\n", 5000);
    assert_ok(agent_session_signal(t.s, SIGTERM, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 4);
    talk_free(&t);
    struct gi_error e = GI_ERROR_INIT;
    exec_open(&t, "sleep 1000", talk_output);
    assert_int_equal(agent_session_signal(t.s, 0, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_session_signal(t.s, 65, &e), -GI_INVALID_ARGUMENT);
    assert_ok(agent_session_signal(t.s, SIGKILL, err));
    talk_end(&t, 5000);
    assert_int_equal(t.exit_code, 137);
    talk_free(&t);
    /* The container goes: so does the session, with its reason. */
    exec_open(&t, "sleep 1000", talk_output);
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

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(exec_pipes),
        T(exec_errors),
        T(exec_terminal),
        T(exec_big_transfer),
        T(exec_back_pressure),
        T(exec_late_reader),
        T(exec_ends_with_its_caller),
        T(exec_signal),
        T(exec_descriptors),
    };
    return talk_tests(argc, argv, "exec-stream", tests, GI_ARRAY_SIZE(tests));
}
