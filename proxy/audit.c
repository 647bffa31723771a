/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#define REFUSED_LOG_INTERVAL_NS 1000000000

struct number {
    char text[24];
};

static struct number number(uint64_t n)
{
    struct number out;
    snprintf(out.text, sizeof(out.text), "%" PRIu64, n);
    return out;
}

void audit_counters(struct audit *a, const char *label, const struct control_zone_stats *now)
{
    static const struct {
        size_t at;
        const char *msg;
    } kinds[] = {
        {offsetof(struct control_zone_stats, refused_handles), "refused handles"},
        {offsetof(struct control_zone_stats, refused_addresses), "refused device addresses"},
        {offsetof(struct control_zone_stats, protocol_errors), "protocol errors"},
        {offsetof(struct control_zone_stats, quota_refusals), "quota refusals"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(kinds); i++) {
        const uint64_t *total = (const void *)((const char *)now + kinds[i].at);
        uint64_t *told = (void *)((char *)&a->told + kinds[i].at);
        /* A worker that turns its counters back fools its own zone's log only. */
        if (*total > *told)
            gi_log(GI_LOG_WARNING, kinds[i].msg, "zone", number(now->zone).text, "label", label,
                   "new", number(*total - *told).text, "total", number(*total).text, NULL);
        *told = *total;
    }
}

void audit_refused(struct audit *a, uint32_t zone, const char *label, const char *why)
{
    int64_t now = gi_monotonic_ns();
    if (a->refused_log_ns && now - a->refused_log_ns < REFUSED_LOG_INTERVAL_NS) {
        a->refused_silently++;
        return;
    }
    gi_log(GI_LOG_WARNING, "connection refused", "zone", number(zone).text, "label", label, "why",
           why, "unlogged", number(a->refused_silently).text, NULL);
    a->refused_log_ns = now;
    a->refused_silently = 0;
}
