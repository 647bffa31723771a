/* SPDX-License-Identifier: Apache-2.0 */
#include "container.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "bundle.h"
#include "cgroup.h"
#include "create.h"
#include "exec.h"
#include "oci.h"

/* A grandchild may hold the pipes open; the exit isn't kept from the runtime
 * for longer than this. */
#define DRAIN_MS 2000

struct container *container_find(struct agent *a, const char *id)
{
    for (struct container *c = a->containers; c; c = c->next) {
        if (strcmp(c->id, id) == 0)
            return c;
    }
    return NULL;
}

struct container *container_find_made(struct agent *a, struct request req, const char *id)
{
    struct container *c = container_find(a, id);
    if (c && c->phase != PHASE_CREATING)
        return c;
    struct gi_error err = GI_ERROR_INIT;
    gi_fail(&err, GI_NOT_FOUND, "no container %s", id);
    conn_done(a, req, &err);
    return NULL;
}

/* ---- exit ---- */

void container_publish(struct container *c)
{
    /* Whether it began at all is known when its start is over. */
    if (!c->dead || c->published || c->starting || c->phase == PHASE_REMOVING)
        return;
    bool waited = c->exit_timer.at_ns == 0;
    if (!waited && !logs_drained(&c->logs))
        return;
    loop_disarm(c->a->loop, &c->exit_timer);
    c->published = true;
    /* Who holds the output up has not had all of it: the output's end or the
     * patience with him ends him. */
    if (!attach_blocked(c))
        attach_end_all(c, NULL);
    Gi__Agent__Exit exit = GI__AGENT__EXIT__INIT;
    exit.exit_code = (uint32_t)c->exit.exit_code;
    exit.oom_killed = c->exit.oom_killed;
    exit.started_ns = c->exit.started_ns;
    exit.finished_ns = c->exit.finished_ns;
    Gi__Agent__ContainerExit event = GI__AGENT__CONTAINER_EXIT__INIT;
    event.container_id = c->id;
    event.exit = &exit;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_EXIT;
    msg.exit = &event;
    conn_send(c->a, &msg);
}

static void on_drain_over(void *data)
{
    container_publish(data);
}

void container_followed(struct container *c, int64_t after_ns)
{
    logs_follow(&c->logs, after_ns);
    if (!c->dead)
        return;
    /* A runtime that was away hears of the exit like one that was there: after
     * the last record. */
    c->published = false;
    loop_arm(c->a->loop, &c->exit_timer, DRAIN_MS, on_drain_over, c);
    container_publish(c);
}

void container_on_exit(void *data, int status)
{
    struct container *c = data;
    c->pid = 0;
    c->dead = true;
    c->exit.exit_code = proc_exit_code(status);
    c->exit.finished_ns = gi_now_ns();
    c->exit.oom_killed = c->exit.exit_code != 0 && cgroup_oom_kills(c->cgroup) > 0;
    if (c->phase != PHASE_REMOVING)
        c->phase = PHASE_EXITED;
    loop_arm(c->a->loop, &c->exit_timer, DRAIN_MS, on_drain_over, c);
    container_publish(c);
    agent_end_check(c->a);
}

/* ---- start ---- */

static void on_started(void *data, int status)
{
    struct container *c = data;
    struct gi_error err = GI_ERROR_INIT;
    struct request req = c->start_req;
    c->start_req.id = 0;
    c->starting = false;
    if (status != 0) {
        char log[PATH_MAX];
        container_path(c, "oci.log", log);
        oci_why(log, "start the container", &err);
        c->exit.started_ns = 0;
    } else if (c->phase == PHASE_CREATED) {
        c->phase = PHASE_RUNNING;
    }
    conn_done(c->a, req, &err);
    container_publish(c);
}

void container_start(struct agent *a, struct request req, const char *id)
{
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find_made(a, req, id);
    if (!c)
        return;
    if (c->phase != PHASE_CREATED || c->starting) {
        gi_fail(&err, GI_FAILED_PRECONDITION, "container %s was started already", id);
        conn_done(a, req, &err);
        return;
    }
    char log[PATH_MAX];
    container_path(c, "oci.log", log);
    const char *args[] = {"start", c->id, NULL};
    c->start_req = req;
    c->starting = true;
    c->exit.started_ns = gi_now_ns();
    if (oci_run(a, log, args, NULL, on_started, c, &err) < 0) {
        c->starting = false;
        c->start_req.id = 0;
        c->exit.started_ns = 0;
        conn_done(a, req, &err);
    }
}

/* ---- kill ---- */

unsigned container_signal_all(struct container *c, int sig)
{
    unsigned n = cgroup_signal(c->cgroup, sig);
    if (c->pid && n == 0)
        n = kill(c->pid, sig) == 0;
    return n;
}

