/* SPDX-License-Identifier: Apache-2.0 */
#include "oci.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "spec.h"

#define MAX_ARGS 24

pid_t oci_run(struct agent *a, const char *log, const char *const *args, const int *stdio,
              proc_exit_fn fn, void *data, struct gi_error *err)
{
    static const int none[3] = {-1, -1, -1};
    char root[PATH_MAX];
    if (snprintf(root, sizeof(root), "%s/.oci", a->opt.scratch) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "scratch path too long");
    const char *argv[MAX_ARGS] = {a->opt.oci, "--root", root, "--log", log, "--log-format", "json"};
    size_t n = 7;
    if (a->opt.oci_is_crun) {
        argv[n++] = "--cgroup-manager";
        argv[n++] = a->opt.cgroup ? "cgroupfs" : "disabled";
    }
    for (; *args && n < MAX_ARGS - 1; args++)
        argv[n++] = *args;
    argv[n] = NULL;
    return proc_spawn(argv, stdio ? stdio : none, fn, data, err);
}

static bool contains(const char *text, const char *what)
{
    return strcasestr(text, what) != NULL;
}

/* The runtimes say it in words only; these are theirs. */
static int exit_code_for(const char *msg)
{
    if (contains(msg, "executable file") && contains(msg, "not found"))
        return 127;
    bool exec = contains(msg, "exec") || contains(msg, "open executable");
    if (exec && contains(msg, "no such file or directory"))
        return 127;
    if (exec && (contains(msg, "permission denied") || contains(msg, "is a directory") ||
                 contains(msg, "exec format error")))
        return 126;
    return 0;
}

int oci_why(const char *log, const char *what, struct gi_error *err)
{
    cleanup_free char *text = NULL;
    gi_read_file(log, 1 << 20, &text, NULL, NULL);
    cleanup_free char *msg = text ? spec_last_log_error(text) : NULL;
    int code = msg ? exit_code_for(msg) : 0;
    gi_fail(err, code ? GI_FAILED_PRECONDITION : GI_INTERNAL, "%s: %s", what,
            msg ? msg : "the OCI runtime gave no reason");
    return code;
}

pid_t oci_read_pid(const char *path)
{
    cleanup_free char *text = NULL;
    if (gi_read_file(path, 64, &text, NULL, NULL) < 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 1 && pid <= INT_MAX ? (pid_t)pid : 0;
}

int oci_write_file(const char *path, const char *text, struct gi_error *err)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return gi_fail_errno(err, errno, "create %s", path);
    int rc = gi_write_full(fd, text, strlen(text));
    return rc < 0 ? gi_fail_errno(err, -rc, "write %s", path) : 0;
}
