/* SPDX-License-Identifier: Apache-2.0 */
/* ExecSync: one more process in a container, run to its end. */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "container.h"

void exec_sync(struct agent *a, struct request req, const Gi__Agent__ExecSync *m);
/* The connection has room again: go on reading output. */
void exec_resume(struct agent *a);
/* The caller is gone: ends what it started. */
void exec_end_orphans(struct agent *a);
/* C is being removed. */
void exec_end_of(struct container *c);

#endif
