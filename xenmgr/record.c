/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's record: "key value" lines in <zone folder>/record. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "local.h"

#define RECORD_VERSION 1
#define RECORD_MAX     (4 * PATH_MAX)

static int boot_id(char out[40], struct gi_error *err)
{
    cleanup_free char *text = NULL;
    int rc = gi_read_file("/proc/sys/kernel/random/boot_id", 64, &text, NULL, err);
    if (rc == 0)
        snprintf(out, 40, "%.36s", text);
    return rc;
}

static int start_time(pid_t pid, unsigned long long *ret, struct gi_error *err)
{
    char path[64];
    cleanup_free char *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int rc = gi_read_file(path, 4096, &text, NULL, err);
    if (rc < 0)
        return rc;
    const char *after = strrchr(text, ')'); /* the name may contain anything */
    if (!after || sscanf(after + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                         "%*d %*d %llu",
                         ret) != 1)
        return gi_fail(err, GI_INTERNAL, "can't parse %s", path);
    return 0;
}

int record_fill_process(struct record *r, pid_t pid, struct gi_error *err)
{
    int rc = boot_id(r->boot, err);
    if (rc == 0)
        rc = start_time(pid, &r->start, err);
    if (rc == 0)
        r->pid = pid;
    return rc;
}

/*
 * Whole or not at all when the daemon is killed at any instruction: that is
 * what rename gives. No fsync: the folder is volatile, and after the machine
 * has lost its power the processes it speaks of are gone.
 */
int record_write(const char *dir, const struct record *r, struct gi_error *err)
{
    char path[PATH_MAX];
    char tmp[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/record", dir) >= PATH_MAX ||
        snprintf(tmp, sizeof(tmp), "%s/record.new", dir) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    __attribute__((cleanup(gi_buf_free))) struct gi_buf b = GI_BUF_INIT(RECORD_MAX);
    if (gi_buf_printf(&b, "version %d\nzone %u\npid %d\nstart %llu\nboot %s\nnetns %s\ncgroup %s\n",
                      RECORD_VERSION, r->zone, r->pid, r->start, r->boot, r->netns, r->cgroup) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "record too long");
    cleanup_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return gi_fail_errno(err, errno, "create %s", tmp);
    int rc = gi_write_full(fd, b.data, b.len);
    if (rc < 0)
        return gi_fail_errno(err, -rc, "write %s", tmp);
    return rename(tmp, path) < 0 ? gi_fail_errno(err, errno, "rename %s", tmp) : 0;
}

static void take_line(struct record *r, const char *key, const char *value, int *version)
{
    if (strcmp(key, "version") == 0)
        *version = (int)strtol(value, NULL, 10);
    else if (strcmp(key, "zone") == 0)
        r->zone = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(key, "pid") == 0)
        r->pid = (pid_t)strtol(value, NULL, 10);
    else if (strcmp(key, "start") == 0)
        r->start = strtoull(value, NULL, 10);
    else if (strcmp(key, "boot") == 0)
        snprintf(r->boot, sizeof(r->boot), "%s", value);
    else if (strcmp(key, "netns") == 0)
        snprintf(r->netns, sizeof(r->netns), "%s", value);
    else if (strcmp(key, "cgroup") == 0)
        snprintf(r->cgroup, sizeof(r->cgroup), "%s", value);
}

int record_read(const char *dir, struct record *ret_record, struct gi_error *err)
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    struct record r;
    memset(&r, 0, sizeof(r));
    int version = 0;
    if (snprintf(path, sizeof(path), "%s/record", dir) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long");
    int rc = gi_read_file(path, RECORD_MAX, &text, NULL, err);
    if (rc < 0)
        return rc;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *space = strchr(line, ' ');
        if (!space)
            continue;
        *space = '\0';
        take_line(&r, line, space + 1, &version);
    }
    if (version != RECORD_VERSION || r.zone == 0 || r.pid < 0 || r.pid == 1)
        return gi_fail(err, GI_DATA_LOSS, "%s is no record of version %d", path, RECORD_VERSION);
    *ret_record = r;
    return 0;
}

int record_open_process(const struct record *r)
{
    struct record now = *r;
    if (r->pid <= 1)
        return -1;
    /* The pidfd first: once it is open, the number can't come to mean
     * another process without our noticing the start time. */
    cleanup_close int fd = pidfd_open(r->pid, 0);
    if (fd < 0 || record_fill_process(&now, r->pid, NULL) < 0 || now.start != r->start ||
        strcmp(now.boot, r->boot) != 0)
        return -1;
    /* Dead, but not yet waited for by whoever inherited it. */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 0) > 0)
        return -1;
    return TAKE_FD(fd);
}
