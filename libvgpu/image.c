/* SPDX-License-Identifier: Apache-2.0 */
/* The API takes an image by its address alone; how long it is, it says itself. */
#include <elf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "idm/facts.h"
#include "module.h"

#define FATBIN_MAGIC   "\x50\xed\x55\xba"
#define WRAPPER_MAGIC  "\xb1\x43\x62\x46"
#define LINKED_VERSION 2 /* of a wrapper */

struct fatbin {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;
    uint64_t bytes; /* behind the header */
};

struct wrapper {
    uint32_t magic;
    uint32_t version;
    const void *data;
    const void *const *parts; /* version 2: what DATA was linked from; ends with NULL */
};

/* Looks only as far as the bytes agree: text may be shorter than a header. No
 * magic has a zero in it. */
static bool starts_with(const void *image, const char *magic)
{
    const char *p = image;
    while (*magic && *p == *magic) {
        p++;
        magic++;
    }
    return *magic == '\0';
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t elf_bytes(const char *image)
{
    Elf64_Ehdr h;
    memcpy(&h, image, sizeof(h));
    if (h.e_ident[EI_CLASS] != ELFCLASS64)
        return 0;
    uint64_t end = max(sizeof(h), h.e_phoff + (uint64_t)h.e_phnum * h.e_phentsize);
    uint64_t sections = h.e_shnum;
    Elf64_Shdr s;
    if (h.e_shoff && sections == 0) { /* too many for the header's field */
        memcpy(&s, image + h.e_shoff, sizeof(s));
        sections = s.sh_size;
    }
    end = max(end, h.e_shoff + sections * h.e_shentsize);
    for (uint64_t i = 0; h.e_shentsize >= sizeof(s) && i < sections; i++) {
        memcpy(&s, image + h.e_shoff + i * h.e_shentsize, sizeof(s));
        if (s.sh_type != SHT_NOBITS)
            end = max(end, s.sh_offset + s.sh_size);
    }
    return end;
}

const void *image_unwrap(const void *image)
{
    struct wrapper w;
    if (!starts_with(image, WRAPPER_MAGIC))
        return image;
    memcpy(&w, image, sizeof(w));
    return w.data;
}

uint64_t image_bytes(const void *image)
{
    uint64_t bytes;
    if (!image) /* a wrapper around nothing */
        return 0;
    if (starts_with(image, ELFMAG)) {
        bytes = elf_bytes(image);
    } else if (starts_with(image, FATBIN_MAGIC)) {
        struct fatbin f;
        memcpy(&f, image, sizeof(f));
        bytes = f.header_bytes + f.bytes;
    } else {
        size_t n = strnlen(image, IDM_MAX_IMAGE_BYTES);
        bytes = n ? n + 1 : 0;
    }
    return bytes <= IDM_MAX_IMAGE_BYTES ? bytes : 0;
}

/* A fat binary's place among others: each begins at a multiple of 8. */
static uint64_t part_bytes(const void *part)
{
    return starts_with(part, FATBIN_MAGIC) ? (image_bytes(part) + 7) & ~7ull : 0;
}

void *image_with_parts(const void *wrapper, uint64_t *ret_bytes)
{
    struct wrapper w;
    if (!starts_with(wrapper, WRAPPER_MAGIC))
        return NULL;
    memcpy(&w, wrapper, sizeof(w));
    if (w.version != LINKED_VERSION || !w.data || !w.parts || !w.parts[0])
        return NULL;
    uint64_t bytes = part_bytes(w.data);
    size_t n = 0;
    for (; w.parts[n]; n++)
        bytes += part_bytes(w.parts[n]);
    char *all = bytes && bytes <= IDM_MAX_IMAGE_BYTES ? calloc(1, bytes) : NULL;
    if (!all)
        return NULL;
    char *at = all;
    memcpy(at, w.data, image_bytes(w.data));
    at += part_bytes(w.data);
    for (size_t i = 0; i < n; at += part_bytes(w.parts[i++]))
        memcpy(at, w.parts[i], part_bytes(w.parts[i]) ? image_bytes(w.parts[i]) : 0);
    *ret_bytes = bytes;
    return all;
}
