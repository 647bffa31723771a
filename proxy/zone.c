/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "broker.h"
#include "listen.h"

/* Connections taken from one zone before others get their turn. */
#define ACCEPT_BURST 16

struct zone *zone_find(struct broker *b, uint32_t number)
{
    for (struct zone *z = b->zones; z; z = z->next) {
        if (z->number == number && !z->dropped)
            return z;
    }
    return NULL;
}

static void log_zone(const struct zone *z, const char *msg)
{
    char number[16];
    snprintf(number, sizeof(number), "%" PRIu32, z->number);
    gi_log(GI_LOG_INFO, msg, "zone", number, "label", z->label, "socket", z->path, NULL);
}

static bool peer_allowed(struct zone *z, int fd)
{
    const struct proxy_options *o = z->broker->options;
    uid_t uid;
    if (peer_uid(fd, &uid, NULL) < 0)
        return false;
    return uid == 0 || uid == geteuid() || (o->have_agent_uid && uid == o->agent_uid);
}

static const char *refusal(struct zone *z, int fd)
{
    if (!peer_allowed(z, fd))
        return "peer is neither root, gpu-proxy's user nor the agent's";
    if (z->n_clients >= z->quota.max_clients)
        return "the zone has its limit of clients";
    if (z->broker->n_clients >= z->broker->options->max_clients)
        return "gpu-proxy has its limit of clients";
    return NULL;
}

static void on_connection(struct source *s, uint32_t events)
{
    struct zone *z = s->owner;
    broker_watch(z->broker);
    for (int i = 0; i < ACCEPT_BURST && s->fd >= 0; i++) {
        int fd = listen_accept(s->fd);
        if (fd == -EMFILE) {
            z->broker_quota_refusals++;
            audit_refused(&z->audit, z->number, z->label, "no descriptors left");
            continue;
        }
        if (fd < 0)
            return;
        const char *why = refusal(z, fd);
        if (why) {
            z->broker_quota_refusals++;
            audit_refused(&z->audit, z->number, z->label, why);
            close(fd);
            continue;
        }
        client_accept(z, fd);
    }
}

static struct control_quota effective(const struct control_quota *asked,
                                      const struct control_quota *defaults)
{
    struct control_quota q = *asked;
    if (!q.memory_bytes)
        q.memory_bytes = defaults->memory_bytes;
    if (!q.max_clients)
        q.max_clients = defaults->max_clients;
    if (!q.max_handles)
        q.max_handles = defaults->max_handles;
    if (!q.max_channel_bytes)
        q.max_channel_bytes = defaults->max_channel_bytes;
    if (!q.compute_weight)
        q.compute_weight = defaults->compute_weight;
    if (!q.compute_cap)
        q.compute_cap = defaults->compute_cap;
    return q;
}

static bool same_quota(const struct control_quota *a, const struct control_quota *b)
{
    return a->memory_bytes == b->memory_bytes && a->max_clients == b->max_clients &&
           a->max_handles == b->max_handles && a->max_channel_bytes == b->max_channel_bytes &&
           a->compute_weight == b->compute_weight && a->compute_cap == b->compute_cap;
}

static void zone_destroy(struct zone *z)
{
    loop_drop(z->broker->loop, &z->listener);
    share_zone_close(z);
    page_unmap(z->page);
    if (z->page_fd >= 0)
        close(z->page_fd);
    loop_free_later(z->broker->loop, z);
}

static int zone_open(struct zone *z, struct gi_error *err)
{
    char name[32];
    snprintf(name, sizeof(name), "zone-%" PRIu32, z->number);
    int rc = page_create(name, z->quota.memory_bytes, z->quota.compute_weight, &z->page_fd,
                         &z->page, err);
    if (rc < 0)
        return rc;
    rc = share_zone_open(z, err);
    if (rc < 0)
        return rc;
    cleanup_close int fd = -1;
    /* Who may connect is decided by SO_PEERCRED; the mode lets the agent's user in. */
    mode_t mode = z->broker->options->have_agent_uid ? 0666 : 0660;
    rc = listen_at(z->path, mode, &fd, err);
    if (rc < 0)
        return rc;
    rc = loop_add(z->broker->loop, &z->listener, fd, EPOLLIN, on_connection, z, err);
    if (rc < 0) {
        unlink(z->path);
        return rc;
    }
    (void)TAKE_FD(fd);
    return 0;
}

