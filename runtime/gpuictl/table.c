/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "ctl.h"

void table_row(struct table *t, ...)
{
    if (t->n_rows == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        void *rows = reallocarray(t->rows, cap, sizeof(*t->rows));
        if (!rows) {
            t->failed = true;
            return;
        }
        t->rows = rows;
        t->cap = cap;
    }
    char **row = t->rows[t->n_rows++];
    memset(row, 0, sizeof(*t->rows));
    unsigned n = 0;
    va_list ap;
    va_start(ap, t);
    for (const char *cell; n < TABLE_COLUMNS && (cell = va_arg(ap, const char *)) != NULL; n++) {
        row[n] = strdup(*cell ? cell : "-");
        if (!row[n]) {
            t->failed = true;
            continue;
        }
        for (char *p = row[n]; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                *p = '?';
    }
    va_end(ap);
    if (n > t->columns)
        t->columns = n;
}

/* Columns a text takes on the terminal, near enough: code points. */
static size_t width(const char *s)
{
    size_t n = 0;
    for (; s && *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

int table_print(struct table *t)
{
    size_t widths[TABLE_COLUMNS] = {0};
    for (size_t r = 0; r < t->n_rows; r++)
        for (unsigned c = 0; c < t->columns; c++)
            if (width(t->rows[r][c]) > widths[c])
                widths[c] = width(t->rows[r][c]);
    for (size_t r = 0; r < t->n_rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            const char *cell = t->rows[r][c] ? t->rows[r][c] : "";
            bool last = c + 1 == t->columns;
            printf("%s%*s", cell, last ? 0 : (int)(widths[c] - width(cell) + 2), "");
            free(t->rows[r][c]);
        }
        putchar('\n');
    }
    free(t->rows);
    bool failed = t->failed;
    *t = (struct table){0};
    if (failed)
        fprintf(stderr, "gpuictl: out of memory\n");
    return failed ? EXIT_FAILED : EXIT_OK;
}

const char *cell_id(char buf[CELL], const char *id)
{
    if (strncmp(id, "sha256:", 7) == 0)
        id += 7;
    snprintf(buf, CELL, "%.*s", strncmp(id, "gi-", 3) == 0 ? 15 : 13, id);
    return buf;
}

const char *cell_bytes(char buf[CELL], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    unsigned u = 0;
    while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
        v /= 1024;
        u++;
    }
    snprintf(buf, CELL, u > 0 && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
    return buf;
}

const char *cell_age(char buf[CELL], int64_t created_ns)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    int64_t age = (gi_now_ns() - created_ns) / 1000000000;
    if (created_ns <= 0) {
        snprintf(buf, CELL, "-");
        return buf;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (age >= units[i].seconds) {
            int64_t n = age / units[i].seconds;
            snprintf(buf, CELL, "%lld %s%s", (long long)n, units[i].name, n == 1 ? "" : "s");
            return buf;
        }
    }
    snprintf(buf, CELL, "now");
    return buf;
}
