/* SPDX-License-Identifier: Apache-2.0 */
#include "logs/logfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#define TIME_LEN   30 /* "2026-11-23T09:16:56.000000001Z" */
#define LINE_HEAD  (TIME_LEN + sizeof(" stdout F ") - 1)
#define CHUNK      4096
#define MAX_BUFFER (32u << 20)

struct logfile {
    char *path;
    pthread_mutex_t lock;
    /* under lock: */
    int fd;
    int64_t last_ns;
    /* The second that was written last, so that most records need no calendar. */
    time_t second;
    char second_text[sizeof("2026-11-23T09:16:56")];
};

/* ---- times ---- */

static bool digits(const char *s, size_t n, int *ret)
{
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
        v = v * 10 + (s[i] - '0');
    }
    *ret = v;
    return true;
}

int64_t logfile_parse_time(const char *text, size_t len)
{
    struct tm tm = {0};
    int year, month, nano = 0;
    if (len < 20 || text[len - 1] != 'Z' || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
        text[13] != ':' || text[16] != ':')
        return 0;
    if (!digits(text, 4, &year) || !digits(text + 5, 2, &month) ||
        !digits(text + 8, 2, &tm.tm_mday) || !digits(text + 11, 2, &tm.tm_hour) ||
        !digits(text + 14, 2, &tm.tm_min) || !digits(text + 17, 2, &tm.tm_sec))
        return 0;
    size_t n = len - 20; /* "." and the digits after it */
    if (n > 0) {
        if (n < 2 || n > 10 || text[19] != '.' || !digits(text + 20, n - 1, &nano))
            return 0;
        for (size_t i = n - 1; i < 9; i++)
            nano *= 10;
    }
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    const struct tm said = tm;
    int64_t seconds = timegm(&tm);
    /* timegm() takes a 13th month for next January; and 2^63 ns end in 2262. */
    if (year < 1970 || year > 2261 || tm.tm_mon != said.tm_mon || tm.tm_mday != said.tm_mday ||
        tm.tm_hour != said.tm_hour || tm.tm_min != said.tm_min)
        return 0;
    return seconds * 1000000000 + nano;
}

static const char *second_text(struct logfile *l, time_t second)
{
    if (l->second != second || !l->second_text[0]) {
        struct tm tm;
        gmtime_r(&second, &tm);
        strftime(l->second_text, sizeof(l->second_text), "%Y-%m-%dT%H:%M:%S", &tm);
        l->second = second;
    }
    return l->second_text;
}

/* ---- opening ---- */

static int open_path(const char *path, int *ret_fd, struct gi_error *err)
{
    char dir[PATH_MAX];
    int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int fd = open(path, flags, 0640);
    if (fd < 0 && errno == ENOENT) {
        snprintf(dir, sizeof(dir), "%s", path);
        char *slash = strrchr(dir, '/');
        if (slash && slash != dir) {
            *slash = '\0';
            int rc = gi_mkdir_p(dir, 0755, err);
            if (rc < 0)
                return rc;
        }
        fd = open(path, flags, 0640);
    }
    if (fd < 0)
        return gi_fail_errno(err, errno, "log file %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return gi_fail(err, GI_INVALID_ARGUMENT, "log file %s is not a file", path);
    }
    *ret_fd = fd;
    return 0;
}

/* Offset behind the last newline before END, 0 when there is none. */
static int64_t line_start(int fd, int64_t end)
{
    char chunk[CHUNK];
    while (end > 0) {
        int64_t at = end > CHUNK ? end - CHUNK : 0;
        ssize_t n = pread(fd, chunk, (size_t)(end - at), at);
        if (n != end - at)
            return -1;
        const char *nl = memrchr(chunk, '\n', (size_t)n);
        if (nl)
            return at + (nl - chunk) + 1;
        end = at;
    }
    return 0;
}

/* Cuts what is behind the last whole line and reads that line's time. A line
 * that isn't ours is passed over. */
