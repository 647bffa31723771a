/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of a zone that is a machine of its own, and of the driver domain: mounts
 * what a Linux needs, starts the agent (or gpu-proxy) and the ways in to it,
 * reaps, and ends the machine when one of them ends. As
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
#include <stdbool.h>
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

#include "nvidia.h"
#include "processors.h"

#define LIBEXEC        "/usr/libexec/gpu-isolated/"
#define AGENT          LIBEXEC "gpu-isolated-agent"
#define LINK           LIBEXEC "gpu-isolated-zone-link"
#define GPU_FRONT      "/usr/libexec/gpu-isolated/gpu-isolated-gpu-front"
#define GPU_BACK       LIBEXEC "gpu-isolated-gpu-back"
#define GPU_PROXY      "/usr/bin/gpu-proxy"
#define SIMULATOR      "/usr/lib/gpu-isolated/libcuda-sim.so"
#define AGENT_SOCKET   "/run/gpu-isolated/agent.sock"
#define CONTROL_SOCKET "/run/gpu-isolated/control.sock"
#define ZONES_FOLDER   "/run/gpu-isolated/zones"
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
    /* Inode tables zeroed in the background would take the host's space. */
    const char *options = "noinit_itable";
    if (mount(disk, "/run/scratch", "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, options) < 0)
        fail("mount the scratch disk", disk);
}

/* What this machine is for: the one of the two programs that is in its root. */
static bool is_driver_domain(void)
{
    return access(AGENT, X_OK) < 0;
}

static const char *const agent_args[] = {
    "gpu-isolated-agent",
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
    "--gpu-front",
    GPU_FRONT,
    "--listen",
    AGENT_SOCKET,
    NULL,
};
static const char *const proxy_args[] = {
    "gpu-proxy", "--control", CONTROL_SOCKET, "--zones-dir", ZONES_FOLDER, "--driver", NULL,
};

/* The signal mask and session that a program expects, then the program. */
static _Noreturn void execute(const char *program, const char *const *args)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    execv(program, (char **)args);
    fail("exec", program);
}

/* READY is for the agent; gpu-proxy, which says nothing on it, does not inherit it. */
static _Noreturn void run_main(int argc, char **argv, int ready)
{
    bool driver = is_driver_domain();
    const char *const *own = driver ? proxy_args : agent_args;
    const char *args[MAX_ARGS];
    char fd[16];
    size_t n = 0;
    for (; own[n]; n++)
        args[n] = own[n];
    if (driver) {
        args[n++] = nvidia_here() ? "libcuda.so.1" : SIMULATOR;
    } else {
        snprintf(fd, sizeof(fd), "%d", ready);
        fcntl(ready, F_SETFD, 0); /* the agent sets it again */
        args[n++] = "--ready-fd";
        args[n++] = fd;
    }
    for (int i = 1; i < argc && n + 1 < MAX_ARGS; i++)
        args[n++] = argv[i];
    args[n] = NULL;
    execute(driver ? GPU_PROXY : AGENT, args);
}

static pid_t start(const char *program, const char *const *args)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", "");
    if (pid == 0)
        execute(program, args);
    return pid;
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

/* The way in for the host, and in the driver domain for zones. Only once there
 * is something behind it: a stream opened before would fail. */
static size_t start_doors(pid_t doors[2])
{
    static const char *const agent_link[] = {LINK, AGENT_SOCKET, NULL};
    static const char *const control_link[] = {LINK, "--packets", CONTROL_SOCKET, NULL};
    static const char *const back[] = {GPU_BACK, ZONES_FOLDER, NULL};
    if (!is_driver_domain()) {
        doors[0] = start(LINK, agent_link);
        return 1;
    }
    for (int i = 0; i < 1000 && access(CONTROL_SOCKET, F_OK) < 0; i++)
        usleep(20000);
    fprintf(stderr, "zone-init: gpu-proxy ready after %.3f s\n", seconds());
    doors[0] = start(LINK, control_link);
    doors[1] = start(GPU_BACK, back);
    return 2;
}

/* A child's end, the host's wish, a new processor. */
static sigset_t awaited(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGIO);
    return set;
}

/* Until the main program ends, or one without which nobody could reach it: the
 * exit code, or 128 and the signal. */
static int reap(pid_t program)
{
    pid_t doors[2];
    size_t n = start_doors(doors);
    int processors = processors_follow();
    if (processors < 0)
        fprintf(stderr, "zone-init: new processors will stay idle: %s\n", strerror(errno));
    const sigset_t set = awaited();
    for (;;) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            bool door = pid == doors[0] || (n > 1 && pid == doors[1]);
            if (door)
                fprintf(stderr, "zone-init: a way in ended\n");
            if (pid == program || door)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        int sig = sigwaitinfo(&set, NULL);
        if (sig == SIGTERM)
            kill(program, SIGTERM);
        else if (sig == SIGIO)
            processors_start(processors);
    }
}

int main(int argc, char **argv)
{
    if (getpid() != 1)
        return kill(1, SIGTERM) < 0;
    double kernel = seconds();
    /* Blocked first: neither a child's end nor a shutdown is missed. */
    const sigset_t set = awaited();
    sigprocmask(SIG_BLOCK, &set, NULL);
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    mount_all();
    mount_scratch();
    loopback_up();
    if (mkdir("/run/gpu-isolated", 0700) < 0 ||
        (is_driver_domain() && mkdir(ZONES_FOLDER, 0700) < 0))
        fail("mkdir", "/run/gpu-isolated");
    if (nvidia_here())
        nvidia_start();
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        fail("pipe", "");
    double mounted = seconds();
    pid_t agent = fork();
    if (agent < 0)
        fail("fork", "");
    if (agent == 0) {
        run_main(argc, argv, ready[1]);
    }
    close(ready[1]);
    tell_ready(ready[0], kernel, mounted);
    int rc = reap(agent);
    fprintf(stderr, "zone-init: the agent ended with %d\n", rc);
    if (rc != 0)
        return rc; /* a panic: the host sees a crash, not a shutdown */
    sync();
    reboot(RB_POWER_OFF);
    fail("reboot", "");
}
