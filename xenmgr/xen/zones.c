/* SPDX-License-Identifier: Apache-2.0 */
/* Our zones in xenstore (who may write there is in xen_driver.h), and their domains. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "grants/grants.h"
#include "xen_driver.h"

#define ZONES "/gpu-isolated/zones"

static struct xs_handle *open_xenstore(struct gi_error *err)
{
    struct xs_handle *xs = xs_open(0);
    if (!xs)
        gi_fail_errno(err, errno, "xenstore");
    return xs;
}

static void close_storep(struct xs_handle **xs)
{
    if (*xs)
        xs_close(*xs);
}
#define cleanup_xs __attribute__((cleanup(close_storep)))

static void path_of(const char *id, const char *key, char out[256])
{
    snprintf(out, 256, ZONES "/%s%s%s", id, *key ? "/" : "", key);
}

bool zone_lives(struct operation *op, const struct zone_entry *e)
{
    libxl_dominfo info;
    libxl_dominfo_init(&info);
    int rc = libxl_domain_info(op->ctx, &info, e->domid);
    bool same = rc == 0 && !libxl_uuid_compare(&info.uuid, &e->uuid) && !info.dying;
    libxl_dominfo_dispose(&info);
    return same;
}

int zone_find(const char *id, struct operation *op, struct zone_entry *ret, struct gi_error *err)
{
    int rc = zone_entry_read(id, ret, err);
    if (rc == 0)
        rc = operation_begin(op, err);
    if (rc == 0 && !zone_lives(op, ret))
        rc = gi_fail(err, GI_NOT_FOUND, "the domain of zone %s is gone", id);
    return rc;
}

/* In one transaction: an entry is whole or not there. */
int zone_entry_write(const char *id, const struct zone_entry *e, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    char path[256], domid[16], uuid[LIBXL_UUID_FMTLEN + 1];
    if (!xs)
        return -GI_UNAVAILABLE;
    snprintf(domid, sizeof(domid), "%u", e->domid);
    snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT, LIBXL_UUID_BYTES(e->uuid));
    for (;;) {
        xs_transaction_t t = xs_transaction_start(xs);
        if (t == XBT_NULL)
            return gi_fail_errno(err, errno, "xenstore transaction");
        path_of(id, "domid", path);
        bool ok = xs_write(xs, t, path, domid, (unsigned)strlen(domid));
        path_of(id, "uuid", path);
        ok = ok && xs_write(xs, t, path, uuid, (unsigned)strlen(uuid));
        int why = errno;
        if (xs_transaction_end(xs, t, !ok) && ok)
            return 0;
        if (!ok || errno != EAGAIN)
            return gi_fail_errno(err, ok ? errno : why, "xenstore %s", path);
    }
}

static char *read_key(struct xs_handle *xs, const char *id, const char *key)
{
    char path[256];
    unsigned len = 0;
    path_of(id, key, path);
    return xs_read(xs, XBT_NULL, path, &len);
}

int zone_entry_read(const char *id, struct zone_entry *ret, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    if (!xs)
        return -GI_UNAVAILABLE;
    cleanup_free char *domid = read_key(xs, id, "domid");
    cleanup_free char *uuid = read_key(xs, id, "uuid");
    if (!domid || !uuid)
        return gi_fail(err, GI_NOT_FOUND, "no zone %s in xenstore", id);
    char *end = NULL;
    unsigned long n = strtoul(domid, &end, 10);
    struct zone_entry e = {.domid = (uint32_t)n};
    if (end == domid || *end || n == 0 || n >= DOMID_END || libxl_uuid_from_string(&e.uuid, uuid))
        return gi_fail(err, GI_DATA_LOSS, "the entry of zone %s in xenstore is damaged", id);
    *ret = e;
    return 0;
}

int zone_entry_remove(const char *id, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    char path[256];
    if (!xs)
        return -GI_UNAVAILABLE;
    path_of(id, "", path);
    if (!xs_rm(xs, XBT_NULL, path) && errno != ENOENT)
        return gi_fail_errno(err, errno, "xenstore %s", path);
    return 0;
}

