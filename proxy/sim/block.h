/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_BLOCK_H
#define SIM_BLOCK_H

#include "warp.h"

enum bar_mode { BAR_NONE, BAR_POPC, BAR_AND, BAR_OR };

/* Runs block number INDEX of the grid to its end or the run's failure. */
void block_run(struct run *run, uint64_t index);
/* The same in pieces, for blocks that wait for each other. block_end after any block_begin; a
 * failure is the run's. block_turn gives each warp its turn; false: that was the end. */
void block_begin(struct block *b, struct run *run, uint64_t index);
bool block_turn(struct block *b);
void block_end(struct block *b);
/*
 * LANES of W's current group arrive at barrier ID; HOLDS: those whose predicate
 * holds (bar.red). THREADS: how many it waits for, 0: all. WAIT: they stay until
 * it opens. False: a fault.
 */
bool block_arrive(struct warp *w, const struct insn *in, uint32_t id, uint32_t threads,
                  uint32_t lanes, uint32_t holds, bool wait);
void block_lanes_ended(struct warp *w, uint32_t lanes);

#endif
