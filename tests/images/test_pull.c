/* SPDX-License-Identifier: Apache-2.0 */
/* The store against a real registry: pull, tag, list, remove, restart, kill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "images.h"
#include "push.h"
#include "real_registry.h"

struct fixture {
    char dir[64];
    struct real_registry registry;
    char host[64];
    char id_app[DIGEST_SIZE];
    char manifest_app[DIGEST_SIZE];
};
static struct fixture fx;

struct opened {
    char root[128];
    struct images *s;
    struct gi_error err;
};

static void path_in(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", fx.dir, name);
}

static void put_file(const char *name, const char *text, size_t len)
{
    char path[256];
    path_in(path, sizeof(path), name);
    *strrchr(path, '/') = '\0';
    assert_int_equal(gi_mkdir_p(path, 0755, NULL), 0);
    path_in(path, sizeof(path), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(gi_write_full(fd, text, len), 0);
    close(fd);
}

static void push(const char *name, const char *const *layers, struct push_image how, char *id,
                 char *manifest)
{
    char url[256];
    char paths[4][256];
    const char *list[5] = {NULL};
    struct gi_error err = GI_ERROR_INIT;
    static const char *const cmd[] = {"/bin/hello", "-v", NULL};
    static const char *const env[] = {"PATH=/bin", NULL};
    snprintf(url, sizeof(url), "http://%s/%s", fx.host, name);
    for (int i = 0; layers[i]; i++) {
        path_in(paths[i], sizeof(paths[i]), layers[i]);
        list[i] = paths[i];
    }
    how.url = url;
    how.layers = list;
    how.cmd = cmd;
    how.env = env;
    if (push_image(&how, id, manifest, &err) < 0)
        fail_msg("push %s: %s", name, err.message);
}

static const char *const two_layers[] = {"base", "app", NULL};
static const char *const other_layers[] = {"base", "other", NULL};
static const char *const big_layers[] = {"base", "big", NULL};

static int group_setup(void **state)
{
    static char noise[12u << 20];
    unsigned seed = 7;
    snprintf(fx.dir, sizeof(fx.dir), "/tmp/gi-pull-XXXXXX");
    if (!mkdtemp(fx.dir) || real_registry_start(&fx.registry, fx.dir, NULL, NULL) < 0)
        return -1;
    snprintf(fx.host, sizeof(fx.host), "127.0.0.1:%d", fx.registry.port);
    for (size_t i = 0; i < sizeof(noise); i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (char)(seed >> 16);
    }
    put_file("base/etc/passwd", "root:x:0:0::/root:/bin/sh\n", 26);
    put_file("base/etc/old", "x", 1);
    put_file("app/bin/hello", "#!hello", 7);
    put_file("app/etc/.wh.old", "", 0);
    put_file("other/bin/hello", "#!other", 7);
    put_file("big/noise", noise, sizeof(noise));
    for (int i = 0; i < 300; i++) {
        char name[64];
        snprintf(name, sizeof(name), "big/many/%d/file", i);
        put_file(name, noise, 1000);
    }
    push("demo/app:gzip", two_layers, (struct push_image){.compression = PUSH_GZIP}, fx.id_app,
         fx.manifest_app);
    push("demo/app:zstd", two_layers, (struct push_image){.compression = PUSH_ZSTD}, NULL, NULL);
    push("demo/app:plain", two_layers, (struct push_image){.compression = PUSH_PLAIN}, NULL, NULL);
    push("demo/app:docker", two_layers, (struct push_image){.docker_types = true}, NULL, NULL);
    push("demo/app:index", two_layers, (struct push_image){.as_index = true}, NULL, NULL);
    push("demo/app:list", two_layers, (struct push_image){.as_index = true, .docker_types = true},
         NULL, NULL);
    push("demo/other:1", other_layers, (struct push_image){0}, NULL, NULL);
    push("demo/big:1", big_layers, (struct push_image){.compression = PUSH_ZSTD}, NULL, NULL);
    push("demo/alien:1", two_layers, (struct push_image){.arch = "s390x"}, NULL, NULL);
    return 0;
}

static int group_teardown(void **state)
{
    real_registry_stop(&fx.registry);
    gi_remove_tree_at(AT_FDCWD, fx.dir, NULL);
    return 0;
}

static void reopen_with(struct opened *o, struct images_config config)
{
    config.root = o->root;
    config.retry_delay_ms = 2;
    if (o->s)
        images_close(o->s);
    o->s = NULL;
    if (images_open(&config, &o->s, &o->err) < 0)
        fail_msg("%s", o->err.message);
}

static void reopen(struct opened *o)
{
    reopen_with(o, (struct images_config){0});
}

static int setup(void **state)
{
    struct opened *o = calloc(1, sizeof(*o));
    snprintf(o->root, sizeof(o->root), "%s/store", fx.dir);
    reopen(o);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct opened *o = *state;
    images_close(o->s);
    gi_remove_tree_at(AT_FDCWD, o->root, NULL);
    free(o);
    return 0;
}

static int count_files(struct opened *o, const char *folder)
{
    char path[256];
    int n = -2;
    snprintf(path, sizeof(path), "%s/%s", o->root, folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int try_pull(struct opened *o, const char *name, char id[DIGEST_SIZE])
{
    char ref[256];
    char *got = NULL;
    snprintf(ref, sizeof(ref), "%s/%s", fx.host, name);
    int rc = images_pull(o->s, ref, NULL, NULL, NULL, &got, &o->err);
    if (rc == 0 && id)
        snprintf(id, DIGEST_SIZE, "%s", got);
    free(got);
    return rc;
}

static void pull(struct opened *o, const char *name, char id[DIGEST_SIZE])
{
    if (try_pull(o, name, id) < 0)
        fail_msg("%s: %s", name, o->err.message);
}

/* NULL when absent. */
static struct images_image *status(struct opened *o, const char *name)
{
    char ref[256];
    struct images_image *image = NULL;
    bool digest = strncmp(name, "sha256:", 7) == 0;
    snprintf(ref, sizeof(ref), "%s%s%s", digest ? "" : fx.host, digest ? "" : "/", name);
    int rc = images_status(o->s, ref, &image, &o->err);
    assert_true(rc == 0 || rc == -GI_NOT_FOUND);
    return image;
}

