/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "document.h"

#define MAX_TOKEN_ANSWER (1u << 20)
#define MAX_SECRET       (64u << 10)
#define TOKEN_SECONDS    60
#define CLIENT_ID        "gpu-isolated"

struct auth {
    pthread_mutex_t lock;
    bool https;
    char *user;
    char *password;
    char *identity_token;
    char *header; /* the Authorization in use; NULL: none yet */
};

static bool given(const char *s)
{
    return s && *s;
}

static void free_secret(char *s)
{
    if (s)
        OPENSSL_cleanse(s, strlen(s));
    free(s);
}

static int check_secret(const char *s, struct gi_error *err)
{
    if (strlen(s) > MAX_SECRET || strpbrk(s, "\r\n"))
        return gi_fail(err, GI_INVALID_ARGUMENT, "credentials are unusable in a header");
    return 0;
}

static int copy_secret(char **dst, const char *src, struct gi_error *err)
{
    int rc = check_secret(src, err);
    if (rc < 0)
        return rc;
    *dst = strdup(src);
    return *dst ? 0 : gi_fail_errno(err, ENOMEM, "credentials");
}

static char *header_of(const char *scheme, const char *value)
{
    char *header = NULL;
    return asprintf(&header, "%s %s", scheme, value) < 0 ? NULL : header;
}

static int take_credentials(struct auth *a, const struct images_auth *c, struct gi_error *err)
{
    int rc = 0;
    if (given(c->username)) {
        rc = copy_secret(&a->user, c->username, err);
        if (rc == 0)
            rc = copy_secret(&a->password, c->password ? c->password : "", err);
    } else if (given(c->auth)) {
        rc = auth_decode_basic(c->auth, &a->user, &a->password, err);
    }
    if (rc == 0 && given(c->identity_token))
        rc = copy_secret(&a->identity_token, c->identity_token, err);
    if (rc == 0 && given(c->registry_token)) {
        rc = check_secret(c->registry_token, err);
        if (rc == 0 && !(a->header = header_of("Bearer", c->registry_token)))
            rc = gi_fail_errno(err, ENOMEM, "credentials");
    }
    return rc;
}

int auth_new(const struct images_auth *credentials, bool https, struct auth **ret_auth,
             struct gi_error *err)
{
    struct auth *a = calloc(1, sizeof(*a));
    if (!a)
        return gi_fail_errno(err, ENOMEM, "credentials");
    pthread_mutex_init(&a->lock, NULL);
    a->https = https;
    int rc = credentials ? take_credentials(a, credentials, err) : 0;
    if (rc < 0) {
        auth_free(a);
        return rc;
    }
    *ret_auth = a;
    return 0;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    pthread_mutex_destroy(&a->lock);
    free_secret(a->user);
    free_secret(a->password);
    free_secret(a->identity_token);
    free_secret(a->header);
    free(a);
}

char *auth_header(struct auth *a)
{
    GI_LOCK_SCOPE(&a->lock);
    return a->header ? strdup(a->header) : NULL;
}

static char *basic_header(const struct auth *a)
{
    cleanup_free char *pair = NULL;
    if (asprintf(&pair, "%s:%s", a->user, a->password) < 0) {
        pair = NULL;
        return NULL;
    }
    size_t len = strlen(pair);
    char *base64 = malloc(4 * ((len + 2) / 3) + 1);
    char *header = NULL;
    if (base64) {
        EVP_EncodeBlock((unsigned char *)base64, (const unsigned char *)pair, (int)len);
        header = header_of("Basic", base64);
        free_secret(base64);
    }
    OPENSSL_cleanse(pair, len);
    return header;
}

/* "service=..&scope=.." for the query or the form. */
static int token_parameters(const struct auth_challenge *c, const char *repository,
                            struct gi_buf *out)
{
    char scope[sizeof(c->scope)];
    if (c->scope[0])
        snprintf(scope, sizeof(scope), "%s", c->scope);
    else
        snprintf(scope, sizeof(scope), "repository:%s:pull", repository);
    cleanup_free char *escaped_scope = http_escape(scope);
    cleanup_free char *escaped_service = http_escape(c->service);
    if (!escaped_scope || !escaped_service)
        return -1;
    return gi_buf_printf(out, "%s%s%sscope=%s", c->service[0] ? "service=" : "", escaped_service,
                         c->service[0] ? "&" : "", escaped_scope);
}

static int token_failed(const struct http_response *r, const char *realm, struct gi_error *err)
{
    if (r->status == 401 || r->status == 403 || r->status == 400)
        return gi_fail(err, GI_UNAUTHENTICATED,
                       "the token server %.200s refused the credentials (HTTP %ld)", realm,
                       r->status);
    return gi_fail(err, GI_UNAVAILABLE, "the token server %.200s answered HTTP %ld", realm,
                   r->status);
}

