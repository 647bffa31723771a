/* SPDX-License-Identifier: Apache-2.0 */
#include "jail.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOW_MEMORY true /* the sanitizers map terabytes of it */
#else
#define SHADOW_MEMORY false
#endif

static int limit(int what, uint64_t n, const char *name, struct gi_error *err)
{
    struct rlimit now;
    if (getrlimit(what, &now) < 0)
        return gi_fail_errno(err, errno, "%s", name);
    /* Never more than what we were given. */
    if (now.rlim_max != RLIM_INFINITY && n > now.rlim_max)
        n = now.rlim_max;
    struct rlimit want = {.rlim_cur = n, .rlim_max = n};
    if (setrlimit(what, &want) < 0)
        return gi_fail_errno(err, errno, "%s", name);
    return 0;
}

static int set_limits(const struct jail *j, struct gi_error *err)
{
    int rc = limit(RLIMIT_CORE, 0, "RLIMIT_CORE", err);
    if (rc == 0)
        rc = limit(RLIMIT_NOFILE, j->max_files, "RLIMIT_NOFILE", err);
    /* Not RLIMIT_AS: a CUDA driver reserves address space by the terabyte. */
    if (rc == 0 && j->data_bytes && !SHADOW_MEMORY)
        rc = limit(RLIMIT_DATA, j->data_bytes, "RLIMIT_DATA", err);
    return rc;
}

/* Of the bounding set too: nothing executed could get one back. */
static void drop_bounding_set(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static int drop_user(const struct jail *j, struct gi_error *err)
{
    drop_bounding_set();
    if (geteuid() == 0) {
        if (setgroups(0, NULL) < 0)
            return gi_fail_errno(err, errno, "drop supplementary groups");
        if (setresgid(j->gid, j->gid, j->gid) < 0)
            return gi_fail_errno(err, errno, "become group %u", (unsigned)j->gid);
        if (setresuid(j->uid, j->uid, j->uid) < 0)
            return gi_fail_errno(err, errno, "become user %u", (unsigned)j->uid);
        if (setuid(0) == 0)
            return gi_fail(err, GI_INTERNAL, "could become root again");
    }
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    if (syscall(SYS_capset, &head, none) < 0)
        return gi_fail_errno(err, errno, "drop capabilities");
    return 0;
}

/* Our own declarations: the kernel's headers may be older than the kernel. */
struct ruleset_attr {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

struct path_attr {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

#define LL_EXECUTE      (1ull << 0)
#define LL_WRITE_FILE   (1ull << 1)
#define LL_IOCTL_DEV    (1ull << 15)
#define LL_PATH_BENEATH 1
#define LL_VERSION      1u

#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule       445
#define __NR_landlock_restrict_self  446
#endif

static int ruleset_for(long abi)
{
    /* Each version of the interface knows more rights; the size of the struct
     * says which fields we mean. Reading stays free. */
    static const uint64_t writing_v1 = ((1ull << 13) - 1) & ~(1ull << 2) & ~(1ull << 3);
    struct ruleset_attr a = {.fs = writing_v1};
    size_t size = sizeof(a.fs);
    if (abi >= 2)
        a.fs |= 1ull << 13; /* REFER */
    if (abi >= 3)
        a.fs |= 1ull << 14; /* TRUNCATE */
    if (abi >= 4) {
        a.net = 3; /* bind and connect of TCP */
        size = offsetof(struct ruleset_attr, scoped);
    }
    if (abi >= 5)
        a.fs |= LL_IOCTL_DEV;
    if (abi >= 6) {
        a.scoped = 3; /* abstract sockets and signals to processes outside */
        size = sizeof(a);
    }
    return (int)syscall(__NR_landlock_create_ruleset, &a, size, 0);
}

static void allow_device(int ruleset, long abi, const char *path)
{
    cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    struct path_attr rule = {.allowed = LL_WRITE_FILE | (abi >= 5 ? LL_IOCTL_DEV : 0), .fd = fd};
    /* nvidia-caps is a folder of device nodes; everything else is one. */
    if (S_ISCHR(st.st_mode) || S_ISDIR(st.st_mode))
        syscall(__NR_landlock_add_rule, ruleset, LL_PATH_BENEATH, &rule, 0);
}

static int restrict_files(struct gi_error *err)
{
    long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, LL_VERSION);
    if (abi < 1)
        return 0; /* an older kernel: users, modes and seccomp still stand */
    cleanup_close int ruleset = ruleset_for(abi);
    if (ruleset < 0)
        return gi_fail_errno(err, errno, "landlock_create_ruleset");
    allow_device(ruleset, abi, "/dev/null");
    glob_t devices;
    if (glob("/dev/nvidia*", GLOB_NOSORT, NULL, &devices) == 0) {
        for (size_t i = 0; i < devices.gl_pathc; i++)
            allow_device(ruleset, abi, devices.gl_pathv[i]);
        globfree(&devices);
    }
    if (syscall(__NR_landlock_restrict_self, ruleset, 0) < 0)
        return gi_fail_errno(err, errno, "landlock_restrict_self");
    return 0;
}

int jail_enter(const struct jail *j, struct gi_error *err)
{
    int rc = set_limits(j, err);
    if (rc == 0)
        rc = drop_user(j, err);
    if (rc < 0)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return gi_fail_errno(err, errno, "PR_SET_NO_NEW_PRIVS");
    /* No ptrace and no reading of our memory by others of our user: workers
     * share one. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return gi_fail_errno(err, errno, "PR_SET_DUMPABLE");
    /* After the change of user, which clears it. A parent that died before is
     * noticed by its number. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return gi_fail_errno(err, errno, "PR_SET_PDEATHSIG");
    if (getppid() != j->parent)
        return gi_fail(err, GI_FAILED_PRECONDITION, "the broker is gone");
    return restrict_files(err);
}
