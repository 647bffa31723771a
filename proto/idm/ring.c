/* SPDX-License-Identifier: Apache-2.0 */
/* No symbol newer than GLIBC_2.17: libvgpu links this. */
#include "idm/ring.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIN_SIZE 8192u
/* How long an answer takes that is on its way. */
#define ALONE_NS 1000

static uint64_t power_below(uint64_t n)
{
    uint64_t p = 1;
    while (p <= n / 2)
        p *= 2;
    return p;
}

bool idm_layout(uint64_t ring_bytes, struct idm_layout *ret_layout)
{
    if (ring_bytes < IDM_CONTROL_PAGE + 4ull * MIN_SIZE || ring_bytes > 1ull << 40)
        return false;
    uint64_t rest = ring_bytes - IDM_CONTROL_PAGE;
    struct idm_layout l;
    l.completion_bytes = power_below(rest / 3);
    l.submission_bytes = power_below(rest - l.completion_bytes);
    l.submission_at = IDM_CONTROL_PAGE;
    l.completion_at = l.submission_at + l.submission_bytes;
    *ret_layout = l;
    return true;
}

uint32_t idm_max_payload(uint64_t size)
{
    /* Half the ring, so that padding and record always fit an empty ring. */
    uint64_t max = size / 2 - sizeof(struct idm_header);
    return max > 1u << 20 ? 1u << 20 : (uint32_t)max;
}

static struct idm_ring_words *words_of(void *ring, bool submission)
{
    struct idm_ring_page *page = ring;
    return submission ? &page->submission : &page->completion;
}

int idm_producer_init(struct idm_producer *p, void *ring, uint64_t ring_bytes, bool submission)
{
    struct idm_layout l;
    if (!idm_layout(ring_bytes, &l))
        return -IDM_BROKEN;
    memset(p, 0, sizeof(*p));
    p->words = words_of(ring, submission);
    p->data = (uint8_t *)ring + (submission ? l.submission_at : l.completion_at);
    p->size = submission ? l.submission_bytes : l.completion_bytes;
    p->bell = -1;
    return 0;
}

int idm_consumer_init(struct idm_consumer *c, void *ring, uint64_t ring_bytes, bool submission)
{
    struct idm_layout l;
    if (!idm_layout(ring_bytes, &l))
        return -IDM_BROKEN;
    memset(c, 0, sizeof(*c));
    c->words = words_of(ring, submission);
    c->data = (uint8_t *)ring + (submission ? l.submission_at : l.completion_at);
    c->size = submission ? l.submission_bytes : l.completion_bytes;
    c->bell = -1;
    return 0;
}

static uint64_t record_bytes(uint32_t payload_len)
{
    return (sizeof(struct idm_header) + (uint64_t)payload_len + IDM_ALIGN - 1) &
           ~(uint64_t)(IDM_ALIGN - 1);
}

/* Room for NEED bytes beyond head? Looks at the consumer's word only when what
 * was seen of it isn't enough. */
static int has_room(struct idm_producer *p, uint64_t need)
{
    if (p->size - (p->head - p->tail_seen) >= need)
        return 0;
    /* Acquire: pairs with the consumer's release in tell_tail. Its reads of the
     * bytes we are about to overwrite come before its store of tail. */
    uint64_t tail = atomic_load_explicit(&p->words->tail, memory_order_acquire);
    /* An honest consumer's index only grows and never passes ours. */
    if (tail - p->tail_seen > p->head - p->tail_seen || tail % IDM_ALIGN) {
        p->broken = true;
        return -IDM_BROKEN;
    }
    p->tail_seen = tail;
    return p->size - (p->head - tail) >= need ? 0 : -IDM_FULL;
}

static void write_header(struct idm_producer *p, uint64_t at, uint16_t msg_type, uint64_t seq,
                         uint32_t flags, uint32_t payload_len)
{
    struct idm_header h = {.magic = IDM_MAGIC,
                           .version = IDM_VERSION,
                           .msg_type = msg_type,
                           .src_zone = p->src_zone,
                           .dst_zone = p->dst_zone,
                           .seq_num = seq,
                           .payload_len = payload_len,
                           .flags = flags};
    memcpy(p->data + (at & (p->size - 1)), &h, sizeof(h));
}

int idm_reserve(struct idm_producer *p, uint32_t payload_len, void **ret_payload)
{
    if (p->broken || payload_len > idm_max_payload(p->size))
        return -IDM_BROKEN;
    uint64_t need = record_bytes(payload_len);
    uint64_t to_end = p->size - (p->head & (p->size - 1));
    /* A record never wraps: a pad takes the rest, and the record starts at the
     * beginning. Both must fit now, so that the pad never waits alone. */
    uint64_t pad = need > to_end ? to_end : 0;
    int rc = has_room(p, pad + need);
    if (rc < 0)
        return rc;
    if (pad) {
        write_header(p, p->head, IDM_MSG_PAD, 0, 0, (uint32_t)(pad - sizeof(struct idm_header)));
        p->head += pad; /* shown together with the record */
    }
    *ret_payload = p->data + (p->head & (p->size - 1)) + sizeof(struct idm_header);
    return 0;
}

