/* SPDX-License-Identifier: Apache-2.0 */
/* PTX texts into one. */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include <stddef.h>

struct link_input {
    const char *text; /* what sim_parse_part has accepted */
    size_t len;
};

/*
 * One PTX text of N: what is declared in one and defined in another is the same, what is
 * visible in none but its own text stays apart. Heap, with a NUL, which *ret_len doesn't count.
 * NULL: no memory, or with *ret_why not empty the reason it can't be done (of at most 256 bytes).
 */
char *link_texts(const struct link_input *inputs, unsigned n, size_t *ret_len, char *ret_why);

#endif
