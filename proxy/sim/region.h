/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's region: the addresses its memory is given out from, by chunks that are committed
 * as they come into use. A chunk is private memory until something in it is shared; then it is a
 * piece of the region's memfile until nobody uses it. All functions need the caller's lock.
 */
#ifndef SIM_REGION_H
#define SIM_REGION_H

#include "extent.h"

#define REGION_GRANULE 512ull

struct region {
    int device;
    uint64_t base, end;
    uint64_t total, used;
    uint32_t *in_use; /* allocations per chunk */
    struct extents free;
    int fd;       /* the memfile of all of it, sparse; -1: nothing was ever shared */
    bool *shared; /* per chunk: it is the memfile's */
};

/* 0 or a CUresult, as those below. */
int region_init(struct region *r, int device, uint64_t bytes);
/* Zeroed memory: BYTES, a multiple of the granule. */
int region_take(struct region *r, uint64_t bytes, uint64_t *ret_base);
/* Gives [base, end) back, cleared. PIECE, a fresh one, becomes it or part of it. */
void region_give_back(struct region *r, uint64_t base, uint64_t end, struct extent *piece);
/* Are [base, end)'s chunks the memfile's? */
bool region_is_shared(const struct region *r, uint64_t base, uint64_t end);
/* Makes them so. Nobody touches the region meanwhile. */
int region_share(struct region *r, uint64_t base, uint64_t end);

#endif