static void ring_bell(int bell)
{
    uint64_t one = 1;
    if (bell < 0)
        return;
    /* EAGAIN: the counter is full, so the other side has enough to wake up to.
     * Anything else can't be helped here; a dead peer is noticed elsewhere. */
    while (write(bell, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void idm_publish(struct idm_producer *p, uint16_t msg_type, uint64_t seq, uint32_t flags,
                 uint32_t payload_len)
{
    write_header(p, p->head, msg_type, seq, flags, payload_len);
    p->head += record_bytes(payload_len);
    /*
     * Sequentially consistent, for two reasons. Its release half makes the
     * record visible before the index. And of this store and the load of
     * `asleep` below, against the consumer's store of `asleep` and its load of
     * `head` (idm_wait), at least one side must see the other's store: only a
     * total order over all four forbids that both read the old values, which would be
     * a sleeping consumer that nobody wakes.
     */
    atomic_store_explicit(&p->words->head, p->head, memory_order_seq_cst);
    if (atomic_load_explicit(&p->words->asleep, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&p->words->asleep, 0, memory_order_relaxed) != 0)
        ring_bell(p->bell);
}

static void tell_tail(struct idm_consumer *c)
{
    if (c->tail == c->tail_told)
        return;
    /* Release: our copies out of the records come before the producer may
     * overwrite them. */
    atomic_store_explicit(&c->words->tail, c->tail, memory_order_release);
    c->tail_told = c->tail;
}

static int broken(struct idm_consumer *c)
{
    c->broken = true;
    return -IDM_BROKEN;
}

/* Reads the producer's index, once, into head_seen. */
static int look(struct idm_consumer *c)
{
    /* Acquire: what the producer wrote before this index is visible after it. */
    uint64_t head = atomic_load_explicit(&c->words->head, memory_order_acquire);
    if (head - c->tail > c->size || head - c->tail < c->head_seen - c->tail || head % IDM_ALIGN)
        return broken(c);
    c->head_seen = head;
    return 0;
}

static bool header_is_sane(const struct idm_header *h)
{
    return h->magic == IDM_MAGIC && h->version == IDM_VERSION && (h->flags & ~IDM_FLAGS) == 0;
}

int idm_next(struct idm_consumer *c, struct idm_header *ret_header, void *payload, uint32_t room)
{
    for (;;) {
        if (c->broken)
            return -IDM_BROKEN;
        if (c->tail == c->head_seen) {
            if (look(c) < 0)
                return -IDM_BROKEN;
            if (c->tail == c->head_seen) {
                tell_tail(c);
                return 0;
            }
        }
        uint64_t at = c->tail & (c->size - 1);
        uint64_t there = c->head_seen - c->tail;
        uint64_t to_end = c->size - at;
        struct idm_header h;
        memcpy(&h, c->data + at, sizeof(h)); /* the only read of the header */
        uint64_t bytes = record_bytes(h.payload_len);
        if (!header_is_sane(&h) || bytes > there || bytes > to_end)
            return broken(c);
        if (h.msg_type == IDM_MSG_PAD) {
            if (bytes != to_end)
                return broken(c);
            c->tail += bytes;
            continue;
        }
        if (h.payload_len > room)
            return broken(c);
        memcpy(payload, c->data + at + sizeof(h), h.payload_len);
        c->tail += bytes;
        /* Not for every record: it would cost the producer a cache miss each. */
        if (c->tail - c->tail_told >= c->size / 8)
            tell_tail(c);
        *ret_header = h;
        return 1;
    }
}

bool idm_ready(struct idm_consumer *c)
{
    return c->broken || c->tail != c->head_seen ||
           atomic_load_explicit(&c->words->head, memory_order_acquire) != c->tail;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * Looks for NS before it gives up. After a while it offers its processor to
 * others between looks: the one that is waited for may be queued on this very
 * processor (a wake-up likes to put it there), and would run only after the
 * whole NS.
 */
static bool spin(struct idm_consumer *c, int64_t ns)
{
    if (idm_ready(c))
        return true;
    if (ns <= 0)
        return false;
    int64_t start = now_ns();
    int64_t now = start;
    do {
        if (now - start > ALONE_NS)
            sched_yield();
        for (int i = 0; i < 64; i++) {
            if (idm_ready(c))
                return true;
            idm_relax();
        }
        now = now_ns();
    } while (now - start < ns);
    return false;
}

/* Until the bell, other_fd or the time-out. True: other_fd. */
static bool sleep_on(struct idm_consumer *c, const struct idm_wait *how)
{
    struct pollfd fds[2] = {{.fd = c->bell, .events = POLLIN},
                            {.fd = how->other_fd, .events = POLLIN}};
    struct timespec t = {.tv_sec = how->timeout_ns / 1000000000,
                         .tv_nsec = how->timeout_ns % 1000000000};
    int n = ppoll(fds, 2, how->timeout_ns < 0 ? NULL : &t, NULL);
    if (n <= 0)
        return false;
    if (fds[0].revents) {
        uint64_t count;
        /* Non-blocking. That the bell is silent again matters before the next
         * sleep only; a failure means an early wake-up, no lost one. */
        ssize_t got = read(c->bell, &count, sizeof(count));
        (void)got;
    }
    return fds[1].revents != 0;
}

int idm_wait(struct idm_consumer *c, const struct idm_wait *how)
{
    if (spin(c, how->spin_ns))
        return 1;
    /* A producer that waits for room must see all that we have read. */
    tell_tail(c);
    /* Arm, then look again, then sleep: see idm_publish. */
    atomic_store_explicit(&c->words->asleep, 1, memory_order_seq_cst);
    bool other = false;
    if (atomic_load_explicit(&c->words->head, memory_order_seq_cst) == c->tail)
        other = sleep_on(c, how);
    /* Relaxed: a bell rung for nothing is the worst that can come of it. */
    atomic_store_explicit(&c->words->asleep, 0, memory_order_relaxed);
    if (idm_ready(c))
        return 1;
    return other ? -IDM_GONE : 0;
}
