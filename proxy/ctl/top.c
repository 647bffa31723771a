/* SPDX-License-Identifier: Apache-2.0 */
/* Rates between two looks: what is on the GPU now. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "view.h"

struct rates {
    double gpu_percent, launches, calls, up, down; /* a second */
};

/* One line: a zone, or one of its clients. */
struct line {
    const struct zone_view *zone;
    struct rates rates;
};

/* A counter that went back is one that began anew. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now >= before ? (double)(now - before) / seconds : 0;
}

static const struct zone_view *zone_in(const struct view *v, uint32_t number)
{
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->zones[i].info.zone == number)
            return &v->zones[i];
    }
    return NULL;
}

static const struct control_client_stats *client_in(const struct zone_view *z, uint32_t id)
{
    for (uint32_t i = 0; z && i < z->n_clients; i++) {
        if (z->clients[i].id == id)
            return &z->clients[i];
    }
    return NULL;
}

static struct rates zone_rates(const struct zone_view *now, const struct zone_view *before,
                               double seconds)
{
    /* A zone that is new did all it did just now. */
    const struct control_zone_stats *s = &now->stats, none = {.zone = 0};
    const struct control_zone_stats *was = before ? &before->stats : &none;
    return (struct rates){
        .gpu_percent = rate(s->gpu_ns, was->gpu_ns, seconds) / 1e7,
        .launches = rate(s->launches, was->launches, seconds),
        .calls = rate(s->calls, was->calls, seconds),
        .up = rate(s->bytes_to_device, was->bytes_to_device, seconds),
        .down = rate(s->bytes_from_device, was->bytes_from_device, seconds),
    };
}

static int by_use(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->rates.gpu_percent != y->rates.gpu_percent)
        return x->rates.gpu_percent < y->rates.gpu_percent ? 1 : -1;
    return x->zone->info.zone < y->zone->info.zone ? -1 : 1;
}

static void put_clients(struct gi_buf *b, const struct zone_view *now,
                        const struct zone_view *before, double seconds)
{
    static const struct control_client_stats none;
    for (uint32_t i = 0; i < now->n_clients; i++) {
        const struct control_client_stats *c = &now->clients[i], *was = client_in(before, c->id);
        if (!was)
            was = &none;
        gi_buf_printf(b, "%8s %6" PRIu32 " %5.1f%% %10.0f %10.0f %10s\n", "client", c->id,
                      rate(c->gpu_ns, was->gpu_ns, seconds) / 1e7,
                      rate(c->launches, was->launches, seconds),
                      rate(c->calls, was->calls, seconds), size_text(c->memory_used));
    }
}

void view_top(struct gi_buf *b, const struct view *before, const struct view *now)
{
    double seconds = (double)(now->at_ns - before->at_ns) / 1e9;
    cleanup_free struct line *lines = calloc((size_t)now->n + 1, sizeof(*lines));
    if (!lines)
        return;
    if (seconds < 1e-3)
        seconds = 1e-3;
    for (uint32_t i = 0; i < now->n; i++) {
        const struct zone_view *z = &now->zones[i];
        lines[i] = (struct line){z, zone_rates(z, zone_in(before, z->info.zone), seconds)};
    }
    qsort(lines, now->n, sizeof(*lines), by_use);
    gi_buf_printf(b, "%s\n\n%6s %8s %6s %10s %10s %10s %10s %11s %11s  %s\n", now->info, "ZONE",
                  "CLIENTS", "GPU", "LAUNCHES/s", "CALLS/s", "MEMORY", "QUOTA", "TO GPU/s",
                  "FROM GPU/s", "LABEL");
    for (uint32_t i = 0; i < now->n; i++) {
        const struct zone_view *z = lines[i].zone;
        const struct rates *r = &lines[i].rates;
        gi_buf_printf(b,
                      "%6" PRIu32 " %8" PRIu32 " %5.1f%% %10.0f %10.0f %10s %10s %11s %11s  %s\n",
                      z->info.zone, z->stats.clients, r->gpu_percent, r->launches, r->calls,
                      size_text(z->stats.memory_used), size_text(z->stats.memory_quota),
                      size_text((uint64_t)r->up), size_text((uint64_t)r->down), z->info.label);
        put_clients(b, z, zone_in(before, z->info.zone), seconds);
    }
}
