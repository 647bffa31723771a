/* SPDX-License-Identifier: Apache-2.0 */
/* Modules, their functions and globals, launches. */
#include <stdlib.h>

#include "internal.h"

struct image *worker_find_image(struct worker *w, uint32_t id)
{
    for (unsigned i = 0; i < MAX_IMAGES; i++) {
        if (id && w->images[i].id == id)
            return &w->images[i];
    }
    return NULL;
}

void worker_drop_image(struct image *image)
{
    free(image->data);
    *image = (struct image){0};
}

static struct image *new_image(struct worker *w, uint32_t id, uint64_t bytes)
{
    struct image *image = NULL;
    for (unsigned i = 0; i < MAX_IMAGES && !image; i++)
        image = w->images[i].id ? NULL : &w->images[i];
    if (!image || !id || bytes == 0 || bytes > IDM_MAX_IMAGE_BYTES)
        return NULL;
    /* The extra bytes are zero: PTX is text, and the driver looks for its end. */
    image->data = calloc(1, bytes + 16);
    if (!image->data)
        return NULL;
    image->id = id;
    image->bytes = bytes;
    return image;
}

CUresult worker_image_part(struct worker *w, const struct idm_image_part_in *in,
                           struct idm_image_part_out *out)
{
    struct image *image = worker_find_image(w, in->w.image);
    if (!image && in->w.at == 0)
        image = new_image(w, in->w.image, in->w.total);
    if (!image)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* Pieces come in order. */
    if (in->w.at != image->got || in->w.data_len > image->bytes - image->got) {
        worker_drop_image(image);
        return worker_malformed(w);
    }
    memcpy(image->data + image->got, in->data, in->w.data_len);
    image->got += in->w.data_len;
    return CUDA_SUCCESS;
}

/* Options whose value is a number. The others would be pointers. */
static bool is_scalar(uint32_t option)
{
    return option == CU_JIT_MAX_REGISTERS || option == CU_JIT_THREADS_PER_BLOCK ||
           (option >= CU_JIT_OPTIMIZATION_LEVEL && option <= CU_JIT_CACHE_MODE);
}

static void set_option(struct jit *jit, CUjit_option option, uint64_t value)
{
    jit->option[jit->n] = option;
    jit->value[jit->n++] = (void *)(uintptr_t)value;
}

unsigned worker_jit_log(struct jit *jit, CUjit_option buffer, char *log, uint32_t bytes)
{
    if (!bytes)
        return 0;
    memset(log, 0, IDM_MAX_LOG_BYTES);
    set_option(jit, buffer, (uint64_t)(uintptr_t)log);
    set_option(jit, buffer + 1, bytes < IDM_MAX_LOG_BYTES ? bytes : IDM_MAX_LOG_BYTES);
    return jit->n - 1;
}

CUresult worker_jit_options(struct worker *w, const void *options, uint32_t len, struct jit *jit)
{
    uint32_t n = len / (uint32_t)sizeof(struct idm_option);
    if (n > IDM_MAX_OPTIONS || len % sizeof(struct idm_option))
        return worker_malformed(w);
    for (uint32_t i = 0; i < n; i++) {
        struct idm_option o;
        memcpy(&o, (const char *)options + i * sizeof(o), sizeof(o));
        if (!is_scalar(o.option))
            return CUDA_ERROR_INVALID_VALUE;
        set_option(jit, (CUjit_option)o.option, o.value);
    }
    return CUDA_SUCCESS;
}

static CUresult take_options(struct worker *w, const struct load *l, struct jit *jit)
{
    WORKER_TRY(worker_jit_options(w, l->options, l->options_len, jit));
    jit->info_size_at = worker_jit_log(jit, CU_JIT_INFO_LOG_BUFFER, w->info_log, l->info_log_bytes);
    jit->error_size_at =
        worker_jit_log(jit, CU_JIT_ERROR_LOG_BUFFER, w->error_log, l->error_log_bytes);
    return CUDA_SUCCESS;
}

static uint32_t log_len(unsigned at, const char *log)
{
    return at ? (uint32_t)strnlen(log, IDM_MAX_LOG_BYTES) : 0;
}

