/* SPDX-License-Identifier: Apache-2.0 */
/* The loader's cache with libraries of ours, as this machine's ldconfig and loader see it. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "ldcache.h"

#define CACHE "/etc/ld.so.cache"

static char dir[] = "/tmp/gi-ldcache-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

/* What COMMAND prints, heap; NULL: it failed. */
static char *output(const char *format, ...)
{
    char command[1024];
    char *text = NULL;
    size_t len = 0, room = 0;
    ssize_t n;
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    FILE *f = popen(command, "re"); // NOLINT(cert-env33-c)
    while (f && (n = getdelim(&text, &room, EOF, f)) > 0)
        len += (size_t)n;
    if (!f || pclose(f) != 0 || !len) {
        free(text);
        return NULL;
    }
    return text;
}

/* FROM with LIBRARIES, at TO. */
static void add(const char *from, const char *to, const struct ldcache_library *libraries, size_t n)
{
    cleanup_free char *old = NULL;
    cleanup_free void *grown = NULL;
    size_t old_len = 0, len = 0;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(gi_read_file(from, LDCACHE_MAX_BYTES, &old, &old_len, &err), 0);
    if (ldcache_add(old, old_len, libraries, n, &grown, &len, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(gi_write_file_atomic(to, grown, len, 0644, &err), 0);
}

/* All lines of OLD are in NEW, in their order; returns how many others there are. */
static unsigned others(const char *old, const char *new)
{
    unsigned n = 0;
    old = strchr(old, '\n') + 1; /* how many there are */
    for (new = strchr(new, '\n') + 1; *new; new = strchr(new, '\n') + 1) {
        size_t len = (size_t)(strchr(new, '\n') + 1 - new);
        if (strncmp(old, new, len) == 0)
            old += len;
        else
            n++;
    }
    /* The last one names who made the cache, or nobody. */
    assert_string_equal(old, "");
    return n;
}

static const struct ldcache_library ours[] = {
    {"libcuda.so", "/opt/ours/libcuda.so"},
    {"libcuda.so.1", "/opt/ours/libcuda.so.1"},
    {"libnvidia-ml.so.1", "/opt/ours/libnvidia-ml.so.1"},
    {"zlast.so", "/opt/ours/zlast.so"},
    {"0first.so.10", "/opt/ours/0first.so.10"},
};
#define N (sizeof(ours) / sizeof(ours[0]))

static void test_this_machines(void **state)
{
    (void)state;
    char to[64];
    cleanup_free char *old = output("/sbin/ldconfig -p -C " CACHE);
    if (!old) {
        print_message("needs " CACHE "\n");
        skip();
    }
    snprintf(to, sizeof(to), "%s/cache", dir);
    add(CACHE, to, ours, N);
    cleanup_free char *new = output("/sbin/ldconfig -p -C %s", to);
    assert_non_null(new);
    assert_int_equal(others(old, new), N);
    for (size_t i = 0; i < N; i++) {
        char line[256];
        snprintf(line, sizeof(line), "\t%s (libc6,", ours[i].name);
        const char *at = strstr(new, line);
        assert_non_null(at);
        snprintf(line, sizeof(line), " => %s\n", ours[i].path);
        at = strstr(at, line);
        assert_non_null(at);
    }
    /* Once more, as of a container whose image was made from one of ours. */
    add(to, to, ours, N);
    cleanup_free char *twice = output("/sbin/ldconfig -p -C %s", to);
    assert_non_null(twice);
    assert_int_equal(others(new, twice), N);
}

/* A cache with names of hardware capabilities, and one that begins with an older one. */
static void test_others(void **state)
{
    (void)state;
    char to[64];
    cleanup_free char *library =
        output("/sbin/ldconfig -p | sed -n 's/.*libc.so.6 .*=> //p' | head -n 1");
    snprintf(to, sizeof(to), "%s/root/new", dir);
    assert_non_null(library);
    library[strcspn(library, "\n")] = '\0';
    for (int i = 0; i < 2; i++) {
        const char *form = i ? "compat" : "new";
        cleanup_free char *made = output(
            "set -e; cd %s; rm -rf root; mkdir -p root/etc root/usr/lib/glibc-hwcaps/x86-64-v3; "
            "cp %s root/usr/lib/; %s "
            "echo /usr/lib > root/etc/ld.so.conf; /sbin/ldconfig -c %s -r root; echo made",
            dir, library, i ? ":;" : "cp root/usr/lib/*.so* root/usr/lib/glibc-hwcaps/x86-64-v3/;",
            form);
        if (!made) {
            print_message("needs ldconfig -r\n");
            skip();
        }
        cleanup_free char *old = output("/sbin/ldconfig -p -C %s/root/etc/ld.so.cache", dir);
        assert_non_null(old);
        assert_true(i == 1 || strstr(old, "x86-64-v3"));
        char from[96];
        snprintf(from, sizeof(from), "%s/root/etc/ld.so.cache", dir);
        if (i == 0) {
            add(from, to, ours, N);
        } else {
            /* Two forms in one, and extensions: it stays as it is. */
            cleanup_free char *text = NULL;
            size_t len = 0, new_len = 0;
            void *grown = NULL;
            assert_int_equal(gi_read_file(from, LDCACHE_MAX_BYTES, &text, &len, NULL), 0);
            int rc = ldcache_add(text, len, ours, N, &grown, &new_len, NULL);
            if (rc < 0)
                continue;
            assert_int_equal(gi_write_file_atomic(to, grown, new_len, 0644, NULL), 0);
            free(grown);
        }
        cleanup_free char *new = output("/sbin/ldconfig -p -C %s", to);
        assert_non_null(new);
        assert_int_equal(others(old, new), N);
    }
}

/* In a mount namespace where /etc/ld.so.cache is CACHE: the loader finds what only that names. */
static int preload(const char *cache)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
            mount(cache, CACHE, NULL, MS_BIND, NULL) < 0)
            _exit(77);
        setenv("LD_PRELOAD", "libgi-cached.so.7", 1);
        execl("/bin/sh", "sh", "-c", "test -z \"$(/bin/true 2>&1)\"", (char *)NULL);
        _exit(126);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_the_loader(void **state)
{
    (void)state;
    char to[64], path[64];
    snprintf(to, sizeof(to), "%s/cache", dir);
    snprintf(path, sizeof(path), "%s/else.so", dir);
    cleanup_free char *copied = output(
        "cp \"$(/sbin/ldconfig -p | sed -n 's/.*libm.so.6 .*=> //p' | head -n 1)\" %s && echo ok",
        path);
    const struct ldcache_library one = {"libgi-cached.so.7", path};
    if (!copied || preload(CACHE) == 77) {
        print_message("needs a mount namespace\n");
        skip();
    }
    assert_int_equal(preload(CACHE), 1);
    add(CACHE, to, &one, 1);
    assert_int_equal(preload(to), 0);
}

static void test_what_is_no_cache(void **state)
{
    (void)state;
    cleanup_free char *cache = NULL;
    size_t len = 0, out_len = 7;
    void *out = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(ldcache_add("", 0, ours, N, &out, &out_len, &err), -GI_INVALID_ARGUMENT);
    if (gi_read_file(CACHE, LDCACHE_MAX_BYTES, &cache, &len, NULL) < 0)
        skip();
    assert_int_equal(ldcache_add(cache, 47, ours, N, &out, &out_len, &err), -GI_INVALID_ARGUMENT);
    assert_int_equal(ldcache_add(cache, 500, ours, N, &out, &out_len, &err), -GI_INVALID_ARGUMENT);
    cache[18] = '9';
    assert_int_equal(ldcache_add(cache, len, ours, N, &out, &out_len, &err), -GI_INVALID_ARGUMENT);
    cache[18] = '.';
    memset(cache + 48 + 4, 0xff, 4); /* the first entry's name */
    assert_int_equal(ldcache_add(cache, len, ours, N, &out, &out_len, &err), -GI_INVALID_ARGUMENT);
    assert_null(out);
    assert_int_equal(out_len, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_machines),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_the_loader),
        cmocka_unit_test(test_what_is_no_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
