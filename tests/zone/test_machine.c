/* SPDX-License-Identifier: Apache-2.0 */
/* Machines of the local driver: made, found again after any death of the
 * daemon, and gone without a trace. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "zone_util.h"

#define CYCLES 50

static struct place place;
static struct xenmgr *mgr;

/* Ids are the host's, also between two runs of this test. */
static const char *id_of(const char *name)
{
    static char ids[8][64];
    static unsigned next;
    char *id = ids[next++ % 8];
    snprintf(id, sizeof(ids[0]), "gi-m%d-%s", getpid(), name);
    return id;
}

static struct machine *make(const char *id)
{
    const struct machine_config config = {.id = id, .hostname = "host-of-pod"};
    struct machine *m = NULL;
    assert_ok(machine_create(mgr, &config, 10000, &m, err));
    return m;
}

static void destroy(struct machine *m)
{
    assert_ok(machine_destroy(m, 1000, err));
    machine_put(m);
}

/* ---- counting ---- */

struct counts {
    unsigned fds;
    unsigned mounts;
    unsigned namespaces;
    unsigned cgroups;
    unsigned processes;
    unsigned files;
};

static unsigned count_entries(const char *path)
{
    unsigned n = 0;
    cleanup_closedir DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    return n;
}

static unsigned count_lines(const char *path)
{
    unsigned n = 0;
    cleanup_fclose FILE *f = fopen(path, "re");
    int c;
    while (f && (c = fgetc(f)) != EOF)
        n += c == '\n';
    return n;
}

static unsigned count_tree(const char *path, const char *word)
{
    unsigned n = 0;
    cleanup_closedir DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char sub[4096];
        struct stat st;
        if (e->d_name[0] == '.' || snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= 4096 ||
            lstat(sub, &st) < 0)
            continue;
        n += !word || strstr(sub, word);
        if (S_ISDIR(st.st_mode))
            n += count_tree(sub, word);
    }
    return n;
}

/* Processes with WORD in their command line, and the network and pid
 * namespaces that they are the first to show. */
static void count_processes(const char *word, struct counts *c)
{
    cleanup_closedir DIR *d = opendir("/proc");
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[300];
        char cmd[4096] = "";
        snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
        cleanup_close int fd =
            e->d_name[0] >= '0' && e->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? -1 : read(fd, cmd, sizeof(cmd) - 1);
        if (n <= 0 || !memmem(cmd, (size_t)n, word, strlen(word)))
            continue;
        c->processes++;
        c->namespaces++;
    }
}

static struct counts count_all(void)
{
    struct counts c = {0};
    char word[64];
    snprintf(word, sizeof(word), "gi-m%d-", getpid());
    c.fds = count_entries("/proc/self/fd");
    c.mounts = count_lines("/proc/self/mountinfo");
    c.cgroups = count_tree("/sys/fs/cgroup", word);
    count_processes(place.state, &c); /* every agent is told its scratch folder */
    c.files = count_tree(place.run, word) + count_tree(place.state, NULL);
    return c;
}

static void assert_same(const struct counts *a, const struct counts *b)
{
    assert_int_equal(a->fds, b->fds);
    assert_int_equal(a->mounts, b->mounts);
    assert_int_equal(a->namespaces, b->namespaces);
    assert_int_equal(a->cgroups, b->cgroups);
    assert_int_equal(a->processes, b->processes);
    assert_int_equal(a->files, b->files);
}

/* ---- the tests ---- */

static void opening(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    struct xenmgr *none = NULL;
    struct xenmgr_config c = {
        .driver = "xen", .run_dir = place.run, .state_dir = place.state, .agent_path = "/bin/true"};
    /* With libxl in the build the driver asks for a kernel first. */
    int rc = xenmgr_open(&c, &none, &e);
    assert_true(rc == -GI_UNIMPLEMENTED || rc == -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(e.message, "xen"));
    c.driver = "kvm";
    assert_int_equal(xenmgr_open(&c, &none, &e), -GI_INVALID_ARGUMENT);
    c.driver = "local";
    c.agent_path = "/nowhere";
    assert_int_equal(xenmgr_open(&c, &none, &e), -GI_INVALID_ARGUMENT);
    c.agent_path = "/bin/true";
    c.oci_runtime = "/bin/true";
    assert_int_equal(xenmgr_open(&c, &none, &e), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(xenmgr_describe(mgr), "NOT a security boundary"));
}

