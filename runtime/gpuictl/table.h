/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables and the texts in them. Cells come from the runtime, images and pods:
 * control characters are shown as '?', so that no cell can write on the
 * terminal what isn't there.
 */
#ifndef GPUICTL_TABLE_H
#define GPUICTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_COLUMNS 10

struct table {
    char *(*rows)[TABLE_COLUMNS];
    size_t n_rows, cap;
    unsigned columns;
    bool failed; /* out of memory: table_print says so */
};

/* Titles, then rows: as many cells as there are columns, NULL at the end. */
void table_row(struct table *t, ...) __attribute__((sentinel));
/* Prints the rows in columns as wide as their widest cell, and frees them.
 * 0, or EXIT_FAILED. */
int table_print(struct table *t);

/* Texts for cells; each returns BUF. */
#define CELL 64
/* "gi-1234567890" of an id: enough to be unique and to be typed. */
const char *cell_id(char buf[CELL], const char *id);
/* "1.5 GiB" */
const char *cell_bytes(char buf[CELL], uint64_t bytes);
/* "3 minutes", "2 days" since CREATED_NS (CLOCK_REALTIME); "-" for 0. */
const char *cell_age(char buf[CELL], int64_t created_ns);

#endif
