/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request at a time over libcurl. Redirects are followed here, not by
 * curl, so that credentials can't leave the origin they were meant for.
 * Everything a server sends is bounded: header bytes, redirects, error bodies,
 * stalls. A `struct http` is used by one thread at a time; it keeps its
 * connections for the next request.
 */
#ifndef GI_IMAGES_HTTP_H
#define GI_IMAGES_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "digest.h"

#define HTTP_URL_SIZE 8192

struct http;

struct http_options {
    bool (*cancelled)(void *data); /* may be NULL; polled while waiting */
    void *data;
    unsigned stall_seconds; /* gives up below 1 KB/s for so long; 0: 30 */
};

struct http_response {
    long status;
    char content_type[128]; /* lower case, without parameters */
    char content_digest[DIGEST_SIZE];
    char content_range[64];
    char location[HTTP_URL_SIZE];
    char www_authenticate[HTTP_URL_SIZE]; /* several joined by ", " */
    unsigned retry_after;                 /* seconds; 0: not said */
    struct gi_buf body;                   /* of a status other than 2xx, its first 16 KiB */
};
void http_response_free(struct http_response *r);
#define cleanup_http_response __attribute__((cleanup(http_response_free)))

struct http_request {
    const char *url;
    const char *accept;        /* NULL: any */
    const char *authorization; /* header value; sent to the URL's own origin only */
    const char *post_form;     /* NULL: GET */
    uint64_t range_from;       /* 0: from the start, no Range header */
    const char *ca_file;       /* NULL: the system's */
    bool insecure_skip_verify;
    unsigned total_seconds; /* 0: no limit but stalling */
    /* Gets the body of a 2xx answer piece by piece; -code ends the request. */
    int (*sink)(void *data, const struct http_response *r, const void *bytes, size_t len,
                struct gi_error *err);
    void *sink_data;
};

int http_new(const struct http_options *options, struct http **ret_http, struct gi_error *err);
void http_free(struct http *h);
GI_DEFINE_CLEANUP(struct http *, http_free);
#define cleanup_http __attribute__((cleanup(http_freep)))

/* 0 when the server answered, whatever the status. UNAVAILABLE: no or half an
 * answer (worth retrying); CANCELLED; the sink's error; INVALID_ARGUMENT: an
 * answer beyond the limits. *ret_response starts zeroed and is filled in any
 * case as far as it came. */
int http_do(struct http *h, const struct http_request *request, struct http_response *ret_response,
            struct gi_error *err);

/* An http_request.sink that appends to a gi_buf up to its ceiling:
 * INVALID_ARGUMENT beyond. */
int http_sink_buf(void *data, const struct http_response *r, const void *bytes, size_t len,
                  struct gi_error *err);

/* TEXT percent-encoded for a query or form (heap), NULL without memory. */
char *http_escape(const char *text);

#endif
