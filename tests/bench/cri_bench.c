/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring part of cri-bench (the script starts the node):
 *   latency COUNT         COUNT pods one after the other: RunPodSandbox,
 *                         CreateContainer, StartContainer of a sleeping
 *                         container; then removed. One line a step.
 *   pods COUNT            makes COUNT such pods and leaves them
 *   sequence COUNT        COUNT pods' whole lives, each call of them timed
 *   pull COUNT IMAGE      pulls IMAGE1 ... IMAGE<COUNT>, which it does not have. None is
 *                         removed: ext4 is slow for half a minute where files went
 *   lists COUNT           both list calls, COUNT times
 *   clear 1               stops and removes all pods
 *   command COUNT ARGV..  runs a command COUNT times: the machine's floor
 * Lines: NAME p50_us p99_us min_us max_us count
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "podkit.h"

#define MAX_COUNT 10000

extern char **environ;

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void print(const char *name, int64_t *ns, size_t n)
{
    size_t half = n / 2, p99 = (n * 99 + 99) / 100 - 1;
    qsort(ns, n, sizeof(*ns), compare);
    printf("%s %.1f %.1f %.1f %.1f %zu\n", name, (double)ns[half] / 1e3, (double)ns[p99] / 1e3,
           (double)ns[0] / 1e3, (double)ns[n - 1] / 1e3, n);
}

static int fail(const char *what, const struct gi_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->message);
    return 1;
}

static const char *const sleeper[] = {"/bin/sleep", "1000000", NULL};

static int make_pod(struct podkit *k, size_t i, char pod[80], int64_t t[4], struct gi_error *err)
{
    char name[32], container[80];
    snprintf(name, sizeof(name), "bench-%zu", i);
    t[0] = gi_monotonic_ns();
    int rc = podkit_run_pod(k, name, NULL, pod, err);
    t[1] = gi_monotonic_ns();
    if (rc == 0)
        rc = podkit_create(k, pod, name, "main", NULL, sleeper, container, err);
    t[2] = gi_monotonic_ns();
    if (rc == 0)
        rc = podkit_start(k, container, err);
    t[3] = gi_monotonic_ns();
    return rc;
}

static int latency(struct podkit *k, size_t count)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free int64_t *ns = calloc(5 * count, sizeof(*ns));
    if (!ns)
        return 1;
    for (size_t i = 0; i < count; i++) {
        char pod[80];
        int64_t t[4];
        if (make_pod(k, i, pod, t, &err) < 0)
            return fail("making a pod", &err);
        int64_t begin = gi_monotonic_ns();
        if (podkit_stop_pod(k, pod, &err) < 0 || podkit_remove_pod(k, pod, &err) < 0)
            return fail("removing a pod", &err);
        ns[i] = t[1] - t[0];
        ns[count + i] = t[2] - t[1];
        ns[2 * count + i] = t[3] - t[2];
        ns[3 * count + i] = t[3] - t[0];
        ns[4 * count + i] = gi_monotonic_ns() - begin;
    }
    print("RunPodSandbox", ns, count);
    print("CreateContainer", ns + count, count);
    print("StartContainer", ns + 2 * count, count);
    print("pod_to_started", ns + 3 * count, count);
    print("stop_and_remove", ns + 4 * count, count);
    return 0;
}

static int pods(struct podkit *k, size_t count)
{
    struct gi_error err = GI_ERROR_INIT;
    for (size_t i = 0; i < count; i++) {
        char pod[80];
        int64_t t[4];
        /* Names go on where an earlier call stopped. */
        if (make_pod(k, (size_t)gi_monotonic_ns() % 1000000000 + i, pod, t, &err) < 0)
            return fail("making a pod", &err);
    }
    return 0;
}

/* ---- every call of a life ---- */

enum { RUN, CREATE, START, EXEC, STOP, REMOVE, STOP_POD, REMOVE_POD, N_CALLS };
static const char *const call_names[N_CALLS] = {
    "RunPodSandbox", "CreateContainer", "StartContainer", "ExecSync",
    "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox",
};

static int any(struct podkit *k, const char *method, const ProtobufCMessage *q,
               struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = 120000};
    ProtobufCMessage *r = NULL;
    int rc = gi_cri_call(k->client, method, q, &o, &r, err);
    podkit_free(r);
    return rc;
}

static int exec_true(struct podkit *k, const char *container, struct gi_error *err)
{
    char *argv[] = {(char *)"/bin/true"};
    Runtime__V1__ExecSyncRequest q = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    q.container_id = (char *)container;
    q.cmd = argv;
    q.n_cmd = 1;
    return any(k, "ExecSync", &q.base, err);
}

