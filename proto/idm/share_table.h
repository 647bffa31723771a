/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated GPU's own export table: what two of its processes share is a descriptor, and a
 * jailed process can't open another one's. So the descriptor travels beside the handle. With a real
 * driver the handle alone is enough; it has no such table.
 */
#ifndef GI_IDM_SHARE_TABLE_H
#define GI_IDM_SHARE_TABLE_H

#include "idm/cuda_abi.h"

#define SHARE_TABLE_ID                                                                             \
    {                                                                                              \
        {                                                                                          \
            'g', 'p', 'u', '-', 'i', 's', 'o', 'l', 'a', 't', 'e', 'd', 'i', 'p', 'c', 1           \
        }                                                                                          \
    }

/* HANDLE: the 64 bytes of a CUipcMemHandle or a CUipcEventHandle. Any thread may call. */
struct share_table {
    size_t bytes; /* of this struct */
    /* The descriptor behind a HANDLE that this process made; it stays the driver's, and is good
     * until the memory is freed or the event destroyed. -1: none. */
    int (*descriptor)(const void *handle);
    /* Says in HANDLE, which another process made, that FD is its descriptor here. FD stays the
     * caller's and has to be open when the handle is opened, no longer. */
    void (*replace)(void *handle, int fd);
};

#endif
