/* SPDX-License-Identifier: Apache-2.0 */
/* A layer blob's bytes decompressed, bounded and hashed. One thread. */
#ifndef GI_IMAGES_DECODE_H
#define GI_IMAGES_DECODE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "digest.h"

struct stream_limits {
    uint64_t max_bytes;   /* decompressed */
    uint64_t ratio_grace; /* decompressed bytes before the ratio counts */
    unsigned max_ratio;   /* bytes out per byte in */
};

struct decoder;

/* Reads FD (borrowed) from its current offset. DIFF_ID names the hash wanted. */
int decoder_new(int fd, const char *diff_id, const struct stream_limits *limits,
                struct decoder **ret_decoder, struct gi_error *err);
void decoder_free(struct decoder *d);

/* The next bytes, ROOM at most: how many, 0 at the end, -code. After either of the last two it
 * is not called again. */
ssize_t decoder_read(struct decoder *d, void *out, size_t room, struct gi_error *err);

/* Of all that was read; once. -1: it can't be told. */
int decoder_final(struct decoder *d, char ret_digest[DIGEST_SIZE]);

GI_DEFINE_CLEANUP(struct decoder *, decoder_free);
#define cleanup_decoder __attribute__((cleanup(decoder_freep)))

#endif
