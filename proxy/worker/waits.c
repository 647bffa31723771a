/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that wait for the GPU. The worker never calls a function of the
 * driver that blocks: it records an event behind the work in question, goes on
 * serving, and looks at the events between messages. So one thread of a client that waits
 * doesn't hold up another one's launch, which may be what it waits for.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

int waits_init(struct waits *q)
{
    q->waits = calloc(MAX_WAITS, sizeof(*q->waits));
    q->items = calloc(MAX_WAIT_ITEMS, sizeof(*q->items));
    q->spare = calloc(MAX_WAIT_ITEMS, sizeof(*q->spare));
    return q->waits && q->items && q->spare ? 0 : -ENOMEM;
}

void waits_free(struct waits *q)
{
    free(q->waits);
    free(q->items);
    free(q->spare);
}

static CUresult take_event(struct worker *w, CUevent *ret_event)
{
    struct waits *q = &w->waits;
    for (uint32_t i = q->n_spare; i-- > 0;) {
        if (q->spare[i].context == w->context) {
            *ret_event = q->spare[i].event;
            q->spare[i] = q->spare[--q->n_spare];
            return CUDA_SUCCESS;
        }
    }
    return w->cu.cuEventCreate(ret_event, CU_EVENT_DISABLE_TIMING);
}

/* All spare events must fit when those of the items come back, too. */
static bool is_full(const struct waits *q)
{
    return q->n_items + q->n_spare >= MAX_WAIT_ITEMS;
}

static void give_event(struct worker *w, const struct wait_item *item)
{
    struct waits *q = &w->waits;
    if (item->pooled)
        q->spare[q->n_spare++] =
            (struct spare_event){.event = item->event, .context = item->context};
}

/* A wait for the message at hand, or NULL: too many. */
static struct wait *begin(struct worker *w, uint32_t *ret_index)
{
    struct waits *q = &w->waits;
    if (q->n_waits == MAX_WAITS)
        return NULL;
    for (uint32_t i = 0; i < MAX_WAITS; i++) {
        if (q->waits[i].type)
            continue;
        q->waits[i] = (struct wait){.seq = w->seq, .type = w->type};
        q->n_waits++;
        q->last = i;
        *ret_index = i;
        return &q->waits[i];
    }
    return NULL;
}

void worker_keep_answer(struct worker *w, const struct idm_part *fixed)
{
    struct wait *wait = &w->waits.waits[w->waits.last];
    if (fixed->len > sizeof(wait->fixed))
        __builtin_trap(); /* a call that waits has grown a large answer */
    memcpy(wait->fixed, fixed->data, fixed->len);
    wait->fixed_len = fixed->len;
}

static bool add_item(struct worker *w, uint32_t wait, CUevent event, bool pooled)
{
    struct waits *q = &w->waits;
    if (is_full(q))
        return false;
    q->items[q->n_items++] = (struct wait_item){.wait = wait,
                                                .context = w->context,
                                                .driver_context = w->driver_context,
                                                .event = event,
                                                .pooled = pooled};
    q->waits[wait].items++;
    return true;
}

static CUresult add_stream_here(struct worker *w, uint32_t wait, CUstream stream)
{
    CUevent event;
    WORKER_TRY(take_event(w, &event));
    CUresult rc = w->cu.cuEventRecord(event, stream);
    if (rc == CUDA_SUCCESS && !is_full(&w->waits) && w->cu.cuEventQuery(event) == CUDA_SUCCESS) {
        const struct wait_item done = {.context = w->context, .event = event, .pooled = true};
        give_event(w, &done);
        return CUDA_SUCCESS;
    }
    if (rc == CUDA_SUCCESS && !add_item(w, wait, event, true))
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    if (rc != CUDA_SUCCESS)
        w->cu.cuEventDestroy_v2(event);
    return rc;
}

/* The context of STREAM, NULL if there is none: another one than the current. */
static const struct worker_object *home_of(struct worker *w, CUstream stream)
{
    struct worker_object *context = NULL;
    uint32_t left = w->objects.used;
    for (uint32_t i = 0; i < w->objects.max && left; i++) {
        const struct worker_object *o = &w->objects.places[i];
        left -= o->id != 0;
        if (o->id && idm_handle_kind(o->id) == IDM_KIND_stream && o->driver == (void *)stream &&
            !o->failed && o->context != w->context)
            return worker_find_object(w, IDM_KIND_context, o->context, &context) == CUDA_SUCCESS
                       ? context
                       : NULL;
    }
    return NULL;
}

/* Adds an event behind everything STREAM has, if that isn't done by now. A program may wait for a
 * stream of another context than the current one; an event in it has to be of that one, too. */
