/* SPDX-License-Identifier: Apache-2.0 */
/* The zone's page: the quota holds across processes, whatever dies when. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "minitest.h"
#include "page.h"

#define QUOTA   1000
#define WORKERS 6

static struct zone_page *page;
static int fd;

static void test_reserve_and_release(void)
{
    EXPECT(page_reserve(page, 0, 600));
    EXPECT(page_reserve(page, 1, 400));
    EXPECT(!page_reserve(page, 2, 1));
    EXPECT_EQ(page_memory_used(page), QUOTA);
    page_release(page, 0, 100);
    EXPECT(page_reserve(page, 2, 100));
    EXPECT(!page_reserve(page, 0, UINT64_MAX)); /* no overflow makes room */
    EXPECT(!page_reserve(page, 0, UINT64_MAX - 500));
    /* More released than held leaves nothing, not a huge figure. */
    page_release(page, 0, 10000);
    EXPECT_EQ(page_memory_used(page), 500);
    page_clear(page, 1);
    page_clear(page, 2);
    EXPECT_EQ(page_memory_used(page), 0);
}

static void test_counters(void)
{
    struct page_counters c;
    atomic_fetch_add(&page->slots[3].calls, 5);
    atomic_fetch_add(&page->slots[3].quota_refusals, 2);
    page_read(page, 3, &c);
    EXPECT_EQ(c.calls, 5);
    EXPECT_EQ(c.quota_refusals, 2);
    page_clear(page, 3);
    page_read(page, 3, &c);
    EXPECT_EQ(c.calls, 0);
}

static void hammer(uint32_t slot, _Atomic int *over)
{
    unsigned seed = slot;
    uint64_t held = 0;
    for (;;) {
        uint64_t want = (uint64_t)rand_r(&seed) % 400;
        if (held && rand_r(&seed) % 2) {
            page_release(page, slot, held);
            held = 0;
        } else if (page_reserve(page, slot, want)) {
            held += want;
            /* What this worker holds is granted; beside it there may be others'
             * attempts, which are no grants. So only one's own part is sure. */
            if (held > QUOTA)
                atomic_fetch_add(over, 1);
        }
    }
}

/* Workers race for the quota and are killed in the middle; granted bytes are
 * counted by the test's own ledger. */
static void test_killed_workers_give_back(void)
{
    _Atomic int *over = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(over != MAP_FAILED);
    for (int round = 0; round < 20; round++) {
        pid_t pids[WORKERS];
        for (uint32_t i = 0; i < WORKERS; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                hammer(i, over);
                _exit(0);
            }
        }
        usleep(10000);
        for (uint32_t i = 0; i < WORKERS; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
            page_clear(page, i);
        }
        EXPECT_EQ(page_memory_used(page), 0);
        EXPECT(page_reserve(page, 0, QUOTA));
        page_clear(page, 0);
    }
    EXPECT_EQ(atomic_load(over), 0);
    munmap((void *)over, 4096);
}

/* Each of two workers wants more than half: never may both have it. */
static void test_no_double_grant(void)
{
    struct shared {
        _Atomic int holders;
        _Atomic int both;
        _Atomic int grants;
    } *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(s != MAP_FAILED);
    pid_t pids[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            for (int n = 0; n < 3000; n++) {
                if (!page_reserve(page, i, QUOTA / 2 + 1))
                    continue;
                if (atomic_fetch_add(&s->holders, 1) != 0)
                    atomic_fetch_add(&s->both, 1);
                atomic_fetch_add(&s->grants, 1);
                atomic_fetch_sub(&s->holders, 1);
                page_release(page, i, QUOTA / 2 + 1);
            }
            _exit(0);
        }
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        waitpid(pids[i], NULL, 0);
    EXPECT_EQ(atomic_load(&s->both), 0);
    EXPECT(atomic_load(&s->grants) > 0);
    EXPECT_EQ(page_memory_used(page), 0);
    munmap(s, 4096);
}

static void test_sealed(void)
{
    struct zone_page *again;
    EXPECT(ftruncate(fd, 0) < 0); /* a worker can't pull the page from under the broker */
    EXPECT(page_map(fd, &again, NULL) == 0);
    page_unmap(again);
}

int main(void)
{
    if (page_create("test", QUOTA, 100, &fd, &page, NULL) < 0)
        return 1;
    MT_RUN(test_reserve_and_release);
    MT_RUN(test_counters);
    MT_RUN(test_no_double_grant);
    MT_RUN(test_killed_workers_give_back);
    MT_RUN(test_sealed);
    page_unmap(page);
    close(fd);
    return mt_done();
}
