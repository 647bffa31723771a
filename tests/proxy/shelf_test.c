/* SPDX-License-Identifier: Apache-2.0 */
/* A zone's shelf: who gets what, what is charged for how long, and workers that were taken over. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "minitest.h"
#include "shelf_zone.h"

static struct shelf_zone a, b;

static uint64_t shared(struct shelf_zone *s)
{
    return page_memory_used(s->zone.page);
}

/* One request; its answer's code, with what came: UINT32_MAX: no answer. */
static uint32_t ask(struct shelf_zone *s, unsigned i, struct shelf_message *m, int fd, int *ret_fd)
{
    *ret_fd = -1;
    if (!shelf_send(s, i, m, sizeof(*m), fd, fd >= 0))
        return UINT32_MAX;
    shelf_zone_step(s, i);
    return shelf_answer(s, i, m, ret_fd) ? m->code : UINT32_MAX;
}

static uint32_t put(struct shelf_zone *s, unsigned i, enum shelf_kind kind, uint64_t bytes, int fd,
                    struct shelf_token *ret_token)
{
    struct shelf_message m = {.op = SHELF_PUT, .item = {.kind = kind, .dev = 1, .bytes = bytes}};
    int none;
    memset(m.item.handle, (int)kind, sizeof(m.item.handle));
    uint32_t code = ask(s, i, &m, fd, &none);
    EXPECT_EQ(none, -1);
    *ret_token = m.token;
    return code;
}

static uint32_t get(struct shelf_zone *s, unsigned i, enum shelf_kind kind,
                    const struct shelf_token *token, struct shelf_message *ret_message, int *ret_fd)
{
    *ret_message = (struct shelf_message){.op = SHELF_GET, .token = *token, .item = {.kind = kind}};
    return ask(s, i, ret_message, -1, ret_fd);
}

static bool can_get(struct shelf_zone *s, unsigned i, enum shelf_kind kind,
                    const struct shelf_token *token)
{
    struct shelf_message m;
    int fd;
    uint32_t code = get(s, i, kind, token, &m, &fd);
    if (fd >= 0)
        close(fd);
    EXPECT(code == GI_OK || code == GI_NOT_FOUND);
    return code == GI_OK;
}

static void drop(struct shelf_zone *s, unsigned i, const struct shelf_token *token)
{
    struct shelf_message m = {.op = SHELF_DROP, .token = *token};
    int none;
    EXPECT_EQ(ask(s, i, &m, -1, &none), GI_OK); /* whether it was held or not */
}

static bool start(void)
{
    return shelf_zone_open(&a, 1) && shelf_zone_open(&b, 2);
}

static void stop(void)
{
    shelf_zone_close(&a);
    shelf_zone_close(&b);
}

static void test_a_descriptor_travels_in_its_zone(void)
{
    struct shelf_token token;
    struct shelf_message m;
    struct stat here, there;
    int file = memfd_create("memory", MFD_CLOEXEC), fd;
    REQUIRE(start() && file >= 0);
    EXPECT_EQ(put(&a, 0, SHELF_MEMORY, 4096, file, &token), GI_OK);
    EXPECT_EQ(get(&a, 1, SHELF_MEMORY, &token, &m, &fd), GI_OK);
    REQUIRE(fd >= 0 && fstat(file, &here) == 0 && fstat(fd, &there) == 0);
    EXPECT_EQ(here.st_ino, there.st_ino);
    EXPECT_EQ(m.item.dev, 1);
    EXPECT_EQ(m.item.bytes, 4096);
    EXPECT_EQ(m.item.handle[63], SHELF_MEMORY);
    close(fd);
    /* As another thing, by another token, in another zone: there is none. */
    EXPECT(!can_get(&a, 1, SHELF_RANGE, &token));
    EXPECT(!can_get(&b, 1, SHELF_MEMORY, &token));
    token.word[1] ^= 1;
    EXPECT(!can_get(&a, 1, SHELF_MEMORY, &token));
    close(file);
    stop();
}

