/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "config/table.h"
#include "json/json.h"

#define MAX_FILE (1u << 20)

/* ---- values ---- */

bool config_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *suffix;
        unsigned power;
        unsigned base;
    } units[] = {
        {"", 0, 1000},   {"k", 1, 1000},  {"M", 2, 1000},  {"G", 3, 1000},  {"T", 4, 1000},
        {"P", 5, 1000},  {"E", 6, 1000},  {"Ki", 1, 1024}, {"Mi", 2, 1024}, {"Gi", 3, 1024},
        {"Ti", 4, 1024}, {"Pi", 5, 1024}, {"Ei", 6, 1024},
    };
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (size_t i = 0; i < GI_ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        uint64_t bytes = n;
        for (unsigned p = 0; p < units[i].power; p++) {
            if (__builtin_mul_overflow(bytes, units[i].base, &bytes))
                return false;
        }
        if (bytes > INT64_MAX)
            return false;
        *ret_bytes = bytes;
        return true;
    }
    return false;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static void free_registries(struct config_registry *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].host);
        free_strings(list[i].mirrors);
        free(list[i].ca_file);
    }
    free(list);
}

static int wrong_type(const struct config_key *k, const struct gi_json *v, const char *what,
                      struct gi_error *err)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: \"%s\" must be %s, not %s", what, v->line,
                   k->name, config_type_name(k), gi_json_type_name(v->type));
}

static int out_of_memory(struct gi_error *err)
{
    return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
}

static int set_string(char **at, const struct config_key *k, const struct gi_json *v,
                      const char *what, struct gi_error *err)
{
    if (v->type != GI_JSON_STRING)
        return wrong_type(k, v, what, err);
    if (k->type == CONFIG_PATH && v->text[0] != '/' && v->text[0] != '\0')
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "%s:%u: \"%s\" must be an absolute path, not "
                       "\"%.200s\"",
                       what, v->line, k->name, v->text);
    char *copy = strdup(v->text);
    if (!copy)
        return out_of_memory(err);
    free(*at);
    *at = copy;
    return 0;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL) {
        if (len > 0 && strncmp(c, text, len) == 0 && (c[len] == '|' || c[len] == '\0'))
            return true;
    }
    return false;
}

static int set_number(uint64_t *at, const struct config_key *k, const struct gi_json *v,
                      const char *what, struct gi_error *err)
{
    uint64_t n = 0;
    bool good = false;
    if (k->type == CONFIG_MODE) {
        char *end = NULL;
        if (v->type != GI_JSON_STRING)
            return wrong_type(k, v, what, err);
        n = strtoul(v->text, &end, 8);
        good = isdigit((unsigned char)v->text[0]) && *end == '\0';
    } else if (v->type == GI_JSON_STRING && k->type == CONFIG_SIZE) {
        good = config_parse_size(v->text, &n);
    } else if (v->type == GI_JSON_NUMBER) {
        good = gi_json_uint(v, &n) && n <= INT64_MAX;
    } else {
        return wrong_type(k, v, what, err);
    }
    if (!good)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: \"%s\" must be %s, not %.100s", what,
                       v->line, k->name, config_type_name(k), v->text);
    if (n < k->min || (k->max && n > k->max))
        return gi_fail(err, GI_OUT_OF_RANGE, "%s:%u: \"%s\" must be from %llu to %llu", what,
                       v->line, k->name, (unsigned long long)k->min,
                       (unsigned long long)(k->max ? k->max : INT64_MAX));
    *at = n;
    return 0;
}

static int set_strings(char ***at, const struct config_key *k, const struct gi_json *v,
                       const char *what, struct gi_error *err)
{
    if (v->type != GI_JSON_ARRAY)
        return wrong_type(k, v, what, err);
    char **list = calloc(v->n + 1, sizeof(*list));
    if (!list)
        return out_of_memory(err);
    for (size_t i = 0; i < v->n; i++) {
        int rc = 0;
        if (v->items[i].type != GI_JSON_STRING)
            rc = wrong_type(k, &v->items[i], what, err);
        else if (!(list[i] = strdup(v->items[i].text)))
            rc = out_of_memory(err);
        if (rc < 0) {
            free_strings(list);
            return rc;
        }
    }
    free_strings(*at);
    *at = list;
    return 0;
}

static int set_keys(void *object, const struct config_key *keys, size_t n_keys,
                    const struct gi_json *v, const char *what, struct gi_error *err);

static int set_registries(struct config *c, const struct config_key *k, const struct gi_json *v,
                          const char *what, struct gi_error *err)
{
    if (v->type != GI_JSON_ARRAY)
        return wrong_type(k, v, what, err);
    struct config_registry *list = calloc(v->n + 1, sizeof(*list));
    if (!list)
        return out_of_memory(err);
    int rc = 0;
    for (size_t i = 0; i < v->n && rc == 0; i++) {
        const struct gi_json *item = &v->items[i];
        if (item->type != GI_JSON_OBJECT)
            rc = wrong_type(k, item, what, err);
        else
            rc = set_keys(&list[i], config_registry_keys, config_n_registry_keys, item, what, err);
        if (rc == 0 && (!list[i].host || !*list[i].host))
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: a registry needs a \"host\"", what,
                         item->line);
    }
    if (rc < 0) {
        free_registries(list, v->n);
        return rc;
    }
    free_registries(c->registries, c->n_registries);
    c->registries = list;
    c->n_registries = v->n;
    return 0;
}

