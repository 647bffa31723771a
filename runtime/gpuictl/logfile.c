/* SPDX-License-Identifier: Apache-2.0 */
#include "logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* A record's text is at most 16 KiB by our runtime; others may write more. */
#define MAX_LINE (1u << 20)

int log_parse(const char *line, size_t len, struct log_record *ret)
{
    const char *end = line + len;
    const char *sp = memchr(line, ' ', len);
    /* "2006-01-02T15:04:05Z" is the shortest time. */
    if (!sp || sp - line < 20 || sp - line > 40 || line[4] != '-' || line[10] != 'T')
        return -1;
    struct log_record r = {.time_len = (size_t)(sp - line)};
    const char *p = sp + 1;
    if (end - p >= 7 && memcmp(p, "stderr ", 7) == 0)
        r.is_stderr = true;
    else if (end - p < 7 || memcmp(p, "stdout ", 7) != 0)
        return -1;
    p += 7;
    /* Tags may be joined by colons; only the first matters. */
    const char *tags = p;
    while (p < end && *p != ' ')
        p++;
    if (p == tags || (*tags != 'P' && *tags != 'F'))
        return -1;
    r.partial = *tags == 'P';
    r.text = p < end ? p + 1 : p;
    r.len = (size_t)(end - r.text);
    *ret = r;
    return 0;
}

static int try_open(struct log_reader *r, struct gi_error *err)
{
    if (r->fd >= 0)
        return 0;
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0 && errno != ENOENT)
        return gi_fail_errno(err, errno, "%s", r->path);
    struct stat st;
    if (r->fd >= 0 && (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode)))
        return gi_fail(err, GI_FAILED_PRECONDITION, "%s is not a file", r->path);
    return 0;
}

int log_open(struct log_reader *r, const char *path, bool timestamps, struct gi_error *err)
{
    *r = (struct log_reader){
        .fd = -1, .timestamps = timestamps, .pending = GI_BUF_INIT(MAX_LINE + (64u << 10))};
    r->path = strdup(path);
    if (!r->path)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    return try_open(r, err);
}

static int put(int fd, const char *data, size_t len, struct gi_error *err)
{
    int rc = gi_write_full(fd, data, len);
    return rc < 0 ? gi_fail_errno(err, -rc, "writing the log") : 0;
}

static int write_line(struct log_reader *r, const char *line, size_t len, struct gi_error *err)
{
    struct log_record rec;
    if (log_parse(line, len, &rec) != 0) {
        int rc = put(STDOUT_FILENO, line, len, err);
        return rc == 0 ? put(STDOUT_FILENO, "\n", 1, err) : rc;
    }
    int fd = rec.is_stderr ? STDERR_FILENO : STDOUT_FILENO;
    int rc = 0;
    if (r->timestamps && !r->line_open[rec.is_stderr])
        rc = put(fd, line, rec.time_len + 1, err);
    r->line_open[rec.is_stderr] = rec.partial;
    if (rc == 0)
        rc = put(fd, rec.text, rec.len, err);
    return rc == 0 && !rec.partial ? put(fd, "\n", 1, err) : rc;
}

/* Writes the whole lines in PENDING; one that has no end in MAX_LINE bytes counts as whole. */
static int flush_lines(struct log_reader *r, bool *ret_any, struct gi_error *err)
{
    size_t done = 0;
    int rc = 0;
    while (done < r->pending.len && rc == 0) {
        const char *line = r->pending.data + done;
        size_t left = r->pending.len - done;
        const char *nl = memchr(line, '\n', left);
        if (!nl && left < MAX_LINE)
            break;
        size_t len = nl ? (size_t)(nl - line) : left;
        rc = write_line(r, line, len, err);
        done += len + (nl ? 1 : 0);
        *ret_any = true;
    }
    gi_buf_consume(&r->pending, done);
    return rc;
}

/* The file behind the path is another one now: the log was rotated. */
static bool rotated(const struct log_reader *r)
{
    struct stat ours, now;
    return fstat(r->fd, &ours) == 0 && stat(r->path, &now) == 0 &&
           (ours.st_ino != now.st_ino || ours.st_dev != now.st_dev);
}

int log_read(struct log_reader *r, bool *ret_any, struct gi_error *err)
{
    char chunk[32768];
    *ret_any = false;
    int rc = try_open(r, err);
    while (rc == 0 && r->fd >= 0) {
        bool was_rotated = rotated(r);
        ssize_t n = read(r->fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gi_fail_errno(err, errno, "%s", r->path);
        if (n > 0) {
            if (gi_buf_append(&r->pending, chunk, (size_t)n) != 0)
                return gi_fail(err, GI_RESOURCE_EXHAUSTED, "%s: a line is too long", r->path);
            rc = flush_lines(r, ret_any, err);
        } else if (was_rotated) {
            close(r->fd);
            r->fd = -1;
            rc = try_open(r, err);
        } else {
            break;
        }
    }
    return rc;
}

int log_seek_tail(struct log_reader *r, unsigned long lines, struct gi_error *err)
{
    char chunk[4096];
    if (r->fd < 0)
        return 0;
    off_t end = lseek(r->fd, 0, SEEK_END), pos = end;
    unsigned long seen = 0;
    /* The newline at the very end finishes the last line, it begins none. */
    while (pos > 0) {
        size_t n = pos < (off_t)sizeof(chunk) ? (size_t)pos : sizeof(chunk);
        if (pread(r->fd, chunk, n, pos - (off_t)n) != (ssize_t)n)
            return gi_fail(err, GI_INTERNAL, "%s: can't be read", r->path);
        for (size_t i = n; i > 0; i--) {
            off_t at = pos - (off_t)n + (off_t)i - 1;
            if (chunk[i - 1] == '\n' && at != end - 1 && ++seen == lines)
                return lseek(r->fd, at + 1, SEEK_SET) < 0 ? gi_fail_errno(err, errno, "%s", r->path)
                                                          : 0;
        }
        pos -= (off_t)n;
    }
    off_t begin = lines == 0 ? end : 0;
    return lseek(r->fd, begin, SEEK_SET) < 0 ? gi_fail_errno(err, errno, "%s", r->path) : 0;
}

void log_close(struct log_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    free(r->path);
    r->path = NULL;
    gi_buf_free(&r->pending);
}