static void test_memory_is_charged_while_anybody_has_it(void)
{
    struct shelf_token token;
    int file = memfd_create("memory", MFD_CLOEXEC);
    REQUIRE(start());
    EXPECT_EQ(put(&a, 0, SHELF_MEMORY, 1000, file, &token), GI_OK);
    EXPECT_EQ(shared(&a), 1000);
    EXPECT(can_get(&a, 1, SHELF_MEMORY, &token) && can_get(&a, 1, SHELF_MEMORY, &token));
    EXPECT_EQ(shared(&a), 1000); /* once */
    drop(&a, 0, &token);
    drop(&a, 0, &token); /* no hold of somebody else's */
    drop(&a, 2, &token);
    EXPECT_EQ(shared(&a), 1000);
    EXPECT(can_get(&a, 2, SHELF_MEMORY, &token)); /* from whoever has it */
    drop(&a, 1, &token);
    client_end(a.clients[2], "its worker is dead");
    EXPECT_EQ(shared(&a), 1000);
    drop(&a, 1, &token);
    EXPECT_EQ(shared(&a), 0);
    EXPECT_EQ(a.zone.shelf.n, 0);
    EXPECT(!can_get(&a, 1, SHELF_MEMORY, &token));
    close(file);
    stop();
}

static void test_a_handle_ends_with_its_maker(void)
{
    struct shelf_token range, event;
    REQUIRE(start());
    EXPECT_EQ(put(&a, 0, SHELF_RANGE, 500, -1, &range), GI_OK);
    EXPECT_EQ(put(&a, 1, SHELF_EVENT, 0, -1, &event), GI_OK);
    EXPECT(can_get(&a, 1, SHELF_RANGE, &range) && can_get(&a, 2, SHELF_EVENT, &event));
    drop(&a, 0, &range);
    EXPECT(!can_get(&a, 2, SHELF_RANGE, &range));
    EXPECT_EQ(shared(&a), 500); /* somebody has it open */
    client_end(a.clients[1], "its worker is dead");
    EXPECT_EQ(shared(&a), 0);
    EXPECT(!can_get(&a, 0, SHELF_EVENT, &event));
    EXPECT_EQ(a.zone.shelf.n, 1); /* client 2 has the event open */
    stop();
}

static void test_made_up_figures_leave_nothing(void)
{
    struct shelf_token huge, more, right;
    REQUIRE(start());
    EXPECT_EQ(put(&a, 0, SHELF_RANGE, 300, -1, &right), GI_OK);
    EXPECT_EQ(put(&a, 1, SHELF_RANGE, UINT64_MAX, -1, &huge), GI_OK);
    EXPECT_EQ(put(&a, 1, SHELF_RANGE, UINT64_MAX - 5, -1, &more), GI_OK);
    EXPECT_EQ(shared(&a), UINT64_MAX);
    EXPECT_EQ(shared(&b), 0);
    client_end(a.clients[1], "its worker is dead");
    EXPECT_EQ(shared(&a), 300);
    stop();
}