static void assert_file(const struct images_image *image, const char *name, const char *want)
{
    char path[512];
    char *text;
    struct gi_error err = GI_ERROR_INIT;
    snprintf(path, sizeof(path), "%s/%s", image->rootfs, name);
    if (!want) {
        assert_int_equal(access(path, F_OK), -1);
        return;
    }
    if (gi_read_file(path, 1000, &text, NULL, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(text, want);
    free(text);
}

/* ---- cases ---- */

static void test_every_form(void **state)
{
    static const char *const names[] = {"demo/app:gzip",   "demo/app:zstd",  "demo/app:plain",
                                        "demo/app:docker", "demo/app:index", "demo/app:list"};
    struct opened *o = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char id[DIGEST_SIZE];
        pull(o, names[i], id);
        struct images_image *image = status(o, names[i]);
        assert_non_null(image);
        assert_string_equal(image->id, id);
        assert_string_equal(image->id, fx.id_app); /* the same content, however packed */
        assert_file(image, "bin/hello", "#!hello");
        assert_file(image, "etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        assert_file(image, "etc/old", NULL);
        assert_file(image, "etc/.wh.old", NULL);
        assert_string_equal(image->cmd[1], "-v");
        assert_string_equal(image->env[0], "PATH=/bin");
        assert_null(image->entrypoint[0]);
        assert_true(image->size > 100);
        assert_non_null(strstr(image->config_json, "diff_ids"));
        images_image_free(image);
        assert_int_equal(images_remove(o->s, id, &o->err), 0);
        assert_null(status(o, names[i]));
        assert_int_equal(count_files(o, "images"), 0);
        assert_int_equal(count_files(o, "blobs"), 0);
        assert_int_equal(count_files(o, "refs"), 0);
        assert_int_equal(count_files(o, "tmp"), 0);
    }
}

static void test_names_of_one_image(void **state)
{
    struct opened *o = *state;
    char name[256];
    pull(o, "demo/app:gzip", NULL);
    pull(o, "demo/app:zstd", NULL);
    struct images_image *image = status(o, "demo/app:zstd");
    assert_non_null(image->repo_tags[1]);
    assert_null(image->repo_tags[2]);
    assert_non_null(image->repo_digests[1]);
    snprintf(name, sizeof(name), "%s/demo/app@%s", fx.host, fx.manifest_app);
    assert_string_equal(image->repo_digests[0], name);
    images_image_free(image);
    /* By digest, by id, by bare hex, by prefix. */
    const char *hex = strchr(fx.id_app, ':') + 1;
    char prefix[16];
    snprintf(prefix, sizeof(prefix), "%.12s", hex);
    const char *refs[] = {name, fx.id_app, hex, prefix};
    for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        assert_int_equal(images_status(o->s, refs[i], &image, &o->err), 0);
        assert_string_equal(image->id, fx.id_app);
        images_image_free(image);
    }
    snprintf(prefix, sizeof(prefix), "%.11s", hex);
    assert_int_equal(images_status(o->s, prefix, &image, &o->err), -GI_NOT_FOUND);
    assert_int_equal(images_status(o->s, "Bad Name", &image, &o->err), -GI_INVALID_ARGUMENT);
    /* All names go with it. */
    snprintf(name, sizeof(name), "%s/demo/app:gzip", fx.host);
    assert_int_equal(images_remove(o->s, name, &o->err), 0);
    assert_null(status(o, "demo/app:zstd"));
    assert_int_equal(images_remove(o->s, name, &o->err), 0); /* absent: success */
}

static void test_tag_moves(void **state)
{
    struct opened *o = *state;
    char first[DIGEST_SIZE];
    char second[DIGEST_SIZE];
    push("demo/moving:1", two_layers, (struct push_image){0}, NULL, NULL);
    pull(o, "demo/moving:1", first);
    push("demo/moving:1", other_layers, (struct push_image){0}, NULL, NULL);
    pull(o, "demo/moving:1", second);
    assert_string_not_equal(first, second);
    struct images_image *image = status(o, "demo/moving:1");
    assert_string_equal(image->id, second);
    images_image_free(image);
    image = status(o, first);
    assert_null(image->repo_tags[0]);
    assert_non_null(image->repo_digests[0]);
    images_image_free(image);
    /* The layer both share stays while one needs it. */
    int blobs = count_files(o, "blobs");
    assert_int_equal(images_remove(o->s, first, &o->err), 0);
    assert_int_equal(count_files(o, "blobs"), blobs - 1);
    image = status(o, "demo/moving:1");
    assert_file(image, "bin/hello", "#!other");
    images_image_free(image);
}

static void test_list_and_usage(void **state)
{
    struct opened *o = *state;
    struct images_fs_info before;
    struct images_fs_info with;
    struct images_fs_info after;
    struct images_image **list;
    size_t n;
    assert_int_equal(images_fs_info(o->s, &before, &o->err), 0);
    pull(o, "demo/big:1", NULL);
    pull(o, "demo/other:1", NULL);
    assert_int_equal(images_list(o->s, &list, &n, &o->err), 0);
    assert_int_equal(n, 2);
    assert_non_null(list[0]->repo_tags[0]);
    images_list_free(list, n);
    assert_int_equal(images_fs_info(o->s, &with, &o->err), 0);
    assert_true(with.used_bytes > 2 * (12u << 20)); /* compressed (noise) and unpacked */
    assert_true(with.used_bytes < 3 * (12u << 20));
    assert_true(with.inodes_used > 600);
    assert_string_equal(with.mountpoint, o->root);
    char ref[256];
    snprintf(ref, sizeof(ref), "%s/demo/big:1", fx.host);
    assert_int_equal(images_remove(o->s, ref, &o->err), 0);
    assert_int_equal(images_fs_info(o->s, &after, &o->err), 0);
    assert_true(after.used_bytes < 1u << 20);
    assert_true(after.inodes_used < 50);
}

static void test_discarded_layers(void **state)
{
    struct opened *o = *state;
    reopen_with(o, (struct images_config){.discard_layers = true});
    pull(o, "demo/app:gzip", NULL);
    assert_int_equal(count_files(o, "blobs"), 0);
    struct images_image *image = status(o, "demo/app:gzip");
    assert_file(image, "bin/hello", "#!hello");
    images_image_free(image);
}

static void test_pinned(void **state)
{
    struct opened *o = *state;
    char ref[256];
    snprintf(ref, sizeof(ref), "%s/demo/app:gzip", fx.host);
    const char *pinned[] = {ref, NULL};
    reopen_with(o, (struct images_config){.pinned = pinned});
    pull(o, "demo/app:gzip", NULL);
    pull(o, "demo/other:1", NULL);
    struct images_image *image = status(o, "demo/app:gzip");
    assert_true(image->pinned);
    images_image_free(image);
    image = status(o, "demo/other:1");
    assert_false(image->pinned);
    images_image_free(image);
}

static void test_in_use(void **state)
{
    struct opened *o = *state;
    char id[DIGEST_SIZE];
    pull(o, "demo/app:gzip", id);
    struct images_image *image = status(o, "demo/app:gzip");
    assert_int_equal(images_acquire(o->s, id, "container-1", &o->err), 0);
    assert_int_equal(images_acquire(o->s, id, "container-2", &o->err), 0);
    assert_int_equal(images_acquire(o->s, "sha256:0", "container-2", &o->err), -GI_NOT_FOUND);
    assert_int_equal(images_remove(o->s, id, &o->err), 0);
    assert_null(status(o, "demo/app:gzip"));
    assert_null(status(o, id));
    assert_file(image, "bin/hello", "#!hello");
    images_release(o->s, "container-1");
    assert_file(image, "bin/hello", "#!hello");
    /* A restart: the runtime acquires again, then collects. */
    reopen(o);
    assert_null(status(o, id));
    assert_int_equal(images_acquire(o->s, id, "container-2", &o->err), 0);
    assert_int_equal(images_gc(o->s, &o->err), 0);
    assert_file(image, "bin/hello", "#!hello");
    /* Pulled again before that: it is simply back. */
    pull(o, "demo/app:zstd", NULL);
    assert_int_equal(images_remove(o->s, id, &o->err), 0);
    images_release(o->s, "container-2");
    assert_file(image, "bin/hello", NULL);
    assert_int_equal(count_files(o, "images"), 0);
    /* Nobody acquires after the restart: collected. */
    pull(o, "demo/app:gzip", id);
    assert_int_equal(images_acquire(o->s, id, "container-3", &o->err), 0);
    assert_int_equal(images_remove(o->s, id, &o->err), 0);
    reopen(o);
    assert_int_equal(count_files(o, "images"), 1);
    assert_int_equal(images_gc(o->s, &o->err), 0);
    assert_int_equal(count_files(o, "images"), 0);
    assert_int_equal(count_files(o, "blobs"), 0);
    images_image_free(image);
}

static void test_other_platform(void **state)
{
    struct opened *o = *state;
    assert_int_equal(try_pull(o, "demo/alien:1", NULL), -GI_FAILED_PRECONDITION);
    assert_non_null(strstr(o->err.message, "s390x"));
    assert_int_equal(try_pull(o, "demo/app:nonsense", NULL), -GI_NOT_FOUND);
    assert_non_null(strstr(o->err.message, "MANIFEST_UNKNOWN"));
    reopen_with(o, (struct images_config){.platform_arch = "s390x"});
    pull(o, "demo/alien:1", NULL);
}

static void test_limits(void **state)
{
    struct opened *o = *state;
    reopen_with(o, (struct images_config){.max_image_bytes = 1u << 20});
    assert_int_equal(try_pull(o, "demo/big:1", NULL), -GI_RESOURCE_EXHAUSTED);
    reopen_with(o, (struct images_config){.max_entries = 100});
    assert_int_equal(try_pull(o, "demo/big:1", NULL), -GI_RESOURCE_EXHAUSTED);
    assert_int_equal(count_files(o, "images"), 0);
    assert_int_equal(count_files(o, "tmp"), 0);
    assert_int_equal(count_files(o, "blobs"), 0);
    assert_int_equal(count_files(o, "partial"), 0);
}

static void test_mirror(void **state)
{
    struct opened *o = *state;
    char mirror[128];
    snprintf(mirror, sizeof(mirror), "http://%s", fx.host);
    /* One that nobody listens at, one whose name can't be resolved (without asking anybody). */
    const char *mirrors[] = {
        "http://127.0.0.1:1",
        "http://0123456789012345678901234567890123456789012345678901234567890123456789.invalid",
        mirror, NULL};
    struct images_registry registry = {.host = "registry.example.com", .mirrors = mirrors};
    push("pause:3.9", two_layers, (struct push_image){0}, NULL, NULL);
    reopen_with(o, (struct images_config){.registries = &registry, .n_registries = 1});
    char *id;
    struct images_image *image;
    if (images_pull(o->s, "registry.example.com/pause:3.9", NULL, NULL, NULL, &id, &o->err) < 0)
        fail_msg("%s", o->err.message);
    free(id);
    assert_int_equal(images_status(o->s, "registry.example.com/pause:3.9", &image, &o->err), 0);
    assert_string_equal(image->repo_tags[0], "registry.example.com/pause:3.9");
    images_image_free(image);
}

static void test_restart_keeps_all(void **state)
{
    struct opened *o = *state;
    char path[256];
    pull(o, "demo/app:gzip", NULL);
    pull(o, "demo/other:1", NULL);
    struct images_image *other = status(o, "demo/other:1");
    /* Leftovers of every sort, and one record that is broken. */
    snprintf(path, sizeof(path), "%s/tmp/half/rootfs/dir", o->root);
    assert_int_equal(gi_mkdir_p(path, 0700, NULL), 0);
    snprintf(path, sizeof(path), "%s/refs/0123.json.tmp-abc", o->root);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    snprintf(path, sizeof(path), "%.*s/record.json", (int)(strlen(other->rootfs) - 7),
             other->rootfs);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"version\"", 10), 10);
    close(fd);
    reopen(o);
    assert_int_equal(count_files(o, "tmp"), 0);
    struct images_image *image = status(o, "demo/app:gzip");
    assert_non_null(image);
    assert_file(image, "bin/hello", "#!hello");
    images_image_free(image);
    assert_null(status(o, "demo/other:1"));
    pull(o, "demo/other:1", NULL); /* heals it */
    image = status(o, "demo/other:1");
    assert_file(image, "bin/hello", "#!other");
    images_image_free(image);
    images_image_free(other);
    /* A second process is kept out, and a forked child doesn't keep the lock. */
    pid_t pid = fork();
    if (pid == 0) {
        struct images_config config = {.root = o->root};
        struct images *s;
        _exit(images_open(&config, &s, NULL) == -GI_FAILED_PRECONDITION ? 0 : 1);
    }
    int wait_status;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_int_equal(wait_status, 0);
}

