/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kubelet and crictl rely on, asked of a running runtime by CRI:
 * idempotency, filters, errors, grace periods, logs, exec. Started by
 * behaviour.sh, which starts the runtime.
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
#include "podkit.h"

#define UNKNOWN_ID "gi-000000000000000000000000000000000000000000000000000000000000"
#define SH(script) ((const char *const[]){"/bin/sh", "-c", script, NULL})

static struct podkit kit;
static char pod[80];

/* OK(call): zero, or the error's text. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        struct gi_error ok_err_ = GI_ERROR_INIT, *err = &ok_err_;                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", gi_code_name(err->code), err->message);                             \
    } while (0)
#define FAILS(code_, call)                                                                         \
    do {                                                                                           \
        struct gi_error fails_err_ = GI_ERROR_INIT, *err = &fails_err_;                            \
        int fails_rc_ = (call);                                                                    \
        if (fails_rc_ != -(code_))                                                                 \
            fail_msg("expected %s, got %d: %s", gi_code_name(code_), fails_rc_, err->message);     \
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
    if (podkit_open(&kit) < 0)
        return -1;
    if (podkit_run_pod(&kit, "behaviour", "one", pod, &err) < 0) {
        fprintf(stderr, "no pod: %s\n", err.message);
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

static void container(const char *name, const char *const *argv, char id[80])
{
    OK(podkit_create(&kit, pod, "behaviour", name, name, argv, id, err));
    OK(podkit_start(&kit, id, err));
}

static Runtime__V1__ContainerState state_of(const char *id)
{
    Runtime__V1__ContainerStatusResponse *r = NULL;
    OK(podkit_status(&kit, id, &r, err));
    Runtime__V1__ContainerState s = r->status->state;
    podkit_free(r);
    return s;
}

static void test_life(void **state)
{
    char id[80];
    int code = -1;
    Runtime__V1__ContainerStatusResponse *r = NULL;
    OK(podkit_create(&kit, pod, "behaviour", "life", NULL, SH("exit 7"), id, err));
    assert_int_equal(state_of(id), RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED);
    OK(podkit_start(&kit, id, err));
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_equal(code, 7);
    OK(podkit_status(&kit, id, &r, err));
    assert_string_equal(r->status->metadata->name, "life");
    assert_string_equal(r->status->reason, "Error");
    assert_true(r->status->created_at > 0);
    assert_true(r->status->started_at >= r->status->created_at);
    assert_true(r->status->finished_at >= r->status->started_at);
    podkit_free(r);
    /* A container starts once. */
    struct gi_error why = GI_ERROR_INIT;
    assert_true(podkit_start(&kit, id, &why) < 0);
    OK(podkit_stop(&kit, id, 5, err));
    OK(podkit_stop(&kit, id, 5, err));
    OK(podkit_remove(&kit, id, err));
    OK(podkit_remove(&kit, id, err));
    FAILS(GI_NOT_FOUND, podkit_status(&kit, id, &r, err));
}

static void test_grace_and_kill(void **state)
{
    char polite[80], stubborn[80];
    int code = -1;
    container("polite", SH("trap 'exit 3' TERM; while :; do sleep 0.05; done"), polite);
    container("stubborn", SH("trap '' TERM; while :; do sleep 0.05; done"), stubborn);
    /* The traps must be set before the signal comes. */
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);

    int64_t begin = gi_monotonic_ns();
    OK(podkit_stop(&kit, polite, 10, err));
    assert_true(gi_monotonic_ns() - begin < 8 * INT64_C(1000000000));
    OK(podkit_wait(&kit, polite, 1000, &code, err));
    assert_int_equal(code, 3);

    begin = gi_monotonic_ns();
    OK(podkit_stop(&kit, stubborn, 1, err));
    int64_t took = gi_monotonic_ns() - begin;
    assert_true(took >= 900 * INT64_C(1000000) && took < 8 * INT64_C(1000000000));
    OK(podkit_wait(&kit, stubborn, 1000, &code, err));
    assert_int_equal(code, 137);
    OK(podkit_remove(&kit, polite, err));
    OK(podkit_remove(&kit, stubborn, err));
}

