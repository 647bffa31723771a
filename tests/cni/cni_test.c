/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CNI by Debian's real plugins in network namespaces the test makes, and by
 * small shell plugins that fail, hang, lie and record what they were given.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cni/cni.h"
#include "cni/conf.h"

#define PLUGINS "/usr/lib/cni"

static char work[] = "/tmp/gi-cni-test-XXXXXX";
static char conf_dir[64], bin_dir[64], cache_dir[64], trace_file[64];

static void write_text(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(gi_write_file_atomic(path, text, strlen(text), mode, NULL), 0);
}

static char *read_text(const char *path)
{
    char *text = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (gi_read_file(path, 1 << 20, &text, NULL, &err) < 0)
        return strdup("");
    return text;
}

static int each_setup(void **state)
{
    struct gi_error err;
    gi_remove_tree_at(AT_FDCWD, conf_dir, NULL);
    gi_remove_tree_at(AT_FDCWD, bin_dir, NULL);
    gi_remove_tree_at(AT_FDCWD, cache_dir, NULL);
    unlink(trace_file);
    return gi_mkdir_p(conf_dir, 0755, &err) | gi_mkdir_p(bin_dir, 0755, &err);
}

static struct cni *open_cni(int timeout_ms)
{
    const char *bins[] = {bin_dir, PLUGINS, NULL};
    struct cni_config config = {.conf_dir = conf_dir,
                                .bin_dirs = bins,
                                .cache_dir = cache_dir,
                                .plugin_timeout_ms = timeout_ms};
    struct cni *c = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(cni_open(&config, &c, &err), 0);
    return c;
}

/* A plugin that appends "TYPE COMMAND stdin" to the trace and prints ANSWER. */
static void add_tracer(const char *type, const char *answer)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "#!/bin/sh\nin=$(cat)\necho \"%s $CNI_COMMAND $CNI_ARGS $in\" >>%s\n"
             "[ $CNI_COMMAND = ADD ] || exit 0\n%s\n",
             type, trace_file, answer);
    write_text(bin_dir, type, text, 0755);
}

static const char *const result_json =
    "echo '{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/x\"}],"
    "\"ips\":[{\"interface\":0,\"address\":\"10.1.2.3/24\"},{\"interface\":0,"
    "\"address\":\"fd00:0::3/64\"}]}'";

static struct cni_attachment attachment(const char *netns)
{
    return (struct cni_attachment){.container_id = "gi-test",
                                   .netns = netns,
                                   .ifname = "eth0",
                                   .pod_namespace = "default",
                                   .pod_name = "p",
                                   .pod_uid = "u;EVIL=1"};
}

static void no_configuration_is_unavailable(void **state)
{
    struct cni *c = open_cni(0);
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(cni_ready(c, &err), -GI_UNAVAILABLE);
    write_text(conf_dir, "10-bad.conflist", "{\"cniVersion\":\"9.9.9\",\"name\":\"x\"}", 0644);
    assert_int_equal(cni_ready(c, &err), -GI_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cniVersion \"9.9.9\""));
    write_text(conf_dir, "20-good.conflist",
               "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"nowhere\"}]}",
               0644);
    assert_int_equal(cni_ready(c, &err), -GI_UNAVAILABLE);
    assert_non_null(strstr(err.message, "plugin \"nowhere\" is in none of"));
    write_text(
        conf_dir, "05-path.conflist",
        "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"../../bin/sh\"}]}",
        0644);
    add_tracer("nowhere", result_json);
    assert_int_equal(cni_ready(c, &err), 0); /* hot reload; the bad ones are passed over */
    cni_close(c);
}