/* kill -9 at many moments of a pull: whatever is left is whole or swept. */
static void test_killed(void **state)
{
    struct opened *o = *state;
    unsigned seed = (unsigned)getpid();
    int survivors = 0;
    images_close(o->s);
    o->s = NULL;
    for (int round = 0; round < 25; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct images_config config = {.root = o->root};
            char ref[256];
            char *id;
            struct images *s;
            snprintf(ref, sizeof(ref), "%s/demo/big:1", fx.host);
            if (images_open(&config, &s, NULL) < 0)
                _exit(1);
            for (;;) { /* remove and pull, remove and pull */
                images_remove(s, ref, NULL);
                if (images_pull(s, ref, NULL, NULL, NULL, &id, NULL) < 0)
                    _exit(1);
                struct timespec enjoy = {.tv_nsec = 150 * 1000000L};
                nanosleep(&enjoy, NULL);
            }
        }
        seed = seed * 1664525 + 1013904223;
        struct timespec wait = {.tv_nsec = (long)(seed >> 8) * 30 /* below 0.51 s */};
        nanosleep(&wait, NULL);
        int wait_status;
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        assert_true(WIFSIGNALED(wait_status));
        reopen(o);
        assert_int_equal(count_files(o, "tmp"), 0);
        struct images_image *image = status(o, "demo/big:1");
        if (image) {
            struct stat st;
            char path[512];
            snprintf(path, sizeof(path), "%s/noise", image->rootfs);
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_size, 12u << 20);
            snprintf(path, sizeof(path), "%s/many/299/file", image->rootfs);
            assert_int_equal(stat(path, &st), 0);
            images_image_free(image);
            survivors++;
        }
        images_close(o->s);
        o->s = NULL;
    }
    print_message("    image there after %d of 25 kills\n", survivors);
    reopen(o);
    pull(o, "demo/big:1", NULL);
}