/* Removing a running container is allowed: it is killed. */
static void test_remove_running(void **state)
{
    char id[80];
    container("running", SH("while :; do sleep 1; done"), id);
    OK(podkit_remove(&kit, id, err));
    Runtime__V1__ContainerStatusResponse *r = NULL;
    FAILS(GI_NOT_FOUND, podkit_status(&kit, id, &r, err));
}

/* A program that the image does not have: CreateContainer says so, and its name is free again. */
static void test_missing_program(void **state)
{
    char id[80];
    int code = -1;
    struct gi_error why = GI_ERROR_INIT;
    const char *const argv[] = {"/no/such/program", NULL};
    assert_true(podkit_create(&kit, pod, "behaviour", "missing", NULL, argv, id, &why) < 0);
    if (!strstr(why.message, "/no/such/program"))
        fail_msg("it does not say which: %s", why.message);
    container("missing", SH("exit 0"), id);
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_equal(code, 0);
    OK(podkit_remove(&kit, id, err));
}

static void test_unknown_ids(void **state)
{
    Runtime__V1__ContainerStatusResponse *r = NULL;
    char id[80];
    Runtime__V1__PodSandboxStatusRequest pod_status = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
    ProtobufCMessage *m = NULL;
    pod_status.pod_sandbox_id = (char *)UNKNOWN_ID;
    FAILS(GI_NOT_FOUND, podkit_status(&kit, UNKNOWN_ID, &r, err));
    FAILS(GI_NOT_FOUND, podkit_status(&kit, "../../../etc/passwd", &r, err));
    FAILS(GI_NOT_FOUND, call("PodSandboxStatus", &pod_status.base, &m, err));
    FAILS(GI_NOT_FOUND, podkit_start(&kit, UNKNOWN_ID, err));
    FAILS(GI_NOT_FOUND, podkit_create(&kit, UNKNOWN_ID, "nopod", "c", NULL, SH("true"), id, err));
    /* Removing what isn't there is what was wanted. */
    OK(podkit_stop_pod(&kit, UNKNOWN_ID, err));
    OK(podkit_remove_pod(&kit, UNKNOWN_ID, err));
    OK(podkit_remove(&kit, UNKNOWN_ID, err));
}

static void test_bad_requests(void **state)
{
    Runtime__V1__RunPodSandboxRequest run = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__CreateContainerRequest create = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    ProtobufCMessage *m = NULL;
    struct gi_error why = GI_ERROR_INIT;
    FAILS(GI_INVALID_ARGUMENT, call("RunPodSandbox", &run.base, &m, err));
    run.config = &config;
    assert_int_equal(call("RunPodSandbox", &run.base, &m, &why), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(why.message, "metadata")); /* the field is named */
    create.pod_sandbox_id = pod;
    assert_int_equal(call("CreateContainer", &create.base, &m, &why), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(why.message, "config"));

    struct podkit other = kit;
    char id[80];
    other.handler = "no-such-handler";
    FAILS(GI_INVALID_ARGUMENT, podkit_run_pod(&other, "bad-handler", NULL, id, err));
    other = kit;
    other.image = "127.0.0.1:1/no/such:image";
    struct gi_error image_err = GI_ERROR_INIT;
    assert_true(
        podkit_create(&other, pod, "behaviour", "noimage", NULL, SH("true"), id, &image_err) < 0);

    Runtime__V1__CheckpointContainerRequest checkpoint =
        RUNTIME__V1__CHECKPOINT_CONTAINER_REQUEST__INIT;
    checkpoint.container_id = (char *)UNKNOWN_ID;
    FAILS(GI_UNIMPLEMENTED, call("CheckpointContainer", &checkpoint.base, &m, err));
}

