/* SPDX-License-Identifier: Apache-2.0 */
#include "document.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#include "jsontext.h"

/* Arguments and environment must fit execve(2) anyway. */
#define MAX_STRINGS         8192
#define MAX_STRING_BYTES    (2u << 20)
#define MAX_TOKEN           (64u << 10)
#define MAX_TOKEN_ANSWER    (1u << 20)

#define OCI_INDEX           "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST        "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG          "application/vnd.oci.image.config.v1+json"
#define DOCKER_LIST         "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_V2           "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_CONFIG       "application/vnd.docker.container.image.v1+json"
#define DOCKER_V1           "application/vnd.docker.distribution.manifest.v1+json"
#define DOCKER_V1_JWS       "application/vnd.docker.distribution.manifest.v1+prettyjws"
#define DOCKER_FOREIGN      "application/vnd.docker.image.rootfs.foreign"

#define CHECK_BAD(err, ...) gi_fail(err, GI_INVALID_ARGUMENT, __VA_ARGS__)

static void copy_text(char *dst, size_t size, const char *src)
{
    size_t n = src ? strlen(src) : 0;
    if (n >= size)
        n = size - 1;
    if (n)
        memcpy(dst, src, n);
    dst[n] = '\0';
}

static int read_descriptor(const struct gi_json *v, const char *what,
                           struct document_descriptor *ret, struct gi_error *err)
{
    const char *digest = gi_json_get_string(v, "digest");
    const char *media_type = gi_json_get_string(v, "mediaType");
    if (!digest || !digest_valid(digest))
        return CHECK_BAD(err, "%s has no valid digest", what);
    if (!json_uint(v, "size", &ret->size))
        return CHECK_BAD(err, "%s has no valid size", what);
    if (media_type && strlen(media_type) >= sizeof(ret->media_type))
        return CHECK_BAD(err, "%s has an overlong media type", what);
    copy_text(ret->media_type, sizeof(ret->media_type), media_type);
    memcpy(ret->digest, digest, strlen(digest) + 1);
    return 0;
}

static int read_children(const struct gi_json *list, struct document_manifest *m,
                         struct gi_error *err)
{
    size_t n = list->n;
    if (n > DOCUMENT_MAX_CHILDREN)
        return CHECK_BAD(err, "image index has %zu manifests; %d are allowed", n,
                         DOCUMENT_MAX_CHILDREN);
    m->children = calloc(n ? n : 1, sizeof(*m->children));
    if (!m->children)
        return gi_fail_errno(err, ENOMEM, "image index");
    m->n_children = n;
    for (size_t i = 0; i < n; i++) {
        struct document_child *c = &m->children[i];
        int rc = read_descriptor(&list->items[i], "manifest in the index", &c->descriptor, err);
        if (rc < 0)
            return rc;
        if (c->descriptor.size > DOCUMENT_MAX_MANIFEST)
            return CHECK_BAD(err, "a manifest in the index is larger than %u bytes",
                             DOCUMENT_MAX_MANIFEST);
        const struct gi_json *platform = gi_json_get(&list->items[i], "platform");
        c->has_platform = platform != NULL;
        copy_text(c->os, sizeof(c->os), gi_json_get_string(platform, "os"));
        copy_text(c->arch, sizeof(c->arch), gi_json_get_string(platform, "architecture"));
        copy_text(c->variant, sizeof(c->variant), gi_json_get_string(platform, "variant"));
    }
    return 0;
}

static int read_layers(const struct gi_json *list, struct document_manifest *m,
                       struct gi_error *err)
{
    size_t n = list->n;
    if (n > DOCUMENT_MAX_LAYERS)
        return CHECK_BAD(err, "image has %zu layers; %d are allowed", n, DOCUMENT_MAX_LAYERS);
    m->layers = calloc(n ? n : 1, sizeof(*m->layers));
    if (!m->layers)
        return gi_fail_errno(err, ENOMEM, "manifest");
    m->n_layers = n;
    for (size_t i = 0; i < n; i++) {
        int rc = read_descriptor(&list->items[i], "layer", &m->layers[i], err);
        if (rc < 0)
            return rc;
        if (strncmp(m->layers[i].media_type, DOCKER_FOREIGN, strlen(DOCKER_FOREIGN)) == 0)
            return gi_fail(err, GI_FAILED_PRECONDITION,
                           "image has a foreign (Windows) layer, which a registry doesn't hold");
    }
    return 0;
}

