/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver domain: started with the daemon, or found again, watched, and
 * started anew when it dies. One thread.
 *
 *   ABSENT ── find / make ──► UP ── its death ──► ABSENT
 *      ▲                       │
 *      └── 1 s, doubled up to 1 min, when it can't be made
 *
 * While it is up, gpu-proxy's control socket on this host (config
 * gpu_proxy_socket) leads into it: each connection becomes a stream of the link.
 *
 *  G1  Its entry is that of a zone (X1, X2), under a name that no zone can have.
 *  G2  Zones are told its number at birth: those of one that died keep a number
 *      that nobody has again soon, and their clients' channels end: its key in
 *      xenstore (proto/grants), which they watch, is gone before anything else.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "xen_driver.h"

#define NAME "@gpu" /* machine_id_valid() refuses it */
/* Not among the first four: those an HVM domain has as emulated disks, too,
 * which can't be read-only. */
#define DRIVER_ROOT_VDEV "xvde"
#define START_MS         120000
#define LINK_MS          30000
#define CHECK_MS         1000
#define RETRY_MIN_MS     1000
#define RETRY_MAX_MS     60000

struct gpu_domain {
    struct xen *x;
    char *socket, *root_image, *kernel, *cmdline;
    libxl_domain_type type;
    libxl_device_pci pci[PCI_DEVICES_MAX];
    size_t n_pci;
    int listener;
    int stop; /* eventfd */
    uint64_t memory_bytes;
    pthread_t thread;
    struct domain d; /* the thread's; death NULL: absent */
    pthread_mutex_t lock;
    uint32_t up; /* under lock: its number, 0: absent */
    struct gi_error why;
};

int gpu_domain_get(struct gpu_domain *g, uint32_t *ret_domid, struct gi_error *err)
{
    if (!g)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "there is no driver domain (configuration: xen_gpu_root)");
    GI_LOCK_SCOPE(&g->lock);
    if (!g->up)
        return gi_fail(err, GI_UNAVAILABLE, "the driver domain is not up%s%s",
                       *g->why.message ? ": " : "", g->why.message);
    *ret_domid = g->up;
    return 0;
}

static void tell(struct gpu_domain *g, uint32_t domid, const struct gi_error *why)
{
    GI_LOCK_SCOPE(&g->lock);
    g->up = domid;
    g->why = why ? *why : (struct gi_error)GI_ERROR_INIT;
}

/* ---- ABSENT ---- */

/* NOT_FOUND when it is gone, and its entry with it. */
static int find(struct gpu_domain *g, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e;
    int rc = zone_entry_read(NAME, &e, err);
    if (rc == 0)
        rc = operation_begin(&op, err);
    if (rc == 0 && !zone_lives(&op, &e)) {
        driver_withdraw(e.domid);
        zone_entry_remove(NAME, NULL);
        return gi_fail(err, GI_NOT_FOUND, "it is gone");
    }
    if (rc == 0)
        rc = events_watch(g->x->events, e.domid, &g->d.death, err);
    if (rc < 0)
        return rc == -GI_DATA_LOSS ? -GI_NOT_FOUND : rc;
    g->d.domid = e.domid;
    g->d.console = console_open(g->x->consoles, e.domid);
    return 0;
}

static int make(struct gpu_domain *g, struct gi_error *err)
{
    char device[32];
    cleanup_close int loop = -1; /* a domain that is linked has its root open */
    struct domain_plan p = {
        .id = NAME,
        .type = g->type,
        .kernel = g->kernel,
        .root_device = device,
        .root_vdev = DRIVER_ROOT_VDEV,
        .cmdline = g->cmdline,
        .pci = g->pci,
        .n_pci = g->n_pci,
        .memory_bytes = g->memory_bytes,
        .link = LINK_PACKETS,
        .stop_fd = g->stop,
    };
    int rc = loop_open(g->root_image, &loop, device, err);
    if (rc == 0)
        rc = xen_draw_zone(g->x, &p.domid, err);
    return rc < 0 ? rc : domain_make(g->x, &p, START_MS, &g->d, err);
}

/* ---- UP ---- */

