/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call filters: ours (allow what ordinary programs need, by purpose;
 * what reaches beyond the container only with the capability for it), none, or
 * a profile from the host's disk in the OCI form.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/parts.h"

#define MAX_PROFILE     (1u << 20)
#define EPERM_NUMBER    1
#define ENOSYS_NUMBER   38
#define USER_MODE_ONLY  1 /* userfaultfd(2): UFFD_USER_MODE_ONLY */
#define AF_VSOCK_NUMBER 40
/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */
#define CLONE_NAMESPACES 0x7e020000u

static const char *const files[] = {
    "access",
    "chdir",
    "chmod",
    "chown",
    "chown32",
    "close",
    "close_range",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fadvise64_64",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchown32",
    "fchownat",
    "fcntl",
    "fcntl64",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstat64",
    "fstatat64",
    "fstatfs",
    "fstatfs64",
    "fsync",
    "ftruncate",
    "ftruncate64",
    "futimesat",
    "getcwd",
    "getdents",
    "getdents64",
    "getxattr",
    "getxattrat",
    "lchown",
    "lchown32",
    "lgetxattr",
    "link",
    "linkat",
    "listxattr",
    "listxattrat",
    "llistxattr",
    "_llseek",
    "lremovexattr",
    "lseek",
    "lsetxattr",
    "lstat",
    "lstat64",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readlink",
    "readlinkat",
    "readv",
    "removexattr",
    "removexattrat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "sendfile64",
    "setxattr",
    "setxattrat",
    "splice",
    "stat",
    "stat64",
    "statfs",
    "statfs64",
    "statx",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "sync_file_range2",
    "syncfs",
    "tee",
    "truncate",
    "truncate64",
    "umask",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimensat_time64",
    "utimes",
    "vmsplice",
    "write",
    "writev",
    "inotify_add_watch",
    "inotify_init",
    "inotify_init1",
    "inotify_rm_watch",
    "fanotify_mark",
    "name_to_handle_at",
    "memfd_create",
    "memfd_secret",
    "ioctl",
    "io_cancel",
    "io_destroy",
    "io_getevents",
    "io_pgetevents",
    "io_pgetevents_time64",
    "io_setup",
    "io_submit",
    "ioprio_get",
    "ioprio_set",
    "cachestat",
    "statmount",
    "listmount",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
};

static const char *const memory[] = {
    "brk",
    "madvise",
    "membarrier",
    "mincore",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mmap2",
    "mprotect",
    "mremap",
    "mseal",
    "msync",
    "munlock",
    "munlockall",
    "munmap",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "process_mrelease",
    "remap_file_pages",
    "map_shadow_stack",
};

static const char *const processes[] = {
    "arch_prctl",
    "capget",
    "capset",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "futex",
    "futex_requeue",
    "futex_time64",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "get_robust_list",
    "get_thread_area",
    "getcpu",
    "getegid",
    "getegid32",
    "geteuid",
    "geteuid32",
    "getgid",
    "getgid32",
    "getgroups",
    "getgroups32",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getresgid",
    "getresgid32",
    "getresuid",
    "getresuid32",
    "getrlimit",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "getuid32",
    "kill",
    "modify_ldt",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
    "prlimit64",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "restart_syscall",
    "rseq",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_rr_get_interval_time64",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "seccomp",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgid",
    "setgid32",
    "setgroups",
    "setgroups32",
    "setpgid",
    "setpriority",
    "setregid",
    "setregid32",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "setreuid32",
    "setrlimit",
    "setsid",
    "setuid",
    "setuid32",
    "sysinfo",
    "tgkill",
    "time",
    "times",
    "tkill",
    "ugetrlimit",
    "uname",
    "vfork",
    "wait4",
    "waitid",
    "waitpid",
};

static const char *const signals_and_time[] = {
    "adjtimex",
    "alarm",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_getres",
    "clock_getres_time64",
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "getitimer",
    "getrandom",
    "gettimeofday",
    "nanosleep",
    "pause",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo",
    "setitimer",
    "sigaltstack",
    "signal",
    "signalfd",
    "signalfd4",
    "sigprocmask",
    "sigreturn",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_gettime64",
    "timer_settime",
    "timer_settime64",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_gettime64",
    "timerfd_settime",
    "timerfd_settime64",
};

