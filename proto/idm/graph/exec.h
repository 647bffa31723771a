/* SPDX-License-Identifier: Apache-2.0 */
/* Executable graphs as graph_update.c needs them. All without graph_lock. */
#ifndef GI_GRAPH_EXEC_H
#define GI_GRAPH_EXEC_H

#include "idm/graph/graph.h"

/* The living one behind HANDLE, with its lock; exec_give returns RC. */
CUresult exec_take(CUgraphExec handle, struct CUgraphExec_st **ret_x);
CUresult exec_give(struct CUgraphExec_st *x, CUresult rc);
CUresult exec_find_step(const struct CUgraphExec_st *x, CUgraphNode node, uint32_t *ret_step);
/* Takes P over. */
CUresult exec_change(struct CUgraphExec_st *x, uint32_t step, struct graph_params *p, bool enabled);

#endif
