/* SPDX-License-Identifier: Apache-2.0 */
/* A zone's network interface, as the host says it is to be (a zone that is a domain). */
#ifndef AGENT_NET_H
#define AGENT_NET_H

#include "agent.h"

/* Brings eth0 up with the options' addresses, routes and MTU. Without any:
 * nothing. Waits up to five seconds for the interface. */
int net_set_up(const struct options *o, struct gi_error *err);

#endif
