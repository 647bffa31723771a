/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a link over a socket pair, each on its thread. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "link/frame.h"
#include "link/link.h"

#define BIG (3u << 20)

static ssize_t sock_read(void *data, void *buf, size_t n)
{
    ssize_t got = recv(*(int *)data, buf, n, MSG_DONTWAIT);
    return got > 0 ? got : got < 0 && errno == EAGAIN ? 0 : -1;
}

static ssize_t sock_write(void *data, const void *buf, size_t n)
{
    ssize_t put = send(*(int *)data, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return put >= 0 ? put : errno == EAGAIN ? 0 : -1;
}

static int sock_attend(void *data)
{
    (void)data;
    return 0;
}

struct end {
    struct link *link;
    int sock;
    pthread_t thread;
    int rc;
    int accepted[8]; /* what the accepting end was given, for the test */
    int n_accepted;
    bool packets;
    pthread_mutex_t lock;
};

struct world {
    struct end host, zone;
};

static void *run(void *arg)
{
    struct end *e = arg;
    e->rc = link_run(e->link, NULL);
    return NULL;
}

static int accept_stream(void *data)
{
    struct end *e = data;
    int pair[2];
    int type = e->packets ? SOCK_SEQPACKET : SOCK_STREAM;
    if (e->n_accepted == 8 || socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return -GI_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&e->lock);
    e->accepted[e->n_accepted++] = pair[1];
    pthread_mutex_unlock(&e->lock);
    return pair[0];
}

static void start(struct end *e, enum link_kind kind, bool accepts)
{
    struct link_pipe pipe = {e->sock, true, sock_read, sock_write, sock_attend, &e->sock, 0};
    pthread_mutex_init(&e->lock, NULL);
    e->packets = kind == LINK_PACKETS;
    assert_int_equal(link_new(&pipe, kind, accepts ? accept_stream : NULL, e, &e->link, NULL), 0);
    assert_int_equal(pthread_create(&e->thread, NULL, run, e), 0);
}

static void await_ready(struct end *e)
{
    struct pollfd p = {.fd = link_ready_fd(e->link), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
}

static int set_up_kind(void **state, enum link_kind kind)
{
    struct world *w = calloc(1, sizeof(*w));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    w->host.sock = pair[0];
    w->zone.sock = pair[1];
    start(&w->host, kind, false);
    start(&w->zone, kind, true);
    await_ready(&w->host);
    assert_true(link_up(w->host.link));
    *state = w;
    return 0;
}

static int set_up(void **state)
{
    return set_up_kind(state, LINK_BYTES);
}

static int set_up_packets(void **state)
{
    return set_up_kind(state, LINK_PACKETS);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    link_stop(w->host.link);
    link_stop(w->zone.link);
    pthread_join(w->host.thread, NULL);
    pthread_join(w->zone.thread, NULL);
    link_free(w->host.link);
    link_free(w->zone.link);
    for (int i = 0; i < w->zone.n_accepted; i++)
        close(w->zone.accepted[i]);
    close(w->host.sock);
    close(w->zone.sock);
    free(w);
    return 0;
}

static int take_accepted(struct end *e, int i)
{
    for (int t = 0; t < 2000; t++) {
        pthread_mutex_lock(&e->lock);
        int fd = e->n_accepted > i ? e->accepted[i] : -1;
        pthread_mutex_unlock(&e->lock);
        if (fd >= 0)
            return fd;
        usleep(5000);
    }
    return -1;
}

/* A new stream and its far end. */
static void stream(struct world *w, int *near, int *far)
{
    int n = w->zone.n_accepted;
    assert_int_equal(link_open(w->host.link, near, NULL), 0);
    *far = take_accepted(&w->zone, n);
    assert_true(*far >= 0);
}

static void say(int fd, const char *text)
{
    assert_int_equal(gi_write_full(fd, text, strlen(text)), 0);
}

static void hear(int fd, const char *text)
{
    char got[64] = "";
    assert_int_equal(gi_read_full(fd, got, strlen(text)), 0);
    assert_string_equal(got, text);
}

/* By a reset, too: that is what a socket says whose peer left words unread. */
static void hear_end(int fd)
{
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(read(fd, &c, 1) <= 0);
}

static void carries_both_ways_and_half_closes(void **state)
{
    int a, b, c, d;
    stream(*state, &a, &b);
    stream(*state, &c, &d);
    say(a, "to the zone");
    say(d, "to the host, other stream");
    hear(b, "to the zone");
    hear(c, "to the host, other stream");
    shutdown(a, SHUT_WR);
    hear_end(b);
    say(b, "after the end");
    hear(a, "after the end");
    shutdown(b, SHUT_WR);
    hear_end(a);
    close(a);
    close(c);
    hear_end(d);
}

struct flow {
    int fd;
    unsigned seed;
};

static void *pour(void *arg)
{
    struct flow *f = arg;
    unsigned x = f->seed;
    uint32_t block[1024];
    for (unsigned i = 0; i < BIG / sizeof(block); i++) {
        for (unsigned k = 0; k < 1024; k++)
            block[k] = x = x * 1664525u + 1013904223u;
        if (gi_write_full(f->fd, block, sizeof(block)) < 0)
            return NULL;
    }
    shutdown(f->fd, SHUT_WR);
    return NULL;
}

static void drain(int fd, unsigned seed)
{
    uint32_t block[1024];
    unsigned x = seed;
    for (unsigned i = 0; i < BIG / sizeof(block); i++) {
        assert_int_equal(gi_read_full(fd, block, sizeof(block)), 0);
        for (unsigned k = 0; k < 1024; k++) {
            x = x * 1664525u + 1013904223u;
            assert_int_equal(block[k], x);
        }
    }
    hear_end(fd);
}

static void every_byte_of_much_arrives(void **state)
{
    int near[3], far[3];
    struct flow f[6];
    pthread_t t[6];
    for (int i = 0; i < 3; i++) {
        stream(*state, &near[i], &far[i]);
        f[2 * i] = (struct flow){near[i], (unsigned)i + 1};
        f[2 * i + 1] = (struct flow){far[i], (unsigned)i + 100};
    }
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], NULL, pour, &f[i]);
    for (int i = 0; i < 3; i++) {
        drain(far[i], (unsigned)i + 1);
        drain(near[i], (unsigned)i + 100);
    }
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 3; i++)
        close(near[i]);
}

