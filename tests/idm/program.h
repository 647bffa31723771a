/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the program that is run twice. */
#ifndef GI_TESTS_IDM_PROGRAM_H
#define GI_TESTS_IDM_PROGRAM_H

#include "cu.h"

extern struct cu cu;

/* Prints what was called and what it returned, which it returns. */
CUresult show(const char *what, CUresult rc);
#define SHOW(call, ...) show(#call "(" #__VA_ARGS__ ")", cu.call(__VA_ARGS__))

/* Prints it; 1 if it isn't GOOD. */
unsigned show_good(const char *what, bool good);

/* Prints a checksum of device memory. */
void show_device(CUdeviceptr p, size_t bytes);

/* Libraries and kernels. A context is current before and after. */
void libraries(void);
/* Linking, what is in modules, forms of before CUDA 4. */
void linking(void);
/* Forms of calls for a thread's own stream, later and earlier ones. */
void forms(void);
/* Pools, virtual memory, what is known about ranges. */
void more_memory(void);
/* The host's own memory; MODULE has saxpy. */
void registered(CUmodule module);
/* Arrays; batches; between contexts. */
void arrays(void);
/* Two devices. */
void peers(void);
/* Functions of the host in streams. */
void host_functions(void);
/* Graphs, captures, memory operations; how many results are wrong whatever the other side says. */
unsigned graphs(void);
unsigned streams_more(void);
unsigned graphs_of_arrays(CUcontext context);
/* A context has failed before. */
void host_functions_after_fault(void);

#endif
