/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured part of load.sh:
 *   churn THREADS SECONDS   threads make and remove pods all the time
 *   many COUNT THREADS      COUNT pods at once; one's agent is stopped (SIGSTOP):
 *                           neither lists nor other pods may notice; then all go
 * List calls are made and timed meanwhile. At the end nothing may be left.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "leaks.h"
#include "podkit.h"

#define MAX_PODS     500
#define MAX_THREADS  64
#define MAX_TIMES    100000
#define LIST_MS      5000 /* a list may never take that long, however loaded the machine is */
#define NEIGHBOUR_MS 20000

static struct podkit kit;
static atomic_bool stop_lists;
static atomic_int failures;
static atomic_int next;
static int count;
static int64_t until_ns;
static char pods[MAX_PODS][80];
static atomic_int made;

static void complain(const char *what, const struct gi_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->message);
    atomic_fetch_add(&failures, 1);
}

/* ---- lists ---- */

static int64_t times[MAX_TIMES];
static size_t n_times;

static void list_once(const char *method, const ProtobufCMessage *q)
{
    const struct gi_cri_call_options o = {.timeout_ms = LIST_MS};
    struct gi_error err = GI_ERROR_INIT;
    ProtobufCMessage *r = NULL;
    int64_t begin = gi_monotonic_ns();
    if (gi_cri_call(kit.client, method, q, &o, &r, &err) < 0)
        complain(method, &err);
    podkit_free(r);
    if (n_times < MAX_TIMES)
        times[n_times++] = gi_monotonic_ns() - begin;
}

static void *lister(void *arg)
{
    Runtime__V1__ListPodSandboxRequest p = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListContainersRequest c = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    while (!atomic_load(&stop_lists) && !atomic_load(&failures)) {
        list_once("ListPodSandbox", &p.base);
        list_once("ListContainers", &c.base);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_lists(const char *when)
{
    if (n_times == 0)
        return;
    qsort(times, n_times, sizeof(times[0]), compare);
    size_t half = n_times / 2, p99 = (n_times * 99 + 99) / 100 - 1;
    printf("%zu list calls %s: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", n_times, when,
           (double)times[half] / 1e6, (double)times[p99] / 1e6, (double)times[n_times - 1] / 1e6);
    n_times = 0;
}

/* ---- pods ---- */

static int make(int number, char pod[80], struct gi_error *err)
{
    static const char *const argv[] = {"/bin/sleep", "1000000", NULL};
    char name[32], container[80];
    snprintf(name, sizeof(name), "load-%d", number);
    int rc = podkit_run_pod(&kit, name, NULL, pod, err);
    if (rc == 0)
        rc = podkit_create(&kit, pod, name, "main", NULL, argv, container, err);
    if (rc == 0)
        rc = podkit_start(&kit, container, err);
    return rc;
}

static int destroy(const char *pod, struct gi_error *err)
{
    int rc = podkit_stop_pod(&kit, pod, err);
    return rc < 0 ? rc : podkit_remove_pod(&kit, pod, err);
}

static void *churner(void *arg)
{
    while (gi_monotonic_ns() < until_ns && !atomic_load(&failures)) {
        struct gi_error err = GI_ERROR_INIT;
        char pod[80];
        if (make(atomic_fetch_add(&next, 1), pod, &err) < 0 || destroy(pod, &err) < 0)
            complain("a pod's life", &err);
        atomic_fetch_add(&made, 1);
    }
    return NULL;
}

static void *maker(void *arg)
{
    int i;
    while ((i = atomic_fetch_add(&next, 1)) < count && !atomic_load(&failures)) {
        struct gi_error err = GI_ERROR_INIT;
        if (make(i, pods[i], &err) < 0)
            complain("making a pod", &err);
        atomic_fetch_add(&made, 1);
    }
    return NULL;
}

/* Lists alone. */
static void *idle(void *arg)
{
    nanosleep(&(struct timespec){.tv_sec = 5}, NULL);
    return NULL;
}

static void *remover(void *arg)
{
    int i;
    while ((i = atomic_fetch_add(&next, 1)) < count) {
        struct gi_error err = GI_ERROR_INIT;
        if (destroy(pods[i], &err) < 0)
            complain("removing a pod", &err);
    }
    return NULL;
}

static void crowd(void *(*fn)(void *), int n)
{
    pthread_t t[MAX_THREADS];
    int have = 0;
    while (have < n && pthread_create(&t[have], NULL, fn, NULL) == 0)
        have++;
    for (int i = 0; i < have; i++)
        pthread_join(t[i], NULL);
    if (have < n)
        atomic_fetch_add(&failures, 1);
}

/* ---- a stuck guest ---- */

/* The agent of POD: the process that names it on its command line. */
static pid_t agent_of(const char *pod)
{
    cleanup_closedir DIR *d = opendir("/proc");
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[300], line[4096];
        snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
        cleanup_close int fd =
            e->d_name[0] > '0' && e->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line));
        if (n > 0 && memmem(line, strnlen(line, (size_t)n), "gpu-isolated-agent", 18) &&
            memmem(line, (size_t)n, pod, strlen(pod)))
            return (pid_t)strtol(e->d_name, NULL, 10);
    }
    return -1;
}

