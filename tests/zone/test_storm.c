/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many callers at once, most of whom leave in the middle. Afterwards the agent
 * holds what it held before: no descriptor, no process, no stream more.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "talk.h"

#define THREADS 4
#define ROUNDS  60

struct caller {
    pthread_t thread;
    unsigned seed;
    unsigned opened;
    const char *wrong; /* cmocka's asserts are the main thread's */
};

static unsigned draw(struct caller *c, unsigned n)
{
    c->seed = c->seed * 1103515245 + 12345;
    return (c->seed >> 16) % n;
}

static int fresh(struct caller *c)
{
    int fd = -1;
    struct gi_error e = GI_ERROR_INIT;
    if (machine_connect_agent(zone, 5000, &fd, &e) < 0)
        c->wrong = "can't connect";
    return fd;
}

/* Reads for a while, or to the end. */
static void listen_to(struct caller *c, struct agent_session *s, bool to_the_end)
{
    struct agent_session_frame f = {0};
    int64_t until = gi_monotonic_ns() + (to_the_end ? 20000000000 : 20000000);
    while (gi_monotonic_ns() < until) {
        int rc = agent_session_read(s, &f, NULL);
        if (rc < 0 || (rc > 0 && f.kind == AGENT_SESSION_END))
            return;
        struct pollfd p = {.fd = agent_session_fd(s), .events = POLLIN};
        if (rc == 0)
            poll(&p, 1, 10);
    }
    if (to_the_end)
        c->wrong = "a session doesn't end";
}

static void one_exec(struct caller *c)
{
    static const char *const cat[] = {"cat", NULL};
    static const char *const shell[] = {"sh", NULL};
    static const char *const yes[] = {"yes", NULL};
    static const char *const none[] = {"no-such-program", NULL};
    static const char *const *const commands[] = {cat, shell, yes, none};
    char block[4096];
    struct agent_session *s = NULL;
    unsigned which = draw(c, 4);
    bool tty = draw(c, 2);
    struct agent_stream_spec spec = {.container_id = "c",
                                     .argv = commands[which],
                                     .tty = tty,
                                     .in = true,
                                     .out = true,
                                     .err = !tty};
    int fd = fresh(c);
    if (fd < 0 || agent_exec_open(fd, &spec, 30000, &s, NULL) < 0)
        return;
    c->opened++;
    memset(block, 'x', sizeof(block));
    if (draw(c, 2))
        agent_session_write_stdin(s, block, draw(c, sizeof(block)), NULL);
    if (draw(c, 2))
        agent_session_resize(s, 10, 10, NULL);
    bool ends = which == 0 && !tty && draw(c, 2);
    if (ends)
        agent_session_close_stdin(s, NULL);
    listen_to(c, s, ends);
    agent_session_free(s);
}

static void one_attach(struct caller *c)
{
    struct agent_stream_spec spec = {
        .container_id = "c", .in = draw(c, 2), .out = true, .err = draw(c, 2)};
    struct agent_session *s = NULL;
    int fd = fresh(c);
    if (fd < 0 || agent_attach_open(fd, &spec, 30000, &s, NULL) < 0)
        return;
    c->opened++;
    agent_session_write_stdin(s, "abc\n", spec.in ? 4 : 0, NULL);
    if (draw(c, 2))
        agent_session_close_stdin(s, NULL);
    listen_to(c, s, false);
    agent_session_free(s);
}

static void one_port(struct caller *c)
{
    char block[20000];
    int fd = fresh(c);
    int port = -1;
    if (fd < 0 || agent_port_open(fd, draw(c, 4) ? 8080 : 8081, 30000, &port, NULL) < 0)
        return;
    c->opened++;
    memset(block, 'y', sizeof(block));
    ssize_t n = send(port, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (draw(c, 2))
        shutdown(port, SHUT_WR);
    struct pollfd p = {.fd = port, .events = POLLIN};
    if (n > 0 && draw(c, 2) && poll(&p, 1, 5000) != 1)
        c->wrong = "no echo";
    close(port);
}

static void one_stranger(struct caller *c)
{
    static const char words[][9] = {"", "x", "\x04\0\0\0abcd", "\xff\xff\xff\xff"};
    int fd = fresh(c);
    if (fd < 0)
        return;
    send(fd, words[draw(c, 4)], 8, MSG_NOSIGNAL);
    close(fd);
}

static void *call(void *data)
{
    struct caller *c = data;
    for (int i = 0; i < ROUNDS && !c->wrong; i++) {
        unsigned what = draw(c, 8);
        if (what < 3)
            one_exec(c);
        else if (what < 5)
            one_attach(c);
        else if (what < 7)
            one_port(c);
        else
            one_stranger(c);
    }
    return NULL;
}

static int count(const char *folder)
{
    int n = 0;
    cleanup_closedir DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d))
        n++;
    return n;
}

static void storm(void **state)
{
    struct caller callers[THREADS];
    char fds[64];
    char folder[160];
    unsigned opened = 0;
    memset(callers, 0, sizeof(callers));
    run_with("c", "nc -ll -p 8080 -e cat & while true; do echo tick; sleep 0.02; done",
             (struct agent_container_spec){.stdin_open = true});
    snprintf(fds, sizeof(fds), "/proc/%d/fd", machine_pid(zone));
    snprintf(folder, sizeof(folder), "%s/c", talk_scratch());
    wait_processes("nc -ll", 2); /* the shell names it, too */
    usleep(200000);
    int fds_before = count(fds);
    int files_before = count(folder);
    for (unsigned i = 0; i < THREADS; i++) {
        callers[i].seed = i + 1;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        if (callers[i].wrong)
            fail_msg("caller %u: %s", i, callers[i].wrong);
        opened += callers[i].opened;
    }
    printf("%u streams\n", opened);
    assert_true(opened > THREADS * ROUNDS / 4);
    for (int i = 0; i < 200 && (count(fds) != fds_before || count(folder) != files_before); i++)
        usleep(50000);
    assert_int_equal(count(fds), fds_before);
    assert_int_equal(count(folder), files_before);
    wait_processes("yes", 0);
    wait_processes("nc -ll", 2); /* the shell names it, too */
    struct agent_status st;
    assert_ok(agent_container_status(client, "c", 2000, &st, err));
    assert_int_equal(st.state, AGENT_RUNNING);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(storm, zone_up, zone_down),
    };
    return talk_tests(argc, argv, "storm", tests, GI_ARRAY_SIZE(tests));
}
