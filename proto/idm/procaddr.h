/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cuGetProcAddress knows: every form of every call we have, by name, CUDA
 * version and default stream, generated from cuda.calls. libvgpu and the
 * simulated driver choose by the same rule from the same table.
 */
#ifndef GI_IDM_PROCADDR_H
#define GI_IDM_PROCADDR_H

#include <stdbool.h>
#include <stdint.h>

#include "idm/cuda_abi.h"

struct idm_symbol {
    const char *name;   /* what programs ask for: without version and stream */
    const char *symbol; /* what is exported */
    unsigned since;     /* CUDA version that brought this form */
    bool per_thread;    /* this is the form for a thread's own default stream */
    bool has_both;      /* there is one such; where it isn't this, it isn't this one's to answer */
};

extern const struct idm_symbol idm_symbols[]; /* by name, then version */
extern const unsigned idm_n_symbols;

/*
 * The index of the newest form of NAME that VERSION knows, or idm_n_symbols.
 * *ret_status says why. INVALID_VALUE: these flags make no sense. Thread-safe.
 */
CUresult idm_symbol_find(const char *name, int version, uint64_t flags, unsigned *ret_index,
                         CUdriverProcAddressQueryResult *ret_status);

#endif
