/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's functions in its graphs. It announces each before the launch that comes to
 * it; the driver calls us on a thread of its own, and that takes the first announcement
 * of the step and answers it. What a launch left, because it failed, is answered behind it.
 */
#ifndef WORKER_GRAPH_HOST_H
#define WORKER_GRAPH_HOST_H

#include "internal.h"

struct graph_functions;

/* For a graph of N steps; NULL: no memory. */
struct graph_functions *graph_functions_new(struct worker *w, uint32_t n);
/* Launches under way still come here. */
void graph_functions_end(struct graph_functions *f);
/* What the driver is to call, and with what, for STEP. */
void graph_function_reached(void *step);
void *graph_function_step(struct graph_functions *f, uint32_t step);
/* The message at hand announces STEP. WORKER_ELSEWHERE, or why not. */
CUresult graph_function_announce(struct worker *w, struct graph_functions *f, uint32_t step);
/* Before the graph is given to STREAM; and after, with RC. */
void graph_functions_launch(struct graph_functions *f, CUstream stream);
void graph_functions_launched(struct worker *w, struct graph_functions *f, CUstream stream,
                              CUresult rc);

#endif
