/* SPDX-License-Identifier: Apache-2.0 */
/* Raw tar bytes for tests: anything an archiver would never write. */
#ifndef GI_TEST_TARBALL_H
#define GI_TEST_TARBALL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define TARBALL_INIT GI_BUF_INIT(512u << 20)

struct tar_entry {
    const char *name;
    const char *link;
    char type; /* '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' folder, '6' fifo */
    unsigned mode;
    int64_t uid, gid; /* beyond octal: base 256 */
    const char *data;
    uint64_t size;  /* 0: strlen(data) */
    uint64_t claim; /* size to write into the header instead */
    unsigned major, minor;
    int64_t mtime;
};

static inline void tar_number(char *field, size_t len, int64_t value)
{
    if (value >= 0 && value < (int64_t)1 << (3 * (len - 1))) {
        snprintf(field, len, "%0*llo", (int)len - 1, (unsigned long long)value);
        return;
    }
    for (size_t i = len; i-- > 0; value >>= 8)
        field[i] = (char)(value & 0xff);
    field[0] = value < 0 ? (char)0xff : (char)0x80;
}

/* Fills a field without ending it when the text is as long. */
static inline void tar_text(char *field, const char *text, size_t len)
{
    for (size_t i = 0; i < len && text[i]; i++)
        field[i] = text[i];
}

static inline void tar_header(struct gi_buf *b, const struct tar_entry *e, uint64_t size)
{
    char h[512] = {0};
    tar_text(h, e->name, 100);
    tar_number(h + 100, 8, e->mode);
    tar_number(h + 108, 8, e->uid);
    tar_number(h + 116, 8, e->gid);
    tar_number(h + 124, 12, (int64_t)(e->claim ? e->claim : size));
    tar_number(h + 136, 12, e->mtime);
    h[156] = e->type;
    if (e->link)
        tar_text(h + 157, e->link, 100);
    memcpy(h + 257, "ustar", 6);
    h[263] = h[264] = '0';
    tar_number(h + 329, 8, e->major);
    tar_number(h + 337, 8, e->minor);
    memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(h); i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    gi_buf_append(b, h, sizeof(h));
}

static inline void tar_pad(struct gi_buf *b, uint64_t size)
{
    static const char zeros[512];
    gi_buf_append(b, zeros, (512 - size % 512) % 512);
}

static inline void tar_add(struct gi_buf *b, struct tar_entry e)
{
    uint64_t size = e.data ? (e.size ? e.size : strlen(e.data)) : 0;
    if (!e.type)
        e.type = '0';
    if (!e.mode)
        e.mode = e.type == '5' ? 0755 : 0644;
    tar_header(b, &e, size);
    if (size) {
        gi_buf_append(b, e.data, size);
        tar_pad(b, size);
    }
}
#define TAR_ADD(b, ...) tar_add(b, (struct tar_entry){__VA_ARGS__})

/* A pax header with one record for the entry that follows. */
static inline void tar_pax(struct gi_buf *b, const char *key, const char *value, size_t value_len)
{
    struct gi_buf r = GI_BUF_INIT(64u << 20);
    size_t base = strlen(key) + value_len + 3; /* " key=value\n" */
    size_t len = base + 1;
    for (char digits[24]; (size_t)snprintf(digits, sizeof(digits), "%zu", len) + base != len;)
        len++;
    gi_buf_printf(&r, "%zu %s=", len, key);
    gi_buf_append(&r, value, value_len);
    gi_buf_append(&r, "\n", 1);
    TAR_ADD(b, .name = "PaxHeader", .type = 'x', .data = r.data, .size = r.len);
    gi_buf_free(&r);
}

static inline void tar_end(struct gi_buf *b)
{
    static const char zeros[1024];
    gi_buf_append(b, zeros, sizeof(zeros));
}

#endif
