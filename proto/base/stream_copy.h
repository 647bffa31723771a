/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies past the caches. An ordinary store first reads the line that it is going to overwrite,
 * and what is written pushes out what others still read; where much is written that nobody reads
 * soon, both cost more than the copy. libc's memcpy does the same from a size on that no chunk of
 * a larger copy has.
 */
#ifndef GI_STREAM_COPY_H
#define GI_STREAM_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* As memcpy: DST and SRC do not overlap. What was written is in order before later stores. */
static inline void gi_stream_copy(void *dst, const void *src, size_t bytes)
{
#ifdef __SSE2__
    char *to = dst;
    const char *from = src;
    size_t head = (size_t)(-(uintptr_t)to & 15);
    if (bytes < 4096) {
        memcpy(dst, src, bytes);
        return;
    }
    memcpy(to, from, head);
    to += head, from += head, bytes -= head;
    for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
        const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
        const __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));
        _mm_stream_si128((__m128i *)(void *)to, a);
        _mm_stream_si128((__m128i *)(void *)(to + 16), b);
        _mm_stream_si128((__m128i *)(void *)(to + 32), c);
        _mm_stream_si128((__m128i *)(void *)(to + 48), d);
    }
    memcpy(to, from, bytes);
    _mm_sfence(); /* such stores are not ordered by x86's rules */
#else
    memcpy(dst, src, bytes);
#endif
}

#endif
