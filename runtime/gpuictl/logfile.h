/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading CRI log files: "TIME stdout|stderr P|F TEXT\n" a line
 * (https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md);
 * P: the line goes on in the next record.
 */
#ifndef GPUICTL_LOGFILE_H
#define GPUICTL_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

/* One record in LINE (without its newline): which stream, whether it is
 * partial, where its text begins, how long its time is. -1: no CRI record. */
struct log_record {
    size_t time_len;
    bool is_stderr;
    bool partial;
    const char *text;
    size_t len;
};
int log_parse(const char *line, size_t len, struct log_record *ret);

struct log_reader {
    char *path;
    int fd;
    bool timestamps;
    bool line_open[2]; /* stdout, stderr: the last record was partial */
    struct gi_buf pending;
};

/* Opens PATH when it is there by now; log_read tries again if not. */
int log_open(struct log_reader *r, const char *path, bool timestamps, struct gi_error *err);

/* Writes all whole records that came since the last call to our stdout and
 * stderr; follows the file when it was rotated. A line that is no CRI record
 * is written as it is, to stdout. *ret_any: there were some. */
int log_read(struct log_reader *r, bool *ret_any, struct gi_error *err);

/* Goes to the place where the last N lines begin. */
int log_seek_tail(struct log_reader *r, unsigned long lines, struct gi_error *err);

void log_close(struct log_reader *r);
#define cleanup_log __attribute__((cleanup(log_close)))

#endif
