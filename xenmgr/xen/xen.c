/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: opened, its machines found again, swept. */
#include "xen_driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/io.h"
#include "base/log.h"

#define MAX_BUILDS    4
#define LAST_WORDS_US 100000

/* ---- open and close ---- */

static void xen_close(void *driver)
{
    struct xen *x = driver;
    gpu_domain_stop(x->gpu);
    events_stop(x->events);
    consoles_stop(x->consoles);
    gi_cleanup_closep(&x->root_loop);
    gi_cleanup_closep(&x->scratch_empty);
    free(x->scratch_dir);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->build_done);
    free(x->run_dir);
    free(x->kernel);
    free(x->root_image);
    free(x->cmdline);
    free(x->block_script);
    free(x->vif_script);
    free(x);
}

/* What the hypervisor is and can. */
static int look(struct xen *x, const char *type, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    libxl_physinfo info;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    const libxl_version_info *v = libxl_get_version_info(op.ctx);
    libxl_physinfo_init(&info);
    rc = libxl_get_physinfo(op.ctx, &info);
    x->can_pvh = rc == 0 && info.cap_hvm && info.cap_hap;
    if (rc || !v) {
        rc = operation_failed(&op, err, rc, "ask Xen what it can");
    } else if (type && strcmp(type, "pvh") == 0 && !x->can_pvh) {
        rc = gi_fail(err, GI_FAILED_PRECONDITION,
                     "xen_zone_type pvh: this host has no virtualization with nested paging");
    } else {
        x->pvh = x->can_pvh && !(type && strcmp(type, "pv") == 0);
        snprintf(x->description, sizeof(x->description), "xen: Xen %d.%d%.40s, %s domains, %u CPUs",
                 v->xen_version_major, v->xen_version_minor, v->xen_version_extra,
                 x->pvh ? "PVH" : "PV", info.nr_cpus);
    }
    libxl_physinfo_dispose(&info);
    return rc;
}

int xen_check_file(const char *key, const char *path, struct gi_error *err)
{
    if (!path || path[0] != '/')
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: not an absolute path", key);
    if (access(path, R_OK) < 0)
        return gi_fail_errno(err, errno, "%s %s", key, path);
    return 0;
}

static int xen_open(const struct xenmgr_config *c, void **ret_driver, struct gi_error *err)
{
    int rc = xen_check_file("xen_kernel", c->xen_kernel, err);
    if (rc == 0)
        rc = xen_check_file("xen_root", c->xen_root, err);
    if (rc == 0)
        rc = xen_check_file("xen_block_script", c->xen_block_script, err);
    if (rc == 0)
        rc = xen_check_file("xen_vif_script", c->xen_vif_script, err);
    if (rc < 0)
        return rc;
    struct xen *x = calloc(1, sizeof(*x));
    if (!x)
        return gi_fail_errno(err, ENOMEM, "xen driver");
    x->root_loop = x->scratch_empty = -1;
    /* Xen gives a number again only a minute after its last domain's end. */
    if (getrandom(&x->last_zone, sizeof(x->last_zone), 0) < 0)
        x->last_zone = 0;
    x->last_zone %= DOMID_END;
    x->max_builds = MAX_BUILDS;
    x->resize_factor = c->xen_resize_factor ? c->xen_resize_factor : 1;
    x->run_dir = strdup(c->run_dir);
    x->kernel = strdup(c->xen_kernel);
    x->root_image = strdup(c->xen_root);
    x->block_script = strdup(c->xen_block_script);
    x->vif_script = strdup(c->xen_vif_script);
    x->cmdline = strdup(c->xen_cmdline ? c->xen_cmdline : "");
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->build_done, NULL);
    rc = x->run_dir && x->kernel && x->root_image && x->cmdline && x->block_script && x->vif_script
             ? look(x, c->xen_zone_type, err)
             : gi_fail_errno(err, ENOMEM, "xen driver");
    if (rc == 0)
        rc = loop_open(x->root_image, &x->root_loop, x->root_device, err);
    if (rc == 0)
        rc = scratch_open(x, c->state_dir, c->xen_scratch_bytes, err);
    if (rc == 0)
        rc = events_start(&x->events, err);
    if (rc == 0)
        rc = consoles_start(&x->consoles, err);
    if (rc == 0)
        rc = gpu_domain_start(x, c, &x->gpu, err);
    if (rc < 0) {
        xen_close(x);
        return rc;
    }
    *ret_driver = x;
    return 0;
}

static const char *xen_describe(const void *driver)
{
    return ((const struct xen *)driver)->description;
}

/* ---- zone numbers ---- */

static bool in_use(const libxl_dominfo *list, int n, uint32_t zone)
{
    for (int i = 0; i < n; i++)
        if (list[i].domid == zone)
            return true;
    return false;
}

