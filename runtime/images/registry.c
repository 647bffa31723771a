/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "auth.h"
#include "base/io.h"
#include "base/log.h"
#include "blob.h"

#define MAX_ENDPOINTS    8
#define ATTEMPTS         5
#define MIRROR_ATTEMPTS  2 /* the next one may do better */
#define MAX_RESUMES      200
#define RETRY_DELAY_MS   500
#define MAX_DELAY_MS     15000
#define MANIFEST_SECONDS 120

struct endpoint {
    char *base; /* "https://host:port", no slash at the end */
    bool is_mirror;
    struct auth *auth;
};

struct registry {
    struct image_ref ref;
    struct registry_options options;
    struct endpoint endpoints[MAX_ENDPOINTS];
    size_t n;
};

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "localhost:", 10) == 0 ||
           strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0;
}

/* The host part of "https://host:port/path" or "host:port/path", its length. */
static size_t host_of(const char *url, const char **ret_host)
{
    const char *scheme = strstr(url, "://");
    *ret_host = scheme ? scheme + 3 : url;
    return strcspn(*ret_host, "/");
}

/* Credentials made out to another server aren't shown to this one. */
static bool auth_is_for(const struct images_auth *auth, const char *host)
{
    if (!auth)
        return false;
    if (!auth->server_address || !*auth->server_address)
        return true;
    const char *server;
    size_t n = host_of(auth->server_address, &server);
    if (strcmp(host, "docker.io") == 0)
        return (n == 15 && strncasecmp(server, "index.docker.io", n) == 0) ||
               (n == 9 && strncasecmp(server, "docker.io", n) == 0) ||
               (n == 20 && strncasecmp(server, "registry-1.docker.io", n) == 0);
    return n == strlen(host) && strncasecmp(server, host, n) == 0;
}

static int add_endpoint(struct registry *r, const char *base, bool is_mirror,
                        const struct images_auth *auth, struct gi_error *err)
{
    bool https = strncasecmp(base, "https://", 8) == 0;
    if (!https && strncasecmp(base, "http://", 7) != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "mirror \"%.100s\" is no http:// or https:// URL",
                       base);
    if (r->n == MAX_ENDPOINTS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "more than %d mirrors for %.100s",
                       MAX_ENDPOINTS - 1, r->ref.host);
    struct endpoint *e = &r->endpoints[r->n];
    int rc = auth_new(auth, https, &e->auth, err);
    if (rc < 0)
        return rc;
    e->is_mirror = is_mirror;
    e->base = strdup(base);
    r->n++;
    if (!e->base)
        return gi_fail_errno(err, ENOMEM, "registry");
    size_t len = strlen(e->base);
    while (len && e->base[len - 1] == '/')
        e->base[--len] = '\0';
    return 0;
}

static int add_endpoints(struct registry *r, struct gi_error *err)
{
    const struct images_registry *config = r->options.config;
    const struct images_auth *auth = r->options.auth;
    const char *host = r->ref.host;
    for (size_t i = 0; config && config->mirrors && config->mirrors[i]; i++) {
        const char *mirror_host;
        size_t n = host_of(config->mirrors[i], &mirror_host);
        char name[REF_NAME_SIZE];
        snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : 0), mirror_host);
        /* A mirror sees credentials only if they name it. */
        bool named =
            auth && auth->server_address && *auth->server_address && auth_is_for(auth, name);
        int rc = add_endpoint(r, config->mirrors[i], true, named ? auth : NULL, err);
        if (rc < 0)
            return rc;
    }
    bool plain = config ? config->plain_http : is_loopback(host);
    char base[REF_NAME_SIZE + 16];
    snprintf(base, sizeof(base), "%s%s", plain ? "http://" : "https://",
             strcmp(host, "docker.io") == 0 ? "registry-1.docker.io" : host);
    bool ours = auth_is_for(auth, host);
    if (auth && !ours)
        gi_log(GI_LOG_WARNING, "credentials are for another server and not used", "registry", host,
               "server", auth->server_address, NULL);
    return add_endpoint(r, base, false, ours ? auth : NULL, err);
}

