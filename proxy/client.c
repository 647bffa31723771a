/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client. Each transition of README.md's diagram is the one
 * function that sets the state:
 *   client_accept        -> ACCEPTED
 *   start_worker            ACCEPTED -> STARTING
 *   read_status             STARTING -> RUNNING
 *   client_end              any -> ENDING, or gone when there is no worker
 *   client_gone             -> gone
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "boot.h"
#include "broker.h"
#include "idm/handover.h"
#include "spawn.h"

struct text {
    char s[24];
};

static struct text number(uint64_t n)
{
    struct text t;
    snprintf(t.s, sizeof(t.s), "%" PRIu64, n);
    return t;
}

static void say(const struct client *c, enum gi_log_level level, const char *msg, const char *key,
                const char *value)
{
    gi_log(level, msg, "zone", number(c->zone->number).s, "label", c->zone->label, "client",
           number(c->id).s, key, value, NULL);
}

static void set_state(struct client *c, enum client_state state)
{
    c->state = state;
    c->since_ns = gi_monotonic_ns();
}

static uint32_t free_slot(const struct zone *z)
{
    bool used[PAGE_SLOTS] = {false};
    for (const struct client *c = z->clients; c; c = c->next)
        used[c->slot] = true;
    uint32_t slot = 0;
    while (slot < PAGE_SLOTS - 1 && used[slot])
        slot++;
    return slot;
}

/* Owner tags of live clients differ over all zones, so that a handle of another
 * zone's client can't look like one's own. */
static uint32_t free_tag(struct broker *b)
{
    for (;;) {
        b->next_tag = b->next_tag % UINT16_MAX + 1;
        bool used = false;
        for (const struct zone *z = b->zones; z; z = z->next) {
            for (const struct client *c = z->clients; c; c = c->next)
                used = used || c->tag == b->next_tag;
        }
        if (!used)
            return b->next_tag;
    }
}

/* Keeps what the client counted and gives back what it held. */
static void settle(struct client *c)
{
    struct zone *z = c->zone;
    struct page_counters last;
    page_read(z->page, c->slot, &last);
#define KEEP(name) z->totals.name = page_add(z->totals.name, last.name);
    PAGE_COUNTERS(KEEP)
#undef KEEP
    page_clear(z->page, c->slot);
    shelf_client_gone(c);
    z->channel_bytes -= c->channel_bytes;
}

static void client_gone(struct client *c)
{
    struct zone *z = c->zone;
    struct broker *b = z->broker;
    settle(c);
    struct client **at = &z->clients;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    z->n_clients--;
    b->n_clients--;
    worker_log_stop(&c->log);
    loop_drop(b->loop, &c->worker);
    loop_drop(b->loop, &c->status);
    loop_drop(b->loop, &c->shelf);
    /* Last: who sees this connection end finds the memory given back. */
    loop_drop(b->loop, &c->handover);
    loop_free_later(b->loop, c);
    zone_audit(z);
    zone_release(z);
    broker_clients_changed(b);
}

void client_end(struct client *c, const char *why)
{
    if (c->state == CLIENT_ENDING)
        return;
    say(c, c->pid ? GI_LOG_INFO : GI_LOG_DEBUG, "client ends", "why", why);
    if (!c->pid) {
        client_gone(c);
        return;
    }
    set_state(c, CLIENT_ENDING);
    loop_drop(c->zone->broker->loop, &c->status);
    loop_drop(c->zone->broker->loop, &c->shelf);
    /* Not reaped yet, so the number is still this worker's. */
    kill(c->pid, SIGKILL);
}

/* Like client_end, for what a hostile or broken peer brought about. */
static void refuse(struct client *c, const struct gi_error *err)
{
    struct zone *z = c->zone;
    if (err->code == GI_RESOURCE_EXHAUSTED)
        z->broker_quota_refusals++;
    else
        z->broker_protocol_errors++;
    audit_refused(&z->audit, z->number, z->label, err->message);
    handover_answer(c->handover.fd, err, 0, 0, NULL);
    client_end(c, err->message);
}

