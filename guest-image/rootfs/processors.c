/* SPDX-License-Identifier: Apache-2.0 */
#include "processors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOLDER        "/devices/system/cpu/"
#define CPUS          128u /* CONFIG_NR_CPUS of the zone's kernel */
#define KERNEL_EVENTS 1u   /* the group of events that the kernel itself tells */

int processors_follow(void)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_EVENTS};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Gone again, or at work already: nothing to do. */
static void start(unsigned cpu)
{
    char path[64], is = '1';
    snprintf(path, sizeof(path), "/sys" FOLDER "cpu%u/online", cpu);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, &is, 1) == 1 && is == '0' && write(fd, "1", 1) != 1)
        fprintf(stderr, "zone-init: processor %u: %s\n", cpu, strerror(errno));
    close(fd);
}

static void start_all(void)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        start(cpu);
}

void processors_start(int fd)
{
    char event[2048];
    for (;;) {
        struct sockaddr_nl from = {.nl_pid = 1};
        socklen_t length = sizeof(from);
        ssize_t n = recvfrom(fd, event, sizeof(event) - 1, 0, (struct sockaddr *)&from, &length);
        if (n < 0 && errno == ENOBUFS) { /* events were lost */
            start_all();
            continue;
        }
        if (n < 0)
            return;
        event[n] = '\0';
        unsigned cpu;
        int end = 0;
        if (from.nl_pid == 0 && sscanf(event, "add@" FOLDER "cpu%u%n", &cpu, &end) == 1 && end &&
            !event[end])
            start(cpu);
    }
}
