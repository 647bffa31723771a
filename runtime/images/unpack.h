/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers of an image onto one root folder (OCI image-spec layer.md).
 *
 * What an archive may do, and what becomes of the rest:
 *  - regular files (sparse too), folders, symbolic links, fifos, hard links to
 *    regular files or symbolic links of the image: made. Hard links never
 *    follow a link; symbolic links' targets are kept as they are.
 *  - "/a" means "a"; ".." is refused; the parents of a name resolve inside the
 *    root (tree.h).
 *  - sockets: skipped. Device nodes: the usual character devices in dev/ (null,
 *    zero, full, random, urandom, tty, console, ptmx with their own numbers) are
 *    skipped, for a container has its own /dev; any other device is refused.
 *  - owners above 2^32-2 or negative are refused.
 *  - xattrs: user.* and security.capability are kept; trusted.*, system.* and
 *    other security.* are dropped, because they mean something to the host.
 *  - whiteouts (.wh.NAME, .wh..wh..opq) hide what lower layers made, never what
 *    their own layer made, in whatever order they come.
 * On failure the root folder is half made: the caller removes it.
 */
#ifndef GI_IMAGES_UNPACK_H
#define GI_IMAGES_UNPACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct unpack_limits {    /* 0: the default in brackets */
    uint64_t max_bytes;   /* of all files, holes included, and of each layer's stream [64 GiB] */
    uint64_t max_entries; /* [4 million] */
    unsigned max_ratio;   /* decompressed per compressed byte of a layer [1000], counted ... */
    uint64_t ratio_grace; /* ... beyond this many decompressed bytes [256 MiB] */
};

struct unpack;

/* ROOT_FD (borrowed): an empty folder of ours that nobody else touches.
 * CANCELLED(DATA) may be NULL. */
int unpack_new(int root_fd, const struct unpack_limits *limits, bool (*cancelled)(void *data),
               void *data, struct unpack **ret_unpack, struct gi_error *err);

/* Applies the layer read from BLOB_FD. DIFF_ID: digest of the bare tar.
 * INVALID_ARGUMENT: hostile or broken archive; DATA_LOSS: not DIFF_ID;
 * RESOURCE_EXHAUSTED: a limit or the disk; CANCELLED. */
int unpack_layer(struct unpack *u, int blob_fd, const char *diff_id, struct gi_error *err);

void unpack_free(struct unpack *u);
GI_DEFINE_CLEANUP(struct unpack *, unpack_free);
#define cleanup_unpack __attribute__((cleanup(unpack_freep)))

#endif
