/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REDIRECTS      10
#define MAX_HEADER_BYTES   (64u << 10)
#define MAX_ERROR_BODY     (16u << 10)
#define CONNECT_SECONDS    15L
#define STALL_BYTES        1024L
#define STALL_SECONDS      30
#define MAX_RETRY_AFTER    120u
#define USER_AGENT         "gpu-isolated/" GI_VERSION
#define IS_REDIRECT(s)     ((s) == 301 || (s) == 302 || (s) == 303 || (s) == 307 || (s) == 308)
#define IS_SUCCESS(status) ((status) / 100 == 2)

struct http {
    CURL *curl;
    struct http_options options;
    /* The exchange going on. */
    const struct http_request *request;
    struct http_response *response;
    size_t header_bytes;
    struct gi_error error; /* what our callbacks refused */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_ALL);
}

int http_new(const struct http_options *options, struct http **ret_http, struct gi_error *err)
{
    pthread_once(&curl_once, init_curl);
    struct http *h = calloc(1, sizeof(*h));
    if (h)
        h->curl = curl_easy_init();
    if (!h || !h->curl) {
        free(h);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for an HTTP client");
    }
    h->options = *options;
    if (!h->options.stall_seconds)
        h->options.stall_seconds = STALL_SECONDS;
    *ret_http = h;
    return 0;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    free(h);
}

void http_response_free(struct http_response *r)
{
    gi_buf_free(&r->body);
}

char *http_escape(const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    if (!escaped)
        return NULL;
    char *copy = strdup(escaped);
    curl_free(escaped);
    return copy;
}

int http_sink_buf(void *data, const struct http_response *r, const void *bytes, size_t len,
                  struct gi_error *err)
{
    struct gi_buf *b = data;
    if (gi_buf_append(b, bytes, len) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the answer is larger than %zu bytes", b->max);
    return 0;
}

/* Copies VALUE[0..LEN) trimmed; too long a value becomes "". */
static void copy_value(char *dst, size_t size, const char *value, size_t len)
{
    while (len && isspace((unsigned char)*value)) {
        value++;
        len--;
    }
    while (len && isspace((unsigned char)value[len - 1]))
        len--;
    if (len >= size || memchr(value, '\0', len))
        len = 0;
    memcpy(dst, value, len);
    dst[len] = '\0';
}

static void header_content_type(struct http_response *r, const char *value, size_t len)
{
    const char *semicolon = memchr(value, ';', len);
    copy_value(r->content_type, sizeof(r->content_type), value,
               semicolon ? (size_t)(semicolon - value) : len);
    for (char *p = r->content_type; *p; p++)
        *p = (char)tolower((unsigned char)*p);
}

static void header_authenticate(struct http_response *r, const char *value, size_t len)
{
    char one[HTTP_URL_SIZE];
    copy_value(one, sizeof(one), value, len);
    size_t used = strlen(r->www_authenticate);
    size_t more = strlen(one);
    if (!more || used + more + 3 > sizeof(r->www_authenticate))
        return;
    if (used) {
        memcpy(r->www_authenticate + used, ", ", 2);
        used += 2;
    }
    memcpy(r->www_authenticate + used, one, more + 1);
}

static void header_retry_after(struct http_response *r, const char *value, size_t len)
{
    char text[16];
    copy_value(text, sizeof(text), value, len);
    unsigned long seconds = strtoul(text, NULL, 10); /* an HTTP date reads as 0: our own pace */
    r->retry_after = seconds > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : (unsigned)seconds;
}

static void start_response(struct http_response *r)
{
    gi_buf_free(&r->body);
    memset(r, 0, sizeof(*r));
    r->body.max = MAX_ERROR_BODY;
}

static size_t on_header(char *line, size_t size, size_t count, void *data)
{
    struct http *h = data;
    struct http_response *r = h->response;
    size_t len = size * count;
    h->header_bytes += len;
    if (h->header_bytes > MAX_HEADER_BYTES) {
        gi_fail(&h->error, GI_INVALID_ARGUMENT, "the server sent more than %u bytes of headers",
                MAX_HEADER_BYTES);
        return 0;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        start_response(r); /* a new answer: after "100 Continue", or a proxy's */
        const char *space = memchr(line, ' ', len);
        if (space && (size_t)(line + len - space) > 3)
            r->status = strtol(space + 1, NULL, 10);
        return len;
    }
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return len;
    size_t name_len = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_len = len - name_len - 1;
#define HEADER_IS(s) (name_len == sizeof(s) - 1 && strncasecmp(line, s, name_len) == 0)
    if (HEADER_IS("content-type"))
        header_content_type(r, value, value_len);
    else if (HEADER_IS("docker-content-digest"))
        copy_value(r->content_digest, sizeof(r->content_digest), value, value_len);
    else if (HEADER_IS("content-range"))
        copy_value(r->content_range, sizeof(r->content_range), value, value_len);
    else if (HEADER_IS("location"))
        copy_value(r->location, sizeof(r->location), value, value_len);
    else if (HEADER_IS("www-authenticate"))
        header_authenticate(r, value, value_len);
    else if (HEADER_IS("retry-after"))
        header_retry_after(r, value, value_len);
    return len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data)
{
    struct http *h = data;
    size_t len = size * count;
    if (!IS_SUCCESS(h->response->status)) {
        size_t room = MAX_ERROR_BODY - h->response->body.len;
        gi_buf_append(&h->response->body, bytes, len < room ? len : room);
        return room ? len : 0; /* enough: ends the transfer, see finish() */
    }
    if (!h->request->sink)
        return len;
    int rc = h->request->sink(h->request->sink_data, h->response, bytes, len, &h->error);
    if (rc < 0 && h->error.code == GI_OK)
        h->error.code = (enum gi_code) - rc;
    return rc < 0 ? 0 : len;
}

static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow)
{
    struct http *h = data;
    return h->options.cancelled && h->options.cancelled(h->options.data);
}

