/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What code takes of the device's memory: its variables, above all, which a client may make as
 * large as it likes. No driver says, so the device's free memory is looked at before and after.
 * Other workers allocate meanwhile, as a load may take seconds; so when it seems much, it is
 * unloaded, which takes no time, and loaded again: the lesser of both figures is the client's.
 */
#include "internal.h"

#define NOT_MUCH (4ull << 20)

uint64_t charge_look(struct worker *w)
{
    size_t left = 0, total = 0;
    return w->context && w->cu.cuMemGetInfo_v2(&left, &total) == CUDA_SUCCESS ? left : 0;
}

uint64_t charge_since(struct worker *w, uint64_t before)
{
    uint64_t now = charge_look(w);
    return before > now ? before - now : 0;
}

CUresult charge_reserve(struct worker *w, uint64_t bytes)
{
    if (!bytes || page_reserve(w->config->page, w->config->slot, bytes))
        return CUDA_SUCCESS;
    worker_count(&w->counters->quota_refusals, 1);
    w->error = IDM_ERROR_QUOTA;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult charge_module(struct worker *w,
                       CUresult (*load)(struct worker *w, CUmodule *ret, void *arg), void *arg,
                       CUmodule *ret_module, uint64_t *ret_charged)
{
    CUmodule module = NULL;
    uint64_t before = charge_look(w);
    WORKER_TRY(load(w, &module, arg));
    uint64_t taken = charge_since(w, before);
    if (taken > NOT_MUCH) {
        uint64_t loaded = charge_look(w);
        WORKER_TRY(w->cu.cuModuleUnload(module));
        uint64_t unloaded = charge_look(w);
        uint64_t given = unloaded > loaded ? unloaded - loaded : 0;
        taken = given < taken ? given : taken;
        CUresult rc = charge_reserve(w, taken);
        if (rc == CUDA_SUCCESS)
            rc = load(w, &module, arg);
        else
            taken = 0;
        if (rc != CUDA_SUCCESS && taken)
            page_release(w->config->page, w->config->slot, taken);
        WORKER_TRY(rc);
    } else if (charge_reserve(w, taken) != CUDA_SUCCESS) {
        w->cu.cuModuleUnload(module);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *ret_module = module;
    *ret_charged = taken;
    return CUDA_SUCCESS;
}

CUresult charge_library(struct worker *w, struct worker_object *library, uint64_t taken,
                        uint64_t *charged)
{
    if (library->loaded != w->context)
        library->owed = 0;
    library->loaded = w->context;
    library->owed += taken;
    WORKER_TRY(charge_reserve(w, library->owed));
    *charged += library->owed;
    library->owed = 0;
    return CUDA_SUCCESS;
}

/* The driver loads a kernel's library in a context when it is first used there. */
CUresult charge_kernel(struct worker *w, struct worker_object *kernel)
{
    struct worker_object *library;
    CUfunction fn = NULL;
    if (kernel->loaded == w->context || !w->context || !w->cu.cuKernelGetFunction)
        return CUDA_SUCCESS;
    WORKER_TRY(worker_find_object(w, IDM_KIND_library, kernel->parent, &library));
    uint64_t before = charge_look(w);
    WORKER_TRY(w->cu.cuKernelGetFunction(&fn, kernel->driver));
    WORKER_TRY(charge_library(w, library, charge_since(w, before), &kernel->charged));
    kernel->loaded = w->context;
    return CUDA_SUCCESS;
}

CUresult worker_find_code(struct worker *w, uint64_t id, struct worker_object **ret_code)
{
    struct worker_object *code;
    WORKER_TRY(worker_find_object(w, IDM_KIND_code, id, &code));
    if (idm_handle_kind(id) == IDM_KIND_kernel && w->type != IDM_cuFuncIsLoaded)
        WORKER_TRY(charge_kernel(w, code));
    *ret_code = code;
    return CUDA_SUCCESS;
}
