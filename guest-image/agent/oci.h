/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines of crun and runc, which differ little. */
#ifndef AGENT_OCI_H
#define AGENT_OCI_H

#include <sys/types.h>

#include "container.h"
#include "proc.h"

/* Runs `<oci> --root .. --log LOG ARGS...` (ARGS NULL-terminated, at most 12).
 * STDIO NULL: /dev/null. */
pid_t oci_run(struct agent *a, const char *log, const char *const *args, const int *stdio,
              proc_exit_fn fn, void *data, struct gi_error *err);

/* Sets ERR from the last error in LOG: WHAT failed, with code
 * FAILED_PRECONDITION when the program to start doesn't exist or may not be
 * run, else INTERNAL. Returns 127, 126, or 0 in those cases. */
int oci_why(const char *log, const char *what, struct gi_error *err);

/* The pid that the runtime wrote to PATH; 0 when there is none. */
pid_t oci_read_pid(const char *path);

/* Makes a new file with TEXT; nobody else may read it. */
int oci_write_file(const char *path, const char *text, struct gi_error *err);

#endif