static void bad_configs(void **state)
{
    static const char *const host_sysctl[] = {"kernel.panic=1", NULL};
    static const char *const climbing[] = {"net...kernel.panic=1", NULL};
    static const char *const unknown[] = {"net.no.such.thing=1", NULL};
    struct counts before = count_all();
    struct gi_error e = GI_ERROR_INIT;
    struct machine *m = NULL;
    struct machine_config c = {.id = "../x"};
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_INVALID_ARGUMENT);
    c.id = id_of("bad");
    c.sysctls = host_sysctl;
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_INVALID_ARGUMENT);
    c.sysctls = climbing;
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_INVALID_ARGUMENT);
    c.sysctls = unknown;
    assert_true(machine_create(mgr, &c, 5000, &m, &e) < 0);
    assert_non_null(strstr(e.message, "net.no.such.thing"));
    c.sysctls = NULL;
    c.netns_path = "/nowhere/netns";
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_NOT_FOUND);
    c.netns_path = "/dev/null";
    assert_true(machine_create(mgr, &c, 5000, &m, &e) < 0);
    c.netns_path = NULL;
    c.cgroup_parent = "/../../x";
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_INVALID_ARGUMENT);
    c.cgroup_parent = NULL;
    c.hostname = "0123456789012345678901234567890123456789012345678901234567890123456789";
    assert_int_equal(machine_create(mgr, &c, 1000, &m, &e), -GI_INVALID_ARGUMENT);
    assert_null(m);
    struct counts after = count_all();
    assert_same(&before, &after);
}

/* An agent that ends at once, one that says why, and one that never is ready. */
static void bad_agents(void **state)
{
    static const char script[] = "#!/bin/sh\necho first; echo 'a library is missing' >&2; exit 1\n";
    char complains[300];
    snprintf(complains, sizeof(complains), "%s/complains", place.state);
    assert_ok(gi_write_file_atomic(complains, script, sizeof(script) - 1, 0755, err));
    const char *const agents[] = {"/bin/false", complains, "/bin/cat"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(agents); i++) {
        struct gi_error e = GI_ERROR_INIT;
        struct xenmgr *other = NULL;
        struct machine *m = NULL;
        const struct xenmgr_config c = {.driver = "local",
                                        .run_dir = place.run,
                                        .state_dir = place.state,
                                        .agent_path = agents[i]};
        const struct machine_config mc = {.id = id_of("dud")};
        assert_ok(xenmgr_open(&c, &other, err));
        struct counts before = count_all();
        int64_t t0 = gi_monotonic_ns();
        assert_true(machine_create(other, &mc, 2000, &m, &e) < 0);
        assert_true(gi_monotonic_ns() - t0 < 4000000000);
        if (agents[i] == complains)
            assert_non_null(strstr(e.message, "ready: a library is missing"));
        struct counts after = count_all();
        assert_same(&before, &after);
        xenmgr_close(other);
    }
}