static CUresult add_stream(struct worker *w, uint32_t wait, CUstream stream)
{
    CUresult rc = add_stream_here(w, wait, stream);
    const struct worker_object *home =
        rc == CUDA_ERROR_INVALID_HANDLE && (uintptr_t)stream > 2 ? home_of(w, stream) : NULL;
    if (!home)
        return rc;
    const uint64_t context = w->context;
    const CUcontext driver_context = w->driver_context;
    w->context = home->id;
    w->driver_context = home->driver;
    rc = w->cu.cuCtxSetCurrent(w->driver_context);
    if (rc == CUDA_SUCCESS)
        rc = add_stream_here(w, wait, stream);
    w->context = context;
    w->driver_context = driver_context;
    worker_restore_context(w);
    return rc;
}

static CUresult wait_result(struct worker *w, struct wait *wait, CUresult rc)
{
    if (rc != CUDA_SUCCESS && wait->result == CUDA_SUCCESS)
        wait->result = rc;
    if (wait->items)
        return WORKER_LATER; /* those that were added still end it */
    const struct wait over = *wait;
    wait->type = 0;
    w->waits.n_waits--;
    if (over.result == CUDA_SUCCESS && over.covers)
        share_done(w, over.covers, false);
    else
        w->share.covered = 0; /* a mark has to tell */
    return over.result;
}

CUresult worker_wait_stream(struct worker *w, CUstream stream)
{
    /* Whether the legacy stream is idle isn't a question about it alone. */
    if ((uintptr_t)stream > 2) {
        CUresult rc = w->cu.cuStreamQuery(stream);
        if (rc == CUDA_SUCCESS)
            share_done(w, share_covers(w, false, stream), false);
        if (rc != CUDA_ERROR_NOT_READY || !w->want_reply)
            return rc == CUDA_ERROR_NOT_READY ? CUDA_SUCCESS : rc;
    }
    if (!w->want_reply)
        return CUDA_SUCCESS;
    uint32_t i;
    struct wait *wait = begin(w, &i);
    if (!wait)
        return CUDA_ERROR_OUT_OF_MEMORY;
    wait->covers = share_covers(w, false, stream);
    return wait_result(w, wait, add_stream(w, i, stream));
}

