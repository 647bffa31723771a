/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xen driver on a real hypervisor: runs inside dom0 (driver-inside.sh).
 *   xen-driver-test KERNEL ROOT-IMAGE CMDLINE BLOCK-SCRIPT [life | beside]
 * With `life` it is one that GI_FAILPOINT ends: a machine is made, gets an image, is destroyed.
 * With `beside` that machine's call hangs, and another machine is led through its life.
 * Prints "ok ..." lines; the first failure ends it with 1.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent_client.h"
#include "base/io.h"
#include "base/log.h"
#include "xenmgr.h"

static _Thread_local struct gi_error err;

#define MUST(call)                                                                                 \
    do {                                                                                           \
        err = (struct gi_error)GI_ERROR_INIT;                                                      \
        if ((call) < 0) {                                                                          \
            printf("FAIL line %d: %s: %s\n", __LINE__, #call, err.message);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("FAIL line %d: %s\n", __LINE__, #cond);                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void say(const char *what)
{
    static int64_t before;
    int64_t now = gi_monotonic_ns();
    printf("ok %s (%.1f s)\n", what, before ? (double)(now - before) / 1e9 : 0.0);
    fflush(stdout);
    before = now;
}

/* What makes many domains makes PV ones: QEMU's emulated processors now and then fail those that
 * use hardware virtualization (tests/xen-node/again.sh), and the driver's steps are the same. */
static bool many;

static struct xenmgr *open_manager(char **argv)
{
    const struct xenmgr_config config = {
        .driver = "xen",
        .run_dir = "/run/gpu-isolated",
        .state_dir = "/tmp/state",
        .xen_kernel = argv[1],
        .xen_root = argv[2],
        .xen_cmdline = argv[3],
        .xen_zone_type = many ? "pv" : "pvh",
        .xen_block_script = argv[4],
        .xen_vif_script = argv[4], /* no pod of this test has a network */
    };
    struct xenmgr *mgr = NULL;
    MUST(xenmgr_open(&config, &mgr, &err));
    return mgr;
}

static struct machine *create_of(struct xenmgr *mgr, const char *id, uint64_t memory_bytes)
{
    struct machine_config mc = {.id = id, .memory_bytes = memory_bytes, .vcpus = 1};
    struct machine *m = NULL;
    MUST(xenmgr_draw_zone(mgr, &mc.zone_id, &err));
    MUST(machine_create(mgr, &mc, 60000, &m, &err));
    CHECK(machine_zone_id(m) == mc.zone_id);
    return m;
}

static struct machine *create(struct xenmgr *mgr, const char *id)
{
    return create_of(mgr, id, 128 << 20);
}

static void on_disconnect(void *data, const struct gi_error *why)
{
    (void)why;
    (*(_Atomic int *)data)++;
}

static struct agent_client *reach(struct machine *m, _Atomic int *gone)
{
    const struct agent_callbacks cb = {.on_disconnect = on_disconnect};
    struct agent_client *agent = NULL;
    int fd = -1;
    MUST(machine_connect_agent(m, 30000, &fd, &err));
    MUST(agent_client_new(fd, &cb, gone, 30000, &agent, &err));
    MUST(agent_ping(agent, 10000, &err));
    return agent;
}

/* Files of some size go in and come back: many frames each way. */
static void talk_to_agent(struct machine *m)
{
    static char data[500 << 10];
    static _Atomic int gone;
    const struct agent_volume v = {.name = "v"};
    struct agent_file f = {.path = "f", .data = data, .len = sizeof(data), .mode = 0644};
    struct agent_client *agent = reach(m, &gone);
    char *back = NULL;
    size_t n = 0;
    int other = -1;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7 + i / 4096);
    MUST(machine_connect_agent(m, 10000, &other, &err));
    MUST(agent_make_volume(agent, &v, 10000, &err));
    int64_t start = gi_monotonic_ns();
    MUST(agent_put_files(agent, "v", false, &f, 1, 60000, &err));
    MUST(agent_read_file(agent, "v", "f", sizeof(data), 60000, &back, &n, &err));
    printf("   1 MB over vchan: %lld ms\n", (long long)(gi_monotonic_ns() - start) / 1000000);
    CHECK(n == sizeof(data) && memcmp(back, data, n) == 0);
    free(back);
    close(other);
    agent_client_free(agent);
}

static size_t count(struct xenmgr *mgr)
{
    char **ids = NULL;
    size_t n = 0;
    MUST(machine_list(mgr, &ids, &n, &err));
    for (size_t i = 0; i < n; i++)
        free(ids[i]);
    free(ids);
    return n;
}

static _Atomic int deaths;

static void on_death(void *data, struct machine *m, const char *reason)
{
    (void)data;
    (void)m;
    (void)reason;
    deaths++;
}

static bool keep_none(void *data, const char *id)
{
    (void)data;
    (void)id;
    return false;
}

static bool await_death(int seconds)
{
    for (int i = 0; i < seconds * 20 && !deaths; i++)
        usleep(50000);
    return deaths != 0;
}

static void paused(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    struct machine *m = create(mgr, "paused");
    static _Atomic int gone;
    struct agent_client *agent = reach(m, &gone);
    MUST(machine_pause(m, &err));
    MUST(machine_pause(m, &err));
    CHECK(agent_ping(agent, 1000, &err) == -GI_DEADLINE_EXCEEDED);
    CHECK(machine_alive(m));
    MUST(machine_unpause(m, &err));
    MUST(machine_unpause(m, &err));
    MUST(agent_ping(agent, 10000, &err));
    MUST(machine_pause(m, &err));
    agent_client_free(agent);
    MUST(machine_destroy(m, 0, &err));
    CHECK(machine_unpause(m, &err) == -GI_NOT_FOUND);
    machine_put(m);
    xenmgr_close(mgr);
    say("a domain is paused, runs on, and can be ended while it is paused");
}

/* ---- cut at each failpoint ---- */

#define TREE "/tmp/tree" /* driver-inside.sh made its EROFS file */

/* Beside its root disk; a machine of this test has no scratch disk. */
static int disks(const struct machine *m)
{
    char command[96], line[16] = "";
    snprintf(command, sizeof(command), "xenstore-list /local/domain/0/backend/vbd/%u | wc -l",
             machine_zone_id(m));
    FILE *f = popen(command, "re");
    CHECK(f && fgets(line, sizeof(line), f) && pclose(f) == 0);
    return atoi(line) - 1;
}

/* As the runtime's: the agent unmounts it. */
static int let_go(void *data, const char *name, struct gi_error *e)
{
    return agent_release_image(data, name, 10000, e);
}

static int must_not(void *data, const char *name, struct gi_error *e)
{
    (void)data;
    return gi_fail(e, GI_INTERNAL, "asked to let go of %s, which is gone", name);
}

static int nothing(void *data, const char *name, struct gi_error *e)
{
    (void)data;
    (void)name;
    (void)e;
    return 0;
}

static int life(struct xenmgr *mgr, const char *id)
{
    struct machine_config mc = {.id = id, .memory_bytes = 128 << 20, .vcpus = 1};
    struct machine *m = NULL;
    char *disk = NULL;
    int rc = xenmgr_draw_zone(mgr, &mc.zone_id, &err);
    if (rc == 0)
        rc = machine_create(mgr, &mc, 60000, &m, &err);
    if (rc < 0)
        return rc;
    struct gi_error why = GI_ERROR_INIT;
    rc = machine_share_image(m, TREE, &disk, &why);
    if (rc < 0) /* once more: the machine is as it was */
        MUST(machine_share_image(m, TREE, &disk, &err));
    if (rc == 0)
        rc = machine_unshare_image(m, TREE, nothing, NULL, &why);
    if (rc < 0)
        MUST(machine_unshare_image(m, TREE, nothing, NULL, &err));
    CHECK(disks(m) == 0);
    int ended = machine_destroy(m, 0, rc < 0 ? &err : &why);
    if (ended < 0)
        MUST(machine_destroy(m, 0, &err));
    free(disk);
    machine_put(m);
    err = why;
    return rc < 0 ? rc : ended;
}

static const char *const failpoints[] = {
    "xen_scratch_made", "xen_entry_written", "xen_domain_built",     "xen_domain_started",
    "xen_agent_linked", "xen_disk_taken",    "xen_disk_attached",    "xen_disk_connected",
    "xen_disk_let_go",  "xen_disk_removed",  "xen_domain_destroyed", "xen_entry_removed",
};

static void fail_at(const char *name, const char *action)
{
    char plan[80];
    snprintf(plan, sizeof(plan), "%s=%s", name, action);
    FILE *f = fopen("/tmp/plan", "we");
    CHECK(f && fputs(plan, f) >= 0 && fclose(f) == 0);
}

/* An error is the call's, and leaves nothing. */
static void errors(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    for (size_t i = 0; i < sizeof(failpoints) / sizeof(failpoints[0]); i++) {
        fail_at(failpoints[i], "error");
        err = (struct gi_error)GI_ERROR_INIT;
        CHECK(life(mgr, "life") < 0);
        CHECK(access("/tmp/plan", F_OK) < 0 && strstr(err.message, failpoints[i]));
        CHECK(count(mgr) == 0);
    }
    xenmgr_close(mgr);
    say("an error at each failpoint");
}

static void *hanging(void *mgr)
{
    life(mgr, "hangs");
    return NULL;
}

/* One machine's call hangs; another machine, and the list of them, do not wait for it. */
static int beside(struct xenmgr *mgr)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, hanging, mgr) == 0);
    for (int i = 0; i < 600 && access("/tmp/plan", F_OK) == 0; i++)
        usleep(50000);
    CHECK(access("/tmp/plan", F_OK) < 0);
    count(mgr);
    struct machine *m = create(mgr, "beside");
    MUST(machine_destroy(m, 0, &err));
    kill(getpid(), SIGKILL);
    return 1;
}