static void test_limit(void)
{
    struct shelf_token token;
    struct rlimit before, few;
    uint32_t n = 0;
    REQUIRE(start() && getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 256; /* half of these are for shelves, and half of them for the first one */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while (n < 100 && put(&a, 0, SHELF_EVENT, 0, -1, &token) == GI_OK)
        n++;
    EXPECT_EQ(n, 64);
    EXPECT_EQ(put(&a, 1, SHELF_EVENT, 0, -1, &token), GI_RESOURCE_EXHAUSTED);
    EXPECT_EQ(put(&b, 0, SHELF_EVENT, 0, -1, &token), GI_OK); /* others have theirs */
    client_end(a.clients[0], "its worker is dead");
    EXPECT_EQ(put(&a, 1, SHELF_EVENT, 0, -1, &token), GI_OK);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    for (n = 0; n < 2 * SHELF_MAX_ITEMS && put(&a, 2, SHELF_EVENT, 0, -1, &token) == GI_OK;)
        n++;
    EXPECT(n < SHELF_MAX_ITEMS);
    EXPECT_EQ(a.zone.shelf.n, n + 1);
    stop();
}

static void test_wrong_items(void)
{
    struct shelf_token token;
    int file = memfd_create("memory", MFD_CLOEXEC);
    REQUIRE(start());
    EXPECT_EQ(put(&a, 0, (enum shelf_kind)0, 0, -1, &token), GI_INVALID_ARGUMENT);
    EXPECT_EQ(put(&a, 0, (enum shelf_kind)4, 0, file, &token), GI_INVALID_ARGUMENT);
    EXPECT_EQ(put(&a, 0, SHELF_MEMORY, 0, -1, &token), GI_INVALID_ARGUMENT);
    EXPECT_EQ(a.zone.shelf.n, 0);
    EXPECT(shelf_zone_has(&a, 0));
    close(file);
    stop();
}

/* Descriptors this process has. */
static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Who says nonsense ends, and nobody else; nothing of it stays. */
static void ends(const void *bytes, size_t len, int fd, unsigned nfds)
{
    int before = descriptors();
    REQUIRE(start());
    EXPECT(shelf_send(&a, 0, bytes, len, fd, nfds));
    shelf_zone_step(&a, 0);
    EXPECT(!shelf_zone_has(&a, 0));
    EXPECT(shelf_zone_has(&a, 1));
    EXPECT_EQ(a.zone.broker_protocol_errors, 1);
    stop();
    EXPECT_EQ(descriptors(), before);
}

static void test_nonsense(void)
{
    struct {
        struct shelf_message m;
        char more[8];
    } m = {.m = {.op = SHELF_DROP}};
    int file = memfd_create("memory", MFD_CLOEXEC);
    ends(&m, sizeof(m.m) - 1, -1, 0);
    ends(&m, sizeof(m), -1, 0);
    ends(&m, 1, file, 1);
    ends(&m, sizeof(m.m), file, 2);
    ends(&m, sizeof(m.m), file, 4);
    m.m.op = 4;
    ends(&m, sizeof(m.m), -1, 0);
    m.m.op = 0;
    ends(&m, sizeof(m.m), file, 1);
    close(file);
}

static void test_answers_nobody_takes(void)
{
    const struct shelf_message m = {.op = SHELF_GET};
    REQUIRE(start());
    for (int i = 0; i < 100000 && shelf_zone_has(&a, 0); i++) {
        if (!shelf_send(&a, 0, &m, sizeof(m), -1, 0) && shelf_zone_has(&a, 0))
            REQUIRE(!"no room for a request");
        shelf_zone_step(&a, 0);
    }
    EXPECT(!shelf_zone_has(&a, 0));
    EXPECT(shelf_zone_has(&a, 1));
    stop();
}

static void test_a_burst_is_cut(void)
{
    const struct shelf_message m = {.op = SHELF_GET};
    struct shelf_message got;
    int fd, n = 0;
    REQUIRE(start());
    for (int i = 0; i < 20; i++)
        EXPECT(shelf_send(&a, 0, &m, sizeof(m), -1, 0));
    shelf_zone_step(&a, 0);
    while (shelf_answer(&a, 0, &got, &fd))
        n++;
    EXPECT_EQ(n, 8);
    /* A worker that has gone is no nonsense. */
    close(a.worker[1]);
    a.worker[1] = memfd_create("nothing", MFD_CLOEXEC);
    shelf_zone_step(&a, 1);
    EXPECT(shelf_zone_has(&a, 1));
    EXPECT_EQ(a.zone.broker_protocol_errors, 0);
    stop();
}

int main(void)
{
    MT_RUN(test_a_descriptor_travels_in_its_zone);
    MT_RUN(test_memory_is_charged_while_anybody_has_it);
    MT_RUN(test_a_handle_ends_with_its_maker);
    MT_RUN(test_made_up_figures_leave_nothing);
    MT_RUN(test_limit);
    MT_RUN(test_wrong_items);
    MT_RUN(test_nonsense);
    MT_RUN(test_answers_nobody_takes);
    MT_RUN(test_a_burst_is_cut);
    return mt_done();
}
