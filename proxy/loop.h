/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's event loop: sources on one epoll descriptor, one thread.
 * A source may be dropped from any callback: what it belongs to is freed only
 * after the batch of events in which it was dropped (loop_free_later), so that
 * an event already fetched for it meets a source that is still memory, and off.
 */
#ifndef GI_PROXY_LOOP_H
#define GI_PROXY_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct source {
    int fd; /* -1: off */
    void (*ready)(struct source *s, uint32_t events);
    void *owner;
};

#define SOURCE_OFF                                                                                 \
    (struct source)                                                                                \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

struct loop;

int loop_new(struct loop **ret_loop, struct gi_error *err);
void loop_free(struct loop *l);

/* Watches FD, which S owns from now on (not on failure). */
int loop_add(struct loop *l, struct source *s, int fd, uint32_t events,
             void (*ready)(struct source *s, uint32_t events), void *owner, struct gi_error *err);
/* No more events of S; its descriptor stays open until loop_drop. */
void loop_mute(struct loop *l, struct source *s);
/* Closes the source's descriptor. Harmless when it is off. */
void loop_drop(struct loop *l, struct source *s);

/* free(3)s P after the batch of events at hand. */
void loop_free_later(struct loop *l, void *p);

/* Runs until loop_stop. */
int loop_run(struct loop *l, struct gi_error *err);
void loop_stop(struct loop *l);

#endif