/* A zone's number is its domain's, chosen here: gpu-proxy hears it first. */
int xen_draw_zone(void *driver, uint32_t *ret_zone, struct gi_error *err)
{
    struct xen *x = driver;
    cleanup_operation struct operation op = {.ctx = NULL};
    int n = 0;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    libxl_dominfo *list = libxl_list_domain(op.ctx, &n);
    if (!list)
        return operation_failed(&op, err, ERROR_FAIL, "list domains");
    GI_LOCK_SCOPE(&x->lock);
    for (uint32_t tries = 0; tries < DOMID_END; tries++) {
        x->last_zone = x->last_zone + 1 < DOMID_END ? x->last_zone + 1 : 1;
        if (!in_use(list, n, x->last_zone))
            break;
    }
    *ret_zone = x->last_zone;
    libxl_dominfo_list_free(list, n);
    return 0;
}

/* ---- which domains are ours ---- */

static int xen_list(void *driver, char ***ret_ids, size_t *ret_n, struct gi_error *err)
{
    (void)driver;
    cleanup_operation struct operation op = {.ctx = NULL};
    char **ids = NULL;
    size_t n = 0, kept = 0;
    int rc = operation_begin(&op, err);
    if (rc == 0)
        rc = zone_entry_list(&ids, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        struct zone_entry e;
        if (zone_entry_read(ids[i], &e, NULL) == 0 && zone_lives(&op, &e))
            ids[kept++] = ids[i];
        else
            free(ids[i]);
    }
    *ret_ids = ids;
    *ret_n = kept;
    return 0;
}

static int xen_adopt(void *driver, const char *id, struct machine_facts *ret_facts,
                     struct gi_error *err)
{
    struct xen *x = driver;
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e;
    struct domain d = {.domid = 0};
    int rc = zone_find(id, &op, &e, err);
    /* libxl tells a death that came before the watch, too. */
    if (rc == 0)
        rc = events_watch(x->events, e.domid, &d.death, err);
    d.domid = e.domid;
    if (rc == 0)
        d.console = console_open(x->consoles, e.domid);
    if (rc == 0)
        rc = zone_facts(&d, ret_facts, err);
    if (rc < 0)
        domain_forget(x, &d);
    return rc;
}

static void xen_release(void *driver, struct machine_facts *m)
{
    domain_forget(driver, m->state);
    free(m->state);
    m->state = NULL;
}

/* ---- what is known of one ---- */

static int xen_info(void *driver, const struct machine_facts *m, struct machine_info *ret,
                    struct gi_error *err)
{
    (void)driver;
    const struct domain *z = m->state;
    cleanup_operation struct operation op = {.ctx = NULL};
    libxl_dominfo info;
    int rc = operation_begin(&op, err);
    if (rc < 0)
        return rc;
    libxl_dominfo_init(&info);
    int why = libxl_domain_info(op.ctx, &info, z->domid);
    if (why == 0)
        *ret = (struct machine_info){
            .kind = info.domain_type == LIBXL_DOMAIN_TYPE_PV ? "PV domain" : "PVH domain",
            .memory_bytes = info.current_memkb * 1024,
            .cpu_ns = info.cpu_time,
            .vcpus = info.vcpu_online,
            .console = console_text(z->console),
        };
    libxl_dominfo_dispose(&info);
    return why ? operation_failed(&op, err, why, "ask for domain %u", z->domid) : 0;
}

/* The watch thread asks: a crash's last words may still be on their way here. */
static void xen_why_ended(void *driver, const struct machine_facts *m, char out[MACHINE_REASON])
{
    const struct xen *x = driver;
    const struct domain *z = m->state;
    char reason[64], words[CONSOLE_WORDS];
    events_reason(x->events, z->death, reason);
    snprintf(out, MACHINE_REASON, "%s", reason);
    if (strcmp(reason, DEATH_BY_CRASH) != 0)
        return;
    usleep(LAST_WORDS_US);
    console_last_words(z->console, words);
    if (words[0])
        snprintf(out, MACHINE_REASON, "%s; on its console: \"%s\"", reason, words);
}

static int xen_pause(void *driver, const char *id, bool paused, struct gi_error *err)
{
    (void)driver;
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e;
    int rc = zone_find(id, &op, &e, err);
    if (rc < 0)
        return rc;
    libxl_dominfo info;
    libxl_dominfo_init(&info);
    int why = libxl_domain_info(op.ctx, &info, e.domid);
    bool is = info.paused;
    libxl_dominfo_dispose(&info);
    /* Xen counts pauses: two would need two to end them. */
    if (why == 0 && is != paused)
        why = paused ? libxl_domain_pause(op.ctx, e.domid, NULL)
                     : libxl_domain_unpause(op.ctx, e.domid, NULL);
    return why ? operation_failed(&op, err, why, "%s domain %u", paused ? "pause" : "unpause",
                                  e.domid)
               : 0;
}

/* ---- the agent ---- */

