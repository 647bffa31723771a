/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "idm/cuda_abi.h"
#include "idm/export_tables.h"

#define SLOT(f) ((export_slot *)(f))

static CUresult not_offered(void)
{
    return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult nothing(void)
{
    return CUDA_SUCCESS;
}

/* --- Storage with a context --------------------------------------------------- */

/*
 * What runtimes keep with a context, one entry for each of them there is in the
 * process. Asked for in almost every call of a runtime: reading takes no lock,
 * but is tried again when somebody wrote meanwhile (an odd or changed `writes`).
 */
#define MAX_KEPT 256

typedef void end_function(CUcontext ctx, void *key, void *value);

struct kept {
    void *_Atomic ctx;
    void *_Atomic key;
    void *_Atomic value;
    end_function *_Atomic ends;
};

static struct {
    pthread_mutex_t lock; /* for writing */
    atomic_uint writes;
    atomic_uint n;
    struct kept all[MAX_KEPT];
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void write_begin(void)
{
    pthread_mutex_lock(&store.lock);
    atomic_fetch_add(&store.writes, 1);
}

static void write_end(void)
{
    atomic_fetch_add(&store.writes, 1);
    pthread_mutex_unlock(&store.lock);
}

/* Its index, or n. */
static unsigned find(const void *ctx, const void *key, unsigned n)
{
    unsigned i = 0;
    while (i < n && (atomic_load_explicit(&store.all[i].ctx, memory_order_relaxed) != ctx ||
                     atomic_load_explicit(&store.all[i].key, memory_order_relaxed) != key))
        i++;
    return i;
}

static void copy(struct kept *to, const struct kept *from)
{
    to->ctx = from->ctx;
    to->key = from->key;
    to->value = from->value;
    to->ends = from->ends;
}

static CUresult which(CUcontext *ctx)
{
    if (*ctx)
        return CUDA_SUCCESS;
    CUresult rc = cuCtxGetCurrent(ctx);
    if (rc == CUDA_SUCCESS && !*ctx)
        rc = CUDA_ERROR_INVALID_CONTEXT;
    return rc;
}

static CUresult storage_put(CUcontext ctx, void *key, void *value, end_function *ends)
{
    CUresult rc = which(&ctx);
    if (rc != CUDA_SUCCESS)
        return rc;
    write_begin();
    unsigned i = find(ctx, key, store.n);
    if (i == MAX_KEPT) {
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        struct kept *k = &store.all[i];
        k->ctx = ctx;
        k->key = key;
        k->value = value;
        k->ends = ends;
        if (i == store.n)
            store.n++;
    }
    write_end();
    return rc;
}

static CUresult storage_delete(CUcontext ctx, void *key)
{
    CUresult rc = which(&ctx);
    if (rc != CUDA_SUCCESS)
        return rc;
    write_begin();
    unsigned i = find(ctx, key, store.n);
    if (i < store.n)
        copy(&store.all[i], &store.all[--store.n]);
    else
        rc = CUDA_ERROR_INVALID_HANDLE;
    write_end();
    return rc;
}

static CUresult storage_get(void **value, CUcontext ctx, void *key)
{
    CUresult rc = which(&ctx);
    if (rc != CUDA_SUCCESS)
        return rc;
    for (;;) {
        unsigned before = atomic_load_explicit(&store.writes, memory_order_acquire);
        unsigned n = atomic_load_explicit(&store.n, memory_order_relaxed);
        unsigned i = find(ctx, key, n);
        void *found =
            i < n ? atomic_load_explicit(&store.all[i].value, memory_order_relaxed) : NULL;
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1) || atomic_load_explicit(&store.writes, memory_order_relaxed) != before)
            continue;
        if (i == n)
            return CUDA_ERROR_INVALID_HANDLE;
        *value = found;
        return CUDA_SUCCESS;
    }
}

static bool take(const void *ctx, struct kept *ret_kept)
{
    bool found = false;
    write_begin();
    for (unsigned i = 0; i < store.n && !found; i++) {
        if (store.all[i].ctx != ctx)
            continue;
        copy(ret_kept, &store.all[i]);
        copy(&store.all[i], &store.all[--store.n]);
        found = true;
    }
    write_end();
    return found;
}

void export_context_ends(CUcontext ctx)
{
    struct kept k;
    while (take(ctx, &k)) {
        end_function *ends = k.ends;
        if (ends)
            ends(ctx, k.key, k.value);
    }
}

void export_forget(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&store.lock, &mutex, sizeof(mutex));
    store.n = 0;
    store.writes = 0;
}

/* --- The tables' functions ---------------------------------------------------- */

/* For tools that look on; nobody does. */
static void hooks_a(void **table, size_t *n)
{
    static uint32_t room[4096];
    *table = room;
    *n = sizeof(room) / sizeof(room[0]);
}

static void hooks_b(void **table, size_t *n)
{
    static uint64_t room[14];
    *table = room;
    *n = sizeof(room) / sizeof(room[0]);
}

