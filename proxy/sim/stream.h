/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: queues of operations, and the threads that carry them out. An
 * operation starts when all before it in its stream are done and, between the
 * legacy stream and blocking ones, all that were submitted before it.
 */
#ifndef SIM_STREAM_H
#define SIM_STREAM_H

#include "driver.h"

#define SIM_STREAM_ATTRIBUTES 11   /* ids below */
#define STREAM_MAX_OPS        1024 /* queued in one stream; then submitting waits */

/* A place in a stream that events and waits refer to. Under the scheduler's lock. */
struct point {
    unsigned refs;
    bool done;
    bool foreign; /* another process's, or another event's of ours */
    uint64_t ns;  /* when, CLOCK_MONOTONIC */
    /* Where it is to be told, if anywhere, as what. */
    struct board_place told;
    uint64_t number;
};

/* Allocated with calloc as the first member of something larger. */
struct op {
    CUresult (*run)(struct op *op); /* NULL: a record or a wait */
    void (*release)(struct op *op); /* NULL: nothing; then it is freed */
    struct point *point;
    bool records;
    bool always;  /* runs though its context has failed */
    bool outside; /* touches no device memory, or only between mem_hold and mem_let_go */
    /* The scheduler's own: */
    struct op *next;
    struct CUstream_st *stream;
    uint64_t seq;
};

struct CUstream_st {
    struct object o;
    unsigned flags;
    int priority;
    bool legacy;
    uint64_t id;
    CUlaunchAttributeValue attributes[SIM_STREAM_ATTRIBUTES]; /* under attributes_lock */
    bool blocking; /* synchronizes with the legacy stream */
    /* Under the scheduler's lock: */
    struct op *head, *tail;
    unsigned count;
    bool running, listed;
    struct CUstream_st *before, *after; /* among those that have work */
};

enum submit_mode {
    SUBMIT_LATER, /* returns at once (a full queue: when there is room) */
    SUBMIT_EAGER, /* the caller carries it out if it may start now */
    SUBMIT_WAIT,  /* returns when it is done */
};

/* Of an operation that was never submitted, too. */
void op_free(struct op *op);

/* --- launches (api_launch.c) --- */

struct launch_shape {
    uint32_t grid[3], block[3], shared;
    uint32_t cluster[3]; /* 0: not said */
    bool cooperative;    /* all blocks at once */
    CUevent events[2];   /* recorded behind it */
    unsigned n_events;
};

/* An operation that launches F; *RET_PARAMS is for its parameters. */
CUresult launch_op(struct CUctx_st *c, struct CUfunc_st *f, const struct launch_shape *s,
                   struct op **ret_op, uint8_t **ret_params);
/* The cluster's dimensions: the code's or the launch's, 0 where neither has any. */
CUresult launch_cluster_of(const struct CUfunc_st *f, const struct launch_shape *s,
                           uint32_t ret_cluster[3]);
/* What A says of S; NOT_SUPPORTED: what isn't there. */
CUresult launch_attribute(const CUlaunchAttribute *a, struct launch_shape *s);
/* FN of the program's in S's order (api_host.c). */
CUresult host_call(struct CUstream_st *s, CUhostFn fn, void *data);
/* Operations OPS as one (api_memop.c); they are copied. */
CUresult memops_op(struct CUctx_st *c, const CUstreamBatchMemOpParams *ops, unsigned count,
                   struct op **ret_op);

/* A detached thread. It takes no signals: they are the program's. */
bool thread_start(void *(*run)(void *), void *arg);
/* Starts the first thread. */
CUresult sched_start(void);

void stream_attributes_init(struct CUstream_st *s);
/* A stream with one reference, the caller's. */
struct CUstream_st *stream_new(struct CUctx_st *context, unsigned flags, int priority);
/* Takes OP over, whatever it returns. */
CUresult stream_submit(struct CUstream_st *s, struct op *op, enum submit_mode mode);
/* Has all that was submitted so far been done? For the legacy stream, in blocking ones, too. */
CUresult stream_query(struct CUstream_st *s);
CUresult stream_wait(struct CUstream_st *s);

/* Waits for CONTEXT's work of all streams; NULL: for all contexts'. */
void sched_drain(const struct CUctx_st *context);
/* Between the two nothing that runs touches device memory, but for operations `outside`. Waits for
 * what runs, not for what waits. */
void sched_still(void);
void sched_go_on(void);
/* Refuses new work and waits for the old. */
void sched_close(struct CUctx_st *context);

/* What events and queues need of each other (stream.c, event.c). All but the first with the lock.
 */
void sched_lock(void);
void sched_unlock(void);
/* Waits until something is done; lets go of the lock meanwhile. */
void sched_wait(void);
/* Room for one operation more in S, or why not; may wait. */
CUresult sched_room(struct CUstream_st *s);
void sched_append(struct CUstream_st *s, struct op *op);
/* Something may start now, or is done. */
void sched_news(void);
void point_put(struct point *p);
/* All before P is done. */
void point_reached(struct point *p);

/* Events. */
CUresult event_record(struct CUevent_st *event, struct CUstream_st *s);
/* Everything submitted to S from now on waits for EVENT's last recording. */
CUresult event_wait_in(struct CUevent_st *event, struct CUstream_st *s);
CUresult event_query(struct CUevent_st *event);
CUresult event_wait(struct CUevent_st *event);
CUresult event_elapsed(struct CUevent_st *start, struct CUevent_st *end, float *ret_ms);
void event_forget(struct CUevent_st *event);
/* EVENT gets PLACE, and what was recorded goes there. False: it has one already. */
bool event_place(struct CUevent_st *event, const struct board_place *place);
bool event_is_placed(const struct CUevent_st *event);
/* A foreign point is done; gives the reference to it back. */
void point_is_done(struct point *p);

#endif
