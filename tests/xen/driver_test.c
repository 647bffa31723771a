/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xen driver on a real hypervisor: runs inside dom0 (driver-inside.sh).
 *   xen-driver-test KERNEL ROOT-IMAGE CMDLINE BLOCK-SCRIPT
 * Prints "ok ..." lines; the first failure ends it with 1.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_client.h"
#include "base/io.h"
#include "base/log.h"
#include "xenmgr.h"

static struct gi_error err;

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
    printf("ok %s\n", what);
    fflush(stdout);
}

static struct xenmgr *open_manager(char **argv)
{
    const struct xenmgr_config config = {
        .driver = "xen",
        .run_dir = "/run/gpu-isolated",
        .state_dir = "/tmp/state",
        .xen_kernel = argv[1],
        .xen_root = argv[2],
        .xen_cmdline = argv[3],
        .xen_block_script = argv[4],
        .xen_vif_script = argv[4], /* no pod of this test has a network */
    };
    struct xenmgr *mgr = NULL;
    MUST(xenmgr_open(&config, &mgr, &err));
    return mgr;
}

static struct machine *create(struct xenmgr *mgr, const char *id)
{
    struct machine_config mc = {.id = id, .memory_bytes = 128 << 20, .vcpus = 1};
    struct machine *m = NULL;
    MUST(xenmgr_draw_zone(mgr, &mc.zone_id, &err));
    MUST(machine_create(mgr, &mc, 60000, &m, &err));
    CHECK(machine_zone_id(m) == mc.zone_id);
    return m;
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

int main(int argc, char **argv)
{
    char command[64];
    struct machine *m = NULL, *again = NULL;
    CHECK(argc == 5);
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
    return 0;
}
