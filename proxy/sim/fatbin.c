/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container nvcc puts code into: a header and entries, each for one
 * architecture. Of use here is PTX, plain or compressed with LZ4 (nvcc's
 * --compress-mode=speed) or zstd (its default; where this was built with libzstd).
 * All reads are within the size the header tells.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "lz4.h"
#ifdef GI_HAVE_ZSTD
#include <zstd.h>
#endif

#define FATBIN_MAGIC   0xba55ed50u
#define FATBIN_VERSION 1
#define KIND_PTX       1
#define FLAG_LZ4       0x2000u
#define FLAG_ZSTD      0x8000u
#define FLAG_ARCH_ONLY 0x100000u /* sm_90a and the like: for that one alone */
#ifdef GI_HAVE_ZSTD
#define UNREADABLE FLAG_ARCH_ONLY
#else
#define UNREADABLE (FLAG_ARCH_ONLY | FLAG_ZSTD)
#endif
#define MAX_ENTRIES 65536

struct header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size; /* of the entries */
};
_Static_assert(sizeof(struct header) == 16, "header");

struct entry {
    uint16_t kind, unused;
    uint32_t header_size;
    uint64_t payload_size; /* a multiple of 8 */
    uint32_t compressed_size, options_at;
    uint16_t minor, major;
    uint32_t sm;
    uint8_t unused2[8];
    uint64_t flags;
    uint8_t unused3[8];
    uint64_t plain_size;
};
_Static_assert(offsetof(struct entry, flags) == 0x28, "entry");
_Static_assert(offsetof(struct entry, plain_size) == 0x38, "entry");

/* An entry and where its payload is. */
struct found {
    struct entry entry;
    const uint8_t *payload;
};

static bool expand(const struct found *f, uint8_t *text)
{
    const struct entry *e = &f->entry;
#ifdef GI_HAVE_ZSTD
    if (e->flags & FLAG_ZSTD)
        return ZSTD_decompress(text, e->plain_size, f->payload, e->compressed_size) ==
               e->plain_size;
#endif
    return lz4_expand(f->payload, e->compressed_size, text, e->plain_size);
}

static CUresult open_entry(const struct found *f, struct image *ret_image)
{
    const struct entry *e = &f->entry;
    if (!(e->flags & (FLAG_LZ4 | FLAG_ZSTD))) {
        const char *text = (const char *)f->payload;
        /* It is padded with zeros. */
        *ret_image = (struct image){text, strnlen(text, e->payload_size), NULL};
        return CUDA_SUCCESS;
    }
    if (e->compressed_size > e->payload_size || e->plain_size > SIM_MAX_TEXT)
        return CUDA_ERROR_INVALID_IMAGE;
    char *text = malloc(e->plain_size + 1);
    if (!text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!expand(f, (uint8_t *)text)) {
        free(text);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    text[e->plain_size] = '\0';
    *ret_image = (struct image){text, strlen(text), text};
    return CUDA_SUCCESS;
}

static bool is_better(const struct entry *e, const struct entry *best)
{
    return e->kind == KIND_PTX && e->sm > best->sm && e->sm <= sim.capability &&
           !(e->flags & UNREADABLE);
}

CUresult fatbin_parse(const uint8_t *data, uint64_t len, struct image *ret_image)
{
    struct header h;
    struct found best = {.payload = NULL};
    if (len < sizeof(h))
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&h, data, sizeof(h));
    if (h.magic != FATBIN_MAGIC || h.version != FATBIN_VERSION || h.header_size < sizeof(h) ||
        h.header_size > len || h.size > len - h.header_size)
        return CUDA_ERROR_INVALID_IMAGE;
    const uint8_t *p = data + h.header_size;
    uint64_t left = h.size;
    for (unsigned i = 0; i < MAX_ENTRIES && left >= sizeof(struct entry); i++) {
        struct entry e;
        memcpy(&e, p, sizeof(e));
        if (e.header_size < sizeof(e) || e.header_size > left ||
            e.payload_size > left - e.header_size)
            return CUDA_ERROR_INVALID_IMAGE;
        if (is_better(&e, &best.entry))
            best = (struct found){e, p + e.header_size};
        p += e.header_size + e.payload_size;
        left -= e.header_size + e.payload_size;
    }
    return best.payload ? open_entry(&best, ret_image) : CUDA_ERROR_NO_BINARY_FOR_GPU;
}
