/* SPDX-License-Identifier: Apache-2.0 */
/* A graph's steps out of the client's bytes, in the driver's words. */
#ifndef WORKER_GRAPH_DECODE_H
#define WORKER_GRAPH_DECODE_H

#include "internal.h"

/* What the driver is given for a step; pointers are into the client's bytes, or here. */
struct graph_step {
    CUgraphNodeType type;
    bool enabled;
    const uint32_t *deps; /* earlier steps: aligned, and each is one */
    uint32_t n_deps;
    union {
        struct {
            CUDA_KERNEL_NODE_PARAMS params;
            void *extra[5];
            size_t params_bytes;
            CUlaunchAttribute attributes[IDM_MAX_ATTRIBUTES];
            uint32_t n_attributes;
        } kernel;
        CUDA_MEMCPY3D copy;
        CUDA_MEMSET_NODE_PARAMS fill;
        CUevent event;
        struct {
            CUstreamBatchMemOpParams all[IDM_MAX_MEMORY_OPS];
            CUDA_BATCH_MEM_OP_NODE_PARAMS params;
        } ops;
    };
};

/* The next step, number INDEX, from C: handles and addresses are the client's. Not to be moved
 * once it is filled in. */
CUresult worker_graph_step(struct worker *w, struct idm_cursor *c, uint32_t index,
                           struct graph_step *ret_step);

#endif