static int finish(struct http *h, CURLcode code, const char *curl_error, struct gi_error *err)
{
    if (h->error.code != GI_OK) {
        if (err)
            *err = h->error;
        return -(int)h->error.code;
    }
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_ABORTED_BY_CALLBACK:
        return gi_fail(err, GI_CANCELLED, "the request was cancelled");
    case CURLE_WRITE_ERROR: /* only the end of an overlong error body is left */
        if (!IS_SUCCESS(h->response->status))
            return 0;
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return gi_fail(err, GI_INVALID_ARGUMENT, "bad URL: %.200s", curl_error);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return gi_fail(err, GI_FAILED_PRECONDITION, "TLS: %.300s", curl_error);
    default:
        break;
    }
    return gi_fail(err, GI_UNAVAILABLE, "%.300s",
                   *curl_error ? curl_error : curl_easy_strerror(code));
}

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
    if (!value)
        return 0;
    struct gi_buf b = GI_BUF_INIT(256u << 10);
    int rc = strpbrk(value, "\r\n") ? -1 : gi_buf_printf(&b, "%s: %s", name, value);
    struct curl_slist *longer = rc < 0 ? NULL : curl_slist_append(*list, b.data);
    gi_buf_free(&b);
    if (!longer)
        return -1;
    *list = longer;
    return 0;
}

/* As Go's clients do: a proxy in the environment isn't asked for loopback. */
static bool is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
           strncmp(host, "[::1]", 5) == 0;
}

static int set_options(struct http *h, const char *url, char *error_buffer)
{
    const struct http_request *q = h->request;
    CURL *c = h->curl;
    CURLcode rc = CURLE_OK;
#define SET(option, value) rc = rc == CURLE_OK ? curl_easy_setopt(c, option, value) : rc
    SET(CURLOPT_ERRORBUFFER, error_buffer);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_USERAGENT, USER_AGENT);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    SET(CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
    SET(CURLOPT_LOW_SPEED_TIME, (long)h->options.stall_seconds);
    SET(CURLOPT_TIMEOUT, (long)q->total_seconds);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, h);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, h);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, h);
    SET(CURLOPT_NOPROGRESS, 0L);
    /* Refused while a buffer exists: an exchange that didn't come to a connection
     * leaves one behind. It is of this size already. */
    if (rc == CURLE_OK)
        (void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    if (is_loopback(url))
        SET(CURLOPT_PROXY, "");
    if (q->post_form)
        SET(CURLOPT_COPYPOSTFIELDS, q->post_form);
    if (q->ca_file)
        SET(CURLOPT_CAINFO, q->ca_file);
    if (q->insecure_skip_verify) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return rc == CURLE_OK ? 0 : -1;
}

