/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 4096

static const char *log_program = "gpu-isolated";
static enum gi_log_level log_max = GI_LOG_INFO;
static bool log_journal;

struct line {
    char text[LINE_SIZE];
    size_t len;
};

static const char *level_name(enum gi_log_level level)
{
    switch (level) {
    case GI_LOG_ERROR:
        return "error";
    case GI_LOG_WARNING:
        return "warning";
    case GI_LOG_INFO:
        return "info";
    case GI_LOG_DEBUG:
        return "debug";
    }
    return "info";
}

int gi_log_parse_level(const char *name, enum gi_log_level *ret_level)
{
    static const enum gi_log_level all[] = {GI_LOG_ERROR, GI_LOG_WARNING, GI_LOG_INFO,
                                            GI_LOG_DEBUG};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(name, level_name(all[i])) == 0) {
            *ret_level = all[i];
            return 0;
        }
    }
    return -1;
}

void gi_log_init(const char *program, enum gi_log_level max_level)
{
    log_program = program;
    log_max = max_level;
    /* systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream. */
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev;
    unsigned long long ino;
    struct stat st;
    log_journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(2, &st) == 0 &&
                  (unsigned long long)st.st_dev == dev && (unsigned long long)st.st_ino == ino;
}

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = LINE_SIZE - 1 - l->len;
    if (n > room)
        n = room;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void put_escaped(struct line *l, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        char hex[5];
        if (c == '"' || c == '\\') {
            char two[2] = {'\\', (char)c};
            put(l, two, 2);
        } else if (c == '\n') {
            put(l, "\\n", 2);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(hex, sizeof(hex), "\\x%02x", c);
            put(l, hex, 4);
        } else {
            put(l, s, 1);
        }
    }
}

static bool needs_quotes(const char *s)
{
    if (!*s)
        return true;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c <= 0x20 || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return true;
    }
    return false;
}

static void put_head(struct line *l, enum gi_log_level level)
{
    char head[96];
    int n;
    if (log_journal) {
        n = snprintf(head, sizeof(head), "<%d>", (int)level);
    } else {
        struct timespec ts;
        struct tm tm;
        char when[32];
        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
        n = snprintf(head, sizeof(head), "%s.%03ldZ %s %s: ", when, ts.tv_nsec / 1000000,
                     level_name(level), log_program);
    }
    if (n > 0)
        put(l, head, strlen(head));
}

static void emit(struct line *l)
{
    l->text[l->len++] = '\n';
    /* A full or closed stderr must not stop the daemon. */
    ssize_t ignored = write(2, l->text, l->len);
    (void)ignored;
}

void gi_log(enum gi_log_level level, const char *msg, ...)
{
    if (level > log_max)
        return;
    struct line l = {.len = 0};
    put_head(&l, level);
    put_escaped(&l, msg);
    va_list ap;
    va_start(ap, msg);
    for (;;) {
        const char *key = va_arg(ap, const char *);
        if (!key)
            break;
        const char *value = va_arg(ap, const char *);
        if (!value)
            value = "";
        put(&l, " ", 1);
        put(&l, key, strlen(key));
        put(&l, "=", 1);
        bool quote = needs_quotes(value);
        if (quote)
            put(&l, "\"", 1);
        put_escaped(&l, value);
        if (quote)
            put(&l, "\"", 1);
    }
    va_end(ap);
    emit(&l);
}

void gi_logf(enum gi_log_level level, const char *fmt, ...)
{
    if (level > log_max)
        return;
    char text[LINE_SIZE / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct line l = {.len = 0};
    put_head(&l, level);
    put_escaped(&l, text);
    emit(&l);
}
