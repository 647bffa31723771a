/* SPDX-License-Identifier: Apache-2.0 */
/* By hand: scanf and stat have new symbol versions with each C standard and glibc. */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A descriptor read through a buffer, character by character. */
struct reader {
    int fd;
    ssize_t n, at;
    char buf[4096];
};

static int next(struct reader *r)
{
    if (r->at == r->n) {
        do
            r->n = read(r->fd, r->buf, sizeof(r->buf));
        while (r->n < 0 && errno == EINTR);
        r->at = 0;
        if (r->n <= 0) {
            r->n = 0;
            return -1;
        }
    }
    return (unsigned char)r->buf[r->at++];
}

/* A number up to the first character that is no digit of BASE, which goes to *RET_END. */
static uint64_t number(struct reader *r, unsigned base, int *ret_end)
{
    uint64_t n = 0;
    for (;;) {
        int c = next(r);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit >= base) {
            *ret_end = c;
            return n;
        }
        n = n * base + digit;
    }
}

/* "from-to rwxp offset major:minor inode   path" */
static bool entry(struct reader *r, struct maps_entry *ret)
{
    int c;
    char path[7] = "";
    size_t len = 0;
    memset(ret, 0, sizeof(*ret));
    ret->from = number(r, 16, &c);
    if (c != '-')
        return false;
    ret->to = number(r, 16, &c);
    ret->read = next(r) == 'r';
    ret->write = next(r) == 'w';
    ret->execute = next(r) == 'x';
    ret->shared = next(r) == 's';
    next(r);
    ret->offset = number(r, 16, &c);
    ret->dev = number(r, 16, &c) << 32;
    ret->dev |= number(r, 16, &c);
    ret->inode = number(r, 10, &c);
    for (; c != '\n' && c >= 0; c = next(r)) {
        if (c != ' ' && len < sizeof(path) - 1)
            path[len++] = (char)c;
    }
    ret->stack = strcmp(path, "[stack") == 0; /* its first six characters */
    return c >= 0;
}

static bool walk(uint64_t lo, uint64_t hi, bool gaps,
                 bool (*each)(const struct maps_entry *e, void *data), void *data)
{
    struct maps_entry e;
    struct reader r = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    if (r.fd < 0)
        return false;
    bool good = true;
    uint64_t covered = lo;
    while (good && covered < hi && entry(&r, &e) && e.from < hi) {
        if (e.to <= lo)
            continue;
        good = (gaps || e.from <= covered) && each(&e, data);
        covered = e.to;
    }
    close(r.fd);
    return good && (gaps || covered >= hi);
}

bool maps_all(uint64_t lo, uint64_t hi, bool (*each)(const struct maps_entry *e, void *data),
              void *data)
{
    return walk(lo, hi, false, each, data);
}

bool maps_any(uint64_t lo, uint64_t hi, bool (*each)(const struct maps_entry *e, void *data),
              void *data)
{
    return walk(lo, hi, true, each, data);
}

/* The 20th field of stat; the second, in brackets, may hold anything. */
unsigned maps_threads(void)
{
    struct reader r = {.fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)};
    if (r.fd < 0)
        return 0;
    char text[1024];
    size_t len = 0;
    int c;
    while ((c = next(&r)) >= 0 && len < sizeof(text) - 1)
        text[len++] = (char)c;
    close(r.fd);
    text[len] = '\0';
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 20; field++)
        at = strchr(at + 1, ' ');
    unsigned n = 0;
    for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (unsigned)(*at - '0');
    return n;
}
