/* SPDX-License-Identifier: Apache-2.0 */
#include "worker_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#define WINDOW_NS        10000000000
#define LINES_PER_WINDOW 40
#define READ_BURST       8
#define LAST_READS       128 /* more than a pipe holds */

static void say(struct worker_log *log, enum gi_log_level level, const char *msg, const char *key,
                const char *value)
{
    char zone[16];
    char client[16];
    snprintf(zone, sizeof(zone), "%" PRIu32, log->zone);
    snprintf(client, sizeof(client), "%" PRIu32, log->client);
    gi_log(level, msg, "zone", zone, "client", client, key, value, NULL);
}

static void tell_dropped(struct worker_log *log)
{
    char n[24];
    snprintf(n, sizeof(n), "%" PRIu64, log->dropped);
    if (log->dropped)
        say(log, GI_LOG_WARNING, "worker talks too much", "dropped_lines", n);
    log->dropped = 0;
}

static void end_line(struct worker_log *log)
{
    int64_t now = gi_monotonic_ns();
    if (now - log->window_ns > WINDOW_NS) {
        tell_dropped(log);
        log->window_ns = now;
        log->lines = 0;
    }
    log->line[log->len] = '\0';
    if (log->len && ++log->lines <= LINES_PER_WINDOW)
        say(log, GI_LOG_INFO, "worker", "says", log->line);
    else if (log->len)
        log->dropped++;
    log->len = 0;
}

static void take(struct worker_log *log, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n' || log->len == sizeof(log->line) - 1)
            end_line(log);
        if (text[i] != '\n' && text[i] != '\0')
            log->line[log->len++] = text[i];
    }
}

/* False when the writing end is closed. */
static bool drain(struct worker_log *log, int reads)
{
    for (int i = 0; i < reads; i++) {
        char text[1024];
        ssize_t n = read(log->source.fd, text, sizeof(text));
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        take(log, text, (size_t)n);
    }
    return true;
}

static void on_text(struct source *s, uint32_t events)
{
    struct worker_log *log = s->owner;
    if (!drain(log, READ_BURST))
        loop_drop(log->loop, s);
}

int worker_log_start(struct worker_log *log, struct loop *loop, int fd, uint32_t zone,
                     uint32_t client, struct gi_error *err)
{
    *log = (struct worker_log){.loop = loop, .zone = zone, .client = client, .source = SOURCE_OFF};
    return loop_add(loop, &log->source, fd, EPOLLIN, on_text, log, err);
}

void worker_log_stop(struct worker_log *log)
{
    if (log->source.fd >= 0)
        drain(log, LAST_READS);
    end_line(log);
    tell_dropped(log);
    loop_drop(log->loop, &log->source);
}
