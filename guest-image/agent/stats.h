/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a container, for the runtime. */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include "agent.h"
#include "agent/agent_client.h"

/* All figures of FROM; TO is initialized. */
void stats_reply(const struct agent_stats *from, Gi__Agent__StatsReply *to);

/* Answers REQ, later. */
void container_stats(struct agent *a, struct request req, const char *id);

#endif
