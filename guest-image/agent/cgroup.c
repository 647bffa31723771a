/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define FILE_MAX_BYTES (1u << 20)
#define MAX_LEVELS     8
/* A v1 limit of "none" is the largest multiple of a page. */
#define V1_UNLIMITED ((uint64_t)1 << 62)

static struct {
    int version;
    char mount[CGROUP_CONTROLLERS][256]; /* "" where there is none */
} cg;

static bool has_option(const char *options, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = options; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == '\0' || p[n] == '\n'))
            return true;
    }
    return false;
}

static void take_mount(const char *point, const char *type, const char *options)
{
    bool v2 = strcmp(type, "cgroup2") == 0;
    bool v1 = strcmp(type, "cgroup") == 0;
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu",  "cpuacct",
                                                          "cpuset", "pids", "blkio"};
    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
        if ((cg.version == 2 && v2) || (cg.version == 1 && v1 && has_option(options, names[i])))
            snprintf(cg.mount[i], sizeof(cg.mount[i]), "%s", point);
    }
}

int cgroup_version(void)
{
    return cg.version;
}

int cgroup_init(int version, struct gi_error *err)
{
    cg.version = version;
    if (!version)
        return 0;
    cleanup_fclose FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024];
    while (f && fgets(line, sizeof(line), f)) {
        char point[256];
        char type[32];
        char options[512];
        if (sscanf(line, "%*s %255s %31s %511s", point, type, options) == 3)
            take_mount(point, type, options);
    }
    if (!cg.mount[CGROUP_MEMORY][0] && !cg.mount[CGROUP_CPUACCT][0] && !cg.mount[CGROUP_PIDS][0])
        return gi_fail(err, GI_FAILED_PRECONDITION, "no cgroup v%d hierarchy is mounted", version);
    return 0;
}

static char *read_cg(const char *mount, const char *cgroup, const char *file)
{
    char path[PATH_MAX];
    char *text = NULL;
    if (!mount[0] || snprintf(path, sizeof(path), "%s%s/%s", mount, cgroup, file) >= PATH_MAX)
        return NULL;
    return gi_read_file(path, FILE_MAX_BYTES, &text, NULL, NULL) < 0 ? NULL : text;
}

static uint64_t read_number(const char *mount, const char *cgroup, const char *file)
{
    cleanup_free char *text = read_cg(mount, cgroup, file);
    return text && strncmp(text, "max", 3) != 0 ? strtoull(text, NULL, 10) : 0;
}

/* The number after "KEY " at the start of a line. */
static uint64_t field(const char *text, const char *key)
{
    size_t n = strlen(key);
    while (text && *text) {
        if (strncmp(text, key, n) == 0 && text[n] == ' ')
            return strtoull(text + n, NULL, 10);
        text = strchr(text, '\n');
        text += text != NULL;
    }
    return 0;
}

int cgroup_set(const char *cgroup, enum cgroup_controller which, const char *file, const char *text,
               struct gi_error *err)
{
    char path[PATH_MAX];
    if (!cg.mount[which][0])
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s: the zone has no such controller", file);
    if (snprintf(path, sizeof(path), "%s%s/%s", cg.mount[which], cgroup, file) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "cgroup path too long");
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s: the zone has no such limit", file);
    int rc = fd < 0 ? -errno : gi_write_full(fd, text, strlen(text));
    return rc < 0 ? gi_fail_errno(err, -rc, "%s = %s", file, text) : 0;
}

int cgroup_get(const char *cgroup, enum cgroup_controller which, const char *file, char *out,
               size_t size)
{
    cleanup_free char *text = read_cg(cg.mount[which], cgroup, file);
    if (!text)
        return -GI_NOT_FOUND;
    snprintf(out, size, "%s", text);
    return 0;
}

static void cpu_v1(const char *cgroup, struct agent_stats *s)
{
    const char *mount = cg.mount[CGROUP_CPUACCT];
    cleanup_free char *cpu = read_cg(cg.mount[CGROUP_CPU], cgroup, "cpu.stat");
    s->cpu_ns = read_number(mount, cgroup, "cpuacct.usage");
    s->cpu_user_ns = read_number(mount, cgroup, "cpuacct.usage_user");
    s->cpu_system_ns = read_number(mount, cgroup, "cpuacct.usage_sys");
    s->cpu_periods = field(cpu, "nr_periods");
    s->cpu_throttled_periods = field(cpu, "nr_throttled");
    s->cpu_throttled_ns = field(cpu, "throttled_time");
}

static void cpu_v2(const char *cgroup, struct agent_stats *s)
{
    cleanup_free char *cpu = read_cg(cg.mount[CGROUP_CPUACCT], cgroup, "cpu.stat");
    s->cpu_ns = field(cpu, "usage_usec") * 1000;
    s->cpu_user_ns = field(cpu, "user_usec") * 1000;
    s->cpu_system_ns = field(cpu, "system_usec") * 1000;
    s->cpu_periods = field(cpu, "nr_periods");
    s->cpu_throttled_periods = field(cpu, "nr_throttled");
    s->cpu_throttled_ns = field(cpu, "throttled_usec") * 1000;
}

