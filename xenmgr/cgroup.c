/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines' cgroups on the host. v1: one folder in each hierarchy that we join;
 * the OCI runtime makes containers' folders below, in all hierarchies, and all
 * are cleaned. v2: the machine's folder holds no process (a v2 rule), the
 * agent sits in its leaf "agent".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "local.h"

#define DEFAULT_PARENT "/gpu-isolated"
#define REMOVE_MS      3000
#define MAX_LEVELS     16
#define AGENT_LEAF     "agent"

static bool has_word(const char *options, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = options; (p = strstr(p, name)); p += n) {
        bool start = p == options || p[-1] == ',';
        if (start && (p[n] == ',' || p[n] == '\0'))
            return true;
    }
    return false;
}

static void take_mount(struct cgroup_host *h, const char *point, const char *type,
                       const char *options)
{
    bool v2 = strcmp(type, "cgroup2") == 0;
    if ((!v2 && strcmp(type, "cgroup") != 0) || h->n >= LOCAL_MAX_HIERARCHIES ||
        strlen(point) >= sizeof(h->h[0].point))
        return;
    snprintf(h->h[h->n].point, sizeof(h->h[0].point), "%s", point);
    h->h[h->n].memory = v2 || has_word(options, "memory");
    h->h[h->n].cpu = v2 || has_word(options, "cpu");
    /* A new v1 cpuset has no cpus and takes no process before it is given some. */
    h->h[h->n].join = v2 || h->h[h->n].memory || h->h[h->n].cpu || has_word(options, "cpuacct") ||
                      has_word(options, "pids") || has_word(options, "name=systemd");
    h->n++;
    if (v2)
        h->hybrid = h->h[h->n - 1].point; /* settled below */
    else
        h->version = 1;
}

static bool writable(const char *point)
{
    char path[256];
    snprintf(path, sizeof(path), "%s" DEFAULT_PARENT, point);
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

void cgroup_probe(struct cgroup_host *h)
{
    memset(h, 0, sizeof(*h));
    cleanup_fclose FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024];
    while (f && fgets(line, sizeof(line), f)) {
        char point[256];
        char type[32];
        char options[512];
        if (sscanf(line, "%*s %255s %31s %511s", point, type, options) == 3)
            take_mount(h, point, type, options);
    }
    if (!h->version && h->hybrid) {
        h->version = 2;
        h->hybrid = NULL;
    }
    for (unsigned i = 0; i < h->n; i++) {
        /* In a hybrid the v2 tree carries no limits, but systemd tells by it
         * what belongs to our service: machines leave it there, too. */
        if (h->hybrid == h->h[i].point)
            h->h[i].memory = h->h[i].cpu = false;
        if (h->h[i].join && h->h[i].memory && !writable(h->h[i].point))
            h->version = 0;
    }
}

