/* SPDX-License-Identifier: Apache-2.0 */
/* Handles: a table of what is live, so that a stale or wrong handle is an error and no crash. */
#include <pthread.h>
#include <stdlib.h>

#include "driver.h"

#define BUCKETS 16384u

static struct {
    pthread_mutex_t lock;
    struct object *bucket[BUCKETS];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct object **bucket_of(const void *handle)
{
    uint64_t h = (uint64_t)(uintptr_t)handle >> 4;
    return &table.bucket[(h * 0x9e3779b97f4a7c15u) >> 50];
}

void *object_new(enum object_kind kind, size_t bytes, struct CUctx_st *context,
                 void (*free_it)(struct object *o))
{
    struct object *o = calloc(1, bytes);
    if (!o)
        return NULL;
    o->kind = kind;
    o->refs = 1;
    o->free = free_it;
    o->context = context;
    if (context)
        object_hold(&context->o);
    return o;
}

void object_hold(struct object *o)
{
    atomic_fetch_add(&o->refs, 1);
}

void object_put(struct object *o)
{
    if (atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    struct CUctx_st *context = o->context;
    o->free(o);
    if (context)
        object_put(&context->o);
}

void object_publish(struct object *o)
{
    struct object **b = bucket_of(o);
    pthread_mutex_lock(&table.lock);
    o->next = *b;
    *b = o;
    pthread_mutex_unlock(&table.lock);
    /* Its context went meanwhile, and may have looked here before: nobody else would. */
    if (o->context && o->context->dead)
        object_kill(o);
}

void *object_find(enum object_kind kind, const void *handle)
{
    pthread_mutex_lock(&table.lock);
    struct object *o = *bucket_of(handle);
    while (o && (const void *)o != handle)
        o = o->next;
    if (o && o->kind == kind)
        object_hold(o);
    else
        o = NULL;
    pthread_mutex_unlock(&table.lock);
    return o;
}

bool object_kill(struct object *o)
{
    pthread_mutex_lock(&table.lock);
    struct object **at = bucket_of(o);
    while (*at && *at != o)
        at = &(*at)->next;
    bool found = *at != NULL;
    if (found)
        *at = o->next;
    pthread_mutex_unlock(&table.lock);
    if (found)
        object_put(o);
    return found;
}

/* Ends the handles of all that BELONGS says. */
static void kill_those(bool (*belongs)(const struct object *o, const void *a, const void *b),
                       const void *a, const void *b)
{
    struct object *gone = NULL;
    pthread_mutex_lock(&table.lock);
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct object **at = &table.bucket[i]; *at;) {
            struct object *o = *at;
            if (!belongs(o, a, b)) {
                at = &o->next;
                continue;
            }
            *at = o->next;
            o->next = gone;
            gone = o;
        }
    }
    pthread_mutex_unlock(&table.lock);
    while (gone) {
        struct object *o = gone;
        gone = o->next;
        object_put(o);
    }
}

static bool is_of_module(const struct object *o, const void *context, const void *module)
{
    if (o->context != context)
        return false;
    return !module ||
           (o->kind == OBJECT_FUNCTION && ((const struct CUfunc_st *)o)->module == module);
}

void object_kill_all(const struct CUctx_st *context, const struct CUmod_st *module)
{
    kill_those(is_of_module, context, module);
}

static bool is_kernel_of(const struct object *o, const void *library, const void *unused)
{
    (void)unused;
    return o->kind == OBJECT_KERNEL && ((const struct CUkern_st *)o)->library == library;
}

void object_kill_kernels(const struct CUlib_st *library)
{
    kill_those(is_kernel_of, library, NULL);
}
