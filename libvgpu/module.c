/* SPDX-License-Identifier: Apache-2.0 */
/* Modules, their functions and globals. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "function.h"
#include "handles.h"
#include "load.h"
#include "memory.h"

void module_forked(void)
{
    load_forked();
    link_forked();
    function_forked();
}

static CUresult ask_load(const struct load_request *r, struct load_answer *a)
{
    struct idm_cuModuleLoadDataEx_out out;
    const struct idm_cuModuleLoadDataEx_in in = {.w = {.module = r->id,
                                                       .image = r->image,
                                                       .info_log_bytes = r->info_log_bytes,
                                                       .error_log_bytes = r->error_log_bytes,
                                                       .options_len = r->options_len},
                                                 .options = r->options};
    VG_TRY(vg_ask_cuModuleLoadDataEx(&in, &out, &a->answer));
    a->result = (CUresult)out.w.load_result;
    a->info_log = out.info_log;
    a->info_log_len = out.w.info_log_len;
    a->error_log = out.error_log;
    a->error_log_len = out.w.error_log_len;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n,
                                      CUjit_option *options, void **values)
{
    struct load_options o;
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(load_options(&o, n, options, values));
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(load_image(IDM_KIND_module, image, 0, &o, ask_load, &id));
    *module = vg_pointer(id);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

VG_EXPORT CUresult cuModuleLoad(CUmodule *module, const char *path)
{
    struct load_options o;
    uint64_t id;
    size_t size;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(load_options(&o, 0, NULL, NULL));
    if (!module || !path)
        return CUDA_ERROR_INVALID_VALUE;
    char *data = load_file(path, &size);
    if (!data)
        return CUDA_ERROR_FILE_NOT_FOUND;
    CUresult rc = load_image(IDM_KIND_module, data, size, &o, ask_load, &id);
    free(data);
    if (rc == CUDA_SUCCESS)
        *module = vg_pointer(id);
    return rc;
}

VG_EXPORT CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

VG_EXPORT CUresult cuModuleUnload(CUmodule module)
{
    struct idm_cuModuleUnload_in in;
    memset(&in, 0, sizeof(in));
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(vg_use(IDM_KIND_module, module, false, &in.w.module));
    const struct vg_object *o = vg_find(IDM_KIND_module, in.w.module);
    if (!o || o->parent) /* a library's, which unloads it */
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult rc = vg_queue_cuModuleUnload(&in);
    vg_forget_orphans(in.w.module);
    memory_orphans_gone(in.w.module);
    vg_forget(in.w.module);
    return rc;
}

VG_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *ptr, size_t *bytes, CUmodule module,
                                        const char *name)
{
    struct idm_cuModuleGetGlobal_v2_in in = {.name = name};
    struct idm_cuModuleGetGlobal_v2_out out;
    struct vg_answer answer;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(vg_use(IDM_KIND_module, module, false, &in.w.module));
    VG_TRY(vg_use_text(name, 4096, &in.w.name_len));
    VG_TRY(vg_ask_cuModuleGetGlobal_v2(&in, &out, &answer));
    const struct vg_memory m = {.base = out.w.ptr,
                                .bytes = out.w.bytes,
                                .context = vg_current(),
                                .module = in.w.module,
                                .kind = VG_GLOBAL};
    VG_TRY(memory_add(&m));
    if (ptr)
        *ptr = out.w.ptr;
    if (bytes)
        *bytes = out.w.bytes;
    return CUDA_SUCCESS;
}
