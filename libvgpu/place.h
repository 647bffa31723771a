/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the program's that became pages of the arena, where it is: what it has registered
 * (cuMemHostRegister), so that the GPU reaches it. The callers see to it that one at a time
 * makes and ends places; place_find may be called at any time.
 */
#ifndef VG_PLACE_H
#define VG_PLACE_H

#include "connection.h"

/* The pages of BYTES at P, all of them private and writable, become the arena's, or are already
 * by an earlier call; *RET_DEVICE is P's device address. NOT_SUPPORTED: they can't be (shared
 * with other processes, partly another's place, other threads that may write meanwhile can't be
 * held up); OUT_OF_MEMORY: no room in the arena. */
CUresult place_make(void *p, size_t bytes, uint64_t *ret_device);
/* One place_make less of what includes P. After the last one the pages are the program's own
 * again: now, or when they can be. */
void place_end(const void *p);

/* Offset in the arena of BYTES at P that are in a place. */
bool place_find(const void *p, size_t bytes, uint64_t *ret_at);

/* Around a fork, for the child is to have such memory as its own: before it, in the parent
 * after it, in the child. */
void place_fork(void);
void place_fork_parent(void);
void place_fork_child(void);
/* Forgets all places: the memory stays what it is. */
void place_close(void);

#endif
