/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads and both rings of a channel: requests of random lengths, each
 * answered by one that tells what arrived. Both sides sleep now and then, at
 * random, so that lost wake-ups would show (as a time-out). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "idm/ring.h"
#include "minitest.h"

#define RING_BYTES (64u << 10)
#define MAX_LEN    6000u
#define STUCK_NS   20000000000

static unsigned rounds = 200000;
static uint8_t *memory;
static int to_worker, to_client;
static uint32_t worker_wrong;

struct random {
    uint64_t state;
};

static uint32_t draw(struct random *r, uint32_t below)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 33) % below;
}

static uint32_t checksum(const uint8_t *p, uint32_t n)
{
    uint32_t sum = n;
    for (uint32_t i = 0; i < n; i++)
        sum = sum * 31 + p[i];
    return sum;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Mostly at once, sometimes after a sleep that the other side has to end. 0: a
 * wake-up was lost. */
static int take(struct idm_consumer *c, struct random *r, struct idm_header *h, void *buf,
                uint32_t room)
{
    int64_t start = 0;
    for (;;) {
        int rc = idm_next(c, h, buf, room);
        if (rc)
            return rc;
        const struct idm_wait how = {
            .spin_ns = draw(r, 4) ? 20000 : 0, .timeout_ns = STUCK_NS, .other_fd = -1};
        /* An old bell may end the first sleep early. */
        if (!start)
            start = now_ns();
        if (idm_wait(c, &how) == 0 && now_ns() - start >= STUCK_NS)
            return 0;
    }
}

static bool put(struct idm_producer *p, uint16_t type, uint64_t seq, uint32_t flags,
                const void *data, uint32_t len)
{
    void *to;
    int rc;
    while ((rc = idm_reserve(p, len, &to)) == -IDM_FULL) {
        struct timespec nap = {.tv_nsec = 10000};
        nanosleep(&nap, NULL);
    }
    if (rc < 0)
        return false;
    memcpy(to, data, len);
    idm_publish(p, type, seq, flags, len);
    return true;
}

struct answer {
    uint32_t len;
    uint32_t sum;
};

static void *worker(void *unused)
{
    static uint8_t buf[MAX_LEN];
    struct idm_consumer in;
    struct idm_producer out;
    struct random r = {.state = 1};
    struct idm_header h;
    (void)unused;
    if (idm_consumer_init(&in, memory, RING_BYTES, true) < 0 ||
        idm_producer_init(&out, memory, RING_BYTES, false) < 0)
        return NULL;
    in.bell = to_worker;
    out.bell = to_client;
    for (unsigned i = 0; i < rounds; i++) {
        if (take(&in, &r, &h, buf, sizeof(buf)) != 1 || h.seq_num != i) {
            worker_wrong++;
            return NULL;
        }
        struct answer a = {h.payload_len, checksum(buf, h.payload_len)};
        if ((h.flags & IDM_FLAG_WANT_REPLY) &&
            !put(&out, h.msg_type, h.seq_num, IDM_FLAG_REPLY, &a, sizeof(a))) {
            worker_wrong++;
            return NULL;
        }
    }
    return NULL;
}

/* Requests sent and not answered; their answers come in this order. */
#define OUTSTANDING 512

static void test_two_threads(void)
{
    static uint8_t buf[MAX_LEN];
    static struct answer expected[OUTSTANDING];
    static uint64_t expected_seq[OUTSTANDING];
    struct idm_producer out;
    struct idm_consumer in;
    struct idm_header h;
    struct answer a;
    struct random r = {.state = 2};
    pthread_t thread;
    uint64_t asked = 0, answered = 0;
    REQUIRE(idm_producer_init(&out, memory, RING_BYTES, true) == 0);
    REQUIRE(idm_consumer_init(&in, memory, RING_BYTES, false) == 0);
    out.bell = to_worker;
    in.bell = to_client;
    REQUIRE(pthread_create(&thread, NULL, worker, NULL) == 0);
    for (unsigned i = 0; i < rounds; i++) {
        bool ask = draw(&r, 3) == 0;
        uint32_t len = draw(&r, draw(&r, 16) ? 200 : MAX_LEN);
        for (uint32_t k = 0; k < len; k++)
            buf[k] = (uint8_t)draw(&r, 256);
        if (ask) {
            expected[asked % OUTSTANDING] = (struct answer){len, checksum(buf, len)};
            expected_seq[asked++ % OUTSTANDING] = i;
        }
        REQUIRE(put(&out, 5, i, ask ? IDM_FLAG_WANT_REPLY : 0, buf, len));
        /* Some let many answers gather, some wait for the last one. */
        uint64_t keep = i + 1 == rounds ? 0 : draw(&r, 8) ? OUTSTANDING - 1 : draw(&r, 3);
        while (asked - answered > keep) {
            int rc = take(&in, &r, &h, &a, sizeof(a));
            REQUIRE(rc == 1);
            EXPECT_EQ(h.seq_num, expected_seq[answered % OUTSTANDING]);
            EXPECT_EQ(h.payload_len, sizeof(a));
            EXPECT(memcmp(&a, &expected[answered % OUTSTANDING], sizeof(a)) == 0);
            answered++;
        }
    }
    pthread_join(thread, NULL);
    EXPECT_EQ(worker_wrong, 0);
    EXPECT_EQ(answered, asked);
    EXPECT(asked > rounds / 4);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    memory = aligned_alloc(4096, RING_BYTES);
    to_worker = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    to_client = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!memory || to_worker < 0 || to_client < 0)
        return 1;
    memset(memory, 0, RING_BYTES);
    MT_RUN(test_two_threads);
    free(memory);
    return mt_done();
}
