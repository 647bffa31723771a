/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities: capabilities(7); the default set is the one the field uses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "oci/parts.h"

/* In the order of their numbers. */
static const char *const names[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};
_Static_assert(GI_ARRAY_SIZE(names) == 41, "one name a capability");

static const char *const defaults[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

static int find_cap(const char *name)
{
    if (strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    for (size_t i = 0; i < GI_ARRAY_SIZE(names); i++) {
        if (strcasecmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

static bool is_all(const char *name)
{
    return strcasecmp(name, "ALL") == 0 || strcasecmp(name, "CAP_ALL") == 0;
}

bool oci_has_cap(const struct oci_context *c, const char *name)
{
    return c->caps & (UINT64_C(1) << find_cap(name));
}

uint64_t oci_own_caps(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long permitted = 0, bounding = 0;
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "CapPrm:", 7) == 0)
            permitted = strtoull(line + 7, NULL, 16);
        else if (strncmp(line, "CapBnd:", 7) == 0)
            bounding = strtoull(line + 7, NULL, 16);
    }
    if (f)
        fclose(f);
    return permitted & bounding & OCI_ALL_CAPS;
}

/* The set of LIST without ALL; *ret_all when that is in it. */
static int parse(const char *field, char **list, size_t n, uint64_t *ret_set, bool *ret_all,
                 struct gi_error *err)
{
    *ret_set = 0;
    *ret_all = false;
    for (size_t i = 0; i < n; i++) {
        if (is_all(list[i])) {
            *ret_all = true;
            continue;
        }
        int cap = find_cap(list[i]);
        if (cap < 0)
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "config.linux.security_context.capabilities.%s[%zu]: unknown capability "
                           "\"%.60s\"",
                           field, i, list[i]);
        *ret_set |= UINT64_C(1) << cap;
    }
    return 0;
}

int oci_choose_caps(struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__Capability *r = c->security ? c->security->capabilities : NULL;
    uint64_t available = c->in->available_caps, set = 0, add, drop, ambient;
    bool add_all, drop_all, ambient_all;
    for (size_t i = 0; i < GI_ARRAY_SIZE(defaults); i++)
        set |= UINT64_C(1) << find_cap(defaults[i]);
    if (c->privileged)
        set = OCI_ALL_CAPS;
    c->caps = set & available;
    if (!r || c->privileged)
        return 0;
    int rc =
        parse("add_capabilities", r->add_capabilities, r->n_add_capabilities, &add, &add_all, err);
    if (rc == 0)
        rc = parse("drop_capabilities", r->drop_capabilities, r->n_drop_capabilities, &drop,
                   &drop_all, err);
    if (rc == 0)
        rc = parse("add_ambient_capabilities", r->add_ambient_capabilities,
                   r->n_add_ambient_capabilities, &ambient, &ambient_all, err);
    if (rc < 0)
        return rc;
    add |= ambient;
    if ((add & ~available) != 0)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "config.linux.security_context.capabilities.add_capabilities: CAP_%s can't "
                       "be given on this host",
                       names[__builtin_ctzll(add & ~available)]);
    if (add_all)
        set = OCI_ALL_CAPS;
    if (drop_all)
        set = 0;
    c->caps = ((set | add) & ~drop) & available;
    c->ambient = (ambient_all ? OCI_ALL_CAPS : ambient) & c->caps;
    return 0;
}

static void put_set(struct gen *g, const char *key, uint64_t set)
{
    gen_key_array(g, key);
    for (size_t i = 0; i < GI_ARRAY_SIZE(names); i++) {
        char name[40];
        if (!(set & (UINT64_C(1) << i)))
            continue;
        snprintf(name, sizeof(name), "CAP_%s", names[i]);
        gen_string(g, name);
    }
    gen_end_array(g);
}

void oci_put_caps(struct gen *g, const struct oci_context *c)
{
    gen_key_map(g, "capabilities");
    put_set(g, "bounding", c->caps);
    put_set(g, "effective", c->caps);
    put_set(g, "permitted", c->caps);
    /* Inheritable only as far as ambient ones need it. */
    if (c->ambient) {
        put_set(g, "inheritable", c->ambient);
        put_set(g, "ambient", c->ambient);
    }
    gen_end_map(g);
}
