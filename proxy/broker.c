/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/notify.h"

static void stop(struct broker *b)
{
    if (b->stopping)
        return;
    b->stopping = true;
    gi_notify("STOPPING=1\nSTATUS=ending clients");
    gi_log(GI_LOG_INFO, "stopping", NULL);
    control_stop(b);
    struct zone *next;
    for (struct zone *z = b->zones; z; z = next) {
        next = z->next;
        if (!z->dropped)
            zone_drop(z);
    }
    broker_clients_changed(b);
}

static void on_signal(struct source *s, uint32_t events)
{
    struct broker *b = s->owner;
    struct signalfd_siginfo info;
    /* SIGCHLD isn't among them: each worker is watched by its pidfd. */
    while (read(s->fd, &info, sizeof(info)) == sizeof(info))
        stop(b);
}

static void set_tick(struct broker *b, bool on)
{
    static const int64_t tick_ns = 250000000;
    struct itimerspec t = {0};
    struct itimerspec now;
    if (on) {
        t.it_interval.tv_nsec = tick_ns;
        t.it_value.tv_nsec = tick_ns;
    }
    timerfd_gettime(b->tick.fd, &now);
    if (!!now.it_interval.tv_nsec != on)
        timerfd_settime(b->tick.fd, 0, &t, NULL);
}

static void set_unwatched(struct broker *b, uint32_t unwatched)
{
    for (struct zone *z = b->zones; z; z = z->next)
        atomic_store_explicit(&z->page->unwatched, unwatched, memory_order_seq_cst);
}

void broker_watch(struct broker *b)
{
    b->quiet_ticks = 0;
    if (!b->rests)
        return;
    b->rests = false;
    set_unwatched(b, 0);
    set_tick(b, b->n_clients != 0);
}

/*
 * Idle clients cost nothing: after a while in which nothing was called the tick ends, and the
 * first call rings (invariant 18). What is audited and sampled has been by then. A call that the
 * look after the flag doesn't see finds the flag; one that both miss, as neither waits for the
 * other's store, is seen with the next.
 */
static void rest(struct broker *b)
{
    b->rests = true;
    set_unwatched(b, 1);
    if (share_is_quiet(b))
        set_tick(b, false);
    else
        broker_watch(b);
}

static bool is_idle(struct broker *b)
{
    bool quiet = share_is_quiet(b);
    for (const struct zone *z = b->zones; z; z = z->next) {
        for (const struct client *c = z->clients; c; c = c->next)
            quiet = quiet && c->state == CLIENT_RUNNING;
    }
    b->quiet_ticks = quiet ? b->quiet_ticks + 1 : 0;
    return b->quiet_ticks > SHARE_SAMPLES;
}

static void on_tick(struct source *s, uint32_t events)
{
    struct broker *b = s->owner;
    uint64_t expirations;
    if (read(s->fd, &expirations, sizeof(expirations)) < 0)
        return;
    int64_t now = gi_monotonic_ns();
    struct zone *next_zone;
    for (struct zone *z = b->zones; z; z = next_zone) {
        next_zone = z->next;
        zone_audit(z);
        struct client *next; /* the zone may go with its last client */
        for (struct client *c = z->clients; c; c = next) {
            next = c->next;
            client_tick(c, now);
        }
    }
    share_tick(b, now);
    if (is_idle(b))
        rest(b);
}

/* The tick runs only while there is something to time or to audit. */
void broker_clients_changed(struct broker *b)
{
    broker_watch(b);
    set_tick(b, b->n_clients != 0);
    if (b->stopping && !b->n_clients)
        loop_stop(b->loop);
    share_arbitrate(b);
}

static int watch_signals(struct broker *b, struct gi_error *err)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, &b->parent_mask);
    signal(SIGPIPE, SIG_IGN);
    cleanup_close int fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return gi_fail_errno(err, errno, "signalfd");
    int rc = loop_add(b->loop, &b->signals, fd, EPOLLIN, on_signal, b, err);
    if (rc == 0)
        (void)TAKE_FD(fd);
    return rc;
}

static int watch_time(struct broker *b, struct gi_error *err)
{
    cleanup_close int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return gi_fail_errno(err, errno, "timerfd");
    int rc = loop_add(b->loop, &b->tick, fd, EPOLLIN, on_tick, b, err);
    if (rc == 0)
        (void)TAKE_FD(fd);
    return rc;
}

/* A client takes up to five descriptors here, a zone three. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* Sockets that a killed proxy left behind lead nowhere. */
static int prepare_zones_dir(const char *path, struct gi_error *err)
{
    int rc = gi_mkdir_p(path, 0711, err);
    if (rc < 0)
        return rc;
    cleanup_closedir DIR *d = opendir(path);
    if (!d)
        return gi_fail_errno(err, errno, "open %s", path);
    struct dirent *e;
    while ((e = readdir(d))) {
        struct stat st;
        size_t len = strlen(e->d_name);
        if (len > 5 && strcmp(e->d_name + len - 5, ".sock") == 0 &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    return 0;
}

static int start(struct broker *b, struct gi_error *err)
{
    int rc = loop_new(&b->loop, err);
    if (rc == 0)
        rc = watch_signals(b, err);
    if (rc == 0)
        rc = watch_time(b, err);
    if (rc == 0)
        rc = share_start(b, err);
    /* The control socket first: it tells whether another proxy lives here,
     * whose zones' sockets must stay. */
    if (rc == 0)
        rc = control_start(b, err);
    if (rc == 0)
        rc = prepare_zones_dir(b->options->zones_dir, err);
    return rc;
}

int broker_run(const struct proxy_options *options, struct gi_error *err)
{
    struct broker b = {
        .options = options, .signals = SOURCE_OFF, .tick = SOURCE_OFF, .control = SOURCE_OFF};
    b.share.timer = SOURCE_OFF;
    raise_file_limit();
    int rc = start(&b, err);
    if (rc == 0) {
        gi_log(GI_LOG_INFO, "ready", "version", GI_VERSION, "driver", options->driver, "control",
               options->control, "zones", options->zones_dir, NULL);
        gi_notify("READY=1\nSTATUS=serving");
        rc = loop_run(b.loop, err);
        gi_log(GI_LOG_INFO, "stopped", NULL);
    }
    if (b.loop) {
        control_stop(&b);
        loop_drop(b.loop, &b.tick);
        loop_drop(b.loop, &b.share.timer);
        loop_drop(b.loop, &b.signals);
        loop_free(b.loop);
    }
    return rc;
}
