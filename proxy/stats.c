/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "control/messages.h"

#define OUTPUT_MAX (64u << 20)

GI_DEFINE_CLEANUP(struct control_client *, control_client_free);

struct zone_view {
    struct control_zone_info info;
    struct control_zone_stats stats;
    struct control_client_stats *clients;
    uint32_t n_clients;
};

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
    char text[8][24];
    unsigned next;
} sizes;

/* "1.5 GiB" in a rotating buffer, good for one printf. */
static const char *size_text(uint64_t n)
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

static int fetch_zone(struct control_client *c, uint32_t number, struct zone_view *ret,
                      struct gi_error *err)
{
    int rc = control_zone_info(c, number, &ret->info, err);
    if (rc == 0)
        rc = control_zone_stats(c, number, &ret->stats, err);
    if (rc == 0)
        rc = control_list_clients(c, number, &ret->clients, &ret->n_clients, err);
    return rc;
}

int stats_print(const char *control_socket, bool json, struct gi_error *err)
{
    __attribute__((cleanup(control_client_freep))) struct control_client *c = NULL;
    cleanup_free char *info = NULL;
    cleanup_free uint32_t *zones = NULL;
    uint32_t n = 0;
    int rc = control_client_new(control_socket, &c, err);
    if (rc == 0)
        rc = control_info(c, &info, err);
    if (rc == 0)
        rc = control_list_zones(c, &zones, &n, err);
    if (!info || rc < 0)
        return rc;
    cleanup_buf struct gi_buf out = GI_BUF_INIT(OUTPUT_MAX);
    if (json) {
        gi_buf_printf(&out, "{\"info\": ");
        json_text(&out, info);
        gi_buf_printf(&out, ", \"zones\": [");
    } else {
        gi_buf_printf(&out, "%s\n", info);
    }
    bool first = true;
    for (uint32_t i = 0; i < n; i++) {
        struct zone_view z = {0};
        rc = fetch_zone(c, zones[i], &z, err);
        if (rc == 0 && json)
            gi_buf_printf(&out, first ? "" : ", ");
        if (rc == 0)
            (json ? json_zone : text_zone)(&out, &z);
        first = first && rc != 0;
        free(z.clients);
        if (rc < 0 && rc != -GI_NOT_FOUND) /* dropped since it was listed */
            return rc;
    }
    if (json)
        gi_buf_printf(&out, "]}\n");
    fwrite(out.data, 1, out.len, stdout);
    return fflush(stdout) == 0 ? 0 : gi_fail_errno(err, errno, "write");
}
