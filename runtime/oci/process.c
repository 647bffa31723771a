/* SPDX-License-Identifier: Apache-2.0 */
/* The process: what is run, with which environment, where, as whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/parts.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- arguments ---- */

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* Kubernetes' rule: a command replaces the image's entry point and its
 * arguments, arguments alone replace the image's arguments. */
static int put_args(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    const Runtime__V1__ContainerConfig *r = c->in->config;
    const struct images_image *i = c->in->image;
    bool own_command = r->n_command > 0;
    char *const *head = own_command ? r->command : i->entrypoint;
    size_t n_head = own_command ? r->n_command : count(i->entrypoint);
    char *const *tail = r->n_args > 0 || own_command ? r->args : i->cmd;
    size_t n_tail = r->n_args > 0 || own_command ? r->n_args : count(i->cmd);
    if (n_head + n_tail == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.command: no command specified, and the image has none");
    gen_key_array(g, "args");
    for (size_t k = 0; k < n_head; k++)
        gen_string(g, head[k]);
    for (size_t k = 0; k < n_tail; k++)
        gen_string(g, tail[k]);
    gen_end_array(g);
    return 0;
}

/* ---- environment ---- */

struct env {
    char **list;
    size_t n;
};

static void env_free(struct env *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->list[i]);
    free(e->list);
}

static size_t name_length(const char *pair)
{
    return strcspn(pair, "=");
}

static char **find(const struct env *e, const char *pair, size_t len)
{
    for (size_t i = 0; i < e->n; i++) {
        if (name_length(e->list[i]) == len && memcmp(e->list[i], pair, len) == 0)
            return &e->list[i];
    }
    return NULL;
}

/* Takes PAIR; a later one replaces an earlier one in its place. */
static int env_take(struct env *e, char *pair)
{
    if (!pair)
        return -1;
    char **old = find(e, pair, name_length(pair));
    if (old) {
        free(*old);
        *old = pair;
        return 0;
    }
    char **longer = reallocarray(e->list, e->n + 1, sizeof(*longer));
    if (!longer) {
        free(pair);
        return -1;
    }
    e->list = longer;
    e->list[e->n++] = pair;
    return 0;
}

static int env_default(struct env *e, const char *name, const char *value)
{
    char *pair = NULL;
    if (find(e, name, strlen(name)))
        return 0;
    if (asprintf(&pair, "%s=%s", name, value) < 0)
        return -1;
    return env_take(e, pair);
}

static int add_request_env(struct env *e, const Runtime__V1__ContainerConfig *r,
                           struct gi_error *err)
{
    for (size_t i = 0; i < r->n_envs; i++) {
        const Runtime__V1__KeyValue *kv = r->envs[i];
        char *pair = NULL;
        if (!*kv->key || strchr(kv->key, '='))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "config.envs[%zu].key: empty, or with a '=' in it", i);
        if (kv->value.len && memchr(kv->value.data, '\0', kv->value.len))
            return gi_fail(err, GI_INVALID_ARGUMENT, "config.envs[%zu].value: a NUL in it", i);
        if (asprintf(&pair, "%s=%.*s", kv->key, (int)kv->value.len,
                     kv->value.len ? (const char *)kv->value.data : "") < 0 ||
            env_take(e, pair) < 0)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    }
    return 0;
}

static int put_env(struct gen *g, const struct oci_context *c, struct gi_error *err)
{
    __attribute__((cleanup(env_free))) struct env e = {NULL, 0};
    const char *home = c->user.home && *c->user.home ? c->user.home : "/";
    int rc = 0;
    for (char *const *p = c->in->image->env; p && *p && rc == 0; p++) {
        if (name_length(*p) > 0 && strchr(*p, '='))
            rc = env_take(&e, strdup(*p));
    }
    if (rc < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    rc = add_request_env(&e, c->in->config, err);
    if (rc < 0)
        return rc;
    if (env_default(&e, "PATH", DEFAULT_PATH) < 0 || env_default(&e, "HOME", home) < 0 ||
        env_default(&e, "HOSTNAME", c->in->hostname) < 0 ||
        (c->in->config->tty && env_default(&e, "TERM", "xterm") < 0))
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    gen_key_array(g, "env");
    for (size_t i = 0; i < e.n; i++)
        gen_string(g, e.list[i]);
    gen_end_array(g);
    return 0;
}

/* ---- the rest ---- */

static void put_cwd(struct gen *g, const struct oci_context *c)
{
    const char *wanted = c->in->config->working_dir;
    cleanup_free char *path = NULL;
    if (!*wanted)
        wanted = c->in->image->working_dir ? c->in->image->working_dir : "";
    if (asprintf(&path, "%s%s", wanted[0] == '/' ? "" : "/", wanted) < 0)
        abort();
    gen_key_string(g, "cwd", path);
}

static void put_user(struct gen *g, const struct oci_context *c)
{
    gen_key_map(g, "user");
    gen_key_uint(g, "uid", c->user.uid);
    gen_key_uint(g, "gid", c->user.gid);
    gen_key_array(g, "additionalGids");
    for (size_t i = 0; i < c->user.n_groups; i++)
        gen_uint(g, c->user.groups[i]);
    gen_end_array(g);
    gen_end_map(g);
}

int oci_put_process(struct gen *g, struct oci_context *c, struct gi_error *err)
{
    gen_key_map(g, "process");
    gen_key_bool(g, "terminal", c->in->config->tty);
    put_user(g, c);
    int rc = put_args(g, c, err);
    if (rc == 0)
        rc = put_env(g, c, err);
    if (rc < 0)
        return rc;
    put_cwd(g, c);
    oci_put_caps(g, c);
    gen_key_bool(g, "noNewPrivileges", c->security && c->security->no_new_privs);
    if (c->resources)
        gen_key_int(g, "oomScoreAdj", c->resources->oom_score_adj);
    gen_end_map(g);
    return 0;
}
