/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LZ4's block format: sequences of {lengths, literals, how far back and how
 * long the match is}; the last one ends with its literals.
 */
#include <string.h>

#include "lz4.h"

#define MIN_MATCH 4

/* A length's further bytes, which follow a nibble of 15. */
static bool more_length(const uint8_t **p, const uint8_t *end, size_t *length)
{
    uint8_t b;
    if (*length < 15)
        return true;
    do {
        if (*p == end || *length > SIZE_MAX - 255)
            return false;
        b = *(*p)++;
        *length += b;
    } while (b == 255);
    return true;
}

bool lz4_expand(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    const uint8_t *p = in, *end = in + in_len;
    size_t n = 0;
    while (p < end) {
        uint8_t lengths = *p++;
        size_t literals = lengths >> 4, match = lengths & 15;
        if (!more_length(&p, end, &literals) || literals > (size_t)(end - p) ||
            literals > out_len - n)
            return false;
        memcpy(out + n, p, literals);
        p += literals;
        n += literals;
        if (p == end)
            break;
        if (end - p < 2)
            return false;
        size_t back = p[0] | (size_t)p[1] << 8;
        p += 2;
        if (!more_length(&p, end, &match) || back == 0 || back > n || match > out_len - n ||
            match + MIN_MATCH > out_len - n)
            return false;
        /* It may reach into what it makes: byte by byte. */
        for (match += MIN_MATCH; match; match--, n++)
            out[n] = out[n - back];
    }
    return n == out_len;
}
