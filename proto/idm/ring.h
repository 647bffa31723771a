/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two rings of a channel: submission (client to worker) and completion
 * (worker to client), each with one producer and one consumer. Records have any
 * length, start at multiples of 32 bytes, never wrap, and begin with the IDM
 * header. docs/idm.md has the layout, the invariants and the barriers.
 *
 * The other side of the memory is hostile. Index words are read once, copied
 * and checked; a record is copied out before anybody looks at it; nobody reads
 * back what it wrote. A side that sees nonsense gets -IDM_BROKEN and stops
 * using the ring.
 *
 * Not thread-safe: one thread at a time for each of producer and consumer.
 */
#ifndef GI_IDM_RING_H
#define GI_IDM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IDM_MAGIC        0x49444d00u
#define IDM_VERSION      0x0100u
#define IDM_ALIGN        32u
#define IDM_CONTROL_PAGE 4096u

struct idm_header {
    uint32_t magic;
    uint16_t version;
    uint16_t msg_type; /* proto/idm/cuda.calls */
    uint32_t src_zone; /* 0: the driver domain */
    uint32_t dst_zone;
    uint64_t seq_num; /* a reply has its request's */
    uint32_t payload_len;
    uint32_t flags;
};
_Static_assert(sizeof(struct idm_header) == IDM_ALIGN, "header");

#define IDM_FLAG_WANT_REPLY 0x1u
#define IDM_FLAG_REPLY      0x2u
#define IDM_FLAGS           (IDM_FLAG_WANT_REPLY | IDM_FLAG_REPLY)

/* Skips to the end of the ring; never handed to a consumer's user. */
#define IDM_MSG_PAD 1u

enum { IDM_BROKEN = 1, IDM_GONE = 2, IDM_FULL = 3 };

/* One direction's shared words. Each on lines of its own: 128, because
 * neighbouring lines are prefetched in pairs. */
struct idm_ring_words {
    _Alignas(128) _Atomic uint64_t head;   /* the producer's; bytes ever written */
    _Alignas(128) _Atomic uint64_t tail;   /* the consumer's; bytes ever read */
    _Alignas(128) _Atomic uint32_t asleep; /* the consumer wants the doorbell */
};

struct idm_ring_page {
    struct idm_ring_words submission;
    struct idm_ring_words completion;
    /* Last error of the device that outlives calls (CUresult), and whose context it has ended
     * (0: all), for calls that don't wait; written by the worker, the context first. A hint, for
     * this client only. */
    _Alignas(128) _Atomic uint32_t sticky;
    _Atomic uint64_t sticky_context;
    /* How many of its functions in streams' order the client has run; streams wait for it.
     * Written by the client: the worker's thread, which reads the ring, may be waiting. */
    _Alignas(128) _Atomic uint64_t host_done;
};
_Static_assert(sizeof(struct idm_ring_page) <= IDM_CONTROL_PAGE, "control page");

struct idm_layout {
    uint64_t submission_at;
    uint64_t submission_bytes; /* powers of two */
    uint64_t completion_at;
    uint64_t completion_bytes;
};
/* How RING_BYTES of memory are divided. Both sides compute it from the size
 * that the hand-over checked, never from the memory. False: too small. */
bool idm_layout(uint64_t ring_bytes, struct idm_layout *ret_layout);

struct idm_producer {
    struct idm_ring_words *words;
    uint8_t *data;
    uint64_t size;
    uint64_t head;      /* ours; the shared word is only ever written */
    uint64_t tail_seen; /* the last good value read */
    int bell;           /* eventfd that wakes the consumer; -1: none */
    uint32_t src_zone;
    uint32_t dst_zone;
    bool broken;
};

struct idm_consumer {
    struct idm_ring_words *words;
    const uint8_t *data;
    uint64_t size;
    uint64_t tail; /* ours */
    uint64_t tail_told;
    uint64_t head_seen;
    int bell; /* eventfd that wakes us; -1: none */
    bool broken;
};

/* RING is the mapped memory of RING_BYTES. The client produces submissions and
 * consumes completions; the worker the other way round. Starts from the values
 * that are in the memory: zero in a new channel. */
int idm_producer_init(struct idm_producer *p, void *ring, uint64_t ring_bytes, bool submission);
int idm_consumer_init(struct idm_consumer *c, void *ring, uint64_t ring_bytes, bool submission);

/* The longest payload this ring carries. */
uint32_t idm_max_payload(uint64_t size);

/*
 * Reserves a record with PAYLOAD_LEN bytes; *ret_payload is where to write them
 * (32-byte aligned, to be written, not read). -IDM_FULL: no room now;
 * -IDM_BROKEN: the consumer's index is nonsense or the payload too long for
 * this ring. Nothing is visible before idm_publish.
 */
int idm_reserve(struct idm_producer *p, uint32_t payload_len, void **ret_payload);
/* Makes the reserved record visible and wakes the consumer if it sleeps. */
void idm_publish(struct idm_producer *p, uint16_t msg_type, uint64_t seq, uint32_t flags,
                 uint32_t payload_len);

/*
 * Takes the next record: its header and at most ROOM bytes of payload, copied
 * to private memory. 1, 0 when the ring is empty, -IDM_BROKEN when indices,
 * magic, version, flags or length are nonsense (a payload longer than ROOM is).
 */
int idm_next(struct idm_consumer *c, struct idm_header *ret_header, void *payload, uint32_t room);

/* Whether a record may be waiting (or the ring is broken: idm_next tells). */
bool idm_ready(struct idm_consumer *c);

struct idm_wait {
    int64_t spin_ns;    /* how long to look before sleeping */
    int64_t timeout_ns; /* of the sleep; < 0: none */
    int other_fd;       /* wakes us too, when readable or closed; -1: none */
};
/* Waits for a record. 1: idm_ready; 0: time-out, or woken for nothing; -IDM_GONE: other_fd is
 * readable or closed (only told when no record is there). */
int idm_wait(struct idm_consumer *c, const struct idm_wait *how);

static inline void idm_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
