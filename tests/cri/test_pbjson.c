/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as JSON: exact texts, hostile strings, ceilings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cri/cri.h"
#include "cri/pbjson.h"
#include "cri/pbjson_read.h"

static void check(const ProtobufCMessage *m, unsigned flags, const char *expected)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(1 << 20);
    assert_int_equal(gi_pbjson_write(&b, m, flags), 0);
    assert_string_equal(b.data, expected);
}

static void test_scalars(void **state)
{
    Runtime__V1__ContainerStatus s = RUNTIME__V1__CONTAINER_STATUS__INIT;
    s.id = (char *)"c1";
    s.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    s.finished_at = INT64_MAX;
    s.exit_code = -1;
    check(&s.base, 0,
          "{\"id\":\"c1\",\"state\":\"CONTAINER_EXITED\","
          "\"finishedAt\":\"9223372036854775807\",\"exitCode\":-1}");
    s.state = 77; /* a number that is no name */
    s.finished_at = 0;
    s.exit_code = 0;
    check(&s.base, GI_PBJSON_INDENT, "{\n  \"id\": \"c1\",\n  \"state\": 77\n}");
}

static void test_defaults(void **state)
{
    Runtime__V1__Image i = RUNTIME__V1__IMAGE__INIT;
    check(&i.base, GI_PBJSON_DEFAULTS,
          "{\"id\":\"\",\"repoTags\":[],\"repoDigests\":[],\"size\":\"0\",\"uid\":null,"
          "\"username\":\"\",\"spec\":null,\"pinned\":false}");
    Runtime__V1__PsiData p = RUNTIME__V1__PSI_DATA__INIT;
    p.avg10 = 0.5;
    check(&p.base, 0, "{\"Avg10\":0.5}");
}

static void test_maps_and_names(void **state)
{
    Runtime__V1__ContainerConfig__LabelsEntry e[3] = {
        RUNTIME__V1__CONTAINER_CONFIG__LABELS_ENTRY__INIT,
        RUNTIME__V1__CONTAINER_CONFIG__LABELS_ENTRY__INIT,
        RUNTIME__V1__CONTAINER_CONFIG__LABELS_ENTRY__INIT,
    };
    Runtime__V1__ContainerConfig__LabelsEntry *labels[] = {&e[0], &e[1], &e[2]};
    Runtime__V1__CDIDevice cdi = RUNTIME__V1__CDIDEVICE__INIT, *cdis[] = {&cdi};
    Runtime__V1__KeyValue env = RUNTIME__V1__KEY_VALUE__INIT, *envs[] = {&env};
    Runtime__V1__LinuxContainerConfig linux_config = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerConfig c = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    e[0].key = e[2].key = (char *)"a";
    e[0].value = (char *)"old";
    e[1].key = (char *)"b";
    e[2].value = (char *)"new";
    cdi.name = (char *)"v/d=0";
    env.key = (char *)"K";
    env.value = (ProtobufCBinaryData){4, (uint8_t *)"\x00\xff\x10z"};
    c.labels = labels;
    c.n_labels = 3;
    c.cdi_devices = cdis;
    c.n_cdi_devices = 1;
    c.envs = envs;
    c.n_envs = 1;
    c.linux = &linux_config;
    check(
        &c.base, 0,
        "{\"envs\":[{\"key\":\"K\",\"value\":\"AP8Qeg==\"}],\"labels\":{\"b\":\"\",\"a\":\"new\"},"
        "\"linux\":{},\"CDIDevices\":[{\"name\":\"v/d=0\"}]}");
}

static void test_strings(void **state)
{
    Runtime__V1__PodIP ip = RUNTIME__V1__POD_IP__INIT;
    ip.ip = (char *)"q\"b\\n\n\t\x01\x7f";
    check(&ip.base, 0, "{\"ip\":\"q\\\"b\\\\n\\n\\t\\u0001\\u007f\"}");
    ip.ip = (char *)"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80";
    check(&ip.base, 0, "{\"ip\":\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"}");
    /* overlong, surrogate, too large, cut off, lone continuation */
    ip.ip = (char *)"\xc0\xaf|\xed\xa0\x80|\xf5|\xe2\x82";
    check(&ip.base, 0, "{\"ip\":\"\\ufffd\\ufffd|\\ufffd\\ufffd\\ufffd|\\ufffd|\\ufffd\\ufffd\"}");
}

static void test_ceiling(void **state)
{
    Runtime__V1__PodIP ip = RUNTIME__V1__POD_IP__INIT;
    ip.ip = (char *)"0123456789";
    for (size_t max = 0; max < 19; max++) {
        cleanup_buf struct gi_buf b = GI_BUF_INIT(max);
        assert_int_not_equal(gi_pbjson_write(&b, &ip.base, 0), 0);
        assert_true(b.len <= max);
    }
    cleanup_buf struct gi_buf b = GI_BUF_INIT(19);
    assert_int_equal(gi_pbjson_write(&b, &ip.base, 0), 0);
}