int zone_create(struct broker *b, uint32_t number, const char *label,
                const struct control_quota *quota, struct zone **ret_zone, struct gi_error *err)
{
    if (number == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "zone 0 is nobody's");
    if (quota->max_clients > PAGE_SLOTS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "max_clients is over %u", PAGE_SLOTS);
    if (quota->compute_cap > 100)
        return gi_fail(err, GI_INVALID_ARGUMENT, "compute_cap is over 100 per cent");
    if (quota->compute_weight > CONTROL_MAX_WEIGHT)
        return gi_fail(err, GI_INVALID_ARGUMENT, "compute_weight is over %u", CONTROL_MAX_WEIGHT);
    struct control_quota q = effective(quota, &b->options->defaults);
    struct zone *z = zone_find(b, number);
    if (z && !same_quota(&z->quota, &q))
        return gi_fail(err, GI_ALREADY_EXISTS, "zone %u exists with another quota", number);
    if (z) {
        *ret_zone = z;
        return 0;
    }
    if (b->n_zones >= CONTROL_MAX_ZONES)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "there are %u zones already", b->n_zones);
    z = calloc(1, sizeof(*z));
    if (!z)
        return gi_fail_errno(err, ENOMEM, "zone %u", number);
    z->broker = b;
    z->number = number;
    z->quota = q;
    z->page_fd = -1;
    z->listener = z->share.bell = SOURCE_OFF;
    z->audit.told.zone = number;
    snprintf(z->label, sizeof(z->label), "%s", label);
    snprintf(z->path, sizeof(z->path), "%s/%" PRIu32 ".sock", b->options->zones_dir, number);
    int rc = zone_open(z, err);
    if (rc < 0) {
        zone_destroy(z);
        return rc;
    }
    z->next = b->zones;
    b->zones = z;
    b->n_zones++;
    log_zone(z, "zone created");
    *ret_zone = z;
    return 0;
}

void zone_release(struct zone *z)
{
    if (!z->dropped || z->dropping || z->n_clients)
        return;
    struct zone **at = &z->broker->zones;
    while (*at != z)
        at = &(*at)->next;
    *at = z->next;
    z->broker->n_zones--;
    zone_audit(z);
    log_zone(z, "zone gone");
    zone_destroy(z);
}

void zone_drop(struct zone *z)
{
    z->dropped = true;
    z->dropping = true; /* clients without a worker are gone at once: not the zone yet */
    loop_drop(z->broker->loop, &z->listener);
    unlink(z->path);
    struct client *next;
    for (struct client *c = z->clients; c; c = next) {
        next = c->next;
        client_end(c, "zone dropped");
    }
    z->dropping = false;
    zone_release(z);
}

void zone_stats(struct zone *z, struct control_zone_stats *ret_stats)
{
    struct page_counters sum = z->totals;
    for (struct client *c = z->clients; c; c = c->next) {
        struct page_counters live;
        page_read(z->page, c->slot, &live);
#define ADD(name) sum.name = page_add(sum.name, live.name);
        PAGE_COUNTERS(ADD)
    }
    struct control_zone_stats s = {.zone = z->number,
                                   .clients = z->n_clients,
                                   .clients_total = z->clients_total,
                                   .memory_used = page_memory_used(z->page),
                                   .memory_quota = z->quota.memory_bytes,
                                   .memory_shared = atomic_load(&z->page->shared_memory),
                                   .shared_items = z->shelf.n,
                                   .worker_crashes = z->worker_crashes};
#define COPY(name) s.name = sum.name;
    PAGE_COUNTERS(COPY)
    s.protocol_errors = page_add(s.protocol_errors, z->broker_protocol_errors);
    s.quota_refusals = page_add(s.quota_refusals, z->broker_quota_refusals);
    *ret_stats = s;
}

void zone_audit(struct zone *z)
{
    struct control_zone_stats now;
    zone_stats(z, &now);
    audit_counters(&z->audit, z->label, &now);
}
