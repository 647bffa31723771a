/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "control/messages.h"
#include "view.h"

static const char *state_name(uint32_t state)
{
    switch (state) {
    case CONTROL_CLIENT_ACCEPTED:
        return "accepted";
    case CONTROL_CLIENT_STARTING:
        return "starting";
    case CONTROL_CLIENT_RUNNING:
        return "running";
    case CONTROL_CLIENT_ENDING:
        return "ending";
    default:
        return "unknown";
    }
}

static struct {
    char text[16][24];
    unsigned next;
} sizes;

const char *size_text(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    char *out = sizes.text[sizes.next++ % GI_ARRAY_SIZE(sizes.text)];
    size_t unit = 0;
    double v = (double)n;
    while (v >= 1024 && unit + 1 < GI_ARRAY_SIZE(units)) {
        v /= 1024;
        unit++;
    }
    snprintf(out, sizeof(sizes.text[0]), unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
    return out;
}

/* Control bytes don't travel in the protocol; quotes and backslashes do. */
static void json_text(struct gi_buf *b, const char *s)
{
    gi_buf_append(b, "\"", 1);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            gi_buf_append(b, "\\", 1);
        gi_buf_append(b, s, 1);
    }
    gi_buf_append(b, "\"", 1);
}

/* JSON's members come from the protocol's own list of fields. */
#define JSON_MEMBER(kind, ...) JSON_MEMBER_##kind(__VA_ARGS__)
#define JSON_MEMBER_U32(name)  JSON_NUMBER(name)
#define JSON_MEMBER_U64(name)  JSON_NUMBER(name)
#define JSON_NUMBER(name)                                                                          \
    gi_buf_printf(b, "%s\"%s\": %" PRIu64, first ? "" : ", ", #name, (uint64_t)r->name);           \
    first = false;

static void json_zone(struct gi_buf *b, const struct zone_view *z)
{
    bool first = true;
    gi_buf_printf(b, "{\"label\": ");
    json_text(b, z->info.label);
    gi_buf_printf(b, ", \"socket\": ");
    json_text(b, z->info.path);
    gi_buf_printf(b, ", \"quota\": {");
    {
        const struct control_quota *r = &z->info.quota;
        CONTROL_QUOTA_FIELDS(JSON_MEMBER)
    }
    gi_buf_printf(b, "}, \"stats\": {");
    first = true;
    {
        const struct control_zone_stats *r = &z->stats;
        CONTROL_ZONE_STATS_FIELDS(JSON_MEMBER)
    }
    gi_buf_printf(b, "}, \"clients\": [");
    for (uint32_t i = 0; i < z->n_clients; i++) {
        const struct control_client_stats *r = &z->clients[i];
        gi_buf_printf(b, "%s{\"state_name\": \"%s\", ", i ? ", " : "", state_name(r->state));
        first = true;
        CONTROL_CLIENT_STATS_FIELDS(JSON_MEMBER)
        gi_buf_printf(b, "}");
    }
    gi_buf_printf(b, "]}");
}

static void text_zone(struct gi_buf *b, const struct zone_view *z)
{
    const struct control_zone_stats *s = &z->stats;
    const struct control_quota *q = &z->info.quota;
    gi_buf_printf(b, "\nzone %" PRIu32 "  %s\n", z->info.zone, z->info.label);
    gi_buf_printf(b, "  memory    %s of %s", size_text(s->memory_used), size_text(s->memory_quota));
    if (s->shared_items)
        gi_buf_printf(b, ", %s of it shared by its clients (%" PRIu64 " items)",
                      size_text(s->memory_shared), s->shared_items);
    gi_buf_printf(b, "\n");
    gi_buf_printf(
        b, "  clients   %" PRIu32 " of %" PRIu32 ", %" PRIu64 " so far, %" PRIu64 " crashed\n",
        s->clients, q->max_clients, s->clients_total, s->worker_crashes);
    gi_buf_printf(b, "  work      %" PRIu64 " calls, %" PRIu64 " launches, %.3f s on the GPU\n",
                  s->calls, s->launches, (double)s->gpu_ns / 1e9);
    gi_buf_printf(b, "  share     weight %" PRIu32 ", at most %" PRIu32 "%% of GPU time\n",
                  q->compute_weight, q->compute_cap);
    gi_buf_printf(b, "  copied    %s to the device, %s from it\n", size_text(s->bytes_to_device),
                  size_text(s->bytes_from_device));
    gi_buf_printf(b,
                  "  refused   %" PRIu64 " handles, %" PRIu64 " addresses, %" PRIu64
                  " over quota; %" PRIu64 " protocol errors\n",
                  s->refused_handles, s->refused_addresses, s->quota_refusals, s->protocol_errors);
    if (z->n_clients)
        gi_buf_printf(b, "  %6s %8s %-9s %8s %12s %10s %10s %10s\n", "CLIENT", "WORKER", "STATE",
                      "AGE", "CALLS", "LAUNCHES", "MEMORY", "CHANNEL");
    for (uint32_t i = 0; i < z->n_clients; i++) {
        const struct control_client_stats *c = &z->clients[i];
        gi_buf_printf(b,
                      "  %6" PRIu32 " %8" PRIu32 " %-9s %7" PRIu64 "s %12" PRIu64 " %10" PRIu64
                      " %10s %10s\n",
                      c->id, c->pid, state_name(c->state), c->age_ns / 1000000000, c->calls,
                      c->launches, size_text(c->memory_used), size_text(c->channel_bytes));
    }
}

void view_show(struct gi_buf *b, const struct view *v)
{
    gi_buf_printf(b, "%s\n", v->info);
    for (uint32_t i = 0; i < v->n; i++)
        text_zone(b, &v->zones[i]);
}

void view_json(struct gi_buf *b, const struct view *v)
{
    gi_buf_printf(b, "{\"info\": ");
    json_text(b, v->info);
    gi_buf_printf(b, ", \"zones\": [");
    for (uint32_t i = 0; i < v->n; i++) {
        gi_buf_printf(b, i ? ", " : "");
        json_zone(b, &v->zones[i]);
    }
    gi_buf_printf(b, "]}\n");
}

void view_list(struct gi_buf *b, const struct view *v)
{
    gi_buf_printf(b, "%6s %7s %10s %10s %10s %6s %4s %10s %8s %7s  %s\n", "ZONE", "CLIENTS",
                  "MEMORY", "QUOTA", "SHARED", "WEIGHT", "CAP", "GPU TIME", "REFUSED", "CRASHED",
                  "LABEL");
    for (uint32_t i = 0; i < v->n; i++) {
        const struct zone_view *z = &v->zones[i];
        const struct control_zone_stats *s = &z->stats;
        gi_buf_printf(
            b,
            "%6" PRIu32 " %3" PRIu32 "/%-3" PRIu32 " %10s %10s %10s %6" PRIu32 " %3" PRIu32
            "%% %9.1fs %8" PRIu64 " %7" PRIu64 "  %s\n",
            z->info.zone, s->clients, z->info.quota.max_clients, size_text(s->memory_used),
            size_text(s->memory_quota), size_text(s->memory_shared), z->info.quota.compute_weight,
            z->info.quota.compute_cap, (double)s->gpu_ns / 1e9,
            s->refused_handles + s->refused_addresses + s->protocol_errors + s->quota_refusals,
            s->worker_crashes, z->info.label);
    }
}