static void one_machine(void **state)
{
    struct gi_error e = GI_ERROR_INIT;
    const char *id = id_of("one");
    struct machine *m = make(id);
    struct machine *again = NULL;
    const struct machine_config config = {.id = id};
    assert_int_equal(machine_create(mgr, &config, 1000, &again, &e), -GI_ALREADY_EXISTS);
    assert_true(machine_zone_id(m) != 0);
    assert_string_equal(machine_id(m), id);
    assert_true(machine_alive(m));
    assert_true(machine_pid(m) > 1);

    struct recorder rec;
    recorder_init(&rec);
    struct agent_client *c = connect_recorder(m, &rec);
    assert_ok(agent_ping(c, 1000, err));

    char **ids = NULL;
    size_t n = 0;
    assert_ok(machine_list(mgr, &ids, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(ids[0], id);
    free(ids[0]);
    free(ids);

    struct stat st;
    char path[256];
    snprintf(path, sizeof(path), "%s/zones/%s", place.run, id);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    strncat(path, "/agent.sock", sizeof(path) - strlen(path) - 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    char *name = NULL;
    assert_ok(machine_share_image(m, place.rootfs, &name, err));
    free(name);
    assert_int_equal(machine_share_image(m, "/nowhere", &name, &e), -GI_NOT_FOUND);

    agent_client_free(c);
    recorder_free(&rec);
    assert_ok(machine_destroy(m, 1000, err));
    assert_ok(machine_destroy(m, 1000, err));
    assert_false(machine_alive(m));
    int fd = -1;
    assert_int_equal(machine_connect_agent(m, 100, &fd, &e), -GI_UNAVAILABLE);
    machine_put(m);
    assert_int_equal(machine_adopt(mgr, id, &again, &e), -GI_NOT_FOUND);
}

/* Runs FN in a child that has joined the machine's namespace NAME; its result. */
static int inside(const struct machine *m, const char *name, int (*fn)(void))
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", machine_pid(m), name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(setns(fd, 0) < 0 ? 99 : fn());
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int hostname_right(void)
{
    char name[65] = "";
    gethostname(name, sizeof(name) - 1);
    return strcmp(name, "pod-x");
}

static int loopback_is_up(void)
{
    struct ifreq req = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 || ioctl(fd, SIOCGIFFLAGS, &req) < 0 || !(req.ifr_flags & IFF_UP);
}

static int forwarding_on(void)
{
    /* /proc/sys/net shows the namespace of who looks. */
    char text[4] = "";
    int fd = open("/proc/thread-self/../../sys/net/ipv4/ip_forward", O_RDONLY);
    if (fd < 0)
        fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY);
    return read(fd, text, 1) != 1 || text[0] != '1';
}

static void names_and_settings(void **state)
{
    static const char *const sysctls[] = {"net.ipv4.ip_forward=1", "kernel.shm_rmid_forced=1",
                                          NULL};
    const struct machine_config c = {.id = id_of("names"),
                                     .hostname = "pod-x",
                                     .sysctls = sysctls,
                                     .memory_bytes = 64u << 20,
                                     .vcpus = 1};
    struct machine *m = NULL;
    assert_ok(machine_create(mgr, &c, 10000, &m, err));
    assert_int_equal(inside(m, "uts", hostname_right), 0);
    assert_int_equal(inside(m, "net", loopback_is_up), 0);
    assert_int_equal(inside(m, "net", forwarding_on), 0);
    assert_int_equal(access(machine_netns(m), F_OK), 0);
    destroy(m);
}

static void given_network_namespace(void **state)
{
    int ready[2];
    char path[64];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    const struct machine_config c = {.id = id_of("net"), .netns_path = path};
    struct machine *m = NULL;
    assert_ok(machine_create(mgr, &c, 10000, &m, err));
    struct stat a;
    struct stat b;
    char own[64];
    snprintf(own, sizeof(own), "/proc/%d/ns/net", machine_pid(m));
    assert_int_equal(stat(path, &a), 0);
    assert_int_equal(stat(own, &b), 0);
    assert_true(a.st_ino == b.st_ino);
    assert_string_equal(machine_netns(m), path);
    destroy(m);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

/* Whatever the daemon has open, marked or not, the zone gets none of it. */
static void no_descriptor_leaks(void **state)
{
    int marks[40];
    for (size_t i = 0; i < GI_ARRAY_SIZE(marks); i++)
        marks[i] = open("/etc/passwd", O_RDONLY); /* not close-on-exec */
    struct machine *m = make(id_of("fds"));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", machine_pid(m));
    cleanup_closedir DIR *d = opendir(path);
    struct dirent *e;
    while ((e = readdir(d))) {
        char target[256] = "";
        if (readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1) > 0)
            assert_null(strstr(target, "passwd"));
    }
    destroy(m);
    for (size_t i = 0; i < GI_ARRAY_SIZE(marks); i++)
        close(marks[i]);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void cycles_leave_nothing(void **state)
{
    int64_t made[CYCLES];
    int64_t ended[CYCLES];
    uint32_t last_zone = 0;
    destroy(make(id_of("warm")));
    struct counts before = count_all();
    for (int i = 0; i < CYCLES; i++) {
        const char *id = id_of("cycle");
        struct machine *again = NULL;
        int64_t t0 = gi_monotonic_ns();
        struct machine *m = make(id);
        made[i] = gi_monotonic_ns() - t0;
        assert_true(machine_zone_id(m) > last_zone);
        last_zone = machine_zone_id(m);
        if (i % 2) { /* the daemon starts again */
            int pid = machine_pid(m);
            machine_put(m);
            xenmgr_close(mgr);
            mgr = place_open(&place);
            assert_ok(machine_adopt(mgr, id, &m, err));
            assert_int_equal(machine_pid(m), pid);
            assert_int_equal(machine_zone_id(m), last_zone);
        } else { /* a second handle */
            assert_ok(machine_adopt(mgr, id, &again, err));
            machine_put(again);
        }
        struct recorder rec;
        recorder_init(&rec);
        struct agent_client *c = connect_recorder(m, &rec);
        agent_client_free(c);
        recorder_free(&rec);
        t0 = gi_monotonic_ns();
        assert_ok(machine_destroy(m, i % 3 ? 1000 : 0, err));
        ended[i] = gi_monotonic_ns() - t0;
        machine_put(m);
    }
    struct counts after = count_all();
    assert_same(&before, &after);
    qsort(made, CYCLES, sizeof(made[0]), compare);
    qsort(ended, CYCLES, sizeof(ended[0]), compare);
    const size_t middle = CYCLES / 2;
    printf("machine_create p50 %.1f ms, p98 %.1f ms; machine_destroy p50 %.1f ms\n",
           (double)made[middle] / 1e6, (double)made[CYCLES - 1] / 1e6, (double)ended[middle] / 1e6);
}

struct death {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    int calls;
};

static void on_death(void *data, struct machine *m, const char *reason)
{
    struct death *d = data;
    pthread_mutex_lock(&d->mu);
    d->calls++;
    pthread_cond_signal(&d->cond);
    pthread_mutex_unlock(&d->mu);
}

static void wait_calls(struct death *d, int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&d->mu);
    while (d->calls < n && pthread_cond_timedwait(&d->cond, &d->mu, &until) == 0)
        ;
    assert_int_equal(d->calls, n);
    pthread_mutex_unlock(&d->mu);
}

static void death_is_told_once(void **state)
{
    struct death d = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct gi_error e = GI_ERROR_INIT;
    struct machine *m = make(id_of("dies"));
    struct machine *put = make(id_of("put"));
    assert_ok(machine_watch(m, on_death, &d, err));
    assert_int_equal(machine_watch(m, on_death, &d, &e), -GI_ALREADY_EXISTS);
    assert_ok(machine_watch(put, on_death, &d, err));
    usleep(20000);
    assert_int_equal(d.calls, 0);
    kill(machine_pid(m), SIGKILL);
    wait_calls(&d, 1);
    assert_false(machine_alive(m));
    /* A handle given back is not called. */
    pid_t pid = machine_pid(put);
    const char *id = id_of("put");
    machine_put(put);
    assert_ok(machine_adopt(mgr, id, &put, err));
    kill(pid, SIGKILL);
    usleep(100000);
    assert_int_equal(d.calls, 1);
    /* One that is dead already. */
    assert_ok(machine_watch(put, on_death, &d, err));
    wait_calls(&d, 2);
    destroy(m);
    destroy(put);
}

static bool keep_named(void *data, const char *id)
{
    return strcmp(id, data) == 0;
}

static void sweep(void **state)
{
    char kept[64];
    snprintf(kept, sizeof(kept), "%s", id_of("kept"));
    struct counts before = count_all();
    struct machine *living = make(id_of("living"));
    struct machine *dead = make(id_of("dead"));
    struct machine *held = make(kept);
    kill(machine_pid(dead), SIGKILL);
    kill(machine_pid(held), SIGKILL);
    while (machine_alive(dead) || machine_alive(held))
        usleep(1000);
    machine_put(dead);
    machine_put(held);
    assert_ok(xenmgr_sweep(mgr, keep_named, kept, err));
    char path[256];
    snprintf(path, sizeof(path), "%s/zones/%s", place.run, kept);
    assert_int_equal(access(path, F_OK), 0);
    assert_true(machine_alive(living));
    assert_ok(xenmgr_sweep(mgr, NULL, NULL, err));
    assert_int_equal(access(path, F_OK), -1);
    destroy(living);
    struct counts after = count_all();
    assert_same(&before, &after);
}

/* A daemon that makes and destroys machines until it is killed. */
static _Noreturn void busy_daemon(int round)
{
    mgr = place_open(&place);
    for (int i = 0;; i++) {
        char id[64];
        snprintf(id, sizeof(id), "gi-m%d-k%d-%d", getppid(), round, i);
        const struct machine_config c = {.id = id, .hostname = "k"};
        struct machine *m = NULL;
        if (machine_create(mgr, &c, 10000, &m, NULL) < 0)
            _exit(1);
        if (i % 2)
            machine_destroy(m, 0, NULL);
        machine_put(m);
    }
}

/* Killed at any moment: afterwards each machine either lives and can be
 * adopted, or is swept; no process, cgroup or file is left. */
static void daemon_killed_anywhere(void **state)
{
    struct counts before = count_all();
    unsigned adopted = 0;
    srandom(7);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();
        if (pid == 0)
            busy_daemon(round);
        usleep((useconds_t)(20000 + random() % 150000));
        kill(pid, SIGKILL);
        int status = 0;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        usleep(20000); /* a half-made zone notices by its closed pipe */
        char **ids = NULL;
        size_t n = 0;
        assert_ok(machine_list(mgr, &ids, &n, err));
        for (size_t i = 0; i < n; i++) {
            struct machine *m = NULL;
            assert_ok(machine_adopt(mgr, ids[i], &m, err));
            assert_true(machine_alive(m));
            destroy(m);
            adopted++;
            free(ids[i]);
        }
        free(ids);
        assert_ok(xenmgr_sweep(mgr, NULL, NULL, err));
        struct counts after = count_all();
        assert_same(&before, &after);
    }
    assert_true(adopted > 0);
}

#define PARALLEL 8

static void *make_and_destroy(void *data)
{
    for (int i = 0; i < 4; i++) {
        char id[64];
        snprintf(id, sizeof(id), "gi-m%d-p%d-%d", getpid(), *(int *)data, i);
        const struct machine_config c = {.id = id};
        struct gi_error e = GI_ERROR_INIT;
        struct machine *m = NULL;
        if (machine_create(mgr, &c, 20000, &m, &e) < 0 || machine_destroy(m, 1000, &e) < 0) {
            fprintf(stderr, "%s\n", e.message);
            return data;
        }
        machine_put(m);
    }
    return NULL;
}

static void in_parallel(void **state)
{
    struct counts before = count_all();
    pthread_t threads[PARALLEL];
    int numbers[PARALLEL];
    for (int i = 0; i < PARALLEL; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_destroy, &numbers[i]), 0);
    }
    for (int i = 0; i < PARALLEL; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    struct counts after = count_all();
    assert_same(&before, &after);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    zone_need();
    /* The mounts that are counted are ours alone. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return 1;
    place_make(&place);
    mgr = place_open(&place);
    printf("%s\n", xenmgr_describe(mgr));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(bad_agents),
        cmocka_unit_test(one_machine),
        cmocka_unit_test(names_and_settings),
        cmocka_unit_test(given_network_namespace),
        cmocka_unit_test(no_descriptor_leaks),
        cmocka_unit_test(cycles_leave_nothing),
        cmocka_unit_test(death_is_told_once),
        cmocka_unit_test(sweep),
        cmocka_unit_test(daemon_killed_anywhere),
        cmocka_unit_test(in_parallel),
    };
    int failed = cmocka_run_group_tests_name("machines", tests, NULL, NULL);
    xenmgr_close(mgr);
    place_remove(&place);
    return failed;
}