CUresult worker_wait_event(struct worker *w, CUevent event)
{
    CUresult rc = w->cu.cuEventQuery(event);
    if (rc != CUDA_ERROR_NOT_READY)
        return rc;
    if (!w->want_reply)
        return CUDA_SUCCESS;
    uint32_t i;
    struct wait *wait = begin(w, &i);
    if (!wait)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return wait_result(w, wait,
                       add_item(w, i, event, false) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

/* One stream a context stands for all that were destroyed: it is made to wait for
 * an event behind their last work. */
static CUresult bury(struct worker *w, struct worker_object *context, CUstream stream)
{
    CUevent event = NULL;
    if (!context->graveyard) {
        CUstream graveyard;
        WORKER_TRY(w->cu.cuStreamCreate(&graveyard, CU_STREAM_NON_BLOCKING));
        context->graveyard = graveyard;
    }
    WORKER_TRY(w->cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CUresult rc = w->cu.cuEventRecord(event, stream);
    if (rc == CUDA_SUCCESS)
        rc = w->cu.cuStreamWaitEvent(context->graveyard, event, 0);
    w->cu.cuEventDestroy_v2(event); /* the driver keeps it until it has happened */
    return rc;
}

CUresult worker_wait_later(struct worker *w, uint64_t context, CUstream stream)
{
    struct worker_object *o;
    if (!w->cu.cuStreamWaitEvent || w->cu.cuStreamQuery(stream) != CUDA_ERROR_NOT_READY)
        return CUDA_SUCCESS;
    WORKER_TRY(worker_find_object(w, IDM_KIND_context, context, &o));
    /* Streams and events are made in the current context: the stream's for now. */
    if (context != w->context)
        WORKER_TRY(w->cu.cuCtxSetCurrent(o->driver));
    CUresult rc = bury(w, o, stream);
    if (context != w->context)
        worker_restore_context(w);
    return rc;
}

CUresult worker_wait_context(struct worker *w)
{
    if (!w->want_reply)
        return CUDA_SUCCESS;
    uint32_t index;
    struct wait *wait = begin(w, &index);
    if (!wait)
        return CUDA_ERROR_OUT_OF_MEMORY;
    wait->covers = share_covers(w, true, NULL);
    /* The legacy stream stands for all that synchronize with it; the others are
     * asked each. */
    CUresult rc = add_stream(w, index, CU_STREAM_LEGACY);
    struct worker_object *context;
    if (rc == CUDA_SUCCESS &&
        worker_find_object(w, IDM_KIND_context, w->context, &context) == CUDA_SUCCESS &&
        context->graveyard && w->cu.cuStreamQuery(context->graveyard) == CUDA_ERROR_NOT_READY)
        rc = add_stream(w, index, context->graveyard);
    uint32_t left = w->objects.used;
    for (uint32_t i = 0; i < w->objects.max && left && rc == CUDA_SUCCESS; i++) {
        const struct worker_object *o = &w->objects.places[i];
        if (!o->id)
            continue;
        left--;
        if (idm_handle_kind(o->id) != IDM_KIND_stream || o->context != w->context || o->failed)
            continue;
        CUresult busy = w->cu.cuStreamQuery(o->driver);
        if (busy == CUDA_ERROR_NOT_READY)
            rc = add_stream(w, index, o->driver);
        else
            rc = busy;
    }
    return wait_result(w, wait, rc);
}

bool worker_mark(struct worker *w, const struct share_stream *streams, uint32_t n, uint64_t covers)
{
    const uint64_t context = w->context;
    const CUcontext driver_context = w->driver_context;
    uint32_t index;
    struct wait *wait = begin(w, &index);
    if (!wait)
        return false;
    wait->type = WAIT_MARK;
    wait->covers = covers;
    for (uint32_t i = 0; i < n; i++) {
        if (streams[i].driver_context != w->driver_context)
            w->cu.cuCtxSetCurrent(streams[i].driver_context);
        w->context = streams[i].context;
        w->driver_context = streams[i].driver_context;
        /* An event in an idle one would wait for the legacy stream, and the program see it busy. */
        if ((uintptr_t)streams[i].stream <= 2 ||
            w->cu.cuStreamQuery(streams[i].stream) == CUDA_ERROR_NOT_READY)
            add_stream(w, index, streams[i].stream); /* one that fails has nothing to wait for */
    }
    bool moved = w->driver_context != driver_context;
    w->context = context;
    w->driver_context = driver_context;
    if (moved)
        worker_restore_context(w);
    if (wait->items)
        return true;
    wait->type = 0;
    w->waits.n_waits--;
    return false;
}

/* Takes item I out; answers when it was its wait's last. True: answered. */
static bool finish(struct worker *w, uint32_t i, CUresult rc)
{
    struct waits *q = &w->waits;
    struct wait *wait = &q->waits[q->items[i].wait];
    q->items[i] = q->items[--q->n_items];
    if (rc != CUDA_SUCCESS && wait->result == CUDA_SUCCESS)
        wait->result = rc;
    if (--wait->items)
        return false;
    const struct wait done = *wait;
    wait->type = 0;
    q->n_waits--;
    if (done.covers)
        share_done(w, done.covers, done.type == WAIT_MARK);
    if (done.type == WAIT_MARK)
        return false;
    struct idm_part fixed = {done.fixed, done.fixed_len};
    worker_answer(w, done.seq, done.type, done.result, &fixed, done.fixed_len ? 1 : 0);
    return true;
}

bool worker_poll_waits(struct worker *w)
{
    struct waits *q = &w->waits;
    CUcontext now = w->driver_context;
    bool answered = false;
    for (uint32_t i = 0; i < q->n_items;) {
        const struct wait_item item = q->items[i];
        if (item.driver_context != now) {
            w->cu.cuCtxSetCurrent(item.driver_context);
            now = item.driver_context;
        }
        CUresult rc = w->cu.cuEventQuery(item.event);
        if (rc == CUDA_ERROR_NOT_READY) {
            i++;
            continue;
        }
        give_event(w, &item);
        answered = finish(w, i, rc) || answered;
    }
    if (now != w->driver_context)
        worker_restore_context(w);
    return answered;
}

void worker_waits_event_gone(struct worker *w, CUevent event)
{
    struct waits *q = &w->waits;
    for (uint32_t i = 0; i < q->n_items;) {
        if (q->items[i].event == event && !q->items[i].pooled)
            finish(w, i, CUDA_ERROR_INVALID_HANDLE);
        else
            i++;
    }
}

void worker_waits_context_gone(struct worker *w, uint64_t context)
{
    struct waits *q = &w->waits;
    for (uint32_t i = 0; i < q->n_items;) {
        if (q->items[i].context == context)
            finish(w, i, CUDA_ERROR_CONTEXT_IS_DESTROYED);
        else
            i++;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < q->n_spare; i++) {
        if (q->spare[i].context != context)
            q->spare[kept++] = q->spare[i];
    }
    q->n_spare = kept; /* the events died with their context */
}
