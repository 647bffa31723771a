/* SPDX-License-Identifier: Apache-2.0 */
/* GetContainerEvents: each change once, with the pod as it is when it is told. */
#include <string.h>

#include "core/events.h"
#include "services/services.h"

#define WAIT_MS 200 /* so that a client who left is noticed */

static void fill(struct runtime *rt, const struct event *e, Runtime__V1__ContainerEventResponse *m)
{
    pb_set(&m->container_id, e->id);
    m->container_event_type = (Runtime__V1__ContainerEventType)e->kind;
    m->created_at = e->time_ns;
    GI_LOCK_SCOPE(&rt->lock);
    for (size_t i = 0; i < rt->n_pods; i++) {
        const struct pod *p = rt->pods[i];
        if (strcmp(p->id, e->pod_id) != 0)
            continue;
        m->pod_sandbox_status = pod_status_message(p);
        for (size_t k = 0; k < p->n_containers; k++)
            pb_push(&m->containers_statuses, &m->n_containers_statuses,
                    container_status_message(p->containers[k]));
    }
}

HANDLER(get_container_events)
{
    struct runtime *rt = rpc_app(call);
    struct listener *l = NULL;
    int rc = events_listen(rt, &l, err);
    if (rc < 0)
        return rc;
    while (rc >= 0 && (rc = rpc_check(call, err)) == 0) {
        struct event e;
        rc = events_next(rt, l, WAIT_MS, &e, err);
        if (rc <= 0)
            continue;
        cleanup_pb Runtime__V1__ContainerEventResponse *m =
            pb_new(&runtime__v1__container_event_response__descriptor);
        fill(rt, &e, m);
        rc = rpc_send(call, &m->base, err);
    }
    events_leave(rt, l);
    return rc;
}
