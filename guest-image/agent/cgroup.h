/* SPDX-License-Identifier: Apache-2.0 */
/* Reading containers' cgroups, v1 and v2. The OCI runtime makes and removes them. */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/agent_client.h"
#include "base/error.h"

/* Finds the mount points. VERSION: 0 (none), 1 or 2. */
int cgroup_init(int version, struct gi_error *err);

int cgroup_version(void);

enum cgroup_controller {
    CGROUP_MEMORY,
    CGROUP_CPU,
    CGROUP_CPUACCT,
    CGROUP_CPUSET,
    CGROUP_PIDS,
    CGROUP_IO
};
#define CGROUP_CONTROLLERS 6
/* Writes TEXT to FILE of a cgroup. FAILED_PRECONDITION without that controller. */
int cgroup_set(const char *cgroup, enum cgroup_controller which, const char *file, const char *text,
               struct gi_error *err);
/* FILE's beginning, NUL-terminated; negative when it can't be read. */
int cgroup_get(const char *cgroup, enum cgroup_controller which, const char *file, char *out,
               size_t size);

/* CGROUP: the path below a hierarchy. Fills cpu_*, memory_*, oom_kills, *page_faults, pids*,
 * and what block devices did. */
int cgroup_stats(const char *cgroup, struct agent_stats *ret_stats, struct gi_error *err);

/* Kills by the kernel's out-of-memory killer in CGROUP so far. */
uint64_t cgroup_oom_kills(const char *cgroup);

/* Every process in CGROUP and below, but ourselves, until VISIT says no. */
void cgroup_each_process(const char *cgroup, bool (*visit)(pid_t pid, void *data), void *data);
/* Sends SIG to every process in CGROUP and below. Number signalled. */
unsigned cgroup_signal(const char *cgroup, int sig);

#endif
