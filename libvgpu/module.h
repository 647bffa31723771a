/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VG_MODULE_H
#define VG_MODULE_H

#include <stddef.h>
#include <stdint.h>

void module_forked(void);
void link_forked(void);

/* Length of a module's image in memory: PTX text with its NUL, an ELF file
 * (cubin), or a fat binary. 0: none of these, or longer than IDM_MAX_IMAGE_BYTES.
 * The header is the program's own memory and believed. */
uint64_t image_bytes(const void *image);
/* The fat binary behind a wrapper as compilers emit it; IMAGE itself if it is
 * none. */
const void *image_unwrap(const void *image);
/* Of a program with device code in several files, the wrapper's linked fat binary and behind it
 * those it was linked from, for a GPU that the linked one has no code for. Heap; NULL: WRAPPER is
 * none of that kind, all of it is too long, or no memory. */
void *image_with_parts(const void *wrapper, uint64_t *ret_bytes);

#endif
