/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's network, as its CNI plugins made it: an interface "eth0" in a network
 * namespace of this host. The domain gets a vif with that interface's hardware
 * address; the hotplug script (xen-vif) moves the vif's backend into the
 * namespace and redirects all that arrives at either to the other. What the
 * plugins set on eth0 is set in the zone, by the agent, so that whoever talks to
 * the pod's address talks to the domain.
 *
 * All that this reads is the host's own, not a guest's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "xen_driver.h"

#define INTERFACE "eth0"
#define MAX_TABLE (256u << 10)

/* ---- addresses ---- */

static unsigned prefix_length(const struct sockaddr *mask)
{
    const unsigned char *p =
        mask->sa_family == AF_INET6
            ? ((const struct sockaddr_in6 *)mask)->sin6_addr.s6_addr
            : (const unsigned char *)&((const struct sockaddr_in *)mask)->sin_addr;
    unsigned n = 0;
    for (unsigned i = 0; i < (mask->sa_family == AF_INET6 ? 16u : 4u); i++)
        n += (unsigned)__builtin_popcount(p[i]);
    return n;
}

/* Link-local ones the zone's kernel makes itself. */
static bool wanted(const struct sockaddr *a)
{
    return a->sa_family == AF_INET ||
           (a->sa_family == AF_INET6 &&
            !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)a)->sin6_addr));
}

static void add_address(const struct ifaddrs *i, struct nic *n)
{
    char text[INET6_ADDRSTRLEN];
    const void *address = i->ifa_addr->sa_family == AF_INET6
                              ? (const void *)&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr
                              : &((const struct sockaddr_in *)i->ifa_addr)->sin_addr;
    if (n->n_addresses < NIC_ADDRESSES && i->ifa_netmask &&
        inet_ntop(i->ifa_addr->sa_family, address, text, sizeof(text)))
        snprintf(n->addresses[n->n_addresses++], NIC_TEXT, "%s/%u", text,
                 prefix_length(i->ifa_netmask));
}

static int read_addresses(struct nic *n, struct gi_error *err)
{
    struct ifaddrs *all = NULL;
    struct ifreq r = {.ifr_name = INTERFACE};
    bool there = false;
    if (getifaddrs(&all) < 0)
        return gi_fail_errno(err, errno, "addresses of the pod");
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || strcmp(i->ifa_name, INTERFACE) != 0)
            continue;
        if (i->ifa_addr->sa_family == AF_PACKET) {
            const struct sockaddr_ll *ll = (const struct sockaddr_ll *)i->ifa_addr;
            memcpy(n->mac, ll->sll_addr, sizeof(n->mac));
            there = true;
        } else if (wanted(i->ifa_addr)) {
            add_address(i, n);
        }
    }
    freeifaddrs(all);
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!there || fd < 0 || ioctl(fd, SIOCGIFMTU, &r) < 0)
        return gi_fail(err, GI_FAILED_PRECONDITION, "the pod's network has no " INTERFACE);
    n->mtu = r.ifr_mtu;
    return 0;
}

/* ---- routes through a gateway; the others follow from the addresses ---- */

static void add_route(struct nic *n, int family, const void *to, unsigned prefix, const void *via)
{
    char to_text[INET6_ADDRSTRLEN], via_text[INET6_ADDRSTRLEN];
    if (n->n_routes < NIC_ROUTES && inet_ntop(family, to, to_text, sizeof(to_text)) &&
        inet_ntop(family, via, via_text, sizeof(via_text)))
        snprintf(n->routes[n->n_routes++], NIC_TEXT, "%s/%u=%s", to_text, prefix, via_text);
}

static void route_line4(char *line, struct nic *n)
{
    char name[IFNAMSIZ];
    uint32_t to, via, mask;
    unsigned flags;
    if (sscanf(line, "%15s %x %x %x %*d %*d %*d %x", name, &to, &via, &flags, &mask) == 5 &&
        strcmp(name, INTERFACE) == 0 && via)
        add_route(n, AF_INET, &to, (unsigned)__builtin_popcount(mask), &via);
}

static bool read_hex(const char *hex, unsigned char out[16])
{
    for (int i = 0; i < 16; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &out[i]) != 1)
            return false;
    return true;
}

static void route_line6(char *line, struct nic *n)
{
    static const unsigned char none[16];
    char to_hex[33], via_hex[33], name[IFNAMSIZ];
    unsigned char to[16], via[16];
    unsigned prefix;
    if (sscanf(line, "%32s %x %*s %*x %32s %*x %*x %*x %*x %15s", to_hex, &prefix, via_hex, name) ==
            4 &&
        strcmp(name, INTERFACE) == 0 && read_hex(to_hex, to) && read_hex(via_hex, via) &&
        memcmp(via, none, sizeof(none)) != 0)
        add_route(n, AF_INET6, to, prefix, via);
}

static void read_routes(const char *path, void (*line)(char *, struct nic *), struct nic *n)
{
    cleanup_free char *text = NULL;
    char *rest = NULL;
    if (gi_read_file(path, MAX_TABLE, &text, NULL, NULL) < 0)
        return; /* no IPv6 */
    for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        line(l, n);
}

/* ---- in the namespace, which is a thread's alone ---- */

struct look {
    const char *netns;
    struct nic *nic;
    struct gi_error *err;
    int rc;
};

static void *look_main(void *arg)
{
    struct look *l = arg;
    cleanup_close int fd = open(l->netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
        l->rc = gi_fail_errno(l->err, errno, "network namespace %s", l->netns);
        return NULL;
    }
    l->rc = read_addresses(l->nic, l->err);
    if (l->rc == 0) {
        read_routes("/proc/thread-self/net/route", route_line4, l->nic);
        read_routes("/proc/thread-self/net/ipv6_route", route_line6, l->nic);
    }
    return NULL;
}

int nic_read(const char *netns, struct nic *ret, struct gi_error *err)
{
    struct nic n = {.mtu = 0};
    struct look l = {netns, &n, err, 0};
    pthread_t thread;
    int why = pthread_create(&thread, NULL, look_main, &l);
    if (why)
        return gi_fail_errno(err, why, "thread for a network namespace");
    pthread_join(thread, NULL);
    if (l.rc == 0)
        *ret = n;
    return l.rc;
}

/* ---- for libxl and for the zone ---- */

int nic_describe(const struct nic *n, const char *netns, const char *script, libxl_device_nic *d)
{
    libxl_device_nic_init(d);
    memcpy(d->mac, n->mac, sizeof(n->mac));
    d->mtu = n->mtu;
    d->nictype = LIBXL_NIC_TYPE_VIF;
    d->script = strdup(script);
    d->bridge = strdup(netns); /* what the script finds as "bridge": where it belongs */
    return d->script && d->bridge ? 0 : -1;
}

int nic_words(const struct nic *n, struct gi_buf *b)
{
    int rc = gi_buf_printf(b, " --mtu %d", n->mtu);
    for (size_t i = 0; i < n->n_addresses; i++)
        rc |= gi_buf_printf(b, " --address %s", n->addresses[i]);
    for (size_t i = 0; i < n->n_routes; i++)
        rc |= gi_buf_printf(b, " --route %s", n->routes[i]);
    return rc;
}
