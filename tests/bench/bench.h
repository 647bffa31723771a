/* SPDX-License-Identifier: Apache-2.0 */
/* What idm-bench's parts share. */
#ifndef GI_TESTS_BENCH_H
#define GI_TESTS_BENCH_H

#include <stdbool.h>
#include <sys/types.h>

#include "cu.h"

extern struct cu cu;
extern bool quick;

/* Ends the program when RC is no success. */
void need(CUresult rc, const char *what);
#define CU(call, ...) need(cu.call(__VA_ARGS__), #call)

double now_us(void);

/* A context, current, and a kernel in it that does nothing. */
struct work {
    CUcontext context;
    CUfunction kernel;
};
struct work work_begin(void);

/* many.c: prints how 1 to 8 threads of this process share a channel; it has the GPU. */
void many_threads(void);
/* The same for 1 to 32 processes, each a client: PROGRAM is this one, LIBRARY libvgpu or the driver
 * itself. */
void many_clients(const char *program, const char *library);
/* A process of many_clients; its exit code. */
int client_main(const char *library);
/* Prints what CPU a client burns that does nothing, with PROXY and its workers: this process is it.
 */
void idle(pid_t proxy);

#endif
