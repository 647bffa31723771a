/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generated coders stand on. A payload is a fixed struct, padded to 8
 * bytes, followed by its variable parts in order, each padded to 8; their
 * lengths are in the fixed struct. A payload that is shorter or longer than
 * that is malformed.
 */
#ifndef GI_IDM_CODEC_H
#define GI_IDM_CODEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* In front of every reply. An error's reply is nothing but this. */
struct idm_reply {
    int32_t result; /* CUresult of this call */
    int32_t late;   /* CUresult of the first queued call that failed since the last reply */
    uint32_t error; /* enum idm_error */
    uint32_t reserved;
};

enum idm_error {
    IDM_OK = 0,
    IDM_ERROR_INVALID_HANDLE = 1,    /* unknown, stale, or of another kind */
    IDM_ERROR_PERMISSION_DENIED = 2, /* another client's, another zone's */
    IDM_ERROR_INVALID_ADDRESS = 3,
    IDM_ERROR_QUOTA = 4,
    IDM_ERROR_MALFORMED = 5,
};

struct idm_part {
    const void *data;
    uint32_t len;
};

#define IDM_MAX_PARTS 4

static inline uint32_t idm_pad8(uint32_t n)
{
    return (n + 7u) & ~7u;
}

/* Length of the payload, 0 when it passes LIMIT. */
static inline uint32_t idm_parts_len(const struct idm_part *parts, unsigned n, uint32_t limit)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += (uint64_t)parts[i].len + 7;
    if (sum > limit)
        return 0;
    uint32_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += idm_pad8(parts[i].len);
    return len;
}

static inline void idm_write_parts(void *to, const struct idm_part *parts, unsigned n)
{
    uint8_t *p = (uint8_t *)to;
    for (unsigned i = 0; i < n; i++) {
        uint32_t pad = idm_pad8(parts[i].len) - parts[i].len;
        if (parts[i].len)
            memcpy(p, parts[i].data, parts[i].len);
        memset(p + parts[i].len, 0, pad);
        p += parts[i].len + pad;
    }
}

struct idm_cursor {
    const uint8_t *at;
    uint32_t left;
};

static inline bool idm_take_fixed(struct idm_cursor *c, void *to, uint32_t len)
{
    if (c->left < len)
        return false;
    memcpy(to, c->at, len);
    c->at += len;
    c->left -= len;
    return true;
}

static inline bool idm_take_bytes(struct idm_cursor *c, uint32_t len, const void **ret_data)
{
    if (c->left < len || c->left < idm_pad8(len))
        return false;
    *ret_data = c->at;
    c->at += idm_pad8(len);
    c->left -= idm_pad8(len);
    return true;
}

/* LEN counts the NUL, which must be the only one. */
static inline bool idm_take_text(struct idm_cursor *c, uint32_t len, uint32_t max,
                                 const char **ret_text)
{
    const void *p;
    if (len == 0 || len > max || !idm_take_bytes(c, len, &p))
        return false;
    if (memchr(p, 0, len) != (const char *)p + len - 1)
        return false;
    *ret_text = (const char *)p;
    return true;
}

#endif
