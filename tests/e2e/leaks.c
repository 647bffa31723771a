/* SPDX-License-Identifier: Apache-2.0 */
#include "leaks.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "control/control.h"

#define LEAK_MS 10000

struct leaks {
    const char *node;  /* $LEAKS_NODE: the folder whose things are counted */
    const char *proxy; /* $LEAKS_PROXY: gpu-proxy's control socket */
    char text[256];    /* the first thing that is left over */
};

static void leak(struct leaks *l, const char *what, const char *name)
{
    if (!*l->text)
        snprintf(l->text, sizeof(l->text), "%s %s", what, name);
}

/* Everything in $LEAKS_NODE/SUB whose name begins with PREFIX. */
static void look_into(struct leaks *l, const char *sub, const char *prefix)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", l->node, sub);
    cleanup_closedir DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0)
            leak(l, sub, e->d_name);
    }
}

/* The node's processes but its daemons: those that name its folder. */
static void look_at_processes(struct leaks *l)
{
    static const char *const daemons[] = {"docker-registry", "gpu-proxy", "gpu-isolated-r"};
    cleanup_closedir DIR *d = opendir("/proc");
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[300], line[4096], comm[32] = "";
        long pid = strtol(e->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid() || pid == getppid())
            continue;
        snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
        cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line));
        if (n <= 0 || !memmem(line, (size_t)n, l->node, strlen(l->node)))
            continue;
        snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
        cleanup_close int cfd = open(path, O_RDONLY | O_CLOEXEC);
        if (cfd < 0 || read(cfd, comm, sizeof(comm) - 1) <= 0)
            continue;
        bool ours = false;
        for (size_t i = 0; i < GI_ARRAY_SIZE(daemons); i++)
            ours |= strncmp(comm, daemons[i], strlen(daemons[i])) == 0;
        comm[strcspn(comm, "\n")] = '\0';
        if (!ours)
            leak(l, "process", comm);
    }
}

static void look_at_mounts(struct leaks *l)
{
    char line[8192];
    cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strstr(line, l->node) && !strstr(line, "/images/"))
            leak(l, "mount", line);
    }
}

static void look_at_interfaces(struct leaks *l)
{
    struct if_nameindex *all = if_nameindex();
    for (size_t i = 0; all && all[i].if_index; i++) {
        if (strncmp(all[i].if_name, "veth", 4) == 0)
            leak(l, "interface", all[i].if_name);
    }
    if_freenameindex(all);
}

static struct leaks *cgroup_leaks; /* nftw has no argument */

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const char *parent = getenv("TEST_CGROUP_PARENT");
    const char *in = type == FTW_D && parent ? strstr(path, parent) : NULL;
    if (in && in[strlen(parent)] == '/')
        leak(cgroup_leaks, "cgroup", path);
    return 0;
}

static void look_at_zones(struct leaks *l)
{
    struct gi_error err = GI_ERROR_INIT;
    struct control_client *c = NULL;
    uint32_t *zones = NULL;
    uint32_t n = 0;
    int rc = control_client_new(l->proxy, &c, &err);
    if (rc == 0)
        rc = control_list_zones(c, &zones, &n, &err);
    if (rc < 0)
        leak(l, "gpu-proxy does not tell its zones:", err.message);
    else if (n)
        leak(l, "zone", "at gpu-proxy");
    free(zones);
    control_client_free(c);
}

/* Waits: gpu-proxy may be told late, and a dying process takes its time. */
int leaks_check(void)
{
    const char *node = getenv("LEAKS_NODE"), *proxy = getenv("LEAKS_PROXY");
    if (!node || !proxy)
        return fprintf(stderr, "needs LEAKS_NODE and LEAKS_PROXY\n"), -1;
    int64_t until = gi_monotonic_ns() + LEAK_MS * 1000000LL;
    for (;;) {
        struct leaks l = {.node = node, .proxy = proxy};
        look_at_processes(&l);
        look_at_mounts(&l);
        look_at_interfaces(&l);
        look_at_zones(&l);
        look_into(&l, "run/netns", "");
        look_into(&l, "run/zones", "");
        look_into(&l, "state/zones", "");
        look_into(&l, "state/pods", "");
        look_into(&l, "state/cni", "");
        look_into(&l, "ipam/testnet", "10.");
        cgroup_leaks = &l;
        nftw("/sys/fs/cgroup", visit, 16, FTW_PHYS);
        cgroup_leaks = NULL;
        if (!*l.text)
            return 0;
        if (gi_monotonic_ns() >= until)
            return fprintf(stderr, "left over: %s\n", l.text), -1;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}