/* Which of the two pods the filter lets through: bit 0 this test's, bit 1 the other. */
static unsigned list_pods(const Runtime__V1__PodSandboxFilter *filter, const char *other)
{
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse *r = NULL;
    unsigned seen = 0;
    request.filter = (Runtime__V1__PodSandboxFilter *)filter;
    OK(call("ListPodSandbox", &request.base, &r, err));
    for (size_t i = 0; i < r->n_items; i++) {
        if (strcmp(r->items[i]->id, pod) == 0)
            seen |= 1;
        else if (strcmp(r->items[i]->id, other) == 0)
            seen |= 2;
        else
            seen |= 4;
    }
    podkit_free(r);
    return seen;
}

static void test_pod_filters(void **state)
{
    char other[80];
    OK(podkit_run_pod(&kit, "other", "two", other, err));
    OK(podkit_stop_pod(&kit, other, err));
    OK(podkit_stop_pod(&kit, other, err));

    Runtime__V1__PodSandboxFilter f = RUNTIME__V1__POD_SANDBOX_FILTER__INIT;
    Runtime__V1__PodSandboxStateValue s = RUNTIME__V1__POD_SANDBOX_STATE_VALUE__INIT;
    Runtime__V1__PodSandboxFilter__LabelSelectorEntry e =
        RUNTIME__V1__POD_SANDBOX_FILTER__LABEL_SELECTOR_ENTRY__INIT;
    Runtime__V1__PodSandboxFilter__LabelSelectorEntry *labels[] = {&e};
    assert_int_equal(list_pods(NULL, other), 3);
    assert_int_equal(list_pods(&f, other), 3);
    f.id = pod;
    assert_int_equal(list_pods(&f, other), 1);
    f.id = (char *)"";
    f.state = &s;
    s.state = RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
    assert_int_equal(list_pods(&f, other), 1);
    s.state = RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
    assert_int_equal(list_pods(&f, other), 2);
    f.state = NULL;
    e.key = (char *)"test";
    e.value = (char *)"two";
    f.label_selector = labels;
    f.n_label_selector = 1;
    assert_int_equal(list_pods(&f, other), 2);
    e.value = (char *)"three";
    assert_int_equal(list_pods(&f, other), 0);
    OK(podkit_remove_pod(&kit, other, err));
    OK(podkit_remove_pod(&kit, other, err));
    assert_int_equal(list_pods(NULL, other), 1);
}

static size_t count_containers(const Runtime__V1__ContainerFilter *filter)
{
    Runtime__V1__ListContainersRequest request = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ListContainersResponse *r = NULL;
    request.filter = (Runtime__V1__ContainerFilter *)filter;
    OK(call("ListContainers", &request.base, &r, err));
    size_t n = r->n_containers;
    podkit_free(r);
    return n;
}

static void test_container_filters(void **state)
{
    char running[80], ended[80];
    int code = -1;
    container("f-running", SH("while :; do sleep 1; done"), running);
    container("f-ended", SH("true"), ended);
    OK(podkit_wait(&kit, ended, 20000, &code, err));

    Runtime__V1__ContainerFilter f = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__ContainerStateValue s = RUNTIME__V1__CONTAINER_STATE_VALUE__INIT;
    Runtime__V1__ContainerFilter__LabelSelectorEntry e =
        RUNTIME__V1__CONTAINER_FILTER__LABEL_SELECTOR_ENTRY__INIT;
    Runtime__V1__ContainerFilter__LabelSelectorEntry *labels[] = {&e};
    f.pod_sandbox_id = pod;
    assert_int_equal(count_containers(&f), 2);
    f.pod_sandbox_id = (char *)UNKNOWN_ID;
    assert_int_equal(count_containers(&f), 0);
    f.pod_sandbox_id = (char *)"";
    f.id = running;
    assert_int_equal(count_containers(&f), 1);
    f.id = pod; /* an id of another kind */
    assert_int_equal(count_containers(&f), 0);
    f.id = (char *)"";
    f.state = &s;
    s.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    assert_int_equal(count_containers(&f), 1);
    s.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
    assert_int_equal(count_containers(&f), 0);
    f.state = NULL;
    e.key = (char *)"test";
    e.value = (char *)"f-running";
    f.label_selector = labels;
    f.n_label_selector = 1;
    assert_int_equal(count_containers(&f), 1);
    s.state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    f.state = &s; /* both conditions hold together */
    assert_int_equal(count_containers(&f), 0);
    OK(podkit_remove(&kit, running, err));
    OK(podkit_remove(&kit, ended, err));
}