int registry_new(const struct image_ref *ref, const struct registry_options *options,
                 struct registry **ret_registry, struct gi_error *err)
{
    cleanup_registry struct registry *r = calloc(1, sizeof(*r));
    if (!r)
        return gi_fail_errno(err, ENOMEM, "registry");
    r->ref = *ref;
    r->options = *options;
    if (!r->options.attempts)
        r->options.attempts = ATTEMPTS;
    if (!r->options.retry_delay_ms)
        r->options.retry_delay_ms = RETRY_DELAY_MS;
    int rc = add_endpoints(r, err);
    if (rc < 0)
        return rc;
    *ret_registry = TAKE_PTR(r);
    return 0;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->endpoints[i].base);
        auth_free(r->endpoints[i].auth);
    }
    free(r);
}

void registry_manifest_free(struct registry_manifest *m)
{
    gi_buf_free(&m->body);
}

/* ---- one request ---- */

static int status_failed(const struct endpoint *e, const struct http_response *resp,
                         struct gi_error *err)
{
    char said[272];
    char why[300] = "";
    document_registry_error(resp->body.data, resp->body.len, said, sizeof(said));
    if (said[0])
        snprintf(why, sizeof(why), " (%s)", said);
    switch (resp->status) {
    case 401:
        return gi_fail(err, GI_UNAUTHENTICATED, "%s: login needed or refused%s", e->base, why);
    case 403:
        return gi_fail(err, GI_PERMISSION_DENIED, "%s: access denied%s", e->base, why);
    case 404:
        return gi_fail(err, GI_NOT_FOUND, "%s: not found%s", e->base, why);
    case 429:
        return gi_fail(err, GI_UNAVAILABLE, "%s: too many requests%s", e->base, why);
    default:
        return gi_fail(err, resp->status >= 500 ? GI_UNAVAILABLE : GI_FAILED_PRECONDITION,
                       "%s: HTTP status %ld%s", e->base, resp->status, why);
    }
}

/* 0 for a 2xx (and 416 to a Range request), logging in on the way if asked to. */
static int request(struct registry *r, struct http *h, const struct endpoint *e,
                   struct http_request *q, struct http_response *resp, struct gi_error *err)
{
    for (int tries = 0;; tries++) {
        cleanup_free char *authorization = auth_header(e->auth);
        q->authorization = authorization;
        int rc = http_do(h, q, resp, err);
        q->authorization = NULL;
        if (rc < 0)
            return gi_prefix(err, "%s", e->base);
        if (resp->status / 100 == 2 || (resp->status == 416 && q->range_from))
            return 0;
        if (resp->status != 401 || !resp->www_authenticate[0] || tries == 2)
            return status_failed(e, resp, err);
        rc = auth_answer(e->auth, h, resp->www_authenticate, authorization, r->ref.path, err);
        if (rc < 0)
            return gi_prefix(err, "%s", e->base);
    }
}

static int wait_before_retry(struct registry *r, unsigned attempt, unsigned retry_after,
                             struct gi_error *err)
{
    int64_t ms = (int64_t)r->options.retry_delay_ms << (attempt < 10 ? attempt : 10);
    if (ms > MAX_DELAY_MS)
        ms = MAX_DELAY_MS;
    char hex[3];
    if (gi_random_hex(hex, 1) == 0) /* spread: up to half more */
        ms += ms * (int64_t)strtoul(hex, NULL, 16) / 512;
    if (retry_after)
        ms = (int64_t)retry_after * 1000;
    int64_t end = gi_monotonic_ns() + ms * 1000000;
    while (gi_monotonic_ns() < end) {
        if (r->options.cancelled && r->options.cancelled(r->options.data))
            return gi_fail(err, GI_CANCELLED, "the pull was cancelled");
        struct timespec tick = {.tv_nsec = (ms < 20 ? 1 : 20) * 1000000L};
        nanosleep(&tick, NULL);
    }
    return 0;
}

