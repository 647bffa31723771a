/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dynamic loader's cache of an image (/etc/ld.so.cache; glibc's elf/dl-cache.h, version 1.1),
 * hostile: with libraries of ours in it. Loaders find them without; but ldconfig -p lists what the
 * cache has, and programs (Triton) read that list.
 */
#ifndef AGENT_LDCACHE_H
#define AGENT_LDCACHE_H

#include <stddef.h>

#include "base/error.h"

#define LDCACHE_MAX_BYTES     (8u << 20)
#define LDCACHE_MAX_LIBRARIES 8u

struct ldcache_library {
    const char *name; /* libcuda.so.1 */
    const char *path; /* in the container */
};

/* CACHE of LEN bytes and N LIBRARIES of this machine's kind, before others of their names. Heap.
 *   INVALID_ARGUMENT  it is no cache of a form we know */
int ldcache_add(const void *cache, size_t len, const struct ldcache_library *libraries, size_t n,
                void **ret_cache, size_t *ret_len, struct gi_error *err);

#endif
