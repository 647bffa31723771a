/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header, entries by falling name, strings, and what later glibcs keep behind these: "extensions",
 * one of them names of hardware capabilities. All positions are counted from the header. Entries of
 * ours make everything behind them move by a fixed number of bytes; our strings are at the end
 * of the strings.
 */
#include "ldcache.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define MAGIC_OLD       "ld.so-1.7.0" /* caches of before 2.32 may begin with an older one */
#define MAGIC_NEW       "glibc-ld.so.cache1.1"
#define EXTENSION_MAGIC 0xeaa42174u
#define TAG_HWCAPS      1u
#define MAX_ENTRIES     65536u
#define MAX_SECTIONS    16u
#define ORDER_LITTLE    2u

#if defined(__x86_64__)
#define LIBRARY_FLAGS 0x0303 /* ELF of glibc, 64 bits */
#else
#define LIBRARY_FLAGS 0x0a03 /* the same of AArch64 */
#endif

struct header {
    char magic[20];
    uint32_t n;
    uint32_t strings; /* bytes */
    uint8_t flags;    /* the order of bytes */
    uint8_t pad_[3];
    uint32_t extensions; /* 0: none */
    uint32_t unused[3];
};
_Static_assert(sizeof(struct header) == 48, "ld.so.cache");

struct entry {
    int32_t flags;
    uint32_t key, value; /* strings */
    uint32_t unused;
    uint64_t hwcap;
};
_Static_assert(sizeof(struct entry) == 24, "ld.so.cache");

struct extensions {
    uint32_t magic, n;
};

struct section {
    uint32_t tag, flags, at, bytes;
};

/* What is read of it, checked. */
struct parsed {
    const uint8_t *at; /* the header */
    size_t len;        /* to the end */
    struct header h;
    size_t behind; /* where the strings end */
};

static int bad(struct gi_error *err, const char *why)
{
    return gi_fail(err, GI_INVALID_ARGUMENT, "ld.so.cache: %s", why);
}

/* Past an older cache before it. */
static size_t skip_old(const uint8_t *p, size_t len)
{
    uint32_t n;
    if (len < 16 || memcmp(p, MAGIC_OLD, sizeof(MAGIC_OLD) - 1) != 0)
        return 0;
    memcpy(&n, p + 12, sizeof(n));
    return n <= MAX_ENTRIES ? (16 + (size_t)n * 12 + 7) & ~(size_t)7 : len;
}

static int parse(const uint8_t *p, size_t len, struct parsed *ret, struct gi_error *err)
{
    size_t skip = skip_old(p, len);
    if (skip > len || len - skip < sizeof(struct header))
        return bad(err, "too short");
    struct parsed c = {.at = p + skip, .len = len - skip};
    memcpy(&c.h, c.at, sizeof(c.h));
    if (memcmp(c.h.magic, MAGIC_NEW, sizeof(c.h.magic)) != 0)
        return bad(err, "another form");
    if (c.h.flags != 0 && c.h.flags != ORDER_LITTLE)
        return bad(err, "another order of bytes");
    if (skip && c.h.extensions) /* which are counted from the beginning of the file */
        return bad(err, "two forms in one, and extensions");
    c.behind = sizeof(c.h) + (size_t)c.h.n * sizeof(struct entry) + c.h.strings;
    if (c.h.n > MAX_ENTRIES || c.behind > c.len)
        return bad(err, "more entries than bytes");
    *ret = c;
    return 0;
}

static struct entry entry_at(const struct parsed *c, uint32_t i)
{
    struct entry e;
    memcpy(&e, c->at + sizeof(c->h) + i * sizeof(e), sizeof(e));
    return e;
}

