/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CU_STREAM_PER_THREAD. The worker has one thread, and so one such stream for
 * all of the program's: each thread gets an ordinary stream in its place, one
 * in each context it uses it in. Those of threads that ended go when another
 * thread needs one; C libraries as old as ours must be have no better way to
 * learn of a thread's end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client_calls.h"
#include "context.h"
#include "handles.h"

struct own_stream {
    uint64_t context;
    uint64_t id;
    pid_t thread;
};

/* The last one used, so that the table is seldom needed. */
static __thread struct {
    uint64_t epoch;
    uint64_t context;
    uint64_t id;
} last;

static struct {
    pthread_mutex_t lock;
    struct own_stream *all;
    uint32_t n;
    uint32_t room;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

void own_stream_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&table.lock, &mutex, sizeof(mutex));
}

void own_stream_close(void)
{
    free(table.all);
    table.all = NULL;
    table.n = table.room = 0;
}

static bool has_ended(pid_t thread)
{
    return syscall(SYS_tgkill, getpid(), thread, 0) < 0 && errno == ESRCH;
}

static void destroy(const struct own_stream *s)
{
    CUcontext popped;
    if (cuCtxPushCurrent_v2(vg_pointer(s->context)) != CUDA_SUCCESS)
        return;
    cuStreamDestroy_v2(vg_pointer(s->id));
    cuCtxPopCurrent_v2(&popped);
}

/* With the lock held, as all that follow. */
static void drop_dead(void)
{
    for (uint32_t i = 0; i < table.n;) {
        struct own_stream *s = &table.all[i];
        bool living = vg_find(IDM_KIND_stream, s->id);
        if (living && !has_ended(s->thread)) {
            i++;
            continue;
        }
        if (living)
            destroy(s);
        *s = table.all[--table.n];
    }
}

static CUresult add(pid_t self, uint64_t context, uint64_t *ret_id)
{
    CUstream stream;
    drop_dead();
    if (table.n == table.room) {
        uint32_t room = table.room ? table.room * 2 : 16;
        struct own_stream *all = realloc(table.all, room * sizeof(*all));
        if (!all)
            return CUDA_ERROR_OUT_OF_MEMORY;
        table.all = all;
        table.room = room;
    }
    VG_TRY(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
    *ret_id = (uint64_t)(uintptr_t)stream;
    table.all[table.n++] = (struct own_stream){context, *ret_id, self};
    return CUDA_SUCCESS;
}

static CUresult find_or_add(uint64_t context, uint64_t *ret_id)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    for (uint32_t i = 0; i < table.n; i++) {
        const struct own_stream *s = &table.all[i];
        if (s->thread == self && s->context == context && vg_find(IDM_KIND_stream, s->id)) {
            *ret_id = s->id;
            return CUDA_SUCCESS;
        }
    }
    return add(self, context, ret_id);
}

static CUresult own_stream(uint64_t *ret_id)
{
    uint64_t context = vg_current();
    if (last.epoch == vg.epoch && last.context == context && vg_find(IDM_KIND_stream, last.id)) {
        *ret_id = last.id;
        return CUDA_SUCCESS;
    }
    pthread_mutex_lock(&table.lock);
    CUresult rc = find_or_add(context, ret_id);
    pthread_mutex_unlock(&table.lock);
    if (rc == CUDA_SUCCESS) {
        last.epoch = vg.epoch;
        last.context = context;
        last.id = *ret_id;
    }
    return rc;
}

CUresult vg_use_stream(CUstream stream, uint64_t *ret_id)
{
    uint64_t id = (uint64_t)(uintptr_t)stream;
    if (stream == CU_STREAM_PER_THREAD)
        return own_stream(ret_id);
    if (id > 2 && !vg_find(IDM_KIND_stream, id))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret_id = id;
    return CUDA_SUCCESS;
}
