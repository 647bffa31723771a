/* SPDX-License-Identifier: Apache-2.0 */
/* References, digests, challenges, documents and users: what is parsed without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth.h"
#include "base/io.h"
#include "document.h"
#include "images.h"
#include "ref.h"

#define HEX64  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHA256 "sha256:" HEX64
#define SHA512 "sha512:" HEX64 HEX64

static void test_references(void **state)
{
    static const struct {
        const char *text, *full;
    } cases[] = {
        {"busybox", "docker.io/library/busybox:latest"},
        {"busybox:1.36", "docker.io/library/busybox:1.36"},
        {"a/b", "docker.io/a/b:latest"},
        {"docker.io/busybox", "docker.io/library/busybox:latest"},
        {"index.docker.io/busybox:1", "docker.io/library/busybox:1"},
        {"docker.io/a/b/c:1", "docker.io/a/b/c:1"},
        {"localhost/a", "localhost/a:latest"},
        {"localhost:5000/a:2", "localhost:5000/a:2"},
        {"127.0.0.1:5000/a/b-c__d.e/f:T_a.g-1", "127.0.0.1:5000/a/b-c__d.e/f:T_a.g-1"},
        {"[::1]:5000/a", "[::1]:5000/a:latest"},
        {"registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"},
        {"HOST/a", "HOST/a:latest"},
        {"a---b:1", "docker.io/library/a---b:1"},
        {"busybox@" SHA256, "docker.io/library/busybox@" SHA256},
        {"busybox:1@" SHA256, "docker.io/library/busybox@" SHA256},
        {"h.io/a@" SHA512, "h.io/a@" SHA512},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct image_ref ref;
        char full[REF_TEXT_SIZE];
        struct gi_error err = GI_ERROR_INIT;
        if (image_ref_parse(cases[i].text, &ref, &err) < 0)
            fail_msg("%s: %s", cases[i].text, err.message);
        image_ref_format(&ref, full);
        assert_string_equal(full, cases[i].full);
        struct image_ref again; /* normal form is a fixed point */
        assert_int_equal(image_ref_parse(full, &again, &err), 0);
        assert_memory_equal(&again, &ref, sizeof(ref));
    }
}

static void test_bad_references(void **state)
{
    static const char md5[] = "a@md5:" HEX64;
    static const char longer[] = "a@" SHA256 "0";
    static const char twice[] = "a@" SHA256 "@" SHA256;
    static const char *const cases[] = {
        "",
        " ",
        "Busybox",
        "a/B",
        "/a",
        "a/",
        "a//b",
        "a:",
        "a:-x",
        "a:.x",
        "a:tag with space",
        "a@",
        "a@sha256:abc",
        md5,
        "h.io/a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        longer,
        twice,
        HEX64,
        "../a",
        "a/../b",
        "h.io/../../etc/passwd",
        "a..b",
        "a._b",
        "-a",
        "a-",
        "host:99999/a",
        "host:0/a",
        "host:/a",
        "ho_st.io/a",
        "-host.io/a",
        "h.io:80:80/a",
        "http://h.io/a",
        "h.io/a\n",
        "h.io/a?x",
        "h.io/a%2fb",
        "user@h.io/a",
        "[::1/a",
        "a___b",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct image_ref ref;
        struct gi_error err = GI_ERROR_INIT;
        if (image_ref_parse(cases[i], &ref, &err) != -GI_INVALID_ARGUMENT)
            fail_msg("\"%s\" was taken", cases[i]);
        assert_true(strlen(err.message) > 10);
    }
    char longest[400];
    struct image_ref ref;
    memset(longest, 'a', sizeof(longest));
    longest[257] = '\0';
    assert_int_equal(image_ref_parse(longest, &ref, NULL), -GI_INVALID_ARGUMENT);
    memcpy(longest, "a:", 2);
    longest[2 + 129] = '\0';
    assert_int_equal(image_ref_parse(longest, &ref, NULL), -GI_INVALID_ARGUMENT);
    longest[2 + 128] = '\0';
    assert_int_equal(image_ref_parse(longest, &ref, NULL), 0);
}

