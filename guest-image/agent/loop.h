/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's event loop: one thread, descriptors and timers. Everything in
 * the agent happens in callbacks from here, so nothing needs a lock. An io or
 * timer may be removed from within any callback, its own included.
 */
#ifndef AGENT_LOOP_H
#define AGENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/error.h"

struct loop;

/* Embedded by its owner; fd -1: not watched. */
struct loop_io {
    int fd;
    uint32_t events;
    void (*fn)(void *data, uint32_t events);
    void *data;
};

struct loop_timer {
    struct loop_timer *next;
    int64_t at_ns; /* monotonic; 0: not armed */
    void (*fn)(void *data);
    void *data;
};

int loop_new(struct loop **ret_loop, struct gi_error *err);
void loop_free(struct loop *l);
/* Until loop_stop. */
int loop_run(struct loop *l, struct gi_error *err);
void loop_stop(struct loop *l);

int loop_watch(struct loop *l, struct loop_io *io, int fd, uint32_t events,
               void (*fn)(void *data, uint32_t events), void *data);
/* The same, hearing nothing until loop_events. */
void loop_prepare(struct loop_io *io, int fd, void (*fn)(void *data, uint32_t events), void *data);
/* Level-triggered EPOLLIN / EPOLLOUT; 0 keeps the io but hears nothing (not
 * even a hang-up: the descriptor leaves the set until events are wanted). */
void loop_events(struct loop *l, struct loop_io *io, uint32_t events);
/* Does not close the descriptor. */
void loop_unwatch(struct loop *l, struct loop_io *io);

void loop_arm(struct loop *l, struct loop_timer *t, int ms, void (*fn)(void *data), void *data);
void loop_disarm(struct loop *l, struct loop_timer *t);

#endif
