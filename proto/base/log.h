/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured logging to stderr: one line per event, `msg key=value ...`.
 * Under systemd (JOURNAL_STREAM names our stderr) a line starts with the
 * <priority> prefix of sd-daemon(3) and journald adds the time; elsewhere it
 * starts with an RFC 3339 time and the level. Thread-safe: one write(2) a line.
 */
#ifndef GI_BASE_LOG_H
#define GI_BASE_LOG_H

enum gi_log_level { GI_LOG_ERROR = 3, GI_LOG_WARNING = 4, GI_LOG_INFO = 6, GI_LOG_DEBUG = 7 };

/* PROGRAM must outlive the process; call before starting threads. */
void gi_log_init(const char *program, enum gi_log_level max_level);

/* "error", "warning", "info", "debug" → level in *ret_level; 0 or -1. */
int gi_log_parse_level(const char *name, enum gi_log_level *ret_level);

/*
 * gi_log(GI_LOG_INFO, "pod started", "pod", id, "handler", name, NULL)
 * Values are quoted when they need it and control characters are escaped, so
 * that a hostile string can't forge a line. Ends at a NULL key.
 */
void gi_log(enum gi_log_level level, const char *msg, ...) __attribute__((sentinel));

/* printf form for messages without fields; escaped in the same way. */
void gi_logf(enum gi_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
