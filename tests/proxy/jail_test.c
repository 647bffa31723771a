/* SPDX-License-Identifier: Apache-2.0 */
/* The jail, tried from inside: each case runs in a process of its own that goes
 * through jail_enter and jail_seal, and tells how it fared by its exit. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "jail.h"
#include "minitest.h"
#include "spawn.h"

#define TEST_UID 65534

static char scratch[] = "/tmp/gi-jail-test-XXXXXX";
static char writable[64]; /* a file that anybody may write */

/* 0, or the line at which the case failed (as far as an exit code can say). */
#define IN(cond)                                                                                   \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            dprintf(2, "line %d: %s (errno %d)\n", __LINE__, #cond, errno);                        \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static int jailed(int (*body)(void))
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        struct jail j = {.uid = TEST_UID, .gid = TEST_UID, .max_files = 128, .parent = parent};
        struct gi_error err = GI_ERROR_INIT;
        if (jail_enter(&j, &err) < 0 || jail_seal(&err) < 0) {
            dprintf(2, "jail: %s\n", err.message);
            _exit(99);
        }
        _exit(body());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool status_line(const char *text, const char *name, const char *value)
{
    const char *at = strstr(text, name);
    if (!at)
        return false;
    at += strlen(name);
    at += strspn(at, "\t ");
    return strncmp(at, value, strlen(value)) == 0 && strchr("\n \t", at[strlen(value)]);
}

