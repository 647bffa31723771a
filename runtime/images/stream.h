/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer blob as a stream of tar bytes: gzip, zstd or plain (told by the
 * first bytes, since media types lie), hashed as it passes so that the diff id
 * covers what was really unpacked, and bounded so that a bomb ends early.
 *
 * All of that is done a little ahead, by a thread of the stream's own, while the
 * caller makes files of what came before.
 */
#ifndef GI_IMAGES_STREAM_H
#define GI_IMAGES_STREAM_H

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "decode.h"

struct stream;

/* Reads FD (borrowed) from its current offset. DIFF_ID names the hash wanted. */
int stream_open(int fd, const char *diff_id, const struct stream_limits *limits,
                struct stream **ret_stream, struct gi_error *err);
void stream_free(struct stream *s);

/* The next piece, valid until the next call. Bytes, 0 at the end, -code. */
ssize_t stream_read(struct stream *s, const void **ret_data, struct gi_error *err);

/* Reads what is left and compares the hash with DIFF_ID: DATA_LOSS if it differs. */
int stream_finish(struct stream *s, const char *diff_id, struct gi_error *err);

/* Decompressed bytes so far. */
uint64_t stream_position(const struct stream *s);

GI_DEFINE_CLEANUP(struct stream *, stream_free);
#define cleanup_stream __attribute__((cleanup(stream_freep)))

#endif
