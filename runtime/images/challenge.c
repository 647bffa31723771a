/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate, and base64 of basic credentials. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth.h"

#define TOKEN_CHARS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
#define TOKEN68_EXTRA "/="
#define BLANK         " \t"

enum scheme { SCHEME_OTHER, SCHEME_BASIC, SCHEME_BEARER };

static int malformed(struct gi_error *err, const char *header)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "malformed WWW-Authenticate: \"%.200s\"", header);
}

/* One token or quoted string at *P into OUT, which may be NULL to skip. */
static int read_value(const char **p, char *out, size_t size)
{
    const char *s = *p;
    size_t n = 0;
    if (*s != '"') {
        size_t len = strspn(s, TOKEN_CHARS TOKEN68_EXTRA ":");
        if (len == 0 || (out && len >= size))
            return -1;
        if (out) {
            memcpy(out, s, len);
            out[len] = '\0';
        }
        *p = s + len;
        return 0;
    }
    for (s++; *s != '"'; s++) {
        if (*s == '\\')
            s++;
        if (*s == '\0' || (unsigned char)*s < 0x20)
            return -1;
        if (out) {
            if (n + 1 >= size)
                return -1;
            out[n++] = *s;
        }
    }
    if (out)
        out[n] = '\0';
    *p = s + 1;
    return 0;
}

static char *value_slot(struct auth_challenge *c, enum scheme scheme, const char *name, size_t len,
                        size_t *ret_size)
{
    if (scheme != SCHEME_BEARER)
        return NULL;
#define SLOT(field)                                                                                \
    if (len == sizeof(#field) - 1 && strncasecmp(name, #field, len) == 0) {                        \
        *ret_size = sizeof(c->field);                                                              \
        return c->field;                                                                           \
    }
    SLOT(realm)
    SLOT(service)
    SLOT(scope)
    SLOT(error)
#undef SLOT
    return NULL;
}

int auth_parse_challenges(const char *header, struct auth_challenge *ret_challenge,
                          struct gi_error *err)
{
    struct auth_challenge c = {0};
    enum scheme scheme = SCHEME_OTHER;
    bool in_challenge = false;
    for (const char *p = header;;) {
        p += strspn(p, BLANK ",");
        if (*p == '\0')
            break;
        size_t len = strspn(p, TOKEN_CHARS);
        if (len == 0)
            return malformed(err, header);
        const char *word = p;
        p += len;
        const char *after = p + strspn(p, BLANK);
        if (*after == '=' && in_challenge) { /* a parameter */
            p = after + 1;
            p += strspn(p, BLANK);
            size_t size = 0;
            char *slot = value_slot(&c, scheme, word, len, &size);
            if (read_value(&p, slot, size) < 0)
                return malformed(err, header);
            continue;
        }
        if (*p != '\0' && *p != ',' && *p != ' ' && *p != '\t')
            return malformed(err, header);
        in_challenge = true;
        scheme = SCHEME_OTHER;
        if (len == 5 && strncasecmp(word, "basic", len) == 0) {
            scheme = SCHEME_BASIC;
            c.basic = true;
        } else if (len == 6 && strncasecmp(word, "bearer", len) == 0 && !c.bearer) {
            scheme = SCHEME_BEARER;
            c.bearer = true;
        }
        /* token68, such as Negotiate's: not followed by "=value" */
        size_t t68 = strspn(after, TOKEN_CHARS TOKEN68_EXTRA);
        const char *end = after + t68;
        if (t68 && after != p && (*end == '\0' || *end == ',') &&
            (!memchr(after, '=', t68) || end[-1] == '='))
            p = end;
    }
    *ret_challenge = c;
    return 0;
}

int auth_decode_basic(const char *base64, char **ret_user, char **ret_password,
                      struct gi_error *err)
{
    size_t len = strlen(base64);
    if (len == 0 || len % 4 || len > (64u << 10))
        return gi_fail(err, GI_INVALID_ARGUMENT, "auth: not base64 of user:password");
    cleanup_free char *text = calloc(1, len);
    if (!text)
        return gi_fail_errno(err, ENOMEM, "auth");
    int n = EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)base64, (int)len);
    if (n < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "auth: not base64 of user:password");
    /* DecodeBlock counts the padding as zero bytes. */
    n -= (base64[len - 1] == '=') + (base64[len - 2] == '=');
    char *colon = n > 0 ? memchr(text, ':', (size_t)n) : NULL;
    if (!colon || memchr(text, '\0', (size_t)n))
        return gi_fail(err, GI_INVALID_ARGUMENT, "auth: not base64 of user:password");
    text[n] = '\0';
    *colon = '\0';
    char *password = strdup(colon + 1);
    if (!password)
        return gi_fail_errno(err, ENOMEM, "auth");
    *ret_user = TAKE_PTR(text);
    *ret_password = password;
    return 0;
}