static int read_image_manifest(const struct gi_json *root, struct document_manifest *m,
                               struct gi_error *err)
{
    const struct gi_json *config = gi_json_get(root, "config");
    const struct gi_json *layers = gi_json_get(root, "layers");
    if (!config || !json_is_array(layers))
        return CHECK_BAD(err, "manifest has no config or no layers");
    int rc = read_descriptor(config, "image configuration", &m->config, err);
    if (rc < 0)
        return rc;
    if (strcmp(m->config.media_type, OCI_CONFIG) != 0 &&
        strcmp(m->config.media_type, DOCKER_CONFIG) != 0)
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "this is not a container image (its configuration is \"%.100s\")",
                       m->config.media_type);
    if (m->config.size > DOCUMENT_MAX_CONFIG)
        return CHECK_BAD(err, "image configuration is larger than %u bytes", DOCUMENT_MAX_CONFIG);
    return read_layers(layers, m, err);
}

static bool is_one_of(const char *s, const char *a, const char *b)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0;
}

static int parse_manifest(const struct gi_json *root, const char *content_type,
                          struct document_manifest *m, struct gi_error *err)
{
    const char *media_type = gi_json_get_string(root, "mediaType");
    const struct gi_json *manifests = gi_json_get(root, "manifests");
    uint64_t version = 0;
    json_uint(root, "schemaVersion", &version);
    if (version == 1 || is_one_of(content_type, DOCKER_V1, DOCKER_V1_JWS))
        return gi_fail(err, GI_FAILED_PRECONDITION,
                       "the registry only has a Docker schema 1 manifest, which carries no digests "
                       "of unpacked layers and is not supported: push the image again with a "
                       "current tool");
    if (version != 2)
        return CHECK_BAD(err, "manifest has no schemaVersion 2");
    /* One document must not be an index to one reader and a manifest to another
     * (CVE-2021-41190). */
    if (manifests && (gi_json_get(root, "layers") || gi_json_get(root, "config")))
        return CHECK_BAD(err, "document is both an index and a manifest");
    m->is_index = manifests != NULL;
    const char *claims[] = {media_type ? media_type : "", content_type};
    for (size_t i = 0; i < GI_ARRAY_SIZE(claims); i++) {
        if ((is_one_of(claims[i], OCI_INDEX, DOCKER_LIST) && !m->is_index) ||
            (is_one_of(claims[i], OCI_MANIFEST, DOCKER_V2) && m->is_index))
            return CHECK_BAD(err, "document is not the %.100s it is said to be", claims[i]);
    }
    if (!m->is_index)
        return read_image_manifest(root, m, err);
    if (!json_is_array(manifests))
        return CHECK_BAD(err, "index has no list of manifests");
    return read_children(manifests, m, err);
}

int document_manifest_parse(const char *text, size_t len, const char *content_type,
                            struct document_manifest *ret_manifest, struct gi_error *err)
{
    if (len > DOCUMENT_MAX_MANIFEST)
        return CHECK_BAD(err, "manifest is larger than %u bytes", DOCUMENT_MAX_MANIFEST);
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = json_text_parse(text, len, DOCUMENT_MAX_MANIFEST, "manifest", &root, err);
    if (rc < 0)
        return rc;
    struct document_manifest m = {0};
    rc = parse_manifest(root, content_type, &m, err);
    if (rc < 0) {
        document_manifest_free(&m);
        return rc;
    }
    *ret_manifest = m;
    return 0;
}

void document_manifest_free(struct document_manifest *m)
{
    free(m->children);
    free(m->layers);
    memset(m, 0, sizeof(*m));
}

/* ---- platforms ---- */

/* How well VARIANT suits the machine: the least is best, -1 not at all. */
static int variant_rank(const char *arch, const char *variant)
{
    static const char *const arm64[] = {"v8", "", NULL};
    static const char *const arm[] = {"v7", "", "v6", "v5", NULL};
    static const char *const others[] = {"", "v1", "v2", "v3", NULL};
    const char *const *order = others;
    if (strcmp(arch, "arm64") == 0)
        order = arm64;
    else if (strcmp(arch, "arm") == 0)
        order = arm;
    for (int i = 0; order[i]; i++) {
        if (strcmp(order[i], variant) == 0)
            return i;
    }
    return -1;
}

