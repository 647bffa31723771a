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
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "cpuacct", "cpuset",
                                                          "pids"};
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

int cgroup_stats(const char *cgroup, struct agent_stats *s, struct gi_error *err)
{
    if (!cg.version || !cgroup)
        return gi_fail(err, GI_UNIMPLEMENTED, "no cgroups in this zone");
    cleanup_free char *mem = read_cg(cg.mount[CGROUP_MEMORY], cgroup, "memory.stat");
    bool v1 = cg.version == 1;
    if (v1) {
        s->cpu_ns = read_number(cg.mount[CGROUP_CPUACCT], cgroup, "cpuacct.usage");
    } else {
        cleanup_free char *cpu = read_cg(cg.mount[CGROUP_CPUACCT], cgroup, "cpu.stat");
        s->cpu_ns = field(cpu, "usage_usec") * 1000;
    }
    s->memory_usage = read_number(cg.mount[CGROUP_MEMORY], cgroup,
                                  v1 ? "memory.usage_in_bytes" : "memory.current");
    uint64_t inactive = field(mem, v1 ? "total_inactive_file" : "inactive_file");
    s->memory_working_set = s->memory_usage > inactive ? s->memory_usage - inactive : 0;
    s->memory_rss = field(mem, v1 ? "total_rss" : "anon");
    s->memory_limit =
        read_number(cg.mount[CGROUP_MEMORY], cgroup, v1 ? "memory.limit_in_bytes" : "memory.max");
    if (s->memory_limit > V1_UNLIMITED)
        s->memory_limit = 0;
    s->page_faults = field(mem, v1 ? "total_pgfault" : "pgfault");
    s->major_page_faults = field(mem, v1 ? "total_pgmajfault" : "pgmajfault");
    s->pids = read_number(cg.mount[CGROUP_PIDS], cgroup, "pids.current");
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

static unsigned signal_folder(int dirfd, int sig, int level)
{
    unsigned n = 0;
    cleanup_close int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(dup(fd), "re") : NULL;
    long pid;
    while (f && fscanf(f, "%ld", &pid) == 1) {
        /* 0: a process outside our pid namespace; 1: ourselves. */
        if (pid > 1 && kill((pid_t)pid, sig) == 0)
            n++;
    }
    if (f)
        fclose(f);
    cleanup_closedir DIR *d = level < MAX_LEVELS ? fdopendir(dup(dirfd)) : NULL;
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        cleanup_close int sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sub >= 0)
            n += signal_folder(sub, sig, level + 1);
    }
    return n;
}

unsigned cgroup_signal(const char *cgroup, int sig)
{
    char path[PATH_MAX];
    if (!cg.version || !cgroup)
        return 0;
    static const enum cgroup_controller tried[] = {CGROUP_PIDS, CGROUP_MEMORY, CGROUP_CPUACCT};
    const char *mount = "";
    for (size_t i = 0; i < GI_ARRAY_SIZE(tried) && !mount[0]; i++)
        mount = cg.mount[tried[i]];
    if (snprintf(path, sizeof(path), "%s%s", mount, cgroup) >= PATH_MAX)
        return 0;
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? 0 : signal_folder(fd, sig, 0);
}
