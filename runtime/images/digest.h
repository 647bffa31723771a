/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content digests, "sha256:<64 hex>" or "sha512:<128 hex>" (OCI image-spec
 * descriptor.md#digests), checked strictly: lower case, nothing else. A valid
 * digest is therefore safe to use in a file name and in a URL.
 */
#ifndef GI_IMAGES_DIGEST_H
#define GI_IMAGES_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define DIGEST_SIZE 136 /* longest digest and its NUL */

bool digest_valid(const char *text);

/* The hex digits of a valid digest. */
const char *digest_hex(const char *digest);

struct digester;

/* A running hash with the algorithm of the valid digest LIKE. */
int digester_new(const char *like, struct digester **ret_digester, struct gi_error *err);
void digester_free(struct digester *d);
int digester_update(struct digester *d, const void *data, size_t len);
/* Ends the hash; the digester can only be freed afterwards. */
int digester_final(struct digester *d, char ret_digest[DIGEST_SIZE]);

GI_DEFINE_CLEANUP(struct digester *, digester_free);
#define cleanup_digester __attribute__((cleanup(digester_freep)))

/* sha256 of DATA as a digest. */
int digest_of(const void *data, size_t len, char ret_digest[DIGEST_SIZE]);

#endif