int zone_entry_list(char ***ret_ids, size_t *ret_n, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    unsigned n = 0;
    if (!xs)
        return -GI_UNAVAILABLE;
    cleanup_free char **names = xs_directory(xs, XBT_NULL, ZONES, &n);
    if (!names && errno != ENOENT)
        return gi_fail_errno(err, errno, "xenstore " ZONES);
    char **ids = calloc((size_t)n + 1, sizeof(*ids));
    size_t count = 0;
    for (unsigned i = 0; ids && names && i < n; i++)
        if (machine_id_valid(names[i]) && (ids[count] = strdup(names[i])))
            count++;
    if (!ids)
        return gi_fail_errno(err, ENOMEM, "list of zones");
    *ret_ids = ids;
    *ret_n = count;
    return 0;
}

/* ---- the driver domain ---- */

int driver_announce(uint32_t domid, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    char path[64];
    struct xs_permissions all = {.id = 0, .perms = XS_PERM_READ};
    if (!xs)
        return -GI_UNAVAILABLE;
    snprintf(path, sizeof(path), GRANTS_DRIVERS "/%u", domid);
    if (!xs_write(xs, XBT_NULL, path, "up", 2) || !xs_set_permissions(xs, XBT_NULL, path, &all, 1))
        return gi_fail_errno(err, errno, "xenstore %s", path);
    return 0;
}

void driver_withdraw(uint32_t domid)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(NULL);
    char path[64];
    snprintf(path, sizeof(path), GRANTS_DRIVERS "/%u", domid);
    if (xs)
        xs_rm(xs, XBT_NULL, path);
}

/* ---- disks ---- */

/* The number of the disk that is TREE, 0: there is none; *RET_FREE: one that is none yet. */
static unsigned find_disk(struct xs_handle *xs, const char *id, const char *tree,
                          unsigned *ret_free)
{
    *ret_free = 0;
    for (unsigned i = 1; i <= ZONE_DISKS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "disks/%u", i);
        cleanup_free char *of = read_key(xs, id, key);
        if (of && strcmp(of, tree) == 0)
            return i;
        if (!of && !*ret_free)
            *ret_free = i;
    }
    return 0;
}

int zone_disk_find(const char *id, const char *tree, unsigned *ret_number, struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    unsigned unused;
    if (!xs)
        return -GI_UNAVAILABLE;
    unsigned number = find_disk(xs, id, tree, &unused);
    if (!number)
        return gi_fail(err, GI_NOT_FOUND, "zone %s has no disk of %s", id, tree);
    *ret_number = number;
    return 0;
}

int zone_disk_take(const char *id, const char *tree, unsigned *ret_number, bool *ret_there,
                   struct gi_error *err)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(err);
    char path[256], key[16];
    unsigned free_one;
    if (!xs)
        return -GI_UNAVAILABLE;
    unsigned number = find_disk(xs, id, tree, &free_one);
    if (number) {
        *ret_number = number;
        *ret_there = true;
        return 0;
    }
    if (!free_one)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "a zone can have %u images", ZONE_DISKS);
    snprintf(key, sizeof(key), "disks/%u", free_one);
    path_of(id, key, path);
    if (!xs_write(xs, XBT_NULL, path, tree, (unsigned)strlen(tree)))
        return gi_fail_errno(err, errno, "xenstore %s", path);
    *ret_number = free_one;
    *ret_there = false;
    return 0;
}

void zone_disk_give(const char *id, unsigned number)
{
    cleanup_xs struct xs_handle *xs = open_xenstore(NULL);
    char path[256], key[16];
    snprintf(key, sizeof(key), "disks/%u", number);
    path_of(id, key, path);
    if (xs)
        xs_rm(xs, XBT_NULL, path);
}

int zone_facts(const struct domain *d, struct machine_facts *ret, struct gi_error *err)
{
    struct domain *z = calloc(1, sizeof(*z));
    if (!z)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    *z = *d;
    *ret = (struct machine_facts){.zone = d->domid, .death_fd = d->death->fd, .state = z};
    return 0;
}
