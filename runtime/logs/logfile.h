/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's log file in CRI's format: `<RFC 3339 time> <stdout|stderr>
 * <P|F> <line>`. The time of a record identifies it: after a crash the last
 * whole line says which record is wanted next. May be used from many threads.
 */
#ifndef RT_LOGS_LOGFILE_H
#define RT_LOGS_LOGFILE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/agent_client.h"
#include "base/error.h"

struct logfile;

/* Opens or makes PATH (and its folders), cuts a last line that isn't whole.
 * *ret_last_ns: time of the last record that is in the file, 0: none. */
int logfile_open(const char *path, struct logfile **ret_log, int64_t *ret_last_ns,
                 struct gi_error *err);
/* Records not later than the last one written are left out: a record occurs
 * once, however often it is delivered. */
int logfile_write(struct logfile *l, const struct agent_log_record *records, size_t n,
                  struct gi_error *err);
/* Opens the path again, after the file was renamed away. */
int logfile_reopen(struct logfile *l, struct gi_error *err);
/* Time of the last record written or found. */
int64_t logfile_last_ns(struct logfile *l);
void logfile_set_last_ns(struct logfile *l, int64_t ns);
void logfile_close(struct logfile *l);

/* "2026-11-23T09:16:56.000000001Z" → ns since the epoch; 0 when it isn't one. */
int64_t logfile_parse_time(const char *text, size_t len);

#endif
