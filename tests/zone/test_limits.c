/* SPDX-License-Identifier: Apache-2.0 */
/* Limits changed while a container runs, and what the pod's statistics say. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "talk.h"

static bool no_cgroups(void)
{
    return strstr(talk_driver(), "no cgroups") != NULL;
}

static void update_memory(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    struct agent_stats s;
    struct agent_resources r = {.memory_limit = 64 << 20};
    run("c", "sleep 1000");
    if (no_cgroups()) {
        assert_int_equal(agent_update_resources(client, "c", &r, 5000, &e),
                         -GI_FAILED_PRECONDITION);
        assert_non_null(strstr(e.message, "no cgroups"));
        return;
    }
    assert_ok(agent_update_resources(client, "c", &r, 5000, err));
    assert_ok(agent_container_stats(client, "c", 5000, &s, err));
    assert_int_equal(s.memory_limit, 64 << 20);
    /* Other limits leave it alone. */
    r = (struct agent_resources){.cpu_shares = 512, .cpu_period = 50000, .cpu_quota = 20000};
    assert_ok(agent_update_resources(client, "c", &r, 5000, err));
    assert_ok(agent_container_stats(client, "c", 5000, &s, err));
    assert_int_equal(s.memory_limit, 64 << 20);
    r = (struct agent_resources){.memory_limit = 16 << 20};
    assert_ok(agent_update_resources(client, "c", &r, 5000, err));
    /* It is in force. */
    const char *const argv[] = {"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", NULL};
    struct agent_exec_result x;
    memset(&x, 0, sizeof(x));
    assert_ok(agent_exec_sync(client, "c", argv, 20000, 1000, &x, err));
    assert_int_equal(x.exit_code, 137);
    free(x.out);
    free(x.errout);
}

/* CPU time of a busy loop in MS of wall time. */
static uint64_t burnt(int ms)
{
    struct agent_stats a;
    struct agent_stats b;
    assert_ok(agent_container_stats(client, "c", 5000, &a, err));
    usleep((useconds_t)ms * 1000);
    assert_ok(agent_container_stats(client, "c", 5000, &b, err));
    return b.cpu_ns - a.cpu_ns;
}

static void update_cpu(void **state)
{
    if (no_cgroups())
        skip();
    run("c", "while true; do :; done");
    struct agent_resources r = {.cpu_period = 20000, .cpu_quota = 1000}; /* 5 % of one */
    assert_ok(agent_update_resources(client, "c", &r, 5000, err));
    usleep(100000);
    int64_t t0 = gi_monotonic_ns();
    uint64_t used = burnt(1000);
    uint64_t wall = (uint64_t)(gi_monotonic_ns() - t0);
    assert_true(used > 0 && used < wall / 5);
    r = (struct agent_resources){.cpu_period = 20000, .cpu_quota = -1};
    assert_ok(agent_update_resources(client, "c", &r, 5000, err));
    assert_true(burnt(1000) > used);
}

static void update_errors(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    struct agent_resources r = {.memory_limit = 64 << 20};
    assert_int_equal(agent_update_resources(client, "c", &r, 5000, &e), -GI_NOT_FOUND);
    run("c", "exit 0");
    recorder_exit(&rec, "c");
    assert_int_equal(agent_update_resources(client, "c", &r, 5000, &e), -GI_FAILED_PRECONDITION);
    r = (struct agent_resources){.cpuset_cpus = "0\"}"};
    assert_int_equal(agent_update_resources(client, "c", &r, 5000, &e), -GI_INVALID_ARGUMENT);
    r = (struct agent_resources){.memory_limit = -2};
    assert_int_equal(agent_update_resources(client, "c", &r, 5000, &e), -GI_INVALID_ARGUMENT);
    if (no_cgroups())
        return;
    /* What the kernel refuses is told, and changes nothing. */
    run("d", "sleep 1000");
    r = (struct agent_resources){.cpuset_cpus = "4000"};
    assert_true(agent_update_resources(client, "d", &r, 5000, &e) < 0);
    assert_true(strlen(e.message) > 20);
}

static void pod_statistics(void **state)
{
    struct agent_pod_stats before;
    struct agent_pod_stats after;
    struct agent_stats one;
    assert_ok(agent_pod_stats(client, 5000, &before, err));
    run("c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; sleep 1000");
    run("d", "sleep 1000 & sleep 1001");
    for (int i = 0; i < 500 && rec.n_lines == 0; i++)
        usleep(20000);
    assert_ok(agent_pod_stats(client, 5000, &after, err));
    assert_true(after.total.time_ns > before.total.time_ns);
    for (size_t i = 0; i < after.n_interfaces; i++)
        assert_string_not_equal(after.interfaces[i].name, "lo");
    if (no_cgroups())
        return;
    assert_ok(agent_container_stats(client, "c", 5000, &one, err));
    assert_true(one.pids == 1 || one.pids == 2);
    assert_true(one.memory_working_set > 0 && one.memory_working_set <= one.memory_usage);
    assert_true(after.total.cpu_ns > before.total.cpu_ns + one.cpu_ns / 2);
    assert_true(after.total.pids >= 3);
    assert_true(after.total.memory_working_set >= one.memory_working_set);
    /* What a shell has at least, and a limit that was set. */
    assert_true(one.processes >= 1 && one.processes <= 2);
    assert_true(one.descriptors >= 3 && one.descriptors < 100);
    assert_true(one.cpu_user_ns + one.cpu_system_ns > 0);
    assert_true(one.disk_bytes > 0);
    assert_true(one.memory_limit_hits == 0 && one.oom_kills == 0);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(update_memory),
        T(update_cpu),
        T(update_errors),
        T(pod_statistics),
    };
    return talk_tests(argc, argv, "limits", tests, GI_ARRAY_SIZE(tests));
}