static void test_htpasswd(void **state)
{
    struct opened *o = *state;
    char dir[128];
    char file[160];
    char command[512];
    struct real_registry registry = {0};
    path_in(dir, sizeof(dir), "locked");
    assert_int_equal(gi_mkdir_p(dir, 0700, NULL), 0);
    snprintf(file, sizeof(file), "%s/htpasswd", dir);
    snprintf(command, sizeof(command), "htpasswd -Bbn alice s3cret >%s 2>/dev/null", file);
    if (system(command) != 0) {
        print_message("    needs htpasswd (apache2-utils)\n");
        skip();
    }
    assert_int_equal(real_registry_start(&registry, dir, file, NULL), 0);
    char saved[sizeof(fx.host)];
    memcpy(saved, fx.host, sizeof(saved));
    snprintf(fx.host, sizeof(fx.host), "127.0.0.1:%d", registry.port);
    push("a/locked:1", two_layers, (struct push_image){.basic = "alice:s3cret"}, NULL, NULL);
    char ref[128];
    char *id = NULL;
    snprintf(ref, sizeof(ref), "%s/a/locked:1", fx.host);
    struct images_auth wrong = {.username = "alice", .password = "guess"};
    struct images_auth right = {.username = "alice", .password = "s3cret"};
    int none = images_pull(o->s, ref, NULL, NULL, NULL, &id, &o->err);
    int bad = images_pull(o->s, ref, &wrong, NULL, NULL, &id, &o->err);
    int good = images_pull(o->s, ref, &right, NULL, NULL, &id, &o->err);
    real_registry_stop(&registry);
    memcpy(fx.host, saved, sizeof(saved));
    free(id);
    assert_int_equal(none, -GI_UNAUTHENTICATED);
    assert_int_equal(bad, -GI_UNAUTHENTICATED);
    assert_int_equal(good, 0);
}

