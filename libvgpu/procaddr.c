/* SPDX-License-Identifier: Apache-2.0 */
#include "procaddr.h"

#include <string.h>

#include "connection.h"

/* The first entry of NAME, or vg_n_symbols. */
static unsigned first_of(const char *name)
{
    unsigned low = 0, high = vg_n_symbols;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (strcmp(vg_symbols[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < vg_n_symbols && strcmp(vg_symbols[low].name, name) == 0 ? low : vg_n_symbols;
}

VG_EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **fn, int version, uint64_t flags,
                                       CUdriverProcAddressQueryResult *status)
{
    const uint64_t known =
        CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    if (!symbol || !fn || version < 0 || (flags & ~known))
        return CUDA_ERROR_INVALID_VALUE;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    *fn = NULL;
    /* The newest form that the version the program was built for knew. */
    for (unsigned i = first_of(symbol); i < vg_n_symbols; i++) {
        const struct vg_symbol *s = &vg_symbols[i];
        if (strcmp(s->name, symbol) != 0)
            break;
        /* Its other default stream isn't ours to offer. */
        if (s->per_thread && (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM))
            continue;
        if (s->since > (unsigned)version) {
            if (!*fn)
                found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
            continue;
        }
        memcpy(fn, &s->fn, sizeof(*fn));
        found = CU_GET_PROC_ADDRESS_SUCCESS;
    }
    if (status)
        *status = found;
    return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
