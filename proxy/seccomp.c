/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's system calls, in groups with their reasons (the table in
 * README.md repeats them for the operator). Everything not named is EPERM, so
 * that a driver which merely tries something goes on; calls that no driver has
 * business with end the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "jail.h"
#include "spawn.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "name this machine's AUDIT_ARCH"
#endif

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* Numbers that older headers lack; the same on every architecture. */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_rseq
#if defined(__x86_64__)
#define SYS_rseq 334
#else
#define SYS_rseq 293
#endif
#endif

static const int allowed[] = {
    /* Memory. mmap and mprotect are below: never writable and executable. */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_mlock,
    SYS_munlock,
    SYS_mincore,
    SYS_msync,
    SYS_membarrier,
    SYS_get_mempolicy,
    SYS_mbind,
    SYS_set_mempolicy,
    /* Memory that may be shared: sized by writing its end. That it could be mapped twice, to be
     * written and executed, is nothing new: so could it be in turns. */
    SYS_memfd_create,
    /* Threads. clone is below: threads only. */
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_gettid,
    SYS_getpid,
    SYS_getppid,
    SYS_set_tid_address,
    SYS_restart_syscall,
    SYS_getcpu,
    /* Own signals. tgkill is below: our process only. */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_rt_sigtimedwait,
    /* Time. */
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    /* The channel, its doorbells, the log, and the driver's own wake-ups.
     * sendmsg and recvmsg are below: with the zone's shelf only. */
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_ppoll,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_pipe2,
    SYS_close,
    SYS_dup,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    /* Looking at files: the driver's libraries, /proc/self, /sys. Opening is below. */
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_getdents64,
    SYS_lseek,
    SYS_statfs,
    SYS_fstatfs,
    SYS_getcwd,
    /* Who and where we are. */
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_uname,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_getrandom,
#if defined(__x86_64__)
    /* The same by their old names. */
    SYS_poll,
    SYS_epoll_wait,
    SYS_stat,
    SYS_lstat,
    SYS_readlink,
    SYS_access,
    SYS_time,
    SYS_pipe,
    SYS_getrlimit,
    SYS_arch_prctl,
    SYS_dup2,
#endif
};

/* Attempts to leave the process, or to look into others. */
static const int deadly[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_bpf,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_open_by_handle_at,
    SYS_setuid,
    SYS_setgid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_capset,
};

#define MAX_PROGRAM 512

struct program {
    struct sock_filter code[MAX_PROGRAM];
    size_t len;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (p->len == MAX_PROGRAM)
        abort(); /* the tables above are fixed: found by the first run of any test */
    p->code[p->len++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

static void load(struct program *p, size_t offset)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void ret(struct program *p, uint32_t action)
{
    emit(p, BPF_RET | BPF_K, action, 0, 0);
}

#define DENY(errnum)  (SECCOMP_RET_ERRNO | ((errnum)&SECCOMP_RET_DATA))
#define ARG_LOW(n)    (offsetof(struct seccomp_data, args[n])) /* little-endian */
#define ARG_HIGH(n)   (offsetof(struct seccomp_data, args[n]) + 4)
#define CALL_NUMBER() load(p, offsetof(struct seccomp_data, nr))

/* NR → ACTION; falls through with the number still loaded. */
static void on_call(struct program *p, int nr, uint32_t action)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1);
    ret(p, action);
}

/* NR with (argument ARG & MASK) == VALUE is allowed, else DENY(errnum). Any
 * other call jumps over the rule's five instructions, as it does below. */
static void on_masked(struct program *p, int nr, unsigned arg, uint32_t mask, uint32_t value,
                      int errnum)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 5);
    load(p, ARG_LOW(arg));
    emit(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    ret(p, SECCOMP_RET_ALLOW);
    ret(p, DENY(errnum));
}

/* NR with argument ARG one of VALUES is allowed, else EPERM. */
static void on_values(struct program *p, int nr, unsigned arg, const uint32_t *values, size_t n)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, (uint8_t)(2 * n + 2));
    load(p, ARG_LOW(arg));
    for (size_t i = 0; i < n; i++) {
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, values[i], 0, 1);
        ret(p, SECCOMP_RET_ALLOW);
    }
    ret(p, DENY(EPERM));
}

