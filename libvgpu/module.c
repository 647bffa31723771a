/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: their images' way to the worker, their functions and globals. */
#include "module.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client_calls.h"
#include "function.h"
#include "handles.h"
#include "memory.h"

#define MAX_PIECE (64u << 10)

/* One image at a time goes to the worker, which keeps few half ones. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static uint32_t last_image;

void module_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&loading, &mutex, sizeof(mutex));
    function_forked();
}

static CUresult send_image(const char *image, uint64_t bytes, uint32_t id)
{
    uint32_t piece = idm_max_payload(vg.out.size) / 4;
    if (piece > MAX_PIECE)
        piece = MAX_PIECE;
    for (uint64_t at = 0; at < bytes;) {
        uint32_t n = bytes - at < piece ? (uint32_t)(bytes - at) : piece;
        const struct idm_image_part_in in = {
            .w = {.image = id, .at = at, .total = bytes, .data_len = n}, .data = image + at};
        VG_TRY(vg_queue_image_part(&in));
        at += n;
    }
    return CUDA_SUCCESS;
}

/* Options with an address stay here. */
struct options {
    struct idm_option wire[IDM_MAX_OPTIONS];
    uint32_t n;
    char *info_log;
    char *error_log;
    uint32_t info_bytes;
    uint32_t error_bytes;
    void **info_size; /* where the length of the log goes */
    void **error_size;
    void **wall_time;
};

static CUresult take_options(struct options *o, unsigned n, const CUjit_option *options,
                             void **values)
{
    memset(o, 0, sizeof(*o));
    if (n && (!options || !values))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        uint64_t value = (uint64_t)(uintptr_t)values[i];
        switch (options[i]) {
        case CU_JIT_INFO_LOG_BUFFER:
            o->info_log = values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER:
            o->error_log = values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            o->info_bytes = (uint32_t)value;
            o->info_size = &values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            o->error_bytes = (uint32_t)value;
            o->error_size = &values[i];
            break;
        case CU_JIT_WALL_TIME:
            o->wall_time = &values[i];
            break;
        default:
            if (o->n == IDM_MAX_OPTIONS)
                return CUDA_ERROR_INVALID_VALUE;
            o->wire[o->n++] = (struct idm_option){.option = options[i], .value = value};
        }
    }
    return CUDA_SUCCESS;
}

static void give_log(char *to, uint32_t room, void **size, const void *log, uint32_t len)
{
    uint32_t n = 0;
    if (to && room) {
        n = len < room - 1 ? len : room - 1;
        memcpy(to, log, n);
        to[n] = '\0';
    }
    if (size)
        *size = (void *)(uintptr_t)n;
}

static uint32_t log_room(const char *log, uint32_t bytes)
{
    if (!log)
        return 0;
    return bytes < IDM_MAX_LOG_BYTES ? bytes : IDM_MAX_LOG_BYTES;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* With `loading` held. */
static CUresult ask_load(const void *image, uint64_t bytes, uint64_t id, const struct options *o)
{
    struct idm_cuModuleLoadDataEx_out out;
    struct vg_answer answer;
    if (++last_image == 0)
        last_image = 1;
    VG_TRY(send_image(image, bytes, last_image));
    const struct idm_cuModuleLoadDataEx_in in = {
        .w = {.module = id,
              .image = last_image,
              .info_log_bytes = log_room(o->info_log, o->info_bytes),
              .error_log_bytes = log_room(o->error_log, o->error_bytes),
              .options_len = o->n * (uint32_t)sizeof(o->wire[0])},
        .options = o->wire};
    VG_TRY(vg_ask_cuModuleLoadDataEx(&in, &out, &answer));
    give_log(o->info_log, o->info_bytes, o->info_size, out.info_log, out.w.info_log_len);
    give_log(o->error_log, o->error_bytes, o->error_size, out.error_log, out.w.error_log_len);
    return (CUresult)out.w.load_result;
}

static CUresult load(CUmodule *module, const void *image, const struct options *o)
{
    uint64_t id;
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    image = image_unwrap(image);
    uint64_t bytes = image_bytes(image);
    if (bytes == 0)
        return CUDA_ERROR_INVALID_IMAGE;
    double start = now_ms();
    VG_TRY(vg_new(IDM_KIND_module, &id));
    pthread_mutex_lock(&loading);
    CUresult rc = ask_load(image, bytes, id, o);
    pthread_mutex_unlock(&loading);
    if (o->wall_time) {
        float ms = (float)(now_ms() - start);
        memcpy((void *)o->wall_time, &ms, sizeof(ms));
    }
    if (rc != CUDA_SUCCESS)
        vg_forget(id);
    else
        *module = vg_pointer(id);
    return rc;
}

VG_EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n,
                                      CUjit_option *options, void **values)
{
    struct options o;
    VG_TRY(vg_enter(VG_CURRENT_CONTEXT));
    VG_TRY(take_options(&o, n, options, values));
    return load(module, image, &o);
}

VG_EXPORT CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
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