static const char *exit_text(int status, char *buf, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(buf, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(buf, size, "exit code %d", WEXITSTATUS(status));
    return buf;
}

/* The worker's one message, if it is there. */
static void read_status(struct client *c)
{
    struct worker_status status;
    ssize_t n = read(c->status.fd, &status, sizeof(status));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    loop_drop(c->zone->broker->loop, &c->status);
    if (n != (ssize_t)sizeof(status))
        return; /* it died before: on_worker_death tells */
    if (status.code == GI_OK) {
        set_state(c, CLIENT_RUNNING);
        say(c, GI_LOG_INFO, "client running", "worker", number((uint64_t)c->pid).s);
        if (handover_answer(c->handover.fd, NULL, c->zone->number, c->tag, NULL) < 0)
            client_end(c, "the agent is gone");
        return;
    }
    struct gi_error err = GI_ERROR_INIT;
    status.message[sizeof(status.message) - 1] = '\0';
    enum gi_code code = status.code <= GI_UNAUTHENTICATED ? (enum gi_code)status.code : GI_INTERNAL;
    gi_fail(&err, code, "%s", status.message);
    say(c, GI_LOG_ERROR, "worker can't start", "why", err.message);
    handover_answer(c->handover.fd, &err, 0, 0, NULL);
    client_end(c, "its worker can't start");
}

static void on_status(struct source *s, uint32_t events)
{
    read_status(s->owner);
}

static bool is_crash(int status)
{
    return !WIFEXITED(status) ||
           (WEXITSTATUS(status) != WORKER_EXIT_OK && WEXITSTATUS(status) != WORKER_EXIT_CLIENT);
}

/* The pidfd is readable: the worker is dead. */
static void on_worker_death(struct source *s, uint32_t events)
{
    struct client *c = s->owner;
    /* Before it is reaped, for what follows from its last word may kill it. */
    if (c->status.fd >= 0)
        read_status(c);
    int status = 0;
    pid_t got = waitpid(c->pid, &status, WNOHANG);
    if (got == 0)
        return;
    char text[64];
    exit_text(status, text, sizeof(text));
    if (c->state != CLIENT_ENDING && is_crash(status)) {
        c->zone->worker_crashes++;
        say(c, GI_LOG_ERROR, "worker crashed", "how", text);
    } else {
        say(c, GI_LOG_INFO, "worker ended", "how", text);
    }
    c->pid = 0;
    client_gone(c);
}

/* What connects a worker with us besides the channel. */
struct worker_ends {
    int status;
    int log;
    int shelf;
};

#define ENDS_NONE ((struct worker_ends){-1, -1, -1})

static void ends_close(struct worker_ends *e)
{
    if (e->status >= 0)
        close(e->status);
    if (e->log >= 0)
        close(e->log);
    if (e->shelf >= 0)
        close(e->shelf);
}

static int ends_make(struct worker_ends *ours, struct worker_ends *theirs, struct gi_error *err)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return gi_fail_errno(err, errno, "pipe");
    ours->status = pair[0];
    theirs->status = pair[1];
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return gi_fail_errno(err, errno, "pipe");
    ours->log = pair[0];
    theirs->log = pair[1];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return gi_fail_errno(err, errno, "socketpair");
    ours->shelf = pair[0];
    theirs->shelf = pair[1];
    return 0;
}

static int spawn(struct client *c, const struct handover_channel *ch,
                 const struct worker_ends *ends, int *ret_pidfd, struct gi_error *err)
{
    struct zone *z = c->zone;
    const struct proxy_options *o = z->broker->options;
    cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return gi_fail_errno(err, errno, "/dev/null");
    const int fds[WORKER_FDS] = {
        [WORKER_FD_NULL_IN] = null,
        [WORKER_FD_NULL_OUT] = null,
        [WORKER_FD_LOG] = ends->log,
        [WORKER_FD_STATUS] = ends->status,
        [WORKER_FD_PAGE] = z->page_fd,
        [WORKER_FD_RING] = ch->ring,
        [WORKER_FD_ARENA] = ch->arena,
        [WORKER_FD_TO_PROXY] = ch->to_proxy,
        [WORKER_FD_TO_CLIENT] = ch->to_client,
        [WORKER_FD_BELL] = z->share.bell.fd,
        [WORKER_FD_SHELF] = ends->shelf,
    };
    struct worker_boot boot = {.zone = z->number,
                               .client = c->id,
                               .slot = c->slot,
                               .tag = c->tag,
                               .ring_bytes = ch->ring_bytes,
                               .arena_bytes = ch->arena_bytes,
                               .driver = o->driver,
                               .devices = ch->devices.list,
                               .device_flags = ch->devices.flags,
                               .uid = o->worker_uid,
                               .gid = o->worker_gid,
                               .parent = getpid(),
                               .memory_quota = z->quota.memory_bytes,
                               .host_memory = o->worker_memory,
                               .context_memory = o->context_memory,
                               .max_handles = z->quota.max_handles,
                               .compute_weight = z->quota.compute_weight};
    struct worker_args args;
    int rc = worker_args_make(&boot, &args, err);
    if (rc < 0)
        return rc;
    return worker_spawn(args.argv, fds, GI_ARRAY_SIZE(fds), &z->broker->parent_mask, &c->pid,
                        ret_pidfd, err);
}

