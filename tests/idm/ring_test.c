/* SPDX-License-Identifier: Apache-2.0 */
/* One side of a ring against an honest other side, and against a hostile one. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "idm/ring.h"
#include "minitest.h"

#define RING_BYTES (64u << 10)

struct pair {
    uint8_t *memory;
    struct idm_ring_page *page;
    struct idm_producer out;
    struct idm_consumer in;
    struct idm_layout layout;
};

static bool start(struct pair *p)
{
    memset(p, 0, sizeof(*p));
    p->memory = aligned_alloc(4096, RING_BYTES);
    if (!p->memory)
        return false;
    memset(p->memory, 0, RING_BYTES);
    p->page = (struct idm_ring_page *)p->memory;
    return idm_layout(RING_BYTES, &p->layout) &&
           idm_producer_init(&p->out, p->memory, RING_BYTES, true) == 0 &&
           idm_consumer_init(&p->in, p->memory, RING_BYTES, true) == 0;
}

static void stop(struct pair *p)
{
    free(p->memory);
}

static uint8_t pattern(uint64_t seq, uint32_t i)
{
    return (uint8_t)(seq * 31 + i * 7 + (i >> 8));
}

static int send(struct pair *p, uint64_t seq, uint32_t len)
{
    void *to;
    int rc = idm_reserve(&p->out, len, &to);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < len; i++)
        ((uint8_t *)to)[i] = pattern(seq, i);
    idm_publish(&p->out, 7, seq, IDM_FLAG_WANT_REPLY, len);
    return 0;
}

/* Takes one record and compares it with what send(SEQ) wrote. */
static bool expect(struct pair *p, uint64_t seq, uint32_t len)
{
    static uint8_t buf[RING_BYTES];
    struct idm_header h;
    if (idm_next(&p->in, &h, buf, sizeof(buf)) != 1)
        return false;
    if (h.seq_num != seq || h.payload_len != len || h.msg_type != 7 ||
        h.flags != IDM_FLAG_WANT_REPLY)
        return false;
    for (uint32_t i = 0; i < len; i++) {
        if (buf[i] != pattern(seq, i))
            return false;
    }
    return true;
}

static void test_layout(void)
{
    struct idm_layout l;
    EXPECT(!idm_layout(0, &l));
    EXPECT(!idm_layout(IDM_CONTROL_PAGE + 4 * 8192 - 1, &l));
    EXPECT(!idm_layout(UINT64_MAX, &l));
    for (uint64_t bytes = 64u << 10; bytes <= 16u << 20; bytes += 4096) {
        REQUIRE(idm_layout(bytes, &l));
        EXPECT((l.submission_bytes & (l.submission_bytes - 1)) == 0);
        EXPECT((l.completion_bytes & (l.completion_bytes - 1)) == 0);
        EXPECT(l.submission_at >= IDM_CONTROL_PAGE);
        EXPECT(l.completion_at >= l.submission_at + l.submission_bytes);
        EXPECT(l.completion_at + l.completion_bytes <= bytes);
        EXPECT(idm_max_payload(l.completion_bytes) >= 4096);
    }
}

/* Every length, so that every place of the end is met, with the ring kept full. */
static void test_all_lengths(void)
{
    struct pair p;
    REQUIRE(start(&p));
    uint64_t sent = 0, taken = 0;
    uint32_t lens[4096];
    for (uint32_t len = 0; len < 3000; len++) {
        int rc;
        while ((rc = send(&p, sent, len)) == -IDM_FULL) {
            REQUIRE(taken < sent);
            EXPECT(expect(&p, taken, lens[taken % 4096]));
            taken++;
        }
        REQUIRE(rc == 0);
        lens[sent++ % 4096] = len;
    }
    for (; taken < sent; taken++)
        EXPECT(expect(&p, taken, lens[taken % 4096]));
    struct idm_header h;
    EXPECT_EQ(idm_next(&p.in, &h, lens, sizeof(lens)), 0);
    EXPECT(!idm_ready(&p.in));
    stop(&p);
}

static void test_longest(void)
{
    struct pair p;
    void *to;
    REQUIRE(start(&p));
    uint32_t max = idm_max_payload(p.layout.submission_bytes);
    for (uint64_t i = 0; i < 9; i++) {
        EXPECT_EQ(send(&p, i, max), 0);
        EXPECT(expect(&p, i, max));
        EXPECT_EQ(send(&p, i, 1), 0); /* so that the next one has to skip the end */
        EXPECT(expect(&p, i, 1));
    }
    EXPECT_EQ(idm_reserve(&p.out, max + 1, &to), -IDM_BROKEN);
    EXPECT_EQ(idm_reserve(&p.out, UINT32_MAX, &to), -IDM_BROKEN);
    EXPECT_EQ(send(&p, 9, 8), 0); /* asking for too much breaks nothing */
    EXPECT(expect(&p, 9, 8));
    stop(&p);
}

