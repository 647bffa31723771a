/* SPDX-License-Identifier: Apache-2.0 */
#include "streaming/http.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

static int parse_path(const char *path, struct http_request *r, struct gi_error *err)
{
    static const struct {
        const char *prefix;
        enum streaming_kind kind;
    } paths[] = {{"/exec/", STREAMING_EXEC},
                 {"/attach/", STREAMING_ATTACH},
                 {"/portforward/", STREAMING_PORTFORWARD}};
    for (size_t i = 0; i < GI_ARRAY_SIZE(paths); i++) {
        size_t n = strlen(paths[i].prefix);
        if (strncmp(path, paths[i].prefix, n) != 0)
            continue;
        size_t len = strcspn(path + n, "?");
        if (len == 0 || len >= sizeof(r->token))
            break;
        memcpy(r->token, path + n, len);
        r->token[len] = '\0';
        r->kind = paths[i].kind;
        return 0;
    }
    return gi_fail(err, GI_NOT_FOUND, "no such path");
}

static bool has_token(const char *list, const char *want)
{
    size_t len = strlen(want);
    while (*list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");
        if (n == len && strncasecmp(list, want, n) == 0)
            return true;
        list += n;
    }
    return false;
}

/* Several headers of one name are one list (RFC 9110 section 5.3). */
static void add_protocols(struct http_request *r, const char *value)
{
    size_t used = strlen(r->protocols);
    snprintf(r->protocols + used, sizeof(r->protocols) - used, "%s%s", used ? "," : "", value);
}

static void parse_header(const char *name, const char *value, struct http_request *r,
                         bool *connection_upgrade)
{
    if (strcasecmp(name, "Connection") == 0) {
        *connection_upgrade = *connection_upgrade || has_token(value, "upgrade");
    } else if (strcasecmp(name, "Upgrade") == 0) {
        if (strcasecmp(value, "SPDY/3.1") == 0)
            r->upgrade = HTTP_UPGRADE_SPDY;
        else if (strcasecmp(value, "websocket") == 0)
            r->upgrade = HTTP_UPGRADE_WEBSOCKET;
    } else if (strcasecmp(name, "X-Stream-Protocol-Version") == 0 ||
               strcasecmp(name, "Sec-WebSocket-Protocol") == 0) {
        add_protocols(r, value);
    } else if (strcasecmp(name, "Sec-WebSocket-Key") == 0) {
        snprintf(r->ws_key, sizeof(r->ws_key), "%s", value);
    }
}

/* Cuts the next line out of *AT; NULL at the empty line. */
static char *next_line(char **at)
{
    char *line = *at;
    char *end = strstr(line, "\r\n");
    if (!end || end == line)
        return NULL;
    *end = '\0';
    *at = end + 2;
    return line;
}

int http_parse(char *head, struct http_request *ret_request, struct gi_error *err)
{
    struct http_request r = {.upgrade = HTTP_UPGRADE_NONE};
    char *at = head;
    char *line = next_line(&at);
    char *path = line ? strchr(line, ' ') : NULL;
    char *version = path ? strchr(path + 1, ' ') : NULL;
    if (!version || strcmp(version, " HTTP/1.1") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "not an HTTP/1.1 request");
    *path++ = '\0';
    *version = '\0';
    if (strcmp(line, "GET") != 0 && strcmp(line, "POST") != 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "method must be GET or POST");
    int rc = parse_path(path, &r, err);
    if (rc < 0)
        return rc;
    bool connection_upgrade = false;
    while ((line = next_line(&at))) {
        char *colon = strchr(line, ':');
        if (!colon)
            return gi_fail(err, GI_INVALID_ARGUMENT, "a header without a colon");
        *colon++ = '\0';
        colon += strspn(colon, " \t");
        parse_header(line, colon, &r, &connection_upgrade);
    }
    if (r.upgrade == HTTP_UPGRADE_NONE || !connection_upgrade)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "the request must upgrade to SPDY/3.1 or websocket");
    if (r.upgrade == HTTP_UPGRADE_WEBSOCKET && !r.ws_key[0])
        return gi_fail(err, GI_INVALID_ARGUMENT, "Sec-WebSocket-Key is missing");
    *ret_request = r;
    return 0;
}

const char *http_choose(const char *offered, const char *const *choices)
{
    for (; *choices; choices++) {
        if (has_token(offered, *choices))
            return *choices;
    }
    return NULL;
}

void http_ws_accept(const char *key, char out[64])
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    char text[128];
    int n = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}
