/* SPDX-License-Identifier: Apache-2.0 */
/* Limits by cgroups, and device nodes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "oci/parts.h"

#define MAX_DEVICES 256u

struct device {
    const char *path; /* in the container */
    char type;
    unsigned major, minor;
    mode_t mode;
    const char *access;
};

static int bad_device(struct gi_error *err, size_t i, const char *field, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "config.devices[%zu].%s: %s", i, field, why);
}

static int look_at(const struct oci_context *c, size_t i, struct device *ret, struct gi_error *err)
{
    const Runtime__V1__Device *d = c->in->config->devices[i];
    struct stat st;
    const char *access = *d->permissions ? d->permissions : "rwm";
    if (strlen(access) > 3 || access[strspn(access, "rwm")] != '\0')
        return bad_device(err, i, "permissions", "not made of \"r\", \"w\", \"m\"");
    if (d->host_path[0] != '/')
        return bad_device(err, i, "host_path", "not an absolute path");
    if (*d->container_path && d->container_path[0] != '/')
        return bad_device(err, i, "container_path", "not an absolute path");
    if (stat(d->host_path, &st) < 0)
        return gi_fail_errno(err, errno, "config.devices[%zu].host_path: %.200s", i, d->host_path);
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return bad_device(err, i, "host_path", "not a device node");
    dev_t number = c->in->device_numbers ? c->in->device_numbers[i] : 0;
    if (!number)
        number = st.st_rdev;
    *ret = (struct device){
        .path = *d->container_path ? d->container_path : d->host_path,
        .type = S_ISCHR(st.st_mode) ? 'c' : 'b',
        .major = major(number),
        .minor = minor(number),
        .mode = st.st_mode & 0777,
        .access = access,
    };
    return 0;
}

int oci_put_devices(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    if (r->n_devices == 0)
        return 0;
    if (r->n_devices > MAX_DEVICES)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.devices: more than %u", MAX_DEVICES);
    gen_key_array(g, "devices");
    for (size_t i = 0; i < r->n_devices; i++) {
        struct device d;
        int rc = look_at(c, i, &d, err);
        if (rc < 0)
            return rc;
        gen_map(g);
        gen_key_string(g, "path", d.path);
        gen_key_string(g, "type", (const char[]){d.type, '\0'});
        gen_key_uint(g, "major", d.major);
        gen_key_uint(g, "minor", d.minor);
        gen_key_uint(g, "fileMode", d.mode);
        gen_key_uint(g, "uid", 0);
        gen_key_uint(g, "gid", 0);
        gen_end_map(g);
    }
    gen_end_array(g);
    return 0;
}

static int put_device_rules(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    gen_key_array(g, "devices");
    gen_map(g);
    gen_key_bool(g, "allow", c->privileged);
    gen_key_string(g, "access", "rwm");
    gen_end_map(g);
    for (size_t i = 0; i < r->n_devices && i < MAX_DEVICES; i++) {
        struct device d;
        int rc = look_at(c, i, &d, err);
        if (rc < 0)
            return rc;
        gen_map(g);
        gen_key_bool(g, "allow", true);
        gen_key_string(g, "type", (const char[]){d.type, '\0'});
        gen_key_uint(g, "major", d.major);
        gen_key_uint(g, "minor", d.minor);
        gen_key_string(g, "access", d.access);
        gen_end_map(g);
    }
    gen_end_array(g);
    return 0;
}

static int negative(struct gi_error *err, const char *field)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "config.linux.resources.%s: negative", field);
}

static int put_memory(struct gen *g, const Runtime__V1__LinuxContainerResources *r,
                      struct gi_error *err)
{
    if (r->memory_limit_in_bytes < 0)
        return negative(err, "memory_limit_in_bytes");
    if (r->memory_limit_in_bytes == 0 && r->memory_swap_limit_in_bytes == 0)
        return 0;
    gen_key_map(g, "memory");
    if (r->memory_limit_in_bytes > 0)
        gen_key_int(g, "limit", r->memory_limit_in_bytes);
    if (r->memory_swap_limit_in_bytes != 0)
        gen_key_int(g, "swap", r->memory_swap_limit_in_bytes);
    gen_end_map(g);
    return 0;
}

static int put_cpu(struct gen *g, const Runtime__V1__LinuxContainerResources *r,
                   struct gi_error *err)
{
    if (r->cpu_period < 0)
        return negative(err, "cpu_period");
    if (r->cpu_shares < 0)
        return negative(err, "cpu_shares");
    gen_key_map(g, "cpu");
    if (r->cpu_shares > 0)
        gen_key_int(g, "shares", r->cpu_shares);
    if (r->cpu_quota != 0)
        gen_key_int(g, "quota", r->cpu_quota);
    if (r->cpu_period > 0)
        gen_key_int(g, "period", r->cpu_period);
    if (*r->cpuset_cpus)
        gen_key_string(g, "cpus", r->cpuset_cpus);
    if (*r->cpuset_mems)
        gen_key_string(g, "mems", r->cpuset_mems);
    gen_end_map(g);
    return 0;
}

static void put_rest(struct gen *g, const Runtime__V1__LinuxContainerResources *r)
{
    if (r->n_hugepage_limits) {
        gen_key_array(g, "hugepageLimits");
        for (size_t i = 0; i < r->n_hugepage_limits; i++) {
            gen_map(g);
            gen_key_string(g, "pageSize", r->hugepage_limits[i]->page_size);
            gen_key_uint(g, "limit", r->hugepage_limits[i]->limit);
            gen_end_map(g);
        }
        gen_end_array(g);
    }
    if (r->n_unified) {
        gen_key_map(g, "unified");
        for (size_t i = 0; i < r->n_unified; i++)
            gen_key_string(g, r->unified[i]->key, r->unified[i]->value);
        gen_end_map(g);
    }
}

int oci_put_resources(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__LinuxContainerResources *r = c->resources;
    gen_key_map(g, "resources");
    int rc = put_device_rules(g, c, err);
    if (rc == 0 && r)
        rc = put_memory(g, r, err);
    if (rc == 0 && r)
        rc = put_cpu(g, r, err);
    if (rc == 0 && r)
        put_rest(g, r);
    gen_end_map(g);
    return rc;
}
