/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress over the generated table. */
#include "procaddr.h"

#include <string.h>

#include "connection.h"
#include "idm/procaddr.h"

VG_EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **fn, int version, uint64_t flags,
                                       CUdriverProcAddressQueryResult *status)
{
    CUdriverProcAddressQueryResult found;
    unsigned i;
    if (!symbol || !fn)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(idm_symbol_find(symbol, version, flags, &i, &found));
    *fn = NULL;
    if (i < idm_n_symbols)
        memcpy(fn, &vg_functions[i], sizeof(*fn));
    if (status)
        *status = found;
    return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
