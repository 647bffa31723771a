/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of a container: its cgroup's at once; what has to be counted (its
 * processes' descriptors, its writable layer) in a child.
 */
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "bundle.h"
#include "cgroup.h"
#include "container.h"
#include "proc.h"

/* A container with more is told to have so many. */
#define PROCESSES_MAX   4096u
#define DESCRIPTORS_MAX 262144u

void stats_reply(const struct agent_stats *from, Gi__Agent__StatsReply *to)
{
    to->time_ns = from->time_ns;
#define COPY(name) to->name = from->name;
    AGENT_STATS_FIGURES(COPY)
#undef COPY
}

/* ---- in a child ---- */

static void count_descriptors(pid_t pid, struct agent_stats *s)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    cleanup_closedir DIR *d = opendir(path);
    struct dirent *e;
    while (d && s->descriptors < DESCRIPTORS_MAX && (e = readdir(d))) {
        char target[16];
        if (e->d_name[0] == '.')
            continue;
        s->descriptors++;
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target));
        s->sockets += n >= 7 && memcmp(target, "socket:", 7) == 0;
    }
}

static bool count_process(pid_t pid, void *data)
{
    struct agent_stats *s = data;
    s->processes++;
    count_descriptors(pid, s);
    return s->processes < PROCESSES_MAX && s->descriptors < DESCRIPTORS_MAX;
}

static int count(void *arg, void *result)
{
    const struct container *c = arg;
    struct agent_stats s;
    struct statvfs disk;
    memset(&s, 0, sizeof(s));
    cgroup_each_process(c->cgroup, count_process, &s);
    bundle_usage(c->dir, &s.writable_bytes, &s.writable_inodes);
    if (statvfs(c->dir, &disk) == 0) {
        s.disk_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
        s.disk_inodes = disk.f_files;
        s.disk_inodes_free = disk.f_ffree;
    }
    memcpy(result, &s, sizeof(s));
    return 0;
}

/* ---- in the agent ---- */

struct stats_op {
    struct agent *a;
    struct request req;
    struct agent_stats stats;
};

static void on_counted(void *data, int rc, const void *result)
{
    struct stats_op *op = data;
    struct agent_stats *s = &op->stats;
    struct agent_stats counted;
    memcpy(&counted, result, sizeof(counted));
    /* The child counted what the cgroup's files don't tell; the rest it left at 0. */
#define ADD(name) s->name += rc == 0 ? counted.name : 0;
    AGENT_STATS_FIGURES(ADD)
#undef ADD
    Gi__Agent__StatsReply stats = GI__AGENT__STATS_REPLY__INIT;
    stats_reply(s, &stats);
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_STATS;
    reply.stats = &stats;
    conn_reply(op->a, op->req, &reply, NULL);
    free(op);
}

void container_stats(struct agent *a, struct request req, const char *id)
{
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find_made(a, req, id);
    if (!c)
        return;
    struct stats_op *op = calloc(1, sizeof(*op));
    if (!op) {
        gi_fail(&err, GI_RESOURCE_EXHAUSTED, "no memory for statistics");
        conn_done(a, req, &err);
        return;
    }
    op->a = a;
    op->req = req;
    /* Without cgroups the writable layer is all there is to tell. */
    cgroup_stats(c->cgroup, &op->stats, NULL);
    op->stats.time_ns = gi_now_ns();
    if (proc_work(count, c, sizeof(struct agent_stats), on_counted, op, &err) < 0) {
        conn_done(a, req, &err);
        free(op);
    }
}
