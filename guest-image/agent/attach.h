/* SPDX-License-Identifier: Apache-2.0 */
/* Those who watch and feed a running container beside its log. */
#ifndef AGENT_ATTACH_H
#define AGENT_ATTACH_H

#include "container.h"

#define MAX_ATTACHES 16u /* a container */

/* The container's output, as read. */
void attach_output(struct container *c, enum agent_stream stream, const char *data, size_t len);
/* Somebody doesn't read: the container has to wait, for some seconds at most. */
bool attach_blocked(const struct container *c);
/* No more output will come. WHY may be NULL. */
void attach_end_all(struct container *c, const struct gi_error *why);

/* C's input is FD (non-blocking from here on), kept open for who attaches. */
int attach_input(struct container *c, int fd);
void attach_close_input(struct container *c);

#endif
