/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define CACHE_VERSION 1
#define MAX_VALID     4096

static bool is_name(const char *s, size_t max)
{
    size_t len = strlen(s);
    return len > 0 && len <= max && s[0] != '.' && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == len;
}

int cni_cache_check_names(const char *container_id, const char *ifname, struct gi_error *err)
{
    if (!container_id || !is_name(container_id, 128))
        return gi_fail(err, GI_INVALID_ARGUMENT, "cni: container id \"%.64s\" is not usable",
                       container_id ? container_id : "");
    if (!ifname || !is_name(ifname, 15))
        return gi_fail(err, GI_INVALID_ARGUMENT, "cni: interface name \"%.64s\" is not usable",
                       ifname ? ifname : "");
    return 0;
}

static int file_path(const char *dir, const char *id, const char *ifname, char path[PATH_MAX],
                     struct gi_error *err)
{
    int rc = cni_cache_check_names(id, ifname, err);
    if (rc == 0)
        snprintf(path, PATH_MAX, "%s/%s-%s.json", dir, id, ifname);
    return rc;
}

int cni_cache_write(const char *dir, const struct cni_list *l, const struct cni_attachment *a,
                    const char *result, struct gi_error *err)
{
    char path[PATH_MAX];
    int rc = file_path(dir, a->container_id, a->ifname, path, err);
    if (rc < 0)
        return rc;
    yajl_gen g = yajl_gen_alloc(NULL);
    if (!g)
        return gi_fail_errno(err, ENOMEM, "cni");
    yajl_gen_map_open(g);
    cni_gen_string(g, "version");
    yajl_gen_integer(g, CACHE_VERSION);
    cni_gen_member(g, "containerId", a->container_id);
    cni_gen_member(g, "ifName", a->ifname);
    cni_gen_member(g, "netns", a->netns);
    cni_gen_string(g, "config");
    cni_value_write(g, l->root);
    if (result) /* as text: what the plugin wrote comes back byte for byte */
        cni_gen_member(g, "result", result);
    yajl_gen_map_close(g);
    const unsigned char *text = NULL;
    size_t len = 0;
    if (yajl_gen_get_buf(g, &text, &len) != yajl_gen_status_ok)
        rc = gi_fail(err, GI_INTERNAL, "can't write %s", path);
    else
        rc = gi_write_file_atomic(path, text, len, 0600, err);
    yajl_gen_free(g);
    return rc;
}

void cni_cached_clear(struct cni_cached *cached)
{
    cni_list_free(cached->list);
    free(cached->result);
    free(cached->container_id);
    free(cached->ifname);
    free(cached->netns);
    memset(cached, 0, sizeof(*cached));
}

static int list_of_value(yajl_val config, const char *what, struct cni_list **ret_list,
                         struct gi_error *err)
{
    yajl_gen g = yajl_gen_alloc(NULL);
    if (!g)
        return gi_fail_errno(err, ENOMEM, "cni");
    cni_value_write(g, config);
    const unsigned char *text = NULL;
    size_t len = 0;
    int rc = yajl_gen_get_buf(g, &text, &len) == yajl_gen_status_ok
                 ? cni_list_parse((const char *)text, len, what, ret_list, err)
                 : gi_fail(err, GI_INTERNAL, "%s: can't read its config", what);
    yajl_gen_free(g);
    return rc;
}

static int read_path(const char *path, struct cni_cached *ret_cached, struct gi_error *err)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int rc = gi_read_file(path, CNI_MAX_DOCUMENT, &text, &len, err);
    if (rc < 0)
        return rc;
    cleanup_value yajl_val doc = NULL;
    rc = cni_value_parse(text, len, path, &doc, err);
    if (rc < 0)
        return rc;
    yajl_val version = cni_value_get(doc, "version");
    yajl_val config = cni_value_get(doc, "config");
    const char *id = cni_value_string(doc, "containerId");
    const char *ifname = cni_value_string(doc, "ifName");
    if (!version || !YAJL_IS_INTEGER(version) || YAJL_GET_INTEGER(version) != CACHE_VERSION)
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s: not version %d", path, CACHE_VERSION);
    if (!config || !YAJL_IS_OBJECT(config) || !id || !ifname ||
        cni_cache_check_names(id, ifname, NULL) < 0)
        return gi_fail(err, GI_DATA_LOSS, "%s: containerId, ifName or config is missing", path);
    struct cni_cached c = {0};
    rc = list_of_value(config, path, &c.list, err);
    if (rc < 0)
        return rc;
    const char *result = cni_value_string(doc, "result");
    const char *netns = cni_value_string(doc, "netns");
    c.container_id = strdup(id);
    c.ifname = strdup(ifname);
    c.netns = strdup(netns ? netns : "");
    c.result = result ? strdup(result) : NULL;
    if (!c.container_id || !c.ifname || !c.netns || (result && !c.result)) {
        cni_cached_clear(&c);
        return gi_fail_errno(err, ENOMEM, "cni");
    }
    *ret_cached = c;
    return 0;
}

int cni_cache_read(const char *dir, const char *container_id, const char *ifname,
                   struct cni_cached *ret_cached, struct gi_error *err)
{
    char path[PATH_MAX];
    int rc = file_path(dir, container_id, ifname, path, err);
    return rc < 0 ? rc : read_path(path, ret_cached, err);
}

int cni_cache_read_file(const char *dir, const char *file, struct cni_cached *ret_cached,
                        struct gi_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    return read_path(path, ret_cached, err);
}

bool cni_cache_has(const char *dir, const char *container_id, const char *ifname)
{
    char path[PATH_MAX];
    return file_path(dir, container_id, ifname, path, NULL) == 0 && access(path, F_OK) == 0;
}

void cni_cache_remove(const char *dir, const char *container_id, const char *ifname)
{
    char path[PATH_MAX];
    if (file_path(dir, container_id, ifname, path, NULL) == 0)
        unlink(path);
}

int cni_cache_valid_attachments(const char *dir, struct cni_list *l, struct gi_error *err)
{
    cleanup_closedir DIR *d = opendir(dir);
    if (!d)
        return gi_fail_errno(err, errno, "open %s", dir);
    free(l->valid_attachments);
    l->n_valid = 0;
    l->valid_attachments = calloc(MAX_VALID, sizeof(*l->valid_attachments));
    if (!l->valid_attachments)
        return gi_fail_errno(err, ENOMEM, "cni");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct cni_cached c;
        if (e->d_name[0] == '.' || !strstr(e->d_name, ".json"))
            continue;
        /* A file that can't be read may be a valid attachment: without knowing
         * all of them, telling plugins to remove the others isn't safe. */
        int rc = cni_cache_read_file(dir, e->d_name, &c, err);
        if (rc < 0)
            return rc;
        struct cni_valid *v = &l->valid_attachments[l->n_valid];
        snprintf(v->container_id, sizeof(v->container_id), "%s", c.container_id);
        snprintf(v->ifname, sizeof(v->ifname), "%s", c.ifname);
        cni_cached_clear(&c);
        if (++l->n_valid == MAX_VALID)
            return gi_fail(err, GI_OUT_OF_RANGE, "more than %d attachments", MAX_VALID);
    }
    return 0;
}
