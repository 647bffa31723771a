/* SPDX-License-Identifier: Apache-2.0 */
/* The zone's graceful end: TERM, patience, KILL, exit. */
#include <signal.h>

#include "agent.h"
#include "base/log.h"
#include "container.h"

/* The host has its own, usually shorter, patience. */
#define TERM_MS 30000
#define KILL_MS 2000

static bool anything_alive(const struct agent *a)
{
    for (const struct container *c = a->containers; c; c = c->next) {
        if (c->pid || c->phase == PHASE_CREATING)
            return true;
    }
    return false;
}

static void on_end_over(void *data)
{
    struct agent *a = data;
    loop_stop(a->loop);
}

static void on_term_over(void *data)
{
    struct agent *a = data;
    for (struct container *c = a->containers; c; c = c->next)
        container_signal_all(c, SIGKILL);
    loop_arm(a->loop, &a->end_timer, KILL_MS, on_end_over, a);
}

void agent_end(struct agent *a)
{
    if (a->ending)
        return;
    gi_log(GI_LOG_INFO, "the zone ends", NULL);
    a->ending = true;
    for (struct container *c = a->containers; c; c = c->next) {
        /* One that was made but never started knows no signal but KILL. */
        if (c->pid)
            kill(c->pid, c->phase == PHASE_RUNNING ? c->stop_signal : SIGKILL);
    }
    loop_arm(a->loop, &a->end_timer, TERM_MS, on_term_over, a);
    agent_end_check(a);
}

void agent_end_check(struct agent *a)
{
    /* A moment for replies and logs to leave. */
    if (a->ending && !anything_alive(a))
        loop_arm(a->loop, &a->end_timer, 2, on_end_over, a);
}
