/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: PTX text or a fatbin with such, its variables placed in the context's device memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "stream.h"

#define MAX_JIT_OPTIONS 256u
#define ELF_MAGIC       0x464c457fu
#define FATBIN_MAGIC    0xba55ed50u
#define WRAPPER_MAGIC   0x466243b1u

/* --- options ------------------------------------------------------------------ */

CUresult jit_options(struct jit *jit, unsigned n, const CUjit_option *options, void **values)
{
    if (n > MAX_JIT_OPTIONS || (n && (!options || !values)))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        switch ((int)options[i]) {
        case CU_JIT_INFO_LOG_BUFFER:
            jit->info.text = values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            jit->info.room = (size_t)(uintptr_t)values[i];
            jit->info.ret_used = &values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER:
            jit->error.text = values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            jit->error.room = (size_t)(uintptr_t)values[i];
            jit->error.ret_used = &values[i];
            break;
        default: /* how to compile: there is nothing to compile */
            break;
        }
    }
    return CUDA_SUCCESS;
}

void jit_write(const struct jit_log *log, const char *text)
{
    size_t used = 0;
    if (log->text && log->room) {
        used = strnlen(text, log->room - 1);
        memcpy(log->text, text, used);
        log->text[used] = '\0';
    }
    if (log->ret_used)
        *log->ret_used = (void *)(uintptr_t)used;
}

void jit_answer(const struct jit *jit, CUresult rc, const struct sim_log *log)
{
    jit_write(&jit->info, "");
    jit_write(&jit->error, rc == CUDA_SUCCESS ? "" : log->text);
    if (rc != CUDA_SUCCESS && log->text[0] && !jit->error.text)
        fprintf(stderr, "simulated GPU: an image can't be loaded: %.400s\n", log->text);
}

/* --- loading ------------------------------------------------------------------ */

static void module_free(struct object *o)
{
    struct CUmod_st *m = (struct CUmod_st *)o;
    if (m->code)
        sim_module_free(m->code);
    pthread_mutex_destroy(&m->lock);
    free(m->function);
    free(m);
}

/* Does it look like PTX, or is it no image at all? Comments and white space come first. */
static bool is_ptx(const char *p, size_t len)
{
    const char *end = p + len;
    while (p < end) {
        if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
            p++;
        } else if (end - p > 1 && p[0] == '/' && p[1] == '/') {
            const char *line = memchr(p, '\n', (size_t)(end - p));
            p = line ? line + 1 : end;
        } else if (end - p > 1 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
            p = close ? close + 2 : end;
        } else {
            break;
        }
    }
    return end - p >= 8 && memcmp(p, ".version", 8) == 0;
}

CUresult image_find(const void *data, struct image *ret_image)
{
    uint32_t magic;
    const char *text = data;
    size_t len = strnlen(text, 4);
    if (len == 4) {
        memcpy(&magic, data, sizeof(magic));
        if (magic == ELF_MAGIC) /* machine code: there is no such machine */
            return CUDA_ERROR_NO_BINARY_FOR_GPU;
        if (magic == FATBIN_MAGIC || magic == WRAPPER_MAGIC)
            return fatbin_find(data, ret_image);
        len = strnlen(text, SIM_MAX_TEXT + 1);
    }
    if (len > SIM_MAX_TEXT || !is_ptx(text, len))
        return CUDA_ERROR_INVALID_IMAGE;
    *ret_image = (struct image){text, len, NULL};
    return CUDA_SUCCESS;
}

static CUresult parse_result(int rc, const struct sim_log *log)
{
    if (rc == 0)
        return CUDA_SUCCESS;
    if (log->unsupported_version)
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    return log->no_memory ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
}

CUresult image_parse(const struct image *image, struct sim_module **ret_code, struct sim_log *log)
{
    return parse_result(sim_parse(image->text, image->len, ret_code, log), log);
}

CUresult image_check_part(const struct image *image, struct sim_log *log)
{
    struct sim_module *code = NULL;
    CUresult rc = parse_result(sim_parse_part(image->text, image->len, &code, log), log);
    if (rc == CUDA_SUCCESS)
        sim_module_free(code);
    return rc;
}

