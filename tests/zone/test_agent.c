/* SPDX-License-Identifier: Apache-2.0 */
/* The agent in a real zone, through the real client: containers, logs, exec. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "zone_util.h"

static struct place place;
static struct xenmgr *mgr;
static char zone_id[64];
static struct machine *zone;
static struct recorder rec;
static struct agent_client *client;

static int zone_up(void **state)
{
    snprintf(zone_id, sizeof(zone_id), "gi-agent-test-%d", getpid());
    const struct machine_config config = {.id = zone_id, .hostname = "pod-a"};
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

static int create_with(const char *id, const char *script, const char *extra,
                       struct agent_container_spec spec, struct gi_error *err)
{
    cleanup_free char *json = spec_text(script, extra);
    spec.id = id;
    spec.oci_json = json;
    spec.image_rootfs = place.rootfs;
    return agent_create_container(client, &spec, 20000, err);
}

static void run(const char *id, const char *script)
{
    assert_ok(create_with(id, script, "", (struct agent_container_spec){0}, err));
    assert_ok(agent_follow_logs(client, id, 0, 2000, err));
    assert_ok(agent_start_container(client, id, 10000, err));
}

static void exit_codes(void **state)
{
    run("zero", "exit 0");
    run("three", "exit 3");
    run("killed", "kill -9 $$; sleep 100");
    run("forever", "sleep 1000");
    assert_int_equal(recorder_exit(&rec, "zero").exit_code, 0);
    struct agent_exit e = recorder_exit(&rec, "three");
    assert_int_equal(e.exit_code, 3);
    assert_false(e.oom_killed);
    assert_true(e.started_ns > 0 && e.finished_ns > e.started_ns);

    struct agent_status st;
    assert_ok(agent_container_status(client, "forever", 1000, &st, err));
    assert_int_equal(st.state, AGENT_RUNNING);
    assert_true(st.pid > 1);
    assert_ok(agent_kill_container(client, "forever", SIGKILL, false, 1000, err));
    assert_int_equal(recorder_exit(&rec, "forever").exit_code, 137);
    assert_ok(agent_container_status(client, "forever", 1000, &st, err));
    assert_int_equal(st.state, AGENT_EXITED);
    assert_int_equal(st.exit.exit_code, 137);
    /* A shell is its pid namespace's init: its own SIGKILL can't reach it. */
    assert_ok(agent_kill_container(client, "killed", SIGKILL, true, 1000, err));
    assert_int_equal(recorder_exit(&rec, "killed").exit_code, 137);
    assert_ok(agent_kill_container(client, "killed", SIGKILL, true, 1000, err));
}

