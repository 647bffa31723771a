/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "agent/client_internal.h"
#include "base/cleanup.h"
#include "base/io.h"

static void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void pending_init(struct pending *p, Gi__Agent__Reply__ResultCase expect)
{
    memset(p, 0, sizeof(*p));
    p->expect = expect;
    cond_init_monotonic(&p->cond);
}

void pending_free(struct pending *p)
{
    if (p->reply)
        agent_from_free(p->reply);
    gi_buf_free(&p->output[0]);
    gi_buf_free(&p->output[1]);
    pthread_cond_destroy(&p->cond);
}

/* False once the deadline (0: none) has passed. */
static bool wait_until(pthread_cond_t *cond, pthread_mutex_t *mu, int64_t deadline)
{
    if (!deadline) {
        pthread_cond_wait(cond, mu);
        return true;
    }
    struct timespec ts = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    return pthread_cond_timedwait(cond, mu, &ts) != ETIMEDOUT;
}

static int dead(const struct agent_client *c, struct gi_error *err)
{
    return gi_fail(err, c->why.code, "%s", c->why.message);
}

static void unlink_call(struct agent_client *c, const struct pending *p)
{
    for (struct pending **at = &c->calls; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            c->n_calls--;
            return;
        }
    }
}

/* With mu held: queues MSG, waiting for room until the deadline. */
static int enqueue(struct agent_client *c, const Gi__Agent__ToAgent *msg, int64_t deadline,
                   struct gi_error *err)
{
    for (;;) {
        if (c->dead)
            return dead(c, err);
        int rc = agent_frame_append(&c->out, &msg->base, err);
        if (rc != -GI_RESOURCE_EXHAUSTED)
            return rc;
        if (!wait_until(&c->room, &c->mu, deadline))
            return gi_fail(err, GI_DEADLINE_EXCEEDED, "the agent doesn't take requests");
    }
}

int client_call(struct agent_client *c, Gi__Agent__ToAgent *msg, struct pending *p, int timeout_ms,
                struct gi_error *err)
{
    int64_t deadline = timeout_ms < 0 ? 0 : gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    GI_LOCK_SCOPE(&c->mu);
    if (c->n_calls >= CLIENT_CALLS_MAX)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%u calls to the agent are under way",
                       CLIENT_CALLS_MAX);
    p->id = msg->id = c->next_id++;
    int rc = enqueue(c, msg, deadline, err);
    if (rc < 0)
        return rc;
    p->next = c->calls;
    c->calls = p;
    c->n_calls++;
    client_wake(c);
    while (!p->done) {
        if (wait_until(&p->cond, &c->mu, deadline) || p->done)
            continue;
        unlink_call(c, p);
        c->abandoned++;
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "the agent didn't answer within %d ms",
                       timeout_ms);
    }
    unlink_call(c, p);
    return p->why.code ? gi_fail(err, p->why.code, "%s", p->why.message) : 0;
}

struct follow *client_follow(struct agent_client *c, const char *id, bool add)
{
    for (struct follow *f = c->follows; f; f = f->next) {
        if (strcmp(f->id, id) == 0)
            return f;
    }
    if (!add || c->n_follows >= AGENT_CONTAINERS_MAX || !agent_id_valid(id))
        return NULL;
    struct follow *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    memcpy(f->id, id, strlen(id) + 1);
    f->next = c->follows;
    c->follows = f;
    c->n_follows++;
    return f;
}

void client_forget(struct agent_client *c, const char *id)
{
    for (struct follow **at = &c->follows; *at; at = &(*at)->next) {
        if (strcmp((*at)->id, id) != 0)
            continue;
        struct follow *f = *at;
        *at = f->next;
        free(f);
        c->n_follows--;
        return;
    }
}

static void client_destroy(struct agent_client *c)
{
    gi_cleanup_closep(&c->fd);
    gi_cleanup_closep(&c->wake);
    while (c->follows)
        client_forget(c, c->follows->id);
    gi_buf_free(&c->in);
    gi_buf_free(&c->out);
    pthread_cond_destroy(&c->room);
    pthread_mutex_destroy(&c->mu);
    free(c);
}

static int handshake(struct agent_client *c, int timeout_ms, struct gi_error *err)
{
    Gi__Agent__Hello hello = GI__AGENT__HELLO__INIT;
    hello.version = AGENT_PROTOCOL_VERSION;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_HELLO;
    msg.hello = &hello;
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_HELLO);
    int rc = client_call(c, &msg, &p, timeout_ms, err);
    if (rc == 0 && p.reply->reply->hello->version != AGENT_PROTOCOL_VERSION)
        rc = gi_fail(err, GI_FAILED_PRECONDITION, "the agent speaks version %u, not %u",
                     p.reply->reply->hello->version, AGENT_PROTOCOL_VERSION);
    pending_free(&p);
    return rc < 0 ? gi_prefix(err, "agent handshake") : 0;
}

int agent_client_new(int fd, const struct agent_callbacks *cb, void *data, int timeout_ms,
                     struct agent_client **ret_client, struct gi_error *err)
{
    struct agent_client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return gi_fail_errno(err, ENOMEM, "agent client");
    }
    c->fd = fd;
    if (cb)
        c->cb = *cb;
    c->data = data;
    c->next_id = 1;
    c->in.max = CLIENT_IN_MAX;
    c->out.max = CLIENT_OUT_MAX;
    pthread_mutex_init(&c->mu, NULL);
    cond_init_monotonic(&c->room);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int flags = fcntl(fd, F_GETFL);
    if (c->wake < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        int saved = errno;
        client_destroy(c);
        return gi_fail_errno(err, saved, "agent client");
    }
    int rc = pthread_create(&c->thread, NULL, client_io_thread, c);
    if (rc) {
        client_destroy(c);
        return gi_fail_errno(err, rc, "thread of the agent client");
    }
    rc = handshake(c, timeout_ms, err);
    if (rc < 0) {
        agent_client_free(c);
        return rc;
    }
    pthread_mutex_lock(&c->mu);
    c->ready = true;
    *ret_client = c;
    pthread_cond_broadcast(&c->room);
    pthread_mutex_unlock(&c->mu);
    return 0;
}

void agent_client_free(struct agent_client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mu);
    c->stop = true;
    pthread_cond_broadcast(&c->room);
    pthread_mutex_unlock(&c->mu);
    client_wake(c);
    pthread_join(c->thread, NULL);
    client_destroy(c);
}