static bool next_endpoint_may_help(const struct gi_error *err)
{
    return err->code != GI_CANCELLED && err->code != GI_RESOURCE_EXHAUSTED &&
           err->code != GI_INTERNAL;
}

/* ---- the two things a registry has ---- */

/* ONCE is tried on each endpoint in turn, with retries. */
struct transfer {
    struct registry *r;
    struct http *h;
    const char *kind; /* "manifests", "blobs" */
    const char *name;
    int (*once)(struct transfer *t, const struct endpoint *e, struct http_response *resp,
                struct gi_error *err);
    struct registry_manifest *manifest;
    const struct document_descriptor *expect;
    struct blob_writer *blob;
};

static char *url_of(const struct transfer *t, const struct endpoint *e)
{
    char *url = NULL;
    if (asprintf(&url, "%s/v2/%s/%s/%s", e->base, t->r->ref.path, t->kind, t->name) < 0)
        return NULL;
    return url;
}

static int run_on_endpoint(struct transfer *t, const struct endpoint *e, struct gi_error *err)
{
    unsigned limit = e->is_mirror ? MIRROR_ATTEMPTS : t->r->options.attempts;
    unsigned failures = 0;
    /* Progress is what got further than ever before: starting over is none. */
    uint64_t best = t->blob ? blob_writer_offset(t->blob) : 0;
    for (unsigned rounds = 0;; rounds++) {
        cleanup_http_response struct http_response resp = {0};
        int rc = t->once(t, e, &resp, err);
        if (rc == 0 || err->code != GI_UNAVAILABLE || rounds == MAX_RESUMES)
            return rc;
        failures++;
        if (t->blob && blob_writer_offset(t->blob) > best) {
            best = blob_writer_offset(t->blob);
            failures = 1;
        }
        if (failures >= limit)
            return rc;
        gi_log(GI_LOG_INFO, "registry request failed, trying again", "registry", e->base, "what",
               t->name, "reason", err->message, NULL);
        rc = wait_before_retry(t->r, failures - 1, resp.retry_after, err);
        if (rc < 0)
            return rc;
    }
}

static int run(struct transfer *t, struct gi_error *err)
{
    struct gi_error last = GI_ERROR_INIT;
    for (size_t i = 0; i < t->r->n; i++) {
        last = (struct gi_error)GI_ERROR_INIT;
        if (run_on_endpoint(t, &t->r->endpoints[i], &last) == 0)
            return 0;
        if (!next_endpoint_may_help(&last))
            break;
        if (i + 1 < t->r->n)
            gi_log(GI_LOG_INFO, "mirror failed, asking the next", "what", t->name, "reason",
                   last.message, NULL);
    }
    if (err)
        *err = last;
    return -(int)last.code;
}

static int manifest_once(struct transfer *t, const struct endpoint *e, struct http_response *resp,
                         struct gi_error *err)
{
    const struct images_registry *config = t->r->options.config;
    struct registry_manifest *m = t->manifest;
    cleanup_free char *url = url_of(t, e);
    if (!url)
        return gi_fail_errno(err, ENOMEM, "registry");
    m->body.len = 0;
    struct http_request q = {.url = url,
                             .accept = DOCUMENT_ACCEPT,
                             .ca_file = config ? config->ca_file : NULL,
                             .insecure_skip_verify = config && config->insecure_skip_verify,
                             .total_seconds = MANIFEST_SECONDS,
                             .sink = http_sink_buf,
                             .sink_data = &m->body};
    int rc = request(t->r, t->h, e, &q, resp, err);
    if (rc < 0)
        return rc;
    memcpy(m->content_type, resp->content_type, sizeof(m->content_type));
    const char *want = digest_valid(t->name) ? t->name : NULL;
    if (!want && digest_valid(resp->content_digest))
        want = resp->content_digest;
    cleanup_digester struct digester *d = NULL;
    rc = digester_new(want ? want : "sha256:", &d, err);
    if (rc < 0)
        return rc;
    if (digester_update(d, m->body.data ? m->body.data : "", m->body.len) < 0 ||
        digester_final(d, m->digest) < 0)
        return gi_fail(err, GI_INTERNAL, "hashing failed");
    if (want && strcmp(want, m->digest) != 0)
        return gi_fail(err, GI_DATA_LOSS, "%s: manifest is %s, not %s", e->base, m->digest, want);
    if (t->expect && t->expect->size != m->body.len)
        return gi_fail(err, GI_DATA_LOSS, "%s: manifest has %zu bytes, not %" PRIu64, e->base,
                       m->body.len, t->expect->size);
    return 0;
}