static void life_cycle(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    struct agent_container_spec none = {0};
    struct agent_status st;
    char **ids = NULL;
    size_t n = 0;
    assert_ok(create_with("one", "exit 0", "", none, err));
    assert_ok(agent_container_status(client, "one", 1000, &st, err));
    assert_int_equal(st.state, AGENT_CREATED);
    assert_int_equal(create_with("one", "exit 0", "", none, &e), -GI_ALREADY_EXISTS);
    assert_int_equal(create_with("../one", "exit 0", "", none, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(create_with("-v", "exit 0", "", none, &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(agent_start_container(client, "two", 1000, &e), -GI_NOT_FOUND);
    assert_ok(agent_list_containers(client, 1000, &ids, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(ids[0], "one");
    free(ids[0]);
    free(ids);
    assert_ok(agent_start_container(client, "one", 5000, err));
    assert_int_equal(recorder_exit(&rec, "one").exit_code, 0);
    assert_int_equal(agent_start_container(client, "one", 5000, &e), -GI_FAILED_PRECONDITION);
    assert_ok(agent_remove_container(client, "one", 5000, err));
    assert_ok(agent_remove_container(client, "one", 5000, err));
    assert_int_equal(agent_container_status(client, "one", 1000, &st, &e), -GI_NOT_FOUND);
    /* The id is free again, and a running one goes with its processes. */
    run("one", "sleep 1000 & sleep 1000");
    assert_ok(agent_remove_container(client, "one", 10000, err));
    char path[160];
    snprintf(path, sizeof(path), "%s/zones/%s/one", place.state, zone_id);
    assert_int_equal(access(path, F_OK), -1);
}

static void create_errors(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    struct agent_container_spec spec = {.id = "bad", .oci_json = "{", .image_rootfs = place.rootfs};
    assert_int_equal(agent_create_container(client, &spec, 5000, &e), -GI_INVALID_ARGUMENT);
    spec.oci_json = "{}";
    assert_int_equal(agent_create_container(client, &spec, 5000, &e), -GI_INVALID_ARGUMENT);
    char deep[4096];
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    spec.oci_json = deep;
    assert_int_equal(agent_create_container(client, &spec, 5000, &e), -GI_INVALID_ARGUMENT);
    cleanup_free char *json = spec_text("exit 0", "");
    spec.oci_json = json;
    spec.image_rootfs = "/nowhere";
    assert_int_equal(agent_create_container(client, &spec, 5000, &e), -GI_NOT_FOUND);
    spec.image_rootfs = "/tmp:/etc";
    assert_true(agent_create_container(client, &spec, 5000, &e) < 0);
    spec.image_rootfs = place.rootfs;
    spec.gpu = true;
    assert_int_equal(agent_create_container(client, &spec, 5000, &e), -GI_FAILED_PRECONDITION);
    spec.gpu = false;
    cleanup_free char *missing = spec_text("exit 0", "");
    strstr(missing, "/bin/sh")[5] = 'x';
    spec.oci_json = missing;
    /* Either runtime may look for the program at create or at start. */
    int rc = agent_create_container(client, &spec, 5000, &e);
    if (rc == 0)
        rc = agent_start_container(client, "bad", 5000, &e);
    assert_int_equal(rc, -GI_FAILED_PRECONDITION);
    assert_ok(agent_remove_container(client, "bad", 5000, err));
    /* Nothing of them is left: the name works. */
    run("bad", "exit 7");
    assert_int_equal(recorder_exit(&rec, "bad").exit_code, 7);
}

static void logs_both_streams(void **state)
{
    run("c", "echo one; echo two >&2; echo; printf tail");
    recorder_exit(&rec, "c");
    cleanup_free char *out = recorder_text(&rec, AGENT_STDOUT, NULL);
    cleanup_free char *errout = recorder_text(&rec, AGENT_STDERR, NULL);
    assert_string_equal(out, "one\n\ntail");
    assert_string_equal(errout, "two\n");
    int64_t last = 0;
    for (size_t i = 0; i < rec.n_lines; i++) {
        assert_true(rec.lines[i].time_ns > last);
        last = rec.lines[i].time_ns;
        assert_int_equal(rec.lines[i].partial, strcmp(rec.lines[i].data, "tail") == 0);
    }
}

static void logs_long_line(void **state)
{
    run("c", "head -c 50000 /dev/zero | tr '\\0' x; echo; echo end");
    recorder_exit(&rec, "c");
    size_t len = 0;
    cleanup_free char *out = recorder_text(&rec, AGENT_STDOUT, &len);
    assert_int_equal(len, 50000 + 1 + 4);
    assert_int_equal(strspn(out, "x"), 50000);
    assert_int_equal(rec.n_lines, 5);
    assert_true(rec.lines[0].partial && rec.lines[2].partial && !rec.lines[3].partial);
}

static void logs_burst(void **state)
{
    run("c", "seq 1 200000");
    struct agent_exit e = recorder_exit(&rec, "c");
    assert_int_equal(e.exit_code, 0);
    /* The exit comes after the last line. */
    assert_int_equal(rec.n_lines, 200000);
    for (size_t i = 0; i < rec.n_lines; i++)
        assert_int_equal(strtoul(rec.lines[i].data, NULL, 10), i + 1);
}

static bool has_bytes(const struct recorder *r, const void *arg)
{
    return r->bytes >= *(const size_t *)arg;
}

/* Nobody acknowledges: what is sent is bounded, the writer stands still, and
 * all comes once somebody does. */
static void logs_back_pressure(void **state)
{
    rec.ack = false;
    run("c",
        "yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c 8388608");
    size_t some = 500000;
    recorder_wait(&rec, has_bytes, &some, 10000);
    usleep(700000);
    struct agent_status st;
    assert_ok(agent_container_status(client, "c", 1000, &st, err));
    assert_int_equal(st.state, AGENT_RUNNING);
    pthread_mutex_lock(&rec.mu);
    assert_true(rec.bytes < (2u << 20));
    rec.ack = true;
    int64_t last = rec.lines[rec.n_lines - 1].time_ns;
    pthread_mutex_unlock(&rec.mu);
    assert_ok(agent_ack_logs(client, "c", last, err));
    recorder_exit(&rec, "c");
    assert_int_equal(rec.bytes + rec.n_lines, 8388608);
}

struct until {
    size_t lines;
};

static bool has_lines(const struct recorder *r, const void *arg)
{
    return r->n_lines >= ((const struct until *)arg)->lines;
}

#define RESTART_LINES 60000u

/* Everything the dead runtime had written, in order and without a gap. */
static void take_over(size_t *seen, int64_t *last)
{
    for (size_t i = 0; i < rec.n_lines; i++) {
        assert_int_equal(strtoul(rec.lines[i].data, NULL, 10), ++*seen);
        assert_true(rec.lines[i].time_ns > *last);
        *last = rec.lines[i].time_ns;
    }
    recorder_free(&rec);
    recorder_init(&rec);
}

/* The runtime dies in the middle of the log, again and again. Whatever it had
 * acknowledged, each line arrives exactly once. */
static void logs_survive_restart(void **state)
{
    size_t seen = 0;
    int64_t last = 0;
    unsigned rounds = 0;
    rec.ack = false;
    run("c", "seq 1 60000");
    for (; seen < RESTART_LINES; rounds++) {
        size_t want = 1 + (size_t)rounds * 37;
        if (want > RESTART_LINES - seen)
            want = RESTART_LINES - seen;
        recorder_wait(&rec, has_lines, &(struct until){want}, 10000);
        pthread_mutex_lock(&rec.mu);
        if (rounds % 2) /* dies between writing and acknowledging, or after */
            agent_ack_logs(client, "c", rec.lines[rec.n_lines / 2].time_ns, NULL);
        pthread_mutex_unlock(&rec.mu);
        agent_client_free(client);
        client = NULL;
        take_over(&seen, &last);
        rec.ack = rounds % 3 == 0;
        client = connect_recorder(zone, &rec);
        assert_ok(agent_follow_logs(client, "c", last, 2000, err));
    }
    assert_true(rounds > 3);
    assert_int_equal(seen, RESTART_LINES);
    usleep(100000);
    assert_int_equal(rec.n_lines, 0);
    struct agent_status st;
    assert_ok(agent_container_status(client, "c", 2000, &st, err));
    assert_int_equal(st.state, AGENT_EXITED);
}

static struct agent_exec_result exec_in(const char *id, const char *script, int timeout_ms,
                                        size_t max)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct agent_exec_result r;
    memset(&r, 0, sizeof(r));
    assert_ok(agent_exec_sync(client, id, argv, timeout_ms, max, &r, err));
    return r;
}

static void free_result(struct agent_exec_result *r)
{
    free(r->out);
    free(r->errout);
}

static void exec_output(void **state)
{
    run("c", "sleep 1000");
    struct agent_exec_result r = exec_in("c", "echo out; echo err >&2; exit 5", 5000, 1000);
    assert_int_equal(r.exit_code, 5);
    assert_string_equal(r.out, "out\n");
    assert_string_equal(r.errout, "err\n");
    assert_false(r.truncated);
    free_result(&r);
    r = exec_in("c", "kill -TERM $$", 5000, 1000);
    assert_int_equal(r.exit_code, 143);
    free_result(&r);
    r = exec_in("c", "head -c 3000000 /dev/zero", 10000, 1u << 20);
    assert_int_equal(r.exit_code, 0);
    assert_int_equal(r.out_len, 1u << 20);
    assert_true(r.truncated);
    free_result(&r);
    r = exec_in("c", "head -c 5000000 /dev/zero", 10000, 5000000);
    assert_int_equal(r.out_len, 5000000);
    assert_false(r.truncated);
    free_result(&r);
    /* A process left behind with the pipes open holds nobody up. */
    int64_t t0 = gi_monotonic_ns();
    r = exec_in("c", "sleep 300 & echo started", 10000, 1000);
    assert_string_equal(r.out, "started\n");
    assert_true(gi_monotonic_ns() - t0 < 3000000000);
    free_result(&r);
}

static void exec_missing_command(void **state)
{
    static const char *const relative[] = {"no-such-program", NULL};
    static const char *const absolute[] = {"/bin/no-such-program", NULL};
    static const char *const forbidden[] = {"/etc/plain", NULL};
    struct agent_exec_result r;
    run("c", "echo x > /etc/plain; sleep 1000");
    usleep(100000);
    int64_t t0 = gi_monotonic_ns();
    assert_ok(agent_exec_sync(client, "c", relative, 60000, 1000, &r, err));
    assert_int_equal(r.exit_code, 127);
    assert_int_equal(r.out_len, 0);
    assert_non_null(strstr(r.errout, "no-such-program"));
    free_result(&r);
    assert_ok(agent_exec_sync(client, "c", absolute, 60000, 1000, &r, err));
    assert_int_equal(r.exit_code, 127);
    assert_true(r.errout_len > 0);
    free_result(&r);
    assert_ok(agent_exec_sync(client, "c", forbidden, 60000, 1000, &r, err));
    assert_int_equal(r.exit_code, 126);
    assert_true(r.errout_len > 0);
    free_result(&r);
    assert_true(gi_monotonic_ns() - t0 < 5000000000);
    struct gi_error e = GI_ERROR_INIT;
    assert_int_equal(agent_exec_sync(client, "nobody", relative, 1000, 1000, &r, &e),
                     -GI_NOT_FOUND);
    assert_ok(agent_kill_container(client, "c", SIGKILL, true, 1000, err));
    recorder_exit(&rec, "c");
    assert_int_equal(agent_exec_sync(client, "c", relative, 1000, 1000, &r, &e),
                     -GI_FAILED_PRECONDITION);
}

static void exec_timeout_kills_all(void **state)
{
    static const char *const argv[] = {"sh", "-c", "sleep 4321 & sh -c 'sleep 4321; true'", NULL};
    struct gi_error e = GI_ERROR_INIT;
    struct agent_exec_result r;
    run("c", "sleep 1000");
    int64_t t0 = gi_monotonic_ns();
    assert_int_equal(agent_exec_sync(client, "c", argv, 600, 1000, &r, &e), -GI_DEADLINE_EXCEEDED);
    int64_t took = gi_monotonic_ns() - t0;
    assert_true(took > 500000000 && took < 4000000000);
    usleep(100000);
    r = exec_in("c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", 5000, 10000);
    assert_null(strstr(r.out, "sleep 4321 "));
    assert_non_null(strstr(r.out, "sleep 1000"));
    free_result(&r);
}

/* A runtime that dies takes its execs along. */
static void exec_ends_with_its_caller(void **state)
{
    static const char *const argv[] = {"sleep", "4321", NULL};
    struct gi_error e = GI_ERROR_INIT;
    struct agent_exec_result r;
    run("c", "sleep 1000");
    struct recorder other;
    recorder_init(&other);
    struct agent_client *second = connect_recorder(zone, &other);
    /* The first connection has been replaced. */
    assert_int_equal(agent_ping(client, 2000, &e), -GI_UNAVAILABLE);
    agent_client_free(client);
    client = second;
    assert_int_equal(agent_exec_sync(client, "c", argv, 1, 100, &r, &e), -GI_DEADLINE_EXCEEDED);
    r = exec_in("c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", 5000, 10000);
    assert_null(strstr(r.out, "sleep 4321"));
    free_result(&r);
    agent_client_free(client);
    client = connect_recorder(zone, &rec);
    recorder_free(&other);
}

/* The container gets its three streams and nothing of ours. */
static void no_descriptor_leaks(void **state)
{
    run("c", "ls /proc/self/fd | tr '\\n' ' '; sleep 1000");
    recorder_wait(&rec, has_lines, &(struct until){0}, 1000);
    struct agent_exec_result r = exec_in("c", "ls /proc/self/fd | tr '\\n' ' '", 5000, 1000);
    assert_string_equal(r.out, "0 1 2 3 "); /* 3: ls reads the folder */
    free_result(&r);
    r = exec_in("c", "ls /proc/1/fd | tr '\\n' ' '", 5000, 1000);
    assert_string_equal(r.out, "0 1 2 ");
    free_result(&r);
    r = exec_in("c", "cat /proc/net/unix", 5000, 100000);
    assert_null(strstr(r.out, " @"));
    free_result(&r);
}

static void zone_names(void **state)
{
    run("c", "hostname; cat /proc/1/oom_score_adj");
    recorder_exit(&rec, "c");
    assert_string_equal(rec.lines[0].data, "pod-a");
}

static void statistics(void **state)
{
    run("c",
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; head -c 200000 /dev/zero > /tmp/f; "
        "echo done; sleep 1000");
    recorder_wait(&rec, has_lines, &(struct until){1}, 10000);
    struct agent_stats s;
    assert_ok(agent_container_stats(client, "c", 5000, &s, err));
    assert_true(s.time_ns > 0);
    assert_true(s.writable_bytes >= 200000 && s.writable_inodes >= 2);
    if (strstr(xenmgr_describe(mgr), "no cgroups"))
        return;
    assert_true(s.cpu_ns > 1000000);
    assert_true(s.memory_usage > 0 && s.memory_working_set > 0 && s.pids >= 1);
    assert_true(s.page_faults > 0);
    assert_int_equal(s.memory_limit, 0);
}

static void out_of_memory(void **state)
{
    if (strstr(xenmgr_describe(mgr), "no cgroups"))
        skip();
    assert_ok(create_with("c", "dd if=/dev/zero of=/dev/null bs=200M count=1",
                          "\"resources\":{\"memory\":{\"limit\":16777216}}",
                          (struct agent_container_spec){0}, err));
    assert_ok(agent_start_container(client, "c", 5000, err));
    struct agent_exit e = recorder_exit(&rec, "c");
    assert_int_equal(e.exit_code, 137);
    assert_true(e.oom_killed);
}

static void terminal(void **state)
{
    assert_ok(
        create_with("c", "tty; echo two", "", (struct agent_container_spec){.tty = true}, err));
    assert_ok(agent_follow_logs(client, "c", 0, 1000, err));
    assert_ok(agent_start_container(client, "c", 5000, err));
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 0);
    cleanup_free char *out = recorder_text(&rec, AGENT_STDOUT, NULL);
    assert_string_equal(out, "/dev/pts/0\r\ntwo\r\n");
}

static void standard_input(void **state)
{
    run("closed", "cat; exit 4");
    assert_int_equal(recorder_exit(&rec, "closed").exit_code, 4);
    assert_ok(create_with("open", "cat; exit 4", "",
                          (struct agent_container_spec){.stdin_open = true}, err));
    assert_ok(agent_start_container(client, "open", 5000, err));
    usleep(200000);
    struct agent_status st;
    assert_ok(agent_container_status(client, "open", 1000, &st, err));
    assert_int_equal(st.state, AGENT_RUNNING);
}

static bool is_gone(const struct recorder *r, const void *arg)
{
    return r->gone;
}

static void shutdown_ends_the_zone(void **state)
{
    run("c", "trap 'echo bye; exit 9' TERM; echo up; while true; do sleep 0.05; done");
    recorder_wait(&rec, has_lines, &(struct until){1}, 5000);
    assert_ok(agent_shutdown(client, 2000, err));
    recorder_wait(&rec, is_gone, NULL, 10000);
    assert_int_equal(recorder_exit(&rec, "c").exit_code, 9);
    assert_string_equal(rec.lines[1].data, "bye");
    for (int i = 0; i < 100 && machine_alive(zone); i++)
        usleep(10000);
    assert_false(machine_alive(zone));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    zone_need();
    place_make(&place);
    mgr = place_open(&place);
    printf("%s\n", xenmgr_describe(mgr));
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(exit_codes),
        T(life_cycle),
        T(create_errors),
        T(logs_both_streams),
        T(logs_long_line),
        T(logs_burst),
        T(logs_back_pressure),
        T(logs_survive_restart),
        T(exec_output),
        T(exec_missing_command),
        T(exec_timeout_kills_all),
        T(exec_ends_with_its_caller),
        T(no_descriptor_leaks),
        T(zone_names),
        T(statistics),
        T(out_of_memory),
        T(terminal),
        T(standard_input),
        T(shutdown_ends_the_zone),
    };
    int failed = cmocka_run_group_tests_name("agent", tests, NULL, NULL);
    xenmgr_close(mgr);
    place_remove(&place);
    return failed;
}
