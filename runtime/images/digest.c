/* SPDX-License-Identifier: Apache-2.0 */
#include "digest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct digester {
    EVP_MD_CTX *ctx;
    const char *prefix;
};

static const struct algorithm {
    const char *prefix;
    size_t hex_len;
    const EVP_MD *(*md)(void);
} algorithms[] = {
    {"sha256:", 64, EVP_sha256},
    {"sha512:", 128, EVP_sha512},
};

static const struct algorithm *algorithm_of(const char *text)
{
    for (size_t i = 0; i < GI_ARRAY_SIZE(algorithms); i++) {
        if (strncmp(text, algorithms[i].prefix, strlen(algorithms[i].prefix)) == 0)
            return &algorithms[i];
    }
    return NULL;
}

bool digest_valid(const char *text)
{
    const struct algorithm *a = algorithm_of(text);
    if (!a)
        return false;
    const char *hex = text + strlen(a->prefix);
    return strspn(hex, "0123456789abcdef") == a->hex_len && hex[a->hex_len] == '\0';
}

const char *digest_hex(const char *digest)
{
    return strchr(digest, ':') + 1;
}

int digester_new(const char *like, struct digester **ret_digester, struct gi_error *err)
{
    const struct algorithm *a = algorithm_of(like);
    if (!a)
        return gi_fail(err, GI_INVALID_ARGUMENT, "unknown digest algorithm in \"%.80s\"", like);
    struct digester *d = calloc(1, sizeof(*d));
    if (d)
        d->ctx = EVP_MD_CTX_new();
    if (!d || !d->ctx || EVP_DigestInit_ex(d->ctx, a->md(), NULL) != 1) {
        digester_free(d);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a digest");
    }
    d->prefix = a->prefix;
    *ret_digester = d;
    return 0;
}

void digester_free(struct digester *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

int digester_update(struct digester *d, const void *data, size_t len)
{
    return EVP_DigestUpdate(d->ctx, data, len) == 1 ? 0 : -1;
}

int digester_final(struct digester *d, char ret_digest[DIGEST_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(d->ctx, md, &n) != 1)
        return -1;
    size_t at = strlen(d->prefix);
    if (at + 2 * (size_t)n >= DIGEST_SIZE)
        return -1;
    memcpy(ret_digest, d->prefix, at);
    for (unsigned i = 0; i < n; i++) {
        ret_digest[at++] = hex[md[i] >> 4];
        ret_digest[at++] = hex[md[i] & 15];
    }
    ret_digest[at] = '\0';
    return 0;
}

int digest_of(const void *data, size_t len, char ret_digest[DIGEST_SIZE])
{
    cleanup_digester struct digester *d = NULL;
    if (digester_new("sha256:", &d, NULL) < 0 || digester_update(d, data, len) < 0)
        return -1;
    return digester_final(d, ret_digest);
}