static void plugins_run_in_order_and_back(void **state)
{
    add_tracer("one", result_json);
    add_tracer("two", "printf '%s' \"$in\" | sed 's/.*\"prevResult\":\\({.*}\\)}/\\1/'");
    write_text(
        conf_dir, "10.conflist",
        "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"one\",\"x\":{\"y\":[1,"
        "2.5,true,null]}},{\"type\":\"two\",\"capabilities\":{\"portMappings\":true}}]}",
        0644);
    struct cni *c = open_cni(0);
    struct gi_error err = GI_ERROR_INIT;
    struct cni_port_mapping port = {
        .protocol = "udp", .container_port = 80, .host_port = 8080, .host_ip = "10.9.8.7"};
    struct cni_attachment a = attachment("/x");
    a.ports = &port;
    a.n_ports = 1;
    struct cni_result r;
    int rc = cni_add(c, &a, &r, &err);
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    assert_int_equal(r.n_ips, 2);
    assert_string_equal(r.ips[0], "10.1.2.3");
    assert_string_equal(r.ips[1], "fd00::3");
    /* A second ADD answers from the cache; the folder's new content is not DEL's business. */
    assert_int_equal(cni_add(c, &a, &r, &err), 0);
    write_text(conf_dir, "10.conflist", "garbage", 0644);
    assert_int_equal(cni_check(c, &a, &err), 0);
    assert_int_equal(cni_del(c, &a, &err), 0);
    assert_int_equal(cni_del(c, &a, &err), 0);
    assert_int_equal(cni_result(c, "gi-test", "eth0", &r, &err), -GI_NOT_FOUND);
    cleanup_free char *trace = read_text(trace_file);
    const char *const order[] = {"one ADD",   "two ADD", "one CHECK",
                                 "two CHECK", "two DEL", "one DEL"};
    const char *at = trace;
    for (size_t i = 0; i < GI_ARRAY_SIZE(order); i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    assert_non_null(strstr(trace, "\"x\":{\"y\":[1,2.5,true,null]}"));
    assert_non_null(strstr(trace, "\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,"));
    assert_non_null(strstr(trace, "\"hostIP\":\"10.9.8.7\""));
    assert_non_null(strstr(trace, "\"protocol\":\"udp\""));
    assert_non_null(strstr(trace, "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p"));
    assert_null(strstr(trace, "EVIL"));
    cni_close(c);
}

/* The second plugin fails: the first is undone, the reason comes through. */
static void a_failed_add_is_undone(void **state)
{
    add_tracer("one", result_json);
    add_tracer("two", "echo '{\"code\":11,\"msg\":\"no more\",\"details\":\"addresses\"}'; exit 1");
    write_text(conf_dir, "10.conflist",
               "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"one\"},{\"type\":"
               "\"two\"}]}",
               0644);
    struct cni *c = open_cni(0);
    struct gi_error err = GI_ERROR_INIT;
    struct cni_attachment a = attachment("/x");
    struct cni_result r;
    assert_int_equal(cni_add(c, &a, &r, &err), -GI_UNAVAILABLE);
    assert_string_equal(err.message, "CNI plugin two ADD: no more: addresses");
    cleanup_free char *trace = read_text(trace_file);
    assert_non_null(strstr(trace, "two DEL"));
    assert_non_null(strstr(trace, "one DEL"));
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/gi-test-eth0.json", cache_dir);
    assert_int_equal(access(path, F_OK), -1);
    cni_close(c);
}

static void hostile_plugins_are_bounded(void **state)
{
    static const struct {
        const char *script;
        int code;
    } cases[] = {
        {"sleep 30 & sleep 30", -GI_DEADLINE_EXCEEDED},
        {"head -c 3000000 /dev/zero; sleep 0", -GI_INVALID_ARGUMENT},
        {"echo not json", -GI_INVALID_ARGUMENT},
        {"echo '[1]'", -GI_INVALID_ARGUMENT},
        {"echo '{\"ips\":[{\"address\":\"nonsense\"}]}'", -GI_INVALID_ARGUMENT},
        {"true", -GI_UNAVAILABLE},
        {"kill -9 $$", -GI_UNAVAILABLE},
        {"exit 3", -GI_UNAVAILABLE},
    };
    write_text(conf_dir, "10.conf", "{\"cniVersion\":\"0.4.0\",\"name\":\"n\",\"type\":\"odd\"}",
               0644);
    struct cni *c = open_cni(700);
    for (size_t i = 0; i < GI_ARRAY_SIZE(cases); i++) {
        struct gi_error err = GI_ERROR_INIT;
        struct cni_attachment a = attachment("/x");
        struct cni_result r;
        add_tracer("odd", cases[i].script);
        int64_t start = gi_monotonic_ns();
        int rc = cni_add(c, &a, &r, &err);
        if (rc != cases[i].code)
            print_error("%s: %d %s\n", cases[i].script, rc, err.message);
        assert_int_equal(rc, cases[i].code);
        assert_true(gi_monotonic_ns() - start < 10000000000);
    }
    struct cni_attachment bad = attachment("/x");
    bad.container_id = "../../etc/passwd";
    struct gi_error err;
    struct cni_result r;
    assert_int_equal(cni_add(c, &bad, &r, &err), -GI_INVALID_ARGUMENT);
    cni_close(c);
}

static bool keep_none(void *data, const char *id)
{
    (void)data;
    (void)id;
    return false;
}

/* A DEL that fails keeps the record; gc tries again, then GC of a 1.1 list runs. */
static void del_is_retried_until_done(void **state)
{
    char script[512];
    add_tracer("one", result_json);
    write_text(conf_dir, "10.conflist",
               "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"one\"}]}", 0644);
    struct cni *c = open_cni(0);
    struct gi_error err = GI_ERROR_INIT;
    struct cni_attachment a = attachment("/x");
    struct cni_result r;
    assert_int_equal(cni_ready(c, &err), 0);
    assert_int_equal(cni_add(c, &a, &r, &err), 0);
    snprintf(script, sizeof(script), "#!/bin/sh\nexit 1\n");
    write_text(bin_dir, "one", script, 0755);
    assert_true(cni_del(c, &a, &err) < 0);
    assert_true(cni_gc(c, keep_none, NULL, &err) < 0);
    assert_int_equal(cni_result(c, "gi-test", "eth0", &r, &err), 0);
    add_tracer("one", result_json);
    assert_int_equal(cni_gc(c, keep_none, NULL, &err), 0);
    assert_int_equal(cni_result(c, "gi-test", "eth0", &r, &err), -GI_NOT_FOUND);
    cleanup_free char *trace = read_text(trace_file);
    assert_non_null(strstr(trace, "one STATUS"));
    assert_non_null(strstr(trace, "one DEL"));
    assert_non_null(strstr(strstr(trace, "one GC"), "\"cni.dev/valid-attachments\":[]"));
    cni_close(c);
}

static int sh(const char *fmt, ...)
{
    char cmd[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    int status = system(cmd); // NOLINT: the test's own fixed commands
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Debian's bridge, host-local and loopback: the pod's address answers. */
static void real_plugins_connect_a_namespace(void **state)
{
    if (geteuid() != 0 || access(PLUGINS "/bridge", X_OK) < 0) {
        print_message("skipped: needs root and Debian's containernetworking-plugins\n");
        skip();
    }
    /* The bridge lives in a network namespace of the test, not in the host's. */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        int status = 0;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        return;
    }
    char ns[PATH_MAX];
    snprintf(ns, sizeof(ns), "%s/podns", work);
    int bad = unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
              mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0;
    bad = bad || sh("ip link set lo up; touch %s; unshare --net=%s true", ns, ns);
    char conf[1024];
    snprintf(conf, sizeof(conf),
             "{\"cniVersion\":\"1.0.0\",\"name\":\"gi-test\",\"plugins\":[{\"type\":\"bridge\","
             "\"bridge\":\"gitest0\",\"isGateway\":true,\"ipam\":{\"type\":\"host-local\","
             "\"dataDir\":\"%s/ipam\",\"ranges\":[[{\"subnet\":\"10.213.7.0/24\"}],[{\"subnet\":"
             "\"fd57:1::/64\"}]],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}",
             work);
    write_text(conf_dir, "10.conflist", conf, 0644);
    struct cni *c = open_cni(0);
    struct gi_error err = GI_ERROR_INIT;
    struct cni_attachment a = attachment(ns);
    struct cni_result r = {.n_ips = 0};
    bad = bad || cni_ready(c, &err) < 0 || cni_add(c, &a, &r, &err) < 0;
    bad = bad || r.n_ips != 2 || strncmp(r.ips[0], "10.213.7.", 9) != 0;
    bad = bad || cni_check(c, &a, &err) < 0;
    bad = bad || sh("nsenter --net=%s ip -o addr show eth0 | grep -qF ' %s/24'", ns, r.ips[0]);
    /* The host's neighbour table learns the pod: it answers on the bridge. */
    bad = bad || sh("ping -c1 -W3 %s >/dev/null 2>&1 || "
                    "{ ! command -v ping >/dev/null && ip link show gitest0 >/dev/null; }",
                    r.ips[0]);
    bad = bad || cni_del(c, &a, &err) < 0;
    bad = bad || sh("nsenter --net=%s ip link show eth0 >/dev/null 2>&1", ns) == 0;
    bad = bad || sh("ls %s/ipam/gi-test | grep -q '^10[.]'", work) == 0;
    if (bad)
        fprintf(stderr, "%s\n", err.message);
    cni_close(c);
    umount2(ns, MNT_DETACH);
    _exit(bad ? 1 : 0);
}

int main(void)
{
    if (!mkdtemp(work))
        return 1;
    signal(SIGPIPE, SIG_IGN);
    snprintf(conf_dir, sizeof(conf_dir), "%s/conf", work);
    snprintf(bin_dir, sizeof(bin_dir), "%s/bin", work);
    snprintf(cache_dir, sizeof(cache_dir), "%s/cache", work);
    snprintf(trace_file, sizeof(trace_file), "%s/trace", work);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_configuration_is_unavailable, each_setup),
        cmocka_unit_test_setup(plugins_run_in_order_and_back, each_setup),
        cmocka_unit_test_setup(a_failed_add_is_undone, each_setup),
        cmocka_unit_test_setup(hostile_plugins_are_bounded, each_setup),
        cmocka_unit_test_setup(del_is_retried_until_done, each_setup),
        cmocka_unit_test_setup(real_plugins_connect_a_namespace, each_setup),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    gi_remove_tree_at(AT_FDCWD, work, NULL);
    return rc;
}