static CUresult load_it(struct worker *w, struct load *l, const struct image *image,
                        void **ret_driver, struct jit *jit)
{
    void *room = NULL;
    if (!worker_image_valid(image->data, image->bytes))
        return CUDA_ERROR_INVALID_IMAGE;
    const void *given = worker_image_for_driver(image->data, image->bytes, &room);
    CUresult rc =
        given ? l->call(w, ret_driver, given, jit, &l->charged) : CUDA_ERROR_OUT_OF_MEMORY;
    free(room);
    return rc;
}

CUresult worker_load(struct worker *w, struct load *l)
{
    struct jit jit = {.n = 0};
    struct worker_object *o;
    struct image *image = worker_find_image(w, l->image);
    if (!image)
        return CUDA_ERROR_INVALID_IMAGE;
    CUresult rc = image->got == image->bytes ? worker_expect(w, l->kind, l->id, &o)
                                             : CUDA_ERROR_INVALID_IMAGE;
    if (rc == CUDA_SUCCESS)
        rc = take_options(w, l, &jit);
    if (rc == CUDA_SUCCESS) {
        void *driver = NULL;
        l->result = load_it(w, l, image, &driver, &jit);
        l->info_log_len = log_len(jit.info_size_at, w->info_log);
        l->error_log_len = log_len(jit.error_size_at, w->error_log);
        w->want_reply = true; /* nobody uses what didn't load */
        worker_born(w, o, l->id, driver, l->result);
        if (l->result == CUDA_SUCCESS)
            o->charged = l->charged;
    }
    worker_drop_image(image);
    return rc;
}

struct loading {
    const void *data;
    struct jit *jit;
};

static CUresult load_once(struct worker *w, CUmodule *ret, void *arg)
{
    const struct loading *l = arg;
    struct jit *jit = l->jit;
    return jit->n ? w->cu.cuModuleLoadDataEx(ret, l->data, jit->n, jit->option, jit->value)
                  : w->cu.cuModuleLoadData(ret, l->data);
}

static CUresult load_module(struct worker *w, void **ret_driver, const void *data, struct jit *jit,
                            uint64_t *ret_charged)
{
    struct loading l = {data, jit};
    CUmodule module = NULL;
    CUresult rc = charge_module(w, load_once, &l, &module, ret_charged);
    *ret_driver = module;
    return rc;
}

/*
 * A module that doesn't load is no failed reply: its log must come along. So
 * the answer is a success whose `load_result` says what the driver said.
 */
CUresult worker_cuModuleLoadDataEx(struct worker *w, const struct idm_cuModuleLoadDataEx_in *in,
                                   struct idm_cuModuleLoadDataEx_out *out)
{
    struct load l = {.kind = IDM_KIND_module,
                     .id = in->w.module,
                     .image = in->w.image,
                     .info_log_bytes = in->w.info_log_bytes,
                     .error_log_bytes = in->w.error_log_bytes,
                     .options = in->options,
                     .options_len = in->w.options_len,
                     .call = load_module};
    WORKER_TRY(worker_load(w, &l));
    out->w.load_result = (int32_t)l.result;
    out->info_log = w->info_log;
    out->w.info_log_len = l.info_log_len;
    out->error_log = w->error_log;
    out->w.error_log_len = l.error_log_len;
    return CUDA_SUCCESS;
}

CUresult worker_cuModuleUnload(struct worker *w, const struct idm_cuModuleUnload_in *in,
                               struct idm_cuModuleUnload_out *out)
{
    struct worker_object *module;
    WORKER_TRY(worker_find_object(w, IDM_KIND_module, in->w.module, &module));
    if (module->parent) /* a library's, which unloads it */
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult rc = w->cu.cuModuleUnload(module->driver);
    worker_orphans_gone(w, in->w.module);
    worker_ranges_gone(w, in->w.module);
    worker_gone(w, in->w.module);
    return rc;
}

void worker_collect_attributes(struct worker *w, CUfunction fn)
{
    struct idm_function_facts *f = &w->function;
    memset(f, 0, sizeof(*f));
    for (unsigned i = 0; i < IDM_FUNCTION_ATTRIBUTES; i++) {
        int value = 0;
        if (w->cu.cuFuncGetAttribute(&value, (CUfunction_attribute)i, fn) != CUDA_SUCCESS)
            continue;
        f->attribute[i] = value;
        f->known |= 1u << i;
    }
}

static CUresult kernel_param(struct worker *w, void *kernel, size_t i, size_t *offset, size_t *size)
{
    return w->cu.cuKernelGetParamInfo(kernel, i, offset, size);
}