static int resume(int fd, const char *path, int64_t *ret_last_ns, struct gi_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "log file %s", path);
    int64_t end = line_start(fd, st.st_size);
    if (end >= 0 && end < st.st_size && ftruncate(fd, end) < 0)
        end = -1;
    int64_t last = 0;
    for (int tries = 0; end > 0 && !last && tries < 64; tries++) {
        char head[LINE_HEAD];
        int64_t start = line_start(fd, end - 1);
        ssize_t n = start < 0 ? -1 : pread(fd, head, sizeof(head), start);
        const char *space = n > 0 ? memchr(head, ' ', (size_t)n) : NULL;
        if (space)
            last = logfile_parse_time(head, (size_t)(space - head));
        end = start;
    }
    if (end < 0)
        return gi_fail_errno(err, errno, "log file %s can't be read", path);
    *ret_last_ns = last;
    return 0;
}

int logfile_open(const char *path, struct logfile **ret_log, int64_t *ret_last_ns,
                 struct gi_error *err)
{
    cleanup_close int fd = -1;
    int64_t last = 0;
    int rc = open_path(path, &fd, err);
    if (rc == 0)
        rc = resume(fd, path, &last, err);
    if (rc < 0)
        return rc;
    struct logfile *l = calloc(1, sizeof(*l));
    char *copy = strdup(path);
    if (!l || !copy) {
        free(l);
        free(copy);
        return gi_fail_errno(err, ENOMEM, "log file %s", path);
    }
    l->path = copy;
    l->fd = TAKE_FD(fd);
    l->last_ns = last;
    pthread_mutex_init(&l->lock, NULL);
    *ret_log = l;
    *ret_last_ns = last;
    return 0;
}

int logfile_reopen(struct logfile *l, struct gi_error *err)
{
    int fd;
    int rc = open_path(l->path, &fd, err);
    if (rc < 0)
        return rc;
    GI_LOCK_SCOPE(&l->lock);
    close(l->fd);
    l->fd = fd;
    return 0;
}

int64_t logfile_last_ns(struct logfile *l)
{
    GI_LOCK_SCOPE(&l->lock);
    return l->last_ns;
}

void logfile_set_last_ns(struct logfile *l, int64_t ns)
{
    GI_LOCK_SCOPE(&l->lock);
    if (ns > l->last_ns)
        l->last_ns = ns;
}

void logfile_close(struct logfile *l)
{
    if (!l)
        return;
    close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l->path);
    free(l);
}

/* ---- writing ---- */

static int add_line(struct logfile *l, struct gi_buf *b, const struct agent_log_record *r)
{
    int rc = gi_buf_printf(b, "%s.%09dZ %s %c ", second_text(l, r->time_ns / 1000000000),
                           (int)(r->time_ns % 1000000000),
                           r->stream == AGENT_STDERR ? "stderr" : "stdout", r->partial ? 'P' : 'F');
    if (rc == 0)
        rc = gi_buf_append(b, r->data, r->len);
    return rc == 0 ? gi_buf_append(b, "\n", 1) : rc;
}

int logfile_write(struct logfile *l, const struct agent_log_record *records, size_t n,
                  struct gi_error *err)
{
    cleanup_buf struct gi_buf b = GI_BUF_INIT(MAX_BUFFER);
    GI_LOCK_SCOPE(&l->lock);
    int64_t last = l->last_ns;
    for (size_t i = 0; i < n; i++) {
        if (records[i].time_ns <= last)
            continue;
        if (add_line(l, &b, &records[i]) < 0)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "log file %s: out of memory", l->path);
        last = records[i].time_ns;
    }
    if (b.len == 0)
        return 0;
    off_t before = lseek(l->fd, 0, SEEK_END);
    int rc = gi_write_full(l->fd, b.data, b.len);
    if (rc < 0) {
        /* No half line stays, so that the next one is readable. */
        if (before >= 0 && ftruncate(l->fd, before) < 0)
            gi_log(GI_LOG_ERROR, "half a line stays in a log file", "file", l->path, NULL);
        return gi_fail_errno(err, -rc, "log file %s", l->path);
    }
    l->last_ns = last;
    return 0;
}
