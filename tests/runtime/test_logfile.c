/* SPDX-License-Identifier: Apache-2.0 */
/* Log files: CRI's format, each record once, half a line never. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "logs/logfile.h"

#define T0 1763889416000000001LL /* 2025-11-23T09:16:56.000000001Z */

static char dir[] = "/tmp/gi-logfile-XXXXXX";
static char path[64];

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/a/b/0.log", dir);
    return 0;
}

static int teardown(void **state)
{
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static struct logfile *open_log(int64_t *ret_last)
{
    struct gi_error err = GI_ERROR_INIT;
    struct logfile *l = NULL;
    if (logfile_open(path, &l, ret_last, &err) < 0)
        fail_msg("%s", err.message);
    return l;
}

static struct agent_log_record record(int64_t ns, const char *text, bool partial)
{
    return (struct agent_log_record){.time_ns = ns,
                                     .stream = AGENT_STDOUT,
                                     .partial = partial,
                                     .data = text,
                                     .len = strlen(text)};
}

static void put(struct logfile *l, const struct agent_log_record *r, size_t n)
{
    struct gi_error err = GI_ERROR_INIT;
    if (logfile_write(l, r, n, &err) < 0)
        fail_msg("%s", err.message);
}

static void expect_file(const char *expected)
{
    cleanup_free char *text = NULL;
    assert_int_equal(gi_read_file(path, 1 << 20, &text, NULL, NULL), 0);
    assert_string_equal(text, expected);
}

#define LINE1 "2025-11-23T09:16:56.000000001Z stdout F one\n"
#define LINE2 "2025-11-23T09:16:57.000000002Z stderr P two\n"
#define LINE3 "2025-11-23T09:16:57.000000003Z stdout F three\n"

static void records_are_lines_and_come_once(void **state)
{
    int64_t last = -1;
    struct logfile *l = open_log(&last);
    assert_int_equal(last, 0);
    struct agent_log_record r[] = {record(T0, "one", false), record(T0 + 1000000001, "two", true)};
    r[1].stream = AGENT_STDERR;
    put(l, r, 2);
    expect_file(LINE1 LINE2);
    put(l, r, 2); /* delivered again */
    expect_file(LINE1 LINE2);
    assert_int_equal(logfile_last_ns(l), T0 + 1000000001);
    logfile_close(l);
}

static void a_torn_line_is_cut_and_written_again(void **state)
{
    int64_t last = 0;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(gi_write_full(fd, "2025-11-23T09:16:57.0000", 24), 0);
    close(fd);
    struct logfile *l = open_log(&last);
    assert_int_equal(last, T0 + 1000000001);
    expect_file(LINE1 LINE2);
    struct agent_log_record r[] = {record(T0 + 1000000001, "two", true),
                                   record(T0 + 1000000002, "three", false)};
    put(l, r, 2);
    expect_file(LINE1 LINE2 LINE3);
    logfile_close(l);
}

static void rotation_goes_on_in_the_new_file(void **state)
{
    int64_t last = 0;
    char old[80];
    struct gi_error err = GI_ERROR_INIT;
    struct logfile *l = open_log(&last);
    snprintf(old, sizeof(old), "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(logfile_reopen(l, &err), 0);
    struct agent_log_record r[] = {record(T0 + 1000000002, "three", false),
                                   record(T0 + 1000000003, "", false)};
    put(l, r, 2); /* three is in the old file */
    expect_file("2025-11-23T09:16:57.000000004Z stdout F \n");
    logfile_close(l);
}

static void lines_of_others_are_passed_over(void **state)
{
    int64_t last = 0;
    assert_int_equal(unlink(path), 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(gi_write_full(fd, LINE1 "no time at all\n", strlen(LINE1) + 15), 0);
    close(fd);
    logfile_close(open_log(&last));
    assert_int_equal(last, T0);
}

static void only_files_are_log_files(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    struct logfile *l = NULL;
    int64_t last = 0;
    char other[80];
    snprintf(other, sizeof(other), "%s/link", dir);
    assert_int_equal(symlink("/etc/passwd", other), 0);
    assert_true(logfile_open(other, &l, &last, &err) < 0);
    assert_true(logfile_open("/dev/null", &l, &last, &err) < 0);
    assert_non_null(strstr(err.message, "/dev/null"));
}

static void times(void **state)
{
    assert_int_equal(logfile_parse_time("2025-11-23T09:16:56.000000001Z", 30), T0);
    const char *bad[] = {"",
                         "2025",
                         "2025-13-23T09:16:56.000000001Z",
                         "2025-11-23 09:16:56.000000001Z",
                         "2025-11-23T09:16:56.000000001",
                         "2025-11-23T09:16:56,000000001Z",
                         "2025-02-30T09:16:56.000000001Z",
                         "9999-11-23T09:16:56.000000001Z"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++)
        assert_int_equal(logfile_parse_time(bad[i], strlen(bad[i])), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_lines_and_come_once),
        cmocka_unit_test(a_torn_line_is_cut_and_written_again),
        cmocka_unit_test(rotation_goes_on_in_the_new_file),
        cmocka_unit_test(lines_of_others_are_passed_over),
        cmocka_unit_test(only_files_are_log_files),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
