/* SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static bool port_valid(const char *port)
{
    size_t n = strspn(port, DIGIT);
    unsigned value = 0;
    if (n == 0 || n > 5 || port[n] != '\0')
        return false;
    for (; *port; port++)
        value = value * 10 + (unsigned)(*port - '0');
    return value > 0 && value < 65536;
}

static bool host_valid(const char *host)
{
    if (host[0] == '[') { /* IPv6 */
        size_t n = strspn(host + 1, DIGIT "abcdefABCDEF:");
        const char *end = host + 1 + n;
        if (n < 2 || *end != ']')
            return false;
        return end[1] == '\0' || (end[1] == ':' && port_valid(end + 2));
    }
    const char *p = host;
    for (;;) {
        size_t n = strspn(p, LOWER UPPER DIGIT "-");
        if (n == 0 || p[0] == '-' || p[n - 1] == '-')
            return false;
        p += n;
        if (*p != '.')
            break;
        p++;
    }
    return *p == '\0' || (*p == ':' && port_valid(p + 1));
}

/* [a-z0-9]+ joined by ".", "_", "__" or any number of "-". */
static bool path_valid(const char *path)
{
    const char *p = path;
    for (;;) {
        size_t n = strspn(p, LOWER DIGIT);
        if (n == 0)
            return false;
        p += n;
        if (*p == '\0')
            return true;
        if (*p == '/' || *p == '.')
            p++;
        else if (*p == '_')
            p += p[1] == '_' ? 2 : 1;
        else if (*p == '-')
            p += strspn(p, "-");
        else
            return false;
    }
}

static bool tag_valid(const char *tag)
{
    size_t n = strspn(tag, LOWER UPPER DIGIT "_.-");
    return n > 0 && n < REF_TAG_SIZE && tag[n] == '\0' && tag[0] != '.' && tag[0] != '-';
}

/* The part before the first "/" is a host if it can't be a path. */
static bool looks_like_host(const char *first, size_t n)
{
    if (n == strlen("localhost") && memcmp(first, "localhost", n) == 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (first[i] == '.' || first[i] == ':' || (first[i] >= 'A' && first[i] <= 'Z'))
            return true;
    }
    return false;
}

static int invalid(struct gi_error *err, const char *text, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "image reference \"%.300s\": %s", text, why);
}

int image_ref_parse(const char *text, struct image_ref *ret_ref, struct gi_error *err)
{
    char copy[REF_TEXT_SIZE];
    struct image_ref ref = {0};
    size_t len = strlen(text);
    if (len == 0)
        return invalid(err, text, "it is empty");
    if (len >= sizeof(copy))
        return invalid(err, text, "it is too long");
    memcpy(copy, text, len + 1);

    char *at = strchr(copy, '@');
    if (at) {
        *at++ = '\0';
        if (!digest_valid(at))
            return invalid(err, text, "the digest is not sha256:<64 hex> or sha512:<128 hex>");
        memcpy(ref.digest, at, strlen(at) + 1);
    }
    char *slash = strrchr(copy, '/');
    char *colon = strchr(slash ? slash : copy, ':');
    if (colon) {
        *colon++ = '\0';
        if (!tag_valid(colon))
            return invalid(err, text, "bad tag");
        if (!at)
            memcpy(ref.tag, colon, strlen(colon) + 1);
    } else if (!at) {
        memcpy(ref.tag, "latest", sizeof("latest"));
    }

    char *path = copy;
    size_t first = strcspn(copy, "/");
    if (copy[first] == '/' && looks_like_host(copy, first)) {
        copy[first] = '\0';
        if (!host_valid(copy))
            return invalid(err, text, "bad registry host");
        path = copy + first + 1;
        if (strcmp(copy, "index.docker.io") == 0)
            snprintf(copy, first + 1, "docker.io");
    } else if (strspn(copy, DIGIT "abcdef") == 64 && copy[64] == '\0') {
        return invalid(err, text, "64 hex digits are an image id, not a name");
    }
    const char *host = path == copy ? "docker.io" : copy;
    if (!path_valid(path))
        return invalid(err, text, "bad repository name (lower case letters, digits, . _ - and /)");
    bool official = strcmp(host, "docker.io") == 0 && !strchr(path, '/');
    int n = snprintf(ref.path, sizeof(ref.path), "%s%s", official ? "library/" : "", path);
    int m = snprintf(ref.host, sizeof(ref.host), "%s", host);
    if (n < 0 || m < 0 || n + m + 2 > REF_NAME_SIZE)
        return invalid(err, text, "the name is longer than 255 characters");
    *ret_ref = ref;
    return 0;
}

void image_ref_format(const struct image_ref *ref, char ret_text[REF_TEXT_SIZE])
{
    snprintf(ret_text, REF_TEXT_SIZE, "%s/%s%s%s", ref->host, ref->path, ref->digest[0] ? "@" : ":",
             ref->digest[0] ? ref->digest : ref->tag);
}
