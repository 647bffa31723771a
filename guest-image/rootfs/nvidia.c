/* SPDX-License-Identifier: Apache-2.0 */
#include "nvidia.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MODULE_MAJOR  195 /* linux/Documentation/admin-guide/devices.txt */
#define CONTROL_MINOR 255
#define GPUS          "/proc/driver/nvidia/gpus"

static _Noreturn void fail(const char *what, const char *which)
{
    fprintf(stderr, "zone-init: %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

/* ---- texts ---- */

int nvidia_options(const char *line, const char *name, char *out, size_t size)
{
    size_t len = strlen(name), used = 0;
    out[0] = '\0';
    for (const char *at = line; *at;) {
        at += strspn(at, " \n");
        size_t n = strcspn(at, " \n");
        if (n > len && strncmp(at, name, len) == 0 && at[len] == '.') {
            int more = snprintf(out + used, size - used, "%s%.*s", used ? " " : "",
                                (int)(n - len - 1), at + len + 1);
            if ((size_t)more >= size - used)
                return -1;
            used += (size_t)more;
        }
        at += n;
    }
    return 0;
}

int nvidia_major(const char *devices, const char *name)
{
    /* "Character devices:" come first; block devices have numbers of their own. */
    const char *end = strstr(devices, "Block devices:");
    for (const char *at = devices; at && (!end || at < end); at = strchr(at, '\n')) {
        char word[64];
        int major;
        at += *at == '\n';
        if (sscanf(at, "%d %63s", &major, word) == 2 && strcmp(word, name) == 0)
            return major;
    }
    return -1;
}

int nvidia_minor(const char *information)
{
    const char *at = strstr(information, "Device Minor:");
    int minor;
    return at && sscanf(at, "Device Minor: %d", &minor) == 1 ? minor : -1;
}

/* ---- this machine ---- */

static void read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && n < size - 1) {
        got = read(fd, text + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        fail("read", path);
    close(fd);
    text[n] = '\0';
}

static void insert(const char *file, const char *options)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail("open", file);
    if (syscall(SYS_finit_module, fd, options, 0) < 0)
        fail("insert (ENODEV: there is no GPU that it drives)", file);
    close(fd);
}

static void device(const char *path, int major, int minor)
{
    /* Workers have no rights but these; who gets to be one, gpu-proxy says. */
    mode_t old = umask(0);
    if (mknod(path, S_IFCHR | 0666, makedev((unsigned)major, (unsigned)minor)) < 0 &&
        errno != EEXIST)
        fail("make", path);
    umask(old);
}

static void gpu_devices(void)
{
    DIR *d = opendir(GPUS);
    if (!d)
        fail("open", GPUS);
    for (const struct dirent *e; (e = readdir(d));) {
        char path[320], text[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), GPUS "/%s/information", e->d_name);
        read_text(path, text, sizeof(text));
        int minor = nvidia_minor(text);
        if (minor < 0)
            continue;
        snprintf(path, sizeof(path), "/dev/nvidia%d", minor);
        device(path, MODULE_MAJOR, minor);
        fprintf(stderr, "zone-init: %s is the GPU at %s\n", path, e->d_name);
    }
    closedir(d);
}

bool nvidia_here(void)
{
    return access(NVIDIA_MODULES "nvidia.ko", R_OK) == 0;
}

void nvidia_start(void)
{
    char line[4096], options[4096], devices[8192];
    read_text("/proc/cmdline", line, sizeof(line));
    errno = E2BIG;
    if (nvidia_options(line, "nvidia", options, sizeof(options)) < 0)
        fail("options of", "nvidia");
    insert(NVIDIA_MODULES "nvidia.ko", options);
    insert(NVIDIA_MODULES "nvidia-uvm.ko", "");
    read_text("/proc/devices", devices, sizeof(devices));
    int uvm = nvidia_major(devices, "nvidia-uvm");
    errno = ENODEV;
    if (uvm < 0)
        fail("find in /proc/devices", "nvidia-uvm");
    device("/dev/nvidiactl", MODULE_MAJOR, CONTROL_MINOR);
    device("/dev/nvidia-uvm", uvm, 0);
    device("/dev/nvidia-uvm-tools", uvm, 1);
    gpu_devices();
}