CUresult image_file(const char *path, char **ret_data, size_t *ret_bytes)
{
    struct stat st;
    CUresult rc = CUDA_ERROR_FILE_NOT_FOUND;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rc;
    char *data = NULL;
    size_t got = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        data = calloc(1, (size_t)st.st_size + 16); /* text has an end */
    while (data && got < (size_t)st.st_size) {
        ssize_t k = read(fd, data + got, (size_t)st.st_size - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    close(fd);
    if (data && got == (size_t)st.st_size) {
        *ret_data = data;
        *ret_bytes = got;
        return CUDA_SUCCESS;
    }
    free(data);
    return rc;
}

CUresult image_complete(const struct sim_module *code, struct sim_log *log)
{
    for (uint32_t i = 0; i < code->nvars; i++) {
        if (!code->vars[i].ext)
            continue;
        snprintf(log->text, sizeof(log->text), "undefined reference to '%.200s'",
                 code->vars[i].name);
        return CUDA_ERROR_INVALID_PTX;
    }
    return CUDA_SUCCESS;
}

/* On failure the variables placed so far stay in the list with their addresses. */
static CUresult place(struct CUctx_st *c, struct sim_module *code, const struct sim_module *shared,
                      struct sim_log *log)
{
    for (uint32_t i = 0; i < code->nvars; i++)
        code->vars[i].address = 0;
    TRY(image_complete(code, log));
    for (uint32_t i = 0; i < code->nvars; i++) {
        struct sim_var *v = &code->vars[i];
        if (shared && v->managed) {
            v->address = shared->vars[i].address;
            v->foreign = true;
            continue;
        }
        uint64_t bytes = v->size ? v->size : 1;
        int rc = v->managed ? mem_managed_alloc(c, c->device, bytes, &v->address)
                            : mem_alloc(c, c->device, MEM_GLOBAL, bytes, &v->address);
        if (rc) {
            snprintf(log->text, sizeof(log->text), "no device memory for '%.200s'", v->name);
            return (CUresult)rc;
        }
    }
    sim_module_link(code);
    for (uint32_t i = 0; i < code->nvars; i++) {
        const struct sim_var *v = &code->vars[i];
        if (v->init && !v->foreign)
            mem_write(v->address, v->init, v->init_len);
    }
    return CUDA_SUCCESS;
}

static void displace(const struct CUctx_st *c, const struct sim_module *code)
{
    for (uint32_t i = 0; i < code->nvars; i++) {
        if (code->vars[i].address && !code->vars[i].foreign)
            mem_release(code->vars[i].address, MEM_GLOBAL, c);
    }
}

CUresult module_load(struct CUctx_st *c, const struct image *image, const struct sim_module *shared,
                     struct CUmod_st **ret_module, struct sim_log *log)
{
    PUT_LATER(CUmod_st) *m = object_new(OBJECT_MODULE, sizeof(*m), c, module_free);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&m->lock, NULL);
    TRY(image_parse(image, &m->code, log));
    m->function = calloc(m->code->nfuncs + 1, sizeof(struct CUfunc_st *));
    if (!m->function)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (m->code->target > sim.capability) {
        snprintf(log->text, sizeof(log->text), "PTX for sm_%u can't run on sm_%u", m->code->target,
                 sim.capability);
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    CUresult rc = place(c, m->code, shared, log);
    if (c->dead)
        rc = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (rc != CUDA_SUCCESS) {
        displace(c, m->code);
        return rc;
    }
    object_hold(&m->o); /* the handle's */
    object_hold(&m->o); /* the caller's */
    object_publish(&m->o);
    *ret_module = m;
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n,
                            CUjit_option *options, void **values)
{
    struct CUctx_st *c;
    struct jit jit = {0};
    struct sim_log log = {.text = ""};
    TRY(sim_context(&c));
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(jit_options(&jit, n, options, values));
    struct image text = {0};
    PUT_LATER(CUmod_st) *m = NULL;
    CUresult rc = image_find(image, &text);
    if (rc == CUDA_SUCCESS)
        rc = module_load(c, &text, NULL, &m, &log);
    free(text.owned);
    jit_answer(&jit, rc, &log);
    if (rc == CUDA_SUCCESS)
        *module = m;
    return rc;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *path)
{
    struct CUctx_st *c;
    char *data = NULL;
    size_t bytes;
    TRY(sim_context(&c));
    if (!module || !path)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(image_file(path, &data, &bytes));
    CUresult rc = cuModuleLoadDataEx(module, data, 0, NULL, NULL);
    free(data);
    return rc;
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

void module_unload(struct CUctx_st *c, struct CUmod_st *m)
{
    object_kill(&m->o);
    sched_drain(c);
    object_kill_all(c, m);
    displace(c, m->code);
}

static CUresult find_module(struct CUctx_st *c, CUmodule handle, struct CUmod_st **ret_module)
{
    struct CUmod_st *m = object_find(OBJECT_MODULE, handle);
    if (m && m->o.context == c) {
        *ret_module = m;
        return CUDA_SUCCESS;
    }
    if (m)
        object_put(&m->o);
    return CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuModuleUnload(CUmodule module)
{
    struct CUctx_st *c;
    PUT_LATER(CUmod_st) *m = NULL;
    TRY(sim_context(&c));
    TRY(find_module(c, module, &m));
    if (m->of_library || !object_kill(&m->o))
        return CUDA_ERROR_INVALID_HANDLE;
    module_unload(c, m);
    return c->error;
}

/* --- what is in it ------------------------------------------------------------ */

static void function_free(struct object *o)
{
    struct CUfunc_st *f = (struct CUfunc_st *)o;
    object_put(&f->module->o);
    free(f);
}

unsigned function_dynamic(const struct sim_func *code)
{
    unsigned fixed = static_shared(code);
    return fixed < SIM_SHARED_DEFAULT ? SIM_SHARED_DEFAULT - fixed : 0;
}

struct CUfunc_st *function_new(struct CUctx_st *c, struct CUmod_st *m, const struct sim_func *code)
{
    struct CUfunc_st *f = object_new(OBJECT_FUNCTION, sizeof(*f), c, function_free);
    if (!f)
        return NULL;
    object_hold(&m->o);
    f->module = m;
    f->code = code;
    f->set.max_dynamic = function_dynamic(code);
    return f;
}

CUresult cuModuleGetFunction(CUfunction *fn, CUmodule module, const char *name)
{
    struct CUctx_st *c;
    PUT_LATER(CUmod_st) *m = NULL;
    TRY(sim_context(&c));
    if (!fn || !name)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_module(c, module, &m));
    const struct sim_func *code = sim_module_func(m->code, name);
    if (!code || !code->entry || !code->defined)
        return CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&m->lock);
    struct CUfunc_st **f = &m->function[code->index];
    if (!*f) {
        *f = function_new(c, m, code);
        if (*f)
            object_publish(&(*f)->o);
    }
    CUresult rc = *f ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (*f)
        *fn = *f;
    pthread_mutex_unlock(&m->lock);
    return rc;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *ptr, size_t *bytes, CUmodule module, const char *name)
{
    struct CUctx_st *c;
    PUT_LATER(CUmod_st) *m = NULL;
    TRY(sim_context(&c));
    if (!name || (!ptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_module(c, module, &m));
    const struct sim_var *v = sim_module_var(m->code, name);
    if (!v)
        return CUDA_ERROR_NOT_FOUND;
    if (ptr)
        *ptr = v->address;
    if (bytes)
        *bytes = v->size;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule module)
{
    struct CUctx_st *c;
    PUT_LATER(CUmod_st) *m = NULL;
    unsigned n = 0;
    TRY(sim_context(&c));
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_module(c, module, &m));
    for (uint32_t i = 0; i < m->code->nfuncs; i++)
        n += m->code->funcs[i]->entry && m->code->funcs[i]->defined;
    *count = n;
    return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int n, CUmodule module)
{
    struct CUctx_st *c;
    PUT_LATER(CUmod_st) *m = NULL;
    unsigned got = 0;
    TRY(sim_context(&c));
    if (!functions || !n)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(find_module(c, module, &m));
    for (uint32_t i = 0; i < m->code->nfuncs && got < n; i++) {
        const struct sim_func *f = m->code->funcs[i];
        if (f->entry && f->defined)
            TRY(cuModuleGetFunction(&functions[got++], module, f->name));
    }
    return CUDA_SUCCESS;
}

/* Whoever has its handle has it loaded. */
CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction fn)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(function_find(c, fn, &f));
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction fn)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    return function_find(c, fn, &f);
}
