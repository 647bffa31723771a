/* SPDX-License-Identifier: Apache-2.0 */
/* A host's folder as bytes: which files, whose version, and what is refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/wire.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "core/hostfiles.h"

static char dir[32];

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/gi-hostfiles-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static const char *at(const char *name)
{
    static char path[4][128];
    static unsigned i;
    char *p = path[i++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    cleanup_close int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void folder(const char *name)
{
    assert_int_equal(mkdir(at(name), 0755), 0);
}

static void link_to(const char *target, const char *name)
{
    assert_int_equal(symlink(target, at(name)), 0);
}

static struct hostfiles read_all(void)
{
    struct gi_error err = GI_ERROR_INIT;
    struct hostfiles h = {.n = 0};
    if (hostfiles_read_folder(dir, true, &h, &err) < 0)
        fail_msg("%s", err.message);
    return h;
}

static uint64_t print_now(void)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_hostfiles struct hostfiles h = {.n = 0};
    if (hostfiles_read_folder(dir, false, &h, &err) < 0)
        fail_msg("%s", err.message);
    return h.print;
}

static void refused(int code, const char *text)
{
    struct gi_error err = GI_ERROR_INIT;
    struct hostfiles h = {.n = 77};
    assert_true(hostfiles_read_folder(dir, true, &h, &err) < 0);
    assert_int_equal(h.n, 77); /* untouched */
    assert_int_equal(err.code, code);
    if (!strstr(err.message, text))
        fail_msg("\"%s\" is not in: %s", text, err.message);
}

static void assert_file(const struct agent_file *f, const char *path, const char *text)
{
    assert_string_equal(f->path, path);
    assert_int_equal(f->len, strlen(text));
    assert_memory_equal(f->data, text, f->len);
    assert_int_equal(f->mode, 0640);
}

static void files_of_all_folders_come_in_order(void **state)
{
    folder("deep");
    folder("deep/er");
    put("z", "last");
    put("deep/er/b", "");
    put("deep/a", "first");
    cleanup_hostfiles struct hostfiles h = read_all();
    assert_int_equal(h.n, 3);
    assert_file(&h.files[0], "deep/a", "first");
    assert_file(&h.files[1], "deep/er/b", "");
    assert_file(&h.files[2], "z", "last");
    assert_int_equal(h.bytes, 9);
}

static void an_empty_folder_has_a_print(void **state)
{
    cleanup_hostfiles struct hostfiles h = read_all();
    assert_int_equal(h.n, 0);
    assert_true(h.print != 0);
    assert_int_equal(h.print, print_now());
}

static void of_a_kubernetes_volume_the_version_in_force(void **state)
{
    folder("..1");
    folder("..2");
    put("..1/key", "old");
    put("..2/key", "new");
    link_to("..data/key", "key");
    link_to("..2", "..data");
    cleanup_hostfiles struct hostfiles h = read_all();
    assert_int_equal(h.n, 1);
    assert_file(&h.files[0], "key", "new");
}

static void a_version_outside_the_folder_is_refused(void **state)
{
    static const char *const targets[] = {"/etc", "../..", "..2/../..", "nowhere", "file"};
    folder("..2");
    put("file", "");
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
        link_to(targets[i], "..data");
        refused(GI_INVALID_ARGUMENT, "..data leads to no folder in it");
        assert_int_equal(unlink(at("..data")), 0);
    }
}

static void what_is_no_file_is_refused_by_its_name(void **state)
{
    folder("deep");
    link_to("/etc/passwd", "deep/way");
    refused(GI_INVALID_ARGUMENT, "deep/way is a link");
    assert_int_equal(unlink(at("deep/way")), 0);
    assert_int_equal(mkfifo(at("deep/pipe"), 0600), 0);
    refused(GI_INVALID_ARGUMENT, "deep/pipe is neither a file nor a folder");
    assert_int_equal(unlink(at("deep/pipe")), 0);
    put("..odd", "");
    refused(GI_INVALID_ARGUMENT, "..odd can't be copied");
}

static void there_are_limits(void **state)
{
    char name[256] = "";
    size_t used = 0;
    for (int i = 0; i < 17; i++) {
        used += (size_t)snprintf(name + used, sizeof(name) - used, i ? "/d" : "d");
        folder(name);
    }
    refused(GI_RESOURCE_EXHAUSTED, "deeper than");
    assert_int_equal(gi_remove_tree_at(AT_FDCWD, at("d"), NULL), 0);
    put("big", "");
    assert_int_equal(truncate(at("big"), (off_t)AGENT_VOLUME_MAX + 1), 0);
    refused(GI_RESOURCE_EXHAUSTED, "over 33554432 bytes");
    assert_int_equal(unlink(at("big")), 0);
    for (unsigned i = 0; i < AGENT_FILES_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        put(name, "");
    }
    cleanup_hostfiles struct hostfiles h = read_all();
    assert_int_equal(h.n, AGENT_FILES_MAX);
    put("more", "");
    refused(GI_RESOURCE_EXHAUSTED, "more than 4096 files");
}

static void each_change_has_another_print(void **state)
{
    put("a", "text");
    uint64_t before = print_now();
    assert_int_equal(before, print_now());
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, at("a"), times, 0), 0);
    uint64_t after = print_now();
    assert_true(before != after);
    assert_int_equal(chmod(at("a"), 0600), 0);
    assert_true(after != print_now());
    after = print_now();
    assert_int_equal(rename(at("a"), at("b")), 0);
    assert_true(after != print_now());
    after = print_now();
    folder("empty");
    assert_true(after != print_now());
}

static void one_file_has_the_name_it_was_given(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_hostfiles struct hostfiles h = {.n = 0};
    put("a", "text");
    assert_int_equal(hostfiles_read_file(at("a"), "as", 4, true, &h, &err), 0);
    assert_int_equal(h.n, 1);
    assert_file(&h.files[0], "as", "text");
    struct hostfiles none = {.n = 77};
    assert_true(hostfiles_read_file(at("a"), "as", 3, true, &none, &err) < 0);
    assert_int_equal(err.code, GI_RESOURCE_EXHAUSTED);
    assert_true(hostfiles_read_file(dir, "as", 4, true, &none, &err) < 0);
    assert_int_equal(none.n, 77);
}

int main(void)
{
#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ONE(files_of_all_folders_come_in_order),
        ONE(an_empty_folder_has_a_print),
        ONE(of_a_kubernetes_volume_the_version_in_force),
        ONE(a_version_outside_the_folder_is_refused),
        ONE(what_is_no_file_is_refused_by_its_name),
        ONE(there_are_limits),
        ONE(each_change_has_another_print),
        ONE(one_file_has_the_name_it_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