static int fetch_token(struct auth *a, struct http *h, const struct auth_challenge *c,
                       const char *repository, char **ret_header, struct gi_error *err)
{
    if (strncasecmp(c->realm, "https://", 8) != 0 &&
        (a->https || strncasecmp(c->realm, "http://", 7) != 0))
        return gi_fail(err, GI_UNAUTHENTICATED,
                       "the registry's token server \"%.200s\" is not https", c->realm);
    cleanup_buf struct gi_buf parameters = GI_BUF_INIT(HTTP_URL_SIZE);
    cleanup_buf struct gi_buf url = GI_BUF_INIT(HTTP_URL_SIZE);
    cleanup_buf struct gi_buf form = GI_BUF_INIT(4 * MAX_SECRET);
    cleanup_buf struct gi_buf answer = GI_BUF_INIT(MAX_TOKEN_ANSWER);
    char *basic = NULL;
    int rc = token_parameters(c, repository, &parameters);
    if (rc == 0 && a->identity_token) {
        cleanup_free char *token = http_escape(a->identity_token);
        rc = token ? gi_buf_printf(&form,
                                   "grant_type=refresh_token&client_id=" CLIENT_ID
                                   "&refresh_token=%s&%s",
                                   token, parameters.data)
                   : -1;
        if (rc == 0)
            rc = gi_buf_printf(&url, "%s", c->realm);
    } else if (rc == 0) {
        rc = gi_buf_printf(&url, "%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?',
                           parameters.data);
        if (rc == 0 && a->user)
            rc = (basic = basic_header(a)) ? 0 : -1;
    }
    if (rc < 0) {
        free_secret(basic);
        return gi_fail(err, GI_INVALID_ARGUMENT, "the token server's address is too long");
    }
    struct http_request q = {.url = url.data,
                             .authorization = basic,
                             .post_form = form.data,
                             .total_seconds = TOKEN_SECONDS,
                             .sink = http_sink_buf,
                             .sink_data = &answer};
    cleanup_http_response struct http_response r = {0};
    rc = http_do(h, &q, &r, err);
    free_secret(basic);
    if (rc < 0)
        return gi_prefix(err, "token server %.100s", c->realm);
    if (r.status != 200)
        return token_failed(&r, c->realm, err);
    char *token = NULL;
    rc = document_token(answer.data, answer.len, &token, err);
    if (rc < 0)
        return gi_prefix(err, "token server %.100s", c->realm);
    *ret_header = header_of("Bearer", token);
    free_secret(token);
    return *ret_header ? 0 : gi_fail_errno(err, ENOMEM, "token");
}

int auth_answer(struct auth *a, struct http *h, const char *www_authenticate, const char *used,
                const char *repository, struct gi_error *err)
{
    struct auth_challenge c;
    int rc = auth_parse_challenges(www_authenticate, &c, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&a->lock);
    /* Another thread got a new one while this request was under way. */
    if (a->header && (!used || strcmp(a->header, used) != 0))
        return 0;
    char *header = NULL;
    if (c.bearer && c.realm[0]) {
        rc = fetch_token(a, h, &c, repository, &header, err);
        if (rc < 0)
            return rc;
    } else if (c.basic && a->user) {
        header = basic_header(a);
        if (!header)
            return gi_fail_errno(err, ENOMEM, "credentials");
    } else if (!c.basic && !c.bearer) {
        return gi_fail(err, GI_UNAUTHENTICATED,
                       "the registry wants an authentication we don't know: \"%.200s\"",
                       www_authenticate);
    } else {
        return gi_fail(err, GI_UNAUTHENTICATED, "the registry wants credentials");
    }
    if (used && strcmp(header, used) == 0) {
        free_secret(header);
        return gi_fail(err, GI_UNAUTHENTICATED, "the registry refused the credentials");
    }
    free_secret(a->header);
    a->header = header;
    return 0;
}

void auth_describe(const struct images_auth *c, char *ret_text, size_t size)
{
    cleanup_free char *user = NULL;
    cleanup_free char *password = NULL;
    if (c && given(c->registry_token))
        snprintf(ret_text, size, "registry-token");
    else if (c && given(c->identity_token))
        snprintf(ret_text, size, "identity-token");
    else if (c && given(c->username))
        snprintf(ret_text, size, "basic %s", c->username);
    else if (c && given(c->auth) && auth_decode_basic(c->auth, &user, &password, NULL) == 0)
        snprintf(ret_text, size, "basic %s", user);
    else
        snprintf(ret_text, size, "anonymous");
}
