/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's folder: <scratch>/<id>/{upper,work,rootfs,gpu,config.json,...}
 * and the overlay mounted on rootfs, in the agent's own mount namespace.
 */
#ifndef AGENT_BUNDLE_H
#define AGENT_BUNDLE_H

#include <stdint.h>

#include "base/error.h"
#include "ldcache.h"

/* Makes the folders and mounts IMAGE_ROOTFS + upper at <dir>/rootfs. */
int bundle_make(const char *dir, const char *image_rootfs, struct gi_error *err);

#define BUNDLE_BINDS_MAX 128u
/* Binds what FD (O_PATH) is to <dir>/binds/NUMBER; OUT, of PATH_MAX bytes, is its path. */
int bundle_bind(const char *dir, unsigned number, int fd, char *out, struct gi_error *err);

/* Unmounts and removes the folder. Blocking; a missing one is success. */
int bundle_remove(const char *dir, struct gi_error *err);

/* Bytes and inodes of the writable layer. Blocking, bounded. */
void bundle_usage(const char *dir, uint64_t *ret_bytes, uint64_t *ret_inodes);

/* Where this image's loader looks for libraries first: a folder's path inside
 * the image, resolved without ever leaving it. */
const char *bundle_library_folder(const char *image_rootfs);

/* Puts LIBRARIES into the loader's cache of the container in DIR, if it has one. What is wrong with
 * that is an error, and the cache as it was. */
int bundle_cache_libraries(const char *dir, const struct ldcache_library *libraries, size_t n,
                           struct gi_error *err);

#endif