void container_kill(struct agent *a, struct request req, const Gi__Agent__KillContainer *m)
{
    struct container *c = container_find_made(a, req, m->container_id);
    if (!c)
        return;
    if (c->pid && m->all)
        container_signal_all(c, m->signal);
    /* It is our child: the pid can't be another's before we have reaped it. */
    else if (c->pid)
        kill(c->pid, m->signal);
    conn_done(a, req, NULL);
}

/* ---- remove ---- */

static void unlink_container(struct container *c)
{
    for (struct container **at = &c->a->containers; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            c->a->n_containers--;
            return;
        }
    }
}

static void finish_removal(struct container *c, const struct gi_error *err)
{
    struct agent *a = c->a;
    struct gi_error aborted = GI_ERROR_INIT;
    gi_fail(&aborted, GI_ABORTED, "the container was removed meanwhile");
    if (c->start_req.id)
        conn_done(a, c->start_req, &aborted);
    if (c->create_req.id)
        conn_done(a, c->create_req, c->create_error.code ? &c->create_error : &aborted);
    for (size_t i = 0; i < c->n_removers; i++)
        conn_done(a, c->removers[i], err);
    unlink_container(c);
    container_free(c);
    agent_end_check(a);
}

static int remove_bundle_work(void *arg, void *result)
{
    struct gi_error err = GI_ERROR_INIT;
    int rc = bundle_remove(arg, &err);
    if (rc < 0)
        gi_log(GI_LOG_WARNING, "container's folder stays", "reason", err.message, NULL);
    return rc;
}

static void on_bundle_removed(void *data, int rc, const void *result)
{
    struct gi_error err = GI_ERROR_INIT;
    if (rc < 0)
        gi_fail(&err, GI_INTERNAL, "the container's folder could not be removed");
    finish_removal(data, &err);
}

static void on_deleted(void *data, int status)
{
    struct container *c = data;
    struct gi_error err = GI_ERROR_INIT;
    if (status != 0) {
        char log[PATH_MAX];
        container_path(c, "delete.log", log);
        oci_why(log, "delete", &err);
        gi_log(GI_LOG_WARNING, "OCI runtime", "container", c->id, "reason", err.message, NULL);
    }
    if (proc_work(remove_bundle_work, c->dir, 0, on_bundle_removed, c, &err) < 0)
        finish_removal(c, &err);
}

void container_teardown(struct container *c)
{
    struct gi_error err = GI_ERROR_INIT;
    c->phase = PHASE_REMOVING;
    exec_end_of(c);
    attach_end_all(c, NULL);
    container_signal_all(c, SIGKILL);
    gpu_free(c->gpu);
    c->gpu = NULL;
    char log[PATH_MAX];
    container_path(c, "delete.log", log);
    const char *args[] = {"delete", "--force", c->id, NULL};
    if (oci_run(c->a, log, args, NULL, on_deleted, c, &err) < 0)
        finish_removal(c, &err);
}

void container_fail_create(struct container *c, const struct gi_error *why)
{
    c->create_error = *why;
    container_teardown(c);
}

void container_remove(struct agent *a, struct request req, const char *id)
{
    struct gi_error err = GI_ERROR_INIT;
    struct container *c = container_find(a, id);
    if (c && c->n_removers >= MAX_REMOVERS)
        gi_fail(&err, GI_ABORTED, "%s is being removed", id);
    if (!c || err.code) {
        conn_done(a, req, &err);
        return;
    }
    c->removers[c->n_removers++] = req;
    /* One that is being made is removed as soon as that has ended. */
    if (c->phase != PHASE_CREATING && c->phase != PHASE_REMOVING)
        container_teardown(c);
}

/* ---- queries ---- */

void container_status(struct agent *a, struct request req, const char *id)
{
    struct container *c = container_find_made(a, req, id);
    if (!c)
        return;
    Gi__Agent__Exit exit = GI__AGENT__EXIT__INIT;
    exit.started_ns = c->phase == PHASE_CREATED ? 0 : c->exit.started_ns;
    exit.exit_code = (uint32_t)c->exit.exit_code;
    exit.oom_killed = c->exit.oom_killed;
    exit.finished_ns = c->exit.finished_ns;
    Gi__Agent__StatusReply status = GI__AGENT__STATUS_REPLY__INIT;
    status.state = c->phase == PHASE_CREATED   ? AGENT_CREATED
                   : c->phase == PHASE_RUNNING ? AGENT_RUNNING
                                               : AGENT_EXITED;
    status.pid = (uint32_t)c->pid;
    status.exit = &exit;
    Gi__Agent__Reply reply = GI__AGENT__REPLY__INIT;
    reply.result_case = GI__AGENT__REPLY__RESULT_STATUS;
    reply.status = &status;
    conn_reply(a, req, &reply, NULL);
}
