/* SPDX-License-Identifier: Apache-2.0 */
/* cuGetProcAddress: the forms of calls that cuda.calls has, where they are here. */
#include <dlfcn.h>
#include <string.h>

#include "driver.h"
#include "idm/procaddr.h"

static void *library;

static void find_library(void)
{
    Dl_info self;
    static const char anchor;
    if (dladdr(&anchor, &self) && self.dli_fname)
        library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

CUresult cuGetProcAddress_v2(const char *symbol, void **fn, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CUdriverProcAddressQueryResult found;
    unsigned i;
    if (!symbol || !fn)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(idm_symbol_find(symbol, version, flags, &i, &found));
    pthread_once(&once, find_library);
    *fn = i < idm_n_symbols && library ? dlsym(library, idm_symbols[i].symbol) : NULL;
    if (!*fn && found == CU_GET_PROC_ADDRESS_SUCCESS)
        found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (status)
        *status = found;
    return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
