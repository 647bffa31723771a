/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children. The agent is the init of its zone: every orphan becomes its child,
 * so there is exactly one place that waits, and whoever wants to know about an
 * exit registers the pid, also after the fact.
 */
#ifndef AGENT_PROC_H
#define AGENT_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "loop.h"

typedef void (*proc_exit_fn)(void *data, int status); /* as from waitpid */

/* Blocks SIGCHLD, SIGTERM, SIGINT and SIGPWR and watches them through the loop. */
int proc_init(struct loop *l, void (*on_terminate)(void *data), void *data, struct gi_error *err);

/* Starts ARGV. STDIO: descriptors for 0, 1, 2; -1 is /dev/null. FN is called
 * from the loop when it ends. Returns the pid or -code. */
pid_t proc_spawn(const char *const *argv, const int stdio[3], proc_exit_fn fn, void *data,
                 struct gi_error *err);

/* Calls FN when PID ends; at once (from within) when it has ended while some
 * spawn was under way. */
void proc_expect(pid_t pid, proc_exit_fn fn, void *data);
/* Nobody wants to know any more. */
void proc_forget(const void *data);

/* Runs FN(ARG, RESULT) in a forked child: for work that may take long. DONE
 * gets what it returned (-INTERNAL when it died) and the result's bytes. */
int proc_work(int (*fn)(void *arg, void *result), void *arg, size_t result_size,
              void (*done)(void *data, int rc, const void *result), void *data,
              struct gi_error *err);

/* Forks a child that runs FN(ARG) with the descriptors 0..2 and KEEP alone, and
 * ends with its result. FN ends by itself or by SIGKILL. */
pid_t proc_fork(int (*fn)(void *arg), void *arg, int keep, proc_exit_fn done, void *data,
                struct gi_error *err);

/* Kills PID, its descendants and everything of the session it leads. */
void proc_kill_tree(pid_t pid);

/* 0..255, 128 + signal. */
int proc_exit_code(int status);

#endif