static void test_challenges(void **state)
{
    struct auth_challenge c;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(auth_parse_challenges("Bearer realm=\"https://auth.docker.io/token\","
                                           "service=\"registry.docker.io\",scope=\"repository:"
                                           "library/busybox:pull\"",
                                           &c, &err),
                     0);
    assert_true(c.bearer && !c.basic);
    assert_string_equal(c.realm, "https://auth.docker.io/token");
    assert_string_equal(c.service, "registry.docker.io");
    assert_string_equal(c.scope, "repository:library/busybox:pull");
    assert_int_equal(auth_parse_challenges("Negotiate YII=, basic Realm=\"a \\\"b\\\", Bearer x\", "
                                           "BEARER realm = https://r , error=\"invalid_token\"",
                                           &c, &err),
                     0);
    assert_true(c.bearer && c.basic);
    assert_string_equal(c.realm, "https://r");
    assert_string_equal(c.error, "invalid_token");
    assert_int_equal(auth_parse_challenges("", &c, &err), 0);
    assert_false(c.bearer || c.basic);
    static const char *const bad[] = {"realm=\"x\"", "Bearer realm=\"x", "Bearer realm=\"x\\",
                                      "\"Bearer\"", "Bearer realm=\"a\nb\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (auth_parse_challenges(bad[i], &c, &err) != -GI_INVALID_ARGUMENT)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    char longest[4096] = "Bearer realm=\"";
    memset(longest + 14, 'r', 3000);
    longest[3014] = '"';
    assert_int_equal(auth_parse_challenges(longest, &c, &err), -GI_INVALID_ARGUMENT);
}

static void test_basic_base64(void **state)
{
    char *user;
    char *password;
    assert_int_equal(auth_decode_basic("dXNlcjpwYXNz", &user, &password, NULL), 0);
    assert_string_equal(user, "user");
    assert_string_equal(password, "pass");
    free(user);
    free(password);
    assert_int_equal(auth_decode_basic("dXNlcjpwYTpz", &user, &password, NULL), 0);
    assert_string_equal(password, "pa:s");
    free(user);
    free(password);
    assert_int_equal(auth_decode_basic("dTpw", &user, &password, NULL), 0);
    assert_string_equal(user, "u");
    free(user);
    free(password);
    assert_int_equal(auth_decode_basic("dTo=", &user, &password, NULL), 0);
    assert_string_equal(password, "");
    free(user);
    free(password);
    static const char *const bad[] = {"", "dXNlcg==", "dXNlcjpwYXN", "!!!!", "AAA="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(auth_decode_basic(bad[i], &user, &password, NULL), -GI_INVALID_ARGUMENT);
}

static void test_platforms(void **state)
{
    static const char child[] = "{\"digest\": \"sha256:%064d\", \"size\": 5, \"platform\": "
                                "{\"os\": \"%s\", \"architecture\": \"%s\", \"variant\": \"%s\"}}";
    static const struct {
        const char *os, *arch, *variant;
    } has[] = {{"windows", "amd64", ""},  {"linux", "amd64", "v3"}, {"linux", "amd64", ""},
               {"linux", "arm", "v6"},    {"linux", "arm", "v7"},   {"linux", "arm64", "v8"},
               {"unknown", "unknown", ""}};
    struct gi_buf b = GI_BUF_INIT(64u << 10);
    gi_buf_printf(&b, "{\"schemaVersion\": 2, \"manifests\": [");
    for (int i = 0; i < 7; i++) {
        char one[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(one, sizeof(one), child, i, has[i].os, has[i].arch, has[i].variant);
#pragma GCC diagnostic pop
        gi_buf_printf(&b, "%s%s", i ? ", " : "", one);
    }
    gi_buf_printf(&b, "]}");
    struct document_manifest m;
    struct gi_error err = GI_ERROR_INIT;
    size_t i = 99;
    assert_int_equal(document_manifest_parse(b.data, b.len, "", &m, &err), 0);
    assert_int_equal(document_pick(&m, "amd64", &i, &err), 0);
    assert_int_equal(i, 2);
    assert_int_equal(document_pick(&m, "arm", &i, &err), 0);
    assert_int_equal(i, 4);
    assert_int_equal(document_pick(&m, "arm64", &i, &err), 0);
    assert_int_equal(i, 5);
    assert_int_equal(document_pick(&m, "riscv64", &i, &err), -GI_NOT_FOUND);
    assert_non_null(strstr(err.message, "linux/arm/v7"));
    document_manifest_free(&m);
    gi_buf_free(&b);
}

static void test_config(void **state)
{
    static const char text[] =
        "{\"os\": \"linux\", \"architecture\": \"amd64\", \"config\": {\"User\": \"1000:5\", "
        "\"Env\": [\"A=\\u00e9\", \"B=\"], \"Cmd\": null, \"Entrypoint\": [\"/bin/sh\", \"-c\"], "
        "\"WorkingDir\": \"/w\", \"StopSignal\": \"SIGQUIT\"}, \"rootfs\": {\"diff_ids\": "
        "[\"" SHA256 "\"]}}";
    struct document_config c;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(document_config_parse(text, strlen(text), &c, &err), 0);
    assert_string_equal(c.user, "1000:5");
    assert_string_equal(c.env[0], "A=\xc3\xa9");
    assert_null(c.env[2]);
    assert_null(c.cmd[0]);
    assert_string_equal(c.entrypoint[1], "-c");
    assert_string_equal(c.working_dir, "/w");
    assert_int_equal(c.stop_signal, 3);
    assert_string_equal(c.diff_ids[0], SHA256);
    document_config_free(&c);
    static const char *const bad[] = {
        "{\"config\": {\"Env\": \"A\"}}", "{\"config\": {\"Env\": [1]}}",
        "{\"config\": {\"User\": \"root\\u0000x\"}}", "{\"rootfs\": {\"diff_ids\": [\"x\"]}}",
        "{\"a\": 1} trailing"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (document_config_parse(bad[i], strlen(bad[i]), &c, &err) != -GI_INVALID_ARGUMENT)
            fail_msg("%s was taken", bad[i]);
    }
    static char deep[100000];
    memset(deep, '[', sizeof(deep));
    assert_int_equal(document_config_parse(deep, sizeof(deep), &c, &err), -GI_INVALID_ARGUMENT);
    assert_int_equal(document_signal("TERM"), 15);
    assert_int_equal(document_signal("sigkill"), 9);
    assert_int_equal(document_signal("15"), 15);
    assert_int_equal(document_signal("SIGRTMIN+3"), 37);
    assert_int_equal(document_signal("RTMAX-1"), 63);
    assert_int_equal(document_signal("SIGNONSENSE"), 0);
    assert_int_equal(document_signal("99999999999"), 0);
    assert_int_equal(document_signal(""), 0);
}

/* ---- users ---- */

struct rootfs {
    char path[64];
    int fd;
};

static void put_file(const struct rootfs *r, const char *name, const char *text)
{
    unlinkat(r->fd, name, 0);
    int fd = openat(r->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(gi_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

static int setup_rootfs(void **state)
{
    struct rootfs *r = calloc(1, sizeof(*r));
    snprintf(r->path, sizeof(r->path), "/tmp/gi-user-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mkdirat(r->fd, "etc", 0755);
    put_file(r, "etc/passwd",
             "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n"
             "overflow:x:4294967296:4294967296::/:\nnegative:x:-1:-1::/:\nempty:x:::::\n"
             "plus:x:+5:5::/:\n7777:x:12:13::/seven:\nshort:x:5\nhome:x:50:51\n");
    put_file(r, "etc/group",
             "root:x:0:\nstaff:x:20:web,root\nwww:x:34:\nvideo:x:44:other,web\n"
             "broken:x:4294967296:web\nhuge:x:99999999999:web\n");
    *state = r;
    return 0;
}

static int teardown_rootfs(void **state)
{
    struct rootfs *r = *state;
    close(r->fd);
    gi_remove_tree_at(AT_FDCWD, r->path, NULL);
    free(r);
    return 0;
}

static void test_users(void **state)
{
    struct rootfs *r = *state;
    static const struct {
        const char *user;
        uint32_t uid, gid;
        size_t n_groups;
        const char *home;
    } cases[] = {{"", 0, 0, 1, "/root"},
                 {"root", 0, 0, 1, "/root"},
                 {"0", 0, 0, 1, "/root"},
                 {"web", 33, 34, 2, "/srv"},
                 {"33", 33, 34, 2, "/srv"},
                 {"web:staff", 33, 20, 0, "/srv"},
                 {"web:100", 33, 100, 0, "/srv"},
                 {"1234", 1234, 0, 0, "/"},
                 {"1234:5678", 1234, 5678, 0, "/"},
                 {"7777", 12, 13, 0, "/seven"},
                 {"2147483647", 2147483647, 0, 0, "/"},
                 {"home", 50, 51, 0, "/"},
                 {"web:", 33, 34, 2, "/srv"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct images_user u;
        struct gi_error err = GI_ERROR_INIT;
        if (images_resolve_user(r->path, cases[i].user, &u, &err) < 0)
            fail_msg("\"%s\": %s", cases[i].user, err.message);
        assert_int_equal(u.uid, cases[i].uid);
        assert_int_equal(u.gid, cases[i].gid);
        assert_int_equal(u.n_groups, cases[i].n_groups);
        assert_string_equal(u.home, cases[i].home);
        images_user_free(&u);
    }
}

static void test_bad_users(void **state)
{
    struct rootfs *r = *state;
    static const struct {
        const char *user;
        enum gi_code code;
    } cases[] = {{"nobody", GI_NOT_FOUND},
                 {"4294967296", GI_INVALID_ARGUMENT},
                 {"4294967295", GI_INVALID_ARGUMENT},
                 {"2147483648", GI_INVALID_ARGUMENT},
                 {"18446744073709551616", GI_INVALID_ARGUMENT},
                 {"-1", GI_NOT_FOUND},
                 {"+0", GI_NOT_FOUND},
                 {" 0", GI_NOT_FOUND},
                 {"0x0", GI_NOT_FOUND},
                 {"overflow", GI_INVALID_ARGUMENT},
                 {"negative", GI_INVALID_ARGUMENT},
                 {"empty", GI_INVALID_ARGUMENT},
                 {"plus", GI_INVALID_ARGUMENT},
                 {"short", GI_INVALID_ARGUMENT},
                 {"web:nogroup", GI_NOT_FOUND},
                 {"web:broken", GI_INVALID_ARGUMENT},
                 {"web:4294967296", GI_INVALID_ARGUMENT}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct images_user u;
        int rc = images_resolve_user(r->path, cases[i].user, &u, NULL);
        if (rc != -(int)cases[i].code)
            fail_msg("\"%s\" gave %d", cases[i].user, rc);
    }
}

/* The files may be missing, links to the host's, or things that block. */
static void test_hostile_user_files(void **state)
{
    struct rootfs *r = *state;
    struct images_user u;
    unlinkat(r->fd, "etc/passwd", 0);
    assert_int_equal(images_resolve_user(r->path, "5", &u, NULL), 0);
    assert_int_equal(u.uid, 5);
    images_user_free(&u);
    assert_int_equal(symlinkat("../../../../../../etc/passwd", r->fd, "etc/passwd"), 0);
    assert_int_equal(images_resolve_user(r->path, "root", &u, NULL), -GI_NOT_FOUND);
    unlinkat(r->fd, "etc/passwd", 0);
    assert_int_equal(symlinkat("/proc/self/root/etc/passwd", r->fd, "etc/passwd"), 0);
    assert_int_equal(images_resolve_user(r->path, "root", &u, NULL), -GI_NOT_FOUND);
    unlinkat(r->fd, "etc/passwd", 0);
    assert_int_equal(mkfifoat(r->fd, "etc/passwd", 0644), 0);
    assert_int_equal(images_resolve_user(r->path, "root", &u, NULL), -GI_NOT_FOUND);
    put_file(r, "etc/passwd", "");
    int fd = openat(r->fd, "etc/passwd", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 1LL << 40), 0);
    close(fd);
    assert_int_equal(images_resolve_user(r->path, "root", &u, NULL), -GI_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_bad_references),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_basic_base64),
        cmocka_unit_test(test_platforms),
        cmocka_unit_test(test_config),
        cmocka_unit_test_setup_teardown(test_users, setup_rootfs, teardown_rootfs),
        cmocka_unit_test_setup_teardown(test_bad_users, setup_rootfs, teardown_rootfs),
        cmocka_unit_test_setup_teardown(test_hostile_user_files, setup_rootfs, teardown_rootfs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