static void test_full(void)
{
    struct pair p;
    void *to;
    uint64_t n = 0;
    REQUIRE(start(&p));
    while (send(&p, n, 96) == 0)
        n++;
    EXPECT_EQ(n, p.layout.submission_bytes / 128);
    EXPECT_EQ(idm_reserve(&p.out, 0, &to), -IDM_FULL);
    for (uint64_t i = 0; i < n; i++)
        EXPECT(expect(&p, i, 96));
    EXPECT_EQ(send(&p, n, 96), 0);
    stop(&p);
}

/* Nothing is visible before it is published, not even the pad before it. */
static void test_reserve_shows_nothing(void)
{
    struct pair p;
    struct idm_header h;
    void *to;
    uint8_t buf[64];
    REQUIRE(start(&p));
    while (p.layout.submission_bytes - (p.out.head % p.layout.submission_bytes) > 64) {
        REQUIRE(send(&p, 0, 32) == 0);
        REQUIRE(idm_next(&p.in, &h, buf, sizeof(buf)) == 1);
    }
    EXPECT_EQ(idm_reserve(&p.out, 256, &to), 0);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), 0);
    idm_publish(&p.out, 9, 1, 0, 0);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), 1);
    EXPECT_EQ(h.msg_type, 9);
    stop(&p);
}

/* --- A hostile producer ------------------------------------------------------ */

/* CODE spoils the memory between the publishing of one record and its taking. */
#define HOSTILE(what, code)                                                                        \
    do {                                                                                           \
        struct pair p;                                                                             \
        struct idm_header got;                                                                     \
        uint8_t buf[4096];                                                                         \
        REQUIRE(start(&p));                                                                        \
        REQUIRE(send(&p, 1, 64) == 0);                                                             \
        struct idm_header *h = (struct idm_header *)(p.memory + p.layout.submission_at);           \
        _Atomic uint64_t *head = &p.page->submission.head;                                         \
        (void)h;                                                                                   \
        (void)head;                                                                                \
        code;                                                                                      \
        if (idm_next(&p.in, &got, buf, sizeof(buf)) != -IDM_BROKEN) {                              \
            fprintf(stderr, "%s\n", what);                                                         \
            EXPECT(!"refused");                                                                    \
        }                                                                                          \
        /* And so it stays, whatever is there afterwards. */                                       \
        EXPECT(p.in.broken);                                                                       \
        EXPECT_EQ(idm_next(&p.in, &got, buf, sizeof(buf)), -IDM_BROKEN);                           \
        EXPECT(idm_ready(&p.in)); /* nobody goes to sleep on it */                                 \
        stop(&p);                                                                                  \
    } while (0)

static void test_hostile_head(void)
{
    HOSTILE("unaligned", atomic_store(head, 33));
    HOSTILE("beyond the ring", atomic_store(head, p.layout.submission_bytes + 32));
    HOSTILE("far beyond", atomic_store(head, UINT64_MAX - 31));
    HOSTILE("in the middle of the record", atomic_store(head, 32));
    HOSTILE("half the numbers away", atomic_store(head, 1ull << 63));
}

/* Once seen, the index only grows. */
static void test_hostile_head_goes_back(void)
{
    struct pair p;
    struct idm_header h;
    uint8_t buf[256];
    REQUIRE(start(&p));
    REQUIRE(send(&p, 1, 64) == 0 && send(&p, 2, 64) == 0);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), 1);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), 1);
    atomic_store(&p.page->submission.head, 32);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), -IDM_BROKEN);
    stop(&p);
}

static void test_hostile_header(void)
{
    HOSTILE("magic", h->magic++);
    HOSTILE("version", h->version++);
    HOSTILE("flags", h->flags = 4);
    HOSTILE("all flags", h->flags = UINT32_MAX);
    HOSTILE("longer than what is there", h->payload_len = 65);
    HOSTILE("longer than the ring", h->payload_len = UINT32_MAX);
    HOSTILE("nearly wraps", h->payload_len = UINT32_MAX - 31);
    HOSTILE("longer than the room for it", {
        atomic_store(head, p.layout.submission_bytes);
        h->payload_len = 4097;
    });
    HOSTILE("pad that isn't to the end", h->msg_type = IDM_MSG_PAD);
}

/* Past the end of the ring, though the indices allow it. */
static void test_hostile_record_over_the_end(void)
{
    struct pair p;
    struct idm_header h;
    uint8_t buf[4096];
    REQUIRE(start(&p));
    uint64_t size = p.layout.submission_bytes;
    for (uint64_t at = 0; at < size - 64; at += 64) {
        REQUIRE(send(&p, 0, 32) == 0);
        REQUIRE(idm_next(&p.in, &h, buf, sizeof(buf)) == 1);
    }
    REQUIRE(send(&p, 0, 32) == 0);
    REQUIRE(send(&p, 0, 32) == 0);
    h = (struct idm_header){.magic = IDM_MAGIC, .version = IDM_VERSION, .payload_len = 96};
    memcpy(p.memory + p.layout.submission_at + size - 64, &h, sizeof(h));
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), -IDM_BROKEN);
    stop(&p);
}

