/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's domain gets more or less memory and processors while it runs.
 *
 * dom0 only writes what it wants into xenstore; the guest's balloon driver and its
 * processors' hotplug do it, if they can: memory that programs use does not come back,
 * and a guest that was taken over need not obey. So the outcome is what Xen says the
 * domain has, and what was not reached in time is taken back. How far a domain can
 * grow is fixed when it is built (xen_resize_factor).
 */
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "xen_driver.h"

#define PATIENCE_MS 5000
#define LOOK_US     20000
#define SLACK_KB    4096u /* Xen counts a few pages of its own into a domain's */

struct size {
    uint64_t memory_kb;
    int vcpus;
};

/* What it could have, and what was asked of it last. */
static int limits_of(struct operation *op, uint32_t domid, struct size *ret_most,
                     struct size *ret_now, struct gi_error *err)
{
    libxl_domain_config d;
    libxl_domain_config_init(&d);
    int rc = libxl_retrieve_domain_configuration(op->ctx, domid, &d, NULL);
    if (rc == 0) {
        *ret_most = (struct size){d.b_info.max_memkb, d.b_info.max_vcpus};
        *ret_now =
            (struct size){d.b_info.target_memkb, libxl_bitmap_count_set(&d.b_info.avail_vcpus)};
    }
    libxl_domain_config_dispose(&d);
    return rc ? operation_failed(op, err, rc, "ask for domain %u", domid) : 0;
}

static int check(const struct size *most, const struct size *want, uint32_t domid,
                 struct gi_error *err)
{
    if (want->memory_kb > most->memory_kb)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "domain %u was made to have %llu MiB of memory at most, wanted are %llu "
                       "(configuration: xen_resize_factor)",
                       domid, (unsigned long long)most->memory_kb / 1024,
                       (unsigned long long)want->memory_kb / 1024);
    if (want->vcpus > most->vcpus)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "domain %u was made to have %d processors at most, wanted are %d "
                       "(configuration: xen_resize_factor)",
                       domid, most->vcpus, want->vcpus);
    return 0;
}

/* What Xen counts, until it is as ENOUGH wants it or PATIENCE_MS are over. */
static bool await(struct operation *op, uint32_t domid,
                  bool (*enough)(const libxl_dominfo *info, const struct size *want),
                  const struct size *want)
{
    int64_t until = gi_monotonic_ns() + (int64_t)PATIENCE_MS * 1000000;
    for (;;) {
        libxl_dominfo info;
        libxl_dominfo_init(&info);
        int rc = libxl_domain_info(op->ctx, &info, domid);
        bool is = rc == 0 && enough(&info, want);
        bool ended = rc != 0 || info.shutdown || info.dying;
        libxl_dominfo_dispose(&info);
        if (is || ended || gi_monotonic_ns() >= until)
            return is;
        usleep(LOOK_US);
    }
}

static bool has_given(const libxl_dominfo *info, const struct size *want)
{
    return info->current_memkb <= want->memory_kb + SLACK_KB;
}

static bool has_taken(const libxl_dominfo *info, const struct size *want)
{
    return info->current_memkb + SLACK_KB >= want->memory_kb;
}

static bool has_vcpus(const libxl_dominfo *info, const struct size *want)
{
    return (int)info->vcpu_online == want->vcpus;
}

static int set_memory(struct operation *op, uint32_t domid, const struct size *want,
                      const struct size *now, struct gi_error *err)
{
    bool less = want->memory_kb < now->memory_kb;
    /* Enforced: what it gave back, or was never given, it can't take. */
    int rc = libxl_set_memory_target(op->ctx, domid, (int64_t)want->memory_kb, 0, 1);
    if (rc)
        return operation_failed(op, err, rc, "set the memory of domain %u", domid);
    if (await(op, domid, less ? has_given : has_taken, want))
        return 0;
    rc = libxl_set_memory_target(op->ctx, domid, (int64_t)now->memory_kb, 0, 1);
    if (rc)
        gi_log(GI_LOG_WARNING, "a domain's memory can't be set back", "why", op->why, NULL);
    return gi_fail(err, less ? GI_FAILED_PRECONDITION : GI_RESOURCE_EXHAUSTED,
                   less ? "domain %u uses more than %llu MiB of memory"
                        : "Xen has no memory for domain %u, wanted are %llu MiB",
                   domid, (unsigned long long)want->memory_kb / 1024);
}

int xen_online(struct operation *op, uint32_t domid, unsigned vcpus)
{
    libxl_bitmap map;
    libxl_bitmap_init(&map);
    int rc = libxl_cpu_bitmap_alloc(op->ctx, &map, (int)vcpus);
    for (unsigned i = 0; rc == 0 && i < vcpus; i++)
        libxl_bitmap_set(&map, (int)i);
    if (rc == 0)
        rc = libxl_set_vcpuonline(op->ctx, domid, &map, NULL);
    libxl_bitmap_dispose(&map);
    return rc;
}

static int set_vcpus(struct operation *op, uint32_t domid, const struct size *want,
                     const struct size *now, struct gi_error *err)
{
    int rc = xen_online(op, domid, (unsigned)want->vcpus);
    if (rc)
        return operation_failed(op, err, rc, "set the processors of domain %u", domid);
    if (await(op, domid, has_vcpus, want))
        return 0;
    if (xen_online(op, domid, (unsigned)now->vcpus))
        gi_log(GI_LOG_WARNING, "a domain's processors can't be set back", "why", op->why, NULL);
    return gi_fail(err, GI_FAILED_PRECONDITION,
                   "the kernel of domain %u does not change to %d processors", domid, want->vcpus);
}

int xen_resize(void *driver, const char *id, uint64_t memory_bytes, unsigned vcpus,
               struct gi_error *err)
{
    cleanup_operation struct operation op = {.ctx = NULL};
    struct zone_entry e;
    struct size most = {0}, now = {0};
    (void)driver;
    int rc = zone_find(id, &op, &e, err);
    if (rc == 0)
        rc = limits_of(&op, e.domid, &most, &now, err);
    if (rc < 0)
        return rc;
    const struct size want = {
        .memory_kb = memory_bytes ? xen_memory_kb(memory_bytes) : now.memory_kb,
        .vcpus = vcpus ? (int)vcpus : now.vcpus,
    };
    rc = check(&most, &want, e.domid, err);
    if (rc == 0 && want.memory_kb != now.memory_kb)
        rc = set_memory(&op, e.domid, &want, &now, err);
    if (rc == 0 && want.vcpus != now.vcpus)
        rc = set_vcpus(&op, e.domid, &want, &now, err);
    return rc;
}
