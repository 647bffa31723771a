/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references as people write them, normalized as docker does
 * (github.com/distribution/reference is the grammar's home):
 *   busybox            docker.io/library/busybox:latest
 *   a/b:1              docker.io/a/b:1
 *   host:5000/a        host:5000/a:latest
 *   a@sha256:...       docker.io/library/a@sha256:...
 *   a:1@sha256:...     docker.io/library/a@sha256:... (the digest decides)
 */
#ifndef GI_IMAGES_REF_H
#define GI_IMAGES_REF_H

#include "base/error.h"
#include "digest.h"

#define REF_NAME_SIZE 256 /* host and path together, and the NUL */
#define REF_TAG_SIZE  129
#define REF_TEXT_SIZE (2 * REF_NAME_SIZE + REF_TAG_SIZE + DIGEST_SIZE)

struct image_ref {
    char host[REF_NAME_SIZE]; /* "docker.io", "127.0.0.1:5000", "[::1]:5000" */
    char path[REF_NAME_SIZE]; /* "library/busybox" */
    char tag[REF_TAG_SIZE];   /* "" when there is a digest */
    char digest[DIGEST_SIZE]; /* "" when there is a tag */
};

/* INVALID_ARGUMENT names what is wrong. */
int image_ref_parse(const char *text, struct image_ref *ret_ref, struct gi_error *err);

/* "host/path:tag" or "host/path@digest". */
void image_ref_format(const struct image_ref *ref, char ret_text[REF_TEXT_SIZE]);

#endif
