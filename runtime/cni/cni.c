/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants
 *  1. A cache file exists from before the first plugin of an ADD runs until
 *     the last plugin of its DEL succeeded: what a crash leaves behind is
 *     always named by a file, and cni_gc finds it.
 *  2. The cache holds the list that was used, so DEL and CHECK never look at
 *     the configuration folder.
 *  3. A cache file without "result" is an ADD that didn't finish; it is undone
 *     before another ADD of the same attachment starts.
 */
#include "cni/cni.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cni/cache.h"
#include "cni/conf.h"
#include "cni/document.h"
#include "cni/run.h"

#define MAX_OUTPUT         (256u << 10)
#define DEFAULT_TIMEOUT_MS 60000

struct cni {
    char *conf_dir;
    char **bin_dirs;
    char *cache_dir;
    char *path_list; /* CNI_PATH */
    int timeout_ms;
};

static int copy_bin_dirs(struct cni *c, const char *const *dirs)
{
    size_t n = 0;
    size_t len = 1;
    for (; dirs[n]; n++)
        len += strlen(dirs[n]) + 1;
    c->bin_dirs = calloc(n + 1, sizeof(char *));
    c->path_list = calloc(1, len);
    if (!c->bin_dirs || !c->path_list)
        return -1;
    char *end = c->path_list;
    for (size_t i = 0; i < n; i++) {
        c->bin_dirs[i] = strdup(dirs[i]);
        if (!c->bin_dirs[i])
            return -1;
        end += snprintf(end, len - (size_t)(end - c->path_list), "%s%s", i ? ":" : "", dirs[i]);
    }
    return 0;
}

int cni_open(const struct cni_config *config, struct cni **ret_cni, struct gi_error *err)
{
    if (!config->bin_dirs || !config->bin_dirs[0])
        return gi_fail(err, GI_INVALID_ARGUMENT, "cni: no plugin folder");
    int rc = gi_mkdir_p(config->cache_dir, 0700, err);
    if (rc < 0)
        return rc;
    struct cni *c = calloc(1, sizeof(*c));
    if (!c)
        return gi_fail_errno(err, ENOMEM, "cni");
    c->conf_dir = strdup(config->conf_dir);
    c->cache_dir = strdup(config->cache_dir);
    c->timeout_ms = config->plugin_timeout_ms ? config->plugin_timeout_ms : DEFAULT_TIMEOUT_MS;
    if (!c->conf_dir || !c->cache_dir || copy_bin_dirs(c, config->bin_dirs) < 0) {
        cni_close(c);
        return gi_fail_errno(err, ENOMEM, "cni");
    }
    *ret_cni = c;
    return 0;
}

void cni_close(struct cni *c)
{
    if (!c)
        return;
    for (char **d = c->bin_dirs; d && *d; d++)
        free(*d);
    free(c->bin_dirs);
    free(c->path_list);
    free(c->conf_dir);
    free(c->cache_dir);
    free(c);
}

static int find_plugin(const struct cni *c, const char *type, char path[PATH_MAX],
                       struct gi_error *err)
{
    for (char **d = c->bin_dirs; *d; d++) {
        if (snprintf(path, PATH_MAX, "%s/%s", *d, type) < PATH_MAX && access(path, X_OK) == 0)
            return 0;
    }
    return gi_fail(err, GI_UNAVAILABLE, "CNI plugin \"%s\" is in none of %s", type, c->path_list);
}

/* What a failed plugin says on its standard output: {code, msg, details}. */
static int plugin_failed(const char *type, const char *command, const struct gi_buf *out,
                         int status, struct gi_error *err)
{
    enum gi_code code = strcmp(command, "CHECK") == 0 ? GI_FAILED_PRECONDITION : GI_UNAVAILABLE;
    cleanup_value yajl_val doc = NULL;
    const char *msg = NULL;
    const char *details = NULL;
    if (out->len && cni_value_parse(out->data, out->len, type, &doc, NULL) == 0) {
        msg = cni_value_string(doc, "msg");
        details = cni_value_string(doc, "details");
    }
    if (msg)
        return gi_fail(err, code, "CNI plugin %s %s: %.200s%s%.200s", type, command, msg,
                       details && *details ? ": " : "", details ? details : "");
    if (WIFSIGNALED(status))
        return gi_fail(err, code, "CNI plugin %s %s: killed by signal %d", type, command,
                       WTERMSIG(status));
    return gi_fail(err, code, "CNI plugin %s %s: exit status %d without a reason", type, command,
                   WEXITSTATUS(status));
}

