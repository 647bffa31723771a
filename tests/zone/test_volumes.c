/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes in a real zone: put, swapped, mounted, read back; and containers that lay traps. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "talk.h"

#define FILE_OF(p, text)                                                                           \
    {                                                                                              \
        .path = (p), .data = (text), .len = sizeof(text) - 1                                       \
    }

static void make_volume(const char *name)
{
    const struct agent_volume v = {.name = name, .mode = 0777};
    assert_ok(agent_make_volume(client, &v, 5000, err));
}

static int try_mounted(const char *id, const char *script, const char *mounts, struct gi_error *err)
{
    cleanup_free char *json = spec_text(script, "");
    cleanup_free char *full = NULL;
    char *at = strstr(json, "\"mounts\":[") + strlen("\"mounts\":[");
    assert_true(asprintf(&full, "%.*s%s,%s", (int)(at - json), json, mounts, at) > 0);
    const struct agent_container_spec spec = {
        .id = id, .oci_json = full, .image_rootfs = talk_rootfs()};
    return agent_create_container(client, &spec, 20000, err);
}

/* MOUNTS: JSON objects. */
static void run_mounted(const char *id, const char *script, const char *mounts)
{
    assert_ok(try_mounted(id, script, mounts, err));
    assert_ok(agent_follow_logs(client, id, 0, 2000, err));
    assert_ok(agent_start_container(client, id, 10000, err));
}

#define MOUNT(source, at, mode)                                                                    \
    "{\"destination\":\"" at "\",\"type\":\"bind\",\"source\":\"volume:" source                    \
    "\",\"options\":[\"rbind\",\"" mode "\"]}"

/* What SCRIPT says in container ID. */
static char *said(const char *id, const char *script, size_t *ret_len)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct agent_exec_result r;
    memset(&r, 0, sizeof(r));
    assert_ok(agent_exec_sync(client, id, argv, 20000, 8u << 20, &r, err));
    free(r.errout);
    if (ret_len)
        *ret_len = r.out_len;
    return r.out;
}

static void expect(const char *id, const char *script, const char *text)
{
    cleanup_free char *out = said(id, script, NULL);
    assert_string_equal(out, text);
}

static void swapped(void **state)
{
    const struct agent_file first[] = {
        FILE_OF("key", "one\n"),
        {.path = "deep/er/file", .data = "two\n", .len = 4, .mode = 0440, .uid = 0, .gid = 8},
        FILE_OF("empty", ""),
    };
    const struct agent_file second[] = {FILE_OF("key", "three\n"), FILE_OF("new", "four\n")};
    make_volume("cfg");
    assert_ok(agent_put_files(client, "cfg", true, first, 3, 5000, err));
    run_mounted("c", "sleep 1000", MOUNT("cfg", "/cfg", "ro"));
    expect("c", "cat /cfg/key /cfg/deep/er/file; wc -c < /cfg/empty; readlink /cfg/key",
           "one\ntwo\n0\n..data/key\n");
    expect("c", "stat -L -c %a:%u:%g /cfg/key /cfg/deep/er/file", "644:0:0\n440:0:8\n");
    assert_ok(agent_put_files(client, "cfg", true, second, 2, 5000, err));
    expect("c", "cat /cfg/key /cfg/new; ls /cfg; ls -A /cfg | wc -l", "three\nfour\nkey\nnew\n4\n");
    assert_ok(agent_put_files(client, "cfg", true, NULL, 0, 5000, err));
    expect("c", "ls /cfg", "");
}

/* Whoever enters ..data sees one state, whole. */
static void never_torn(void **state)
{
    char text[32];
    make_volume("cfg");
    struct agent_file files[] = {{.path = "a", .data = text}, {.path = "b", .data = text}};
    for (int i = 0; i < 200; i++) {
        int n = snprintf(text, sizeof(text), "%d\n", i);
        files[0].len = files[1].len = (size_t)n;
        assert_ok(agent_put_files(client, "cfg", true, files, 2, 5000, err));
        if (i == 0)
            run_mounted("c",
                        "n=0; while true; do cd /; cd -P /cfg/..data || echo lost; "
                        "a=$(cat a 2>/dev/null); b=$(cat b 2>/dev/null); "
                        "[ -z \"$a\" ] || [ -z \"$b\" ] || [ \"$a\" = \"$b\" ] || echo torn; "
                        "n=$((n+1)); [ $n = 20 ] && echo works; done",
                        MOUNT("cfg", "/cfg", "ro"));
    }
    for (int i = 0; i < 100 && rec.n_lines == 0; i++)
        usleep(50000);
    assert_ok(agent_kill_container(client, "c", SIGKILL, true, 1000, err));
    recorder_exit(&rec, "c");
    cleanup_free char *out = recorder_text(&rec, AGENT_STDOUT, NULL);
    assert_string_equal(out, "works\n");
}