/* A daemon that dies, or hangs in one machine's call and is killed: what is left half made can be
 * swept, and made again. */
static void daemon_ends(char **argv, const char *action, const char *what)
{
    extern char **environ;
    char *child[] = {
        (char *)"/proc/self/exe", argv[1], argv[2], argv[3], argv[4], (char *)what, NULL};
    for (size_t i = 0; i < sizeof(failpoints) / sizeof(failpoints[0]); i++) {
        pid_t pid;
        int status;
        fail_at(failpoints[i], action);
        CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child, environ) == 0);
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        struct xenmgr *mgr = open_manager(argv);
        MUST(xenmgr_sweep(mgr, keep_none, NULL, &err));
        CHECK(count(mgr) == 0);
        xenmgr_close(mgr);
    }
    struct xenmgr *mgr = open_manager(argv);
    MUST(life(mgr, "life"));
    xenmgr_close(mgr);
}

/* A disk that a daemon was about to attach when it died. */
static void half_attached(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    struct machine *m = create(mgr, "half");
    char *disk = NULL;
    CHECK(system("xenstore-write /gpu-isolated/zones/half/disks/1 " TREE) == 0);
    MUST(machine_share_image(m, TREE, &disk, &err));
    CHECK(strcmp(disk, "disk:xvdb") == 0);
    free(disk);
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    xenmgr_close(mgr);
    say("an image that was to be attached is");
}

