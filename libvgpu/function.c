/* SPDX-License-Identifier: Apache-2.0 */
/* Functions and kernels: looked up once per name; functions' attributes and the
 * layout of parameters came with the look-up, so that a launch asks nobody. */
#include "function.h"

#include <stdlib.h>
#include <string.h>

#include "client_calls.h"
#include "context.h"
#include "handles.h"

#define MAX_NAME 4096

/* Guards attributes, and looking up a name twice at once. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void function_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&lock, &mutex, sizeof(mutex));
}

static const char *name_of(const struct function *f)
{
    return (const char *)(f->params + f->n_params);
}

static bool has_name(const void *data, const void *name)
{
    return data && strcmp(name_of(data), name) == 0;
}

/* NULL when the answer is nonsense or there is no memory. */
static struct function *new_function(const struct idm_function_facts *facts, const void *params,
                                     uint32_t params_len, const char *name)
{
    uint32_t n = params_len / (uint32_t)sizeof(struct idm_param);
    size_t name_bytes = strlen(name) + 1;
    if (n > IDM_MAX_PARAMS || params_len % sizeof(struct idm_param))
        return NULL;
    struct function *f = calloc(1, sizeof(*f) + n * sizeof(f->params[0]) + name_bytes);
    if (!f)
        return NULL;
    f->facts = *facts;
    memcpy(f->params, params, params_len);
    f->n_params = n;
    memcpy(f->params + n, name, name_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const struct idm_param *p = &f->params[i];
        if (p->offset > IDM_MAX_PARAM_BYTES || p->size > IDM_MAX_PARAM_BYTES - p->offset) {
            free(f);
            return NULL;
        }
        if (p->offset + p->size > f->param_bytes)
            f->param_bytes = p->offset + p->size;
    }
    return f;
}

/* With the lock held: ID is what the worker said about it. */
static CUresult keep(uint64_t id, uint64_t parent, struct function *f)
{
    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    f->id = id;
    vg_describe(id, parent, 0, f);
    return CUDA_SUCCESS;
}

static struct function *from_answer(const void *attributes, uint32_t attributes_len,
                                    const void *params, uint32_t params_len, const char *name)
{
    struct idm_function_facts facts;
    if (attributes_len != sizeof(facts))
        return NULL;
    memcpy(&facts, attributes, sizeof(facts));
    return new_function(&facts, params, params_len, name);
}

static CUresult look_up(uint64_t module, const char *name, uint32_t len, uint64_t *ret_id)
{
    struct idm_cuModuleGetFunction_in in = {.w = {.module = module, .name_len = len}, .name = name};
    struct idm_cuModuleGetFunction_out out;
    struct vg_answer answer;
    VG_TRY(vg_new(IDM_KIND_function, &in.w.fn));
    CUresult rc = vg_ask_cuModuleGetFunction(&in, &out, &answer);
    if (rc == CUDA_SUCCESS)
        rc = keep(
            in.w.fn, module,
            from_answer(out.attributes, out.w.attributes_len, out.params, out.w.params_len, name));
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.fn);
    else
        *ret_id = in.w.fn;
    return rc;
}

VG_EXPORT CUresult cuModuleGetFunction(CUfunction *fn, CUmodule module, const char *name)
{
    uint64_t parent, id;
    uint32_t len;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!fn)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_module, module, false, &parent));
    VG_TRY(vg_use_text(name, MAX_NAME, &len));
    pthread_mutex_lock(&lock);
    CUresult rc = CUDA_SUCCESS;
    id = vg_find_child(IDM_KIND_function, parent, vg_current(), has_name, name);
    if (!id)
        rc = look_up(parent, name, len, &id);
    pthread_mutex_unlock(&lock);
    if (rc == CUDA_SUCCESS)
        *fn = vg_pointer(id);
    return rc;
}

/* --- Kernels: functions of no context ----------------------------------------- */

static CUresult look_up_kernel(uint64_t library, const char *name, uint32_t len, uint64_t *ret_id)
{
    struct idm_cuLibraryGetKernel_in in = {.w = {.library = library, .name_len = len},
                                           .name = name};
    struct idm_cuLibraryGetKernel_out out;
    struct vg_answer answer;
    VG_TRY(vg_new(IDM_KIND_kernel, &in.w.kernel));
    CUresult rc = vg_ask_cuLibraryGetKernel(&in, &out, &answer);
    if (rc == CUDA_SUCCESS) {
        const struct idm_function_facts facts = {.params_known = out.w.params_known};
        rc = keep(in.w.kernel, library, new_function(&facts, out.params, out.w.params_len, name));
    }
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.kernel);
    else
        *ret_id = in.w.kernel;
    return rc;
}

VG_EXPORT CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    uint64_t parent, id;
    uint32_t len;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!kernel)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_library, library, false, &parent));
    VG_TRY(vg_use_text(name, MAX_NAME, &len));
    pthread_mutex_lock(&lock);
    CUresult rc = CUDA_SUCCESS;
    id = vg_find_child(IDM_KIND_kernel, parent, 0, has_name, name);
    if (!id)
        rc = look_up_kernel(parent, name, len, &id);
    pthread_mutex_unlock(&lock);
    if (rc == CUDA_SUCCESS)
        *kernel = vg_pointer(id);
    return rc;
}