static int exec_true(const char *container, int timeout_ms, struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = timeout_ms};
    char *argv[] = {(char *)"/bin/true"};
    Runtime__V1__ExecSyncRequest q = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    q.container_id = (char *)container;
    q.cmd = argv;
    q.n_cmd = 1;
    int rc = gi_cri_call(kit.client, "ExecSync", &q.base, &o, &r, err);
    podkit_free(r);
    return rc;
}

/* The container of POD. */
static int container_of(const char *pod, char ret_id[80], struct gi_error *err)
{
    const struct gi_cri_call_options o = {.timeout_ms = LIST_MS};
    Runtime__V1__ListContainersRequest q = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ContainerFilter f = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__ListContainersResponse *r = NULL;
    f.pod_sandbox_id = (char *)pod;
    q.filter = &f;
    int rc = gi_cri_call(kit.client, "ListContainers", &q.base, &o, (ProtobufCMessage **)&r, err);
    if (rc == 0 && r->n_containers == 1)
        snprintf(ret_id, 80, "%s", r->containers[0]->id);
    else if (rc == 0)
        rc = gi_fail(err, GI_INTERNAL, "%zu containers, not one", r->n_containers);
    podkit_free(r);
    return rc;
}

static void *exec_in_stuck(void *container)
{
    struct gi_error err = GI_ERROR_INIT;
    if (exec_true(container, 3000, &err) == 0) {
        fprintf(stderr, "a stuck guest has run something\n");
        atomic_fetch_add(&failures, 1);
    }
    return NULL;
}

static void stuck_guest(void)
{
    struct gi_error err = GI_ERROR_INIT;
    char stuck[80], other[80], pod[80];
    pthread_t waiting[3];
    pid_t agent = agent_of(pods[0]);
    if (agent < 0 || kill(agent, SIGSTOP) < 0) {
        gi_fail(&err, GI_NOT_FOUND, "not found");
        complain("the agent of a pod", &err);
        return;
    }
    if (container_of(pods[0], stuck, &err) < 0 || container_of(pods[1], other, &err) < 0) {
        complain("a pod's container", &err);
        kill(agent, SIGCONT);
        return;
    }
    int n = 0;
    while (n < 3 && pthread_create(&waiting[n], NULL, exec_in_stuck, stuck) == 0)
        n++;
    int64_t begin = gi_monotonic_ns();
    for (int i = 0; i < 5; i++) {
        if (exec_true(other, NEIGHBOUR_MS, &err) < 0)
            complain("exec beside a stuck guest", &err);
    }
    printf("exec beside a stuck guest: %.1f ms\n", (double)(gi_monotonic_ns() - begin) / 5e6);
    if (make(count, pod, &err) < 0 || destroy(pod, &err) < 0)
        complain("a pod's life beside a stuck guest", &err);
    for (int i = 0; i < n; i++)
        pthread_join(waiting[i], NULL);
    /* It stays stuck: the others' and its own removal must do without it. */
}

/* ---- all ---- */

static void with_lists(const char *when, void *(*fn)(void *), int threads)
{
    pthread_t t;
    atomic_store(&stop_lists, false);
    if (pthread_create(&t, NULL, lister, NULL) != 0) {
        atomic_fetch_add(&failures, 1);
        return;
    }
    if (fn)
        crowd(fn, threads);
    else
        stuck_guest();
    atomic_store(&stop_lists, true);
    pthread_join(t, NULL);
    print_lists(when);
}

static void many(int threads)
{
    int64_t begin = gi_monotonic_ns();
    with_lists("while pods are made", maker, threads);
    printf("%d pods made in %.1f s\n", atomic_load(&made),
           (double)(gi_monotonic_ns() - begin) / 1e9);
    with_lists("with all pods at rest", idle, 1);
    if (!atomic_load(&failures))
        with_lists("beside a stuck guest", NULL, 0);
    atomic_store(&next, 0);
    with_lists("while pods are removed", remover, threads);
}

int main(int argc, char **argv)
{
    long a = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    long b = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    bool is_churn = argc == 4 && strcmp(argv[1], "churn") == 0;
    long threads = is_churn ? a : b;
    if (a < 1 || b < 1 || threads > MAX_THREADS || (!is_churn && (a < 2 || a > MAX_PODS))) {
        fprintf(stderr, "usage: e2e-load churn THREADS SECONDS | many COUNT THREADS\n");
        return 2;
    }
    if (podkit_open(&kit) < 0)
        return 2;
    if (is_churn) {
        until_ns = gi_monotonic_ns() + b * 1000000000LL;
        with_lists("under load", churner, (int)threads);
        printf("%d pods made and removed\n", atomic_load(&made));
    } else {
        count = (int)a;
        many((int)threads);
    }
    podkit_close(&kit);
    return atomic_load(&failures) || leaks_check() < 0;
}