static int exec_sync(const char *id, const char *const *argv, int64_t timeout,
                     Runtime__V1__ExecSyncResponse **ret, struct gi_error *err)
{
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    request.container_id = (char *)id;
    request.cmd = (char **)argv;
    while (argv[request.n_cmd])
        request.n_cmd++;
    request.timeout = timeout;
    return call("ExecSync", &request.base, ret, err);
}

static void test_exec(void **state)
{
    char id[80];
    Runtime__V1__ExecSyncResponse *r = NULL;
    container("exec", SH("while :; do sleep 1; done"), id);
    OK(exec_sync(id, SH("echo out; echo err >&2; exit 5"), 0, &r, err));
    assert_int_equal(r->exit_code, 5);
    assert_int_equal(r->stdout.len, 4);
    assert_memory_equal(r->stdout.data, "out\n", 4);
    assert_int_equal(r->stderr.len, 4);
    assert_memory_equal(r->stderr.data, "err\n", 4);
    podkit_free(r);
    r = NULL;

    int64_t begin = gi_monotonic_ns();
    FAILS(GI_DEADLINE_EXCEEDED, exec_sync(id, SH("sleep 30"), 1, &r, err));
    assert_true(gi_monotonic_ns() - begin < 10 * INT64_C(1000000000));

    /* A command that isn't there is told at once, as an error or as 126/127. */
    begin = gi_monotonic_ns();
    struct gi_error why = GI_ERROR_INIT;
    int rc = exec_sync(id, (const char *const[]){"/no/such/command", NULL}, 0, &r, &why);
    assert_true(gi_monotonic_ns() - begin < 10 * INT64_C(1000000000));
    if (rc == 0) {
        assert_true(r->exit_code == 126 || r->exit_code == 127);
        podkit_free(r);
        r = NULL;
    }

    /* Endless output is bounded: the answer comes, and it is not 1 GB long. */
    OK(exec_sync(id, SH("head -c 67108864 /dev/zero; exit 4"), 60, &r, err));
    assert_int_equal(r->exit_code, 4);
    assert_true(r->stdout.len > 0 && r->stdout.len <= 16u << 20);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
    FAILS(GI_NOT_FOUND, exec_sync(id, SH("true"), 0, &r, err));
}

