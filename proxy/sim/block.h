/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_BLOCK_H
#define SIM_BLOCK_H

#include "warp.h"

enum bar_mode { BAR_NONE, BAR_POPC, BAR_AND, BAR_OR };

/* Runs block number INDEX of the grid to its end or the run's failure. */
void block_run(struct run *run, uint64_t index);
/*
 * LANES of W's current group arrive at barrier ID; HOLDS: those whose predicate
 * holds (bar.red). THREADS: how many it waits for, 0: all. WAIT: they stay until
 * it opens. False: a fault.
 */
bool block_arrive(struct warp *w, const struct insn *in, uint32_t id, uint32_t threads,
                  uint32_t lanes, uint32_t holds, bool wait);
void block_lanes_ended(struct warp *w, uint32_t lanes);

#endif
