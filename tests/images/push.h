/* SPDX-License-Identifier: Apache-2.0 */
/* Makes an OCI image of folders or tar files and pushes it to a registry: the
 * other side of the store, for tests and the try-out. Not hardened: its input
 * is ours. */
#ifndef GI_TEST_PUSH_H
#define GI_TEST_PUSH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "digest.h"

enum push_compression { PUSH_GZIP, PUSH_ZSTD, PUSH_PLAIN };

struct push_image {
    const char *url;           /* "http://127.0.0.1:5000/a/b:tag" */
    const char *const *layers; /* folders or tar files, lowest first; NULL-terminated */
    enum push_compression compression;
    bool docker_types; /* Docker's media types instead of OCI's */
    bool as_index;     /* wrapped into an index with a decoy for another platform */
    bool root_owned;   /* every file of uid 0, gid 0 */
    const char *basic; /* "user:password" or NULL */
    const char *arch;  /* NULL: this machine's */
    const char *const *env;
    const char *const *entrypoint;
    const char *const *cmd;
    const char *user;
    const char *workdir;
};

/* RET_ID, RET_MANIFEST (may be NULL): digests of configuration and manifest. */
int push_image(const struct push_image *image, char ret_id[DIGEST_SIZE],
               char ret_manifest[DIGEST_SIZE], struct gi_error *err);

#endif