/* Log records: both streams, their times, long lines in parts, a last line without an end. */
static void test_log(void **state)
{
    char id[80], path[256];
    int code = -1;
    cleanup_free char *text = NULL;
    size_t len = 0, parts = 0, long_bytes = 0;
    Runtime__V1__ContainerStatusResponse *r = NULL;
    container("log",
              SH("echo first; echo second >&2; sleep 0.2; i=0; while [ $i -lt 400 ]; do "
                 "printf '%0100d' 7; i=$((i+1)); done; echo; printf last"),
              id);
    OK(podkit_wait(&kit, id, 20000, &code, err));
    OK(podkit_status(&kit, id, &r, err));
    snprintf(path, sizeof(path), "%s", r->status->log_path);
    podkit_free(r);
    assert_int_equal(strncmp(path, kit.log_root, strlen(kit.log_root)), 0);
    OK(gi_read_file(path, 1 << 20, &text, &len, err));

    bool first = false, second = false, last = false;
    char *save = NULL, previous[64] = "";
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char time[64], stream[16], tag[16];
        int at = 0;
        assert_int_equal(sscanf(line, "%63s %15s %15s %n", time, stream, tag, &at), 3);
        if (strcmp(stream, "stdout") == 0) {
            assert_true(strcmp(previous, time) <= 0);
            snprintf(previous, sizeof(previous), "%s", time);
        }
        const char *rest = line + at;
        if (strcmp(rest, "first") == 0)
            first = strcmp(stream, "stdout") == 0 && tag[0] == 'F';
        else if (strcmp(rest, "second") == 0)
            second = strcmp(stream, "stderr") == 0 && tag[0] == 'F';
        else if (strcmp(rest, "last") == 0)
            last = strcmp(stream, "stdout") == 0;
        else {
            parts++;
            long_bytes += strlen(rest);
        }
    }
    assert_true(first);
    assert_true(second);
    assert_true(last);
    assert_true(parts >= 3); /* 40000 bytes in records of at most 16 KiB */
    assert_int_equal(long_bytes, 40000);
    OK(podkit_remove(&kit, id, err));
}

static void test_stats(void **state)
{
    char id[80];
    Runtime__V1__ListContainerStatsRequest list = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
    Runtime__V1__ListContainerStatsResponse *l = NULL;
    Runtime__V1__ContainerStatsRequest request = RUNTIME__V1__CONTAINER_STATS_REQUEST__INIT;
    Runtime__V1__ContainerStatsResponse *r = NULL;
    container("stats", SH("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 60"), id);
    nanosleep(&(struct timespec){.tv_nsec = 700000000}, NULL);
    request.container_id = id;
    OK(call("ContainerStats", &request.base, &r, err));
    assert_non_null(r->stats);
    assert_string_equal(r->stats->attributes->id, id);
    assert_string_equal(r->stats->attributes->metadata->name, "stats");
    assert_true(r->stats->cpu->timestamp > 0);
    assert_true(r->stats->cpu->usage_core_nano_seconds->value > 0);
    assert_true(r->stats->memory->working_set_bytes->value > 0);
    assert_non_null(r->stats->swap);
    assert_non_null(r->stats->swap->swap_usage_bytes);
    podkit_free(r);
    Runtime__V1__ContainerStatsFilter filter = RUNTIME__V1__CONTAINER_STATS_FILTER__INIT;
    filter.id = id;
    list.filter = &filter;
    OK(call("ListContainerStats", &list.base, &l, err));
    assert_int_equal(l->n_stats, 1);
    assert_string_equal(l->stats[0]->attributes->id, id);
    podkit_free(l);
    OK(podkit_remove(&kit, id, err));
}

/* A kubelet that lost our answer asks again: it gets the pod it has, or a clear
 * refusal, but never a second pod. */
static void test_retried_run(void **state)
{
    char first[80] = "", again[80] = "";
    OK(podkit_run_pod(&kit, "retried", NULL, first, err));
    struct gi_error why = GI_ERROR_INIT;
    if (podkit_run_pod(&kit, "retried", NULL, again, &why) == 0)
        assert_string_equal(first, again);
    assert_int_equal(list_pods(NULL, first), 3);
    OK(podkit_stop_pod(&kit, first, err));
    OK(podkit_remove_pod(&kit, first, err));
    assert_int_equal(list_pods(NULL, first), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),           cmocka_unit_test(test_grace_and_kill),
        cmocka_unit_test(test_remove_running), cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_unknown_ids),    cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_pod_filters),    cmocka_unit_test(test_container_filters),
        cmocka_unit_test(test_exec),           cmocka_unit_test(test_log),
        cmocka_unit_test(test_stats),          cmocka_unit_test(test_retried_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
