/* SPDX-License-Identifier: Apache-2.0 */
/* Requests whose answer is what a forked child came to. */
#ifndef AGENT_WORK_H
#define AGENT_WORK_H

#include "agent.h"

/* Runs FN(ARG, ERR) in a child, which has what ARG points to as it is now, and answers REQ
 * with ERR when it has ended. */
void work_answer(struct agent *a, struct request req, int (*fn)(void *arg, struct gi_error *err),
                 void *arg);

#endif