/* NR unless ARG's bits MASK are all set. */
static void on_not_all(struct program *p, int nr, unsigned arg, uint32_t mask)
{
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 5);
    load(p, ARG_LOW(arg));
    emit(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, mask, 0, 1);
    ret(p, DENY(EPERM));
    ret(p, SECCOMP_RET_ALLOW);
}

/* Opening: for reading always; for reading and writing only where there is a
 * GPU's device node to open so (the driver opens it again for each mapping);
 * Landlock narrows that to the nodes themselves. Never to create or truncate. */
static void on_open(struct program *p, int nr, unsigned flags_arg)
{
    uint32_t mask = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) | O_APPEND;
    if (access("/dev/nvidiactl", F_OK) != 0) {
        on_masked(p, nr, flags_arg, mask, O_RDONLY, EACCES);
        return;
    }
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 6);
    load(p, ARG_LOW(flags_arg));
    emit(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, O_RDONLY, 1, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, O_RDWR, 0, 1);
    ret(p, SECCOMP_RET_ALLOW);
    ret(p, DENY(EACCES));
}

static void conditional(struct program *p)
{
    static const uint32_t fcntls[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,
                                      F_GETFL, F_SETFL,         F_ADD_SEALS, F_GET_SEALS};
    static const uint32_t shelf[] = {WORKER_FD_SHELF};
    static const uint32_t prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE};
    on_call(p, SYS_clone3, DENY(ENOSYS)); /* its flags are in memory: use clone */
    on_masked(p, SYS_clone, 0, CLONE_THREAD | CLONE_VM | CLONE_NEWUSER, CLONE_THREAD | CLONE_VM,
              EPERM);
    on_not_all(p, SYS_mmap, 2, PROT_WRITE | PROT_EXEC);
    on_not_all(p, SYS_mprotect, 2, PROT_WRITE | PROT_EXEC);
    on_masked(p, SYS_tgkill, 0, UINT32_MAX, (uint32_t)getpid(), EPERM);
    on_masked(p, SYS_prlimit64, 0, UINT32_MAX, 0, EPERM);
    /* Descriptors travel to the broker and from it, which gives them to our zone only. */
    on_values(p, SYS_sendmsg, 0, shelf, GI_ARRAY_SIZE(shelf));
    on_values(p, SYS_recvmsg, 0, shelf, GI_ARRAY_SIZE(shelf));
    on_values(p, SYS_fcntl, 1, fcntls, GI_ARRAY_SIZE(fcntls));
    on_values(p, SYS_prctl, 0, prctls, GI_ARRAY_SIZE(prctls));
    on_open(p, SYS_openat, 2);
#ifdef SYS_open
    on_open(p, SYS_open, 1);
#endif
    /* Driver calls, but no typing into the operator's terminal. */
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5);
    load(p, ARG_LOW(1));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 0, 1);
    ret(p, DENY(EPERM));
    ret(p, SECCOMP_RET_ALLOW);
}

int jail_seal(struct gi_error *err)
{
    struct program *p = calloc(1, sizeof(*p));
    if (!p)
        return gi_fail_errno(err, ENOMEM, "seccomp");
    load(p, offsetof(struct seccomp_data, arch));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    ret(p, SECCOMP_RET_KILL_PROCESS);
    CALL_NUMBER();
#if defined(__x86_64__)
    /* The x32 numbers reach the same calls past every rule below. */
    emit(p, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);
    ret(p, SECCOMP_RET_KILL_PROCESS);
#endif
    for (size_t i = 0; i < GI_ARRAY_SIZE(allowed); i++)
        on_call(p, allowed[i], SECCOMP_RET_ALLOW);
    conditional(p);
    for (size_t i = 0; i < GI_ARRAY_SIZE(deadly); i++)
        on_call(p, deadly[i], SECCOMP_RET_KILL_PROCESS);
    ret(p, DENY(EPERM));
    struct sock_fprog prog = {.len = (unsigned short)p->len, .filter = p->code};
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    int saved = errno;
    free(p);
    if (rc > 0)
        return gi_fail(err, GI_INTERNAL, "thread %ld can't take the seccomp filter", rc);
    return rc < 0 ? gi_fail_errno(err, saved, "seccomp filter") : 0;
}
