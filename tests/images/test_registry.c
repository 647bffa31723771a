/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling from a registry that misbehaves in every way we could think of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "digest.h"
#include "images.h"
#include "server.h"
#include "tarball.h"

#define LAYER_FILE (300u << 10)
#define N_LAYERS   2
#define OCI        "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX  "application/vnd.oci.image.index.v1+json"

enum auth_mode { AUTH_NONE, AUTH_BASIC, AUTH_BEARER, AUTH_IDENTITY, AUTH_TOKEN };

struct fake {
    struct server *server;
    struct server *other; /* where blobs are redirected to, and that must see no credentials */
    /* content */
    struct gi_buf layers[N_LAYERS];
    char layer_digest[N_LAYERS][DIGEST_SIZE];
    struct gi_buf config;
    char config_digest[DIGEST_SIZE];
    struct gi_buf manifest;
    char manifest_digest[DIGEST_SIZE];
    const char *manifest_type;
    /* misbehaviour */
    enum auth_mode auth;
    int fail_status; /* of the first fail_times blob requests */
    int fail_times;
    size_t cut_after; /* each answer of a layer ends after so many bytes ... */
    bool cut_cleanly; /* ... as if that were all */
    bool ignore_range, wrong_range, flip_byte, extra_bytes, redirect, redirect_loop;
    bool thief_has_it;
    bool endless_manifest, endless_headers, lying_digest_header, stall;
    int token_lifetime; /* requests a token is good for; 0: all */
    /* what was seen */
    pthread_mutex_t lock;
    int blob_requests, range_requests, token_requests, failures_sent, token_used;
    bool secret_reached_other, credentials_at_token_server;
    atomic_int flips;
};

struct fixture {
    struct fake fake;
    char root[64];
    char ref[128];
    struct images *store;
    struct gi_error err;
    char *id;
};

/* ---- the fake registry ---- */

static void answer(int fd, int status, const char *type, const void *body, size_t len)
{
    server_printf(fd,
                  "HTTP/1.1 %d Status\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n",
                  status, type, len);
    server_send(fd, body, len);
}

static void serve_bytes(struct fake *f, int fd, const struct server_request *q,
                        const struct gi_buf *b)
{
    char range[64];
    unsigned long from = 0;
    server_header(q, "range", range, sizeof(range));
    if (sscanf(range, "bytes=%lu-", &from) == 1) {
        pthread_mutex_lock(&f->lock);
        f->range_requests++;
        pthread_mutex_unlock(&f->lock);
    }
    if (f->ignore_range)
        from = 0;
    size_t len = b->len - from;
    size_t send = f->cut_after && f->cut_after < len ? f->cut_after : len;
    if (from)
        server_printf(fd, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %lu-%zu/%zu\r\n",
                      f->wrong_range ? from + 1 : from, b->len - 1, b->len);
    else
        server_printf(fd, "HTTP/1.1 200 OK\r\n");
    if (!f->cut_cleanly && !f->extra_bytes)
        server_printf(fd, "Content-Length: %zu\r\n", len);
    server_printf(fd, "Connection: close\r\n\r\n");
    if (f->flip_byte && b->len > 1000 && atomic_fetch_add(&f->flips, 1) >= 0) {
        server_send(fd, "\xff", 1);
        from++;
        send--;
    }
    server_send(fd, b->data + from, send);
    if (f->extra_bytes)
        server_send(fd, "more than promised", 18);
    if (f->stall)
        sleep(4);
}

static const struct gi_buf *find_blob(struct fake *f, const char *digest)
{
    for (int i = 0; i < N_LAYERS; i++) {
        if (strcmp(digest, f->layer_digest[i]) == 0)
            return &f->layers[i];
    }
    return strcmp(digest, f->config_digest) == 0 ? &f->config : NULL;
}