static void big(void **state)
{
    const size_t len = (3u << 20) + 77;
    cleanup_free char *data = malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 2654435761u >> 11);
    const struct agent_file files[] = {
        FILE_OF("before", "x"), {.path = "big", .data = data, .len = len}, FILE_OF("after", "y")};
    size_t got = 0;
    cleanup_free char *part = NULL;
    make_volume("cfg");
    for (int swap = 0; swap < 2; swap++)
        assert_ok(agent_put_files(client, "cfg", swap, files, 3, 20000, err));
    run_mounted("c", "sleep 1000", MOUNT("cfg", "/cfg", "ro"));
    cleanup_free char *out = said("c", "cat /cfg/before /cfg/big /cfg/after", &got);
    assert_int_equal(got, len + 2);
    assert_memory_equal(out + 1, data, len);
    const struct agent_file much = {.path = "m", .data = data, .len = 33u << 20};
    struct gi_error e = GI_ERROR_INIT;
    assert_int_equal(agent_put_files(client, "cfg", true, &much, 1, 5000, &e),
                     -GI_INVALID_ARGUMENT);
    /* Read back, bounded. */
    make_volume("plain");
    assert_ok(agent_put_files(client, "plain", false, files, 3, 20000, err));
    assert_ok(agent_read_file(client, "plain", "big", 1000, 5000, &part, &got, err));
    assert_int_equal(got, 1000);
    assert_memory_equal(part, data, got);
    free(TAKE_PTR(part));
    assert_ok(agent_read_file(client, "plain", "big", len, 5000, &part, &got, err));
    assert_int_equal(got, 512u << 10);
    assert_memory_equal(part, data, got);
}

/* /etc/hosts and the termination log: single files, mounted by their path. */
static void single_files(void **state)
{
    const struct agent_file files[] = {FILE_OF("hosts", "127.0.0.1 localhost\n"),
                                       {.path = "end", .data = "", .len = 0, .mode = 0666}};
    const struct agent_file hosts = FILE_OF("hosts", "::1 six\n");
    cleanup_free char *text = NULL;
    size_t len = 0;
    make_volume("pod");
    assert_ok(agent_put_files(client, "pod", false, files, 2, 5000, err));
    run_mounted("c", "sleep 1000", MOUNT("pod/hosts", "/etc/hosts", "ro"));
    expect("c", "cat /etc/hosts", "127.0.0.1 localhost\n");
    /* Written in place: what is mounted changes. */
    assert_ok(agent_put_files(client, "pod", false, &hosts, 1, 5000, err));
    expect("c", "cat /etc/hosts", "::1 six\n");
    assert_ok(agent_kill_container(client, "c", SIGKILL, true, 1000, err));
    recorder_exit(&rec, "c");
    run_mounted("d", "echo dying > /run/end; exit 3", MOUNT("pod/end", "/run/end", "rw"));
    assert_int_equal(recorder_exit(&rec, "d").exit_code, 3);
    assert_ok(agent_read_file(client, "pod", "end", 4096, 5000, &text, &len, err));
    assert_string_equal(text, "dying\n");
    /* The containers go, what they had mounted stays. */
    assert_ok(agent_remove_container(client, "c", 10000, err));
    assert_ok(agent_remove_container(client, "d", 10000, err));
    free(TAKE_PTR(text));
    assert_ok(agent_read_file(client, "pod", "hosts", 4096, 5000, &text, &len, err));
    assert_string_equal(text, "::1 six\n");
}

