/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's limits, changed while it runs: written to its cgroup straight
 * away, as the OCI runtimes' own `update` has its gaps (crun 1.8 can't lift a
 * v1 quota) and forks. Memory first: it is what the kernel may refuse.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "container.h"

#define DEFAULT_PERIOD 100000

/* -1 is "max" in v2. */
static int set_number(const char *cgroup, enum cgroup_controller which, const char *file,
                      long long value, struct gi_error *err)
{
    char text[32];
    if (value < 0 && cgroup_version() == 2)
        snprintf(text, sizeof(text), "max");
    else
        snprintf(text, sizeof(text), "%lld", value);
    return cgroup_set(cgroup, which, file, text, err);
}

static int set_list(const char *cgroup, const char *file, const char *list, struct gi_error *err)
{
    return *list ? cgroup_set(cgroup, CGROUP_CPUSET, file, list, err) : 0;
}

/* ---- v1 ---- */

/* Memory's limit is never above that of memory and swap together, in between neither. */
static int memory_v1(const char *cgroup, const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    static const char limit_file[] = "memory.limit_in_bytes";
    static const char swap_file[] = "memory.memsw.limit_in_bytes";
    long long swap = m->memory_swap;
    int rc = 0;
    if (m->memory_limit) {
        rc = set_number(cgroup, CGROUP_MEMORY, limit_file, m->memory_limit, err);
        if (rc < 0) {
            long long both = swap ? swap : m->memory_limit;
            if (set_number(cgroup, CGROUP_MEMORY, swap_file, both, NULL) == 0)
                rc = set_number(cgroup, CGROUP_MEMORY, limit_file, m->memory_limit, err);
        }
    }
    if (rc == 0 && swap)
        rc = set_number(cgroup, CGROUP_MEMORY, swap_file, swap, err);
    return rc;
}

/* The share of the parent's must be right after each of the two writes. */
static int cpu_v1(const char *cgroup, const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    int rc = 0;
    bool again = false;
    if (m->cpu_shares)
        rc = set_number(cgroup, CGROUP_CPU, "cpu.shares", (long long)m->cpu_shares, err);
    if (rc == 0 && m->cpu_period) {
        rc = set_number(cgroup, CGROUP_CPU, "cpu.cfs_period_us", (long long)m->cpu_period, err);
        again = rc < 0 && m->cpu_quota;
    }
    if ((rc == 0 || again) && m->cpu_quota)
        rc = set_number(cgroup, CGROUP_CPU, "cpu.cfs_quota_us", m->cpu_quota, err);
    if (rc == 0 && again)
        rc = set_number(cgroup, CGROUP_CPU, "cpu.cfs_period_us", (long long)m->cpu_period, err);
    return rc;
}

/* ---- v2 ---- */

static int memory_v2(const char *cgroup, const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    int rc = 0;
    if (m->memory_limit)
        rc = set_number(cgroup, CGROUP_MEMORY, "memory.max", m->memory_limit, err);
    if (rc < 0 || !m->memory_swap)
        return rc;
    /* Here swap counts by itself. */
    char now[32] = "";
    long long limit = m->memory_limit;
    if (!limit && cgroup_get(cgroup, CGROUP_MEMORY, "memory.max", now, sizeof(now)) == 0)
        limit = strtoll(now, NULL, 10); /* "max": 0 */
    if (m->memory_swap > 0 && (limit <= 0 || m->memory_swap < limit))
        return gi_fail(err, GI_INVALID_ARGUMENT, "memory and swap together are less than memory");
    long long swap = m->memory_swap < 0 ? -1 : m->memory_swap - limit;
    return set_number(cgroup, CGROUP_MEMORY, "memory.swap.max", swap, err);
}

static int cpu_v2(const char *cgroup, const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    int rc = 0;
    if (m->cpu_shares) {
        /* 2..262144 → 1..10000, as the OCI runtimes do. */
        long long shares = m->cpu_shares < 2 ? 2 : (long long)m->cpu_shares;
        rc = set_number(cgroup, CGROUP_CPU, "cpu.weight", 1 + (shares - 2) * 9999 / 262142, err);
    }
    if (rc < 0 || (!m->cpu_quota && !m->cpu_period))
        return rc;
    char quota[24] = "max";
    unsigned long long period = DEFAULT_PERIOD;
    char now[64];
    char text[64];
    if (cgroup_get(cgroup, CGROUP_CPU, "cpu.max", now, sizeof(now)) == 0)
        sscanf(now, "%23s %llu", quota, &period);
    if (m->cpu_quota)
        snprintf(quota, sizeof(quota), m->cpu_quota < 0 ? "max" : "%lld", (long long)m->cpu_quota);
    if (m->cpu_period)
        period = m->cpu_period;
    snprintf(text, sizeof(text), "%s %llu", quota, period);
    return cgroup_set(cgroup, CGROUP_CPU, "cpu.max", text, err);
}

static int update(const char *cgroup, const Gi__Agent__UpdateResources *m, struct gi_error *err)
{
    bool v2 = cgroup_version() == 2;
    int rc = v2 ? memory_v2(cgroup, m, err) : memory_v1(cgroup, m, err);
    if (rc == 0)
        rc = v2 ? cpu_v2(cgroup, m, err) : cpu_v1(cgroup, m, err);
    if (rc == 0)
        rc = set_list(cgroup, "cpuset.cpus", m->cpuset_cpus, err);
    if (rc == 0)
        rc = set_list(cgroup, "cpuset.mems", m->cpuset_mems, err);
    return rc;
}

void container_update(struct agent *a, struct request req, const Gi__Agent__UpdateResources *m)
{
    struct gi_error err = GI_ERROR_INIT;
    const struct container *c = container_find(a, m->container_id);
    if (!c || c->phase == PHASE_CREATING)
        gi_fail(&err, GI_NOT_FOUND, "no container %s", m->container_id);
    else if (c->phase != PHASE_CREATED && c->phase != PHASE_RUNNING)
        gi_fail(&err, GI_FAILED_PRECONDITION, "container %s has ended", c->id);
    else if (!c->cgroup)
        gi_fail(&err, GI_FAILED_PRECONDITION,
                "this zone has no cgroups: limits can't be set or changed");
    else
        update(c->cgroup, m, &err);
    conn_done(a, req, &err);
}