static int exchange(struct http *h, const char *url, bool with_credentials, struct gi_error *err)
{
    const struct http_request *q = h->request;
    char curl_error[CURL_ERROR_SIZE] = "";
    char range[48] = "";
    struct curl_slist *headers = NULL;
    start_response(h->response);
    h->header_bytes = 0;
    h->error = (struct gi_error)GI_ERROR_INIT;
    curl_easy_reset(h->curl);
    if (q->range_from)
        snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)q->range_from);
    int rc;
    if (set_options(h, url, curl_error) < 0 || add_header(&headers, "Accept", q->accept) < 0 ||
        add_header(&headers, "Authorization", with_credentials ? q->authorization : NULL) < 0 ||
        add_header(&headers, "Range", *range ? range : NULL) < 0) {
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "can't set up the request");
    } else {
        curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
        CURLcode code = curl_easy_perform(h->curl);
        rc = finish(h, code, curl_error, err);
    }
    curl_easy_reset(h->curl); /* forget pointers into our stack */
    curl_slist_free_all(headers);
    return rc;
}

/* Scheme, host and port in one heap string, with the default port filled in. */
static char *origin_of(CURLU *u)
{
    char *scheme = NULL;
    char *host = NULL;
    char *port = NULL;
    struct gi_buf b = GI_BUF_INIT(HTTP_URL_SIZE);
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        gi_buf_printf(&b, "%s://%s:%s", scheme, host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return b.data;
}

/* URL (size HTTP_URL_SIZE) becomes what LOCATION, maybe relative, points to.
 * *ret_same: it is the same origin. */
static int follow(char *url, const char *location, bool *ret_same, struct gi_error *err)
{
    CURLU *u = curl_url();
    cleanup_free char *before = NULL;
    cleanup_free char *after = NULL;
    char *next = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && (before = origin_of(u)) &&
        curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) == CURLUE_OK &&
        (after = origin_of(u)))
        curl_url_get(u, CURLUPART_URL, &next, 0);
    curl_url_cleanup(u);
    int rc = 0;
    if (!next || strlen(next) >= HTTP_URL_SIZE)
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "bad redirect to \"%.200s\"", location);
    else if (strncasecmp(before, "https:", 6) == 0 && strncasecmp(after, "https:", 6) != 0)
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "redirect from https to \"%.200s\" refused", after);
    if (rc == 0) {
        memcpy(url, next, strlen(next) + 1);
        *ret_same = strcasecmp(before, after) == 0;
    }
    curl_free(next);
    return rc;
}

int http_do(struct http *h, const struct http_request *request, struct http_response *ret_response,
            struct gi_error *err)
{
    char url[HTTP_URL_SIZE];
    bool with_credentials = true;
    if (strlen(request->url) >= sizeof(url))
        return gi_fail(err, GI_INVALID_ARGUMENT, "URL is too long");
    memcpy(url, request->url, strlen(request->url) + 1);
    h->request = request;
    h->response = ret_response;
    for (int hops = 0;; hops++) {
        int rc = exchange(h, url, with_credentials, err);
        if (rc < 0)
            return rc;
        /* A redirected POST would carry its body (a token) elsewhere. */
        if (!IS_REDIRECT(ret_response->status) || !ret_response->location[0] || request->post_form)
            return 0;
        if (hops == MAX_REDIRECTS)
            return gi_fail(err, GI_INVALID_ARGUMENT, "more than %d redirects", MAX_REDIRECTS);
        bool same = false;
        rc = follow(url, ret_response->location, &same, err);
        if (rc < 0)
            return rc;
        with_credentials = with_credentials && same; /* once away, never again */
    }
}
