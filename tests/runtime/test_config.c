/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: defaults, files over files, and errors that say where. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "config/config.h"

static struct config *apply(const char *text)
{
    struct gi_error err = GI_ERROR_INIT;
    struct config *c = NULL;
    assert_int_equal(config_defaults(&c, &err), 0);
    if (config_apply(c, text, strlen(text), "f", &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return c;
}

static void refused(const char *text, const char *why)
{
    struct gi_error err = GI_ERROR_INIT;
    struct config *c = NULL;
    assert_int_equal(config_defaults(&c, &err), 0);
    if (config_apply(c, text, strlen(text), "f", &err) >= 0)
        fail_msg("accepted: %s", text);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    config_free(c);
}

static void values_replace_defaults(void **state)
{
    struct config *c = apply("{ /* why */ \"max_pods\": 7, // so\n\"socket_mode\": \"0600\",\n"
                             "\"default_memory\": \"2Gi\", \"discard_layers\": true,\n"
                             "\"handlers\": [\"a\", \"b\"], \"default_handler\": \"a\"}");
    assert_int_equal(c->max_pods, 7);
    assert_int_equal(c->socket_mode, 0600);
    assert_int_equal(c->default_memory, 2ull << 30);
    assert_true(c->discard_layers);
    assert_string_equal(c->handlers[1], "b");
    assert_null(c->handlers[2]);
    assert_string_equal(c->run_dir, "/run/gpu-isolated");
    config_free(c);
}

static void registries(void **state)
{
    struct config *c =
        apply("{\"registries\": [{\"host\": \"docker.io\", \"mirrors\": "
              "[\"http://127.0.0.1:5000\"]}, {\"host\": \"x\", \"plain_http\": true}]}");
    assert_int_equal(c->n_registries, 2);
    assert_string_equal(c->registries[0].mirrors[0], "http://127.0.0.1:5000");
    assert_true(c->registries[1].plain_http);
    config_free(c);
    refused("{\"registries\": [{\"mirrors\": []}]}", "needs a \"host\"");
    refused("{\"registries\": [{\"host\": \"x\", \"hots\": 1}]}", "unknown key \"hots\"");
}

static void errors_name_line_and_key(void **state)
{
    refused("{\n\n\"max_pod\": 7}", "f:3: unknown key \"max_pod\"");
    refused("{\"max_pods\": \"many\"}", "\"max_pods\" must be a whole number");
    refused("{\"max_pods\": 0}", "must be from");
    refused("{\"max_pods\": -1}", "\"max_pods\"");
    refused("{\"max_pods\": 1.5}", "\"max_pods\"");
    refused("{\"socket_mode\": \"0888\"}", "\"socket_mode\"");
    refused("{\"log_level\": \"loud\"}", "\"log_level\"");
    refused("{\"run_dir\": \"relative\"}", "\"run_dir\"");
    refused("{\"handlers\": \"one\"}", "\"handlers\"");
    refused("{\"default_memory\": \"2Q\"}", "\"default_memory\"");
    refused("[]", "must be an object");
    refused("{\"max_pods\": 1", "f:");
    refused("", "f");
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},           {"1024", 1024},      {"1k", 1000},
                {"4Ki", 4096},      {"2Gi", 2ull << 30}, {"10M", 10000000},
                {"1Ei", 1ull << 60}};
    uint64_t n;
    for (size_t i = 0; i < GI_ARRAY_SIZE(good); i++) {
        assert_true(config_parse_size(good[i].text, &n));
        assert_int_equal(n, good[i].bytes);
    }
    const char *bad[] = {"", "Gi", "-1", "1.5Gi", "16Ei", "1 Gi", "1GiB", "99999999999999999999"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++)
        assert_false(config_parse_size(bad[i], &n));
}

static char dir[] = "/tmp/gi-config-XXXXXX";

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(gi_write_file_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static void drop_ins_come_by_name(void **state)
{
    char path[64], d[64];
    struct gi_error err = GI_ERROR_INIT;
    struct config *c = NULL;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/config.json", dir);
    snprintf(d, sizeof(d), "%s/config.d", dir);
    assert_int_equal(config_load(path, true, &c, &err), -GI_NOT_FOUND);
    assert_int_equal(config_load(path, false, &c, &err), 0);
    config_free(c);
    assert_int_equal(gi_mkdir_p(d, 0700, NULL), 0);
    put("config.json", "{\"max_pods\": 1, \"max_containers\": 1}");
    put("config.d/20-b.json", "{\"max_pods\": 3}");
    put("config.d/10-a.json", "{\"max_pods\": 2, \"max_containers\": 2}");
    put("config.d/30-c.json.bak", "{nonsense");
    assert_int_equal(config_load(path, true, &c, &err), 0);
    assert_int_equal(c->max_pods, 3);
    assert_int_equal(c->max_containers, 2);
    config_free(c);
    put("config.d/40-d.json", "{\n\"x\": 1}");
    assert_true(config_load(path, true, &c, &err) < 0);
    assert_non_null(strstr(err.message, "40-d.json:2: unknown key \"x\""));
    put("config.d/40-d.json", "{\"handlers\": [\"a\"]}");
    assert_true(config_load(path, true, &c, &err) < 0);
    assert_non_null(strstr(err.message, "default_handler"));
    assert_int_equal(gi_remove_tree_at(AT_FDCWD, dir, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_replace_defaults),  cmocka_unit_test(registries),
        cmocka_unit_test(errors_name_line_and_key), cmocka_unit_test(sizes),
        cmocka_unit_test(drop_ins_come_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
