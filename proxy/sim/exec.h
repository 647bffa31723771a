/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs kernels: a grid's blocks over a pool of threads, each block's warps in
 * turn, 32 lanes at a time. Device addresses of global memory are addresses of
 * this process; every access is checked against the ranges that are live.
 */
#ifndef SIM_EXEC_H
#define SIM_EXEC_H

#include "ir.h"

struct sim_texture;

/* What kernels may touch. */
struct sim_memory {
    /* The live range [base, end) that contains ADDRESS; false: none. Called by
     * many threads at once. A range must stay mapped while a kernel runs. */
    bool (*find)(void *context, uint64_t address, uint64_t *ret_base, uint64_t *ret_end);
    /* The object behind HANDLE, which stays while a kernel runs; NULL: there is none. */
    const struct sim_texture *(*texture)(void *context, uint64_t handle, bool surface);
    void *context;
};

struct sim_launch {
    const struct sim_module *module; /* linked, outlives the run */
    const struct sim_func *func;     /* an entry of it */
    uint32_t grid[3], block[3];      /* checked by the caller: none 0, block <= 1024 in all */
    uint32_t cluster[3];             /* blocks; the grid is so many whole ones; 0: as 1 */
    uint32_t dynamic_shared;         /* bytes; static + dynamic <= SIM_MAX_SHARED */
    const uint8_t *params;           /* func->param_bytes of them */
    const struct sim_memory *memory;
    uint64_t max_steps; /* instructions a warp may execute; 0: no limit */
    uint32_t sms;       /* multiprocessors the kernel sees */
    bool cooperative;   /* all blocks are there at once and may wait for each other ... */
    uint64_t meeting;   /* ... in 8 zeroed bytes of global memory */
};

/* Why a kernel ended early: a CUresult, and for the log what, where, which thread. */
struct sim_fault {
    int error;
    char text[320];
};

/* Starts the pool with THREADS threads (>= 1, the caller of sim_run included).
 * Only the first call counts. 0 or -1: no threads to be had. */
int sim_pool_start(unsigned threads);

/* Runs the grid to its end. 0, or the CUresult that is also in RET_FAULT.
 * Several threads may run grids at once. */
int sim_run(const struct sim_launch *l, struct sim_fault *ret_fault);

#endif
