/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managed variables: the device has one, and the program another at the same address. What
 * the program changed goes to the device before the next work that is given to it, what the
 * device changed comes back when the program has waited for it. Thread-safe.
 */
#ifndef VG_MIRROR_H
#define VG_MIRROR_H

#include "memory.h"

/* Gives the managed variable M (VG_GLOBAL, a library's) its place here, with what the
 * device has in it. NOT_SUPPORTED: something else is at that address. */
CUresult mirror_add(const struct vg_memory *m);
/* Before a message of TYPE is sent; and when the program has waited. */
CUresult mirror_before(uint16_t type);
CUresult mirror_after(void);
/* A library, with its variables, or a context is gone. */
void mirror_orphans_gone(uint64_t id);
void mirror_close(void);
void mirror_forked(void);

#endif