/* The string at AT, or NULL. */
static const char *string_at(const struct parsed *c, uint32_t at)
{
    size_t first = c->behind - c->h.strings;
    if (at < first || at >= c->behind || !memchr(c->at + at, '\0', c->behind - at))
        return NULL;
    return (const char *)c->at + at;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static uint64_t take_number(const char **at)
{
    uint64_t n = 0;
    for (; is_digit(**at); (*at)++)
        n = n < UINT64_MAX / 16 ? n * 10 + (uint64_t)(**at - '0') : n;
    return n;
}

/* The loader's order: numbers in names count as numbers, and are more than other characters. */
static int compare(const char *a, const char *b)
{
    while (*a) {
        if (is_digit(*a) != is_digit(*b))
            return is_digit(*a) ? 1 : -1;
        if (is_digit(*a)) {
            uint64_t x = take_number(&a), y = take_number(&b);
            if (x != y)
                return x < y ? -1 : 1;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return *b ? -1 : 0;
}

/* Positions in what is behind the strings, MOVED further in OUT than they were. */
static int move_extensions(const struct parsed *c, uint8_t *out, uint32_t moved,
                           uint32_t strings_moved, struct gi_error *err)
{
    struct extensions x;
    size_t at = c->h.extensions;
    if (at < c->behind || at % 4 || at > c->len || c->len - at < sizeof(x))
        return bad(err, "extensions out of place");
    memcpy(&x, c->at + at, sizeof(x));
    if (x.magic != EXTENSION_MAGIC || x.n > MAX_SECTIONS ||
        c->len - at - sizeof(x) < x.n * sizeof(struct section))
        return bad(err, "unknown extensions");
    for (uint32_t i = 0; i < x.n; i++) {
        struct section s;
        size_t place = at + sizeof(x) + i * sizeof(s);
        memcpy(&s, c->at + place, sizeof(s));
        if (s.at < c->behind || s.at > c->len || s.bytes > c->len - s.at)
            return bad(err, "an extension out of place");
        for (uint32_t k = 0; s.tag == TAG_HWCAPS && k + 4 <= s.bytes; k += 4) {
            uint32_t name;
            memcpy(&name, c->at + s.at + k, sizeof(name));
            name += strings_moved;
            memcpy(out + s.at + moved + k, &name, sizeof(name));
        }
        s.at += moved;
        memcpy(out + place + moved, &s, sizeof(s));
    }
    return 0;
}

static size_t text_bytes(const struct ldcache_library *libraries, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(libraries[i].name) + strlen(libraries[i].path) + 2;
    return (bytes + 7) & ~(size_t)7; /* what is behind stays aligned */
}

static uint32_t put_text(uint8_t *out, size_t *at, const char *text)
{
    uint32_t place = (uint32_t)*at;
    size_t len = strlen(text) + 1;
    memcpy(out + *at, text, len);
    *at += len;
    return place;
}

static void put_entry(uint8_t **to, const struct entry *e)
{
    memcpy(*to, e, sizeof(*e));
    *to += sizeof(*e);
}

/* Old entries and ours, which are by falling name. */
static int put_entries(const struct parsed *c, const struct ldcache_library *ours, size_t n,
                       uint8_t *out, size_t text, struct gi_error *err)
{
    const uint32_t grown = (uint32_t)(n * sizeof(struct entry));
    uint8_t *to = out + sizeof(c->h);
    size_t next = 0;
    for (uint32_t i = 0; i <= c->h.n; i++) {
        const struct entry old = i < c->h.n ? entry_at(c, i) : (struct entry){.flags = 0};
        const char *key = i < c->h.n ? string_at(c, old.key) : "";
        if (!key)
            return bad(err, "an entry without a name");
        for (; next < n && compare(key, ours[next].name) <= 0; next++) {
            struct entry e = {.flags = LIBRARY_FLAGS};
            e.key = put_text(out, &text, ours[next].name);
            e.value = put_text(out, &text, ours[next].path);
            put_entry(&to, &e);
        }
        if (i == c->h.n)
            break;
        const struct entry e = {.flags = old.flags,
                                .key = old.key + grown,
                                .value = old.value + grown,
                                .unused = old.unused,
                                .hwcap = old.hwcap};
        put_entry(&to, &e);
    }
    return 0;
}

static int by_falling_name(const void *a, const void *b)
{
    return compare(((const struct ldcache_library *)b)->name,
                   ((const struct ldcache_library *)a)->name);
}

int ldcache_add(const void *cache, size_t len, const struct ldcache_library *libraries, size_t n,
                void **ret_cache, size_t *ret_len, struct gi_error *err)
{
    struct parsed c = {.at = NULL};
    struct ldcache_library ours[LDCACHE_MAX_LIBRARIES] = {{NULL, NULL}};
    if (len > LDCACHE_MAX_BYTES || n > LDCACHE_MAX_LIBRARIES)
        return bad(err, "too large");
    if (n)
        memcpy(ours, libraries, n * sizeof(*ours));
    qsort(ours, n, sizeof(*ours), by_falling_name);
    int rc = parse(cache, len, &c, err);
    if (rc < 0)
        return rc;
    const size_t grown = n * sizeof(struct entry), text = text_bytes(libraries, n);
    const size_t all = c.len + grown + text, first = c.behind - c.h.strings;
    cleanup_free uint8_t *out = calloc(1, all);
    if (!out)
        return gi_fail_errno(err, ENOMEM, "ld.so.cache");
    struct header h = c.h;
    h.n += (uint32_t)n;
    h.strings += (uint32_t)text;
    h.extensions = c.h.extensions ? c.h.extensions + (uint32_t)(grown + text) : 0;
    memcpy(out, &h, sizeof(h));
    memcpy(out + first + grown, c.at + first, c.h.strings);
    memcpy(out + c.behind + grown + text, c.at + c.behind, c.len - c.behind);
    rc = put_entries(&c, ours, n, out, c.behind + grown, err);
    if (rc == 0 && c.h.extensions)
        rc = move_extensions(&c, out, (uint32_t)(grown + text), (uint32_t)grown, err);
    if (rc < 0)
        return rc;
    *ret_cache = TAKE_PTR(out);
    *ret_len = all;
    return 0;
}
