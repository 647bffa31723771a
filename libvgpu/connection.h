/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's one channel, and how calls travel over it. Everything here is
 * thread-safe. A call either is queued (returns when its record is in the
 * ring) or asked (returns with its answer); several threads may ask at once, of which one
 * reads the completion ring for all.
 */
#ifndef VG_CONNECTION_H
#define VG_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "idm/codec.h"
#include "idm/cuda_abi.h"
#include "idm/facts.h"
#include "idm/handover.h"
#include "idm/ring.h"

_Static_assert(sizeof(void *) == 8, "handles are pointers");

#define VG_EXPORT __attribute__((visibility("default")))

#define VG_TRY(expression)                                                                         \
    do {                                                                                           \
        CUresult vg_try_ = (expression);                                                           \
        if (vg_try_ != CUDA_SUCCESS)                                                               \
            return vg_try_;                                                                        \
    } while (0)

#define VG_ANSWER_MAX  12288
#define VG_MAX_DEVICES 8
#define VG_SLOTS       16

/* An answer's payload: the reply struct of its message. */
struct vg_answer {
    uint32_t len;
    _Alignas(8) uint8_t data[VG_ANSWER_MAX];
};

/* A request whose answer will come. Lives with whoever waits for it. */
struct vg_ticket {
    struct vg_ticket *next;
    uint64_t seq;
    struct vg_answer *answer; /* NULL: only the result is wanted */
    CUresult result;
    bool done;
    bool unwatched; /* a failure is told by the next call that synchronizes */
    /* For an answer nobody waits for; NULL: somebody does. With vg.lock held. */
    void (*arrived)(struct vg_ticket *ticket, const void *payload, uint32_t len);
};

enum vg_slot_state { VG_SLOT_FREE, VG_SLOT_OWNED, VG_SLOT_FLYING };

/* A piece of the arena for staging pageable copies. */
struct vg_slot {
    struct vg_ticket ticket; /* FLYING: of the copy that reads it */
    enum vg_slot_state state;
};

enum vg_state { VG_CLOSED, VG_OPEN, VG_DEAD };

struct vg_primary {
    uint64_t id; /* of the primary context; 0: nobody asked yet */
    uint32_t count;
};

struct vg_connection {
    _Atomic int state; /* enum vg_state */
    uint64_t epoch;    /* counts channels of this process and its forefathers */
    int sock;          /* its end is the worker's */
    struct handover_channel channel;
    struct idm_ring_page *page;
    uint8_t *arena;
    uint32_t max_handles;
    int driver_version;
    int n_devices;
    struct idm_device_facts devices[VG_MAX_DEVICES];

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    unsigned waiting; /* threads in `changed` */
    bool reading;     /* somebody reads the completion ring, without the lock */
    bool blocking;    /* launches return when they are done (CUDA_LAUNCH_BLOCKING) */
    struct idm_producer out;
    struct idm_consumer in;
    struct vg_answer incoming; /* the reader's */
    struct vg_ticket *tickets;
    uint64_t seq;
    uint64_t selected; /* the context the worker has been told */
    unsigned since_look;
    CUresult late; /* of queued calls, for the next point */

    uint64_t slot_bytes;
    struct vg_slot slots[VG_SLOTS];
    bool slots_pinned;

    pthread_mutex_t contexts; /* the primary contexts' counts */
    struct vg_primary primary[VG_MAX_DEVICES];
};

extern struct vg_connection vg;

/* cuInit's work; idempotent. */
CUresult vg_open(void);
/* Ends the channel and forgets everything, as if never opened. For tests: a
 * process's end needs none. */
void vg_close(void);

enum vg_need { VG_ANY_CONTEXT, VG_CURRENT_CONTEXT };
/* At the start of each call: NOT_INITIALIZED, the dead channel's error, (if
 * needed) INVALID_CONTEXT, or NOT_PERMITTED in a function that a stream runs. */
CUresult vg_enter(enum vg_need need);

/* The error that has ended the current context, as far as the worker has told. */
CUresult vg_sticky(void);
CUresult vg_queue(uint16_t type, const struct idm_part *parts, unsigned n);
CUresult vg_ask(uint16_t type, const struct idm_part *parts, unsigned n, struct vg_answer *answer);

/* Queues a request whose answer fills TICKET later. */
CUresult vg_send(uint16_t type, const struct idm_part *parts, unsigned n, struct vg_ticket *ticket);
/* With vg.lock held: gives up waiting for the first answer that is for ARRIVED; NULL: none is. */
struct vg_ticket *vg_withdraw(void (*arrived)(struct vg_ticket *, const void *, uint32_t));
/* With vg.lock held: waits until something has come in (or the channel died). */
void vg_pump(void);
/* With vg.lock held: takes in what is there already. */
void vg_glance(void);
/* Waits for TICKET, then returns its result. */
CUresult vg_await(struct vg_ticket *ticket);

/* What a call that synchronizes returns: RC, or else the error of a queued call
 * that failed before. */
CUresult vg_point(CUresult rc);

/* An answer that makes no sense: the channel is dead. */
CUresult vg_nonsense(void);
/* A call we don't offer. */
CUresult vg_refuse(CUresult why);

/* The calling thread's current context, 0: none; and what is below it. */
uint64_t vg_current(void);

#endif
