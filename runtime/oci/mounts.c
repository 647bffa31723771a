/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts: what every container has, the pod's files in /etc, what was asked for. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/agent_client.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "oci/parts.h"

#define MAX_MOUNTS 1024u

struct fixed {
    const char *path, *type, *source;
    const char *options[7];
};

static const struct fixed always[] = {
    {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
    {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
    {"/dev/pts",
     "devpts",
     "devpts",
     {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
    {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
    {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
    {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
    {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}},
};

/* Without "//", "/./", a slash at the end; ".." is refused elsewhere. */
static void clean_path(const char *path, char *out, size_t size)
{
    size_t n = 0;
    while (*path && n + 2 < size) {
        size_t slashes = strspn(path, "/");
        size_t len = strcspn(path + slashes, "/");
        const char *part = path + slashes;
        path = part + len;
        if (len == 0 || (len == 1 && part[0] == '.'))
            continue;
        int more = snprintf(out + n, size - n, "/%.*s", (int)len, part);
        n = n + (size_t)more < size ? n + (size_t)more : size - 1;
    }
    if (n == 0)
        snprintf(out, size, "/");
}

static bool has_dotdot(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2) {
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
            return true;
    }
    return false;
}

static bool requested(const struct oci_context *c, const char *path)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    for (size_t i = 0; i < r->n_mounts; i++) {
        char clean[PATH_MAX];
        clean_path(r->mounts[i]->container_path, clean, sizeof(clean));
        if (strcmp(clean, path) == 0)
            return true;
    }
    return false;
}

static void put(struct gen *g, const char *path, const char *type, const char *source,
                const char *const *options, size_t n)
{
    gen_map(g);
    gen_key_string(g, "destination", path);
    gen_key_string(g, "type", type);
    gen_key_string(g, "source", source);
    gen_key_strings(g, "options", options, n);
    gen_end_map(g);
}

static void put_always(struct gen *g, const struct oci_context *c)
{
    for (size_t i = 0; i < GI_ARRAY_SIZE(always); i++) {
        const struct fixed *f = &always[i];
        const char *options[GI_ARRAY_SIZE(f->options)];
        size_t n = 0;
        if (requested(c, f->path))
            continue;
        for (size_t k = 0; k < GI_ARRAY_SIZE(f->options) && f->options[k]; k++)
            options[n++] = c->privileged && strcmp(f->options[k], "ro") == 0 ? "rw" : f->options[k];
        put(g, f->path, f->type, f->source, options, n);
    }
}

static void put_etc(struct gen *g, const struct oci_context *c)
{
    static const char *const files[] = {"hosts", "hostname", "resolv.conf"};
    bool readonly = c->security && c->security->readonly_rootfs;
    const char *const options[] = {"rbind", "rprivate", readonly ? "ro" : "rw"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(files); i++) {
        char source[PATH_MAX], path[32];
        snprintf(source, sizeof(source), "%s/%s", c->in->etc_dir, files[i]);
        snprintf(path, sizeof(path), "/etc/%s", files[i]);
        if (!requested(c, path))
            put(g, path, "bind", source, options, GI_ARRAY_SIZE(options));
    }
}

/* ---- requested ones ---- */

static int bad(struct gi_error *err, size_t i, const char *field, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "config.mounts[%zu].%s: %s", i, field, why);
}

static int check_image(const Runtime__V1__Mount *m, size_t i, struct gi_error *err)
{
    if (!*m->image->image)
        return bad(err, i, "image.image", "missing");
    if (*m->host_path)
        return bad(err, i, "host_path", "together with image");
    if (m->image_sub_path[0] == '/' || has_dotdot(m->image_sub_path) ||
        strlen(m->image_sub_path) >= PATH_MAX / 2)
        return bad(err, i, "image_sub_path", "absolute, too long, or with \"..\" in it");
    return 0;
}

static int check_mount(const Runtime__V1__Mount *m, size_t i, struct gi_error *err)
{
    if (!*m->container_path)
        return bad(err, i, "container_path", "missing");
    if (strlen(m->container_path) >= PATH_MAX / 2 || has_dotdot(m->container_path))
        return bad(err, i, "container_path", "too long, or with \"..\" in it");
    if (m->n_uidmappings || m->n_gidmappings)
        return bad(err, i, "uidMappings", "mapped mounts are not supported");
    if (m->n_mount_options)
        return bad(err, i, "mount_options", "not supported by this runtime handler");
    if (m->image)
        return check_image(m, i, err);
    if (*m->image_sub_path)
        return bad(err, i, "image_sub_path", "without image");
    if (m->recursive_read_only && !m->readonly)
        return bad(err, i, "recursive_read_only", "without readonly");
    if (m->recursive_read_only &&
        m->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
        return bad(err, i, "recursive_read_only", "needs private propagation");
    if (!*m->host_path)
        return bad(err, i, "host_path", "missing");
    if (m->host_path[0] != '/')
        return bad(err, i, "host_path", "not an absolute path");
    if ((int)m->propagation < 0 ||
        m->propagation > RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
        return bad(err, i, "propagation", "unknown value");
    if (m->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
        return bad(err, i, "propagation", "what an isolated pod mounts can't reach the node");
    return 0;
}

static int real_source(const Runtime__V1__Mount *m, size_t i, char out[PATH_MAX],
                       struct gi_error *err)
{
    if (realpath(m->host_path, out))
        return 0;
    if (errno == ENOENT) {
        if (gi_mkdir_p(m->host_path, 0755, err) < 0)
            return gi_prefix(err, "config.mounts[%zu].host_path", i);
        if (realpath(m->host_path, out))
            return 0;
    }
    return gi_fail_errno(err, errno, "config.mounts[%zu].host_path: %.200s", i, m->host_path);
}

static size_t parts(const char *path)
{
    size_t n = 0;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

struct wanted {
    const Runtime__V1__Mount *mount;
    size_t index;
    char path[PATH_MAX];
};

/* Outer paths first, else an inner mount would be covered; otherwise in the
 * request's order. */
static int by_depth(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    size_t dx = parts(x->path), dy = parts(y->path);
    if (dx != dy)
        return dx < dy ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* The agent finds the folder: it is a disk's, where the zone sees no files of the host. */
static int put_image(struct gen *g, const struct oci_context *c, const struct wanted *w,
                     struct gi_error *err)
{
    static const char *const options[] = {"rbind", "rprivate", "ro", "nosuid", "nodev"};
    const char *root = c->in->image_roots ? c->in->image_roots[w->index] : NULL;
    const char *sub = w->mount->image_sub_path;
    cleanup_buf struct gi_buf source = GI_BUF_INIT(2 * PATH_MAX);
    if (!root)
        return bad(err, w->index, "image", "not prepared");
    if (gi_buf_printf(&source, AGENT_IMAGE_SOURCE "%s%s%s", root, *sub ? "//" : "", sub) < 0)
        return bad(err, w->index, "image_sub_path", "too long");
    put(g, w->path, "bind", source.data, options, GI_ARRAY_SIZE(options));
    return 0;
}

static int put_host_path(struct gen *g, const struct oci_context *c, const struct wanted *w,
                         struct gi_error *err)
{
    static const char *const propagation[] = {"rprivate", "rslave"};
    const Runtime__V1__Mount *m = w->mount;
    char source[PATH_MAX];
    const char *const options[] = {"rbind", propagation[m->propagation],
                                   m->recursive_read_only ? "rro"
                                   : m->readonly          ? "ro"
                                                          : "rw"};
    if (!c->in->host_paths) {
        const char *there = c->in->zone_sources ? c->in->zone_sources[w->index] : NULL;
        if (!there)
            return bad(err, w->index, "host_path", "the zone sees no files of the host");
        put(g, w->path, "bind", there, options, GI_ARRAY_SIZE(options));
        return 0;
    }
    int rc = real_source(m, w->index, source, err);
    if (rc == 0)
        put(g, w->path, "bind", source, options, GI_ARRAY_SIZE(options));
    return rc;
}

int oci_check_mounts(const Runtime__V1__ContainerConfig *r, struct gi_error *err)
{
    int rc = 0;
    if (r->n_mounts > MAX_MOUNTS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "config.mounts: more than %u", MAX_MOUNTS);
    for (size_t i = 0; i < r->n_mounts && rc == 0; i++)
        rc = check_mount(r->mounts[i], i, err);
    return rc;
}

static int put_requested(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    int rc = oci_check_mounts(r, err);
    if (rc < 0)
        return rc;
    cleanup_free struct wanted *list = calloc(r->n_mounts + 1, sizeof(*list));
    if (!list)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < r->n_mounts; i++) {
        list[i].mount = r->mounts[i];
        list[i].index = i;
        clean_path(r->mounts[i]->container_path, list[i].path, sizeof(list[i].path));
        if (strcmp(list[i].path, "/") == 0)
            return bad(err, i, "container_path", "the root folder can't be mounted over");
    }
    qsort(list, r->n_mounts, sizeof(*list), by_depth);
    for (size_t i = 0; i < r->n_mounts; i++) {
        rc = list[i].mount->image ? put_image(g, c, &list[i], err)
                                  : put_host_path(g, c, &list[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

bool oci_follows_mounts(const struct oci_context *c)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    for (size_t i = 0; i < r->n_mounts; i++) {
        if (r->mounts[i]->propagation ==
            RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER)
            return true;
    }
    return false;
}

int oci_put_mounts(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    gen_key_array(g, "mounts");
    put_always(g, c);
    put_etc(g, c);
    int rc = put_requested(g, c, err);
    gen_end_array(g);
    return rc;
}
