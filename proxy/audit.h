/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit trail of a zone: what was refused, with the zone's label, at most
 * one line a second for each kind and zone, whatever the zone does. The counts
 * lose nothing: a line tells how many since the last one.
 */
#ifndef GI_PROXY_AUDIT_H
#define GI_PROXY_AUDIT_H

#include <stdint.h>

#include "control/control.h"

struct audit {
    struct control_zone_stats told; /* as of the last line of each kind */
    int64_t refused_log_ns;         /* of the last audit_refused line */
    uint64_t refused_silently;
};

/* Logs each counter of refusals that grew since the last call. */
void audit_counters(struct audit *a, const char *label, const struct control_zone_stats *now);

/* A connection or hand-over refused by the broker itself; WHY is escaped. */
void audit_refused(struct audit *a, uint32_t zone, const char *label, const char *why);

#endif
