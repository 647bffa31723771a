/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mirror is pages of this process at the device's address and a copy of what both had
 * last. Bytes that differ from it are the program's news. The copies are made in the current
 * context, as the variables are no context's, and in a stream of their own, so that they wait
 * for nobody's work.
 */
#include "mirror.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client_calls.h"
#include "handles.h"

#define PAGE 4096ull

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAX_MIRRORS 4096u
#define MAX_STREAMS 16u /* contexts that use them */

struct mirror {
    struct mirror *next;
    struct vg_memory m;
    uint8_t *last; /* what both had */
    uint8_t *news; /* room for what the device has */
};

static struct {
    pthread_mutex_t lock;
    struct mirror *all;
    unsigned n;
    struct {
        uint64_t context; /* 0: free */
        CUstream stream;
    } streams[MAX_STREAMS];
    _Atomic bool any;
    _Atomic bool stale; /* the device may have changed something */
} mirrors = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The calling thread is at it: its own calls are plain ones. */
static __thread bool busy;

static uint8_t *here(const struct mirror *x)
{
    return (uint8_t *)(uintptr_t)x->m.base; // NOLINT(performance-no-int-to-ptr)
}

void mirror_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&mirrors.lock, &mutex, sizeof(mutex));
    busy = false;
}

/* With the lock, as all that follow: is PAGE_AT in a mirror but NOT_THIS? */
static bool is_ours(uint64_t page_at, const struct mirror *not_this)
{
    for (const struct mirror *x = mirrors.all; x; x = x->next) {
        if (x != not_this && page_at < x->m.base + x->m.bytes && x->m.base < page_at + PAGE)
            return true;
    }
    return false;
}

static void unmap(const struct mirror *x, uint64_t end)
{
    for (uint64_t p = x->m.base & ~(PAGE - 1); p < end; p += PAGE) {
        if (!is_ours(p, x))
            munmap((void *)(uintptr_t)p, PAGE); // NOLINT(performance-no-int-to-ptr)
    }
}

