/* SPDX-License-Identifier: Apache-2.0 */
/* A zone's domain: described, built, started, ended. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"
#include "xen_driver.h"

#define DEFAULT_MEMORY (256u << 20)
#define DEFAULT_VCPUS  1u
#define MIN_MEMORY     (64u << 20)
#define MAX_VCPUS      128u    /* of the zones' kernel: CONFIG_NR_CPUS */
#define MAX_CMDLINE    2000u   /* the kernel's own limit is 2048 */
#define MAX_SYSCTLS    4u      /* the kernel gives init 32 words at most */
#define GPU_GRANTS     262144u /* pages of channels; Xen's own limit is usually lower */

/* ---- describing ---- */

/* One word of a kernel's command line: quotes and blanks would make it more. */
static bool is_word(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~' || *s == '"')
            return false;
    return true;
}

/* "<configured> hostname=pod ... -- --zone N --sysctl K=V ...": behind "--" is init's. */
static char *zone_command_line(const struct xen *x, const struct machine_config *m,
                               const struct nic *nic, uint32_t gpu_domain)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(MAX_CMDLINE);
    int rc = gi_buf_printf(&b, "%s", x->cmdline);
    if (m->hostname && *m->hostname)
        rc |= gi_buf_printf(&b, " hostname=%s", m->hostname);
    if (x->scratch_bytes)
        rc |= gi_buf_printf(&b, " zone.scratch=/dev/" SCRATCH_VDEV);
    if (gpu_domain)
        rc |= gi_buf_printf(&b, " xen_gntalloc.limit=%u", GPU_GRANTS);
    rc |= gi_buf_printf(&b, " -- --zone %u", m->zone_id);
    if (gpu_domain)
        rc |= gi_buf_printf(&b, " --gpu-domain %u", gpu_domain);
    if (nic)
        rc |= nic_words(nic, &b);
    for (size_t i = 0; m->sysctls && m->sysctls[i]; i++)
        rc |= gi_buf_printf(&b, " --sysctl %s", m->sysctls[i]);
    return rc ? NULL : strdup(b.data);
}

static int check_words(const struct machine_config *m, struct gi_error *err)
{
    size_t n = 0;
    if (m->hostname && (!is_word(m->hostname) || strlen(m->hostname) > 64))
        return gi_fail(err, GI_INVALID_ARGUMENT, "hostname: not 1 to 64 printable characters");
    for (; m->sysctls && m->sysctls[n]; n++)
        if (!is_word(m->sysctls[n]))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "sysctl \"%.100s\": blanks and quotes can't be given to a Xen domain",
                           m->sysctls[n]);
    return n > MAX_SYSCTLS ? gi_fail(err, GI_INVALID_ARGUMENT, "more than %u sysctls", MAX_SYSCTLS)
                           : 0;
}

static int describe_disks(const struct xen *x, const struct domain_plan *p, libxl_domain_config *d)
{
    d->disks = calloc(2, sizeof(*d->disks));
    if (!d->disks)
        return -1;
    d->num_disks = 1;
    int rc = disk_describe(x, p->root_device, p->root_vdev, &d->disks[0]);
    if (rc || !p->scratch_device)
        return rc;
    d->num_disks = 2;
    rc = disk_describe(x, p->scratch_device, SCRATCH_VDEV, &d->disks[1]);
    d->disks[1].readwrite = 1;
    return rc;
}

static int describe_nic(const struct xen *x, const struct domain_plan *p, libxl_domain_config *d)
{
    if (!p->nic)
        return 0;
    d->nics = calloc(1, sizeof(*d->nics));
    if (!d->nics)
        return -1;
    d->num_nics = 1;
    return nic_describe(p->nic, p->netns, x->vif_script, &d->nics[0]);
}

static int describe_pci(const struct domain_plan *p, libxl_domain_config *d)
{
    if (!p->n_pci)
        return 0;
    d->pcidevs = calloc(p->n_pci, sizeof(*d->pcidevs));
    if (!d->pcidevs)
        return -1;
    d->num_pcidevs = (int)p->n_pci;
    for (size_t i = 0; i < p->n_pci; i++)
        d->pcidevs[i] = p->pci[i];
    return 0;
}

/* An HVM domain's QEMU shows it nothing but what has to be there to boot. */
static void describe_emulation(libxl_domain_build_info *b)
{
    b->device_model_version = LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    b->u.hvm.vga.kind = LIBXL_VGA_INTERFACE_TYPE_NONE;
    libxl_defbool_set(&b->u.hvm.nographic, true);
    libxl_defbool_set(&b->u.hvm.vnc.enable, false);
    libxl_defbool_set(&b->u.hvm.sdl.enable, false);
    libxl_defbool_set(&b->u.hvm.usb, false);
}

static unsigned plan_vcpus(const struct domain_plan *p)
{
    return p->vcpus ? p->vcpus : DEFAULT_VCPUS;
}

