/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened to containers and pods, for those who listen
 * (GetContainerEvents). Each listener has a queue with a limit; one who falls
 * behind is cut off rather than told half: he lists again and listens anew.
 */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "core/events.h"
#include "core/runtime.h"

#define MAX_LISTENERS 16u
#define QUEUE         1024u

struct listener {
    struct listener *next;
    struct event queue[QUEUE];
    size_t first, n;
    bool overrun;
};

/* With the state lock held. */
static void publish(struct runtime *rt, const char *id, const char *pod_id, enum event_kind kind)
{
    for (struct listener *l = rt->listeners; l; l = l->next) {
        if (l->n == QUEUE) {
            l->overrun = true;
            continue;
        }
        struct event *e = &l->queue[(l->first + l->n++) % QUEUE];
        *e = (struct event){.kind = kind, .time_ns = gi_now_ns()};
        memcpy(e->id, id, ID_SIZE);
        memcpy(e->pod_id, pod_id, ID_SIZE);
    }
    if (rt->listeners)
        pthread_cond_broadcast(&rt->changed);
}

void events_container(struct container *c, enum event_kind kind)
{
    publish(c->pod->rt, c->id, c->pod->id, kind);
}

void events_pod(struct pod *p, enum event_kind kind)
{
    publish(p->rt, p->id, p->id, kind);
}

int events_listen(struct runtime *rt, struct listener **ret_listener, struct gi_error *err)
{
    unsigned n = 0;
    struct listener *l = calloc(1, sizeof(*l));
    if (!l)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    GI_LOCK_SCOPE(&rt->lock);
    for (const struct listener *other = rt->listeners; other; other = other->next)
        n++;
    if (n >= MAX_LISTENERS) {
        free(l);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%u clients listen to events already", n);
    }
    l->next = rt->listeners;
    rt->listeners = l;
    *ret_listener = l;
    return 0;
}

void events_leave(struct runtime *rt, struct listener *l)
{
    {
        GI_LOCK_SCOPE(&rt->lock);
        for (struct listener **at = &rt->listeners; *at; at = &(*at)->next) {
            if (*at == l) {
                *at = l->next;
                break;
            }
        }
    }
    free(l);
}

int events_next(struct runtime *rt, struct listener *l, int timeout_ms, struct event *ret_event,
                struct gi_error *err)
{
    int64_t at = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    GI_LOCK_SCOPE(&rt->lock);
    while (l->n == 0 && !l->overrun && pthread_cond_timedwait(&rt->changed, &rt->lock, &until) == 0)
        ;
    if (l->n == 0)
        return l->overrun
                   ? gi_fail(err, GI_RESOURCE_EXHAUSTED,
                             "more than %u events were not read: list and listen anew", QUEUE)
                   : 0;
    *ret_event = l->queue[l->first];
    l->first = (l->first + 1) % QUEUE;
    l->n--;
    return 1;
}