int document_pick(const struct document_manifest *index, const char *arch, size_t *ret_child,
                  struct gi_error *err)
{
    int best_rank = -1;
    char seen[256] = "";
    size_t seen_len = 0;
    for (size_t i = 0; i < index->n_children; i++) {
        const struct document_child *c = &index->children[i];
        int rank = -1;
        if (strcmp(c->os, "linux") == 0 && strcmp(c->arch, arch) == 0)
            rank = variant_rank(arch, c->variant);
        else if (!c->has_platform && index->n_children == 1)
            rank = 100; /* nothing said, nothing to choose: the config decides */
        if (rank >= 0 && (best_rank < 0 || rank < best_rank)) {
            best_rank = rank;
            *ret_child = i;
        }
        if (strcmp(c->os, "unknown") != 0 && seen_len < sizeof(seen) - 1) {
            int n = snprintf(seen + seen_len, sizeof(seen) - seen_len, "%s%s/%s%s%s",
                             seen_len ? ", " : "", c->os, c->arch, c->variant[0] ? "/" : "",
                             c->variant);
            seen_len += n > 0 ? (size_t)n : 0;
        }
    }
    if (best_rank < 0)
        return gi_fail(err, GI_NOT_FOUND, "the image has nothing for linux/%s, only: %s", arch,
                       seen);
    return 0;
}

const char *document_host_arch(void)
{
    static const char *const names[][2] = {
        {"x86_64", "amd64"},    {"aarch64", "arm64"},   {"armv7l", "arm"}, {"i686", "386"},
        {"riscv64", "riscv64"}, {"ppc64le", "ppc64le"}, {"s390x", "s390x"}};
    struct utsname u;
    if (uname(&u) == 0) {
        for (size_t i = 0; i < GI_ARRAY_SIZE(names); i++) {
            if (strcmp(u.machine, names[i][0]) == 0)
                return names[i][1];
        }
    }
    return "amd64";
}

/* ---- configuration ---- */

int document_signal(const char *name)
{
    if (isdigit((unsigned char)name[0])) {
        char *end;
        long n = strtol(name, &end, 10);
        return *end == '\0' && n > 0 && n < 65 ? (int)n : 0;
    }
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    bool from_min = strncasecmp(name, "RTMIN", 5) == 0;
    if (from_min || strncasecmp(name, "RTMAX", 5) == 0) {
        const char *p = name + 5;
        char *end;
        if (*p == '\0')
            return from_min ? 34 : 64;
        if (*p != (from_min ? '+' : '-') || !isdigit((unsigned char)p[1]))
            return 0;
        long n = strtol(p + 1, &end, 10);
        return *end == '\0' && n <= 30 ? (int)(from_min ? 34 + n : 64 - n) : 0;
    }
    for (int s = 1; s < 32; s++) {
        const char *abbrev = sigabbrev_np(s);
        if (abbrev && strcasecmp(abbrev, name) == 0)
            return s;
    }
    return 0;
}

/* An array of strings; absent: an empty one. */
static int read_strings(const struct gi_json *v, const char *key, size_t *budget, char ***ret_list,
                        struct gi_error *err)
{
    const struct gi_json *list = gi_json_get(v, key);
    if (list && !json_is_array(list))
        return CHECK_BAD(err, "image configuration: %s is no list", key);
    size_t n = list ? list->n : 0;
    if (n > MAX_STRINGS)
        return CHECK_BAD(err, "image configuration: %s has more than %d entries", key, MAX_STRINGS);
    char **strings = calloc(n + 1, sizeof(*strings));
    if (!strings)
        return gi_fail_errno(err, ENOMEM, "image configuration");
    *ret_list = strings; /* owned by the config from here on */
    for (size_t i = 0; i < n; i++) {
        const struct gi_json *s = &list->items[i];
        if (s->type != GI_JSON_STRING)
            return CHECK_BAD(err, "image configuration: %s has an entry that is no string", key);
        size_t len = strlen(s->text) + 1;
        if (len > *budget)
            return CHECK_BAD(err, "image configuration: texts are too long");
        *budget -= len;
        strings[i] = strdup(s->text);
        if (!strings[i])
            return gi_fail_errno(err, ENOMEM, "image configuration");
    }
    return 0;
}

