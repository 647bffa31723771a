/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory pools: allocation in a stream's order over cuMemAlloc (or cuMemMap, where there are
 * peers) and events, so that what a pool holds is memory like any other to the quota and to
 * whoever clears it. libvgpu and the simulated driver share it; they ask it about addresses
 * and say when a context ends. Thread-safe; nothing here is called with a lock of theirs held.
 */
#ifndef GI_IDM_POOLS_H
#define GI_IDM_POOLS_H

#include <stdbool.h>

#include "idm/cuda_abi.h"

struct pool_place {
    CUmemoryPool pool;
    CUdeviceptr base; /* of the allocation; 0: nobody has it */
    size_t bytes;
};

/* Is PTR in memory that a pool holds? */
bool pools_at(CUdeviceptr ptr, struct pool_place *ret_place);
/* cuMemFree of an address that pools_at knows: waits for the context's work. */
CUresult pools_free(CUdeviceptr ptr);
/* What a pool knows of PTR for cuPointerGetAttribute; false: ask on. */
bool pools_attribute(void *data, CUpointer_attribute what, CUdeviceptr ptr);
/* The caller has just waited for the GPU: pools give back what they hold too much. */
void pools_synchronized(void);
/* CTX is about to end, and its memory with it. */
void pools_context_ends(CUcontext ctx);
/* It has ended: what pools held in it that doesn't end with a context goes now. */
void pools_context_ended(void);
/* After a fork, in the child: there are no pools. */
void pools_forget(void);

#endif
