/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the link to a zone's agent, over vchan.
 *
 * Who is at the other end is not a matter of trust: the ring and the event
 * channel are asked for from this very domain number, and only its kernel can
 * have granted them. What comes out of it is as hostile as the guest; link.h
 * bounds it. Each link has a thread of its own, so that a zone that floods its
 * own delays nobody else's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "link/vchan.h"
#include "xen_driver.h"

#define AGAIN_MS 50

struct host_link {
    struct libxenvchan *chan;
    struct link *link;
    pthread_t thread;
    bool running;
    uint32_t domid;
};

/* What ends a wait. */
struct wait {
    int death_fd;
    int stop_fd; /* -1: none */
    int64_t until;
};

static int ms_left(const struct wait *w)
{
    int64_t ms = (w->until - gi_monotonic_ns()) / 1000000;
    return ms < 0 ? 0 : ms > 3600000 ? 3600000 : (int)ms;
}

/* ---- waiting for the zone's offer ---- */

/* Until FD is readable (-1: none), MS at most: 0. CANCELLED: there is no use in waiting. */
static int wait_for(const struct wait *w, uint32_t domid, int fd, int ms, struct gi_error *err)
{
    struct pollfd fds[3] = {
        {.fd = fd, .events = POLLIN},
        {.fd = w->death_fd, .events = POLLIN},
        {.fd = w->stop_fd, .events = POLLIN},
    };
    if (poll(fds, 3, ms) < 0 && errno != EINTR)
        return gi_fail_errno(err, errno, "wait for domain %u", domid);
    if (fds[1].revents)
        return gi_fail(err, GI_UNAVAILABLE, "domain %u ended before its agent answered", domid);
    if (fds[2].revents)
        return gi_fail(err, GI_CANCELLED, "domain %u is not waited for any more", domid);
    return 0;
}

static bool offered(struct xs_handle *xs, const char *path)
{
    char node[96];
    unsigned len;
    /* The last of the two nodes that libxenvchan's server writes, in one transaction. */
    snprintf(node, sizeof(node), "%s/event-channel", path);
    cleanup_free char *value = xs_read(xs, XBT_NULL, node, &len);
    return value != NULL;
}

static int wait_offer(uint32_t domid, const char *path, const struct wait *w, struct gi_error *err)
{
    struct xs_handle *xs = xs_open(0);
    if (!xs || !xs_watch(xs, path, "agent")) {
        int rc = gi_fail_errno(err, errno, "xenstore: watch %s", path);
        if (xs)
            xs_close(xs);
        return rc;
    }
    int rc = 0;
    while (rc == 0 && !offered(xs, path)) {
        /* Xenstore says when something below PATH changes. */
        rc = wait_for(w, domid, xs_fileno(xs), ms_left(w), err);
        for (char **event; (event = xs_check_watch(xs)) != NULL;)
            free(event);
        if (rc == 0 && ms_left(w) == 0)
            rc =
                gi_fail(err, GI_DEADLINE_EXCEEDED, "the agent of domain %u does not answer", domid);
    }
    xs_close(xs);
    return rc;
}

/* ---- one link ---- */

static void *host_link_main(void *arg)
{
    struct host_link *h = arg;
    struct gi_error err = GI_ERROR_INIT;
    char domid[16];
    snprintf(domid, sizeof(domid), "%u", h->domid);
    if (link_run(h->link, &err) < 0)
        gi_log(err.code == GI_UNAVAILABLE ? GI_LOG_DEBUG : GI_LOG_WARNING,
               "the link to a zone ended", "domain", domid, "reason", err.message, NULL);
    return NULL;
}

void host_link_free(struct host_link *h)
{
    if (!h)
        return;
    if (h->running) {
        link_stop(h->link);
        pthread_join(h->thread, NULL);
    }
    link_free(h->link);
    if (h->chan)
        libxenvchan_close(h->chan);
    free(h);
}

static int greet(struct host_link *h, const struct wait *w, struct gi_error *err)
{
    int rc = wait_for(w, h->domid, link_ready_fd(h->link), ms_left(w), err);
    if (rc == 0 && !link_up(h->link))
        rc = gi_fail(err, GI_UNAVAILABLE, "domain %u does not greet over its vchan", h->domid);
    return rc;
}

static int start(uint32_t domid, enum link_kind kind, const char *path, const struct wait *w,
                 struct host_link **ret, struct gi_error *err)
{
    struct host_link *h = calloc(1, sizeof(*h));
    struct link_pipe pipe;
    if (!h)
        return gi_fail_errno(err, ENOMEM, "link");
    h->domid = domid;
    h->chan = libxenvchan_client_init(NULL, (int)domid, path);
    int rc = h->chan ? 0 : gi_fail_errno(err, errno, "vchan of domain %u", domid);
    if (rc == 0) {
        link_over_vchan(h->chan, &pipe);
        /* A domain that is destroyed says nothing over its ring. */
        pipe.end_fd = w->death_fd;
        rc = link_new(&pipe, kind, NULL, NULL, &h->link, err);
    }
    if (rc == 0) {
        int why = pthread_create(&h->thread, NULL, host_link_main, h);
        h->running = why == 0;
        rc = why ? gi_fail_errno(err, why, "thread for a link") : greet(h, w, err);
    }
    if (rc < 0) {
        host_link_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

int host_link_connect(uint32_t domid, enum link_kind kind, int death_fd, int stop_fd,
                      int timeout_ms, struct host_link **ret, struct gi_error *err)
{
    char path[64];
    const struct wait w = {.death_fd = death_fd,
                           .stop_fd = stop_fd,
                           .until = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000};
    snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, LINK_VCHAN_NODE);
    for (;;) {
        int rc = wait_offer(domid, path, &w, err);
        if (rc == 0)
            rc = start(domid, kind, path, &w, ret, err);
        /* An offer may be of a ring that the zone is just giving up: it makes
         * another when it sees that we came too late. */
        if (rc == 0 || ms_left(&w) == 0 || wait_for(&w, domid, -1, AGAIN_MS, NULL) < 0)
            return rc;
    }
}

bool host_link_up(const struct host_link *h)
{
    return h && link_up(h->link);
}

int host_link_carry(struct host_link *h, int fd, struct gi_error *err)
{
    return link_carry(h->link, fd, err);
}

int host_link_open(struct host_link *h, int *ret_fd, struct gi_error *err)
{
    return link_open(h->link, ret_fd, err);
}