static int body_status(void)
{
    char text[8192] = {0};
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    IN(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    IN(status_line(text, "\nSeccomp:", "2"));
    IN(status_line(text, "\nNoNewPrivs:", "1"));
    IN(status_line(text, "\nCapEff:", "0000000000000000"));
    IN(status_line(text, "\nCapPrm:", "0000000000000000"));
    IN(status_line(text, "\nCapInh:", "0000000000000000"));
    IN(getuid() != 0 && geteuid() != 0 && getgid() != 0);
    struct rlimit r;
    IN(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_max == 0);
    IN(getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_max <= 128);
    return 0;
}

static int body_root_is_gone(void)
{
    char text[8192] = {0};
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    IN(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    IN(status_line(text, "\nUid:", "65534"));
    IN(status_line(text, "\nGid:", "65534"));
    IN(status_line(text, "\nCapBnd:", "0000000000000000"));
    const char *groups = strstr(text, "\nGroups:");
    IN(groups && strspn(groups + 8, "\t ") == strcspn(groups + 8, "\n"));
    return 0;
}

static void *thread_body(void *arg)
{
    *(int *)arg = 42;
    return NULL;
}

/* What a driver does all day still works. */
static int body_work(void)
{
    pthread_t t;
    int answer = 0;
    IN(pthread_create(&t, NULL, thread_body, &answer) == 0);
    IN(pthread_join(t, NULL) == 0 && answer == 42);
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IN(p != MAP_FAILED && munmap(p, 1 << 20) == 0);
    int ev = eventfd(0, EFD_CLOEXEC);
    uint64_t one = 1;
    IN(ev >= 0 && write(ev, &one, 8) == 8 && read(ev, &one, 8) == 8);
    char *big = malloc(8 << 20);
    IN(big);
    free(big);
    /* A library loaded late, as the driver's compiler is. */
    void *lib = dlopen("libutil.so.1", RTLD_NOW);
    IN(lib != NULL);
    int dir = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    IN(dir >= 0);
    IN(open("/proc/self/maps", O_RDONLY | O_CLOEXEC) >= 0);
    return 0;
}

static int body_no_writing(void)
{
    IN(open(writable, O_RDONLY | O_CLOEXEC) >= 0);
    IN(open(writable, O_WRONLY | O_CLOEXEC) < 0 && errno == EACCES);
    IN(open(writable, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
    IN(open(writable, O_RDONLY | O_TRUNC | O_CLOEXEC) < 0 && errno == EACCES);
    IN(open("/tmp/new", O_RDONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EACCES);
    IN(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) < 0 && errno == EACCES);
    IN(unlink(writable) < 0 && errno == EPERM);
    IN(mkdir("/tmp/gi-new", 0700) < 0 && errno == EPERM);
    IN(symlink("a", "/tmp/gi-new") < 0 && errno == EPERM);
    IN(chmod(writable, 0777) < 0 && errno == EPERM);
    IN(truncate(writable, 0) < 0 && errno == EPERM);
    return 0;
}

/* Memory for others, as the simulated GPU makes it and takes it from others. */
static int body_shared_memory(void)
{
    char page[4096] = {1};
    struct statfs fs;
    struct stat st;
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    IN(fd >= 0 && lseek(fd, 1 << 20, SEEK_SET) == 1 << 20);
    IN(write(fd, page, sizeof(page)) == sizeof(page));
    IN(fcntl(fd, F_ADD_SEALS, seals) == 0 && fcntl(fd, F_GET_SEALS) == seals);
    IN(fstat(fd, &st) == 0 && st.st_size == (1 << 20) + 4096 && fstatfs(fd, &fs) == 0);
    IN(pread(fd, page, 1, 1 << 20) == 1 && page[0] == 1);
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    IN(p != MAP_FAILED);
    p[0] = 1;
    IN(madvise(p, 4096, MADV_REMOVE) == 0 && p[0] == 0);
    snprintf(page, sizeof(page), "/proc/%d/stat", getppid()); /* is it there? */
    IN(open(page, O_RDONLY | O_CLOEXEC) >= 0);
    return 0;
}

static int body_no_network(void)
{
    int pair[2];
    IN(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
    IN(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
    IN(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 && errno == EPERM);
    /* Descriptors come and go by the shelf's socket only. */
    struct msghdr none = {.msg_name = NULL};
    IN(sendmsg(WORKER_FD_SHELF, &none, MSG_DONTWAIT) == 0 || errno != EPERM);
    IN(recvmsg(WORKER_FD_SHELF, &none, MSG_DONTWAIT) == 0 || errno != EPERM);
    IN(sendmsg(WORKER_FD_SHELF + 1, &none, MSG_DONTWAIT) < 0 && errno == EPERM);
    IN(recvmsg(WORKER_FD_SHELF + 1, &none, MSG_DONTWAIT) < 0 && errno == EPERM);
    return 0;
}

static int body_no_others(void)
{
    IN(kill(getppid(), 0) < 0 && errno == EPERM);
    IN(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
    IN(syscall(SYS_tgkill, getpid(), gettid(), 0) == 0);
    IN(fork() < 0 && errno == EPERM);
    IN(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
    struct rlimit r;
    IN(prlimit(getppid(), RLIMIT_CORE, NULL, &r) < 0 && errno == EPERM);
    IN(fcntl(0, F_SETOWN, getppid()) < 0 && errno == EPERM);
    IN(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 && errno == EPERM);
    IN(syscall(SYS_pidfd_open, getppid(), 0) < 0 && errno == EPERM);
    char c = 'x';
    IN(ioctl(0, TIOCSTI, &c) < 0 && errno == EPERM);
    return 0;
}

static int body_no_new_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IN(p == MAP_FAILED && errno == EPERM);
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IN(p != MAP_FAILED);
    IN(mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) < 0 && errno == EPERM);
    return 0;
}

static int body_execve(void)
{
    char *argv[] = {(char *)(uintptr_t) "true", NULL};
    execve("/bin/true", argv, argv + 1);
    return 0;
}

static int body_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? 0 : 1;
}

static int body_mount(void)
{
    return mount("none", "/mnt", "tmpfs", 0, NULL) < 0 ? 0 : 1;
}

static int body_setuid(void)
{
    return setuid(0) < 0 ? 0 : 1;
}

static int body_foreign_calls(void)
{
#if defined(__x86_64__)
    /* x32's getpid. */
    return syscall(0x40000000 + SYS_getpid) < 0 ? 0 : 1;
#else
    raise(SIGKILL);
    return 1;
#endif
}

static int body_no_second_filter(void)
{
    return syscall(SYS_seccomp, 0, 0, NULL) < 0 && errno == EPERM ? 0 : 1;
}

#define KILLED (128 + SIGSYS)

static void test_status(void)
{
    EXPECT_EQ(jailed(body_status), 0);
}

static void test_root_is_gone(void)
{
    if (geteuid() != 0) {
        printf("     (not root: nothing to give up)\n");
        return;
    }
    gid_t extra = 1;
    EXPECT(setgroups(1, &extra) == 0);
    EXPECT_EQ(jailed(body_root_is_gone), 0);
}

static void test_work(void)
{
    EXPECT_EQ(jailed(body_work), 0);
}

static void test_no_writing(void)
{
    EXPECT_EQ(jailed(body_no_writing), 0);
}

static void test_shared_memory(void)
{
    EXPECT_EQ(jailed(body_shared_memory), 0);
}

static void test_no_network(void)
{
    EXPECT_EQ(jailed(body_no_network), 0);
}

static void test_no_others(void)
{
    EXPECT_EQ(jailed(body_no_others), 0);
}

static void test_no_new_code(void)
{
    EXPECT_EQ(jailed(body_no_new_code), 0);
    EXPECT_EQ(jailed(body_no_second_filter), 0);
}

static void test_deadly(void)
{
    EXPECT_EQ(jailed(body_execve), KILLED);
    EXPECT_EQ(jailed(body_ptrace), KILLED);
    EXPECT_EQ(jailed(body_mount), KILLED);
    EXPECT_EQ(jailed(body_setuid), KILLED);
    EXPECT_EQ(jailed(body_foreign_calls), KILLED);
}

/* Without the filter's list at all: Landlock alone, before the driver loads. */
static void test_landlock_alone(void)
{
    if (syscall(444, NULL, 0, 1) < 1) {
        printf("     (this kernel has no Landlock)\n");
        return;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        struct jail j = {.uid = TEST_UID, .gid = TEST_UID, .max_files = 64, .parent = parent};
        if (jail_enter(&j, NULL) < 0)
            _exit(99);
        if (open(writable, O_RDONLY | O_CLOEXEC) < 0)
            _exit(1);
        if (open(writable, O_WRONLY | O_CLOEXEC) >= 0 || errno != EACCES)
            _exit(2);
        if (open("/dev/null", O_WRONLY | O_CLOEXEC) < 0)
            _exit(3);
        char *argv[] = {(char *)(uintptr_t) "true", NULL};
        execve("/bin/true", argv, argv + 1);
        _exit(errno == EACCES ? 0 : 4);
    }
    int status;
    waitpid(pid, &status, 0);
    EXPECT(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

/* A jail whose broker is gone isn't entered. */
static void test_orphan(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct jail j = {.uid = TEST_UID, .gid = TEST_UID, .max_files = 64, .parent = getpid()};
        _exit(jail_enter(&j, NULL) == -GI_FAILED_PRECONDITION ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
}

int main(void)
{
    if (!mkdtemp(scratch) || chmod(scratch, 0755) < 0)
        return 1;
    snprintf(writable, sizeof(writable), "%s/file", scratch);
    int fd = open(writable, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666) < 0)
        return 1;
    close(fd);
    MT_RUN(test_status);
    MT_RUN(test_root_is_gone);
    MT_RUN(test_work);
    MT_RUN(test_no_writing);
    MT_RUN(test_shared_memory);
    MT_RUN(test_no_network);
    MT_RUN(test_no_others);
    MT_RUN(test_no_new_code);
    MT_RUN(test_deadly);
    MT_RUN(test_landlock_alone);
    MT_RUN(test_orphan);
    gi_remove_tree_at(AT_FDCWD, scratch, NULL);
    return mt_done();
}
