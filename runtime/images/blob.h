/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob being written: hashed as it comes, never longer than promised,
 * resumable. What an earlier run left in the file is hashed first.
 */
#ifndef GI_IMAGES_BLOB_H
#define GI_IMAGES_BLOB_H

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "http.h"

struct blob_writer;

/* FD is borrowed. PROGRESS may be NULL. */
int blob_writer_new(int fd, const char *digest, uint64_t size,
                    void (*progress)(void *data, int64_t delta), void *data,
                    struct blob_writer **ret_writer, struct gi_error *err);
void blob_writer_free(struct blob_writer *w);
GI_DEFINE_CLEANUP(struct blob_writer *, blob_writer_free);
#define cleanup_blob_writer __attribute__((cleanup(blob_writer_freep)))

uint64_t blob_writer_offset(const struct blob_writer *w);

/* A new answer is going to come through the sink. */
void blob_writer_begin(struct blob_writer *w);

/* http_request.sink; DATA_LOSS when there is more than SIZE. */
int blob_writer_sink(void *data, const struct http_response *r, const void *bytes, size_t len,
                     struct gi_error *err);

/* Empties the file. */
int blob_writer_restart(struct blob_writer *w, struct gi_error *err);

/* All SIZE bytes are there: compares the digest. On DATA_LOSS it has restarted. */
int blob_writer_finish(struct blob_writer *w, struct gi_error *err);

#endif
