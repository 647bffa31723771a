/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of a zone that is a machine of its own: mounts what a Linux needs,
 * starts the agent, reaps, and ends the machine when the agent ends. As
 * /sbin/poweroff (the kernel runs it when the host asks for a shutdown) it
 * tells PID 1 to do so.
 *
 * Its arguments, all that follows "--" on the kernel's command line, are
 * given to the agent behind those of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT  "/usr/libexec/gpu-isolated/gpu-isolated-agent"
#define LINK   "/usr/libexec/gpu-isolated/gpu-isolated-zone-link"
#define SOCKET "/run/gpu-isolated/agent.sock"
enum { MAX_ARGS = 64 };

static const struct {
    const char *type, *target, *options;
    unsigned long flags;
} mounts[] = {
    {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"devtmpfs", "/dev", "mode=0755", MS_NOSUID | MS_NOEXEC},
    {"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
    {"tmpfs", "/dev/shm", NULL, MS_NOSUID | MS_NODEV},
    {"mqueue", "/dev/mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
    {"tmpfs", "/tmp", NULL, MS_NOSUID | MS_NODEV},
    {"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* An exit of PID 1 is a kernel panic, and the host sees a crashed domain. */
static _Noreturn void fail(const char *what, const char *which)
{
    fprintf(stderr, "zone-init: %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

static void mount_all(void)
{
    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        const char *at = mounts[i].target;
        if (strncmp(at, "/dev/", 5) == 0 && mkdir(at, 0755) < 0 && errno != EEXIST)
            fail("mkdir", at);
        /* The kernel mounts /dev itself (CONFIG_DEVTMPFS_MOUNT). */
        int rc = mount(mounts[i].type, at, mounts[i].type, mounts[i].flags, mounts[i].options);
        if (rc < 0 && !(errno == EBUSY && strcmp(at, "/dev") == 0))
            fail("mount", at);
    }
}

/* Programs talk to themselves by it, network or none. */
static void loopback_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        fail("bring up", "lo");
    close(fd);
}

/* DISK is a word of the command line: the scratch disk, with ext4 on it. */
static void mount_scratch(void)
{
    char line[4096] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    if (n < 0)
        fail("read", "/proc/cmdline");
    close(fd);
    line[n] = '\0';
    if (mkdir("/run/scratch", 0700) < 0)
        fail("mkdir", "/run/scratch");
    const char *word = strstr(line, "zone.scratch=/dev/xvd");
    if (!word)
        return;
    char disk[32] = "";
    sscanf(word, "zone.scratch=%31s", disk);
    if (mount(disk, "/run/scratch", "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) < 0)
        fail("mount the scratch disk", disk);
}

static _Noreturn void run_agent(int argc, char **argv, int ready)
{
    char fd[16];
    snprintf(fd, sizeof(fd), "%d", ready);
    const char *args[MAX_ARGS] = {
        "gpu-isolated-agent",
        "--ready-fd",
        fd,
        "--scratch",
        "/run/scratch/containers",
        "--oci",
        "/usr/bin/crun",
        "--oci-kind",
        "crun",
        "--cgroup",
        "v2",
        "--cgroup-path",
        "/zone",
        "--libvgpu",
        "/usr/lib/gpu-isolated/libcuda.so.1",
        "--listen",
        SOCKET,
    };
    size_t n = 0;
    while (args[n])
        n++;
    for (int i = 1; i < argc && n + 1 < MAX_ARGS; i++)
        args[n++] = argv[i];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    execv(AGENT, (char **)args);
    fail("exec", AGENT);
}

/* Prints what the agent says when it is ready, and how long all took. */
static void tell_ready(int fd, double kernel, double mounted)
{
    char line[512] = "";
    ssize_t n = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (n <= 0)
        return; /* it died; reap() knows */
    double now = seconds();
    fprintf(stderr, "zone-init: agent %s; seconds: kernel %.3f, init %.3f, agent %.3f, all %.3f\n",
            line, kernel, mounted - kernel, now - mounted, now);
}

/* The host's way in. Only once the agent listens: a stream opened before would fail. */
static pid_t start_link(void)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", "");
    if (pid > 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    execl(LINK, LINK, SOCKET, NULL);
    fail("exec", LINK);
}

/* Until the agent ends, or the link, without which nobody could reach it: the
 * exit code, or 128 and the signal. */
static int reap(pid_t agent, pid_t link)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    for (;;) {
        int sig = sigwaitinfo(&set, NULL);
        if (sig == SIGTERM)
            kill(agent, SIGTERM);
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid == link)
                fprintf(stderr, "zone-init: the link to the host ended\n");
            if (pid == agent || pid == link)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

int main(int argc, char **argv)
{
    if (getpid() != 1)
        return kill(1, SIGTERM) < 0;
    double kernel = seconds();
    /* Blocked first: neither a child's end nor a shutdown is missed. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    mount_all();
    mount_scratch();
    loopback_up();
    if (mkdir("/run/gpu-isolated", 0700) < 0)
        fail("mkdir", "/run/gpu-isolated");
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        fail("pipe", "");
    double mounted = seconds();
    pid_t agent = fork();
    if (agent < 0)
        fail("fork", "");
    if (agent == 0) {
        fcntl(ready[1], F_SETFD, 0); /* the agent sets it again */
        run_agent(argc, argv, ready[1]);
    }
    close(ready[1]);
    tell_ready(ready[0], kernel, mounted);
    int rc = reap(agent, start_link());
    fprintf(stderr, "zone-init: the agent ended with %d\n", rc);
    if (rc != 0)
        return rc; /* a panic: the host sees a crash, not a shutdown */
    sync();
    reboot(RB_POWER_OFF);
    fail("reboot", "");
}