uint64_t xen_memory_kb(uint64_t bytes)
{
    if (!bytes)
        bytes = DEFAULT_MEMORY;
    if (bytes < MIN_MEMORY)
        bytes = MIN_MEMORY;
    /* Whole MiB: libxl lays a domain out in them, but lets it have what was asked for. */
    return (bytes + (1u << 20) - 1) >> 20 << 10;
}

static int describe(const struct xen *x, struct operation *op, const struct domain_plan *p,
                    const struct zone_entry *e, libxl_domain_config *d)
{
    unsigned growth = p->growth ? p->growth : 1;
    unsigned vcpus = plan_vcpus(p);
    libxl_domain_create_info *c = &d->c_info;
    libxl_domain_build_info *b = &d->b_info;
    c->type = p->type;
    if (asprintf(&c->name, XEN_NAME_PREFIX "%s", p->id) < 0)
        c->name = NULL;
    c->domid = e->domid;
    libxl_uuid_copy(op->ctx, &c->uuid, &e->uuid);
    libxl_domain_build_info_init_type(b, c->type);
    if (c->type == LIBXL_DOMAIN_TYPE_HVM)
        describe_emulation(b);
    b->max_vcpus = (int)(vcpus * growth < MAX_VCPUS ? vcpus * growth : MAX_VCPUS);
    if (b->max_vcpus < (int)vcpus)
        b->max_vcpus = (int)vcpus;
    /* All of them: of a processor that its tables call absent a PVH domain's kernel has not
     * the number that wakes it. Those too many are taken away before it starts. */
    if (libxl_cpu_bitmap_alloc(op->ctx, &b->avail_vcpus, b->max_vcpus))
        return -1;
    libxl_bitmap_set_any(&b->avail_vcpus);
    b->target_memkb = xen_memory_kb(p->memory_bytes);
    b->max_memkb = b->target_memkb * growth;
    b->kernel = strdup(p->kernel);
    b->cmdline = strdup(p->cmdline);
    if (!c->name || !b->kernel || !b->cmdline)
        return -1;
    /* Guests' deaths are ours to see and to clean up: libxl itself acts on none. */
    d->on_poweroff = d->on_reboot = d->on_crash = d->on_watchdog = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    return describe_disks(x, p, d) || describe_nic(x, p, d) || describe_pci(p, d) ? -1 : 0;
}

/* ---- building ---- */

/* Each build copies a kernel and zeroes memory: few at once are faster than many. */
static void build_slot_take(struct xen *x)
{
    GI_LOCK_SCOPE(&x->lock);
    while (x->builds >= x->max_builds)
        pthread_cond_wait(&x->build_done, &x->lock);
    x->builds++;
}

static void build_slot_give(struct xen *x)
{
    GI_LOCK_SCOPE(&x->lock);
    x->builds--;
    pthread_cond_broadcast(&x->build_done); /* not signal: see base/idle.h */
}

static int build(struct xen *x, struct operation *op, const struct domain_plan *p,
                 const struct zone_entry *e, struct gi_error *err)
{
    libxl_domain_config d;
    uint32_t domid = INVALID_DOMID;
    libxl_domain_config_init(&d);
    int rc = describe(x, op, p, e, &d);
    if (rc) {
        rc = gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    } else {
        build_slot_take(x);
        rc = libxl_domain_create_new(op->ctx, &d, &domid, NULL, NULL);
        build_slot_give(x);
        if (rc)
            rc = operation_failed(op, err, rc, "build the domain of %s", p->id);
        else if (domid != e->domid)
            rc = gi_fail(err, GI_INTERNAL, "Xen gave domain %u instead of %u", domid, e->domid);
    }
    libxl_domain_config_dispose(&d);
    return rc;
}

static int start(struct xen *x, struct operation *op, const struct domain_plan *p,
                 const struct zone_entry *e, int64_t until, struct domain *d, struct gi_error *err)
{
    int rc = build(x, op, p, e, err);
    GI_FAILPOINT(rc, "xen_domain_built", err);
    if (rc < 0)
        return rc;
    d->console = console_open(x->consoles, e->domid);
    rc = events_watch(x->events, e->domid, &d->death, err);
    if (rc < 0)
        return rc;
    int why = p->growth > 1 ? xen_online(op, e->domid, plan_vcpus(p)) : 0;
    if (why == 0)
        why = libxl_domain_unpause(op->ctx, e->domid, NULL);
    rc = why ? operation_failed(op, err, why, "start domain %u", e->domid) : 0;
    GI_FAILPOINT(rc, "xen_domain_started", err);
    if (rc < 0)
        return rc;
    /* A build can't be given up; the boot can. */
    int64_t left = (until - gi_monotonic_ns()) / 1000000;
    rc = host_link_connect(e->domid, p->link, d->death->fd, p->stop_fd > 0 ? p->stop_fd : -1,
                           left > 0 ? (int)left : 0, &d->link, err);
    GI_FAILPOINT(rc, "xen_agent_linked", err);
    return rc;
}