static void carry_one(struct gpu_domain *g)
{
    cleanup_close int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0 && host_link_up(g->d.link) && host_link_carry(g->d.link, fd, NULL) == 0)
        (void)TAKE_FD(fd); /* the link's */
}

static bool ended(const struct gpu_domain *g)
{
    struct pollfd fds[2] = {{.fd = g->d.death->fd, .events = POLLIN},
                            {.fd = g->stop, .events = POLLIN}};
    return poll(fds, 2, 0) > 0;
}

/* Until its death, or stop. A link that breaks is made again: the domain's end
 * of it offers another. */
static void attend(struct gpu_domain *g)
{
    while (!ended(g)) {
        struct gi_error err = GI_ERROR_INIT;
        if (!host_link_up(g->d.link)) {
            host_link_free(TAKE_PTR(g->d.link));
            if (host_link_connect(g->d.domid, LINK_PACKETS, g->d.death->fd, g->stop, LINK_MS,
                                  &g->d.link, &err) < 0) {
                gi_log(GI_LOG_WARNING, "the driver domain can't be reached", "reason", err.message,
                       NULL);
                tell(g, 0, &err);
                continue;
            }
        }
        tell(g, g->d.domid, NULL);
        struct pollfd fds[3] = {
            {.fd = g->listener, .events = POLLIN},
            {.fd = g->d.death->fd, .events = POLLIN},
            {.fd = g->stop, .events = POLLIN},
        };
        if (poll(fds, 3, CHECK_MS) > 0 && fds[0].revents)
            carry_one(g);
    }
}

static bool stopping(const struct gpu_domain *g, int wait_ms)
{
    return poll(&(struct pollfd){.fd = g->stop, .events = POLLIN}, 1, wait_ms) > 0;
}

static void bury(struct gpu_domain *g)
{
    struct gi_error err = GI_ERROR_INIT;
    gi_fail(&err, GI_UNAVAILABLE, "%s", g->d.death->reason);
    gi_log(GI_LOG_ERROR, "the driver domain is dead; another is started", "reason", err.message,
           NULL);
    tell(g, 0, &err);
    driver_withdraw(g->d.domid);
    domain_forget(g->x, &g->d);
    if (xen_end_domain(g->x, g->d.domid, 0, &err) < 0)
        gi_log(GI_LOG_ERROR, "it can't be removed", "reason", err.message, NULL);
    zone_entry_remove(NAME, NULL);
}

static void *gpu_domain_main(void *arg)
{
    struct gpu_domain *g = arg;
    int pause = RETRY_MIN_MS;
    pthread_setname_np(pthread_self(), "gpu-domain");
    while (!stopping(g, 0)) {
        struct gi_error err = GI_ERROR_INIT;
        int rc = find(g, &err);
        if (rc == -GI_NOT_FOUND)
            rc = make(g, &err);
        if (rc == 0)
            rc = driver_announce(g->d.domid, &err);
        if (rc == -GI_CANCELLED)
            break;
        if (rc < 0) {
            gi_log(GI_LOG_ERROR, "the driver domain can't be started", "reason", err.message, NULL);
            tell(g, 0, &err);
            stopping(g, pause);
            pause = pause * 2 < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
            continue;
        }
        pause = RETRY_MIN_MS;
        gi_log(GI_LOG_INFO, "the driver domain is up", NULL);
        attend(g);
        if (!stopping(g, 0))
            bury(g);
    }
    return NULL;
}

/* ---- start and stop ---- */

static int listen_here(struct gpu_domain *g, struct gi_error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(g->socket) >= sizeof(addr.sun_path))
        return gi_fail(err, GI_INVALID_ARGUMENT, "gpu_proxy_socket: longer than a socket's path");
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", g->socket);
    g->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(g->socket); /* an earlier daemon's; the lock on the state says there is no other */
    if (g->listener < 0 || fchmod(g->listener, 0600) < 0 ||
        bind(g->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        chmod(g->socket, 0600) < 0 || listen(g->listener, 64) < 0)
        return gi_fail_errno(err, errno, "gpu_proxy_socket %s", g->socket);
    return 0;
}

