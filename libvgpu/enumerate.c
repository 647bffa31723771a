/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a module or a library, by name: the worker tells the names, and each is looked up
 * as if the program had asked for it. */
#include <string.h>

#include "client_calls.h"
#include "handles.h"

/* Asks for the names from the FIRST one on. */
typedef CUresult ask_names(uint64_t parent, uint32_t first, struct vg_answer *answer,
                           const char **ret_names, uint32_t *ret_len);
typedef CUresult look_up(void **ret_handle, uint64_t parent, const char *name);

static CUresult enumerate(void **handles, unsigned n, uint64_t parent, ask_names *ask,
                          look_up *find)
{
    struct vg_answer answer;
    for (unsigned i = 0; i < n;) {
        const char *names;
        uint32_t len;
        VG_TRY(ask(parent, i, &answer, &names, &len));
        if (len == 0)
            return CUDA_SUCCESS; /* no more of them */
        while (len && i < n) {
            size_t bytes = strnlen(names, len) + 1;
            if (bytes > len)
                return vg_nonsense();
            VG_TRY(find(&handles[i++], parent, names));
            names += bytes;
            len -= (uint32_t)bytes;
        }
    }
    return CUDA_SUCCESS;
}

static CUresult ask_kernels(uint64_t library, uint32_t first, struct vg_answer *answer,
                            const char **ret_names, uint32_t *ret_len)
{
    const struct idm_cuLibraryEnumerateKernels_in in = {.w = {.library = library, .first = first}};
    struct idm_cuLibraryEnumerateKernels_out out;
    VG_TRY(vg_ask_cuLibraryEnumerateKernels(&in, &out, answer));
    *ret_names = out.names;
    *ret_len = out.w.names_len;
    return CUDA_SUCCESS;
}

static CUresult find_kernel(void **ret_handle, uint64_t library, const char *name)
{
    return cuLibraryGetKernel((CUkernel *)ret_handle, vg_pointer(library), name);
}

VG_EXPORT CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int n, CUlibrary library)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!kernels || !n)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_library, library, false, &id));
    return enumerate((void **)kernels, n, id, ask_kernels, find_kernel);
}

static CUresult ask_functions(uint64_t module, uint32_t first, struct vg_answer *answer,
                              const char **ret_names, uint32_t *ret_len)
{
    const struct idm_cuModuleEnumerateFunctions_in in = {.w = {.module = module, .first = first}};
    struct idm_cuModuleEnumerateFunctions_out out;
    VG_TRY(vg_ask_cuModuleEnumerateFunctions(&in, &out, answer));
    *ret_names = out.names;
    *ret_len = out.w.names_len;
    return CUDA_SUCCESS;
}

static CUresult find_function(void **ret_handle, uint64_t module, const char *name)
{
    return cuModuleGetFunction((CUfunction *)ret_handle, vg_pointer(module), name);
}

VG_EXPORT CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int n,
                                              CUmodule module)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!functions || !n)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_module, module, false, &id));
    return enumerate((void **)functions, n, id, ask_functions, find_function);
}