static int read_json(const char *text, ProtobufCMessage **ret, struct gi_error *err)
{
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = gi_json_parse(text, strlen(text), NULL, "test", &root, err);
    if (rc < 0)
        return rc;
    return gi_pbjson_read(&runtime__v1__container_config__descriptor, root, ret, err);
}

/* All kinds of fields, there and back; the second text is the normal form. */
static void test_read(void **state)
{
    static const char *const cases[][2] = {
        {"{}", "{}"},
        {"{\"metadata\":null,\"args\":[],\"labels\":{},\"tty\":false,\"workingDir\":\"\"}", "{}"},
        {"{\"metadata\":{\"name\":\"n\",\"attempt\":4294967295}}",
         "{\"metadata\":{\"name\":\"n\",\"attempt\":4294967295}}"},
        {"{\"working_dir\":\"/\",\"args\":[\"a\",\"\"],\"tty\":true}",
         "{\"args\":[\"a\",\"\"],\"workingDir\":\"/\",\"tty\":true}"},
        {"{\"labels\":{\"b\":\"1\",\"a\":\"\"}}", "{\"labels\":{\"b\":\"1\",\"a\":\"\"}}"},
        {"{\"envs\":[{\"key\":\"K\",\"value\":\"AP8Qeg\"},{\"value\":\"AP8=\"}]}",
         "{\"envs\":[{\"key\":\"K\",\"value\":\"AP8Qeg==\"},{\"value\":\"AP8=\"}]}"},
        {"{\"mounts\":[{\"propagation\":\"PROPAGATION_BIDIRECTIONAL\"}],\"stopSignal\":13}",
         "{\"mounts\":[{\"propagation\":\"PROPAGATION_BIDIRECTIONAL\"}],"
         "\"stopSignal\":\"SIGNAL_SIGKILL\"}"},
        {"{\"linux\":{\"resources\":{\"cpuPeriod\":-5,\"oomScoreAdj\":\"-9223372036854775808\"},"
         "\"securityContext\":{\"supplementalGroups\":[1,\"2\"]}}}",
         "{\"linux\":{\"resources\":{\"cpuPeriod\":\"-5\","
         "\"oomScoreAdj\":\"-9223372036854775808\"},"
         "\"securityContext\":{\"supplementalGroups\":[\"1\",\"2\"]}}}"},
        {"{\"CDIDevices\":[{\"name\":\"x\"}]}", "{\"CDIDevices\":[{\"name\":\"x\"}]}"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        ProtobufCMessage *m = NULL;
        struct gi_error err = GI_ERROR_INIT;
        if (read_json(cases[i][0], &m, &err) != 0)
            fail_msg("%s: %s", cases[i][0], err.message);
        check(m, 0, cases[i][1]);
        protobuf_c_message_free_unpacked(m, NULL);
    }
}

static void test_read_bad(void **state)
{
    static const char *const cases[][2] = {
        {"[]", "line 1"},
        {"{\n\"nothing\":1}", "line 2"},
        {"{\"args\":{}}", "args"},
        {"{\"args\":[null]}", "args"},
        {"{\"args\":[1]}", "args"},
        {"{\"labels\":{\"a\":1}}", "labels"},
        {"{\"metadata\":\"x\"}", "metadata"},
        {"{\"metadata\":{\"attempt\":4294967296}}", "attempt"},
        {"{\"metadata\":{\"attempt\":-1}}", "attempt"},
        {"{\"metadata\":{\"attempt\":1.5}}", "attempt"},
        {"{\"metadata\":{\"attempt\":\"\"}}", "attempt"},
        {"{\"tty\":1}", "tty"},
        {"{\"stopSignal\":\"SIGNAL_NOTHING\"}", "stop_signal"},
        {"{\"envs\":[{\"key\":\"ok\"},{\"value\":\"A\"}]}", "value"},
        {"{\"envs\":[{\"value\":\"AA$A\"}]}", "value"},
        {"{\"workingDir\":\"a\",\"working_dir\":\"b\"}", "working_dir"},
        {"{\"logPath\":[\"a\"]}", "log_path"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        ProtobufCMessage *m = NULL;
        struct gi_error err = GI_ERROR_INIT;
        if (read_json(cases[i][0], &m, &err) != -GI_INVALID_ARGUMENT)
            fail_msg("%s was taken", cases[i][0]);
        assert_null(m);
        if (!strstr(err.message, cases[i][1]))
            fail_msg("%s: \"%s\" does not name %s", cases[i][0], err.message, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_maps_and_names), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_ceiling),        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
