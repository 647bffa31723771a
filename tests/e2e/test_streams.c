/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubectl exec, attach and port-forward on a running node: the URL by CRI,
 * then SPDY/3.1 and WebSocket to it. Started by streams.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "client.h"
#include "podkit.h"

static struct podkit kit;
static char pod[80], box[80];

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct gi_error ok_err_ = GI_ERROR_INIT, *err = &ok_err_;                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", gi_code_name(err->code), err->message);                             \
    } while (0)

static int call(const char *method, const ProtobufCMessage *request, void *ret,
                struct gi_error *err)
{
    struct gi_cri_call_options opt = {.timeout_ms = 60000};
    return gi_cri_call(kit.client, method, request, &opt, ret, err);
}

static int setup(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    const char *const argv[] = {"/bin/sleep", "1000", NULL};
    if (podkit_open(&kit) < 0)
        return -1;
    if (podkit_run_pod(&kit, "streams", NULL, pod, &err) < 0 ||
        podkit_create(&kit, pod, "streams", "box", NULL, argv, box, &err) < 0 ||
        podkit_start(&kit, box, &err) < 0) {
        fprintf(stderr, "no container: %s\n", err.message);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (podkit_stop_pod(&kit, pod, &err) < 0 || podkit_remove_pod(&kit, pod, &err) < 0) {
        fprintf(stderr, "removing the pod: %s\n", err.message);
        return -1;
    }
    podkit_close(&kit);
    return 0;
}

static char *exec_url(const char *script, bool in, bool tty)
{
    const char *argv[] = {"/bin/sh", "-c", script};
    Runtime__V1__ExecRequest q = RUNTIME__V1__EXEC_REQUEST__INIT;
    Runtime__V1__ExecResponse *r = NULL;
    q.container_id = box;
    q.cmd = (char **)argv;
    q.n_cmd = 3;
    q.stdin = in;
    q.stdout = true;
    q.stderr = !tty;
    q.tty = tty;
    OK(call("Exec", &q.base, &r, err));
    char *url = strdup(r->url);
    podkit_free(r);
    return url;
}

static void exec_runs_a_command(void **state)
{
    for (int spdy = 0; spdy < 2; spdy++) {
        cleanup_free char *url = exec_url("cat; echo err >&2; exit 7", true, false);
        struct client c;
        struct client_answer a;
        uint32_t ids[5] = {0, 1, 2, 3, 4};
        assert_int_equal(client_open(&c, url, spdy, "v5.channel.k8s.io"), 101);
        if (spdy)
            client_spdy_streams(&c, true, false, ids);
        client_send(&c, ids[0], "hello", 5, false);
        client_send(&c, ids[0], NULL, 0, true);
        client_read_all(&c, ids, &a);
        assert_string_equal(a.text[1], "hello");
        assert_string_equal(a.text[2], "err\n");
        assert_non_null(strstr(a.text[3], "\"message\":\"7\""));
        client_answer_free(&a);
        client_close(&c);
    }
}

static void exec_has_a_terminal(void **state)
{
    cleanup_free char *url =
        exec_url("test -t 0 && test -t 1 && echo terminal; exit 0", true, true);
    struct client c;
    struct client_answer a;
    uint32_t ids[5];
    assert_int_equal(client_open(&c, url, true, "v4.channel.k8s.io"), 101);
    client_spdy_streams(&c, true, true, ids);
    client_send(&c, ids[4], "{\"Width\":100,\"Height\":40}", 25, false);
    client_read_all(&c, ids, &a);
    assert_non_null(strstr(a.text[1], "terminal"));
    assert_non_null(strstr(a.text[3], "Success"));
    client_answer_free(&a);
    client_close(&c);
}

static void big_output_arrives_whole(void **state)
{
    cleanup_free char *url = exec_url("head -c 20000000 /dev/zero", false, false);
    struct client c;
    struct client_answer a;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    client_read_all(&c, client_ws_ids, &a);
    assert_int_equal(a.len[1], 20000000);
    client_answer_free(&a);
    client_close(&c);
}

static void a_missing_command_is_a_prompt_error(void **state)
{
    const char *argv[] = {"/no/such/program"};
    Runtime__V1__ExecRequest q = RUNTIME__V1__EXEC_REQUEST__INIT;
    Runtime__V1__ExecResponse *r = NULL;
    q.container_id = box;
    q.cmd = (char **)argv;
    q.n_cmd = 1;
    q.stdout = true;
    q.stderr = true;
    OK(call("Exec", &q.base, &r, err));
    struct client c;
    struct client_answer a;
    int64_t start = gi_monotonic_ns();
    int status = client_open(&c, r->url, false, "v4.channel.k8s.io");
    if (status == 101) {
        client_read_all(&c, client_ws_ids, &a);
        assert_non_null(strstr(a.text[3], "Failure"));
        client_answer_free(&a);
    } else {
        assert_int_not_equal(status, 0);
    }
    assert_true(gi_monotonic_ns() - start < 5000000000LL);
    client_close(&c);
    podkit_free(r);
}

/* The peer goes away: the process does, too. */
static void a_vanished_peer_ends_the_process(void **state)
{
    cleanup_free char *url = exec_url("echo $$; exec sleep 777", false, false);
    struct client c;
    static struct frame f;
    assert_int_equal(client_open(&c, url, false, "v4.channel.k8s.io"), 101);
    do {
        assert_int_equal(client_recv(&c, &f), 0);
    } while (f.id != 1 || f.len == 0);
    client_close(&c);
    for (int i = 0;; i++) {
        cleanup_free char *look = exec_url("ps | grep -c '[s]leep 777'", false, false);
        struct client_answer a;
        assert_int_equal(client_open(&c, look, false, "v4.channel.k8s.io"), 101);
        client_read_all(&c, client_ws_ids, &a);
        bool gone = strcmp(a.text[1], "0\n") == 0;
        client_answer_free(&a);
        client_close(&c);
        if (gone)
            break;
        assert_true(i < 50);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static void attach_joins_the_container(void **state)
{
    char id[80];
    const char *const argv[] = {"/bin/sh", "-c",
                                "for i in 0 1 2 3 4 5 6 7 8 9; do echo tick; sleep 0.2; done; "
                                "exit 0",
                                NULL};
    Runtime__V1__AttachRequest q = RUNTIME__V1__ATTACH_REQUEST__INIT;
    Runtime__V1__AttachResponse *r = NULL;
    struct client c;
    struct client_answer a;
    OK(podkit_create(&kit, pod, "streams", "ticker", NULL, argv, id, err));
    OK(podkit_start(&kit, id, err));
    q.container_id = id;
    q.stdout = true;
    q.stderr = true;
    OK(call("Attach", &q.base, &r, err));
    assert_int_equal(client_open(&c, r->url, false, "v4.channel.k8s.io"), 101);
    client_read_all(&c, client_ws_ids, &a);
    assert_non_null(strstr(a.text[1], "tick\ntick\n"));
    client_answer_free(&a);
    client_close(&c);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

static void ports_are_forwarded(void **state)
{
    char id[80];
    const char *const argv[] = {"/bin/busybox", "nc", "-l", "-p", "8080", "-e", "/bin/cat", NULL};
    Runtime__V1__PortForwardRequest q = RUNTIME__V1__PORT_FORWARD_REQUEST__INIT;
    Runtime__V1__PortForwardResponse *r = NULL;
    struct client c;
    static struct frame f;
    char got[64] = "";
    OK(podkit_create(&kit, pod, "streams", "echo", NULL, argv, id, err));
    OK(podkit_start(&kit, id, err));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    q.pod_sandbox_id = pod;
    OK(call("PortForward", &q.base, &r, err));
    assert_int_equal(client_open(&c, r->url, true, "portforward.k8s.io"), 101);
    const char *errors[] = {"streamtype", "error", "port", "8080", "requestid", "1", NULL};
    const char *data[] = {"streamtype", "data", "port", "8080", "requestid", "1", NULL};
    client_stream(&c, errors);
    uint32_t stream = client_stream(&c, data);
    client_send(&c, stream, "through the port\n", 17, false);
    while (strlen(got) < 17) {
        assert_int_equal(client_recv(&c, &f), 0);
        if (f.control || f.id != stream)
            continue;
        assert_true(strlen(got) + f.len < sizeof(got));
        strncat(got, (char *)f.bytes, f.len);
    }
    assert_string_equal(got, "through the port\n");
    client_close(&c);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

static void bad_requests_name_the_field(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ExecRequest q = RUNTIME__V1__EXEC_REQUEST__INIT;
    void *r = NULL;
    q.container_id = box;
    q.stdout = true;
    assert_int_equal(call("Exec", &q.base, &r, &err), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "cmd"));
    Runtime__V1__AttachRequest at = RUNTIME__V1__ATTACH_REQUEST__INIT;
    at.container_id = box;
    err = (struct gi_error)GI_ERROR_INIT;
    assert_int_equal(call("Attach", &at.base, &r, &err), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "stdin"));
    at.container_id = (char *)"gi-nobody";
    at.stdout = true;
    assert_int_equal(call("Attach", &at.base, &r, &err), -GI_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exec_runs_a_command),
        cmocka_unit_test(exec_has_a_terminal),
        cmocka_unit_test(big_output_arrives_whole),
        cmocka_unit_test(a_missing_command_is_a_prompt_error),
        cmocka_unit_test(a_vanished_peer_ends_the_process),
        cmocka_unit_test(attach_joins_the_container),
        cmocka_unit_test(ports_are_forwarded),
        cmocka_unit_test(bad_requests_name_the_field),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