static CUresult look_up_in_context(uint64_t kernel, uint64_t library, const char *name,
                                   uint64_t *ret_id)
{
    struct idm_cuKernelGetFunction_in in = {.w = {.kernel = kernel}};
    struct idm_cuKernelGetFunction_out out;
    struct vg_answer answer;
    VG_TRY(vg_new(IDM_KIND_function, &in.w.fn));
    CUresult rc = vg_ask_cuKernelGetFunction(&in, &out, &answer);
    if (rc == CUDA_SUCCESS)
        rc = keep(
            in.w.fn, library,
            from_answer(out.attributes, out.w.attributes_len, out.params, out.w.params_len, name));
    if (rc != CUDA_SUCCESS)
        vg_forget(in.w.fn);
    else
        *ret_id = in.w.fn;
    return rc;
}

CUresult function_use(enum idm_kind kind, const void *handle, struct function **ret_function,
                      uint64_t *ret_id)
{
    VG_TRY(vg_use(kind, handle, false, ret_id));
    const struct vg_object *o = vg_find(idm_kind_for(kind, *ret_id), *ret_id);
    if (!o || !o->data)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_function = o->data;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuKernelGetFunction(CUfunction *fn, CUkernel kernel)
{
    struct function *k;
    uint64_t own, id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!fn)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_kernel, kernel, &k, &own));
    const struct vg_object *o = vg_find(IDM_KIND_kernel, own);
    uint64_t library = o ? o->parent : 0;
    pthread_mutex_lock(&lock);
    CUresult rc = CUDA_SUCCESS;
    id = vg_find_child(IDM_KIND_function, library, vg_current(), has_name, name_of(k));
    if (!id)
        rc = look_up_in_context(own, library, name_of(k), &id);
    pthread_mutex_unlock(&lock);
    if (rc == CUDA_SUCCESS)
        *fn = vg_pointer(id);
    return rc;
}

VG_EXPORT CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!library)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_kernel, kernel, false, &id));
    const struct vg_object *o = vg_find(IDM_KIND_kernel, id);
    *library = vg_pointer(o ? o->parent : 0);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    struct function *k;
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_kernel, kernel, &k, &id));
    *name = name_of(k);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuFuncGetName(const char **name, CUfunction fn)
{
    struct function *f;
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_function, fn, &f, &id));
    *name = name_of(f);
    return CUDA_SUCCESS;
}

static uint64_t threads_of(const uint32_t block[3])
{
    return (uint64_t)block[0] * block[1] * block[2];
}

static bool within(const struct function *f, int attribute, uint64_t wanted)
{
    return !(f->facts.known & 1u << attribute) ||
           wanted <= (uint64_t)__atomic_load_n(&f->facts.attribute[attribute], __ATOMIC_RELAXED);
}

bool function_may_have(const struct function *f, const uint32_t block[3], uint32_t shared)
{
    return within(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, threads_of(block)) &&
           within(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared);
}

static void set_attribute(struct function *f, int attribute, int value)
{
    pthread_mutex_lock(&lock);
    __atomic_store_n(&f->facts.attribute[attribute], value, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&lock);
}

void function_has(struct function *f, const uint32_t block[3], uint32_t shared)
{
    if (!within(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, threads_of(block)))
        set_attribute(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, (int)threads_of(block));
    if (!within(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared))
        set_attribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared);
}

VG_EXPORT CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attrib, CUfunction fn)
{
    struct function *f;
    uint64_t id;
    unsigned i = (unsigned)attrib;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!value || i >= IDM_FUNCTION_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_function, fn, &f, &id));
    if (!(f->facts.known & 1u << i))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    *value = f->facts.attribute[i];
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuFuncSetAttribute(CUfunction fn, CUfunction_attribute attrib, int value)
{
    struct idm_cuFuncSetAttribute_in in = {.w = {.attrib = (int32_t)attrib, .value = value}};
    struct idm_cuFuncSetAttribute_out out;
    struct vg_answer answer;
    struct function *f;
    unsigned i = (unsigned)attrib;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(function_use(IDM_KIND_function, fn, &f, &in.w.fn));
    VG_TRY(vg_ask_cuFuncSetAttribute(&in, &out, &answer));
    if (i < IDM_FUNCTION_ATTRIBUTES)
        set_attribute(f, (int)i, value);
    return CUDA_SUCCESS;
}

static CUresult param_info(const struct function *f, size_t index, size_t *offset, size_t *size)
{
    if (!f->facts.params_known)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (index >= f->n_params)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = f->params[index].offset;
    if (size)
        *size = f->params[index].size;
    return CUDA_SUCCESS;
}

VG_EXPORT CUresult cuFuncGetParamInfo(CUfunction fn, size_t index, size_t *offset, size_t *size)
{
    struct function *f;
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_function, fn, &f, &id));
    return param_info(f, index, offset, size);
}

VG_EXPORT CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
    struct function *k;
    uint64_t id;
    VG_TRY(vg_enter(VG_ANY_CONTEXT));
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(function_use(IDM_KIND_kernel, kernel, &k, &id));
    return param_info(k, index, offset, size);
}

VG_EXPORT CUresult cuFuncGetModule(CUmodule *module, CUfunction fn)
{
    uint64_t id;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    VG_TRY(vg_use(IDM_KIND_function, fn, false, &id));
    const struct vg_object *o = vg_find(IDM_KIND_function, id);
    uint64_t parent = o ? o->parent : 0;
    if (idm_handle_kind(parent) == IDM_KIND_library)
        return cuLibraryGetModule(module, vg_pointer(parent));
    *module = vg_pointer(parent);
    return CUDA_SUCCESS;
}