static CUresult map(const struct mirror *x)
{
    uint64_t end = x->m.base + x->m.bytes;
    for (uint64_t p = x->m.base & ~(PAGE - 1); p < end; p += PAGE) {
        if (is_ours(p, NULL))
            continue;
        void *want = (void *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
        void *got = mmap(want, PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == want)
            continue;
        if (got != MAP_FAILED)
            munmap(got, PAGE);
        unmap(x, p);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return CUDA_SUCCESS;
}

static void drop(struct mirror *x)
{
    unmap(x, x->m.base + x->m.bytes);
    free(x->last);
    free(x->news);
    free(x);
}

/* Runs of bytes that are the program's news. */
static CUresult upload(struct mirror *x, CUstream stream)
{
    const uint8_t *mine = here(x);
    if (memcmp(mine, x->last, x->m.bytes) == 0)
        return CUDA_SUCCESS;
    for (uint64_t i = 0; i < x->m.bytes; i++) {
        uint64_t from = i;
        while (i < x->m.bytes && mine[i] != x->last[i])
            i++;
        if (i == from)
            continue;
        memcpy(x->last + from, mine + from, i - from);
        VG_TRY(cuMemcpyHtoDAsync_v2(x->m.base + from, x->last + from, i - from, stream));
    }
    return cuStreamSynchronize(stream);
}

static CUresult download(struct mirror *x, CUstream stream)
{
    uint8_t *mine = here(x);
    VG_TRY(cuMemcpyDtoHAsync_v2(x->news, x->m.base, x->m.bytes, stream));
    if (memcmp(mine, x->last, x->m.bytes) == 0) {
        memcpy(mine, x->news, x->m.bytes);
        memcpy(x->last, x->news, x->m.bytes);
        return CUDA_SUCCESS;
    }
    for (uint64_t i = 0; i < x->m.bytes; i++) {
        if (mine[i] == x->last[i])
            mine[i] = x->last[i] = x->news[i];
    }
    return CUDA_SUCCESS;
}

/* The current context's. */
static CUresult stream_here(CUstream *ret)
{
    unsigned place = MAX_STREAMS;
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (mirrors.streams[i].context == vg_current()) {
            *ret = mirrors.streams[i].stream;
            return CUDA_SUCCESS;
        }
        if (!mirrors.streams[i].context)
            place = i;
    }
    if (place == MAX_STREAMS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    VG_TRY(cuStreamCreate(ret, CU_STREAM_NON_BLOCKING));
    mirrors.streams[place].context = vg_current();
    mirrors.streams[place].stream = *ret;
    return CUDA_SUCCESS;
}

static CUresult each(CUresult (*do_it)(struct mirror *x, CUstream stream))
{
    CUstream stream;
    if (!vg_current())
        return CUDA_SUCCESS;
    pthread_mutex_lock(&mirrors.lock);
    busy = true;
    CUresult rc = stream_here(&stream);
    for (struct mirror *x = mirrors.all; x && rc == CUDA_SUCCESS; x = x->next)
        rc = do_it(x, stream);
    busy = false;
    pthread_mutex_unlock(&mirrors.lock);
    return rc;
}

CUresult mirror_before(uint16_t type)
{
    if (!atomic_load_explicit(&mirrors.any, memory_order_relaxed) || busy)
        return CUDA_SUCCESS;
    enum idm_effect effect = idm_effect(type);
    if (effect != IDM_EFFECT_WORK && effect != IDM_EFFECT_WORK_IN_DEFAULT)
        return CUDA_SUCCESS;
    mirrors.stale = true;
    return each(upload);
}

CUresult mirror_after(void)
{
    if (!atomic_load_explicit(&mirrors.any, memory_order_relaxed) || busy ||
        !atomic_exchange(&mirrors.stale, false))
        return CUDA_SUCCESS;
    CUresult rc = each(download);
    /* Others' work may still go on: what it changes comes with the next wait. */
    mirrors.stale = true;
    return rc;
}

static struct mirror *find(uint64_t base)
{
    struct mirror *x = mirrors.all;
    while (x && x->m.base != base)
        x = x->next;
    return x;
}

/* What the variable begins with. The runtime asks for it before there is a context: then the
 * first device's primary one comes to life early, and stays. */
static CUresult first_look(struct mirror *x)
{
    CUcontext ctx = NULL, old;
    CUstream stream;
    if (!vg_current()) {
        VG_TRY(cuDevicePrimaryCtxRetain(&ctx, 0));
        VG_TRY(cuCtxPushCurrent_v2(ctx));
    }
    CUresult rc = stream_here(&stream);
    if (rc == CUDA_SUCCESS)
        rc = download(x, stream);
    if (ctx)
        cuCtxPopCurrent_v2(&old);
    return rc;
}

static CUresult make(const struct vg_memory *m)
{
    if (find(m->base))
        return CUDA_SUCCESS;
    if (mirrors.n == MAX_MIRRORS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct mirror *x = calloc(1, sizeof(*x));
    if (!x)
        return CUDA_ERROR_OUT_OF_MEMORY;
    x->m = *m;
    x->last = calloc(1, m->bytes);
    x->news = calloc(1, m->bytes);
    CUresult rc = x->last && x->news ? map(x) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS) {
        free(x->last);
        free(x->news);
        free(x);
        return rc;
    }
    memset(here(x), 0, m->bytes);
    x->next = mirrors.all;
    mirrors.all = x;
    mirrors.n++;
    mirrors.any = true;
    return first_look(x);
}

CUresult mirror_add(const struct vg_memory *m)
{
    pthread_mutex_lock(&mirrors.lock);
    busy = true;
    CUresult rc = make(m);
    busy = false;
    pthread_mutex_unlock(&mirrors.lock);
    return rc;
}

void mirror_orphans_gone(uint64_t id)
{
    if (!mirrors.any)
        return;
    pthread_mutex_lock(&mirrors.lock);
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (mirrors.streams[i].context == id)
            mirrors.streams[i].context = 0;
    }
    for (struct mirror **at = &mirrors.all; *at;) {
        struct mirror *x = *at;
        if (x->m.module != id) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        mirrors.n--;
        drop(x);
    }
    mirrors.any = mirrors.all != NULL;
    pthread_mutex_unlock(&mirrors.lock);
}

void mirror_close(void)
{
    while (mirrors.all) {
        struct mirror *x = mirrors.all;
        mirrors.all = x->next;
        drop(x);
    }
    mirrors.n = 0;
    memset(mirrors.streams, 0, sizeof(mirrors.streams));
    mirrors.any = mirrors.stale = false;
}
