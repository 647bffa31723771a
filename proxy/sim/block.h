/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_BLOCK_H
#define SIM_BLOCK_H

#include "warp.h"

enum bar_mode { BAR_NONE, BAR_POPC, BAR_AND, BAR_OR };

/* Runs cluster number INDEX of the grid to its end or the run's failure. */
void cluster_run(struct run *run, uint64_t index);
/* The same in pieces, for clusters that wait for each other. cluster_end after any cluster_begin; a
 * failure is the run's. cluster_turn gives each warp its turn; false: that was the end. */
void cluster_begin(struct cluster *c, struct run *run, uint64_t index);
bool cluster_turn(struct cluster *c);
void cluster_end(struct cluster *c);
/*
 * LANES of W's current group arrive at barrier ID; HOLDS: those whose predicate
 * holds (bar.red). THREADS: how many it waits for, 0: all. WAIT: they stay until
 * it opens. False: a fault.
 */
bool block_arrive(struct warp *w, const struct insn *in, uint32_t id, uint32_t threads,
                  uint32_t lanes, uint32_t holds, bool wait);
/* LANES arrive at, or wait at, the barrier of the cluster (PTX: barrier.cluster). */
void cluster_arrive(struct warp *w, uint32_t lanes);
void cluster_wait(struct warp *w, const struct insn *in, uint32_t lanes);
void block_lanes_ended(struct warp *w, uint32_t lanes);

#endif
