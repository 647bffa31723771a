/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

struct loop {
    int epfd;
    bool stop;
    struct loop_timer *timers; /* unordered: there are few */
};

int loop_new(struct loop **ret_loop, struct gi_error *err)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail_errno(err, ENOMEM, "event loop");
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epfd < 0) {
        int saved = errno;
        free(l);
        return gi_fail_errno(err, saved, "epoll_create1");
    }
    *ret_loop = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    close(l->epfd);
    free(l);
}

static int next_timeout(const struct loop *l)
{
    int64_t first = 0;
    for (struct loop_timer *t = l->timers; t; t = t->next) {
        if (!first || t->at_ns < first)
            first = t->at_ns;
    }
    if (!first)
        return -1;
    int64_t ms = (first - gi_monotonic_ns() + 999999) / 1000000;
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* One at a time, from the start: a callback may change the list. */
static void run_timers(struct loop *l)
{
    int64_t now = gi_monotonic_ns();
    for (;;) {
        struct loop_timer *t = l->timers;
        while (t && t->at_ns > now)
            t = t->next;
        if (!t)
            return;
        loop_disarm(l, t);
        t->fn(t->data);
    }
}

int loop_run(struct loop *l, struct gi_error *err)
{
    while (!l->stop) {
        /* One event a round: a callback may free any other io, whose event
         * would otherwise still be in the array. */
        struct epoll_event ev;
        int n = epoll_wait(l->epfd, &ev, 1, next_timeout(l));
        if (n < 0 && errno != EINTR)
            return gi_fail_errno(err, errno, "epoll_wait");
        if (n == 1) {
            struct loop_io *io = ev.data.ptr;
            io->fn(io->data, ev.events);
        }
        run_timers(l);
    }
    return 0;
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

int loop_watch(struct loop *l, struct loop_io *io, int fd, uint32_t events,
               void (*fn)(void *data, uint32_t events), void *data)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};
    if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    io->fd = fd;
    io->events = events;
    io->fn = fn;
    io->data = data;
    return 0;
}

void loop_prepare(struct loop_io *io, int fd, void (*fn)(void *data, uint32_t events), void *data)
{
    *io = (struct loop_io){.fd = fd, .events = 0, .fn = fn, .data = data};
}

void loop_events(struct loop *l, struct loop_io *io, uint32_t events)
{
    if (io->fd < 0 || io->events == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = io};
    int op = !events ? EPOLL_CTL_DEL : io->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    epoll_ctl(l->epfd, op, io->fd, &ev);
    io->events = events;
}

void loop_unwatch(struct loop *l, struct loop_io *io)
{
    loop_events(l, io, 0);
    io->fd = -1;
}

void loop_arm(struct loop *l, struct loop_timer *t, int ms, void (*fn)(void *data), void *data)
{
    loop_disarm(l, t);
    t->at_ns = gi_monotonic_ns() + (int64_t)ms * 1000000;
    t->fn = fn;
    t->data = data;
    t->next = l->timers;
    l->timers = t;
}

void loop_disarm(struct loop *l, struct loop_timer *t)
{
    for (struct loop_timer **at = &l->timers; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            break;
        }
    }
    t->at_ns = 0;
}
