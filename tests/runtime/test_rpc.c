/* SPDX-License-Identifier: Apache-2.0 */
/* The gRPC server by itself: handlers of this file, a real client over a real socket. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cri/client.h"
#include "rpc/pb.h"
#include "rpc/rpc.h"

#define RUNTIME "/runtime.v1.RuntimeService/"

static char dir[] = "/tmp/gi-rpc-test-XXXXXX";
static char path[64], endpoint[80];
static struct rpc_server *server;
static struct gi_cri_client *client;
static atomic_int cancelled_seen;

static int on_version(struct rpc_call *call, const void *request, void *response,
                      struct gi_error *err)
{
    const Runtime__V1__VersionRequest *q = request;
    Runtime__V1__VersionResponse *r = response;
    if (strcmp(q->version, "bad") == 0)
        return gi_fail(err, GI_NOT_FOUND, "no version \"%s\"", q->version);
    if (strcmp(q->version, "silent") == 0)
        return -GI_RESOURCE_EXHAUSTED;
    if (strcmp(q->version, "dirty") == 0) /* what a guest may have said */
        pb_set(&r->runtime_name, "a\xff"
                                 "b");
    else
        pb_set(&r->runtime_name, q->version);
    return 0;
}

/* Waits as a handler does that asks a zone. */
static int on_stop(struct rpc_call *call, const void *request, void *response, struct gi_error *err)
{
    while (rpc_check(call, err) == 0)
        usleep(5000);
    cancelled_seen++;
    return -(int)err->code;
}

static int on_events(struct rpc_call *call, const void *request, void *response,
                     struct gi_error *err)
{
    for (int i = 0; i < 3; i++) {
        cleanup_pb Runtime__V1__ContainerEventResponse *e =
            pb_new(&runtime__v1__container_event_response__descriptor);
        char id[8];
        snprintf(id, sizeof(id), "%d", i);
        pb_set(&e->container_id, id);
        int rc = rpc_send(call, &e->base, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct rpc_method methods[] = {
    {"Version", on_version, RPC_READ | RPC_FAST},
    {"StopPodSandbox", on_stop, 0},
    {"GetContainerEvents", on_events, RPC_READ},
};

static int setup(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(endpoint, sizeof(endpoint), "unix://%s", path);
    const struct rpc_config config = {.socket = path,
                                      .mode = 0660,
                                      .gid = -1,
                                      .max_message = 1 << 20,
                                      .max_calls = 4,
                                      .max_queued = 8};
    if (rpc_server_start(&config, methods, GI_ARRAY_SIZE(methods), NULL, &server, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return gi_cri_client_new(endpoint, &client, NULL);
}

static int teardown(void **state)
{
    gi_cri_client_free(client);
    if (!rpc_server_stop(server, 5000))
        return -1;
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static int version(const char *name, Runtime__V1__VersionResponse **ret, struct gi_error *err)
{
    Runtime__V1__VersionRequest q = RUNTIME__V1__VERSION_REQUEST__INIT;
    const struct gi_cri_call_options opt = {.timeout_ms = 20000};
    q.version = (char *)name;
    return gi_cri_call(client, "Version", &q.base, &opt, (ProtobufCMessage **)ret, err);
}

static void the_socket_is_for_owner_and_group(void **state)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
}

static void answers_and_errors_come_through(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__VersionResponse *r = NULL;
    assert_int_equal(version("hello", &r, &err), 0);
    assert_string_equal(r->runtime_name, "hello");
    pb_free(TAKE_PTR(r));
    assert_int_equal(version("bad", &r, &err), -GI_NOT_FOUND);
    assert_string_equal(err.message, "no version \"bad\"");
    assert_int_equal(version("silent", &r, &err), -GI_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.message, "Version"));
    assert_int_equal(version("dirty", &r, &err), 0);
    assert_string_equal(r->runtime_name, "a?b");
    pb_free(r);
}

static void raw(const char *method, const void *bytes, size_t len, enum gi_code code,
                const char *message)
{
    struct gi_error err = GI_ERROR_INIT;
    const struct gi_cri_call_options opt = {.timeout_ms = 20000};
    uint8_t *answer = NULL;
    size_t answer_len = 0;
    int rc = gi_cri_call_raw(client, method, bytes, len, &opt, &answer, &answer_len, &err);
    free(answer);
    assert_int_equal(rc, -(int)code);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" is not in \"%s\"", message, err.message);
}

static void what_is_not_there_is_unimplemented(void **state)
{
    raw(RUNTIME "CheckpointContainer", "", 0, GI_UNIMPLEMENTED, "CheckpointContainer");
    raw(RUNTIME "NoSuchMethod", "", 0, GI_UNIMPLEMENTED, "NoSuchMethod");
    raw("/other.Service/Version", "", 0, GI_UNIMPLEMENTED, "unknown method");
}

static void bad_requests_are_invalid(void **state)
{
    raw(RUNTIME "Version", "\xff\xff\xff\xff", 4, GI_INVALID_ARGUMENT, "VersionRequest");
    raw(RUNTIME "Version", "\x0a\x02\xc3\x28", 4, GI_INVALID_ARGUMENT, "version: not valid UTF-8");
    cleanup_free char *big = calloc(1, 2 << 20);
    assert_non_null(big);
    struct gi_error err = GI_ERROR_INIT;
    uint8_t *answer = NULL;
    size_t len = 0;
    assert_true(
        gi_cri_call_raw(client, RUNTIME "Version", big, 2 << 20, NULL, &answer, &len, &err) < 0);
}

static int stop(int timeout_ms, bool (*is_cancelled)(void *), struct gi_error *err)
{
    Runtime__V1__StopPodSandboxRequest q = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    const struct gi_cri_call_options opt = {.timeout_ms = timeout_ms, .cancelled = is_cancelled};
    int rc = gi_cri_call(client, "StopPodSandbox", &q.base, &opt, &r, err);
    pb_free(r);
    return rc;
}

static bool at_once(void *data)
{
    (void)data;
    return true;
}

static void await_seen(int n)
{
    for (int i = 0; i < 400 && cancelled_seen < n; i++)
        usleep(25000);
    assert_int_equal(cancelled_seen, n);
}

static void deadlines_and_cancellation_reach_the_handler(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    cancelled_seen = 0;
    assert_int_equal(stop(200, NULL, &err), -GI_DEADLINE_EXCEEDED);
    await_seen(1);
    assert_int_equal(stop(20000, at_once, &err), -GI_CANCELLED);
    await_seen(2);
}

static void *stop_thread(void *arg)
{
    struct gi_error err = GI_ERROR_INIT;
    *(int *)arg = stop(3000, NULL, &err);
    return NULL;
}

/* Four run, eight wait, the rest is told so; fast calls are answered meanwhile. */
static void too_many_calls_are_refused(void **state)
{
    enum { N = 20 };
    pthread_t threads[N];
    int rc[N], refused = 0;
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stop_thread, &rc[i]), 0);
    usleep(500000);
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__VersionResponse *r = NULL;
    int64_t start = gi_monotonic_ns();
    assert_int_equal(version("quick", &r, &err), 0);
    assert_true(gi_monotonic_ns() - start < 2000000000LL);
    pb_free(r);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_true(rc[i] == -GI_DEADLINE_EXCEEDED || rc[i] == -GI_RESOURCE_EXHAUSTED);
        refused += rc[i] == -GI_RESOURCE_EXHAUSTED;
    }
    assert_true(refused >= N - 12 - 2);
}