static void serve_blob(struct fake *f, int fd, const struct server_request *q, const char *digest)
{
    const struct gi_buf *b = find_blob(f, digest);
    pthread_mutex_lock(&f->lock);
    bool layer = b && b != &f->config;
    f->blob_requests += layer;
    bool fail = layer && f->failures_sent < f->fail_times;
    f->failures_sent += fail;
    pthread_mutex_unlock(&f->lock);
    if (!b)
        answer(fd, 404, "application/json", "{}", 2);
    else if (fail)
        server_printf(fd,
                      "HTTP/1.1 %d Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n"
                      "Connection: close\r\n\r\n",
                      f->fail_status);
    else if (layer && f->redirect_loop)
        server_printf(fd, "HTTP/1.1 307 There\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                      q->target);
    else if (layer && f->redirect)
        server_printf(fd,
                      "HTTP/1.1 307 There\r\nLocation: http://localhost:%d/%s\r\n"
                      "Content-Length: 0\r\nConnection: close\r\n\r\n",
                      server_port(f->other), digest);
    else
        serve_bytes(f, fd, q, b);
}

/* true: let in. The registry's idea of a login. */
static bool check_login(struct fake *f, int fd, const struct server_request *q)
{
    char got[256];
    server_header(q, "authorization", got, sizeof(got));
    if (f->auth == AUTH_NONE)
        return true;
    if (f->auth == AUTH_BASIC) {
        if (strcmp(got, "Basic dXNlcjpwYXNz") == 0) /* user:pass */
            return true;
        server_printf(fd, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                          "Content-Length: 0\r\nConnection: close\r\n\r\n");
        return false;
    }
    if (f->auth == AUTH_TOKEN && strcmp(got, "Bearer given") == 0)
        return true;
    char want[64];
    pthread_mutex_lock(&f->lock);
    snprintf(want, sizeof(want), "Bearer token-%d", f->token_requests);
    bool good = f->token_requests && strcmp(got, want) == 0 &&
                (!f->token_lifetime || f->token_used < f->token_lifetime);
    f->token_used += good;
    pthread_mutex_unlock(&f->lock);
    if (good)
        return true;
    server_printf(fd,
                  "HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\n"
                  "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%d/token?a=1\", "
                  "service=\"the registry\",scope=\"repository:team/app:pull\"\r\n"
                  "Content-Length: 0\r\nConnection: close\r\n\r\n",
                  server_port(f->server));
    return false;
}

static void serve_token(struct fake *f, int fd, const struct server_request *q)
{
    char got[256];
    char body[64];
    server_header(q, "authorization", got, sizeof(got));
    bool scope = strstr(q->text, "scope=repository%3Ateam%2Fapp%3Apull") &&
                 strstr(q->text, "service=the%20registry");
    bool known = f->auth == AUTH_IDENTITY ? strcmp(q->method, "POST") == 0 &&
                                                strstr(q->text, "refresh_token=id%2Ftoken") &&
                                                strstr(q->text, "grant_type=refresh_token")
                                          : strcmp(got, "Basic dXNlcjpwYXNz") == 0;
    if (!scope || !known) {
        answer(fd, 401, "application/json", "{}", 2);
        return;
    }
    pthread_mutex_lock(&f->lock);
    f->token_requests++;
    f->token_used = 0;
    f->credentials_at_token_server = true;
    int n = snprintf(body, sizeof(body), "{\"%s\": \"token-%d\", \"expires_in\": 300}",
                     f->auth == AUTH_IDENTITY ? "access_token" : "token", f->token_requests);
    pthread_mutex_unlock(&f->lock);
    answer(fd, 200, "application/json", body, (size_t)n);
}

static void serve_manifest(struct fake *f, int fd)
{
    if (f->endless_headers) {
        server_printf(fd, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 2000; i++)
            server_printf(fd, "X-Padding-%d: %0100d\r\n", i, i);
    }
    if (f->endless_manifest) {
        static char spaces[64u << 10];
        memset(spaces, ' ', sizeof(spaces));
        server_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: " OCI "\r\nConnection: close\r\n\r\n");
        for (int i = 0; i < 200; i++)
            server_send(fd, spaces, sizeof(spaces));
        return;
    }
    if (f->lying_digest_header)
        server_printf(fd,
                      "HTTP/1.1 200 OK\r\nContent-Type: " OCI "\r\nDocker-Content-Digest: %s\r\n"
                      "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                      f->config_digest, f->manifest.len, f->manifest.data);
    else
        answer(fd, 200, f->manifest_type, f->manifest.data, f->manifest.len);
}

/* A repository with the same manifest, that may lack what it names. */
static void serve_thief(struct fake *f, int fd, const struct server_request *q)
{
    const char *blob = strstr(q->target, "/blobs/");
    if (strstr(q->target, "/manifests/"))
        serve_manifest(f, fd);
    else if (blob && f->thief_has_it)
        serve_blob(f, fd, q, blob + strlen("/blobs/"));
    else
        answer(fd, 404, "text/plain", "", 0);
}

static void handle(void *data, int fd, const struct server_request *q)
{
    static const char manifests[] = "/v2/team/app/manifests/";
    static const char blobs[] = "/v2/team/app/blobs/";
    struct fake *f = data;
    if (strncmp(q->target, "/v2/thief/", 10) == 0)
        serve_thief(f, fd, q);
    else if (strncmp(q->target, "/token", 6) == 0)
        serve_token(f, fd, q);
    else if (!check_login(f, fd, q))
        return;
    else if (strcmp(q->target, "/v2/team/app/manifests/1") == 0 ||
             (strncmp(q->target, manifests, strlen(manifests)) == 0 &&
              strcmp(q->target + strlen(manifests), f->manifest_digest) == 0))
        serve_manifest(f, fd);
    else if (strncmp(q->target, blobs, strlen(blobs)) == 0)
        serve_blob(f, fd, q, q->target + strlen(blobs));
    else
        answer(fd, 404, "application/json",
               "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"no such thing\"}]}", 62);
}

static void handle_other(void *data, int fd, const struct server_request *q)
{
    struct fake *f = data;
    char got[256];
    server_header(q, "authorization", got, sizeof(got));
    if (got[0])
        f->secret_reached_other = true;
    const struct gi_buf *b = find_blob(f, q->target + 1);
    if (b)
        serve_bytes(f, fd, q, b);
    else
        answer(fd, 404, "text/plain", "", 0);
}

static void make_content(struct fake *f)
{
    static char noise[LAYER_FILE];
    unsigned seed = 1;
    char diff[N_LAYERS][DIGEST_SIZE];
    for (int i = 0; i < N_LAYERS; i++) {
        char name[32];
        for (size_t k = 0; k < sizeof(noise); k++) {
            seed = seed * 1664525 + 1013904223;
            noise[k] = (char)(seed >> 16);
        }
        f->layers[i] = (struct gi_buf)TARBALL_INIT;
        snprintf(name, sizeof(name), "file%d", i);
        TAR_ADD(&f->layers[i], .name = name, .data = noise, .size = sizeof(noise));
        tar_end(&f->layers[i]);
        digest_of(f->layers[i].data, f->layers[i].len, f->layer_digest[i]);
        memcpy(diff[i], f->layer_digest[i], DIGEST_SIZE); /* plain tar */
    }
    f->config = (struct gi_buf)GI_BUF_INIT(1u << 20);
    gi_buf_printf(&f->config,
                  "{\"os\": \"linux\", \"config\": {\"Cmd\": [\"/x\"]}, \"rootfs\": "
                  "{\"diff_ids\": [\"%s\", \"%s\"]}}",
                  diff[0], diff[1]);
    digest_of(f->config.data, f->config.len, f->config_digest);
}

static void make_manifest(struct fake *f)
{
    gi_buf_free(&f->manifest);
    f->manifest = (struct gi_buf)GI_BUF_INIT(1u << 20);
    f->manifest_type = OCI;
    gi_buf_printf(&f->manifest,
                  "{\"schemaVersion\": 2, \"config\": {\"mediaType\": "
                  "\"application/vnd.oci.image.config.v1+json\", \"digest\": \"%s\", \"size\": "
                  "%zu}, \"layers\": [",
                  f->config_digest, f->config.len);
    for (int i = 0; i < N_LAYERS; i++)
        gi_buf_printf(&f->manifest, "%s{\"digest\": \"%s\", \"size\": %zu}", i ? ", " : "",
                      f->layer_digest[i], f->layers[i].len);
    gi_buf_printf(&f->manifest, "]}");
    digest_of(f->manifest.data, f->manifest.len, f->manifest_digest);
}

/* ---- fixture ---- */

static void open_store(struct fixture *f)
{
    struct images_config config = {
        .root = f->root, .retry_delay_ms = 2, .attempts = 4, .stall_seconds = 2};
    assert_int_equal(images_open(&config, &f->store, &f->err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    pthread_mutex_init(&f->fake.lock, NULL);
    make_content(&f->fake);
    make_manifest(&f->fake);
    f->fake.server = server_start(handle, &f->fake);
    f->fake.other = server_start(handle_other, &f->fake);
    snprintf(f->root, sizeof(f->root), "/tmp/gi-registry-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->ref, sizeof(f->ref), "127.0.0.1:%d/team/app:1", server_port(f->fake.server));
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    images_close(f->store);
    server_stop(f->fake.server);
    server_stop(f->fake.other);
    for (int i = 0; i < N_LAYERS; i++)
        gi_buf_free(&f->fake.layers[i]);
    gi_buf_free(&f->fake.config);
    gi_buf_free(&f->fake.manifest);
    gi_remove_tree_at(AT_FDCWD, f->root, NULL);
    free(f->id);
    free(f);
    return 0;
}

static int count_files(struct fixture *f, const char *folder)
{
    char path[128];
    int n = -2;
    snprintf(path, sizeof(path), "%s/%s", f->root, folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int pull(struct fixture *f, const struct images_auth *auth)
{
    free(f->id);
    f->id = NULL;
    f->err = (struct gi_error)GI_ERROR_INIT;
    int rc = images_pull(f->store, f->ref, auth, NULL, NULL, &f->id, &f->err);
    server_wait_idle(f->fake.server);
    server_wait_idle(f->fake.other);
    return rc;
}

static void assert_pulled(struct fixture *f, const struct images_auth *auth)
{
    char path[256];
    char *data;
    size_t len;
    if (pull(f, auth) < 0)
        fail_msg("%s: %s", gi_code_name(f->err.code), f->err.message);
    assert_string_equal(f->id, f->fake.config_digest);
    struct images_image *image;
    assert_int_equal(images_status(f->store, f->ref, &image, &f->err), 0);
    for (int i = 0; i < N_LAYERS; i++) {
        snprintf(path, sizeof(path), "%s/file%d", image->rootfs, i);
        assert_int_equal(gi_read_file(path, 1u << 20, &data, &len, &f->err), 0);
        assert_int_equal(len, LAYER_FILE);
        assert_memory_equal(data, f->fake.layers[i].data + 512, len);
        free(data);
    }
    images_image_free(image);
    assert_int_equal(count_files(f, "tmp"), 0);
    assert_int_equal(count_files(f, "partial"), 0);
}

static void assert_fails(struct fixture *f, const struct images_auth *auth, enum gi_code code,
                         const char *reason)
{
    struct images_image *image;
    int rc = pull(f, auth);
    if (rc != -(int)code || !strstr(f->err.message, reason))
        fail_msg("%s, not %s with \"%s\": %s", gi_code_name(f->err.code), gi_code_name(code),
                 reason, f->err.message);
    if (!strstr(f->err.message, f->ref))
        fail_msg("the error doesn't name the image: %s", f->err.message);
    assert_int_equal(images_status(f->store, f->ref, &image, NULL), -GI_NOT_FOUND);
    assert_int_equal(count_files(f, "tmp"), 0);
    assert_int_equal(count_files(f, "images"), 0);
    assert_int_equal(count_files(f, "refs"), 0);
    if (code != GI_UNAVAILABLE)
        assert_int_equal(count_files(f, "blobs"), 0);
}

/* ---- cases ---- */

static void test_plain(void **state)
{
    struct fixture *f = *state;
    assert_pulled(f, NULL);
    assert_int_equal(f->fake.blob_requests, N_LAYERS);
    /* Again: the manifest is asked for, the layers aren't. */
    assert_pulled(f, NULL);
    assert_int_equal(f->fake.blob_requests, N_LAYERS);
}

static void test_missing(void **state)
{
    struct fixture *f = *state;
    snprintf(f->ref, sizeof(f->ref), "127.0.0.1:%d/team/other:1", server_port(f->fake.server));
    assert_fails(f, NULL, GI_NOT_FOUND, "no such thing");
}

static void test_nobody_listens(void **state)
{
    struct fixture *f = *state;
    snprintf(f->ref, sizeof(f->ref), "127.0.0.1:1/team/app:1");
    assert_fails(f, NULL, GI_UNAVAILABLE, "connect");
}

static void test_busy_then_fine(void **state)
{
    struct fixture *f = *state;
    static const int statuses[] = {503, 429, 500};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        f->fake.fail_status = statuses[i];
        f->fake.fail_times = 3;
        f->fake.failures_sent = 0;
        assert_pulled(f, NULL);
        assert_int_equal(f->fake.failures_sent, 3);
        assert_int_equal(images_remove(f->store, f->ref, &f->err), 0);
        assert_int_equal(count_files(f, "blobs"), 0);
    }
    f->fake.fail_times = 1000;
    assert_fails(f, NULL, GI_UNAVAILABLE, "HTTP status 500");
}

static void test_cut_connection_resumes(void **state)
{
    struct fixture *f = *state;
    f->fake.cut_after = 50000;
    assert_pulled(f, NULL);
    assert_true(f->fake.range_requests >= 2 * 5);
}

static void test_short_answer_resumes(void **state)
{
    struct fixture *f = *state;
    f->fake.cut_after = 70000;
    f->fake.cut_cleanly = true;
    assert_pulled(f, NULL);
    assert_true(f->fake.range_requests > 0);
}

static void test_resume_after_restart(void **state)
{
    struct fixture *f = *state;
    f->fake.cut_after = 200000;
    f->fake.ignore_range = true; /* never gets past 200000 */
    assert_fails(f, NULL, GI_UNAVAILABLE, "");
    assert_true(count_files(f, "partial") > 0);
    images_close(f->store);
    open_store(f);
    f->fake.ignore_range = false;
    f->fake.range_requests = 0;
    f->fake.blob_requests = 0;
    assert_pulled(f, NULL);
    assert_int_equal(f->fake.range_requests, f->fake.blob_requests);
}

static void test_range_ignored_or_wrong(void **state)
{
    struct fixture *f = *state;
    f->fake.cut_after = 200000;
    f->fake.wrong_range = true;
    assert_fails(f, NULL, GI_UNAVAILABLE, "another range");
    f->fake.wrong_range = false;
    f->fake.cut_after = 0;
    f->fake.ignore_range = true;
    assert_pulled(f, NULL);
}

static void test_wrong_bytes(void **state)
{
    struct fixture *f = *state;
    f->fake.flip_byte = true;
    assert_fails(f, NULL, GI_DATA_LOSS, "as the manifest says");
    assert_int_equal(count_files(f, "partial"), 0);
    f->fake.flip_byte = false;
    f->fake.extra_bytes = true;
    assert_fails(f, NULL, GI_DATA_LOSS, "larger than");
    assert_int_equal(count_files(f, "partial"), 0);
    f->fake.extra_bytes = false;
    assert_pulled(f, NULL);
}

static void test_stalled_server(void **state)
{
    struct fixture *f = *state;
    f->fake.cut_after = 1000;
    f->fake.stall = true;
    struct images_image *image;
    int64_t start = gi_monotonic_ns();
    f->fake.ignore_range = true;
    assert_true(pull(f, NULL) < 0);
    assert_int_equal(f->err.code, GI_UNAVAILABLE);
    assert_true(gi_monotonic_ns() - start < 60LL * 1000000000);
    assert_int_equal(images_status(f->store, f->ref, &image, NULL), -GI_NOT_FOUND);
}

static void test_bad_manifests(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *type;
        enum gi_code code;
        const char *reason;
    } cases[] = {
        {"{\"schemaVersion\": 1, \"fsLayers\": []}", "application/json", GI_FAILED_PRECONDITION,
         "schema 1"},
        {"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", GI_FAILED_PRECONDITION,
         "schema 1"},
        {"{\"schemaVersion\": 2", OCI, GI_INVALID_ARGUMENT, "bad JSON"},
        {"[]", OCI, GI_INVALID_ARGUMENT, "is no object"},
        {"{\"schemaVersion\": 2, \"manifests\": [], \"layers\": []}", OCI, GI_INVALID_ARGUMENT,
         "both"},
        {"{\"schemaVersion\": 2, \"manifests\": []}", OCI, GI_INVALID_ARGUMENT, "said to be"},
        {"{\"schemaVersion\": 2, \"manifests\": []}", OCI_INDEX, GI_NOT_FOUND, "nothing for linux"},
        {"{\"schemaVersion\": 2, \"layers\": [], \"config\": {\"digest\": \"sha256:../../etc\", "
         "\"size\": 1}}",
         OCI, GI_INVALID_ARGUMENT, "no valid digest"},
        {"{\"schemaVersion\": 2, \"layers\": [], \"config\": {\"mediaType\": "
         "\"application/vnd.cncf.helm.config.v1+json\", \"digest\": "
         "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\", \"size\": "
         "1}}",
         OCI, GI_FAILED_PRECONDITION, "not a container image"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->fake.manifest.len = 0;
        gi_buf_printf(&f->fake.manifest, "%s", cases[i].text);
        f->fake.manifest_type = cases[i].type;
        assert_fails(f, NULL, cases[i].code, cases[i].reason);
    }
    f->fake.endless_manifest = true;
    assert_fails(f, NULL, GI_INVALID_ARGUMENT, "larger than");
    f->fake.endless_manifest = false;
    f->fake.endless_headers = true;
    assert_fails(f, NULL, GI_INVALID_ARGUMENT, "headers");
    f->fake.endless_headers = false;
    make_manifest(&f->fake);
    f->fake.lying_digest_header = true;
    assert_fails(f, NULL, GI_DATA_LOSS, "manifest is");
    f->fake.lying_digest_header = false;
    assert_pulled(f, NULL);
}

static void test_digest_reference(void **state)
{
    struct fixture *f = *state;
    snprintf(f->ref, sizeof(f->ref), "127.0.0.1:%d/team/app@", server_port(f->fake.server));
    char ref[sizeof(f->ref) + DIGEST_SIZE];
    snprintf(ref, sizeof(ref), "%s%s", f->ref, f->fake.manifest_digest);
    char *id;
    assert_int_equal(images_pull(f->store, ref, NULL, NULL, NULL, &id, &f->err), 0);
    free(id);
    struct images_image *image;
    assert_int_equal(images_status(f->store, ref, &image, &f->err), 0);
    assert_null(image->repo_tags[0]);
    assert_string_equal(image->repo_digests[0], ref);
    images_image_free(image);
    /* The same digest, other bytes. */
    server_wait_idle(f->fake.server);
    assert_int_equal(images_remove(f->store, ref, &f->err), 0);
    f->fake.manifest.data[f->fake.manifest.len - 1] = ' ';
    assert_int_equal(images_pull(f->store, ref, NULL, NULL, NULL, &id, &f->err), -GI_DATA_LOSS);
}

/* The layer is what the manifest says, but not what the configuration says. */
static void test_wrong_diff_id(void **state)
{
    struct fixture *f = *state;
    char *second = strstr(f->fake.config.data, f->fake.layer_digest[1]);
    second[10] = second[10] == '0' ? '1' : '0';
    digest_of(f->fake.config.data, f->fake.config.len, f->fake.config_digest);
    make_manifest(&f->fake);
    assert_fails(f, NULL, GI_DATA_LOSS, "diff id");
}

/* A good layer first, then one that tries to get out. */
static void test_hostile_layer(void **state)
{
    struct fixture *f = *state;
    char old[DIGEST_SIZE];
    memcpy(old, f->fake.layer_digest[1], sizeof(old));
    gi_buf_free(&f->fake.layers[1]);
    f->fake.layers[1] = (struct gi_buf)TARBALL_INIT;
    TAR_ADD(&f->fake.layers[1], .name = "fine", .data = "x");
    TAR_ADD(&f->fake.layers[1], .name = "../../../../escaped", .data = "x");
    tar_end(&f->fake.layers[1]);
    digest_of(f->fake.layers[1].data, f->fake.layers[1].len, f->fake.layer_digest[1]);
    memcpy(strstr(f->fake.config.data, old), f->fake.layer_digest[1], strlen(old));
    digest_of(f->fake.config.data, f->fake.config.len, f->fake.config_digest);
    make_manifest(&f->fake);
    assert_fails(f, NULL, GI_INVALID_ARGUMENT, "contains \"..\"");
    assert_int_equal(count_files(f, "partial"), 0);
}

static void test_basic_login(void **state)
{
    struct fixture *f = *state;
    f->fake.auth = AUTH_BASIC;
    assert_fails(f, NULL, GI_UNAUTHENTICATED, "credentials");
    struct images_auth wrong = {.username = "user", .password = "guess"};
    assert_fails(f, &wrong, GI_UNAUTHENTICATED, "refused");
    struct images_auth right = {.auth = "dXNlcjpwYXNz"};
    assert_pulled(f, &right);
    /* It being here already is no licence for others. */
    assert_int_equal(pull(f, NULL), -GI_UNAUTHENTICATED);
    assert_int_equal(pull(f, &wrong), -GI_UNAUTHENTICATED);
}

static void test_token_login(void **state)
{
    struct fixture *f = *state;
    f->fake.auth = AUTH_BEARER;
    assert_fails(f, NULL, GI_UNAUTHENTICATED, "token server");
    struct images_auth auth = {.username = "user", .password = "pass"};
    struct images_auth elsewhere = auth;
    elsewhere.server_address = "https://registry.example.com";
    assert_fails(f, &elsewhere, GI_UNAUTHENTICATED, "token server");
    assert_int_equal(f->fake.token_requests, 0);
    f->fake.token_lifetime = 2; /* runs out on the way: fetched anew */
    assert_pulled(f, &auth);
    assert_true(f->fake.token_requests >= 2);
}

static void test_identity_token(void **state)
{
    struct fixture *f = *state;
    f->fake.auth = AUTH_IDENTITY;
    struct images_auth auth = {.identity_token = "id/token"};
    assert_pulled(f, &auth);
    assert_true(f->fake.credentials_at_token_server);
}

static void test_redirect_drops_credentials(void **state)
{
    struct fixture *f = *state;
    f->fake.auth = AUTH_BASIC;
    f->fake.redirect = true;
    struct images_auth auth = {.username = "user", .password = "pass"};
    assert_pulled(f, &auth);
    assert_false(f->fake.secret_reached_other);
    assert_int_equal(images_remove(f->store, f->ref, &f->err), 0);
    f->fake.redirect_loop = true;
    assert_fails(f, &auth, GI_INVALID_ARGUMENT, "redirects");
}

static void test_registry_token(void **state)
{
    struct fixture *f = *state;
    f->fake.auth = AUTH_TOKEN;
    struct images_auth wrong = {.registry_token = "taken"};
    assert_fails(f, &wrong, GI_UNAUTHENTICATED, "");
    struct images_auth right = {.registry_token = "given"};
    assert_pulled(f, &right);
    assert_int_equal(pull(f, &wrong), -GI_UNAUTHENTICATED);
}

/* Ids are seen in every pod's status. Who makes a manifest of one has not got the image. */
static void test_an_id_is_no_licence(void **state)
{
    struct fixture *f = *state;
    char ref[128], *id = NULL;
    struct images_image *image;
    struct images_auth auth = {.username = "user", .password = "pass"};
    snprintf(ref, sizeof(ref), "127.0.0.1:%d/thief/app:1", server_port(f->fake.server));
    f->fake.auth = AUTH_BASIC;
    assert_pulled(f, &auth);
    assert_true(images_pull(f->store, ref, NULL, NULL, NULL, &id, &f->err) < 0);
    assert_int_equal(images_status(f->store, ref, &image, NULL), -GI_NOT_FOUND);
    /* Removed, but a container has it: not for others either. */
    assert_int_equal(images_acquire(f->store, f->fake.config_digest, "c", &f->err), 0);
    assert_int_equal(images_remove(f->store, f->ref, &f->err), 0);
    assert_true(images_pull(f->store, ref, NULL, NULL, NULL, &id, &f->err) < 0);
    assert_int_equal(images_status(f->store, f->ref, &image, NULL), -GI_NOT_FOUND);
    images_release(f->store, "c");
    /* Another repository that does have it: no layer is downloaded again. */
    assert_pulled(f, &auth);
    f->fake.thief_has_it = true;
    f->fake.blob_requests = 0;
    assert_int_equal(images_pull(f->store, ref, NULL, NULL, NULL, &id, &f->err), 0);
    assert_string_equal(id, f->fake.config_digest);
    assert_int_equal(f->fake.blob_requests, 0);
    free(id);
}

struct pulling {
    struct fixture *f;
    const struct images_auth *auth;
    int rc;
};

static void *pull_with(void *data)
{
    struct pulling *p = data;
    char *id = NULL;
    p->rc = images_pull(p->f->store, p->f->ref, p->auth, NULL, NULL, &id, NULL);
    free(id);
    return NULL;
}

/* At the same time, of the same name: each by what it has itself. */
static void test_credentials_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[3];
    struct images_auth right = {.username = "user", .password = "pass"};
    struct images_auth wrong = {.username = "user", .password = "guess"};
    struct pulling all[] = {
        {.f = f, .auth = &right}, {.f = f, .auth = &wrong}, {.f = f, .auth = NULL}};
    f->fake.auth = AUTH_BASIC;
    f->fake.cut_after = 100000; /* takes a while */
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pull_with, &all[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(all[0].rc, 0);
    assert_int_equal(all[1].rc, -GI_UNAUTHENTICATED);
    assert_int_equal(all[2].rc, -GI_UNAUTHENTICATED);
}

static void *pull_thread(void *data)
{
    struct fixture *f = data;
    char *id = NULL;
    int rc = images_pull(f->store, f->ref, NULL, NULL, NULL, &id, NULL);
    free(id);
    return rc == 0 ? f : NULL;
}

static void test_pulls_are_shared(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[8];
    f->fake.cut_after = 100000; /* takes a while */
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pull_thread, f), 0);
    /* Lists never wait for a pull. */
    struct images_image **list;
    size_t n;
    assert_int_equal(images_list(f->store, &list, &n, &f->err), 0);
    images_list_free(list, n);
    for (int i = 0; i < 8; i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_ptr_equal(ok, f);
    }
    /* One answer for each 100000 bytes of each layer, once. */
    assert_int_equal(f->fake.blob_requests, N_LAYERS * ((LAYER_FILE + 1536 + 99999) / 100000));
    assert_int_equal(images_list(f->store, &list, &n, &f->err), 0);
    assert_int_equal(n, 1);
    images_list_free(list, n);
}

static bool after_a_while(void *data)
{
    return ++*(int *)data > 5;
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    f->fake.stall = true;
    f->fake.cut_after = 1000;
    int polls = 0;
    char *id = NULL;
    int64_t start = gi_monotonic_ns();
    assert_int_equal(images_pull(f->store, f->ref, NULL, after_a_while, &polls, &id, &f->err),
                     -GI_CANCELLED);
    assert_true(gi_monotonic_ns() - start < 3LL * 1000000000);
    assert_null(id);
    assert_int_equal(count_files(f, "tmp"), 0);
    server_wait_idle(f->fake.server);
    f->fake.stall = false;
    f->fake.cut_after = 0;
    assert_pulled(f, NULL);
}

int main(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "needs root: an image's files have owners\n");
        return 77;
    }
    gi_log_init("test", GI_LOG_ERROR);
#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_plain),
        CASE(test_missing),
        CASE(test_nobody_listens),
        CASE(test_busy_then_fine),
        CASE(test_cut_connection_resumes),
        CASE(test_short_answer_resumes),
        CASE(test_resume_after_restart),
        CASE(test_range_ignored_or_wrong),
        CASE(test_wrong_bytes),
        CASE(test_stalled_server),
        CASE(test_bad_manifests),
        CASE(test_digest_reference),
        CASE(test_wrong_diff_id),
        CASE(test_hostile_layer),
        CASE(test_basic_login),
        CASE(test_token_login),
        CASE(test_identity_token),
        CASE(test_redirect_drops_credentials),
        CASE(test_registry_token),
        CASE(test_an_id_is_no_licence),
        CASE(test_credentials_are_kept_apart),
        CASE(test_pulls_are_shared),
        CASE(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
