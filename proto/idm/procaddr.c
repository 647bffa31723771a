/* SPDX-License-Identifier: Apache-2.0 */
#include "idm/procaddr.h"

#include <string.h>

/* The first entry of NAME, or idm_n_symbols. */
static unsigned first_of(const char *name)
{
    unsigned low = 0, high = idm_n_symbols;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (strcmp(idm_symbols[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

CUresult idm_symbol_find(const char *name, int version, uint64_t flags, unsigned *ret_index,
                         CUdriverProcAddressQueryResult *ret_status)
{
    const uint64_t own = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    const uint64_t known = CU_GET_PROC_ADDRESS_LEGACY_STREAM | own;
    if ((flags & ~known) || flags == known || version < 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    unsigned found = idm_n_symbols;
    for (unsigned i = first_of(name); i < idm_n_symbols; i++) {
        const struct idm_symbol *s = &idm_symbols[i];
        if (strcmp(s->name, name) != 0)
            break;
        if (s->per_thread != (s->has_both && (flags & own)))
            continue;
        if (s->since <= (unsigned)version)
            found = i;
        else if (found == idm_n_symbols)
            status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    }
    *ret_index = found;
    *ret_status = found == idm_n_symbols ? status : CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
}
