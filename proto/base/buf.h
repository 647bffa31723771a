/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a ceiling: every append that would pass the
 * ceiling fails and leaves the buffer as it was. The bytes are always followed
 * by a NUL that `len` doesn't count. Not thread-safe.
 */
#ifndef GI_BASE_BUF_H
#define GI_BASE_BUF_H

#include <stddef.h>

struct gi_buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t cap;
    size_t max;
};

#define GI_BUF_INIT(ceiling)                                                                       \
    {                                                                                              \
        NULL, 0, 0, (ceiling)                                                                      \
    }

/* 0, or -1 when the ceiling or the memory is reached. */
int gi_buf_append(struct gi_buf *b, const void *data, size_t len);
int gi_buf_printf(struct gi_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first N bytes (all of them when N > len). */
void gi_buf_consume(struct gi_buf *b, size_t n);
void gi_buf_free(struct gi_buf *b);

#define cleanup_buf __attribute__((cleanup(gi_buf_free)))

#endif
