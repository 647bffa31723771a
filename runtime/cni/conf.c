/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/conf.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char *const known_versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", NULL};

static bool version_is_known(const char *v)
{
    for (const char *const *k = known_versions; *k; k++) {
        if (strcmp(*k, v) == 0)
            return true;
    }
    return false;
}

/* A plugin's type becomes a file name in the plugin folders, so it must be one. */
static bool type_is_file_name(const char *type)
{
    size_t len = strlen(type);
    return len > 0 && len < 128 && !strchr(type, '/') && type[0] != '.';
}

static int add_plugin(struct cni_list *l, yajl_val plugin, const char *what, struct gi_error *err)
{
    if (l->n_plugins == CNI_MAX_PLUGINS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: more than %d plugins", what, CNI_MAX_PLUGINS);
    const char *type = cni_value_string(plugin, "type");
    if (!type || !type_is_file_name(type))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: plugins[%zu].type is missing or no file name",
                       what, l->n_plugins);
    l->plugins[l->n_plugins] = plugin;
    l->types[l->n_plugins++] = type;
    return 0;
}

static int read_plugins(struct cni_list *l, const char *what, struct gi_error *err)
{
    yajl_val plugins = cni_value_get(l->root, "plugins");
    if (!plugins) /* a single plugin's configuration is a list of one */
        return add_plugin(l, l->root, what, err);
    if (!YAJL_IS_ARRAY(plugins) || plugins->u.array.len == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: plugins is not a list with entries", what);
    for (size_t i = 0; i < plugins->u.array.len; i++) {
        int rc = add_plugin(l, plugins->u.array.values[i], what, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int cni_list_parse(const char *text, size_t len, const char *what, struct cni_list **ret_list,
                   struct gi_error *err)
{
    cleanup_list struct cni_list *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail_errno(err, ENOMEM, "%s", what);
    int rc = cni_value_parse(text, len, what, &l->root, err);
    if (rc < 0)
        return rc;
    l->name = cni_value_string(l->root, "name");
    if (!l->name || !*l->name || strlen(l->name) > 100 || strchr(l->name, '/'))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: name is missing or not usable", what);
    l->version = cni_value_string(l->root, "cniVersion");
    if (!l->version || !version_is_known(l->version))
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "%s: cniVersion \"%s\" is not one of 0.3.0 to 1.1.0", what,
                       l->version ? l->version : "");
    l->disable_check = cni_value_true(l->root, "disableCheck");
    l->disable_gc = cni_value_true(l->root, "disableGC");
    l->has_status = strcmp(l->version, "1.1.0") >= 0;
    rc = read_plugins(l, what, err);
    if (rc < 0)
        return rc;
    *ret_list = TAKE_PTR(l);
    return 0;
}

void cni_list_free(struct cni_list *l)
{
    if (!l)
        return;
    if (l->root)
        yajl_tree_free(l->root);
    free(l->valid_attachments);
    free(l);
}

static int is_configuration(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return e->d_name[0] != '.' && dot &&
           (strcmp(dot, ".conflist") == 0 || strcmp(dot, ".conf") == 0 ||
            strcmp(dot, ".json") == 0);
}

static int load_file(const char *dir, const char *name, struct cni_list **ret_list,
                     struct gi_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cleanup_free char *text = NULL;
    size_t len = 0;
    int rc = gi_read_file(path, CNI_MAX_DOCUMENT, &text, &len, err);
    return rc < 0 ? rc : cni_list_parse(text, len, path, ret_list, err);
}

int cni_list_load(const char *dir, struct cni_list **ret_list, struct gi_error *err)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_configuration, alphasort);
    if (n < 0)
        return gi_fail(err, GI_UNAVAILABLE, "no network configuration: %s: %s", dir,
                       strerror(errno));
    struct gi_error why = GI_ERROR_INIT;
    bool found = false;
    for (int i = 0; i < n; i++) {
        if (!found)
            found = load_file(dir, names[i]->d_name, ret_list, &why) == 0;
        free(names[i]);
    }
    free(names);
    if (found)
        return 0;
    return gi_fail(err, GI_UNAVAILABLE, "no usable network configuration in %s%s%s", dir,
                   n ? ": " : "", n ? why.message : "");
}
