/* SPDX-License-Identifier: Apache-2.0 */
#include "talk.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

static struct place place;
static struct xenmgr *mgr;
struct machine *zone;
struct recorder rec;
struct agent_client *client;

int zone_up(void **state)
{
    char id[64];
    snprintf(id, sizeof(id), "gi-stream-test-%d", getpid());
    const struct machine_config config = {.id = id, .hostname = "pod-a"};
    recorder_init(&rec);
    assert_ok(machine_create(mgr, &config, 10000, &zone, err));
    client = connect_recorder(zone, &rec);
    return 0;
}

int zone_down(void **state)
{
    agent_client_free(client);
    client = NULL;
    assert_ok(machine_destroy(zone, 2000, err));
    machine_put(zone);
    recorder_free(&rec);
    return 0;
}

void run_with(const char *id, const char *script, struct agent_container_spec spec)
{
    cleanup_free char *json = spec_text(script, "");
    spec.id = id;
    spec.oci_json = json;
    spec.image_rootfs = place.rootfs;
    assert_ok(agent_create_container(client, &spec, 20000, err));
    assert_ok(agent_follow_logs(client, id, 0, 2000, err));
    assert_ok(agent_start_container(client, id, 10000, err));
}

void run(const char *id, const char *script)
{
    run_with(id, script, (struct agent_container_spec){0});
}

int connection(void)
{
    int fd = -1;
    assert_ok(machine_connect_agent(zone, 2000, &fd, err));
    return fd;
}

/* ---- a session and all it said ---- */

static void talk_init(struct talk *t)
{
    memset(t, 0, sizeof(*t));
    t->out.max = t->err.max = 256u << 20;
}

void talk_free(struct talk *t)
{
    agent_session_free(t->s);
    gi_buf_free(&t->out);
    gi_buf_free(&t->err);
    talk_init(t);
}

int try_exec(struct talk *t, const char *script, struct agent_stream_spec spec)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    talk_init(t);
    spec.container_id = "c";
    spec.argv = argv;
    return agent_exec_open(connection(), &spec, 10000, &t->s, &t->why);
}

void exec_open(struct talk *t, const char *script, struct agent_stream_spec spec)
{
    if (try_exec(t, script, spec) < 0)
        fail_msg("exec: %s", t->why.message);
}

int try_attach(struct talk *t, const char *id, struct agent_stream_spec spec)
{
    talk_init(t);
    spec.container_id = id;
    return agent_attach_open(connection(), &spec, 5000, &t->s, &t->why);
}

void attach_open(struct talk *t, const char *id, struct agent_stream_spec spec)
{
    if (try_attach(t, id, spec) < 0)
        fail_msg("attach: %s", t->why.message);
}

/* Takes what is there; false when the session is over. */
bool talk_read(struct talk *t)
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

void wait_session(struct talk *t, short events, int64_t deadline)
{
    struct pollfd p = {.fd = agent_session_fd(t->s), .events = events};
    int64_t left = deadline - gi_monotonic_ns();
    if (left <= 0 || poll(&p, 1, (int)(left / 1000000) + 1) == 0)
        fail_msg("waited in vain; so far out \"%s\", err \"%s\"", t->out.data ? t->out.data : "",
                 t->err.data ? t->err.data : "");
}

void talk_until(struct talk *t, const char *text, int ms)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)ms * 1000000;
    while (talk_read(t) && !(t->out.data && strstr(t->out.data, text)))
        wait_session(t, POLLIN, deadline);
    if (!t->out.data || !strstr(t->out.data, text))
        fail_msg("ended without \"%s\": \"%s\" %s", text, t->out.data ? t->out.data : "",
                 t->why.message);
}

void talk_end(struct talk *t, int ms)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)ms * 1000000;
    while (talk_read(t))
        wait_session(t, POLLIN, deadline);
    if (!t->ended)
        fail_msg("the session failed: %s", t->why.message);
}

void say(struct talk *t, const char *text)
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

const struct agent_stream_spec talk_all = {.in = true, .out = true, .err = true};
const struct agent_stream_spec talk_output = {.out = true, .err = true};
const struct agent_stream_spec talk_terminal = {.in = true, .out = true, .tty = true};

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

void wait_processes(const char *text, int n)
{
    for (int i = 0; i < 100; i++) {
        if (count_processes(text) == n)
            return;
        usleep(50000);
    }
    fail_msg("not %d processes \"%s\"", n, text);
}

const char *talk_rootfs(void)
{
    return place.rootfs;
}

const char *talk_scratch(void)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/zones/%s", place.state, machine_id(zone));
    return path;
}

const char *talk_driver(void)
{
    return xenmgr_describe(mgr);
}

int talk_tests(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    zone_need();
    place_make(&place);
    mgr = place_open(&place);
    printf("%s\n", xenmgr_describe(mgr));
    int failed = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
    xenmgr_close(mgr);
    place_remove(&place);
    return failed;
}
