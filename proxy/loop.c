/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "base/cleanup.h"

#define BATCH 64

struct grave {
    struct grave *next;
    void *p;
};

struct loop {
    int epoll;
    bool stopped;
    struct grave *graves;
};

int loop_new(struct loop **ret_loop, struct gi_error *err)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail_errno(err, ENOMEM, "event loop");
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        int saved = errno;
        free(l);
        return gi_fail_errno(err, saved, "epoll_create1");
    }
    *ret_loop = l;
    return 0;
}

static void bury(struct loop *l)
{
    while (l->graves) {
        struct grave *g = l->graves;
        l->graves = g->next;
        free(g->p);
        free(g);
    }
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    bury(l);
    close(l->epoll);
    free(l);
}

int loop_add(struct loop *l, struct source *s, int fd, uint32_t events,
             void (*ready)(struct source *s, uint32_t events), void *owner, struct gi_error *err)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return gi_fail_errno(err, errno, "epoll_ctl");
    *s = (struct source){.fd = fd, .ready = ready, .owner = owner};
    return 0;
}

void loop_mute(struct loop *l, struct source *s)
{
    if (s->fd >= 0)
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
}

void loop_drop(struct loop *l, struct source *s)
{
    if (s->fd < 0)
        return;
    /* Not left to close(2): a child between fork and exec may still hold a
     * duplicate, and with it the registration. */
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    s->fd = -1;
}

void loop_free_later(struct loop *l, void *p)
{
    struct grave *g = malloc(sizeof(*g));
    if (!g)
        return; /* leaked: the only safe thing to do with it now */
    *g = (struct grave){.next = l->graves, .p = p};
    l->graves = g;
}

int loop_run(struct loop *l, struct gi_error *err)
{
    while (!l->stopped) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(l->epoll, events, BATCH, -1);
        if (n < 0 && errno != EINTR)
            return gi_fail_errno(err, errno, "epoll_wait");
        for (int i = 0; i < n; i++) {
            struct source *s = events[i].data.ptr;
            if (s->fd >= 0)
                s->ready(s, events[i].events);
        }
        bury(l);
    }
    return 0;
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}
