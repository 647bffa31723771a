/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of gpuictl that need no runtime: reading logs, the command line of run, tables. */
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
#include "logfile.h"
#include "pod.h"
#include "run_options.h"
#include "table.h"

#define T "2026-01-02T03:04:05.000000001Z"

static void test_parse(void **state)
{
    struct log_record r;
    static const char *const bad[] = {
        "",
        " ",
        T,
        T " ",
        T " stdout",
        T " stdout ",
        T " stdout X a",
        T " other F a",
        "2026 stdout F a",
        "x026_01-02T03:04:05.000000001Z stdout F a",
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++)
        if (log_parse(bad[i], strlen(bad[i]), &r) == 0)
            fail_msg("\"%s\" was taken for a record", bad[i]);

    const char *line = T " stderr F some text ";
    assert_int_equal(log_parse(line, strlen(line), &r), 0);
    assert_true(r.is_stderr);
    assert_false(r.partial);
    assert_int_equal(r.len, strlen("some text "));
    assert_memory_equal(r.text, "some text ", r.len);
    line = T " stdout P:x text";
    assert_int_equal(log_parse(line, strlen(line), &r), 0);
    assert_true(r.partial);
    line = T " stdout F ";
    assert_int_equal(log_parse(line, strlen(line), &r), 0);
    assert_int_equal(r.len, 0);
    line = T " stdout F";
    assert_int_equal(log_parse(line, strlen(line), &r), 0);
    assert_int_equal(r.len, 0);
}

static char dir[] = "/tmp/gi-gpuictl-XXXXXX";

static int setup(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static void append(const char *path, const char *text)
{
    FILE *f = fopen(path, "ae");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* What log_read writes to stdout and stderr now. */
static void expect(struct log_reader *r, const char *out, const char *errout)
{
    char path[2][64], got[256];
    const char *want[2] = {out, errout};
    int saved[2] = {dup(1), dup(2)};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/capture%d", dir, i);
        int fd = open(path[i], O_CREAT | O_TRUNC | O_RDWR, 0600);
        assert_true(fd >= 0);
        fflush(i ? stderr : stdout);
        dup2(fd, i + 1);
        close(fd);
    }
    struct gi_error err = GI_ERROR_INIT;
    bool any = false;
    int rc = log_read(r, &any, &err);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
    }
    if (rc != 0)
        fail_msg("%s", err.message);
    for (int i = 0; i < 2; i++) {
        int fd = open(path[i], O_RDONLY);
        ssize_t n = read(fd, got, sizeof(got) - 1);
        close(fd);
        assert_true(n >= 0);
        got[n] = '\0';
        assert_string_equal(got, want[i]);
    }
    assert_int_equal(any, *out || *errout);
}

static void test_follow(void **state)
{
    char path[64], old[64];
    struct gi_error err = GI_ERROR_INIT;
    cleanup_log struct log_reader r = {.fd = -1};
    snprintf(path, sizeof(path), "%s/c.log", dir);
    snprintf(old, sizeof(old), "%s/c.log.1", dir);
    assert_int_equal(log_open(&r, path, false, &err), 0); /* not there yet */
    expect(&r, "", "");
    append(path, T " stdout F one\n" T " stderr F two\n" T " stdout P thr");
    expect(&r, "one\n", "two\n");
    append(path, "ee \n" T " stdout F four\nno record\n");
    expect(&r, "three four\nno record\n", "");
    append(path, T " stdout F before\n");
    assert_int_equal(rename(path, old), 0); /* rotation: the rest, then the new file */
    append(path, T " stdout F after\n");
    expect(&r, "before\nafter\n", "");
    expect(&r, "", "");
}

static void test_tail(void **state)
{
    char path[64];
    struct gi_error err = GI_ERROR_INIT;
    snprintf(path, sizeof(path), "%s/t.log", dir);
    for (int i = 0; i < 300; i++) {
        char line[64];
        snprintf(line, sizeof(line), T " stdout F %d\n", i);
        append(path, line);
    }
    static const struct {
        unsigned long n;
        const char *out;
    } cases[] = {{0, ""}, {1, "299\n"}, {3, "297\n298\n299\n"}};
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        cleanup_log struct log_reader r = {.fd = -1};
        assert_int_equal(log_open(&r, path, false, &err), 0);
        assert_int_equal(log_seek_tail(&r, cases[i].n, &err), 0);
        expect(&r, cases[i].out, "");
    }
    cleanup_log struct log_reader r = {.fd = -1};
    assert_int_equal(log_open(&r, path, true, &err), 0);
    assert_int_equal(log_seek_tail(&r, 2, &err), 0);
    expect(&r, T " 298\n" T " 299\n", "");
}

static int parse(struct run_options *o, ...)
{
    static char texts[32][128];
    char *argv[33] = {(char *)"gpuictl run"};
    int argc = 1;
    va_list ap;
    va_start(ap, o);
    for (const char *a; argc < 32 && (a = va_arg(ap, const char *)) != NULL; argc++) {
        snprintf(texts[argc], sizeof(texts[argc]), "%s", a);
        argv[argc] = texts[argc];
    }
    va_end(ap);
    optind = 0;
    opterr = 0;
    struct ctl ctl = {.log_root = "/logs"};
    return run_options_parse(&ctl, &cmd_run, argc, argv, o);
}

