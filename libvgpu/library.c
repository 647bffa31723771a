/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries: the driver's own, loaded by it where they are used. Their kernels
 * are with the functions. */
#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "handles.h"
#include "load.h"
#include "memory.h"
#include "mirror.h"

static CUresult ask_load(const struct load_request *r, struct load_answer *a)
{
    struct idm_cuLibraryLoadData_out out;
    const struct idm_cuLibraryLoadData_in in = {.w = {.library = r->id,
                                                      .image = r->image,
                                                      .info_log_bytes = r->info_log_bytes,
                                                      .error_log_bytes = r->error_log_bytes,
                                                      .options_len = r->options_len},
                                                .options = r->options};
    VG_TRY(vg_ask_cuLibraryLoadData(&in, &out, &a->answer));
    a->result = (CUresult)out.w.load_result;
    a->info_log = out.info_log;
    a->info_log_len = out.w.info_log_len;
    a->error_log = out.error_log;
    a->error_log_len = out.w.error_log_len;
    return CUDA_SUCCESS;
}

/* They say how long the program keeps the image, of which the worker has a copy. */
static CUresult check_options(unsigned n, const CUlibraryOption *options)
{
    if (n && !options)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        if ((int)options[i] < 0 || options[i] > CU_LIBRARY_BINARY_IS_PRESERVED)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult load(CUlibrary *library, const void *code, uint64_t bytes,
                     const CUjit_option *jit_options, void **jit_values, unsigned n_jit,
                     const CUlibraryOption *options, unsigned n)
{
    struct load_options o;
    uint64_t id;
    VG_TRY(load_options(&o, n_jit, jit_options, jit_values));
    VG_TRY(check_options(n, options));
    VG_TRY(load_image(IDM_KIND_library, code, bytes, &o, ask_load, &id));
    *library = vg_pointer(id);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuLibraryLoadData(CUlibrary *library, const void *code,
                                     CUjit_option *jit_options, void **jit_values,
                                     unsigned int n_jit, CUlibraryOption *options, void **values,
                                     unsigned int n)
{
    (void)values;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!library || !code)
        return CUDA_ERROR_INVALID_VALUE;
    return load(library, code, 0, jit_options, jit_values, n_jit, options, n);
}

VG_EXPORT CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path,
                                         CUjit_option *jit_options, void **jit_values,
                                         unsigned int n_jit, CUlibraryOption *options,
                                         void **values, unsigned int n)
{
    (void)values;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!library || !path)
        return CUDA_ERROR_INVALID_VALUE;
    size_t size;
    char *data = load_file(path, &size);
    if (!data)
        return CUDA_ERROR_FILE_NOT_FOUND;
    CUresult rc = load(library, data, size, jit_options, jit_values, n_jit, options, n);
    free(data);
    return rc;
}

VG_EXPORT CUresult cuLibraryUnload(CUlibrary library)
{
    struct idm_cuLibraryUnload_in in;
    struct idm_cuLibraryUnload_out out;
    struct vg_answer answer;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    VG_TRY(vg_use(IDM_KIND_library, library, false, &in.w.library));
    CUresult rc = vg_ask_cuLibraryUnload(&in, &out, &answer);
    vg_forget_orphans(in.w.library);
    memory_orphans_gone(in.w.library);
    vg_forget(in.w.library);
    return rc;
}

static bool any(const void *data, const void *arg)
{
    (void)data;
    (void)arg;
    return true;
}

VG_EXPORT CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
    struct idm_cuLibraryGetModule_in in;
    struct idm_cuLibraryGetModule_out out;
    struct vg_answer answer;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_library, library, false, &in.w.library));
    uint64_t id = vg_find_child(IDM_KIND_module, in.w.library, vg_current(), any, NULL);
    if (!id) {
        VG_TRY(vg_new(IDM_KIND_module, &in.w.module));
        CUresult rc = vg_ask_cuLibraryGetModule(&in, &out, &answer);
        if (rc != CUDA_SUCCESS) {
            vg_forget(in.w.module);
            return rc;
        }
        vg_describe(in.w.module, in.w.library, 0, NULL);
        id = in.w.module;
    }
    *module = vg_pointer(id);
    return CUDA_SUCCESS;
}

/* The device's variable, and one here at the same address that follows it (mirror.c). */
VG_EXPORT CUresult cuLibraryGetManaged(CUdeviceptr *ptr, size_t *bytes, CUlibrary library,
                                       const char *name)
{
    struct idm_cuLibraryGetManaged_in in = {.name = name};
    struct idm_cuLibraryGetManaged_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!ptr && !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_library, library, false, &in.w.library));
    VG_TRY(vg_use_text(name, 4096, &in.w.name_len));
    VG_TRY(vg_ask_cuLibraryGetManaged(&in, &out, &answer));
    const struct vg_memory m = {.base = out.w.ptr,
                                .bytes = out.w.bytes,
                                .module = in.w.library,
                                .host = vg_pointer(out.w.ptr),
                                .kind = VG_GLOBAL,
                                .flags = VG_MANAGED};
    VG_TRY(memory_add(&m));
    VG_TRY(mirror_add(&m));
    if (ptr)
        *ptr = out.w.ptr;
    if (bytes)
        *bytes = out.w.bytes;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr *ptr, size_t *bytes, CUlibrary library,
                                      const char *name)
{
    struct idm_cuLibraryGetGlobal_in in = {.name = name};
    struct idm_cuLibraryGetGlobal_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!ptr && !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_library, library, false, &in.w.library));
    VG_TRY(vg_use_text(name, 4096, &in.w.name_len));
    VG_TRY(vg_ask_cuLibraryGetGlobal(&in, &out, &answer));
    const struct vg_memory m = {.base = out.w.ptr,
                                .bytes = out.w.bytes,
                                .context = vg_current(),
                                .module = in.w.library,
                                .kind = VG_GLOBAL};
    VG_TRY(memory_add(&m));
    if (ptr)
        *ptr = out.w.ptr;
    if (bytes)
        *bytes = out.w.bytes;
    return CUDA_SUCCESS;
}