/* Made, and never started: its overlay is what uses the image. */
static const char spec_json[] =
    "{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"args\":[\"/usr/bin/crun\"],"
    "\"user\":{\"uid\":0,\"gid\":0}},\"root\":{\"path\":\"rootfs\"},"
    "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\"}]}}";

/* A disk goes when its image isn't needed any more, and its number is free again. */
static void taken_away(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    struct machine *m = create(mgr, "away");
    static _Atomic int gone;
    struct agent_client *agent = reach(m, &gone);
    struct agent_container_spec spec = {.id = "c", .oci_json = spec_json};
    for (int i = 0; i < 26; i++) { /* more than a zone can have */
        char *disk = NULL;
        MUST(machine_share_image(m, TREE, &disk, &err));
        CHECK(strcmp(disk, "disk:xvdb") == 0 && disks(m) == 1);
        spec.image_rootfs = disk;
        MUST(agent_create_container(agent, &spec, 20000, &err));
        CHECK(i || machine_unshare_image(m, TREE, let_go, agent, &err) == -GI_FAILED_PRECONDITION);
        CHECK(disks(m) == 1);
        MUST(agent_remove_container(agent, "c", 20000, &err));
        MUST(machine_unshare_image(m, TREE, let_go, agent, &err));
        MUST(machine_unshare_image(m, TREE, must_not, NULL, &err));
        CHECK(disks(m) == 0);
        free(disk);
    }
    agent_client_free(agent);
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    xenmgr_close(mgr);
    say("an image comes, is kept by who uses it, and goes; 26 times");
}