static void memory_stats(const char *cgroup, bool v1, struct agent_stats *s)
{
    const char *mount = cg.mount[CGROUP_MEMORY];
    cleanup_free char *mem = read_cg(mount, cgroup, "memory.stat");
    cleanup_free char *events = v1 ? NULL : read_cg(mount, cgroup, "memory.events");
    s->memory_usage = read_number(mount, cgroup, v1 ? "memory.usage_in_bytes" : "memory.current");
    uint64_t inactive = field(mem, v1 ? "total_inactive_file" : "inactive_file");
    s->memory_working_set = s->memory_usage > inactive ? s->memory_usage - inactive : 0;
    s->memory_rss = field(mem, v1 ? "total_rss" : "anon");
    s->memory_cache = field(mem, v1 ? "total_cache" : "file");
    s->memory_mapped = field(mem, v1 ? "total_mapped_file" : "file_mapped");
    s->memory_kernel =
        v1 ? read_number(mount, cgroup, "memory.kmem.usage_in_bytes") : field(mem, "kernel");
    s->memory_swap =
        v1 ? field(mem, "total_swap") : read_number(mount, cgroup, "memory.swap.current");
    s->memory_peak = read_number(mount, cgroup, v1 ? "memory.max_usage_in_bytes" : "memory.peak");
    s->memory_limit = read_number(mount, cgroup, v1 ? "memory.limit_in_bytes" : "memory.max");
    if (s->memory_limit > V1_UNLIMITED)
        s->memory_limit = 0;
    s->memory_limit_hits = v1 ? read_number(mount, cgroup, "memory.failcnt") : field(events, "max");
    s->oom_kills = cgroup_oom_kills(cgroup);
    s->page_faults = field(mem, v1 ? "total_pgfault" : "pgfault");
    s->major_page_faults = field(mem, v1 ? "total_pgmajfault" : "pgmajfault");
}

/* The sum of the numbers behind every KEY, as in "8:0 Read 5" or "8:0 rbytes=5". */
static uint64_t sum(const char *text, const char *key)
{
    uint64_t total = 0;
    size_t n = strlen(key);
    for (const char *at = text ? strstr(text, key) : NULL; at; at = strstr(at + n, key))
        total += strtoull(at + n, NULL, 10);
    return total;
}

static void io_stats(const char *cgroup, bool v1, struct agent_stats *s)
{
    const char *mount = cg.mount[CGROUP_IO];
    cleanup_free char *bytes =
        read_cg(mount, cgroup, v1 ? "blkio.throttle.io_service_bytes_recursive" : "io.stat");
    cleanup_free char *times =
        v1 ? read_cg(mount, cgroup, "blkio.throttle.io_serviced_recursive") : NULL;
    s->read_bytes = sum(bytes, v1 ? " Read " : " rbytes=");
    s->written_bytes = sum(bytes, v1 ? " Write " : " wbytes=");
    s->reads = v1 ? sum(times, " Read ") : sum(bytes, " rios=");
    s->writes = v1 ? sum(times, " Write ") : sum(bytes, " wios=");
}

int cgroup_stats(const char *cgroup, struct agent_stats *s, struct gi_error *err)
{
    if (!cg.version || !cgroup)
        return gi_fail(err, GI_UNIMPLEMENTED, "no cgroups in this zone");
    bool v1 = cg.version == 1;
    if (v1)
        cpu_v1(cgroup, s);
    else
        cpu_v2(cgroup, s);
    memory_stats(cgroup, v1, s);
    io_stats(cgroup, v1, s);
    s->pids = read_number(cg.mount[CGROUP_PIDS], cgroup, "pids.current");
    s->pids_limit = read_number(cg.mount[CGROUP_PIDS], cgroup, "pids.max");
    return 0;
}

uint64_t cgroup_oom_kills(const char *cgroup)
{
    if (!cg.version || !cgroup)
        return 0;
    cleanup_free char *text = read_cg(cg.mount[CGROUP_MEMORY], cgroup,
                                      cg.version == 1 ? "memory.oom_control" : "memory.events");
    return field(text, "oom_kill");
}

struct visitor {
    bool (*visit)(pid_t pid, void *data);
    void *data;
};

/* False when the visitor has had enough. */
static bool visit_folder(int dirfd, const struct visitor *v, int level)
{
    bool more = true;
    cleanup_close int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(dup(fd), "re") : NULL;
    long pid;
    while (more && f && fscanf(f, "%ld", &pid) == 1) {
        /* 0: a process outside our pid namespace; 1: ourselves. */
        if (pid > 1)
            more = v->visit((pid_t)pid, v->data);
    }
    if (f)
        fclose(f);
    cleanup_closedir DIR *d = level < MAX_LEVELS ? fdopendir(dup(dirfd)) : NULL;
    struct dirent *e;
    while (more && d && (e = readdir(d))) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        cleanup_close int sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sub >= 0)
            more = visit_folder(sub, v, level + 1);
    }
    return more;
}

void cgroup_each_process(const char *cgroup, bool (*visit)(pid_t pid, void *data), void *data)
{
    char path[PATH_MAX];
    if (!cg.version || !cgroup)
        return;
    static const enum cgroup_controller tried[] = {CGROUP_PIDS, CGROUP_MEMORY, CGROUP_CPUACCT};
    const char *mount = "";
    for (size_t i = 0; i < GI_ARRAY_SIZE(tried) && !mount[0]; i++)
        mount = cg.mount[tried[i]];
    if (snprintf(path, sizeof(path), "%s%s", mount, cgroup) >= PATH_MAX)
        return;
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        visit_folder(fd, &(struct visitor){visit, data}, 0);
}

struct signalling {
    int sig;
    unsigned n;
};

static bool signal_one(pid_t pid, void *data)
{
    struct signalling *s = data;
    s->n += kill(pid, s->sig) == 0;
    return true;
}

unsigned cgroup_signal(const char *cgroup, int sig)
{
    struct signalling s = {sig, 0};
    cgroup_each_process(cgroup, signal_one, &s);
    return s.n;
}