static int choose_devices(struct gpu_domain *g, const char *const *addresses, struct gi_error *err)
{
    for (; addresses && *addresses; addresses++, g->n_pci++) {
        if (g->n_pci == PCI_DEVICES_MAX)
            return gi_fail(err, GI_INVALID_ARGUMENT, "xen_gpu_devices: more than %u",
                           PCI_DEVICES_MAX);
        if (pci_parse(*addresses, &g->pci[g->n_pci], err) < 0)
            return gi_prefix(err, "xen_gpu_devices");
    }
    return 0;
}

static int choose_type(struct gpu_domain *g, const struct xenmgr_config *c, struct gi_error *err)
{
    const char *type = c->xen_gpu_type ? c->xen_gpu_type : "auto";
    bool hvm = strcmp(type, "hvm") == 0 || (g->n_pci && strcmp(type, "auto") == 0);
    if (!hvm && g->n_pci)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "xen_gpu_type %s: only an HVM domain gets xen_gpu_devices", type);
    if (hvm && !(c->xen_gpu_kernel && *c->xen_gpu_kernel))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "xen_gpu_kernel: an HVM driver domain needs one (a vmlinuz)");
    /* Whatever zones are: a PV domain could not map their grants. */
    if (!g->x->can_pvh)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "xen_gpu_root: a driver domain needs a host that has virtualization with "
                       "nested paging");
    g->type = hvm ? LIBXL_DOMAIN_TYPE_HVM : LIBXL_DOMAIN_TYPE_PVH;
    return 0;
}

static int choose(struct gpu_domain *g, const struct xenmgr_config *c, struct gi_error *err)
{
    bool own_kernel = c->xen_gpu_kernel && *c->xen_gpu_kernel;
    g->memory_bytes = c->xen_gpu_memory;
    g->socket = strdup(c->gpu_proxy_socket);
    g->root_image = strdup(c->xen_gpu_root);
    g->kernel = strdup(own_kernel ? c->xen_gpu_kernel : g->x->kernel);
    g->cmdline = strdup(c->xen_gpu_cmdline ? c->xen_gpu_cmdline : g->x->cmdline);
    if (!g->socket || !g->root_image || !g->kernel || !g->cmdline)
        return gi_fail_errno(err, ENOMEM, "driver domain");
    int rc = xen_check_file("xen_gpu_root", g->root_image, err);
    if (rc == 0 && own_kernel)
        rc = xen_check_file("xen_gpu_kernel", g->kernel, err);
    if (rc == 0)
        rc = choose_devices(g, c->xen_gpu_devices, err);
    return rc < 0 ? rc : choose_type(g, c, err);
}

static void gpu_domain_free(struct gpu_domain *g)
{
    gi_cleanup_closep(&g->listener);
    gi_cleanup_closep(&g->stop);
    pthread_mutex_destroy(&g->lock);
    free(g->socket);
    free(g->root_image);
    free(g->kernel);
    free(g->cmdline);
    free(g);
}

int gpu_domain_start(struct xen *x, const struct xenmgr_config *c, struct gpu_domain **ret,
                     struct gi_error *err)
{
    if (!c->xen_gpu_root || !*c->xen_gpu_root)
        return 0;
    struct gpu_domain *g = calloc(1, sizeof(*g));
    if (!g)
        return gi_fail_errno(err, ENOMEM, "driver domain");
    g->x = x;
    g->listener = -1;
    pthread_mutex_init(&g->lock, NULL);
    g->stop = eventfd(0, EFD_CLOEXEC);
    int rc = g->stop < 0 ? gi_fail_errno(err, errno, "driver domain") : choose(g, c, err);
    if (rc == 0)
        rc = listen_here(g, err);
    if (rc == 0) {
        int why = pthread_create(&g->thread, NULL, gpu_domain_main, g);
        rc = why ? gi_fail_errno(err, why, "thread for the driver domain") : 0;
    }
    if (rc < 0) {
        gpu_domain_free(g);
        return rc;
    }
    *ret = g;
    return 0;
}

void gpu_domain_stop(struct gpu_domain *g)
{
    if (!g)
        return;
    eventfd_write(g->stop, 1);
    pthread_join(g->thread, NULL);
    domain_forget(g->x, &g->d);
    unlink(g->socket);
    gpu_domain_free(g);
}