/* As many as a zone can have, which are of two kinds (xvdb to xvdp, xvdq to xvdy), and one more. */
static void all_disks(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    /* Each takes some 4 MiB of its zone (xen-blkfront's persistent grants). */
    struct machine *m = create_of(mgr, "all", 256 << 20);
    static _Atomic int gone;
    struct agent_client *agent = reach(m, &gone);
    char tree[40], file[48], *disk[25] = {NULL};
    for (int i = 0; i < 25; i++) {
        snprintf(tree, sizeof(tree), TREE "-%d", i);
        snprintf(file, sizeof(file), "%s.erofs", tree);
        CHECK(link(TREE ".erofs", file) == 0);
        if (i < 24)
            MUST(machine_share_image(m, tree, &disk[i], &err));
        else
            CHECK(machine_share_image(m, tree, &disk[i], &err) == -GI_RESOURCE_EXHAUSTED);
    }
    CHECK(strcmp(disk[23], "disk:xvdy") == 0 && disks(m) == 24);
    struct agent_container_spec spec = {
        .id = "last", .oci_json = spec_json, .image_rootfs = disk[23]};
    MUST(agent_create_container(agent, &spec, 20000, &err));
    MUST(agent_remove_container(agent, "last", 20000, &err));
    for (int i = 0; i < 25; i++) {
        snprintf(tree, sizeof(tree), TREE "-%d", i);
        snprintf(file, sizeof(file), "%s.erofs", tree);
        MUST(machine_unshare_image(m, tree, let_go, agent, &err));
        CHECK(unlink(file) == 0);
        free(disk[i]);
    }
    CHECK(disks(m) == 0);
    agent_client_free(agent);
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    xenmgr_close(mgr);
    say("as many images as a zone can have");
}

/* FILE is what /tmp/disk names, a loop device. */
#define LOOP(file) "ln -sf $(losetup -f) /tmp/disk && losetup $(readlink /tmp/disk) " file

static void block_device(char **argv)
{
    struct xenmgr *mgr = open_manager(argv);
    struct machine *m = create(mgr, "block");
    dev_t number = 0, again = 0;
    CHECK(system("dd if=/dev/zero of=/tmp/block bs=1M count=1 2>/dev/null && " LOOP(
              "/tmp/block")) == 0);
    MUST(machine_share_device(m, "/tmp/disk", true, &number, &err));
    CHECK(number == makedev(202, 16) && disks(m) == 1);
    MUST(machine_share_device(m, "/tmp/disk", true, &again, &err));
    CHECK(again == number && disks(m) == 1);
    MUST(machine_unshare_device(m, "/tmp/disk", true, &err));
    MUST(machine_unshare_device(m, "/tmp/disk", true, &err));
    CHECK(disks(m) == 0);
    CHECK(machine_share_device(m, "/tmp/block", false, &number, &err) == -GI_INVALID_ARGUMENT);
    CHECK(machine_share_device(m, "/tmp/none", false, &number, &err) == -GI_NOT_FOUND);
    /* What the host has mounted can be read, and not be written. */
    CHECK(system("mkdir /tmp/at && losetup -d $(readlink /tmp/disk) && " LOOP(
              TREE ".erofs") " && "
                             "mount -t erofs -o ro /tmp/disk /tmp/at") == 0);
    CHECK(machine_share_device(m, "/tmp/disk", true, &number, &err) == -GI_FAILED_PRECONDITION);
    MUST(machine_share_device(m, "/tmp/disk", false, &number, &err));
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    CHECK(system("umount /tmp/at && losetup -d $(readlink /tmp/disk) && rm /tmp/disk /tmp/block") ==
          0);
    xenmgr_close(mgr);
    say("a block device of the host");
}

