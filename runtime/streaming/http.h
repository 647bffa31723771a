/* SPDX-License-Identifier: Apache-2.0 */
/* The one HTTP request a streaming connection starts with. */
#ifndef GI_STREAMING_HTTP_H
#define GI_STREAMING_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "streaming/streaming.h"

#define HTTP_MAX_HEAD 16384

enum http_upgrade { HTTP_UPGRADE_NONE, HTTP_UPGRADE_SPDY, HTTP_UPGRADE_WEBSOCKET };

struct http_request {
    enum streaming_kind kind;
    char token[64];
    enum http_upgrade upgrade;
    char ws_key[64];
    char protocols[512]; /* comma-separated, as offered */
};

/* Parses a head (up to and with its empty line). NOT_FOUND for a path that is none
 * of ours, INVALID_ARGUMENT for a broken or unfit request. HEAD is changed. */
int http_parse(char *head, struct http_request *ret_request, struct gi_error *err);

/* The first of CHOICES (NULL-terminated, best first) that OFFERED lists; NULL: none. */
const char *http_choose(const char *offered, const char *const *choices);

/* Sec-WebSocket-Accept of RFC 6455 section 4.2.2. */
void http_ws_accept(const char *key, char out[64]);

#endif
