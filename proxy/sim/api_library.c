/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries: images that belong to no context. Where a kernel is used, its
 * library is loaded, as a module, when that context first needs it.
 */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "stream.h"

static void instance_free(struct lib_instance *i)
{
    for (uint32_t n = 0; n < i->module->code->nfuncs; n++) {
        if (i->function[n])
            object_put(&i->function[n]->o);
    }
    object_put(&i->module->o);
    free(i);
}

static void library_free(struct object *o)
{
    struct CUlib_st *l = (struct CUlib_st *)o;
    while (l->instances) {
        struct lib_instance *i = l->instances;
        l->instances = i->next;
        instance_free(i);
    }
    for (uint32_t i = 0; l->code && i < l->code->nvars; i++) {
        if (l->code->vars[i].managed && l->code->vars[i].address)
            mem_release(l->code->vars[i].address, MEM_HOST, NULL);
    }
    if (l->code)
        sim_module_free(l->code);
    pthread_mutex_destroy(&l->lock);
    free(l->text);
    free(l);
}

static void kernel_free(struct object *o)
{
    struct CUkern_st *k = (struct CUkern_st *)o;
    object_put(&k->library->o);
    free(k);
}

/* --- loading ------------------------------------------------------------------ */

/* Managed variables are there before any context is, and all of them share them. */
static CUresult place_managed(struct sim_module *code)
{
    for (uint32_t i = 0; i < code->nvars; i++)
        code->vars[i].address = 0;
    for (uint32_t i = 0; i < code->nvars; i++) {
        struct sim_var *v = &code->vars[i];
        void *p;
        if (!v->managed)
            continue;
        TRY((CUresult)mem_host_alloc(NULL, 0, v->size ? v->size : 1, MEM_FLAG_MANAGED, &p));
        v->address = (uintptr_t)p;
        if (v->init)
            memcpy(p, v->init, v->init_len);
    }
    return CUDA_SUCCESS;
}

/* The image is copied: the program may drop it. */
static CUresult library_new(const void *data, struct CUlib_st **ret_library, struct sim_log *log)
{
    struct image image = {0};
    PUT_LATER(CUlib_st) *l = object_new(OBJECT_LIBRARY, sizeof(*l), NULL, library_free);
    if (!l)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&l->lock, NULL);
    TRY(image_find(data, &image));
    l->len = image.len;
    l->text = image.owned ? image.owned : malloc(image.len + 1);
    if (!l->text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!image.owned)
        memcpy(l->text, image.text, image.len);
    const struct image own = {l->text, l->len, NULL};
    TRY(image_parse(&own, &l->code, log));
    TRY(place_managed(l->code));
    object_hold(&l->o);
    *ret_library = l;
    return CUDA_SUCCESS;
}

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

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit_opts,
                           void **jit_values, unsigned int n_jit, CUlibraryOption *options,
                           void **values, unsigned int n)
{
    struct jit jit = {0};
    struct sim_log log = {.text = ""};
    struct CUlib_st *l = NULL;
    (void)values;
    TRY(sim_enter());
    if (!library || !code)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(jit_options(&jit, n_jit, jit_opts, jit_values));
    TRY(check_options(n, options));
    CUresult rc = library_new(code, &l, &log);
    jit_answer(&jit, rc, &log);
    if (rc != CUDA_SUCCESS)
        return rc;
    object_publish(&l->o);
    *library = l;
    return CUDA_SUCCESS;
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, CUjit_option *jit_opts,
                               void **jit_values, unsigned int n_jit, CUlibraryOption *options,
                               void **values, unsigned int n)
{
    char *data = NULL;
    size_t bytes;
    TRY(sim_enter());
    if (!library || !path)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(image_file(path, &data, &bytes));
    CUresult rc = cuLibraryLoadData(library, data, jit_opts, jit_values, n_jit, options, values, n);
    free(data);
    return rc;
}