int registry_get_manifest(struct registry *r, struct http *h, const char *tag_or_digest,
                          const struct document_descriptor *expect,
                          struct registry_manifest *ret_manifest, struct gi_error *err)
{
    struct registry_manifest m = {.body = GI_BUF_INIT(DOCUMENT_MAX_MANIFEST)};
    struct transfer t = {.r = r,
                         .h = h,
                         .kind = "manifests",
                         .name = tag_or_digest,
                         .once = manifest_once,
                         .manifest = &m,
                         .expect = expect};
    int rc = run(&t, err);
    if (rc < 0) {
        registry_manifest_free(&m);
        return rc;
    }
    *ret_manifest = m;
    return 0;
}

static int blob_once(struct transfer *t, const struct endpoint *e, struct http_response *resp,
                     struct gi_error *err)
{
    const struct images_registry *config = t->r->options.config;
    bool resumed = blob_writer_offset(t->blob) > 0;
    if (blob_writer_offset(t->blob) < t->expect->size) {
        cleanup_free char *url = url_of(t, e);
        if (!url)
            return gi_fail_errno(err, ENOMEM, "registry");
        struct http_request q = {.url = url,
                                 .range_from = blob_writer_offset(t->blob),
                                 .ca_file = config ? config->ca_file : NULL,
                                 .insecure_skip_verify = config && config->insecure_skip_verify,
                                 .sink = blob_writer_sink,
                                 .sink_data = t->blob};
        blob_writer_begin(t->blob);
        int rc = request(t->r, t->h, e, &q, resp, err);
        if (rc == 0 && resp->status == 416) {
            blob_writer_restart(t->blob, NULL);
            return gi_fail(err, GI_UNAVAILABLE, "%s: can't resume the blob", e->base);
        }
        if (blob_writer_offset(t->blob) < t->expect->size)
            return rc < 0 ? rc
                          : gi_fail(err, GI_UNAVAILABLE,
                                    "%s: the blob ended after %" PRIu64 " of %" PRIu64 " bytes",
                                    e->base, blob_writer_offset(t->blob), t->expect->size);
        /* All bytes came: if only the connection ended badly, the digest decides. */
        if (rc < 0 && rc != -GI_UNAVAILABLE)
            return rc;
    }
    int rc = blob_writer_finish(t->blob, err);
    /* What an earlier attempt left may have been the bad part: once more, whole. */
    if (rc == -GI_DATA_LOSS && resumed)
        err->code = GI_UNAVAILABLE;
    return rc < 0 ? gi_prefix(err, "%s", e->base) : 0;
}

int registry_get_blob(struct registry *r, struct http *h, const struct document_descriptor *blob,
                      int fd, void (*progress)(void *data, int64_t delta), void *data,
                      struct gi_error *err)
{
    cleanup_blob_writer struct blob_writer *w = NULL;
    int rc = blob_writer_new(fd, blob->digest, blob->size, progress, data, &w, err);
    if (rc < 0)
        return rc;
    struct transfer t = {.r = r,
                         .h = h,
                         .kind = "blobs",
                         .name = blob->digest,
                         .once = blob_once,
                         .expect = blob,
                         .blob = w};
    return run(&t, err);
}
