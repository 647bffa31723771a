/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's page: counters and memory reservations in a memfd that the broker
 * and all workers of the zone map. One slot per client, written by its worker
 * alone; the broker reads slots as hints and clears one when its worker is dead.
 *
 * Reservation (invariant: the sum over the slots never exceeds the quota when
 * every worker follows the protocol): a worker first adds to its own slot, then
 * sums all slots, and takes its addition back when the sum is too large. With
 * sequentially consistent atomics, of two racing workers the one whose addition
 * is later in the total order sees both, so never both succeed past the quota.
 * No lock, so a worker killed at any instruction blocks nobody, and clearing
 * its slot is all there is to giving its memory back.
 *
 * Memory that clients share is nobody's alone: the broker charges it (shelf.h). It does so before
 * the worker gives up its own charge, so for a moment it counts twice, and never not at all.
 *
 * A worker taken over by its client could lie here, about its own zone only.
 */
#ifndef GI_PROXY_PAGE_H
#define GI_PROXY_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control/control.h"

#define PAGE_SLOTS      CONTROL_MAX_CLIENTS
#define PAGE_NAME_WORDS 12u

/* X(counter): what a worker counts. The broker adds a dead client's counters
 * to its zone's totals. */
#define PAGE_COUNTERS(X)                                                                           \
    X(calls)                                                                                       \
    X(launches)                                                                                    \
    X(bytes_to_device)                                                                             \
    X(bytes_from_device)                                                                           \
    X(gpu_ns)                                                                                      \
    X(refused_handles)                                                                             \
    X(refused_addresses)                                                                           \
    X(protocol_errors)                                                                             \
    X(quota_refusals)

struct page_counters {
#define PAGE_COUNTER(name) uint64_t name;
    PAGE_COUNTERS(PAGE_COUNTER)
#undef PAGE_COUNTER
};

/* May the zone's workers give the GPU work? */
enum page_gate {
    PAGE_GATE_FREE = 0,   /* yes, and nobody wants to be told */
    PAGE_GATE_OPEN = 1,   /* yes; ring the zone's bell when you begin */
    PAGE_GATE_LENT = 2,   /* yes; ring when you begin or have nothing to do any more */
    PAGE_GATE_CLOSED = 3, /* no; ring when what was in flight is done */
};

#define PAGE_SHARE_WANTS  1u /* has work in flight, or some to give, or had a moment ago */
#define PAGE_SHARE_FLYING 2u /* may have work in flight */

struct page_slot {
    _Alignas(64) _Atomic uint64_t memory_used;
    _Atomic uint64_t handles;
#define PAGE_COUNTER(name) _Atomic uint64_t name;
    PAGE_COUNTERS(PAGE_COUNTER)
#undef PAGE_COUNTER
    /* Who the client says it is. The name as words, for other workers read it while
     * it is written. */
    _Atomic uint64_t name[PAGE_NAME_WORDS];
    _Atomic uint32_t pid;   /* 0: it didn't say */
    _Atomic uint32_t share; /* PAGE_SHARE_ bits: what the worker wants of the GPU */
};

struct zone_page {
    _Atomic uint64_t memory_quota;
    _Atomic uint32_t compute_weight;
    _Atomic uint32_t gate;          /* enum page_gate; written by the broker, a futex */
    _Atomic uint64_t shared_memory; /* the broker's: what is on the zone's shelf (shelf.h) */
    _Atomic uint32_t busy_permille; /* the broker's; of about the last second */
    /* The broker doesn't look any more, as nothing has happened for a while: who executes a call
     * clears this and rings the bell. */
    _Atomic uint32_t unwatched;
    struct page_slot slots[PAGE_SLOTS];
};

/* A new page in a memfd whose size is sealed. The caller owns both. */
int page_create(const char *name, uint64_t memory_quota, uint32_t compute_weight, int *ret_fd,
                struct zone_page **ret_page, struct gi_error *err);
/* Maps the page of an inherited descriptor (the worker's side). */
int page_map(int fd, struct zone_page **ret_page, struct gi_error *err);
void page_unmap(struct zone_page *page);

/* What a hostile worker writes may be anything: no sum of it wraps around. */
static inline uint64_t page_add(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

/* Bytes reserved over all slots and shared, saturating. */
uint64_t page_memory_used(struct zone_page *page);

/* Worker SLOT's side. */
bool page_reserve(struct zone_page *page, uint32_t slot, uint64_t bytes);
void page_release(struct zone_page *page, uint32_t slot, uint64_t bytes);

/* The broker's side: a snapshot of a slot, and its end. */
void page_read(struct zone_page *page, uint32_t slot, struct page_counters *ret_counters);
void page_clear(struct zone_page *page, uint32_t slot);
/* How much the zone's clients share. */
void page_share(struct zone_page *page, uint64_t bytes);

#endif