/* Runs plugin INDEX of L. PREV is the result so far (NULL: none), RET_RESULT
 * (may be NULL) gets what the plugin printed. */
static int call_plugin(struct cni *c, const struct cni_list *l, size_t index, const char *command,
                       const struct cni_attachment *a, const char *prev, char **ret_result,
                       struct gi_error *err)
{
    char path[PATH_MAX];
    int rc = find_plugin(c, l->types[index], path, err);
    if (rc < 0)
        return rc;
    cleanup_free char *input = NULL;
    rc = cni_document_input(l, index, a, prev, &input, err);
    if (rc < 0)
        return rc;
    char **envp = NULL;
    rc = cni_document_env(command, a, c->path_list, &envp, err);
    if (rc < 0)
        return rc;
    cleanup_buf struct gi_buf out = GI_BUF_INIT(MAX_OUTPUT);
    int status = 0;
    rc = cni_run(path, envp, input, strlen(input), c->timeout_ms, &out, &status, err);
    cni_document_env_free(envp);
    if (rc < 0)
        return rc;
    if (status != 0)
        return plugin_failed(l->types[index], command, &out, status, err);
    if (ret_result && out.len) {
        cleanup_value yajl_val doc = NULL;
        rc = cni_value_parse(out.data, out.len, l->types[index], &doc, err);
        if (rc < 0)
            return rc;
        free(*ret_result);
        *ret_result = TAKE_PTR(out.data);
    }
    return 0;
}

int cni_ready(struct cni *c, struct gi_error *err)
{
    cleanup_list struct cni_list *l = NULL;
    int rc = cni_list_load(c->conf_dir, &l, err);
    char path[PATH_MAX];
    for (size_t i = 0; rc == 0 && i < l->n_plugins; i++) {
        rc = find_plugin(c, l->types[i], path, err);
        if (rc == 0 && l->has_status)
            rc = call_plugin(c, l, i, "STATUS", NULL, NULL, NULL, err);
    }
    return rc;
}