static int xen_connect_agent(void *driver, const char *id, const struct machine_facts *m,
                             int timeout_ms, int *ret_fd, struct gi_error *err)
{
    struct domain *z = m->state;
    (void)driver;
    (void)id;
    if (!host_link_up(z->link)) {
        host_link_free(TAKE_PTR(z->link));
        int rc = host_link_connect(m->zone, LINK_BYTES, m->death_fd, -1, timeout_ms, &z->link, err);
        if (rc < 0)
            return rc;
    }
    return host_link_open(z->link, ret_fd, err);
}

/* ---- ending ---- */

static int end_zone(struct xen *x, const char *id, int grace_ms, struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e;
    int rc = zone_entry_read(id, &e, err);
    if (rc == -GI_NOT_FOUND)
        return 0;
    if (rc == 0)
        rc = operation_begin(&op, err);
    if (rc == 0 && zone_lives(&op, &e))
        rc = xen_end_domain(x, e.domid, grace_ms, err);
    GI_FAILPOINT(rc, "xen_domain_destroyed", err);
    if (rc < 0 && rc != -GI_DATA_LOSS)
        return rc;
    rc = zone_entry_remove(id, err); /* X1 */
    GI_FAILPOINT(rc, "xen_entry_removed", err);
    return rc;
}

static int xen_destroy(void *driver, const char *id, const struct machine_facts *m, int grace_ms,
                       struct gi_error *err)
{
    (void)m;
    return end_zone(driver, id, grace_ms, err);
}

/* X3: a domain with our name whose entry is not there. */
static void sweep_domains(struct xen *x, struct operation *op)
{
    int n = 0;
    libxl_dominfo *list = libxl_list_domain(op->ctx, &n);
    for (int i = 0; list && i < n; i++) {
        cleanup_free char *name = libxl_domid_to_name(op->ctx, list[i].domid);
        struct zone_entry e;
        struct gi_error err = GI_ERROR_INIT;
        if (!name || strncmp(name, XEN_NAME_PREFIX, strlen(XEN_NAME_PREFIX)) != 0)
            continue;
        const char *id = name + strlen(XEN_NAME_PREFIX);
        if (zone_entry_read(id, &e, NULL) == 0 && e.domid == list[i].domid)
            continue;
        gi_log(GI_LOG_WARNING, "a domain without an entry is destroyed", "name", name, NULL);
        if (xen_end_domain(x, list[i].domid, 0, &err) < 0)
            gi_log(GI_LOG_ERROR, "it can't be", "reason", err.message, NULL);
    }
    if (list)
        libxl_dominfo_list_free(list, n);
}

static int xen_sweep(void *driver, bool (*keep)(void *data, const char *id), void *data,
                     struct gi_error *err)
{
    struct xen *x = driver;
    cleanup_operation struct operation op = {.ctx = NULL};
    char **ids = NULL;
    size_t n = 0;
    int rc = operation_begin(&op, err);
    if (rc == 0)
        rc = zone_entry_list(&ids, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && !keep(data, ids[i]))
            rc = end_zone(x, ids[i], 0, err);
        free(ids[i]);
    }
    free(ids);
    if (rc == 0)
        sweep_domains(x, &op);
    return rc;
}

static int xen_share_image(void *driver, const char *id, const struct machine_facts *m,
                           const char *host_rootfs, char **ret_name, struct gi_error *err)
{
    return disk_share_image(driver, id, m, host_rootfs, ret_name, err);
}

static int xen_unshare_image(void *driver, const char *id, const struct machine_facts *m,
                             const char *host_rootfs, machine_let_go let_go, void *data,
                             struct gi_error *err)
{
    return disk_unshare_image(driver, id, m, host_rootfs, let_go, data, err);
}

static int xen_share_device(void *driver, const char *id, const struct machine_facts *m,
                            const char *host_path, bool writable, dev_t *ret_number,
                            struct gi_error *err)
{
    return disk_share_device(driver, id, m, host_path, writable, ret_number, err);
}

static int xen_unshare_device(void *driver, const char *id, const struct machine_facts *m,
                              const char *host_path, bool writable, struct gi_error *err)
{
    return disk_unshare_device(driver, id, m, host_path, writable, err);
}

const struct driver xen_driver = {
    .name = "xen",
    .open = xen_open,
    .close = xen_close,
    .describe = xen_describe,
    .draw_zone = xen_draw_zone,
    .create = xen_create,
    .list = xen_list,
    .adopt = xen_adopt,
    .info = xen_info,
    .resize = xen_resize,
    .pause = xen_pause,
    .why_ended = xen_why_ended,
    .connect_agent = xen_connect_agent,
    .share_image = xen_share_image,
    .unshare_image = xen_unshare_image,
    .share_device = xen_share_device,
    .unshare_device = xen_unshare_device,
    .destroy = xen_destroy,
    .release = xen_release,
    .sweep = xen_sweep,
};
