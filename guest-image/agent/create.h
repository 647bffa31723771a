/* SPDX-License-Identifier: Apache-2.0 */
/* Between create.c and container.c only. */
#ifndef AGENT_CREATE_H
#define AGENT_CREATE_H

#include "container.h"

/* <dir>/NAME into OUT of PATH_MAX bytes; NAME at most 48. */
void container_path(const struct container *c, const char *name, char *out);
void container_fail_create(struct container *c, const struct gi_error *why);
/* Kills, deletes, unmounts, removes; answers all removers; frees C. */
void container_teardown(struct container *c);

#endif
