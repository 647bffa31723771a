/* SPDX-License-Identifier: Apache-2.0 */
/* The program's functions in streams' order, run by a thread of ours. */
#ifndef VG_HOST_FUNCTION_H
#define VG_HOST_FUNCTION_H

#include <stdbool.h>

#include "connection.h"

/* Is the calling thread in one? CUDA's calls are forbidden there. */
bool host_function_is_running(void);
void host_function_forked(void);

/* A call of FN (NULL: of nothing) with DATA; then, or when it can't come any more, RELEASE(OWNER)
 * (NULL: nothing). */
struct host_call {
    CUhostFn fn;
    void *data;
    void (*release)(void *owner);
    void *owner;
};

/* Sends a message that is answered when the function's time has come. On failure nothing is called
 * and nothing released. */
CUresult host_function_send(uint16_t type, const struct idm_part *parts, unsigned n,
                            const struct host_call *call);

#endif
