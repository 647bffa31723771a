/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a client's objects. An id is good when its place holds exactly
 * this id: that says owner, kind and generation at once; only why it is bad
 * takes a closer look. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

int objects_init(struct objects *o, uint32_t max)
{
    /* Untouched places cost no memory. */
    o->places = calloc(max, sizeof(*o->places));
    o->max = max;
    return o->places ? 0 : -ENOMEM;
}

static CUresult refuse(struct worker *w, uint64_t id)
{
    bool foreign = idm_handle_tag(id) != w->config->tag && id > 2;
    CUresult rc = worker_refuse(w, foreign ? IDM_ERROR_PERMISSION_DENIED : IDM_ERROR_INVALID_HANDLE,
                                foreign ? "handle of another client" : "stale or wrong handle");
    return rc != CUDA_SUCCESS ? rc : CUDA_ERROR_INVALID_HANDLE; /* for analyzers */
}

CUresult worker_find_object(struct worker *w, enum idm_kind kind, uint64_t id,
                            struct worker_object **ret_object)
{
    uint32_t index = idm_handle_index(id);
    if (index >= w->objects.max || id <= 2 || w->objects.places[index].id != id ||
        idm_handle_kind(id) != (unsigned)idm_kind_for(kind, id))
        return refuse(w, id);
    struct worker_object *o = &w->objects.places[index];
    if (o->failed != CUDA_SUCCESS)
        return o->failed;
    *ret_object = o;
    return CUDA_SUCCESS;
}

CUresult worker_find(struct worker *w, enum idm_kind kind, uint64_t id, bool nullable,
                     void **ret_driver)
{
    struct worker_object *o = NULL;
    if (nullable && id == 0) {
        *ret_driver = NULL;
        return CUDA_SUCCESS;
    }
    WORKER_TRY(worker_find_object(w, kind, id, &o));
    *ret_driver = o->driver;
    return CUDA_SUCCESS;
}

CUresult worker_find_last(struct worker *w, enum idm_kind kind, uint64_t id, void **ret_driver)
{
    struct worker_object *o = NULL;
    CUresult rc = worker_find_object(w, kind, id, &o);
    if (rc == CUDA_SUCCESS)
        *ret_driver = o->driver;
    else if (idm_handle_kind(id) == (unsigned)kind)
        worker_gone(w, id); /* never made, but its place was taken */
    return rc;
}

CUresult worker_find_stream(struct worker *w, uint64_t id, CUstream *ret_stream)
{
    void *driver;
    if (id <= 2) {
        *ret_stream = (CUstream)(uintptr_t)id;
    } else {
        WORKER_TRY(worker_find(w, IDM_KIND_stream, id, false, &driver));
        *ret_stream = driver;
    }
    share_touch(w, *ret_stream);
    return CUDA_SUCCESS;
}

CUresult worker_expect(struct worker *w, enum idm_kind kind, uint64_t id,
                       struct worker_object **ret_object)
{
    uint32_t index = idm_handle_index(id);
    if (idm_handle_kind(id) != (unsigned)kind || idm_handle_tag(id) != w->config->tag)
        return refuse(w, id);
    if (index >= w->objects.max) {
        worker_count(&w->counters->quota_refusals, 1);
        w->error = IDM_ERROR_QUOTA;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct worker_object *o = &w->objects.places[index];
    /* Generations only grow, so an id is never used for two objects. */
    if (o->id || idm_handle_generation(id) <= o->generation)
        return refuse(w, id);
    *ret_object = o;
    return CUDA_SUCCESS;
}

static void set_used(struct worker *w, uint32_t used)
{
    w->objects.used = used;
    atomic_store_explicit(&w->counters->handles, used, memory_order_relaxed);
}

void worker_born(struct worker *w, struct worker_object *o, uint64_t id, void *driver, CUresult rc)
{
    o->generation = idm_handle_generation(id);
    /* A client that waits for the answer takes a failed id back at once; one
     * that doesn't will use it, and gets the failure again. */
    if (rc != CUDA_SUCCESS && w->want_reply)
        return;
    o->id = id;
    o->context = w->context;
    o->parent = 0;
    o->scrubber = NULL;
    o->graveyard = NULL;
    o->driver = driver;
    o->failed = rc;
    o->value = 0;
    o->charged = 0;
    o->loaded = 0;
    o->owed = 0;
    o->shared = (struct shelf_token){{0}};
    set_used(w, w->objects.used + 1);
}

static void remove_place(struct worker *w, struct worker_object *o)
{
    if (idm_handle_kind(o->id) == IDM_KIND_event && o->failed == CUDA_SUCCESS)
        worker_waits_event_gone(w, o->driver);
    if (shelf_token_set(&o->shared))
        shelf_drop(w, &o->shared);
    if (o->charged)
        page_release(w->config->page, w->config->slot, o->charged);
    o->charged = 0;
    if (idm_handle_kind(o->id) == IDM_KIND_graph && o->failed == CUDA_SUCCESS)
        worker_graph_free(w, o->driver);
    o->id = 0;
    o->driver = NULL;
    set_used(w, w->objects.used - 1);
}

void worker_gone(struct worker *w, uint64_t id)
{
    uint32_t index = idm_handle_index(id);
    if (id > 2 && index < w->objects.max && w->objects.places[index].id == id)
        remove_place(w, &w->objects.places[index]);
}

static void children_gone(struct worker *w, uint64_t id)
{
    uint32_t left = w->objects.used;
    for (uint32_t i = 0; i < w->objects.max && left; i++) {
        struct worker_object *o = &w->objects.places[i];
        if (!o->id)
            continue;
        left--;
        /* A kernel outlives the context its library took memory in. */
        if (o->loaded == id && o->charged) {
            page_release(w->config->page, w->config->slot, o->charged);
            o->charged = 0;
        }
        if (o->loaded == id)
            o->loaded = 0;
        if (o->id != id && (o->context == id || o->parent == id))
            remove_place(w, o);
    }
}

void worker_orphans_gone(struct worker *w, uint64_t id)
{
    /* A library's modules have functions of their own. */
    for (uint32_t i = 0; idm_handle_kind(id) == IDM_KIND_library && i < w->objects.max; i++) {
        const struct worker_object *o = &w->objects.places[i];
        if (o->id && o->parent == id && idm_handle_kind(o->id) == IDM_KIND_module)
            children_gone(w, o->id);
    }
    children_gone(w, id);
}
