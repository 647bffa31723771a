/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_POD_H
#define AGENT_POD_H

#include "agent.h"

void pod_stats(struct agent *a, struct request req);

/* TEXT of /proc/net/dev, which is cut up, less loopback. Number of OUT filled. */
size_t pod_interfaces(char *text, Gi__Agent__NetInterface *out, size_t max);

#endif