static void one_that_does_not_read_holds_up_no_other(void **state)
{
    int a, b, c, d;
    char block[4096] = {0};
    size_t in = 0;
    stream(*state, &a, &b);
    stream(*state, &c, &d);
    struct pollfd p = {.fd = a, .events = POLLOUT};
    while (poll(&p, 1, 300) == 1) {
        ssize_t n = send(a, block, sizeof(block), MSG_DONTWAIT);
        in += n > 0 ? (size_t)n : 0;
    }
    assert_true(in >= LINK_WINDOW && in < 16 * LINK_WINDOW);
    say(c, "meanwhile");
    hear(d, "meanwhile");
    for (size_t got = 0; got < in;) {
        ssize_t n = read(b, block, sizeof(block));
        assert_true(n > 0);
        got += (size_t)n;
    }
    close(a);
    hear_end(b);
    close(c);
}

/* A container's end: its last words come although somebody writes to it. */
static void last_words_are_heard(void **state)
{
    struct world *w = *state;
    int a, b;
    char block[4096] = {0};
    stream(w, &a, &b);
    for (int i = 0; i < 32; i++)
        assert_true(send(a, block, sizeof(block), MSG_NOSIGNAL) > 0);
    say(b, "exit code 3");
    close(b);
    w->zone.accepted[w->zone.n_accepted - 1] = -1;
    for (int i = 0; i < 32; i++) {
        send(a, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);
        usleep(1000);
    }
    hear(a, "exit code 3");
    hear_end(a);
    close(a);
}

static void what_is_closed_here_hangs_up_there(void **state)
{
    int a, b;
    stream(*state, &a, &b);
    say(a, "x");
    close(a);
    hear(b, "x");
    hear_end(b);
    for (int i = 0; i < 1000; i++) {
        if (send(b, "y", 1, MSG_NOSIGNAL) < 0)
            break;
        usleep(5000);
    }
    assert_int_equal(send(b, "y", 1, MSG_NOSIGNAL), -1);
}

