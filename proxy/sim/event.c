/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: points in streams, of which one remembers the last. Of an interprocess event the last
 * may be another process's: then it stands for what a board says.
 */
#include <stdlib.h>
#include <time.h>

#include "board.h"
#include "stream.h"

void point_put(struct point *p)
{
    if (!p || --p->refs)
        return;
    if (p->told.board)
        board_put(p->told.board);
    free(p);
}

void point_reached(struct point *p)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    p->ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    p->done = true;
    if (p->told.board)
        board_done(&p->told, p->number);
}

/* P has a number where other processes look. */
static void announce(struct CUevent_st *event, struct point *p)
{
    if (!event->place.board)
        return;
    p->told = event->place;
    board_hold(p->told.board);
    p->number = event->number = board_record(&p->told);
}

static CUresult watched_point(const struct CUevent_st *event, uint64_t n, struct point **ret)
{
    struct point *p = calloc(1, sizeof(*p));
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    p->refs = 2; /* the event's and who watches */
    p->foreign = true;
    CUresult rc = board_watch(&event->place, n, p);
    if (rc == CUDA_SUCCESS)
        *ret = p;
    else
        free(p);
    return rc;
}

/* With the lock: if the last recording isn't the one we know, a point for it. */
static CUresult catch_up(struct CUevent_st *event)
{
    struct point *p = NULL;
    uint64_t n = event->place.board ? board_recorded(&event->place) : 0;
    if (!n || n == event->number)
        return CUDA_SUCCESS;
    if (!board_is_done(&event->place, n))
        TRY(watched_point(event, n, &p));
    point_put(event->point);
    event->point = p;
    event->number = n;
    return CUDA_SUCCESS;
}

void point_is_done(struct point *p)
{
    sched_lock();
    p->done = true;
    point_put(p);
    sched_news();
    sched_unlock();
}

bool event_place(struct CUevent_st *event, const struct board_place *place)
{
    sched_lock();
    bool first = !event->place.board;
    if (first) {
        event->place = *place;
        if (event->point && !event->point->done)
            announce(event, event->point);
    }
    sched_unlock();
    return first;
}

bool event_is_placed(const struct CUevent_st *event)
{
    sched_lock();
    bool placed = event->place.board != NULL;
    sched_unlock();
    return placed;
}

/* With the lock, which it lets go of. As with a full stream: recording waits. */
static void wait_for_room(const struct CUevent_st *event, const struct CUctx_st *c)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    for (unsigned naps = 0; event->place.board && !c->dead; naps++) {
        if (board_has_room(&event->place, naps % 128 == 127))
            return;
        sched_unlock();
        nanosleep(&nap, NULL);
        sched_lock();
    }
}

CUresult event_record(struct CUevent_st *event, struct CUstream_st *s)
{
    struct op *op = calloc(1, sizeof(*op));
    struct point *p = calloc(1, sizeof(*p));
    if (!op || !p) {
        free(op);
        free(p);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    sched_lock();
    wait_for_room(event, s->o.context);
    CUresult rc = sched_room(s);
    if (rc == CUDA_SUCCESS) {
        p->refs = 2; /* the event's and the operation's */
        announce(event, p);
        op->point = p;
        op->records = true;
        point_put(event->point);
        event->point = p;
        sched_append(s, op);
        sched_news();
    } else {
        free(p);
        free(op);
    }
    sched_unlock();
    return rc;
}

CUresult event_wait_in(struct CUevent_st *event, struct CUstream_st *s)
{
    struct op *op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    sched_lock();
    CUresult rc = sched_room(s);
    if (rc == CUDA_SUCCESS)
        rc = catch_up(event);
    if (rc == CUDA_SUCCESS && event->point && !event->point->done) {
        event->point->refs++;
        op->point = event->point;
        sched_append(s, op);
        sched_news();
    } else {
        free(op);
    }
    sched_unlock();
    return rc;
}

CUresult event_query(struct CUevent_st *event)
{
    sched_lock();
    CUresult rc = catch_up(event);
    const struct point *p = event->point;
    if (rc == CUDA_SUCCESS && p && !p->done &&
        !(p->foreign && board_is_done(&event->place, event->number)))
        rc = CUDA_ERROR_NOT_READY;
    if (event->o.context->error)
        rc = event->o.context->error;
    sched_unlock();
    return rc;
}

CUresult event_wait(struct CUevent_st *event)
{
    sched_lock();
    CUresult rc = catch_up(event);
    struct point *p = event->point;
    if (rc == CUDA_SUCCESS && p) {
        p->refs++;
        while (!p->done)
            sched_wait();
        point_put(p);
    }
    if (event->o.context->error)
        rc = event->o.context->error;
    sched_unlock();
    return rc;
}

CUresult event_elapsed(struct CUevent_st *start, struct CUevent_st *end, float *ret_ms)
{
    CUresult rc = CUDA_SUCCESS;
    sched_lock();
    if (!start->point || !end->point)
        rc = CUDA_ERROR_INVALID_HANDLE;
    else if (!start->point->done || !end->point->done)
        rc = CUDA_ERROR_NOT_READY;
    else
        *ret_ms = (float)((double)((int64_t)(end->point->ns - start->point->ns)) / 1e6);
    sched_unlock();
    return rc;
}

void event_forget(struct CUevent_st *event)
{
    sched_lock();
    point_put(event->point);
    event->point = NULL;
    sched_unlock();
}
