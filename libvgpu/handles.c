/* SPDX-License-Identifier: Apache-2.0 */
#include "handles.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NONE UINT32_MAX

static struct {
    pthread_mutex_t lock;
    struct vg_object *all;
    uint32_t max;
    uint32_t tag;
    uint32_t used_up_to; /* places beyond were never used */
    uint32_t free;       /* list of places that were */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

int handles_open(uint32_t max, uint32_t tag)
{
    /* Untouched places cost no memory. */
    void *p = mmap(NULL, max * sizeof(struct vg_object), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    table.all = p;
    table.max = max;
    table.tag = tag;
    table.used_up_to = 0;
    table.free = NONE;
    return 0;
}

void handles_close(void)
{
    if (!table.all)
        return;
    for (uint32_t i = 0; i < table.used_up_to; i++)
        free(table.all[i].data);
    munmap(table.all, table.max * sizeof(struct vg_object));
    table.all = NULL;
    table.max = 0;
}

void handles_forked(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&table.lock, &mutex, sizeof(mutex));
}

static bool in_context(enum idm_kind kind)
{
    return kind != IDM_KIND_context && kind != IDM_KIND_library && kind != IDM_KIND_kernel &&
           kind != IDM_KIND_memory;
}

CUresult vg_new(enum idm_kind kind, uint64_t *ret_id)
{
    CUresult rc = CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&table.lock);
    uint32_t index = table.free;
    if (index != NONE)
        table.free = table.all[index].next_free;
    else if (table.used_up_to < table.max)
        index = table.used_up_to++;
    if (index != NONE) {
        struct vg_object *o = &table.all[index];
        uint64_t id = idm_handle(kind, table.tag, ++o->generation, index);
        o->context = in_context(kind) ? vg_current() : 0;
        o->parent = 0;
        o->value = 0;
        o->data = NULL;
        o->asleep = false;
        /* Release: who finds the id finds the rest as well. */
        atomic_store_explicit(&o->id, id, memory_order_release);
        *ret_id = id;
        rc = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&table.lock);
    return rc;
}

void vg_describe(uint64_t id, uint64_t parent, uint32_t value, void *data)
{
    pthread_mutex_lock(&table.lock);
    struct vg_object *o = &table.all[idm_handle_index(id)];
    o->parent = parent;
    o->value = value;
    o->data = data;
    pthread_mutex_unlock(&table.lock);
}

void vg_sleep(uint64_t id, bool asleep)
{
    table.all[idm_handle_index(id)].asleep = asleep;
}

static void forget_place(uint32_t index)
{
    struct vg_object *o = &table.all[index];
    atomic_store_explicit(&o->id, 0, memory_order_relaxed);
    free(o->data);
    o->data = NULL;
    /* A place whose generations are used up is never used again. */
    if (o->generation < IDM_MAX_GENERATION) {
        o->next_free = table.free;
        table.free = index;
    }
}

void vg_forget(uint64_t id)
{
    uint32_t index = idm_handle_index(id);
    pthread_mutex_lock(&table.lock);
    if (id && index < table.max &&
        atomic_load_explicit(&table.all[index].id, memory_order_relaxed) == id)
        forget_place(index);
    pthread_mutex_unlock(&table.lock);
}

/* With the lock held. */
static void forget_children(uint64_t id)
{
    for (uint32_t i = 0; i < table.used_up_to; i++) {
        const struct vg_object *o = &table.all[i];
        uint64_t own = atomic_load_explicit(&o->id, memory_order_relaxed);
        if (own && own != id && (o->context == id || o->parent == id))
            forget_place(i);
    }
}

void vg_forget_orphans(uint64_t id)
{
    pthread_mutex_lock(&table.lock);
    /* A library's modules have functions of their own. */
    for (uint32_t i = 0; idm_handle_kind(id) == IDM_KIND_library && i < table.used_up_to; i++) {
        uint64_t own = atomic_load_explicit(&table.all[i].id, memory_order_relaxed);
        if (own && table.all[i].parent == id && idm_handle_kind(own) == IDM_KIND_module)
            forget_children(own);
    }
    forget_children(id);
    pthread_mutex_unlock(&table.lock);
}

struct vg_object *vg_find(enum idm_kind kind, uint64_t id)
{
    uint32_t index = idm_handle_index(id);
    if (idm_handle_kind(id) != (unsigned)kind || index >= table.max)
        return NULL;
    struct vg_object *o = &table.all[index];
    return atomic_load_explicit(&o->id, memory_order_acquire) == id ? o : NULL;
}

uint64_t vg_find_child(enum idm_kind kind, uint64_t parent, uint64_t context,
                       bool (*matches)(const void *data, const void *arg), const void *arg)
{
    uint64_t found = 0;
    pthread_mutex_lock(&table.lock);
    for (uint32_t i = 0; i < table.used_up_to && !found; i++) {
        const struct vg_object *o = &table.all[i];
        uint64_t id = atomic_load_explicit(&o->id, memory_order_relaxed);
        if (id && idm_handle_kind(id) == (unsigned)kind && o->parent == parent &&
            o->context == context && matches(o->data, arg))
            found = id;
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

CUresult vg_use(enum idm_kind kind, const void *handle, bool nullable, uint64_t *ret_id)
{
    uint64_t id = (uint64_t)(uintptr_t)handle;
    if (!id && nullable)
        id = vg_current();
    kind = idm_kind_for(kind, id);
    const struct vg_object *o = vg_find(kind, id);
    if (!o || o->asleep)
        return kind == IDM_KIND_context ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
    *ret_id = id;
    return CUDA_SUCCESS;
}

CUresult vg_use_text(const char *text, uint32_t max, uint32_t *ret_len)
{
    size_t len = text ? strnlen(text, max) : max;
    if (len >= max)
        return CUDA_ERROR_INVALID_VALUE;
    *ret_len = (uint32_t)len + 1;
    return CUDA_SUCCESS;
}
