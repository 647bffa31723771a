/* SPDX-License-Identifier: Apache-2.0 */
/* Running one plugin: environment, standard input, bounded output, time limit. */
#ifndef GI_CNI_RUN_H
#define GI_CNI_RUN_H

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

/* Runs PATH with ENVP and INPUT on its standard input. *ret_status is the wait
 * status; OUT gets its standard output up to its ceiling, the rest is read and
 * dropped; standard error goes to ours. When TIMEOUT_MS passes the plugin's whole
 * process group is killed: DEADLINE_EXCEEDED. */
int cni_run(const char *path, char *const *envp, const char *input, size_t input_len,
            int timeout_ms, struct gi_buf *out, int *ret_status, struct gi_error *err);

#endif
