/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

#include "agent/agent_client.h"
#include "base/buf.h"
#include "base/cleanup.h"

#define MAX_DEPTH 64
#define MAX_JSON  (4u << 20)

GI_DEFINE_CLEANUP(yajl_val, yajl_tree_free);
GI_DEFINE_CLEANUP(yajl_gen, yajl_gen_free);
#define cleanup_tree __attribute__((cleanup(yajl_tree_freep)))
#define cleanup_gen  __attribute__((cleanup(yajl_gen_freep)))

/* The tree's own functions recurse. */
static bool too_deep(const char *json)
{
    int depth = 0;
    bool string = false;
    for (const char *p = json; *p; p++) {
        if (string) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == '"')
                string = false;
        } else if (*p == '"') {
            string = true;
        } else if (*p == '{' || *p == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if (*p == '}' || *p == ']') {
            depth--;
        }
    }
    return false;
}

static yajl_val parse(const char *json, struct gi_error *err)
{
    char why[160] = "";
    if (too_deep(json)) {
        gi_fail(err, GI_INVALID_ARGUMENT, "OCI spec is nested deeper than %d", MAX_DEPTH);
        return NULL;
    }
    yajl_val v = yajl_tree_parse(json, why, sizeof(why));
    if (!v || !YAJL_IS_OBJECT(v)) {
        gi_fail(err, GI_INVALID_ARGUMENT, "OCI spec is no JSON object: %s", why);
        if (v)
            yajl_tree_free(v);
        return NULL;
    }
    return v;
}

static void put_string(yajl_gen g, const char *s)
{
    yajl_gen_string(g, (const unsigned char *)s, strlen(s));
}

static void put_value(yajl_gen g, yajl_val v)
{
    if (YAJL_IS_OBJECT(v)) {
        yajl_gen_map_open(g);
        for (size_t i = 0; i < v->u.object.len; i++) {
            put_string(g, v->u.object.keys[i]);
            put_value(g, v->u.object.values[i]);
        }
        yajl_gen_map_close(g);
    } else if (YAJL_IS_ARRAY(v)) {
        yajl_gen_array_open(g);
        for (size_t i = 0; i < v->u.array.len; i++)
            put_value(g, v->u.array.values[i]);
        yajl_gen_array_close(g);
    } else if (YAJL_IS_STRING(v)) {
        put_string(g, YAJL_GET_STRING(v));
    } else if (YAJL_IS_NUMBER(v)) {
        yajl_gen_number(g, YAJL_GET_NUMBER(v), strlen(YAJL_GET_NUMBER(v)));
    } else if (YAJL_IS_NULL(v)) {
        yajl_gen_null(g);
    } else {
        yajl_gen_bool(g, YAJL_IS_TRUE(v) ? 1 : 0);
    }
}

static yajl_val member(yajl_val object, const char *key)
{
    for (size_t i = 0; YAJL_IS_OBJECT(object) && i < object->u.object.len; i++) {
        if (strcmp(object->u.object.keys[i], key) == 0)
            return object->u.object.values[i];
    }
    return NULL;
}

static bool one_of(const char *key, const char *const *keys)
{
    for (; *keys; keys++) {
        if (strcmp(key, *keys) == 0)
            return true;
    }
    return false;
}

/* All members of OBJECT but those named in WITHOUT. */
static void put_members(yajl_gen g, yajl_val object, const char *const *without)
{
    for (size_t i = 0; YAJL_IS_OBJECT(object) && i < object->u.object.len; i++) {
        if (one_of(object->u.object.keys[i], without))
            continue;
        put_string(g, object->u.object.keys[i]);
        put_value(g, object->u.object.values[i]);
    }
}

static void put_root(yajl_gen g, yajl_val root, const char *path)
{
    static const char *const without[] = {"path", NULL};
    put_string(g, "root");
    yajl_gen_map_open(g);
    put_members(g, root, without);
    put_string(g, "path");
    put_string(g, path);
    yajl_gen_map_close(g);
}

/* "" for what is no string. */
static const char *text_of(yajl_val v)
{
    const char *s = v ? YAJL_GET_STRING(v) : NULL;
    return s ? s : "";
}

/* ENV and MORE, a NAME=VALUE or NULL; who says it himself is believed. */
static void put_env(yajl_gen g, yajl_val env, const char *more)
{
    bool has = !more;
    size_t name = more ? strcspn(more, "=") + 1 : 0;
    put_string(g, "env");
    yajl_gen_array_open(g);
    for (size_t i = 0; env && YAJL_IS_ARRAY(env) && i < env->u.array.len; i++) {
        put_value(g, env->u.array.values[i]);
        has = has || strncmp(text_of(env->u.array.values[i]), more, name) == 0;
    }
    if (!has)
        put_string(g, more);
    yajl_gen_array_close(g);
}

