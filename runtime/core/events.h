/* SPDX-License-Identifier: Apache-2.0 */
/* Events of containers and pods for those who listen. */
#ifndef RT_CORE_EVENTS_H
#define RT_CORE_EVENTS_H

#include "core/runtime.h"

enum event_kind { EVENT_CREATED, EVENT_STARTED, EVENT_STOPPED, EVENT_DELETED }; /* as in CRI */

struct event {
    enum event_kind kind;
    int64_t time_ns;
    char id[ID_SIZE]; /* a pod's own id for its own events */
    char pod_id[ID_SIZE];
};

/* With the state lock held. */
void events_container(struct container *c, enum event_kind kind);
void events_pod(struct pod *p, enum event_kind kind);

struct listener;
int events_listen(struct runtime *rt, struct listener **ret_listener, struct gi_error *err);
void events_leave(struct runtime *rt, struct listener *l);
/* 1: the oldest event; 0: none within TIMEOUT_MS; RESOURCE_EXHAUSTED: the
 * listener was too slow and has missed some. */
int events_next(struct runtime *rt, struct listener *l, int timeout_ms, struct event *ret_event,
                struct gi_error *err);

#endif