/* ACCEPTED -> STARTING. The channel's descriptors stay the caller's. */
static int start_worker(struct client *c, const struct handover_channel *ch, struct gi_error *err)
{
    struct loop *loop = c->zone->broker->loop;
    __attribute__((cleanup(ends_close))) struct worker_ends ours = ENDS_NONE, theirs = ENDS_NONE;
    int rc = ends_make(&ours, &theirs, err);
    if (rc < 0)
        return rc;
    cleanup_close int pidfd = -1;
    rc = spawn(c, ch, &theirs, &pidfd, err);
    if (rc < 0)
        return rc;
    set_state(c, CLIENT_STARTING);
    rc = loop_add(loop, &c->worker, pidfd, EPOLLIN, on_worker_death, c, err);
    if (rc < 0) {
        /* Unwatched it must not live. */
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        c->pid = 0;
        return rc;
    }
    (void)TAKE_FD(pidfd);
    rc = loop_add(loop, &c->status, ours.status, EPOLLIN, on_status, c, err);
    if (rc < 0)
        return rc;
    (void)TAKE_FD(ours.status);
    rc = shelf_attend(c, ours.shelf, err);
    if (rc < 0)
        return rc;
    (void)TAKE_FD(ours.shelf);
    rc = worker_log_start(&c->log, loop, ours.log, c->zone->number, c->id, err);
    if (rc == 0)
        (void)TAKE_FD(ours.log);
    return rc;
}

static int admit(struct client *c, const struct handover_channel *ch, struct gi_error *err)
{
    struct zone *z = c->zone;
    uint64_t bytes = ch->ring_bytes + ch->arena_bytes; /* both bounded by the hand-over */
    if (bytes > z->quota.max_channel_bytes || z->channel_bytes > z->quota.max_channel_bytes - bytes)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "channel of %" PRIu64 " bytes: the zone has %" PRIu64 " of %" PRIu64
                       " in use",
                       bytes, z->channel_bytes, z->quota.max_channel_bytes);
    z->channel_bytes += bytes;
    c->channel_bytes = bytes;
    int rc = start_worker(c, ch, err);
    if (rc == 0)
        z->clients_total++;
    return rc;
}

/* The agent's connection: the hand-over, and later nothing but its end. */
static void on_handover(struct source *s, uint32_t events)
{
    struct client *c = s->owner;
    if (c->state != CLIENT_ACCEPTED) {
        char byte;
        ssize_t n = recv(s->fd, &byte, 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        client_end(c, n > 0 ? "the agent spoke out of turn" : "the client has closed its channel");
        /* Still readable; its worker's end closes it. */
        loop_mute(c->zone->broker->loop, s);
        return;
    }
    struct gi_error err = GI_ERROR_INIT;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    int rc = handover_receive(s->fd, &ch, &err);
    if (rc == -GI_RESOURCE_EXHAUSTED)
        return; /* nothing there yet */
    if (rc == -GI_UNAVAILABLE) {
        client_end(c, "closed before a channel was handed over");
        return;
    }
    if (rc == 0) {
        rc = admit(c, &ch, &err);
        handover_channel_close(&ch);
    }
    if (rc < 0)
        refuse(c, &err);
}

void client_accept(struct zone *z, int fd)
{
    struct broker *b = z->broker;
    struct client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return;
    }
    c->zone = z;
    c->id = ++b->next_client_id;
    c->slot = free_slot(z);
    c->tag = free_tag(b);
    c->handover = c->status = c->worker = c->shelf = c->log.source = SOURCE_OFF;
    c->log.loop = b->loop;
    c->accepted_ns = gi_monotonic_ns();
    struct gi_error err = GI_ERROR_INIT;
    if (loop_add(b->loop, &c->handover, fd, EPOLLIN | EPOLLRDHUP, on_handover, c, &err) < 0) {
        gi_log(GI_LOG_ERROR, "client", "why", err.message, NULL);
        close(fd);
        free(c);
        return;
    }
    set_state(c, CLIENT_ACCEPTED);
    c->next = z->clients;
    z->clients = c;
    z->n_clients++;
    b->n_clients++;
    broker_clients_changed(b);
}

void client_tick(struct client *c, int64_t now_ns)
{
    const struct proxy_options *o = c->zone->broker->options;
    int64_t ms = (now_ns - c->since_ns) / 1000000;
    if (c->state == CLIENT_ACCEPTED && ms > o->handover_timeout_ms) {
        struct gi_error err = GI_ERROR_INIT;
        gi_fail(&err, GI_DEADLINE_EXCEEDED, "no channel handed over in %d ms",
                o->handover_timeout_ms);
        refuse(c, &err);
    } else if (c->state == CLIENT_STARTING && ms > o->start_timeout_ms) {
        c->zone->worker_crashes++;
        client_end(c, "its worker didn't get ready in time");
    }
}

void client_stats(const struct client *c, struct control_client_stats *ret_stats)
{
    struct page_slot *slot = &c->zone->page->slots[c->slot];
    *ret_stats = (struct control_client_stats){
        .id = c->id,
        .pid = (uint32_t)c->pid,
        .state = (uint32_t)c->state,
        .handles = (uint32_t)atomic_load(&slot->handles),
        .age_ns = (uint64_t)(gi_monotonic_ns() - c->accepted_ns),
        .calls = atomic_load(&slot->calls),
        .launches = atomic_load(&slot->launches),
        .memory_used = atomic_load(&slot->memory_used),
        .channel_bytes = c->channel_bytes,
        .gpu_ns = atomic_load(&slot->gpu_ns),
    };
}