/* Why it did not come up, the guest knows best. */
static void quote_console(struct console *c, struct gi_error *err)
{
    char words[CONSOLE_WORDS];
    console_last_words(c, words);
    if (!err || !words[0])
        return;
    const struct gi_error why = *err;
    gi_fail(err, why.code, "%.320s; on its console: \"%s\"", why.message, words);
}

int domain_make(struct xen *x, const struct domain_plan *p, int timeout_ms, struct domain *ret,
                struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e = {.domid = p->domid};
    struct domain d = {.domid = p->domid};
    int64_t until = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    libxl_uuid_generate(&e.uuid);
    rc = zone_entry_write(p->id, &e, err); /* X1 */
    if (rc < 0)
        return rc;
    GI_FAILPOINT(rc, "xen_entry_written", err);
    if (rc == 0)
        rc = start(x, &op, p, &e, until, &d, err);
    if (rc < 0) {
        quote_console(d.console, err);
        domain_forget(x, &d);
        if (zone_lives(&op, &e)) /* half built, or mute */
            libxl_domain_destroy(op.ctx, e.domid, NULL);
        zone_entry_remove(p->id, NULL);
        return rc;
    }
    *ret = d;
    return 0;
}

void domain_forget(struct xen *x, struct domain *d)
{
    host_link_free(TAKE_PTR(d->link));
    events_unwatch(x->events, TAKE_PTR(d->death));
    console_close(TAKE_PTR(d->console));
}

int xen_create(void *driver, const struct machine_config *m, int timeout_ms,
               struct machine_facts *ret_facts, struct gi_error *err)
{
    struct xen *x = driver;
    struct zone_entry e;
    struct domain d;
    uint32_t gpu_domain = 0;
    if (zone_entry_read(m->id, &e, NULL) == 0)
        return gi_fail(err, GI_ALREADY_EXISTS, "there is a zone %s already", m->id);
    int rc = check_words(m, err);
    if (rc == 0 && m->gpu_socket)
        rc = gpu_domain_get(x->gpu, &gpu_domain, err);
    if (rc < 0)
        return rc;
    struct nic nic;
    if (m->netns_path)
        rc = nic_read(m->netns_path, &nic, err);
    if (rc < 0)
        return rc;
    cleanup_free char *cmdline = zone_command_line(x, m, m->netns_path ? &nic : NULL, gpu_domain);
    if (!cmdline)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the kernel's command line gets too long");
    /* Ours until the agent has answered: then the zone has its disk. */
    char scratch_device[32];
    cleanup_close int scratch = -1;
    if (x->scratch_bytes)
        rc = scratch_make(x, &scratch, scratch_device, err);
    GI_FAILPOINT(rc, "xen_scratch_made", err);
    if (rc < 0)
        return rc;
    const struct domain_plan p = {
        .id = m->id,
        .domid = m->zone_id,
        .type = x->pvh ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV,
        .kernel = x->kernel,
        .root_device = x->root_device,
        .root_vdev = ROOT_VDEV,
        .scratch_device = x->scratch_bytes ? scratch_device : NULL,
        .cmdline = cmdline,
        .memory_bytes = m->memory_bytes,
        .vcpus = m->vcpus,
        .growth = x->resize_factor,
        .link = LINK_BYTES,
        .nic = m->netns_path ? &nic : NULL,
        .netns = m->netns_path,
    };
    rc = domain_make(x, &p, timeout_ms, &d, err);
    if (rc == 0)
        rc = zone_facts(&d, ret_facts, err);
    return rc;
}

/* ---- ending ---- */

/* Waits until the domain has shut down or is no more. */
static bool wait_end(struct operation *op, uint32_t domid, int ms)
{
    int64_t until = gi_monotonic_ns() + (int64_t)ms * 1000000;
    for (;;) {
        libxl_dominfo info;
        libxl_dominfo_init(&info);
        int rc = libxl_domain_info(op->ctx, &info, domid);
        bool ended = rc == ERROR_DOMAIN_NOTFOUND || (rc == 0 && (info.shutdown || info.dying));
        libxl_dominfo_dispose(&info);
        if (ended || gi_monotonic_ns() >= until)
            return ended;
        usleep(50000);
    }
}

int xen_end_domain(struct xen *x, uint32_t domid, int grace_ms, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    (void)x;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    if (grace_ms > 0 && libxl_domain_shutdown(op.ctx, domid, NULL) == 0)
        wait_end(&op, domid, grace_ms);
    rc = libxl_domain_destroy(op.ctx, domid, NULL);
    if (rc && rc != ERROR_DOMAIN_NOTFOUND && libxl_domain_info(op.ctx, NULL, domid) == 0)
        return operation_failed(&op, err, rc, "destroy domain %u", domid);
    return 0;
}