/* "a-b.slice" → "/a.slice/a-b.slice", as systemd nests them. */
static int slice_path(const char *slice, char *out, size_t size)
{
    size_t at = 0;
    size_t stem = strlen(slice) - strlen(".slice");
    for (size_t i = 1; i <= stem; i++) {
        if (i < stem && slice[i] != '-')
            continue;
        int n = snprintf(out + at, size - at, "/%.*s.slice", (int)i, slice);
        if (n < 0 || (size_t)n >= size - at)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

int cgroup_machine_path(const char *parent, const char *id, char *out, size_t size,
                        struct gi_error *err)
{
    char base[PATH_MAX / 2] = DEFAULT_PARENT;
    if (!parent || !*parent)
        parent = DEFAULT_PARENT;
    size_t len = strlen(parent);
    bool slice = !strchr(parent, '/') && len > 6 && strcmp(parent + len - 6, ".slice") == 0;
    int rc = slice                 ? slice_path(parent, base, sizeof(base))
             : len >= sizeof(base) ? -1
                                   : snprintf(base, sizeof(base), "%s", parent);
    if (rc < 0 || base[0] != '/' || strstr(base, "..") || strchr(base, '\n'))
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad cgroup parent \"%.100s\"", parent);
    int n = snprintf(out, size, "%s/%s", base, id);
    return n < 0 || (size_t)n >= size ? gi_fail(err, GI_INVALID_ARGUMENT, "cgroup path too long")
                                      : 0;
}

/* False when there is no such file or the kernel refuses. */
static bool set(const char *point, const char *path, const char *file, const char *value)
{
    char full[PATH_MAX + 256];
    snprintf(full, sizeof(full), "%s%s/%s", point, path, file);
    cleanup_close int fd = open(full, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, value, strlen(value)) >= 0;
}

/* Every folder of PATH; on v2 each gives its controllers to the next. */
static int make_path(const char *point, const char *path, bool v2)
{
    char part[PATH_MAX];
    char full[PATH_MAX + 256];
    snprintf(part, sizeof(part), "%s", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char saved = *p;
        *p = '\0';
        if (v2) {
            char *slash = strrchr(part, '/');
            *slash = '\0';
            set(point, part, "cgroup.subtree_control", "+cpu");
            set(point, part, "cgroup.subtree_control", "+memory");
            set(point, part, "cgroup.subtree_control", "+pids");
            *slash = '/';
        }
        snprintf(full, sizeof(full), "%s%s", point, part);
        if (mkdir(full, 0755) < 0 && errno != EEXIST)
            return -errno;
        *p = saved;
        if (!saved)
            return 0;
    }
}

/* 0 or -errno: EBUSY when the machine uses more. v1's limit reclaims and then refuses;
 * v2's would kill, so memory.high does the reclaiming there. */
static int set_memory(const struct cgroup_host *h, unsigned i, const char *path, uint64_t memory)
{
    char value[32];
    const char *point = h->h[i].point;
    snprintf(value, sizeof(value), "%llu", (unsigned long long)memory);
    if (h->version != 2)
        return set(point, path, "memory.limit_in_bytes", value) ? 0 : -errno;
    char current[PATH_MAX + 256];
    cleanup_free char *text = NULL;
    snprintf(current, sizeof(current), "%s%s/memory.current", point, path);
    int rc = set(point, path, "memory.high", value) ? 0 : -errno;
    if (rc == 0 && gi_read_file(current, 64, &text, NULL, NULL) == 0 &&
        strtoull(text, NULL, 10) > memory)
        rc = -EBUSY;
    if (rc == 0 && !set(point, path, "memory.max", value))
        rc = -errno;
    set(point, path, "memory.high", "max");
    return rc;
}

/* 0 or -errno; v1: EINVAL when a container of it may use more. */
static int set_cpus(const struct cgroup_host *h, unsigned i, const char *path, unsigned vcpus)
{
    char value[64];
    snprintf(value, sizeof(value), h->version == 2 ? "%u 100000" : "%u", vcpus * 100000u);
    return set(h->h[i].point, path, h->version == 2 ? "cpu.max" : "cpu.cfs_quota_us", value)
               ? 0
               : -errno;
}

/* What the kernel does not offer, a machine does without. */
static void set_limits(const struct cgroup_host *h, unsigned i, const char *path, uint64_t memory,
                       unsigned vcpus)
{
    if (memory && h->h[i].memory)
        (void)set_memory(h, i, path, memory);
    if (vcpus && h->h[i].cpu)
        (void)set_cpus(h, i, path, vcpus);
}

int cgroup_resize(const struct cgroup_host *h, const char *path, uint64_t memory_bytes,
                  unsigned vcpus, struct gi_error *err)
{
    if (!h->version)
        return gi_fail(err, GI_FAILED_PRECONDITION, "machines have no cgroups on this host");
    for (unsigned i = 0; i < h->n; i++) {
        int rc = memory_bytes && h->h[i].memory ? set_memory(h, i, path, memory_bytes) : 0;
        if (rc == -EBUSY)
            return gi_fail(err, GI_FAILED_PRECONDITION, "it uses more than %llu bytes of memory",
                           (unsigned long long)memory_bytes);
        if (rc < 0)
            return gi_fail_errno(err, -rc, "memory limit of %s%s", h->h[i].point, path);
        rc = vcpus && h->h[i].cpu ? set_cpus(h, i, path, vcpus) : 0;
        if (rc == -EINVAL)
            return gi_fail(err, GI_FAILED_PRECONDITION,
                           "one of its containers may use more than %u cpus", vcpus);
        if (rc < 0)
            return gi_fail_errno(err, -rc, "cpu limit of %s%s", h->h[i].point, path);
    }
    return 0;
}

int cgroup_make(const struct cgroup_host *h, const char *path, uint64_t memory_bytes,
                unsigned vcpus, int *ret_fds, unsigned *ret_n, struct gi_error *err)
{
    unsigned n = 0;
    for (unsigned i = 0; h->version && i < h->n; i++) {
        char leaf[PATH_MAX];
        char procs[PATH_MAX + 256];
        if (!h->h[i].join)
            continue;
        snprintf(leaf, sizeof(leaf), "%s%s", path, h->version == 2 ? "/" AGENT_LEAF : "");
        int rc = make_path(h->h[i].point, leaf, h->version == 2);
        if (rc == -ENOENT) /* a last sibling took the parent with it */
            rc = make_path(h->h[i].point, leaf, h->version == 2);
        set_limits(h, i, path, memory_bytes, vcpus);
        snprintf(procs, sizeof(procs), "%s%s/cgroup.procs", h->h[i].point, leaf);
        int fd = rc < 0 ? -1 : open(procs, O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
            int saved = rc < 0 ? -rc : errno;
            while (n)
                close(ret_fds[--n]);
            return gi_fail_errno(err, saved, "cgroup %s%s", h->h[i].point, leaf);
        }
        ret_fds[n++] = fd;
    }
    *ret_n = n;
    return 0;
}

/* Deepest first. -errno of the folder itself. */
static int remove_below(int parent, const char *name, int level)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    int fd = level < MAX_LEVELS
                 ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                 : -1;
    if (fd < 0)
        return -errno;
    cleanup_closedir DIR *d = fdopendir(fd);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            remove_below(fd, e->d_name, level + 1);
    }
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

static int remove_waiting(const char *folder)
{
    int64_t deadline = gi_monotonic_ns() + (int64_t)REMOVE_MS * 1000000;
    for (;;) {
        int rc = remove_below(AT_FDCWD, folder, 0);
        /* A process that has just died is still counted for a moment. */
        if (rc != -EBUSY || gi_monotonic_ns() > deadline)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

int cgroup_remove(const struct cgroup_host *h, const char *path, struct gi_error *err)
{
    int worst = 0;
    const char *which = "";
    for (unsigned i = 0; i < h->n; i++) {
        char folder[PATH_MAX + 256];
        snprintf(folder, sizeof(folder), "%s%s", h->h[i].point, path);
        int rc = remove_waiting(folder);
        if (rc < 0) {
            worst = rc;
            which = h->h[i].point;
            continue;
        }
        /* Our own default parent goes with its last machine. */
        *strrchr(folder, '/') = '\0';
        if (strncmp(path, DEFAULT_PARENT "/", sizeof(DEFAULT_PARENT)) == 0 && rmdir(folder) < 0 &&
            errno != EBUSY && errno != ENOTEMPTY && errno != ENOENT)
            worst = -errno;
    }
    return worst < 0 ? gi_fail_errno(err, -worst, "remove cgroup %s%s", which, path) : 0;
}