/* A self-signed certificate for 127.0.0.1 and its key in one PEM file. */
static void make_certificate(const char *path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509V3_CTX ctx;
    FILE *f = fopen(path, "we");
    assert_true(key && x && f);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "IP:127.0.0.1");
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "CA:TRUE");
    assert_true(san && ca && X509_add_ext(x, san, -1) && X509_add_ext(x, ca, -1));
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    assert_true(PEM_write_X509(f, x) && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    X509_EXTENSION_free(san);
    X509_EXTENSION_free(ca);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void test_tls(void **state)
{
    struct opened *o = *state;
    struct real_registry registry = {0};
    char cert[128];
    char host[64];
    char ref[128];
    char *id;
    path_in(cert, sizeof(cert), "cert.pem");
    make_certificate(cert);
    /* The same content, served with TLS. */
    assert_int_equal(real_registry_start(&registry, fx.dir, NULL, cert), 0);
    snprintf(host, sizeof(host), "127.0.0.1:%d", registry.port);
    snprintf(ref, sizeof(ref), "%s/demo/app:gzip", host);
    struct images_registry config = {.host = host};
    reopen_with(o, (struct images_config){.registries = &config, .n_registries = 1});
    int unknown_ca = images_pull(o->s, ref, NULL, NULL, NULL, &id, &o->err);
    bool says_tls = strstr(o->err.message, "TLS") != NULL;
    config.ca_file = cert;
    reopen_with(o, (struct images_config){.registries = &config, .n_registries = 1});
    int with_ca = images_pull(o->s, ref, NULL, NULL, NULL, &id, &o->err);
    if (with_ca == 0)
        free(id);
    images_remove(o->s, ref, NULL);
    config.ca_file = NULL;
    config.insecure_skip_verify = true;
    reopen_with(o, (struct images_config){.registries = &config, .n_registries = 1});
    int unverified = images_pull(o->s, ref, NULL, NULL, NULL, &id, &o->err);
    if (unverified == 0)
        free(id);
    real_registry_stop(&registry);
    assert_int_equal(unknown_ca, -GI_FAILED_PRECONDITION);
    assert_true(says_tls);
    assert_int_equal(with_ca, 0);
    assert_int_equal(unverified, 0);
}

int main(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "needs root: an image's files have owners\n");
        return 77;
    }
    if (system("command -v docker-registry >/dev/null") != 0) {
        fprintf(stderr, "needs docker-registry\n");
        return 77;
    }
    gi_log_init("test", GI_LOG_ERROR);
#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_every_form),
        CASE(test_names_of_one_image),
        CASE(test_tag_moves),
        CASE(test_list_and_usage),
        CASE(test_discarded_layers),
        CASE(test_pinned),
        CASE(test_in_use),
        CASE(test_other_platform),
        CASE(test_limits),
        CASE(test_mirror),
        CASE(test_restart_keeps_all),
        CASE(test_killed),
        CASE(test_htpasswd),
        CASE(test_tls),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
