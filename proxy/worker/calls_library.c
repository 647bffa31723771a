/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries and kernels: the driver's own, which loads them where they are used. */
#include "internal.h"

/* Nothing is charged yet: it is loaded where its kernels are used. */
static CUresult load_library(struct worker *w, void **ret_driver, const void *data, struct jit *jit,
                             uint64_t *ret_charged)
{
    *ret_charged = 0;
    CUlibrary library = NULL;
    if (!w->cu.cuLibraryLoadData)
        return CUDA_ERROR_NOT_SUPPORTED;
    /* The image is dropped when this returns: the driver has to copy it. */
    CUresult rc = w->cu.cuLibraryLoadData(&library, data, jit->n ? jit->option : NULL,
                                          jit->n ? jit->value : NULL, jit->n, NULL, NULL, 0);
    *ret_driver = library;
    return rc;
}

CUresult worker_cuLibraryLoadData(struct worker *w, const struct idm_cuLibraryLoadData_in *in,
                                  struct idm_cuLibraryLoadData_out *out)
{
    struct worker_object *o;
    struct load l = {.kind = IDM_KIND_library,
                     .id = in->w.library,
                     .image = in->w.image,
                     .info_log_bytes = in->w.info_log_bytes,
                     .error_log_bytes = in->w.error_log_bytes,
                     .options = in->options,
                     .options_len = in->w.options_len,
                     .call = load_library};
    WORKER_TRY(worker_load(w, &l));
    if (l.result == CUDA_SUCCESS && worker_find_object(w, l.kind, l.id, &o) == CUDA_SUCCESS)
        o->context = 0; /* it outlives them all */
    out->w.load_result = (int32_t)l.result;
    out->info_log = w->info_log;
    out->w.info_log_len = l.info_log_len;
    out->error_log = w->error_log;
    out->w.error_log_len = l.error_log_len;
    return CUDA_SUCCESS;
}

CUresult worker_cuLibraryUnload(struct worker *w, const struct idm_cuLibraryUnload_in *in,
                                struct idm_cuLibraryUnload_out *out)
{
    void *library;
    WORKER_TRY(worker_find(w, IDM_KIND_library, in->w.library, false, &library));
    CUresult rc = w->cu.cuLibraryUnload(library);
    worker_orphans_gone(w, in->w.library);
    worker_ranges_gone(w, in->w.library);
    worker_gone(w, in->w.library);
    return rc;
}

CUresult worker_cuLibraryGetKernel(struct worker *w, const struct idm_cuLibraryGetKernel_in *in,
                                   struct idm_cuLibraryGetKernel_out *out)
{
    struct worker_object *o;
    void *library;
    CUkernel kernel = NULL;
    uint32_t bytes;
    WORKER_TRY(worker_find(w, IDM_KIND_library, in->w.library, false, &library));
    WORKER_TRY(worker_expect(w, IDM_KIND_kernel, in->w.kernel, &o));
    CUresult rc = w->cu.cuLibraryGetKernel(&kernel, library, in->name);
    w->want_reply = true;
    worker_born(w, o, in->w.kernel, kernel, rc);
    WORKER_TRY(rc);
    uint32_t n = worker_collect_params(w, IDM_KIND_kernel, kernel, &bytes);
    o->context = 0;
    o->parent = in->w.library;
    o->value = bytes;
    out->w.params_known = w->function.params_known;
    out->params = w->params;
    out->w.params_len = n * (uint32_t)sizeof(w->params[0]);
    return CUDA_SUCCESS;
}

CUresult worker_cuLibraryGetModule(struct worker *w, const struct idm_cuLibraryGetModule_in *in,
                                   struct idm_cuLibraryGetModule_out *out)
{
    struct worker_object *o, *from;
    CUmodule module = NULL;
    WORKER_TRY(worker_find_object(w, IDM_KIND_library, in->w.library, &from));
    WORKER_TRY(worker_expect(w, IDM_KIND_module, in->w.module, &o));
    uint64_t before = charge_look(w), taken = 0;
    CUresult rc = w->cu.cuLibraryGetModule(&module, from->driver);
    if (rc == CUDA_SUCCESS)
        rc = charge_library(w, from, charge_since(w, before), &taken);
    w->want_reply = true;
    worker_born(w, o, in->w.module, module, rc);
    if (rc == CUDA_SUCCESS) {
        o->parent = in->w.library;
        o->charged = taken;
    }
    return rc;
}

CUresult worker_cuLibraryGetGlobal(struct worker *w, const struct idm_cuLibraryGetGlobal_in *in,
                                   struct idm_cuLibraryGetGlobal_out *out)
{
    struct worker_object *o;
    CUdeviceptr p = 0;
    size_t bytes = 0;
    WORKER_TRY(worker_find_object(w, IDM_KIND_library, in->w.library, &o));
    CUlibrary library = o->driver;
    uint64_t before = charge_look(w);
    WORKER_TRY(w->cu.cuLibraryGetGlobal(&p, &bytes, library, in->name));
    WORKER_TRY(charge_library(w, o, charge_since(w, before), &o->charged));
    const struct range range = {.base = p,
                                .bytes = bytes,
                                .context = w->context,
                                .owner = in->w.library,
                                .kind = RANGE_GLOBAL};
    if (ranges_add(&w->ranges, &range) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    out->w.ptr = p;
    out->w.bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult worker_cuLibraryGetManaged(struct worker *w, const struct idm_cuLibraryGetManaged_in *in,
                                    struct idm_cuLibraryGetManaged_out *out)
{
    void *library;
    CUdeviceptr p = 0;
    size_t bytes = 0;
    if (!w->cu.cuLibraryGetManaged)
        return CUDA_ERROR_NOT_SUPPORTED;
    WORKER_TRY(worker_find(w, IDM_KIND_library, in->w.library, false, &library));
    WORKER_TRY(w->cu.cuLibraryGetManaged(&p, &bytes, library, in->name));
    /* No context's, as the library. */
    const struct range range = {
        .base = p, .bytes = bytes, .owner = in->w.library, .kind = RANGE_GLOBAL};
    if (ranges_add(&w->ranges, &range) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    out->w.ptr = p;
    out->w.bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult worker_cuKernelGetFunction(struct worker *w, const struct idm_cuKernelGetFunction_in *in,
                                    struct idm_cuKernelGetFunction_out *out)
{
    struct worker_object *o, *kernel;
    CUfunction fn = NULL;
    uint32_t bytes;
    WORKER_TRY(worker_find_object(w, IDM_KIND_kernel, in->w.kernel, &kernel));
    WORKER_TRY(worker_expect(w, IDM_KIND_function, in->w.fn, &o));
    WORKER_TRY(charge_kernel(w, kernel));
    CUresult rc = w->cu.cuKernelGetFunction(&fn, kernel->driver);
    w->want_reply = true;
    worker_born(w, o, in->w.fn, fn, rc);
    WORKER_TRY(rc);
    worker_collect_attributes(w, fn);
    uint32_t n = worker_collect_params(w, IDM_KIND_function, fn, &bytes);
    o->parent = kernel->parent;
    o->value = bytes;
    out->attributes = &w->function;
    out->w.attributes_len = sizeof(w->function);
    out->params = w->params;
    out->w.params_len = n * (uint32_t)sizeof(w->params[0]);
    return CUDA_SUCCESS;
}