int main(int argc, char **argv)
{
    char command[64];
    struct machine *m = NULL, *again = NULL;
    const char *what = argc == 6 ? argv[5] : "all";
    many = argc == 6;
    CHECK(argc == 5 || argc == 6);
    CHECK(setenv("GI_FAILPOINT", "@/tmp/plan", 1) == 0);
    if (strcmp(what, "life") == 0)
        return life(open_manager(argv), "life") < 0;
    if (strcmp(what, "beside") == 0)
        return beside(open_manager(argv));
    gi_log_init("xen-driver-test", GI_LOG_WARNING);
    struct xenmgr *mgr = open_manager(argv);
    printf("ok %s\n", xenmgr_describe(mgr));

    m = create(mgr, "one");
    CHECK(machine_alive(m) && count(mgr) == 1);
    struct machine_config same = {.id = "one", .zone_id = 4000};
    CHECK(machine_create(mgr, &same, 1000, &again, &err) == -GI_ALREADY_EXISTS);
    say("a domain is made, its id is taken");
    talk_to_agent(m);
    say("its agent answers over vchan");

    machine_put(m);
    xenmgr_close(mgr);
    mgr = open_manager(argv);
    CHECK(count(mgr) == 1);
    MUST(machine_adopt(mgr, "one", &m, &err));
    CHECK(machine_alive(m));
    CHECK(machine_adopt(mgr, "two", &again, &err) == -GI_NOT_FOUND);
    talk_to_agent(m);
    say("after a restart it is found again, and its agent");

    static _Atomic int gone;
    struct agent_client *agent = reach(m, &gone);
    MUST(machine_watch(m, on_death, NULL, &err));
    snprintf(command, sizeof(command), "xl destroy %u", machine_zone_id(m));
    CHECK(system(command) == 0);
    CHECK(await_death(20));
    for (int i = 0; i < 100 && !gone; i++)
        usleep(50000);
    CHECK(gone);
    CHECK(machine_connect_agent(m, 1000, &(int){-1}, &err) < 0);
    agent_client_free(agent);
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    CHECK(count(mgr) == 0);
    say("a domain's death is told, and ends the talk with its agent");

    m = create(mgr, "orphan");
    machine_put(m);
    MUST(xenmgr_sweep(mgr, keep_none, NULL, &err));
    CHECK(count(mgr) == 0);
    say("what belongs to nobody is swept");

    for (int i = 0; i < 5; i++) {
        m = create(mgr, "cycle");
        MUST(machine_destroy(m, 0, &err));
        CHECK(!machine_alive(m) || await_death(5));
        machine_put(m);
    }
    CHECK(count(mgr) == 0);
    say("five cycles");
    xenmgr_close(mgr);
    paused(argv);
    half_attached(argv);
    many = true;
    block_device(argv);
    all_disks(argv);
    taken_away(argv);
    errors(argv);
    daemon_ends(argv, "crash", "life");
    say("a crash at each failpoint");
    daemon_ends(argv, "hang", "beside");
    say("a call that hangs at each failpoint, another machine beside it");
    return 0;
}