static int count_events(void *data, const ProtobufCMessage *message)
{
    const Runtime__V1__ContainerEventResponse *e = (const void *)message;
    int *n = data;
    char id[8];
    snprintf(id, sizeof(id), "%d", *n);
    assert_string_equal(e->container_id, id);
    (*n)++;
    return 0;
}

static void streams_bring_every_message(void **state)
{
    Runtime__V1__GetEventsRequest q = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;
    struct gi_error err = GI_ERROR_INIT;
    int n = 0, rc = -GI_RESOURCE_EXHAUSTED;
    /* Clients see a deadline before the handlers do: the calls of the test before may still be
     * on their way out. */
    for (int i = 0; i < 200 && rc == -GI_RESOURCE_EXHAUSTED; i++) {
        rc = gi_cri_stream(client, "GetContainerEvents", &q.base, NULL, count_events, &n, &err);
        if (rc == -GI_RESOURCE_EXHAUSTED)
            usleep(50000);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_is_for_owner_and_group),
        cmocka_unit_test(answers_and_errors_come_through),
        cmocka_unit_test(what_is_not_there_is_unimplemented),
        cmocka_unit_test(bad_requests_are_invalid),
        cmocka_unit_test(deadlines_and_cancellation_reach_the_handler),
        cmocka_unit_test(too_many_calls_are_refused),
        cmocka_unit_test(streams_bring_every_message),
    };
    gi_log_init("rpc-test", GI_LOG_ERROR);
    return cmocka_run_group_tests(tests, setup, teardown);
}