static CUresult function_param(struct worker *w, void *fn, size_t i, size_t *offset, size_t *size)
{
    return w->cu.cuFuncGetParamInfo(fn, i, offset, size);
}

uint32_t worker_collect_params(struct worker *w, enum idm_kind kind, void *driver,
                               uint32_t *ret_bytes)
{
    uint32_t n = 0;
    uint32_t bytes = 0;
    CUresult (*ask)(struct worker * w, void *driver, size_t i, size_t *offset, size_t *size) =
        kind == IDM_KIND_kernel ? kernel_param : function_param;
    /* Before 12.4 a driver doesn't tell; then only `extra` can launch. */
    w->function.params_known = kind == IDM_KIND_kernel ? w->cu.cuKernelGetParamInfo != NULL
                                                       : w->cu.cuFuncGetParamInfo != NULL;
    while (w->function.params_known && n < IDM_MAX_PARAMS) {
        size_t offset = 0, size = 0;
        if (ask(w, driver, n, &offset, &size) != CUDA_SUCCESS)
            break;
        if (offset > IDM_MAX_PARAM_BYTES || size > IDM_MAX_PARAM_BYTES)
            break;
        w->params[n++] = (struct idm_param){(uint32_t)offset, (uint32_t)size};
        if (offset + size > bytes)
            bytes = (uint32_t)(offset + size);
    }
    *ret_bytes = bytes;
    return n;
}

CUresult worker_cuModuleGetFunction(struct worker *w, const struct idm_cuModuleGetFunction_in *in,
                                    struct idm_cuModuleGetFunction_out *out)
{
    struct worker_object *o;
    void *module;
    CUfunction fn = NULL;
    uint32_t bytes;
    WORKER_TRY(worker_find(w, IDM_KIND_module, in->w.module, false, &module));
    WORKER_TRY(worker_expect(w, IDM_KIND_function, in->w.fn, &o));
    CUresult rc = w->cu.cuModuleGetFunction(&fn, module, in->name);
    w->want_reply = true;
    worker_born(w, o, in->w.fn, fn, rc);
    if (rc != CUDA_SUCCESS)
        return rc;
    worker_collect_attributes(w, fn);
    uint32_t n = worker_collect_params(w, IDM_KIND_function, fn, &bytes);
    o->parent = in->w.module;
    o->value = bytes;
    out->attributes = &w->function;
    out->w.attributes_len = sizeof(w->function);
    out->params = w->params;
    out->w.params_len = n * (uint32_t)sizeof(w->params[0]);
    return CUDA_SUCCESS;
}

CUresult worker_cuModuleGetGlobal_v2(struct worker *w, const struct idm_cuModuleGetGlobal_v2_in *in,
                                     struct idm_cuModuleGetGlobal_v2_out *out)
{
    void *module;
    CUdeviceptr p = 0;
    size_t bytes = 0;
    WORKER_TRY(worker_find(w, IDM_KIND_module, in->w.module, false, &module));
    WORKER_TRY(w->cu.cuModuleGetGlobal_v2(&p, &bytes, module, in->name));
    struct range range = {.base = p,
                          .bytes = bytes,
                          .context = w->context,
                          .owner = in->w.module,
                          .kind = RANGE_GLOBAL};
    if (ranges_add(&w->ranges, &range) < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    out->w.ptr = p;
    out->w.bytes = bytes;
    return CUDA_SUCCESS;
}

/* The kernel's own accesses are the GPU's page tables' business: they are this
 * client's. Of the parameters only the length matters here: the driver would
 * read on behind them. */
CUresult worker_cuLaunchKernel(struct worker *w, const struct idm_cuLaunchKernel_in *in,
                               struct idm_cuLaunchKernel_out *out)
{
    struct worker_object *fn;
    CUstream stream;
    WORKER_TRY(worker_find_code(w, in->w.fn, &fn));
    WORKER_TRY(worker_find_stream(w, in->w.stream, &stream));
    if (in->w.params_len < fn->value || in->w.params_len > IDM_MAX_PARAM_BYTES)
        return CUDA_ERROR_INVALID_VALUE;
    size_t size = in->w.params_len;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)in->params,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    worker_count(&w->counters->launches, 1);
    return w->cu.cuLaunchKernel(fn->driver, in->w.gx, in->w.gy, in->w.gz, in->w.bx, in->w.by,
                                in->w.bz, in->w.shared, stream, NULL, size ? extra : NULL);
}
