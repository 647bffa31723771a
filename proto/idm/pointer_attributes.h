/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a pointer that libvgpu and the simulated driver answer alike. */
#ifndef GI_IDM_POINTER_ATTRIBUTES_H
#define GI_IDM_POINTER_ATTRIBUTES_H

#include <stdbool.h>

#include "idm/cuda_abi.h"

/* The allocation that a pointer is in. */
struct pointer_range {
    uint64_t base, bytes;
    uint64_t id;    /* no other allocation of the process has or had it */
    bool ipc;       /* cuIpcGetMemHandle takes it */
    uint64_t kinds; /* cuMemCreate was asked for these CUmemAllocationHandleType */
};

/* WHAT of a pointer into R to DATA, whose size is WHAT's. NOT_SUPPORTED: none of these. */
CUresult pointer_attribute(void *data, CUpointer_attribute what, const struct pointer_range *r);

#endif
