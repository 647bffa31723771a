/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
/* After net/route.h, whose names it shares. */
#include <linux/ipv6.h>

#include "base/cleanup.h"
#include "base/log.h"

#define INTERFACE "eth0"
#define TRIES     500
#define WAIT_US   10000
#define TEXT      104

/* "10.1.0.5/16", and "=10.1.0.1" behind it when VIA is wanted. */
struct parsed {
    int family;
    unsigned prefix;
    struct in_addr a4, via4;
    struct in6_addr a6, via6;
};

static int parse(const char *text, bool with_via, struct parsed *p, struct gi_error *err)
{
    char copy[TEXT];
    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return gi_fail(err, GI_INVALID_ARGUMENT, "too long: \"%.60s\"", text);
    char *via = strchr(copy, '=');
    char *slash = strchr(copy, '/');
    if (via)
        *via++ = '\0';
    if (!slash || (via != NULL) != with_via)
        return gi_fail(err, GI_INVALID_ARGUMENT, "no network: \"%s\"", text);
    *slash++ = '\0';
    char *end;
    unsigned long prefix = strtoul(slash, &end, 10);
    memset(p, 0, sizeof(*p));
    p->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
    p->prefix = (unsigned)prefix;
    bool six = p->family == AF_INET6;
    bool ok = inet_pton(p->family, copy, six ? (void *)&p->a6 : &p->a4) == 1 && end != slash &&
              !*end && prefix <= (six ? 128 : 32) &&
              (!via || inet_pton(p->family, via, six ? (void *)&p->via6 : &p->via4) == 1);
    return ok ? 0 : gi_fail(err, GI_INVALID_ARGUMENT, "no network: \"%s\"", text);
}

static struct sockaddr_in in4(struct in_addr a)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = a};
}

static struct in_addr mask_of(unsigned prefix)
{
    return (struct in_addr){prefix ? htonl(~0u << (32 - prefix)) : 0};
}

static int set_address(int fd4, int fd6, const struct parsed *p, int index)
{
    struct ifreq r = {.ifr_name = INTERFACE};
    if (p->family == AF_INET6) {
        struct in6_ifreq r6 = {
            .ifr6_addr = p->a6, .ifr6_prefixlen = p->prefix, .ifr6_ifindex = index};
        return ioctl(fd6, SIOCSIFADDR, &r6);
    }
    struct sockaddr_in a = in4(p->a4), m = in4(mask_of(p->prefix));
    memcpy(&r.ifr_addr, &a, sizeof(a));
    if (ioctl(fd4, SIOCSIFADDR, &r) < 0)
        return -1;
    memcpy(&r.ifr_netmask, &m, sizeof(m));
    return ioctl(fd4, SIOCSIFNETMASK, &r);
}

static int add_route(int fd4, int fd6, const struct parsed *p, int index)
{
    if (p->family == AF_INET6) {
        struct in6_rtmsg r6 = {.rtmsg_dst = p->a6,
                               .rtmsg_gateway = p->via6,
                               .rtmsg_dst_len = (uint16_t)p->prefix,
                               .rtmsg_flags = RTF_UP | RTF_GATEWAY,
                               .rtmsg_metric = 1,
                               .rtmsg_ifindex = index};
        return ioctl(fd6, SIOCADDRT, &r6);
    }
    char name[] = INTERFACE;
    struct sockaddr_in to = in4(p->a4), mask = in4(mask_of(p->prefix)), via = in4(p->via4);
    struct rtentry r = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = name};
    memcpy(&r.rt_dst, &to, sizeof(to));
    memcpy(&r.rt_genmask, &mask, sizeof(mask));
    memcpy(&r.rt_gateway, &via, sizeof(via));
    return ioctl(fd4, SIOCADDRT, &r);
}

/* The kernel's other half may still be greeting the backend. */
static int find_interface(int fd, int *ret_index, struct gi_error *err)
{
    struct ifreq r = {.ifr_name = INTERFACE};
    for (int i = 0; i < TRIES; i++) {
        if (ioctl(fd, SIOCGIFINDEX, &r) == 0) {
            *ret_index = r.ifr_ifindex;
            return 0;
        }
        usleep(WAIT_US);
    }
    return gi_fail_errno(err, errno, "the zone's " INTERFACE);
}

static int bring_up(int fd, long mtu, struct gi_error *err)
{
    struct ifreq r = {.ifr_name = INTERFACE, .ifr_mtu = (int)mtu};
    if (mtu && ioctl(fd, SIOCSIFMTU, &r) < 0)
        return gi_fail_errno(err, errno, INTERFACE ": MTU %ld", mtu);
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        return gi_fail_errno(err, errno, INTERFACE ": up");
    return 0;
}

/* Addresses are unique already, the host's plugins saw to it: not to wait for
 * the kernel to find out. */
static void no_duplicate_detection(void)
{
    cleanup_close int fd =
        open("/proc/sys/net/ipv6/conf/" INTERFACE "/accept_dad", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "0", 1) < 0)
        gi_log(GI_LOG_DEBUG, "duplicate address detection stays on", NULL);
}

int net_set_up(const struct options *o, struct gi_error *err)
{
    if (o->n_addresses == 0)
        return 0;
    int index = 0;
    struct parsed p;
    cleanup_close int fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cleanup_close int fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd4 < 0 ? gi_fail_errno(err, errno, "socket") : find_interface(fd4, &index, err);
    no_duplicate_detection();
    if (rc == 0)
        rc = bring_up(fd4, o->mtu, err);
    for (size_t i = 0; rc == 0 && i < o->n_addresses; i++) {
        rc = parse(o->addresses[i], false, &p, err);
        if (rc == 0 && set_address(fd4, fd6, &p, index) < 0)
            rc = gi_fail_errno(err, errno, INTERFACE ": address %s", o->addresses[i]);
    }
    for (size_t i = 0; rc == 0 && i < o->n_routes; i++) {
        rc = parse(o->routes[i], true, &p, err);
        if (rc == 0 && add_route(fd4, fd6, &p, index) < 0)
            rc = gi_fail_errno(err, errno, INTERFACE ": route %s", o->routes[i]);
    }
    return rc;
}
