/* SPDX-License-Identifier: Apache-2.0 */
/* One request → the part that answers it. */
#include "agent.h"
#include "base/log.h"
#include "container.h"
#include "disk.h"
#include "exec.h"
#include "pod.h"
#include "stats.h"
#include "volumes.h"

static void list(struct agent *a, struct request req)
{
    static char *ids[AGENT_CONTAINERS_MAX];
    Gi__Agent__ListReply l = GI__AGENT__LIST_REPLY__INIT;
    for (struct container *c = a->containers; c; c = c->next) {
        if (c->phase != PHASE_CREATING && c->phase != PHASE_REMOVING)
            ids[l.n_container_ids++] = c->id;
    }
    l.container_ids = ids;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_LIST;
    reply.list = &l;
    conn_reply(a, req, &reply, NULL);
}

static void follow(struct agent *a, struct request req, const Gi__Agent__FollowLogs *m)
{
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find(a, m->container_id);
    if (!c || c->phase == PHASE_CREATING)
        gi_fail(&err, GI_NOT_FOUND, "no container %s", m->container_id);
    conn_done(a, req, &err);
    if (!err.code)
        container_followed(c, m->after_ns);
}

static void ack(struct agent *a, const Gi__Agent__AckLogs *m)
{
    struct container *c = container_find(a, m->container_id);
    if (!c)
        return;
    logs_ack(&c->logs, m->upto_ns);
    container_publish(c);
}

void dispatch(struct agent *a, struct request req, const Gi__Agent__ToAgent *msg)
{
    switch (msg->op_case) {
    case GI__AGENT__TO_AGENT__OP_PING:
        conn_done(a, req, NULL);
        break;
    case GI__AGENT__TO_AGENT__OP_CREATE:
        container_create(a, req, msg->create);
        break;
    case GI__AGENT__TO_AGENT__OP_START:
        container_start(a, req, msg->start->container_id);
        break;
    case GI__AGENT__TO_AGENT__OP_KILL:
        container_kill(a, req, msg->kill);
        break;
    case GI__AGENT__TO_AGENT__OP_REMOVE:
        container_remove(a, req, msg->remove->container_id);
        break;
    case GI__AGENT__TO_AGENT__OP_STATUS:
        container_status(a, req, msg->status->container_id);
        break;
    case GI__AGENT__TO_AGENT__OP_LIST:
        list(a, req);
        break;
    case GI__AGENT__TO_AGENT__OP_EXEC_SYNC:
        exec_sync(a, req, msg->exec_sync);
        break;
    case GI__AGENT__TO_AGENT__OP_STATS:
        container_stats(a, req, msg->stats->container_id);
        break;
    case GI__AGENT__TO_AGENT__OP_FOLLOW_LOGS:
        follow(a, req, msg->follow_logs);
        break;
    case GI__AGENT__TO_AGENT__OP_ACK_LOGS:
        ack(a, msg->ack_logs);
        break;
    case GI__AGENT__TO_AGENT__OP_SHUTDOWN:
        conn_done(a, req, NULL);
        agent_end(a);
        break;
    case GI__AGENT__TO_AGENT__OP_UPDATE:
        container_update(a, req, msg->update);
        break;
    case GI__AGENT__TO_AGENT__OP_MAKE_VOLUME:
        volume_make(a, req, msg->make_volume);
        break;
    case GI__AGENT__TO_AGENT__OP_REMOVE_VOLUME:
        volume_remove(a, req, msg->remove_volume->volume);
        break;
    case GI__AGENT__TO_AGENT__OP_PUT_FILES:
        volume_put(a, req, msg->put_files);
        break;
    case GI__AGENT__TO_AGENT__OP_READ_FILE:
        volume_read(a, req, msg->read_file);
        break;
    case GI__AGENT__TO_AGENT__OP_POD_STATS:
        pod_stats(a, req);
        break;
    case GI__AGENT__TO_AGENT__OP_RELEASE_IMAGE:
        disk_release_image(a, req, msg->release_image->image_rootfs);
        break;
    case GI__AGENT__TO_AGENT__OP_OPEN_STREAM: /* not on this connection */
    case GI__AGENT__TO_AGENT__OP_HELLO:
    case GI__AGENT__TO_AGENT__OP__NOT_SET:
    default: {
        struct gi_error err = GI_ERROR_INIT;
        gi_fail(&err, GI_UNIMPLEMENTED, "unknown request");
        conn_done(a, req, &err);
    }
    }
}

void dispatch_resume(struct agent *a)
{
    exec_resume(a);
    for (struct container *c = a->containers; c; c = c->next) {
        logs_send(&c->logs);
        container_publish(c);
    }
}

void dispatch_lost_connection(struct agent *a)
{
    for (struct container *c = a->containers; c; c = c->next)
        logs_unfollow(&c->logs);
    exec_end_orphans(a);
}