static int one_call(struct podkit *k, int call, const char *name, char pod[80], char container[80],
                    struct gi_error *err)
{
    switch (call) {
    case RUN:
        return podkit_run_pod(k, name, NULL, pod, err);
    case CREATE:
        return podkit_create(k, pod, name, "main", NULL, sleeper, container, err);
    case START:
        return podkit_start(k, container, err);
    case EXEC:
        return exec_true(k, container, err);
    case STOP: /* no grace: what the runtime costs, not the program */
        return podkit_stop(k, container, 0, err);
    case REMOVE:
        return podkit_remove(k, container, err);
    case STOP_POD:
        return podkit_stop_pod(k, pod, err);
    default:
        return podkit_remove_pod(k, pod, err);
    }
}

static int sequence(struct podkit *k, size_t count)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free int64_t *ns = calloc(N_CALLS * count, sizeof(*ns));
    if (!ns)
        return 1;
    for (size_t i = 0; i < count; i++) {
        char name[32], pod[80] = "", container[80] = "";
        snprintf(name, sizeof(name), "sequence-%zu", i);
        for (int c = 0; c < N_CALLS; c++) {
            int64_t begin = gi_monotonic_ns();
            if (one_call(k, c, name, pod, container, &err) < 0)
                return fail(call_names[c], &err);
            ns[(size_t)c * count + i] = gi_monotonic_ns() - begin;
        }
    }
    for (size_t c = 0; c < N_CALLS; c++)
        print(call_names[c], ns + c * count, count);
    return 0;
}

static int pull(struct podkit *k, size_t count, const char *image)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__PullImageRequest q = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
    cleanup_free int64_t *ns = calloc(count, sizeof(*ns));
    char name[300];
    spec.image = name;
    q.image = &spec;
    for (size_t i = 0; ns && i < count; i++) {
        snprintf(name, sizeof(name), "%s%zu", image, i + 1);
        int64_t begin = gi_monotonic_ns();
        if (any(k, "PullImage", &q.base, &err) < 0)
            return fail("PullImage", &err);
        ns[i] = gi_monotonic_ns() - begin;
    }
    if (ns)
        print("PullImage", ns, count);
    return !ns;
}

static int lists(struct podkit *k, size_t count)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ListPodSandboxRequest p = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListContainersRequest c = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    cleanup_free int64_t *ns = calloc(2 * count, sizeof(*ns));
    if (!ns)
        return 1;
    for (size_t i = 0; i < count; i++) {
        int64_t begin = gi_monotonic_ns();
        if (any(k, "ListPodSandbox", &p.base, &err) < 0)
            return fail("ListPodSandbox", &err);
        int64_t middle = gi_monotonic_ns();
        if (any(k, "ListContainers", &c.base, &err) < 0)
            return fail("ListContainers", &err);
        ns[i] = middle - begin;
        ns[count + i] = gi_monotonic_ns() - middle;
    }
    print("ListPodSandbox", ns, count);
    print("ListContainers", ns + count, count);
    return 0;
}

static int clear(struct podkit *k)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ListPodSandboxRequest q = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse *r = NULL;
    int rc = gi_cri_call(k->client, "ListPodSandbox", &q.base, NULL, (ProtobufCMessage **)&r, &err);
    for (size_t i = 0; rc == 0 && i < r->n_items; i++) {
        rc = podkit_stop_pod(k, r->items[i]->id, &err);
        if (rc == 0)
            rc = podkit_remove_pod(k, r->items[i]->id, &err);
    }
    podkit_free(r);
    return rc < 0 ? fail("removing all pods", &err) : 0;
}

static int command(size_t count, char **argv)
{
    cleanup_free int64_t *ns = calloc(count, sizeof(*ns));
    if (!ns)
        return 1;
    for (size_t i = 0; i < count; i++) {
        pid_t pid;
        int status = 0;
        int64_t begin = gi_monotonic_ns();
        if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "%s failed\n", argv[0]);
            return 1;
        }
        ns[i] = gi_monotonic_ns() - begin;
    }
    print("command", ns, count);
    return 0;
}

int main(int argc, char **argv)
{
    struct podkit k;
    unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (count < 1 || count > MAX_COUNT) {
        fprintf(stderr, "usage: cri-bench-client latency|pods|sequence|lists|clear COUNT | "
                        "pull COUNT IMAGE | command COUNT ARGV...\n");
        return 2;
    }
    if (strcmp(argv[1], "command") == 0 && argc > 3)
        return command(count, argv + 3);
    if (podkit_open(&k) < 0)
        return 2;
    int rc = strcmp(argv[1], "latency") == 0            ? latency(&k, count)
             : strcmp(argv[1], "pods") == 0             ? pods(&k, count)
             : strcmp(argv[1], "clear") == 0            ? clear(&k)
             : strcmp(argv[1], "sequence") == 0         ? sequence(&k, count)
             : strcmp(argv[1], "lists") == 0            ? lists(&k, count)
             : strcmp(argv[1], "pull") == 0 && argc > 3 ? pull(&k, count, argv[3])
                                                        : 2;
    podkit_close(&k);
    return rc;
}
