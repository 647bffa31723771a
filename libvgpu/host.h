/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena: slots for staging pageable copies at its beginning, then pages
 * for pinned host memory. Only this process divides it; the worker merely
 * checks that what it is told lies inside. Thread-safe.
 */
#ifndef VG_HOST_H
#define VG_HOST_H

#include "connection.h"

void host_open(uint64_t arena_bytes);
void host_close(void);
void host_forked(void);

/* Offset in the arena of a host address (BYTES long), also of registered memory that became a
 * part of it; false: it isn't there. */
bool host_in_arena(const void *p, size_t bytes, uint64_t *ret_at);

/* Pages of the arena for copies of graphs, which the driver isn't told of. */
CUresult host_stage(size_t bytes, void **ret_p);
void host_unstage(void *p, size_t bytes);

/* What there is of the arena for pinned memory, in use or not. */
uint64_t host_pinnable(void);
/* Tells the driver of whole pages of the arena; *RET_DEVICE is their device address. */
CUresult host_pin(uint64_t at, uint64_t bytes, uint64_t *ret_device);
CUresult host_unpin(uint64_t at);

/* A staging slot, waiting for one if MAY_WAIT. NULL: none (or the channel died). */
struct vg_slot *slot_take(bool may_wait);
void slot_give(struct vg_slot *slot);
uint8_t *slot_memory(const struct vg_slot *slot);
uint64_t slot_at(const struct vg_slot *slot);
/* The copy that reads SLOT was sent with its ticket: it frees the slot. */
void slot_fly(struct vg_slot *slot);

#endif