static const char *const talking[] = {
    "accept",
    "accept4",
    "bind",
    "connect",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_ctl_old",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "epoll_wait_old",
    "eventfd",
    "eventfd2",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ipc",
    "listen",
    "mq_getsetattr",
    "mq_notify",
    "mq_open",
    "mq_timedreceive",
    "mq_timedreceive_time64",
    "mq_timedsend",
    "mq_timedsend_time64",
    "mq_unlink",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "_newselect",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "ppoll_time64",
    "pselect6",
    "pselect6_time64",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmmsg_time64",
    "recvmsg",
    "select",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "semtimedop_time64",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "socketcall",
    "socketpair",
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cacheflush",
    "set_tls",
};

struct group {
    const char *const *names;
    size_t n;
};

static const struct group always[] = {
    {files, GI_ARRAY_SIZE(files)},         {memory, GI_ARRAY_SIZE(memory)},
    {processes, GI_ARRAY_SIZE(processes)}, {signals_and_time, GI_ARRAY_SIZE(signals_and_time)},
    {talking, GI_ARRAY_SIZE(talking)},
};

static const struct {
    const char *cap;
    const char *names[24];
} with_cap[] = {
    {"SYS_ADMIN", {"bpf",           "clone",         "clone3",      "fanotify_init",   "fsconfig",
                   "fsmount",       "fsopen",        "fspick",      "lookup_dcookie",  "mount",
                   "mount_setattr", "move_mount",    "open_tree",   "perf_event_open", "quotactl",
                   "quotactl_fd",   "setdomainname", "sethostname", "setns",           "umount",
                   "umount2",       "unshare"}},
    {"BPF", {"bpf"}},
    {"DAC_READ_SEARCH", {"open_by_handle_at"}},
    {"PERFMON", {"perf_event_open"}},
    {"SYSLOG", {"syslog"}},
    {"SYS_BOOT", {"reboot"}},
    {"SYS_CHROOT", {"chroot"}},
    {"SYS_MODULE", {"delete_module", "finit_module", "init_module"}},
    {"SYS_NICE", {"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"}},
    {"SYS_PACCT", {"acct"}},
    {"SYS_PTRACE", {"kcmp", "pidfd_getfd", "process_madvise"}},
    {"SYS_RAWIO", {"ioperm", "iopl"}},
    {"SYS_TIME", {"clock_settime", "clock_settime64", "settimeofday", "stime"}},
    {"SYS_TTY_CONFIG", {"vhangup"}},
};

static void begin_rule(struct gen *g, const char *const *names, size_t n, const char *action)
{
    gen_map(g);
    gen_key_strings(g, "names", names, n);
    gen_key_string(g, "action", action);
}

static void put_rule(struct gen *g, const char *const *names, size_t n)
{
    begin_rule(g, names, n, "SCMP_ACT_ALLOW");
    gen_end_map(g);
}

/* One argument compared: allowed when it holds. */
static void put_condition(struct gen *g, const char *name, const char *op, uint64_t value,
                          uint64_t value_two)
{
    begin_rule(g, &name, 1, "SCMP_ACT_ALLOW");
    gen_key_array(g, "args");
    gen_map(g);
    gen_key_uint(g, "index", 0);
    gen_key_uint(g, "value", value);
    gen_key_uint(g, "valueTwo", value_two);
    gen_key_string(g, "op", op);
    gen_end_map(g);
    gen_end_array(g);
    gen_end_map(g);
}

