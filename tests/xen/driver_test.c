/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xen driver on a real hypervisor: runs inside dom0 (driver-inside.sh).
 *   xen-driver-test KERNEL ROOT-IMAGE CMDLINE
 * Prints "ok ..." lines; the first failure ends it with 1.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    CHECK(argc == 4);
    gi_log_init("xen-driver-test", GI_LOG_WARNING);
    struct xenmgr *mgr = open_manager(argv);
    printf("ok %s\n", xenmgr_describe(mgr));

    m = create(mgr, "one");
    CHECK(machine_alive(m) && count(mgr) == 1);
    struct machine_config same = {.id = "one", .zone_id = 4000};
    CHECK(machine_create(mgr, &same, 1000, &again, &err) == -GI_ALREADY_EXISTS);
    say("a domain is made, its id is taken");

    machine_put(m);
    xenmgr_close(mgr);
    mgr = open_manager(argv);
    CHECK(count(mgr) == 1);
    MUST(machine_adopt(mgr, "one", &m, &err));
    CHECK(machine_alive(m));
    CHECK(machine_adopt(mgr, "two", &again, &err) == -GI_NOT_FOUND);
    say("after a restart it is found again");

    MUST(machine_watch(m, on_death, NULL, &err));
    snprintf(command, sizeof(command), "xl destroy %u", machine_zone_id(m));
    CHECK(system(command) == 0);
    CHECK(await_death(20));
    MUST(machine_destroy(m, 0, &err));
    machine_put(m);
    CHECK(count(mgr) == 0);
    say("a domain's death is told");

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
