/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module's image before the driver sees it. The driver gets a pointer and no
 * length: it believes what the image says of its own size, and a fatbin
 * *wrapper* even holds a pointer it would follow, into this process. So the
 * kinds are told apart here, and every size in them is held against the bytes
 * that the client sent. What is in a section is the driver's to judge.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC  0xba55ed50u
#define MAX_ENTRIES   4096u
#define MAX_PARTS     4096u

struct fatbin_header {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;
    uint64_t bytes; /* of all entries */
};

struct fatbin_entry {
    uint16_t kind;
    uint16_t version;
    uint32_t header_bytes;
    uint64_t payload_bytes;
};

static bool within(uint64_t at, uint64_t len, uint64_t bytes)
{
    return at <= bytes && len <= bytes - at;
}

static bool fatbin_valid(const uint8_t *data, uint64_t bytes)
{
    struct fatbin_header h;
    if (bytes < sizeof(h))
        return false;
    memcpy(&h, data, sizeof(h));
    if (h.header_bytes < sizeof(h) || !within(h.header_bytes, h.bytes, bytes))
        return false;
    uint64_t at = h.header_bytes, end = h.header_bytes + h.bytes;
    for (unsigned n = 0; at < end; n++) {
        struct fatbin_entry e;
        if (n == MAX_ENTRIES || !within(at, sizeof(e), end))
            return false;
        memcpy(&e, data + at, sizeof(e));
        if (e.header_bytes < sizeof(e) || !within(at, e.header_bytes, end) ||
            !within(at + e.header_bytes, e.payload_bytes, end))
            return false;
        at += e.header_bytes + e.payload_bytes;
    }
    return true;
}

/* Where a fatbin behind the one at AT would begin. */
static uint64_t behind(const uint8_t *data, uint64_t at)
{
    struct fatbin_header h;
    memcpy(&h, data + at, sizeof(h));
    return (at + h.header_bytes + h.bytes + 7) & ~7ull;
}

static bool is_fatbin(const uint8_t *data, uint64_t at, uint64_t bytes)
{
    uint32_t magic;
    if (at > bytes || bytes - at < sizeof(struct fatbin_header))
        return false;
    memcpy(&magic, data + at, sizeof(magic));
    return magic == FATBIN_MAGIC;
}

/* Fatbins one behind the other: what a program was linked from goes with it, for GPUs that
 * the linked code isn't for. RET_N: how many. */
static bool fatbins_valid(const uint8_t *data, uint64_t bytes, unsigned *ret_n)
{
    uint64_t at = 0;
    for (*ret_n = 0; is_fatbin(data, at, bytes); ++*ret_n) {
        if (*ret_n == MAX_PARTS || !fatbin_valid(data + at, bytes - at))
            return false;
        at = behind(data, at);
    }
    return *ret_n > 0;
}

/* As nvcc puts it into programs: toolkit's fatbinary_section.h. */
struct wrapper {
    uint32_t magic, version;
    const void *linked;
    const void *const *parts; /* version 2; ends with NULL */
};

static const void *wrap(const uint8_t *data, unsigned n, void **ret_room)
{
    struct wrapper *w = malloc(sizeof(*w) + n * sizeof(void *));
    if (!w)
        return NULL;
    const void **part = (const void **)(w + 1);
    *w = (struct wrapper){WRAPPER_MAGIC, 2, data, part};
    uint64_t at = behind(data, 0);
    for (unsigned i = 1; i < n; i++, at = behind(data, at))
        *part++ = data + at;
    *part = NULL;
    *ret_room = w;
    return w;
}

const void *worker_image_for_driver(const void *image, uint64_t bytes, void **ret_room)
{
    unsigned n;
    *ret_room = NULL;
    return is_fatbin(image, 0, bytes) && fatbins_valid(image, bytes, &n) && n > 1
               ? wrap(image, n, ret_room)
               : image;
}

static bool section_valid(const uint8_t *at, uint64_t bytes)
{
    Elf64_Shdr s;
    memcpy(&s, at, sizeof(s));
    return s.sh_type == SHT_NOBITS || within(s.sh_offset, s.sh_size, bytes);
}

static bool elf_valid(const uint8_t *data, uint64_t bytes)
{
    Elf64_Ehdr h;
    if (bytes < sizeof(h))
        return false;
    memcpy(&h, data, sizeof(h));
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
        (h.e_shnum && h.e_shentsize != sizeof(Elf64_Shdr)) ||
        (h.e_phnum && h.e_phentsize != sizeof(Elf64_Phdr)) ||
        !within(h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr), bytes) ||
        !within(h.e_phoff, (uint64_t)h.e_phnum * sizeof(Elf64_Phdr), bytes))
        return false;
    for (unsigned i = 0; i < h.e_shnum; i++)
        if (!section_valid(data + h.e_shoff + i * sizeof(Elf64_Shdr), bytes))
            return false;
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, data + h.e_phoff + i * sizeof(p), sizeof(p));
        if (!within(p.p_offset, p.p_filesz, bytes))
            return false;
    }
    return true;
}

bool worker_image_valid(const void *image, uint64_t bytes)
{
    const uint8_t *data = image;
    uint32_t magic = 0;
    if (bytes >= sizeof(magic))
        memcpy(&magic, data, sizeof(magic));
    if (magic == WRAPPER_MAGIC)
        return false;
    unsigned n;
    if (magic == FATBIN_MAGIC)
        return fatbins_valid(data, bytes, &n);
    if (bytes >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0)
        return elf_valid(data, bytes);
    return true; /* PTX, or nothing the driver knows: text with an end */
}