/* A container owns the volume and turns it into a way out. */
static void traps(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    char outside[128];
    char script[1024];
    char *text = NULL;
    size_t len = 0;
    snprintf(outside, sizeof(outside), "%s/outside", talk_rootfs());
    assert_int_equal(mkdir(outside, 0777), 0);
    make_volume("v");
    snprintf(script, sizeof(script),
             "ln -s %s /v/dir; ln -s %s/file /v/file; ln -s ../../../../../../../../etc /v/up; "
             "ln -s %s /v/..data_tmp; mkfifo /v/fifo; ln -s %s /v/..00; echo ok; sleep 1000",
             outside, outside, outside, outside);
    run_mounted("c", script, MOUNT("v", "/v", "rw"));
    for (int i = 0; i < 250 && rec.n_lines == 0; i++)
        usleep(20000);
    const struct agent_file in_dir = FILE_OF("dir/x", "evil");
    const struct agent_file on_file = FILE_OF("file", "evil");
    const struct agent_file on_fifo = FILE_OF("fifo", "evil");
    assert_true(agent_put_files(client, "v", false, &in_dir, 1, 5000, &e) < 0);
    assert_true(agent_put_files(client, "v", false, &on_file, 1, 5000, &e) < 0);
    assert_true(agent_put_files(client, "v", false, &on_fifo, 1, 5000, &e) < 0);
    assert_true(agent_read_file(client, "v", "up/passwd", 100, 5000, &text, &len, &e) < 0);
    assert_true(agent_read_file(client, "v", "file", 100, 5000, &text, &len, &e) < 0);
    assert_int_equal(agent_read_file(client, "v", "fifo", 100, 5000, &text, &len, &e),
                     -GI_FAILED_PRECONDITION);
    assert_int_equal(agent_read_file(client, "v", "../c/config.json", 100, 5000, &text, &len, &e),
                     -GI_INVALID_ARGUMENT);
    /* As a mount's source a link leads to what it names inside the volume: nothing. */
    assert_int_equal(try_mounted("d", "true", MOUNT("v/dir", "/v", "ro"), &e), -GI_NOT_FOUND);
    assert_int_equal(try_mounted("d", "true", MOUNT("v/up", "/v", "ro"), &e), -GI_NOT_FOUND);
    assert_int_equal(try_mounted("d", "true", MOUNT("../v", "/v", "ro"), &e), -GI_INVALID_ARGUMENT);
    assert_int_equal(try_mounted("d", "true", MOUNT("none", "/v", "ro"), &e), -GI_NOT_FOUND);
    /* A swap over it works, and touches nothing outside. */
    const struct agent_file files[] = {FILE_OF("dir/x", "good"), FILE_OF("file", "good")};
    assert_ok(agent_put_files(client, "v", true, files, 2, 5000, err));
    expect("c", "cat /v/dir/x /v/file; ls -A /v | wc -l", "goodgood6\n");
    snprintf(outside, sizeof(outside), "%s/outside/file", talk_rootfs());
    assert_int_equal(access(outside, F_OK), -1);
    snprintf(outside, sizeof(outside), "%s/outside", talk_rootfs());
    assert_int_equal(rmdir(outside), 0); /* empty */
}

static void memory_volumes(void **state)
{
    const struct agent_volume v = {
        .name = "m", .memory = true, .size_bytes = 1u << 20, .mode = 01777, .uid = 5, .gid = 6};
    struct gi_error e = GI_ERROR_INIT;
    assert_ok(agent_make_volume(client, &v, 5000, err));
    assert_ok(agent_make_volume(client, &v, 5000, err)); /* again: as it was */
    run_mounted("c", "sleep 1000", MOUNT("m", "/m", "rw"));
    expect("c",
           "stat -c %a:%u:%g /m; head -c 500000 /dev/zero > /m/a && echo fits; "
           "head -c 900000 /dev/zero > /m/b || echo full",
           "1777:5:6\nfits\nfull\n");
    assert_ok(agent_remove_container(client, "c", 10000, err));
    assert_ok(agent_remove_volume(client, "m", 5000, err));
    assert_ok(agent_remove_volume(client, "m", 5000, err));
    assert_int_equal(agent_put_files(client, "m", true, NULL, 0, 5000, &e), -GI_NOT_FOUND);
    assert_int_equal(agent_remove_volume(client, "../m", 5000, &e), -GI_INVALID_ARGUMENT);
    const struct agent_volume bad = {.name = "a/b"};
    assert_int_equal(agent_make_volume(client, &bad, 5000, &e), -GI_INVALID_ARGUMENT);
    const struct agent_file escape = FILE_OF("a/../../b", "x");
    make_volume("v");
    assert_int_equal(agent_put_files(client, "v", true, &escape, 1, 5000, &e),
                     -GI_INVALID_ARGUMENT);
    const struct agent_file reserved = FILE_OF("..data", "x");
    assert_int_equal(agent_put_files(client, "v", true, &reserved, 1, 5000, &e),
                     -GI_INVALID_ARGUMENT);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, zone_up, zone_down)
    const struct CMUnitTest tests[] = {
        T(swapped), T(never_torn), T(big), T(single_files), T(traps), T(memory_volumes),
    };
    return talk_tests(argc, argv, "volumes", tests, GI_ARRAY_SIZE(tests));
}