/* What the program sees can't be changed after it was checked. */
static void test_copied_once(void)
{
    struct pair p;
    struct idm_header h;
    uint8_t buf[64];
    REQUIRE(start(&p));
    REQUIRE(send(&p, 5, 64) == 0);
    EXPECT_EQ(idm_next(&p.in, &h, buf, sizeof(buf)), 1);
    memset(p.memory, 0xff, RING_BYTES);
    EXPECT_EQ(h.seq_num, 5);
    EXPECT_EQ(h.payload_len, 64);
    for (uint32_t i = 0; i < 64; i++)
        EXPECT_EQ(buf[i], pattern(5, i));
    stop(&p);
}

/* --- A hostile consumer ------------------------------------------------------ */

static void bad_tail(const char *what, uint64_t tail)
{
    struct pair p;
    void *to;
    REQUIRE(start(&p));
    atomic_store(&p.page->submission.tail, tail);
    int rc = 0;
    for (int i = 0; i < 10000 && rc == 0; i++)
        rc = send(&p, 0, 32);
    if (rc != -IDM_BROKEN)
        fprintf(stderr, "tail %s: %d\n", what, rc);
    EXPECT_EQ(rc, -IDM_BROKEN);
    EXPECT_EQ(idm_reserve(&p.out, 8, &to), -IDM_BROKEN);
    stop(&p);
}

static void test_hostile_tail(void)
{
    bad_tail("unaligned", 31);
    bad_tail("beyond the head", 1u << 20);
    bad_tail("before the beginning", UINT64_MAX - 31);
}

static void test_hostile_tail_goes_back(void)
{
    struct pair p;
    struct idm_header h;
    uint8_t buf[64];
    int rc = 0;
    REQUIRE(start(&p));
    while ((rc = send(&p, 0, 32)) == 0)
        ;
    EXPECT_EQ(rc, -IDM_FULL);
    while (idm_next(&p.in, &h, buf, sizeof(buf)) == 1)
        ;
    while ((rc = send(&p, 0, 32)) == 0)
        ;
    EXPECT_EQ(rc, -IDM_FULL);
    atomic_store(&p.page->submission.tail, 64);
    EXPECT_EQ(send(&p, 0, 32), -IDM_BROKEN);
    stop(&p);
}

/* A broken producer publishes nothing more and touches nothing. */
static void test_own_words_are_not_read(void)
{
    struct pair p;
    REQUIRE(start(&p));
    REQUIRE(send(&p, 1, 32) == 0);
    atomic_store(&p.page->submission.head, 12345); /* the other side scribbles over ours */
    REQUIRE(send(&p, 2, 32) == 0);
    EXPECT_EQ(atomic_load(&p.page->submission.head), 128);
    EXPECT(expect(&p, 1, 32) && expect(&p, 2, 32));
    stop(&p);
}

/* --- Waiting ------------------------------------------------------------------ */

static void test_wait(void)
{
    struct pair p;
    int other[2];
    uint64_t count = 0;
    REQUIRE(start(&p) && pipe(other) == 0);
    p.in.bell = p.out.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct idm_wait how = {.timeout_ns = 2000000, .other_fd = other[0]};
    EXPECT_EQ(idm_wait(&p.in, &how), 0);
    /* Nobody sleeps: no bell. */
    REQUIRE(send(&p, 1, 8) == 0);
    EXPECT(read(p.in.bell, &count, sizeof(count)) < 0);
    EXPECT_EQ(idm_wait(&p.in, &how), 1);
    EXPECT(expect(&p, 1, 8));
    /* Somebody does: one bell for many records. */
    atomic_store(&p.page->submission.asleep, 1);
    REQUIRE(send(&p, 2, 8) == 0 && send(&p, 3, 8) == 0);
    EXPECT(read(p.in.bell, &count, sizeof(count)) == sizeof(count) && count == 1);
    /* A record counts more than the end of the other. */
    close(other[1]);
    EXPECT_EQ(idm_wait(&p.in, &how), 1);
    EXPECT(expect(&p, 2, 8) && expect(&p, 3, 8));
    EXPECT_EQ(idm_wait(&p.in, &how), -IDM_GONE);
    close(other[0]);
    close(p.in.bell);
    stop(&p);
}

int main(void)
{
    MT_RUN(test_layout);
    MT_RUN(test_all_lengths);
    MT_RUN(test_longest);
    MT_RUN(test_full);
    MT_RUN(test_reserve_shows_nothing);
    MT_RUN(test_hostile_head);
    MT_RUN(test_hostile_head_goes_back);
    MT_RUN(test_hostile_header);
    MT_RUN(test_hostile_record_over_the_end);
    MT_RUN(test_copied_once);
    MT_RUN(test_hostile_tail);
    MT_RUN(test_hostile_tail_goes_back);
    MT_RUN(test_own_words_are_not_read);
    MT_RUN(test_wait);
    return mt_done();
}