static int set_value(void *object, const struct config_key *k, const struct gi_json *v,
                     const char *what, struct gi_error *err)
{
    void *at = (char *)object + k->offset;
    switch (k->type) {
    case CONFIG_CHOICE:
        if (v->type == GI_JSON_STRING && !is_choice(k->choices, v->text))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "%s:%u: \"%s\" must be one of %s, not "
                           "\"%.100s\"",
                           what, v->line, k->name, k->choices, v->text);
        return set_string(at, k, v, what, err);
    case CONFIG_STRING:
    case CONFIG_PATH:
        return set_string(at, k, v, what, err);
    case CONFIG_BOOL:
        if (v->type != GI_JSON_BOOL)
            return wrong_type(k, v, what, err);
        *(bool *)at = v->truth;
        return 0;
    case CONFIG_NUMBER:
    case CONFIG_MODE:
    case CONFIG_SIZE:
        return set_number(at, k, v, what, err);
    case CONFIG_STRINGS:
        return set_strings(at, k, v, what, err);
    case CONFIG_REGISTRIES:
        return set_registries(object, k, v, what, err);
    }
    return gi_fail(err, GI_INTERNAL, "key of no type");
}

static int set_keys(void *object, const struct config_key *keys, size_t n_keys,
                    const struct gi_json *v, const char *what, struct gi_error *err)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct config_key *k = NULL;
        for (size_t n = 0; n < n_keys && !k; n++) {
            if (strcmp(keys[n].name, v->items[i].key) == 0)
                k = &keys[n];
        }
        if (!k)
            return gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: unknown key \"%.100s\"", what,
                           v->items[i].line, v->items[i].key);
        int rc = set_value(object, k, &v->items[i], what, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- whole configurations ---- */

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < config_n_keys; i++) {
        void *at = (char *)c + config_keys[i].offset;
        switch (config_keys[i].type) {
        case CONFIG_STRING:
        case CONFIG_PATH:
        case CONFIG_CHOICE:
            free(*(char **)at);
            break;
        case CONFIG_STRINGS:
            free_strings(*(char ***)at);
            break;
        case CONFIG_REGISTRIES:
            free_registries(c->registries, c->n_registries);
            break;
        case CONFIG_BOOL:
        case CONFIG_NUMBER:
        case CONFIG_MODE:
        case CONFIG_SIZE:
            break;
        }
    }
    free(c);
}
GI_DEFINE_CLEANUP(struct config *, config_free);

int config_defaults(struct config **ret_config, struct gi_error *err)
{
    __attribute__((cleanup(config_freep))) struct config *c = calloc(1, sizeof(*c));
    if (!c)
        return out_of_memory(err);
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct config_key *k = &config_keys[i];
        cleanup_gi_json struct gi_json *v = NULL;
        int rc = gi_json_parse(k->fallback, strlen(k->fallback), NULL, "default", &v, err);
        if (rc == 0)
            rc = set_value(c, k, v, "default", err);
        if (rc < 0)
            return rc;
    }
    *ret_config = TAKE_PTR(c);
    return 0;
}

int config_apply(struct config *c, const char *text, size_t len, const char *what,
                 struct gi_error *err)
{
    static const struct gi_json_limits limits = {.comments = true, .max_depth = 8};
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = gi_json_parse(text, len, &limits, what, &root, err);
    if (rc < 0)
        return rc;
    if (root->type != GI_JSON_OBJECT)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s:%u: the file must be an object, not %s", what,
                       root->line, gi_json_type_name(root->type));
    return set_keys(c, config_keys, config_n_keys, root, what, err);
}

static int apply_file(struct config *c, const char *path, struct gi_error *err)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int rc = gi_read_file(path, MAX_FILE, &text, &len, err);
    return rc < 0 ? rc : config_apply(c, text, len, path, err);
}

static int is_drop_in(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

static int apply_drop_ins(struct config *c, const char *path, struct gi_error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = snprintf(dir, sizeof(dir), "%.*s/config.d", slash ? (int)(slash - path) : 1,
                     slash ? path : ".");
    if (n < 0 || (size_t)n >= sizeof(dir))
        return gi_fail(err, GI_INVALID_ARGUMENT, "path too long: %.100s...", path);
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_drop_in, alphasort);
    if (count < 0)
        return errno == ENOENT ? 0 : gi_fail_errno(err, errno, "%s", dir);
    int rc = 0;
    for (int i = 0; i < count; i++) {
        char file[PATH_MAX];
        n = snprintf(file, sizeof(file), "%s/%s", dir, names[i]->d_name);
        if (rc == 0 && (n < 0 || (size_t)n >= sizeof(file)))
            rc = gi_fail(err, GI_INVALID_ARGUMENT, "path too long: %.100s...", dir);
        else if (rc == 0)
            rc = apply_file(c, file, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int check_whole(const struct config *c, const char *what, struct gi_error *err)
{
    if (!c->handlers || !c->handlers[0])
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s: \"handlers\" is empty", what);
    bool known = c->default_handler[0] == '\0';
    for (size_t i = 0; c->handlers[i]; i++)
        known = known || strcmp(c->handlers[i], c->default_handler) == 0;
    if (!known)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "%s: \"default_handler\" \"%.100s\" is not one of \"handlers\"", what,
                       c->default_handler);
    if (!*c->socket || !*c->run_dir || !*c->state_dir)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "%s: \"socket\", \"run_dir\" and \"state_dir\" can't be empty", what);
    return 0;
}

int config_load(const char *path, bool must_exist, struct config **ret_config, struct gi_error *err)
{
    __attribute__((cleanup(config_freep))) struct config *c = NULL;
    int rc = config_defaults(&c, err);
    if (rc < 0)
        return rc;
    if (must_exist || access(path, F_OK) == 0)
        rc = apply_file(c, path, err);
    if (rc == 0)
        rc = apply_drop_ins(c, path, err);
    if (rc == 0)
        rc = check_whole(c, path, err);
    if (rc == 0)
        *ret_config = TAKE_PTR(c);
    return rc;
}