static CUresult current_context(CUcontext *ctx)
{
    return ctx ? cuCtxGetCurrent(ctx) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult primary_context(CUcontext *ctx, CUdevice dev)
{
    return ctx ? export_primary_context(ctx, dev) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult context_check(CUcontext ctx, uint32_t *flags, void **more)
{
    (void)ctx;
    if (flags)
        *flags = 0;
    if (more)
        *more = NULL;
    return CUDA_SUCCESS;
}

static CUresult context_id(CUcontext ctx, uint64_t *id)
{
    CUresult rc = which(&ctx);
    if (rc == CUDA_SUCCESS && id)
        *id = (uint64_t)(uintptr_t)ctx;
    return rc;
}

typedef void function_callback(void *opaque, CUfunction fn, uint64_t owner);

/* Tells EACH function of MODULE; how many there are. cuFFT has no names of its kernels. */
static int module_functions(CUcontext ctx, CUmodule module, function_callback *each, void *opaque)
{
    unsigned n = 0;
    (void)ctx;
    if (!each || cuModuleGetFunctionCount(&n, module) != CUDA_SUCCESS || n == 0)
        return 0;
    CUfunction *all = calloc(n, sizeof(CUfunction));
    if (!all || cuModuleEnumerateFunctions(all, n, module) != CUDA_SUCCESS)
        n = 0;
    for (unsigned i = 0; i < n; i++)
        each(opaque, all[i], (uint64_t)(uintptr_t)module);
    free(all);
    return (int)n;
}

/* --- The tables ---------------------------------------------------------------- */

/* The first slot of all but one is the table's size in bytes. */
#define SIZE(slots)    [0] = (export_slot *)(uintptr_t)((slots) * sizeof(void *))
#define REST(from, to) [(from)...(to)] = SLOT(not_offered)

static CUresult self_test(uint32_t version, uint64_t seconds, uint8_t *answer);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-function-type"
static export_slot *const cudart_interface[13] = {SIZE(13), REST(1, 1), [2] = SLOT(primary_context),
                                                  REST(3, 12)};
static export_slot *const tools_runtime_hooks[7] = {SIZE(7), REST(1, 1), [2] = SLOT(hooks_a),
                                                    REST(3, 5), [6] = SLOT(hooks_b)};
static export_slot *const tools_tls[4] = {SIZE(4), REST(1, 1), [2] = SLOT(current_context),
                                          REST(3, 3)};
static export_slot *const context_local_storage[4] = {SLOT(storage_put), SLOT(storage_delete),
                                                      SLOT(storage_get), NULL};
static export_slot *const context_checks[4] = {
    SIZE(4), REST(1, 1), [2] = SLOT(context_check), [3] = SLOT(nothing)};
static export_slot *const integrity_check[3] = {SIZE(3), [1] = SLOT(self_test), REST(2, 2)};
static export_slot *const tools_context[64] = {SIZE(64),
                                               REST(1, 3),
                                               [4] = SLOT(context_id),
                                               REST(5, 38),
                                               [39] = SLOT(nothing),
                                               REST(40, 50),
                                               [51] = SLOT(nothing),
                                               REST(52, 63)};
static export_slot *const cublaslt_table[32] = {SIZE(32), REST(1, 31)};
static export_slot *const tools_module[16] = {SIZE(16), REST(1, 6), [7] = SLOT(module_functions),
                                              REST(8, 15)};
#pragma GCC diagnostic pop

static CUresult self_test(uint32_t version, uint64_t seconds, uint8_t *answer)
{
    if (!answer)
        return CUDA_ERROR_INVALID_VALUE;
    return self_test_answer(version, seconds, (const export_slot *const *)integrity_check,
                            (const export_slot *const *)cudart_interface, answer);
}

/* Any other is refused: whoever asks for it can do without, but not with a wrong one. */
static const struct {
    uint8_t uuid[16];
    export_slot *const *table;
} tables[] = {
    {{0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d,
      0xf9},
     cudart_interface},
    {{0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a,
      0x66},
     tools_runtime_hooks},
    {{0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec,
      0xdc},
     tools_tls},
    {{0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95,
      0x93},
     context_local_storage},
    {{0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa,
      0x7e},
     context_checks},
    {{0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1,
      0xf2},
     integrity_check},
    {{0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8,
      0xf2},
     tools_context},
    {{0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b,
      0xca},
     cublaslt_table},
    {{0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99,
      0x1e},
     tools_module},
};

__attribute__((weak)) const void *export_own_table(const CUuuid *id)
{
    (void)id;
    return NULL;
}

CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
    if (!table || !id)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (memcmp(tables[i].uuid, id->bytes, sizeof(tables[i].uuid)) == 0) {
            *table = tables[i].table;
            return CUDA_SUCCESS;
        }
    }
    const void *own = export_own_table(id);
    if (own)
        *table = own;
    return own ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