static void a_peer_that_goes_ends_every_stream(void **state)
{
    struct world *w = *state;
    int a, b, c;
    stream(w, &a, &b);
    shutdown(w->zone.sock, SHUT_RDWR);
    hear_end(a);
    hear_end(b);
    for (int i = 0; i < 1000 && link_up(w->host.link); i++)
        usleep(5000);
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(link_open(w->host.link, &c, &err), -GI_UNAVAILABLE);
    close(a);
}

static void packets_stay_packets(void **state)
{
    static char big[LINK_CHUNK + 1], got[LINK_CHUNK + 1];
    int a, b;
    stream(*state, &a, &b);
    memset(big, 'p', sizeof(big));
    for (size_t n = 1; n < LINK_CHUNK; n = n * 3 + 1)
        assert_int_equal(send(a, big, n, MSG_NOSIGNAL), n);
    assert_int_equal(send(a, big, LINK_CHUNK, MSG_NOSIGNAL), LINK_CHUNK);
    for (size_t n = 1; n < LINK_CHUNK; n = n * 3 + 1)
        assert_int_equal(recv(b, got, sizeof(got), 0), n);
    assert_int_equal(recv(b, got, sizeof(got), 0), LINK_CHUNK);
    for (int i = 0; i < 200; i++) { /* more than a window in all */
        assert_int_equal(send(b, big, 30000, MSG_NOSIGNAL), 30000);
        assert_int_equal(recv(a, got, sizeof(got), 0), 30000);
    }
    /* One that is too long ends its stream instead of arriving in part. */
    assert_int_equal(send(a, big, sizeof(big), MSG_NOSIGNAL), sizeof(big));
    assert_true(recv(b, got, sizeof(got), 0) <= 0);
    close(a);
}

/* What the host's end returns for BYTES from a zone. */
static int against(const void *bytes, size_t n)
{
    int pair[2];
    struct end host = {.rc = 0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.sock = pair[0];
    start(&host, LINK_BYTES, false);
    assert_int_equal(gi_write_full(pair[1], bytes, n), 0);
    shutdown(pair[1], SHUT_WR);
    pthread_join(host.thread, NULL);
    link_free(host.link);
    close(pair[0]);
    close(pair[1]);
    return host.rc;
}

static size_t frame(char *out, uint8_t type, uint32_t id, const char *payload, size_t n)
{
    struct link_frame f = {.type = type, .length = (uint16_t)n, .stream = id};
    memcpy(out, &f, sizeof(f));
    memcpy(out + sizeof(f), payload, n);
    return sizeof(f) + n;
}

static void lies_end_the_link(void **state)
{
    char bytes[256];
    (void)state;
    assert_int_equal(against("no protocol of ours at all", 26), -GI_DATA_LOSS);
    assert_int_equal(against(bytes, frame(bytes, LINK_DATA, 1, "early", 5)), -GI_DATA_LOSS);
    size_t n = frame(bytes, LINK_HELLO, 0, LINK_HELLO_BYTES, 8);
    assert_int_equal(against(bytes, n), -GI_UNAVAILABLE); /* it only went */
    size_t twice = n + frame(bytes + n, LINK_HELLO, 0, LINK_HELLO_BYTES, 8);
    assert_int_equal(against(bytes, twice), -GI_DATA_LOSS);
    size_t opens = n + frame(bytes + n, LINK_OPEN, 1, "", 0);
    assert_int_equal(against(bytes, opens), -GI_DATA_LOSS);
    size_t unknown = n + frame(bytes + n, LINK_DATA, 77, "nobody's", 8);
    assert_int_equal(against(bytes, unknown), -GI_UNAVAILABLE); /* L4 */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(carries_both_ways_and_half_closes),
        TEST(every_byte_of_much_arrives),
        TEST(one_that_does_not_read_holds_up_no_other),
        TEST(last_words_are_heard),
        TEST(what_is_closed_here_hangs_up_there),
        TEST(a_peer_that_goes_ends_every_stream),
        cmocka_unit_test_setup_teardown(packets_stay_packets, set_up_packets, tear_down),
        cmocka_unit_test(lies_end_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