static void put_process(yajl_gen g, yajl_val process, const struct spec_changes *ch)
{
    static const char *const without[] = {"terminal", "oomScoreAdj", "env", NULL};
    yajl_gen_map_open(g);
    put_members(g, process, without);
    put_string(g, "terminal");
    yajl_gen_bool(g, ch->tty);
    put_env(g, member(process, "env"), ch->env);
    yajl_val adj = member(process, "oomScoreAdj");
    if (adj && YAJL_IS_INTEGER(adj)) {
        long long wanted = YAJL_GET_INTEGER(adj);
        put_string(g, "oomScoreAdj");
        yajl_gen_integer(g, wanted < ch->oom_score_min ? ch->oom_score_min : wanted);
    }
    yajl_gen_map_close(g);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* OBJECT, but as its KEY what the zone has for the SOURCE there. */
static int put_found(yajl_gen g, yajl_val object, const char *key, const char *source,
                     const struct spec_changes *ch, struct gi_error *err)
{
    const char *const without[] = {key, NULL};
    char path[PATH_MAX];
    int rc = ch->source(ch->data, source, path, err);
    if (rc < 0)
        return rc;
    yajl_gen_map_open(g);
    put_members(g, object, without);
    put_string(g, key);
    put_string(g, path);
    yajl_gen_map_close(g);
    return 0;
}

static int put_mount(yajl_gen g, yajl_val mount, const struct spec_changes *ch,
                     struct gi_error *err)
{
    const char *source = text_of(member(mount, "source"));
    if (ch->source && (begins(source, AGENT_VOLUME_SOURCE) || begins(source, AGENT_IMAGE_SOURCE)))
        return put_found(g, mount, "source", source, ch, err);
    put_value(g, mount);
    return 0;
}

static int put_namespaces(yajl_gen g, yajl_val namespaces, const struct spec_changes *ch,
                          struct gi_error *err)
{
    int rc = 0;
    put_string(g, "namespaces");
    yajl_gen_array_open(g);
    for (size_t i = 0; rc == 0 && YAJL_IS_ARRAY(namespaces) && i < namespaces->u.array.len; i++) {
        yajl_val n = namespaces->u.array.values[i];
        const char *path = text_of(member(n, "path"));
        if (ch->source && begins(path, AGENT_CONTAINER_SOURCE) &&
            strcmp(text_of(member(n, "type")), "pid") == 0)
            rc = put_found(g, n, "path", path, ch, err);
        else
            put_value(g, n);
    }
    yajl_gen_array_close(g);
    return rc;
}

static int put_mounts(yajl_gen g, yajl_val mounts, const struct spec_changes *ch,
                      struct gi_error *err)
{
    put_string(g, "mounts");
    yajl_gen_array_open(g);
    for (size_t i = 0; mounts && YAJL_IS_ARRAY(mounts) && i < mounts->u.array.len; i++) {
        int rc = put_mount(g, mounts->u.array.values[i], ch, err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < ch->n_mounts; i++) {
        const struct spec_mount *m = &ch->mounts[i];
        const char *const options[] = {"bind", "ro", "nosuid", "nodev", "noexec"};
        yajl_gen_map_open(g);
        put_string(g, "destination");
        put_string(g, m->destination);
        put_string(g, "type");
        put_string(g, "bind");
        put_string(g, "source");
        put_string(g, m->source);
        put_string(g, "options");
        yajl_gen_array_open(g);
        for (size_t k = 0; k < GI_ARRAY_SIZE(options) - (m->exec ? 1 : 0); k++)
            put_string(g, options[k]);
        yajl_gen_array_close(g);
        yajl_gen_map_close(g);
    }
    yajl_gen_array_close(g);
    return 0;
}

static int put_linux(yajl_gen g, yajl_val linux_part, const struct spec_changes *ch,
                     struct gi_error *err)
{
    static const char *const without[] = {"cgroupsPath", "namespaces", NULL};
    static const char *const without_limits[] = {"cgroupsPath", "namespaces", "resources", NULL};
    yajl_val namespaces = member(linux_part, "namespaces");
    put_string(g, "linux");
    yajl_gen_map_open(g);
    put_members(g, linux_part, ch->cgroup ? without : without_limits);
    if (ch->cgroup) {
        put_string(g, "cgroupsPath");
        put_string(g, ch->cgroup);
    }
    int rc = namespaces ? put_namespaces(g, namespaces, ch, err) : 0;
    yajl_gen_map_close(g);
    return rc;
}

static yajl_gen new_gen(struct gi_error *err)
{
    yajl_gen g = yajl_gen_alloc(NULL);
    if (!g)
        gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for an OCI spec");
    return g;
}

static int finish(yajl_gen g, char **ret, struct gi_error *err)
{
    const unsigned char *text = NULL;
    size_t len = 0;
    if (yajl_gen_get_buf(g, &text, &len) != yajl_gen_status_ok || len == 0 || len > MAX_JSON)
        return gi_fail(err, GI_INVALID_ARGUMENT, "OCI spec can't be written");
    char *copy = strndup((const char *)text, len);
    if (!copy)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for an OCI spec");
    *ret = copy;
    return 0;
}

int spec_build(const char *json, const struct spec_changes *ch, char **ret_config,
               char **ret_process, struct gi_error *err)
{
    static const char *const without[] = {"root", "process", "mounts", "linux", "hooks", NULL};
    cleanup_tree yajl_val v = parse(json, err);
    if (!v)
        return -GI_INVALID_ARGUMENT;
    yajl_val process = member(v, "process");
    if (!process || !YAJL_IS_OBJECT(process))
        return gi_fail(err, GI_INVALID_ARGUMENT, "OCI spec without a process");
    cleanup_gen yajl_gen p = new_gen(err);
    cleanup_gen yajl_gen g = new_gen(err);
    if (!p || !g)
        return -GI_RESOURCE_EXHAUSTED;
    put_process(p, process, ch);
    yajl_gen_map_open(g);
    put_members(g, v, without);
    put_root(g, member(v, "root"), ch->root);
    put_string(g, "process");
    put_process(g, process, ch);
    int rc = put_mounts(g, member(v, "mounts"), ch, err);
    if (rc == 0)
        rc = put_linux(g, member(v, "linux"), ch, err);
    if (rc < 0)
        return rc;
    yajl_gen_map_close(g);
    cleanup_free char *config = NULL;
    if (finish(g, &config, err) < 0 || finish(p, ret_process, err) < 0)
        return -GI_INVALID_ARGUMENT;
    *ret_config = TAKE_PTR(config);
    return 0;
}

static void put_terminal(yajl_gen g, const struct spec_terminal *t)
{
    put_string(g, "terminal");
    yajl_gen_bool(g, t->tty);
    if (!t->tty || !t->width || !t->height)
        return;
    put_string(g, "consoleSize");
    yajl_gen_map_open(g);
    put_string(g, "height");
    yajl_gen_integer(g, t->height);
    put_string(g, "width");
    yajl_gen_integer(g, t->width);
    yajl_gen_map_close(g);
}

int spec_exec_process(const char *process_json, char *const *argv, size_t argc,
                      const struct spec_terminal *terminal, char **ret_json, struct gi_error *err)
{
    static const char *const without[] = {"args", "env", "terminal", "consoleSize", NULL};
    cleanup_tree yajl_val v = parse(process_json, err);
    cleanup_gen yajl_gen g = new_gen(err);
    if (!v || !g)
        return -GI_INTERNAL;
    yajl_gen_map_open(g);
    put_members(g, v, without);
    /* Programs on a terminal want to know which. */
    put_env(g, member(v, "env"), terminal->tty ? "TERM=xterm" : NULL);
    put_terminal(g, terminal);
    put_string(g, "args");
    yajl_gen_array_open(g);
    for (size_t i = 0; i < argc; i++)
        put_string(g, argv[i]);
    yajl_gen_array_close(g);
    yajl_gen_map_close(g);
    return finish(g, ret_json, err);
}

static char *error_of_line(const char *line)
{
    if (too_deep(line))
        return NULL;
    cleanup_tree yajl_val v = yajl_tree_parse(line, NULL, 0);
    if (strcmp(text_of(member(v, "level")), "error") != 0)
        return NULL;
    return strdup(text_of(member(v, "msg")));
}

char *spec_last_log_error(const char *text)
{
    char *found = NULL;
    while (*text) {
        const char *end = strchrnul(text, '\n');
        cleanup_free char *line = strndup(text, (size_t)(end - text));
        char *msg = line ? error_of_line(line) : NULL;
        if (msg) {
            free(found);
            found = msg;
        }
        text = *end ? end + 1 : end;
    }
    return found;
}
