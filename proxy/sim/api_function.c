/* SPDX-License-Identifier: Apache-2.0 */
/* Functions: what they say of themselves, and what can be set. */
#include "stream.h"

#define NUM_ATTRIBUTES 16
/* CU_FUNC_ATTRIBUTE_* of clusters: CUDA 11.8 */
#define ATTRIBUTE_CLUSTER_MUST_BE_SET  10
#define ATTRIBUTE_CLUSTER_WIDTH        11 /* then height and depth */
#define ATTRIBUTE_NON_PORTABLE_CLUSTER 14
#define ATTRIBUTE_CLUSTER_SCHEDULING   15

static CUresult find_function(struct CUctx_st *c, const void *handle, struct CUfunc_st **ret)
{
    struct CUfunc_st *f = object_find(OBJECT_FUNCTION, handle);
    if (f && f->o.context == c) {
        *ret = f;
        return CUDA_SUCCESS;
    }
    if (f)
        object_put(&f->o);
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult function_find(struct CUctx_st *c, const void *handle, struct CUfunc_st **ret)
{
    PUT_LATER(CUkern_st) *k = object_find(OBJECT_KERNEL, handle);
    return k ? kernel_function(k, c, ret) : find_function(c, handle, ret);
}

int function_max_threads(const struct sim_func *f)
{
    return (int)(f->max_threads && f->max_threads < SIM_MAX_THREADS ? f->max_threads
                                                                    : SIM_MAX_THREADS);
}

unsigned function_registers(const struct sim_func *f)
{
    unsigned most = SIM_REGISTERS / (unsigned)function_max_threads(f) & ~7u;
    if (most > 255)
        most = 255;
    return f->nregs < 16 ? 16 : f->nregs < most ? f->nregs : most;
}

static int required_cluster(const struct sim_func *code, unsigned dimension)
{
    return (int)code->cluster[dimension];
}

CUresult function_attribute(const struct sim_func *code, const struct sim_module *module,
                            const struct function_settings *set, CUfunction_attribute attrib,
                            int *value)
{
    if (!value || (int)attrib < 0 || (int)attrib >= NUM_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    switch ((int)attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = function_max_threads(code);
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = (int)code->shared_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = (int)code->local_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = (int)function_registers(code);
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *value = (int)module->target;
        break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = (int)sim.capability;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = (int)set->max_dynamic;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = -1;
        break;
    case ATTRIBUTE_CLUSTER_MUST_BE_SET:
        *value = 0;
        break;
    case ATTRIBUTE_CLUSTER_WIDTH:
    case ATTRIBUTE_CLUSTER_WIDTH + 1:
    case ATTRIBUTE_CLUSTER_WIDTH + 2:
        *value = required_cluster(code, (unsigned)attrib - ATTRIBUTE_CLUSTER_WIDTH);
        break;
    case ATTRIBUTE_NON_PORTABLE_CLUSTER:
        *value = set->non_portable;
        break;
    default:
        *value = 0;
        break;
    }
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attrib, CUfunction fn)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!value || (int)attrib < 0 || (int)attrib >= NUM_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_function(c, fn, &f));
    return function_attribute(f->code, f->module->code, &f->set, attrib, value);
}

CUresult function_check_setting(const struct sim_func *code, CUfunction_attribute attrib, int value)
{
    switch ((int)attrib) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        return value < 0 || (unsigned)value > SIM_MAX_SHARED ||
                       static_shared(code) + (unsigned)value > SIM_MAX_SHARED
                   ? CUDA_ERROR_INVALID_VALUE
                   : CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case ATTRIBUTE_NON_PORTABLE_CLUSTER:
        return value == 0 || value == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case ATTRIBUTE_CLUSTER_SCHEDULING: /* a hint */
        return value >= 0 && value <= 2 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

void function_set(struct function_settings *set, CUfunction_attribute attrib, int value)
{
    if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        set->max_dynamic = (unsigned)value;
    else if ((int)attrib == ATTRIBUTE_NON_PORTABLE_CLUSTER)
        set->non_portable = value;
}

CUresult cuFuncSetAttribute(CUfunction fn, CUfunction_attribute attrib, int value)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    TRY(find_function(c, fn, &f));
    TRY(function_check_setting(f->code, attrib, value));
    function_set(&f->set, attrib, value);
    return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction fn)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_function(c, fn, &f));
    *name = f->code->name;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction fn, size_t index, size_t *offset, size_t *size)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_function(c, fn, &f));
    if (index >= f->code->nparams)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = f->code->params[index].offset;
    if (size)
        *size = f->code->params[index].size;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction fn)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_function(c, fn, &f));
    *module = f->module;
    return CUDA_SUCCESS;
}