static CUresult find_library(CUlibrary handle, struct CUlib_st **ret)
{
    TRY(sim_enter());
    *ret = object_find(OBJECT_LIBRARY, handle);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult find_kernel(CUkernel handle, struct CUkern_st **ret)
{
    TRY(sim_enter());
    *ret = object_find(OBJECT_KERNEL, handle);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuLibraryUnload(CUlibrary library)
{
    PUT_LATER(CUlib_st) *l = NULL;
    TRY(find_library(library, &l));
    if (!object_kill(&l->o))
        return CUDA_ERROR_INVALID_HANDLE;
    object_kill_kernels(l);
    pthread_mutex_lock(&l->lock);
    l->gone = true;
    struct lib_instance *all = l->instances;
    l->instances = NULL;
    pthread_mutex_unlock(&l->lock);
    while (all) {
        struct lib_instance *i = all;
        all = i->next;
        struct CUctx_st *c = i->module->o.context;
        if (!c->dead)
            module_unload(c, i->module);
        instance_free(i);
    }
    return CUDA_SUCCESS;
}

/* --- in a context ------------------------------------------------------------- */

/* With the lock held. What belonged to contexts that are gone, goes. */
static struct lib_instance *find_instance(struct CUlib_st *l, const struct CUctx_st *c)
{
    for (struct lib_instance **at = &l->instances; *at;) {
        struct lib_instance *i = *at;
        if (i->module->o.context == c)
            return i;
        if (!i->module->o.context->dead) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        instance_free(i);
    }
    return NULL;
}

/* With the lock held. */
static CUresult use_instance(struct CUlib_st *l, struct CUctx_st *c, struct lib_instance **ret)
{
    struct sim_log log = {.text = ""};
    const struct image image = {l->text, l->len, NULL};
    if (l->gone)
        return CUDA_ERROR_INVALID_HANDLE;
    *ret = find_instance(l, c);
    if (*ret)
        return CUDA_SUCCESS;
    size_t bytes = l->code->nfuncs * sizeof(struct CUfunc_st *);
    struct lib_instance *i = calloc(1, sizeof(*i) + bytes);
    if (!i)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult rc = module_load(c, &image, l->code, &i->module, &log);
    if (rc != CUDA_SUCCESS) {
        jit_answer(&(struct jit){.info.text = NULL}, rc, &log);
        free(i);
        return rc;
    }
    i->module->of_library = true;
    i->next = l->instances;
    l->instances = i;
    *ret = i;
    return CUDA_SUCCESS;
}

/* With the lock held. The instance keeps one reference, the handle has one. */
static CUresult use_function(struct CUkern_st *k, struct lib_instance *i, struct CUctx_st *c)
{
    struct CUfunc_st **f = &i->function[k->code->index];
    if (*f)
        return CUDA_SUCCESS;
    *f = function_new(c, i->module, i->module->code->funcs[k->code->index]);
    if (!*f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    (*f)->set.max_dynamic = k->set[c->device].max_dynamic;
    (*f)->set.non_portable = k->set[c->device].non_portable;
    object_hold(&(*f)->o);
    object_publish(&(*f)->o);
    return CUDA_SUCCESS;
}

CUresult kernel_function(struct CUkern_st *k, struct CUctx_st *c, struct CUfunc_st **ret)
{
    struct lib_instance *i;
    pthread_mutex_lock(&k->library->lock);
    CUresult rc = use_instance(k->library, c, &i);
    if (rc == CUDA_SUCCESS)
        rc = use_function(k, i, c);
    if (rc == CUDA_SUCCESS) {
        *ret = i->function[k->code->index];
        object_hold(&(*ret)->o);
    }
    pthread_mutex_unlock(&k->library->lock);
    return rc;
}

static CUresult library_module(CUlibrary library, struct CUmod_st **ret)
{
    struct CUctx_st *c;
    struct lib_instance *i;
    PUT_LATER(CUlib_st) *l = NULL;
    TRY(sim_context(&c));
    TRY(find_library(library, &l));
    pthread_mutex_lock(&l->lock);
    CUresult rc = use_instance(l, c, &i);
    if (rc == CUDA_SUCCESS) {
        *ret = i->module;
        object_hold(&(*ret)->o);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
    PUT_LATER(CUmod_st) *m = NULL;
    TRY(sim_enter());
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(library_module(library, &m));
    *module = m;
    return CUDA_SUCCESS;
}

/* All memory here is the host's, too. */
CUresult cuLibraryGetManaged(CUdeviceptr *ptr, size_t *bytes, CUlibrary library, const char *name)
{
    PUT_LATER(CUlib_st) *l = NULL;
    TRY(sim_enter());
    if (!name || (!ptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_library(library, &l));
    const struct sim_var *v = sim_module_var(l->code, name);
    if (!v || !v->managed)
        return CUDA_ERROR_NOT_FOUND;
    if (ptr)
        *ptr = v->address;
    if (bytes)
        *bytes = v->size;
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr *ptr, size_t *bytes, CUlibrary library, const char *name)
{
    PUT_LATER(CUmod_st) *m = NULL;
    TRY(sim_enter());
    if (!name || (!ptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(library_module(library, &m));
    return cuModuleGetGlobal_v2(ptr, bytes, m, name);
}

/* --- kernels ------------------------------------------------------------------ */

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    PUT_LATER(CUlib_st) *l = NULL;
    TRY(sim_enter());
    if (!kernel || !name)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_library(library, &l));
    const struct sim_func *code = sim_module_func(l->code, name);
    if (!code || !code->entry || !code->defined)
        return CUDA_ERROR_NOT_FOUND;
    struct CUkern_st *k = object_new(OBJECT_KERNEL, sizeof(*k), NULL, kernel_free);
    if (!k)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_hold(&l->o);
    k->library = l;
    k->code = code;
    for (unsigned i = 0; i < SIM_MAX_DEVICES; i++)
        k->set[i].max_dynamic = function_dynamic(code);
    object_publish(&k->o);
    *kernel = k;
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary library)
{
    PUT_LATER(CUlib_st) *l = NULL;
    unsigned n = 0;
    TRY(sim_enter());
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_library(library, &l));
    for (uint32_t i = 0; i < l->code->nfuncs; i++)
        n += l->code->funcs[i]->entry && l->code->funcs[i]->defined;
    *count = n;
    return CUDA_SUCCESS;
}

/* The table keeps a library's kernels by its own; here each asking makes new ones. */
CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int n, CUlibrary library)
{
    PUT_LATER(CUlib_st) *l = NULL;
    unsigned got = 0;
    TRY(sim_enter());
    if (!kernels || !n)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_library(library, &l));
    for (uint32_t i = 0; i < l->code->nfuncs && got < n; i++) {
        const struct sim_func *f = l->code->funcs[i];
        if (f->entry && f->defined)
            TRY(cuLibraryGetKernel(&kernels[got++], library, f->name));
    }
    return CUDA_SUCCESS;
}

CUresult cuKernelGetFunction(CUfunction *fn, CUkernel kernel)
{
    struct CUctx_st *c;
    PUT_LATER(CUkern_st) *k = NULL;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!fn)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_kernel(kernel, &k));
    TRY(kernel_function(k, c, &f));
    *fn = f;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
    PUT_LATER(CUkern_st) *k = NULL;
    TRY(sim_enter());
    if (!library)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_kernel(kernel, &k));
    *library = k->library;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    PUT_LATER(CUkern_st) *k = NULL;
    TRY(sim_enter());
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_kernel(kernel, &k));
    *name = k->code->name;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
    PUT_LATER(CUkern_st) *k = NULL;
    TRY(sim_enter());
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_kernel(kernel, &k));
    if (index >= k->code->nparams)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = k->code->params[index].offset;
    if (size)
        *size = k->code->params[index].size;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attrib, CUkernel kernel,
                              CUdevice dev)
{
    PUT_LATER(CUkern_st) *k = NULL;
    TRY(sim_enter());
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_kernel(kernel, &k));
    if (dev < 0 || dev >= (int)sim.devices)
        return CUDA_ERROR_INVALID_DEVICE;
    return function_attribute(k->code, k->library->code, &k->set[dev], attrib, value);
}

/* Functions that are there already follow. */
static void pass_on(struct CUkern_st *k, CUdevice dev, CUfunction_attribute attrib, int value)
{
    pthread_mutex_lock(&k->library->lock);
    function_set(&k->set[dev], attrib, value);
    for (const struct lib_instance *i = k->library->instances; i; i = i->next) {
        struct CUfunc_st *f = i->function[k->code->index];
        if (f && f->o.context->device == dev)
            function_set(&f->set, attrib, value);
    }
    pthread_mutex_unlock(&k->library->lock);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int value, CUkernel kernel, CUdevice dev)
{
    PUT_LATER(CUkern_st) *k = NULL;
    TRY(find_kernel(kernel, &k));
    if (dev < 0 || dev >= (int)sim.devices)
        return CUDA_ERROR_INVALID_DEVICE;
    TRY(function_check_setting(k->code, attrib, value));
    pass_on(k, dev, attrib, value);
    return CUDA_SUCCESS;
}