static void test_run_options(void **state)
{
    struct run_options o;
    assert_int_equal(parse(&o, "--name", "n", "--gpu-memory", "4Gi", "-e", "A=b=c", "--mount",
                           "/h:/c:ro", "--memory", "64Mi", "--cpus", "1.5", "--user", "7", "img",
                           "--", "cmd", "--gpu", NULL),
                     0);
    assert_string_equal(o.pod->metadata->name, "n");
    assert_string_equal(o.container->metadata->name, "n");
    assert_string_equal(
        gi_cri_map_get(o.pod->annotations, o.pod->n_annotations, "gpu-isolated.dev/gpu"), "1");
    assert_string_equal(
        gi_cri_map_get(o.pod->annotations, o.pod->n_annotations, "gpu-isolated.dev/gpu-memory"),
        "4Gi");
    assert_int_equal(o.container->n_envs, 1);
    assert_string_equal(o.container->envs[0]->key, "A");
    assert_int_equal(o.container->envs[0]->value.len, 3);
    assert_memory_equal(o.container->envs[0]->value.data, "b=c", 3);
    assert_int_equal(o.container->n_mounts, 1);
    assert_string_equal(o.container->mounts[0]->host_path, "/h");
    assert_string_equal(o.container->mounts[0]->container_path, "/c");
    assert_true(o.container->mounts[0]->readonly);
    assert_int_equal(o.container->linux->resources->memory_limit_in_bytes, 64 << 20);
    assert_int_equal(o.pod->linux->resources->cpu_quota, 150000);
    assert_int_equal(o.container->linux->security_context->run_as_user->value, 7);
    assert_int_equal(o.container->n_args, 2);
    assert_string_equal(o.container->args[1], "--gpu");
    assert_string_equal(o.handler, "gpu-isolated");
    assert_int_equal(strlen(o.pod->log_directory), strlen("/logs/") + 32);
    run_options_free(&o);

    assert_int_equal(parse(&o, "img", "cmd", NULL), 0);
    assert_int_equal(strncmp(o.pod->metadata->name, "run-", 4), 0);
    assert_int_equal(o.pod->n_annotations, 0);
    /* Nobody asked for less than the default. */
    assert_int_equal(o.container->linux->security_context->seccomp->profile_type,
                     RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault);
    assert_null(o.container->linux->security_context->run_as_user);
    run_options_free(&o);

    static const char *const bad[][2] = {
        {"--mount", "a:b"},  {"--mount", "/a:/b:xx"},  {"--env", "=x"},      {"--gpu-memory", "-1"},
        {"--memory", "4Qi"}, {"--memory", "0"},        {"--memory", "1e30"}, {"--cpus", "x"},
        {"--cpus", "0"},     {"--user", "4294967296"}, {"--user", "1:2"},    {"--pull", "often"},
        {"--label", "x"},    {"--nothing", "x"},
    };
    /* The messages would look like a failing test. */
    cleanup_close int saved = dup(2), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 2);
    int rcs[GI_ARRAY_SIZE(bad) + 1];
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++) {
        rcs[i] = parse(&o, bad[i][0], bad[i][1], "img", NULL);
        run_options_free(&o);
    }
    rcs[GI_ARRAY_SIZE(bad)] = parse(&o, "--gpu", NULL);
    run_options_free(&o);
    dup2(saved, 2);
    for (size_t i = 0; i < GI_ARRAY_SIZE(rcs); i++)
        if (rcs[i] != EXIT_USAGE + 1)
            fail_msg("bad option %zu was taken", i);
}

/* rm removes the folder of its own pods only. */
static void test_remove_logs(void **state)
{
    char path[128], root[64];
    snprintf(root, sizeof(root), "%s/logs", dir);
    struct ctl ctl = {.log_root = root};
    static const char uid[] = "0123456789abcdef0123456789abcdef";
    snprintf(path, sizeof(path), "%s/%s/x", root, uid);
    assert_int_equal(gi_mkdir_p(path, 0700, NULL), 0);
    assert_int_equal(pod_remove_logs(&ctl, "..", NULL), 0);
    assert_int_equal(pod_remove_logs(&ctl, "../0123456789abcdef0123456789abc", NULL), 0);
    assert_int_equal(pod_remove_logs(&ctl, NULL, NULL), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(pod_remove_logs(&ctl, uid, NULL), 0);
    assert_int_not_equal(access(root, F_OK), 0);
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(pod_remove_logs(&ctl, uid, NULL), 0);
}

static void test_cells(void **state)
{
    char b[CELL];
    assert_string_equal(cell_bytes(b, 0), "0 B");
    assert_string_equal(cell_bytes(b, 1536), "1.5 KiB");
    assert_string_equal(cell_bytes(b, UINT64_MAX), "16.0 EiB");
    assert_string_equal(cell_id(b, "sha256:0123456789abcdef0"), "0123456789abc");
    assert_string_equal(cell_id(b, "gi-0123456789abcdef"), "gi-0123456789ab");
    assert_string_equal(cell_age(b, 0), "-");
    assert_string_equal(cell_age(b, gi_now_ns() - 3 * 3600 * INT64_C(1000000000)), "3 hours");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_follow),
        cmocka_unit_test(test_tail),        cmocka_unit_test(test_run_options),
        cmocka_unit_test(test_remove_logs), cmocka_unit_test(test_cells),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