static int read_text(const struct gi_json *v, const char *key, size_t *budget, char **ret_text,
                     struct gi_error *err)
{
    const char *s = gi_json_get_string(v, key);
    if (s && strlen(s) + 1 > *budget)
        return CHECK_BAD(err, "image configuration: texts are too long");
    *budget -= s ? strlen(s) + 1 : 0;
    *ret_text = strdup(s ? s : "");
    return *ret_text ? 0 : gi_fail_errno(err, ENOMEM, "image configuration");
}

static int read_config(const struct gi_json *root, struct document_config *c, struct gi_error *err)
{
    size_t budget = MAX_STRING_BYTES;
    const struct gi_json *config = gi_json_get(root, "config");
    copy_text(c->os, sizeof(c->os), gi_json_get_string(root, "os"));
    copy_text(c->arch, sizeof(c->arch), gi_json_get_string(root, "architecture"));
    const char *stop = gi_json_get_string(config, "StopSignal");
    c->stop_signal = stop ? document_signal(stop) : 0;
    int rc = read_strings(gi_json_get(root, "rootfs"), "diff_ids", &budget, &c->diff_ids, err);
    if (rc == 0)
        rc = read_strings(config, "Entrypoint", &budget, &c->entrypoint, err);
    if (rc == 0)
        rc = read_strings(config, "Cmd", &budget, &c->cmd, err);
    if (rc == 0)
        rc = read_strings(config, "Env", &budget, &c->env, err);
    if (rc == 0)
        rc = read_text(config, "User", &budget, &c->user, err);
    if (rc == 0)
        rc = read_text(config, "WorkingDir", &budget, &c->working_dir, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; c->diff_ids[i]; i++) {
        if (!digest_valid(c->diff_ids[i]))
            return CHECK_BAD(err, "image configuration: diff id %zu is no digest", i);
    }
    return 0;
}

int document_config_parse(const char *text, size_t len, struct document_config *ret_config,
                          struct gi_error *err)
{
    if (len > DOCUMENT_MAX_CONFIG)
        return CHECK_BAD(err, "image configuration is larger than %u bytes", DOCUMENT_MAX_CONFIG);
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = json_text_parse(text, len, DOCUMENT_MAX_CONFIG, "image configuration", &root, err);
    if (rc < 0)
        return rc;
    struct document_config c = {0};
    rc = read_config(root, &c, err);
    if (rc < 0) {
        document_config_free(&c);
        return rc;
    }
    *ret_config = c;
    return 0;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void document_config_free(struct document_config *c)
{
    free_strings(c->diff_ids);
    free_strings(c->entrypoint);
    free_strings(c->cmd);
    free_strings(c->env);
    free(c->user);
    free(c->working_dir);
    memset(c, 0, sizeof(*c));
}

/* ---- tokens ---- */

int document_token(const char *text, size_t len, char **ret_token, struct gi_error *err)
{
    cleanup_gi_json struct gi_json *root = NULL;
    int rc = json_text_parse(text ? text : "", len, MAX_TOKEN_ANSWER, "token answer", &root, err);
    if (rc < 0)
        return rc;
    const char *token = gi_json_get_string(root, "token");
    if (!token || !*token)
        token = gi_json_get_string(root, "access_token");
    if (!token || !*token)
        return CHECK_BAD(err, "the answer carries no token");
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        if (token[i] <= 0x20 || token[i] == 0x7f) /* also bytes above 0x7f: char is signed */
            return CHECK_BAD(err, "the token doesn't fit a header");
    }
    if (n > MAX_TOKEN)
        return CHECK_BAD(err, "the token is too long");
    char *copy = strdup(token);
    if (!copy)
        return gi_fail_errno(err, ENOMEM, "token");
    *ret_token = copy;
    return 0;
}

void document_registry_error(const char *text, size_t len, char *ret_text, size_t size)
{
    ret_text[0] = '\0';
    cleanup_gi_json struct gi_json *root = NULL;
    if (!text || json_text_parse(text, len, MAX_TOKEN_ANSWER, "error answer", &root, NULL) < 0)
        return;
    const struct gi_json *errors = gi_json_get(root, "errors");
    if (!json_is_array(errors) || errors->n == 0)
        return;
    const char *code = gi_json_get_string(&errors->items[0], "code");
    const char *message = gi_json_get_string(&errors->items[0], "message");
    snprintf(ret_text, size, "%.60s: %.200s", code ? code : "?", message ? message : "");
    for (char *p = ret_text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}
