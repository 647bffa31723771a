/* SPDX-License-Identifier: Apache-2.0 */
/* What either end refuses before anybody looks at it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/wire.h"
#include "zone_util.h"

static Gi__Agent__ToAgent to = GI__AGENT__TO_AGENT__INIT;
static Gi__Agent__FromAgent from = GI__AGENT__FROM_AGENT__INIT;
static Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;

static int set_up(void **state)
{
    gi__agent__to_agent__init(&to);
    gi__agent__from_agent__init(&from);
    gi__agent__reply__init(&reply);
    to.id = reply.id = 1;
    from.kind_case = GI__AGENT__FROM_AGENT__KIND_REPLY;
    from.reply = &reply;
    return 0;
}

static int check_to(void)
{
    return agent_check_to(&to, NULL);
}

static int check_from(void)
{
    return agent_check_from(&from, NULL);
}

static void paths(void **state)
{
    char longest[AGENT_FILE_PATH_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    for (size_t i = 200; i < sizeof(longest); i += 200)
        longest[i] = '/';
    longest[AGENT_FILE_PATH_MAX + 1] = '\0';
    assert_false(agent_file_path_valid(longest));
    longest[AGENT_FILE_PATH_MAX] = '\0';
    assert_true(agent_file_path_valid(longest));
    longest[200] = 'x'; /* a component of 399 */
    assert_false(agent_file_path_valid(longest));
    assert_true(agent_file_path_valid("a/b..c/...d/.e"));
    assert_false(agent_file_path_valid(NULL));
    assert_false(agent_file_path_valid(""));
    assert_false(agent_file_path_valid("/a"));
    assert_false(agent_file_path_valid("a/"));
    assert_false(agent_file_path_valid("a//b"));
    assert_false(agent_file_path_valid("a/./b"));
    assert_false(agent_file_path_valid("a/.."));
    assert_false(agent_file_path_valid(".."));
}

static void put_files(void **state)
{
    static Gi__Agent__PutFiles put = GI__AGENT__PUT_FILES__INIT;
    static Gi__Agent__VolumeFile file = GI__AGENT__VOLUME_FILE__INIT;
    Gi__Agent__VolumeFile *files[] = {&file};
    to.op_case = GI__AGENT__TO_AGENT__OP_PUT_FILES;
    to.put_files = &put;
    put.volume = (char *)"v";
    put.files = files;
    put.n_files = 1;
    file.path = (char *)"..data";
    assert_int_equal(check_to(), 0);
    put.swap = true;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    file.path = (char *)"data";
    assert_int_equal(check_to(), 0);
    file.mode = 010000;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    file.mode = 07777;
    file.offset = AGENT_VOLUME_MAX;
    assert_int_equal(check_to(), 0);
    file.data.len = 1;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    file.offset = UINT64_MAX;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    file.offset = 0;
    put.n_files = AGENT_FILES_MAX + 1;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    put.n_files = 0;
    put.volume = (char *)"../v";
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
}

static void read_file(void **state)
{
    static Gi__Agent__ReadFile read = GI__AGENT__READ_FILE__INIT;
    to.op_case = GI__AGENT__TO_AGENT__OP_READ_FILE;
    to.read_file = &read;
    read.volume = (char *)"v";
    read.path = (char *)"a";
    read.max_bytes = AGENT_READ_MAX;
    assert_int_equal(check_to(), 0);
    read.max_bytes++;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    /* and what comes back */
    static Gi__Agent__FileReply file = GI__AGENT__FILE_REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_FILE;
    reply.file = &file;
    file.data.len = AGENT_READ_MAX;
    assert_int_equal(check_from(), 0);
    file.data.len++;
    assert_int_equal(check_from(), -GI_INVALID_ARGUMENT);
}

static void update(void **state)
{
    static Gi__Agent__UpdateResources m = GI__AGENT__UPDATE_RESOURCES__INIT;
    to.op_case = GI__AGENT__TO_AGENT__OP_UPDATE;
    to.update = &m;
    m.container_id = (char *)"c";
    assert_int_equal(check_to(), 0);
    m.cpuset_cpus = (char *)"0-3,7";
    m.cpu_quota = m.memory_limit = m.memory_swap = -1;
    assert_int_equal(check_to(), 0);
    m.memory_swap = -2;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    m.memory_swap = 0;
    m.cpu_period = 1000001;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    m.cpu_period = 0;
    m.cpuset_mems = (char *)"0\n1";
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
}

static void streams(void **state)
{
    static char sh[] = "sh";
    static char *argv[] = {sh};
    static Gi__Agent__OpenStream m = GI__AGENT__OPEN_STREAM__INIT;
    static Gi__Agent__ExecStream exec = GI__AGENT__EXEC_STREAM__INIT;
    static Gi__Agent__PortStream port = GI__AGENT__PORT_STREAM__INIT;
    to.op_case = GI__AGENT__TO_AGENT__OP_OPEN_STREAM;
    to.open_stream = &m;
    m.version = AGENT_PROTOCOL_VERSION;
    assert_int_equal(check_to(), -GI_UNIMPLEMENTED);
    m.what_case = GI__AGENT__OPEN_STREAM__WHAT_EXEC;
    m.exec = &exec;
    exec.container_id = (char *)"c";
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    exec.argv = argv;
    exec.n_argv = 1;
    assert_int_equal(check_to(), 0);
    exec.width = 65536;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    exec.width = 0;
    exec.tty = exec.err = true;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    m.what_case = GI__AGENT__OPEN_STREAM__WHAT_PORT;
    m.port = &port;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    port.port = 65535;
    assert_int_equal(check_to(), 0);
    port.port = 65536;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
    port.port = 1;
    m.version = 2;
    assert_int_equal(check_to(), -GI_FAILED_PRECONDITION);
    to.id = 0;
    assert_int_equal(check_to(), -GI_INVALID_ARGUMENT);
}

static void pod_stats(void **state)
{
    static Gi__Agent__NetInterface *many[AGENT_INTERFACES_MAX + 1];
    static Gi__Agent__PodStatsReply pod = GI__AGENT__POD_STATS_REPLY__INIT;
    static Gi__Agent__StatsReply total = GI__AGENT__STATS_REPLY__INIT;
    static Gi__Agent__NetInterface eth = GI__AGENT__NET_INTERFACE__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_POD_STATS;
    reply.pod_stats = &pod;
    assert_int_equal(check_from(), -GI_INVALID_ARGUMENT);
    pod.total = &total;
    assert_int_equal(check_from(), 0);
    for (size_t i = 0; i <= AGENT_INTERFACES_MAX; i++)
        many[i] = &eth;
    eth.name = (char *)"eth0";
    pod.interfaces = many;
    pod.n_interfaces = AGENT_INTERFACES_MAX;
    assert_int_equal(check_from(), 0);
    pod.n_interfaces++;
    assert_int_equal(check_from(), -GI_INVALID_ARGUMENT);
    pod.n_interfaces = 1;
    static const char *const names[] = {"", "a b", "0123456789abcdef", "a/b", "\xc3\xa9", "a\n"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        eth.name = (char *)names[i];
        assert_int_equal(check_from(), -GI_INVALID_ARGUMENT);
    }
    eth.name = (char *)"eth0";
    total.time_ns = -1;
    assert_int_equal(check_from(), -GI_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(paths, set_up),     cmocka_unit_test_setup(put_files, set_up),
        cmocka_unit_test_setup(read_file, set_up), cmocka_unit_test_setup(update, set_up),
        cmocka_unit_test_setup(streams, set_up),   cmocka_unit_test_setup(pod_stats, set_up),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
