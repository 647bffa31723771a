/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths of domains, by libxl's events, on one thread with one context.
 *
 * libxl lets an application poll for it (libxl_osevent_beforepoll). Other threads
 * register watches with the same context meanwhile; the first of them adds a descriptor,
 * xenstore's, and of that libxl tells a poll that is under way nothing: our eventfd does,
 * as at the end.
 */
#include <errno.h>
#include <libxl_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "xen_driver.h"

#define MAX_FDS 1024

struct events {
    struct operation op;
    pthread_t thread;
    int wake;
    bool stop;
    pthread_mutex_t lock;
    struct death *watched;
};

static const char *shutdown_reason(uint8_t reason)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return "the domain powered off";
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return "the domain asked for a reboot";
    case LIBXL_SHUTDOWN_REASON_CRASH:
        return DEATH_BY_CRASH;
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return "the domain's watchdog expired";
    default:
        return "the domain stopped";
    }
}

static void note_death(struct events *e, uint32_t domid, const char *reason)
{
    uint64_t one = 1;
    GI_LOCK_SCOPE(&e->lock);
    for (struct death *d = e->watched; d; d = d->next) {
        if (d->domid != domid || d->reason[0])
            continue;
        snprintf(d->reason, sizeof(d->reason), "%s", reason);
        if (write(d->fd, &one, sizeof(one)) < 0)
            gi_log(GI_LOG_ERROR, "a domain's death can't be told", NULL);
    }
}

static void handle(struct events *e, const libxl_event *ev)
{
    if (ev->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN)
        note_death(e, ev->domid, shutdown_reason(ev->u.domain_shutdown.shutdown_reason));
    else if (ev->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH)
        note_death(e, ev->domid, "the domain was destroyed");
}

static void wake(const struct events *e)
{
    eventfd_write(e->wake, 1); /* EAGAIN: it is awake */
}

static bool stopping(struct events *e)
{
    GI_LOCK_SCOPE(&e->lock);
    return e->stop;
}

static void *events_main(void *arg)
{
    struct events *e = arg;
    cleanup_free struct pollfd *fds = calloc(MAX_FDS + 1, sizeof(*fds));
    while (fds && !stopping(e)) {
        int n = MAX_FDS, timeout = -1;
        struct timeval now;
        gettimeofday(&now, NULL);
        if (libxl_osevent_beforepoll(e->op.ctx, &n, fds, &timeout, now)) {
            gi_log(GI_LOG_ERROR, "libxl has too much to wait for", NULL);
            n = 0;
            timeout = 1000;
        }
        fds[n] = (struct pollfd){.fd = e->wake, .events = POLLIN};
        if (poll(fds, (nfds_t)n + 1, timeout) < 0 && errno != EINTR)
            usleep(100000);
        eventfd_t times;
        (void)eventfd_read(e->wake, &times);
        gettimeofday(&now, NULL);
        libxl_osevent_afterpoll(e->op.ctx, n, fds, now);
        libxl_event *ev = NULL;
        while (libxl_event_check(e->op.ctx, &ev, LIBXL_EVENTMASK_ALL, NULL, NULL) == 0) {
            handle(e, ev);
            libxl_event_free(e->op.ctx, ev);
        }
    }
    return NULL;
}

int events_start(struct events **ret, struct gi_error *err)
{
    struct events *e = calloc(1, sizeof(*e));
    if (!e)
        return gi_fail_errno(err, ENOMEM, "events");
    pthread_mutex_init(&e->lock, NULL);
    e->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = e->wake < 0 ? gi_fail_errno(err, errno, "eventfd") : operation_begin(&e->op, err);
    if (rc == 0) {
        int why = pthread_create(&e->thread, NULL, events_main, e);
        rc = why ? gi_fail_errno(err, why, "thread for events") : 0;
    }
    if (rc < 0) {
        operation_end(&e->op);
        gi_cleanup_closep(&e->wake);
        free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

void events_stop(struct events *e)
{
    if (!e)
        return;
    {
        GI_LOCK_SCOPE(&e->lock);
        e->stop = true;
    }
    wake(e);
    pthread_join(e->thread, NULL);
    while (e->watched)
        events_unwatch(e, e->watched);
    operation_end(&e->op);
    close(e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int events_watch(struct events *e, uint32_t domid, struct death **ret, struct gi_error *err)
{
    struct death *d = calloc(1, sizeof(*d));
    if (!d)
        return gi_fail_errno(err, ENOMEM, "watch of a domain");
    d->domid = domid;
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0) {
        free(d);
        return gi_fail_errno(err, errno, "eventfd");
    }
    {
        /* In the list first: the event may come before enabling returns. */
        GI_LOCK_SCOPE(&e->lock);
        d->next = e->watched;
        e->watched = d;
    }
    int rc = libxl_evenable_domain_death(e->op.ctx, domid, 0, &d->evgen);
    if (rc) {
        d->evgen = NULL;
        events_unwatch(e, d);
        return operation_failed(&e->op, err, rc, "watch domain %u", domid);
    }
    wake(e);
    *ret = d;
    return 0;
}

void events_reason(struct events *e, const struct death *d, char out[64])
{
    GI_LOCK_SCOPE(&e->lock);
    snprintf(out, 64, "%s", d->reason);
}

void events_unwatch(struct events *e, struct death *d)
{
    if (!d)
        return;
    if (d->evgen)
        libxl_evdisable_domain_death(e->op.ctx, d->evgen);
    {
        GI_LOCK_SCOPE(&e->lock);
        for (struct death **at = &e->watched; *at; at = &(*at)->next) {
            if (*at == d) {
                *at = d->next;
                break;
            }
        }
    }
    close(d->fd);
    free(d);
}