static int del_with(struct cni *c, const struct cni_list *l, const struct cni_attachment *a,
                    const char *prev, struct gi_error *err)
{
    for (size_t i = l->n_plugins; i-- > 0;) {
        int rc = call_plugin(c, l, i, "DEL", a, prev, NULL, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_with(struct cni *c, const struct cni_list *l, const struct cni_attachment *a,
                    char **ret_result, struct gi_error *err)
{
    cleanup_free char *result = NULL;
    for (size_t i = 0; i < l->n_plugins; i++) {
        int rc = call_plugin(c, l, i, "ADD", a, result, &result, err);
        if (rc < 0)
            return rc;
    }
    if (!result)
        return gi_fail(err, GI_UNAVAILABLE, "network \"%s\": no plugin printed a result", l->name);
    *ret_result = TAKE_PTR(result);
    return 0;
}

int cni_add(struct cni *c, const struct cni_attachment *a, struct cni_result *ret_result,
            struct gi_error *err)
{
    int rc = cni_cache_check_names(a->container_id, a->ifname, err);
    if (rc < 0)
        return rc;
    if (cni_result(c, a->container_id, a->ifname, ret_result, NULL) == 0)
        return 0;
    rc = cni_del(c, a, err); /* invariant 3 */
    if (rc < 0)
        return gi_prefix(err, "undo the unfinished attachment");
    cleanup_list struct cni_list *l = NULL;
    rc = cni_list_load(c->conf_dir, &l, err);
    if (rc < 0)
        return rc;
    rc = cni_cache_write(c->cache_dir, l, a, NULL, err);
    if (rc < 0)
        return rc;
    cleanup_free char *result = NULL;
    struct cni_result parsed;
    rc = add_with(c, l, a, &result, err);
    if (rc == 0)
        rc = cni_document_result(result, l->name, &parsed, err);
    if (rc == 0)
        rc = cni_cache_write(c->cache_dir, l, a, result, err);
    if (rc < 0) {
        /* What can't be undone now stays cached and is undone by the caller's DEL. */
        if (del_with(c, l, a, result, NULL) == 0)
            cni_cache_remove(c->cache_dir, a->container_id, a->ifname);
        return rc;
    }
    *ret_result = parsed;
    return 0;
}

int cni_del(struct cni *c, const struct cni_attachment *a, struct gi_error *err)
{
    struct cni_cached cached;
    int rc = cni_cache_read(c->cache_dir, a->container_id, a->ifname, &cached, err);
    if (rc == -GI_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    rc = del_with(c, cached.list, a, cached.result, err);
    cni_cached_clear(&cached);
    if (rc == 0)
        cni_cache_remove(c->cache_dir, a->container_id, a->ifname);
    return rc;
}

int cni_check(struct cni *c, const struct cni_attachment *a, struct gi_error *err)
{
    struct cni_cached cached;
    int rc = cni_cache_read(c->cache_dir, a->container_id, a->ifname, &cached, err);
    if (rc < 0)
        return rc;
    /* CHECK came with 0.4.0. */
    bool has_check = strcmp(cached.list->version, "0.4.0") >= 0 && !cached.list->disable_check;
    for (size_t i = 0; has_check && rc == 0 && i < cached.list->n_plugins; i++)
        rc = call_plugin(c, cached.list, i, "CHECK", a, cached.result, NULL, err);
    cni_cached_clear(&cached);
    return rc;
}

int cni_result(struct cni *c, const char *container_id, const char *ifname,
               struct cni_result *ret_result, struct gi_error *err)
{
    struct cni_cached cached;
    int rc = cni_cache_read(c->cache_dir, container_id, ifname, &cached, err);
    if (rc < 0)
        return rc;
    if (!cached.result)
        rc = gi_fail(err, GI_NOT_FOUND, "attachment of %s did not finish", container_id);
    else
        rc = cni_document_result(cached.result, cached.list->name, ret_result, err);
    cni_cached_clear(&cached);
    return rc;
}

bool cni_has(const struct cni *c, const char *container_id, const char *ifname)
{
    return cni_cache_has(c->cache_dir, container_id, ifname);
}

static int gc_one(struct cni *c, const char *file, bool (*keep)(void *, const char *), void *data,
                  struct gi_error *err)
{
    struct cni_cached cached;
    int rc = cni_cache_read_file(c->cache_dir, file, &cached, err);
    if (rc < 0)
        return rc;
    if (!keep(data, cached.container_id)) {
        /* With its namespace, if there still is one: plugins need it for more than the
         * address (a bridge's masquerading). */
        struct statfs fs;
        bool there = statfs(cached.netns, &fs) == 0 && fs.f_type == NSFS_MAGIC;
        struct cni_attachment a = {.container_id = cached.container_id,
                                   .ifname = cached.ifname,
                                   .netns = there ? cached.netns : ""};
        rc = del_with(c, cached.list, &a, cached.result, err);
        if (rc == 0)
            cni_cache_remove(c->cache_dir, cached.container_id, cached.ifname);
    }
    cni_cached_clear(&cached);
    return rc;
}

static int plugins_gc(struct cni *c, struct gi_error *err)
{
    cleanup_list struct cni_list *l = NULL;
    if (cni_list_load(c->conf_dir, &l, NULL) < 0 || !l->has_status || l->disable_gc)
        return 0;
    int rc = cni_cache_valid_attachments(c->cache_dir, l, err);
    for (size_t i = 0; rc == 0 && i < l->n_plugins; i++)
        rc = call_plugin(c, l, i, "GC", NULL, NULL, NULL, err);
    return rc;
}

int cni_sweep(struct cni *c, bool (*keep)(void *data, const char *container_id), void *data,
              struct gi_error *err)
{
    cleanup_closedir DIR *d = opendir(c->cache_dir);
    if (!d)
        return gi_fail_errno(err, errno, "open %s", c->cache_dir);
    struct gi_error first = GI_ERROR_INIT;
    struct gi_error why;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.' || !strstr(e->d_name, ".json"))
            continue;
        if (gc_one(c, e->d_name, keep, data, &why) < 0 && !first.code)
            first = why;
    }
    return first.code ? gi_fail(err, first.code, "%s", first.message) : 0;
}

int cni_gc(struct cni *c, bool (*keep)(void *data, const char *container_id), void *data,
           struct gi_error *err)
{
    int rc = cni_sweep(c, keep, data, err);
    int plugins = plugins_gc(c, rc < 0 ? NULL : err);
    return rc < 0 ? rc : plugins;
}
