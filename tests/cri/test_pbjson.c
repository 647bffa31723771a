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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_maps_and_names), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
