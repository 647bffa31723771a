/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one kernel on plain memory, without the Driver API around it. */
#ifndef SIM_RUNNER_H
#define SIM_RUNNER_H

#include "exec.h"

struct runner {
    struct sim_module *module;
    struct sim_log log;
    struct sim_fault fault;
    uint8_t *memory; /* what kernels may touch: page-aligned */
    size_t bytes;
    uint64_t max_steps;
};

/* Parses TEXT; variables get places at the end of BYTES of memory. False: see log. */
bool runner_open(struct runner *r, const char *text, size_t bytes);
/* KERNEL with 64 bit PARAMS over GRID x BLOCK (x only). 0 or the fault's error. */
int runner_run(struct runner *r, const char *kernel, unsigned grid, unsigned block, unsigned shared,
               const uint64_t *params, unsigned n);
void runner_close(struct runner *r);

#endif
