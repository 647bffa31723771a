/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json/json.h"

static struct gi_json *good(const char *text, const struct gi_json_limits *limits)
{
    struct gi_error err = GI_ERROR_INIT;
    struct gi_json *root = NULL;
    if (gi_json_parse(text, strlen(text), limits, "t", &root, &err) < 0)
        fail_msg("%s", err.message);
    return root;
}

static void bad(const char *text, const struct gi_json_limits *limits, enum gi_code code,
                const char *message)
{
    struct gi_error err = GI_ERROR_INIT;
    struct gi_json *root = NULL;
    assert_int_equal(gi_json_parse(text, strlen(text), limits, "t", &root, &err), -(int)code);
    assert_null(root);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" is not in \"%s\"", message, err.message);
}

static void test_tree(void **state)
{
    cleanup_gi_json struct gi_json *v =
        good("{\n \"a\": [1, -2,\n\"x\\u00e9\"],\n \"b\": {\"c\": true}, \"d\": null\n}", NULL);
    assert_int_equal(v->type, GI_JSON_OBJECT);
    assert_int_equal(v->line, 1);
    assert_int_equal(v->n, 3);
    const struct gi_json *a = gi_json_get(v, "a");
    int64_t n = 0;
    uint64_t u = 0;
    assert_int_equal(a->n, 3);
    assert_int_equal(a->line, 2);
    assert_true(gi_json_int(&a->items[1], &n));
    assert_int_equal(n, -2);
    assert_false(gi_json_uint(&a->items[1], &u));
    assert_int_equal(a->items[2].line, 3);
    assert_string_equal(a->items[2].text, "x\xc3\xa9");
    assert_true(gi_json_get(gi_json_get(v, "b"), "c")->truth);
    assert_null(gi_json_get(v, "d"));
    assert_null(gi_json_get_string(v, "a"));
}

static void test_numbers(void **state)
{
    cleanup_gi_json struct gi_json *v =
        good("[9223372036854775807, 9223372036854775808, 18446744073709551616, 1.5, 1e3]", NULL);
    int64_t n;
    uint64_t u;
    assert_true(gi_json_int(&v->items[0], &n));
    assert_int_equal(n, INT64_MAX);
    assert_false(gi_json_int(&v->items[1], &n));
    assert_true(gi_json_uint(&v->items[1], &u));
    assert_false(gi_json_uint(&v->items[2], &u));
    assert_false(gi_json_int(&v->items[3], &n));
    assert_false(gi_json_int(&v->items[4], &n));
}

static void test_errors(void **state)
{
    bad("", NULL, GI_INVALID_ARGUMENT, "t:1: ");
    bad("{\"a\":\n1,\n}", NULL, GI_INVALID_ARGUMENT, "t:3: ");
    bad("{\"a\": 1} x", NULL, GI_INVALID_ARGUMENT, "t:1: ");
    bad("\"\xff\"", NULL, GI_INVALID_ARGUMENT, "t:1: ");
    bad("\n[\"a\\u0000b\"]", NULL, GI_INVALID_ARGUMENT, "t:2: a string with a NUL");
    bad("{\"a\\u0000b\": 1}", NULL, GI_INVALID_ARGUMENT, "a key with a NUL");
    bad("{\"a\": 1, \"b\": 2,\n \"a\": 3}", NULL, GI_INVALID_ARGUMENT, "t:2: an object with");
    bad("[1 /* one */]", NULL, GI_INVALID_ARGUMENT, "t:1: ");
    bad("[1", NULL, GI_INVALID_ARGUMENT, "t:1: ");
}

static void test_limits(void **state)
{
    struct gi_json_limits depth = {.max_depth = 3}, values = {.max_values = 4},
                          bytes = {.max_bytes = 5}, comments = {.comments = true};
    gi_json_free(good("[[[1]]]", &depth));
    bad("[[[[]]]]", &depth, GI_OUT_OF_RANGE, "nested too deeply");
    gi_json_free(good("[1,2,3]", &values));
    bad("[1,2,3,4]", &values, GI_OUT_OF_RANGE, "too many values");
    bad("[1,2,3]", &bytes, GI_OUT_OF_RANGE, "longer than 5");
    gi_json_free(good("[1 /* one\n */]", &comments));
    /* A bomb of brackets ends at the limit, not at the end of the stack. */
    size_t n = 1 << 20;
    char *bomb = malloc(n + 1);
    memset(bomb, '[', n);
    bomb[n] = '\0';
    bad(bomb, NULL, GI_OUT_OF_RANGE, "nested too deeply");
    free(bomb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