static void put_conditions(struct gen *g, const struct oci_context *c)
{
    /* The usual personalities: Linux, UNAME26, PER_LINUX32, both, and "which?". */
    static const uint64_t personalities[] = {0, 0x20000, 8, 0x20008, 0xffffffff};
    for (size_t i = 0; i < GI_ARRAY_SIZE(personalities); i++)
        put_condition(g, "personality", "SCMP_CMP_EQ", personalities[i], 0);
    /* vsock would reach the host's side of a machine. */
    put_condition(g, "socket", "SCMP_CMP_NE", AF_VSOCK_NUMBER, 0);
    /* For faults of the program's own alone, which can't hold up the kernel: libvgpu needs it to
     * register memory beside other threads (docs/decisions, 28). */
    put_condition(g, "userfaultfd", "SCMP_CMP_MASKED_EQ", USER_MODE_ONLY, USER_MODE_ONLY);
    if (oci_has_cap(c, "SYS_ADMIN"))
        return;
    put_condition(g, "clone", "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES, 0);
    /* clone3's flags are in memory, where a filter can't look; libc then uses clone. */
    const char *const clone3 = "clone3";
    begin_rule(g, &clone3, 1, "SCMP_ACT_ERRNO");
    gen_key_uint(g, "errnoRet", ENOSYS_NUMBER);
    gen_end_map(g);
}

static void put_default(struct gen *g, const struct oci_context *c)
{
    gen_key_map(g, "seccomp");
    gen_key_string(g, "defaultAction", "SCMP_ACT_ERRNO");
    gen_key_uint(g, "defaultErrnoRet", EPERM_NUMBER);
    gen_key_array(g, "architectures");
#if defined(__x86_64__)
    gen_string(g, "SCMP_ARCH_X86_64");
    gen_string(g, "SCMP_ARCH_X86");
    gen_string(g, "SCMP_ARCH_X32");
#elif defined(__aarch64__)
    gen_string(g, "SCMP_ARCH_AARCH64");
    gen_string(g, "SCMP_ARCH_ARM");
#endif
    gen_end_array(g);
    gen_key_array(g, "syscalls");
    for (size_t i = 0; i < GI_ARRAY_SIZE(always); i++)
        put_rule(g, always[i].names, always[i].n);
    for (size_t i = 0; i < GI_ARRAY_SIZE(with_cap); i++) {
        size_t n = 0;
        while (n < GI_ARRAY_SIZE(with_cap[i].names) && with_cap[i].names[n])
            n++;
        if (oci_has_cap(c, with_cap[i].cap))
            put_rule(g, with_cap[i].names, n);
    }
    put_conditions(g, c);
    gen_end_array(g);
    gen_end_map(g);
}

static int put_localhost(struct gen *g, const char *field, const char *path, struct gi_error *err)
{
    cleanup_free char *text = NULL;
    cleanup_gi_json struct gi_json *v = NULL;
    size_t len = 0;
    if (path[0] != '/')
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.%s: \"%.100s\" is "
                       "not an absolute path",
                       field, path);
    int rc = gi_read_file(path, MAX_PROFILE, &text, &len, err);
    if (rc == 0)
        rc = gi_json_parse(text, len, NULL, path, &v, err);
    if (rc < 0)
        return gi_prefix(err, "config.linux.security_context.%s", field);
    if (!v || v->type != GI_JSON_OBJECT || !gi_json_get_string(v, "defaultAction"))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.%s: %.200s is not "
                       "a seccomp profile: no defaultAction",
                       field, path);
    gen_string(g, "seccomp");
    gen_json(g, v);
    return 0;
}

/* The older field. Nothing said means unconfined, as CRI's description has it. */
static int put_by_path(struct gen *g, const struct oci_context *c, const char *path,
                       struct gi_error *err)
{
    if (!*path || strcmp(path, "unconfined") == 0)
        return 0;
    if (strncmp(path, "localhost/", 10) == 0)
        return put_localhost(g, "seccomp_profile_path", path + 10, err);
    if (strcmp(path, "runtime/default") != 0 && strcmp(path, "docker/default") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.seccomp_profile_path: unknown: %.80s", path);
    put_default(g, c);
    return 0;
}

int oci_put_seccomp(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__SecurityProfile *p = c->security ? c->security->seccomp : NULL;
    if (c->privileged)
        return 0;
    if (!p)
        return put_by_path(g, c, c->security ? c->security->seccomp_profile_path : "", err);
    switch (p->profile_type) {
    case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
        put_default(g, c);
        return 0;
    case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
        return 0;
    case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
        return put_localhost(g, "seccomp.localhost_ref", p->localhost_ref, err);
    default:
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.seccomp.profile_type: unknown value %d",
                       (int)p->profile_type);
    }
}
