/* SPDX-License-Identifier: Apache-2.0 */
/* Images' way to the worker, piece by piece; the options of a load. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client_calls.h"
#include "handles.h"
#include "module.h"

#define MAX_PIECE (64u << 10)

/* One image at a time goes to the worker, which keeps few half ones. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static uint32_t last_image;

void load_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&loading, &mutex, sizeof(mutex));
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

CUresult load_options(struct load_options *o, unsigned n, const CUjit_option *options,
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

struct load_request load_request(const struct load_options *o, uint64_t id)
{
    return (struct load_request){.id = id,
                                 .info_log_bytes = log_room(o->info_log, o->info_bytes),
                                 .error_log_bytes = log_room(o->error_log, o->error_bytes),
                                 .options = o->wire,
                                 .options_len = o->n * (uint32_t)sizeof(o->wire[0])};
}

CUresult load_result(const struct load_options *o, const struct load_answer *a)
{
    give_log(o->info_log, o->info_bytes, o->info_size, a->info_log, a->info_log_len);
    give_log(o->error_log, o->error_bytes, o->error_size, a->error_log, a->error_log_len);
    return a->result;
}

/* With `loading` held. */
static CUresult send_and_ask(const void *image, uint64_t bytes, struct load_request *r,
                             const struct load_options *o, load_ask *ask)
{
    struct load_answer a = {.result = CUDA_ERROR_UNKNOWN};
    if (++last_image == 0)
        last_image = 1;
    VG_TRY(send_image(image, bytes, last_image));
    r->image = last_image;
    VG_TRY(ask(r, &a));
    return load_result(o, &a);
}

CUresult load_send(const void *image, uint64_t bytes, struct load_request *r,
                   const struct load_options *o, load_ask *ask)
{
    pthread_mutex_lock(&loading);
    CUresult rc = send_and_ask(image, bytes, r, o, ask);
    pthread_mutex_unlock(&loading);
    return rc;
}

static CUresult load_once(enum idm_kind kind, const void *image, uint64_t bytes,
                          const struct load_options *o, load_ask *ask, uint64_t *ret_id)
{
    uint64_t id;
    VG_TRY(vg_new(kind, &id));
    struct load_request r = load_request(o, id);
    CUresult rc = load_send(image, bytes, &r, o, ask);
    if (rc != CUDA_SUCCESS)
        vg_forget(id);
    else
        *ret_id = id;
    return rc;
}

CUresult load_image(enum idm_kind kind, const void *image, uint64_t bytes,
                    const struct load_options *o, load_ask *ask, uint64_t *ret_id)
{
    const void *wrapper = bytes == 0 ? image : NULL;
    if (bytes == 0) {
        image = image_unwrap(image);
        bytes = image_bytes(image);
    }
    if (bytes == 0)
        return CUDA_ERROR_INVALID_IMAGE;
    double start = now_ms();
    CUresult rc = load_once(kind, image, bytes, o, ask, ret_id);
    void *all = NULL;
    if (rc == CUDA_ERROR_NO_BINARY_FOR_GPU && wrapper)
        all = image_with_parts(wrapper, &bytes);
    if (all)
        rc = load_once(kind, all, bytes, o, ask, ret_id);
    free(all);
    if (o->wall_time) {
        float ms = (float)(now_ms() - start);
        memcpy((void *)o->wall_time, &ms, sizeof(ms));
    }
    return rc;
}

/* By lseek: fstat's symbol is too new. */
char *load_file(const char *path, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    off_t end = lseek(fd, 0, SEEK_END);
    size_t size = end > 0 && (uint64_t)end <= IDM_MAX_IMAGE_BYTES ? (size_t)end : 0;
    size_t got = 0;
    char *data = size ? malloc(size) : NULL;
    while (data && got < size) {
        ssize_t k = pread(fd, data + got, size - got, (off_t)got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    close(fd);
    *ret_size = size;
    if (data && got == size)
        return data;
    free(data);
    return NULL;
}
