/* SPDX-License-Identifier: Apache-2.0 */
/* Which OCI runtime fits this host. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "local.h"

extern char **environ;

/* First line of `PATH --version`, such as "crun version 1.8.1". */
static int ask_version(const char *path, char *out, size_t size)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    cleanup_close int r = fds[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    char *const argv[] = {(char *)path, (char *)"--version", NULL};
    pid_t pid;
    int rc = posix_spawn(&pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc)
        return -1;
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(r, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    out[strcspn(out, "\n")] = '\0';
    gi_cleanup_closep(&r);
    r = -1;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static int take(const char *path, struct oci_choice *ch)
{
    char text[128];
    char name[16];
    char version[48];
    if (ask_version(path, text, sizeof(text)) < 0 ||
        sscanf(text, "%15s version %47s", name, version) != 2)
        return -1;
    bool crun = strcmp(name, "crun") == 0;
    if (!crun && strcmp(name, "runc") != 0)
        return -1;
    snprintf(ch->path, sizeof(ch->path), "%s", path);
    ch->crun = crun;
    for (char *p = version; *p; p++)
        if (*p == '+')
            *p = '\0'; /* the packager's suffix */
    snprintf(ch->version, sizeof(ch->version), "%s %s", name, version);
    return 0;
}

static int find(const char *name, struct oci_choice *ch)
{
    static const char *const folders[] = {
        "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(folders); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0 && take(path, ch) == 0)
            return 0;
    }
    return -1;
}

int oci_choose(const char *wanted, const struct cgroup_host *h, struct oci_choice *ret_choice,
               struct gi_error *err)
{
    struct oci_choice ch;
    memset(&ch, 0, sizeof(ch));
    int rc;
    if (wanted && *wanted && strcmp(wanted, "auto") != 0) {
        if (wanted[0] != '/' || take(wanted, &ch) < 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "%s is neither crun nor runc", wanted);
        rc = 0;
    } else {
        /* crun starts a container several times faster. */
        rc = find("crun", &ch);
        if (rc < 0)
            rc = find("runc", &ch);
    }
    if (rc < 0)
        return gi_fail(err, GI_FAILED_PRECONDITION, "no OCI runtime found: install crun or runc");
    ch.cgroup = h->version;
    /* crun refuses a v1 host with a v2 tree that has controllers beside it
     * ("cgroups in hybrid mode not supported"). The zone has a mount namespace
     * of its own: there the v2 tree goes away, and what is left is plain v1. */
    if (ch.crun)
        ch.hide = h->hybrid;
    if (!ch.crun && !ch.cgroup)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "no usable cgroups, and runc can't do without: install crun");
    *ret_choice = ch;
    return 0;
}
