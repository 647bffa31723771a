/* SPDX-License-Identifier: Apache-2.0 */
#include "logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "base/io.h"
#include "container.h"

#define READ_CHUNK  16384
#define BATCH_BYTES (128u << 10)
#define BATCH_MAX   512u

struct log_rec {
    struct log_rec *next;
    int64_t time_ns;
    enum agent_stream stream;
    bool partial;
    size_t len;
    char data[];
};

static size_t cost(const struct log_rec *r)
{
    return sizeof(*r) + r->len;
}

/* Times identify records, so no two are equal, whatever the clock does. */
static void add_record(struct logs *l, const struct log_stream *s, bool partial)
{
    struct log_rec *r = malloc(sizeof(*r) + s->len);
    if (!r)
        abort(); /* the promise is that no line is lost */
    int64_t now = gi_now_ns();
    l->last_ns = now > l->last_ns ? now : l->last_ns + 1;
    *r = (struct log_rec){
        .time_ns = l->last_ns, .stream = s->name, .partial = partial, .len = s->len};
    memcpy(r->data, s->line, s->len);
    if (l->last)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
    if (!l->unsent)
        l->unsent = r;
    l->bytes += cost(r);
}

static void cut_lines(struct log_stream *s, const char *data, size_t len)
{
    while (len) {
        const char *nl = memchr(data, '\n', len);
        size_t n = nl ? (size_t)(nl - data) : len;
        size_t room = AGENT_LOG_RECORD_MAX - s->len;
        if (n > room) {
            memcpy(s->line + s->len, data, room);
            s->len += room;
            add_record(s->logs, s, true);
            s->len = 0;
            data += room;
            len -= room;
            continue;
        }
        memcpy(s->line + s->len, data, n);
        s->len += n;
        data += n;
        len -= n;
        if (nl) {
            add_record(s->logs, s, false);
            s->len = 0;
            data++;
            len--;
        }
    }
}

static void close_stream(struct log_stream *s)
{
    int fd = s->io.fd;
    if (fd >= 0) {
        loop_unwatch(s->logs->c->a->loop, &s->io);
        close(fd);
    }
    free(s->line);
    s->line = NULL;
    s->len = 0;
}

void logs_pace(struct logs *l)
{
    bool room = l->bytes < LOGS_MAX && !attach_blocked(l->c);
    for (int i = 0; i < 2; i++)
        loop_events(l->c->a->loop, &l->streams[i].io, room ? EPOLLIN : 0);
}

bool logs_ended(const struct logs *l)
{
    return l->streams[0].io.fd < 0 && l->streams[1].io.fd < 0;
}

static void on_readable(void *data, uint32_t events)
{
    static char chunk[READ_CHUNK];
    struct log_stream *s = data;
    struct logs *l = s->logs;
    ssize_t n = read(s->io.fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        attach_output(l->c, s->name, chunk, (size_t)n);
        cut_lines(s, chunk, (size_t)n);
    } else {
        /* The end (a terminal says EIO). A last line without its newline goes
         * out as partial: then the log has exactly the bytes written. */
        if (s->len)
            add_record(l, s, true);
        close_stream(s);
        if (logs_ended(l))
            attach_end_all(l->c, NULL);
    }
    logs_pace(l);
    logs_send(l);
    container_publish(l->c);
}

void logs_init(struct logs *l, struct container *c)
{
    l->c = c;
    for (int i = 0; i < 2; i++) {
        l->streams[i].logs = l;
        l->streams[i].name = i ? AGENT_STDERR : AGENT_STDOUT;
        l->streams[i].io.fd = -1;
    }
}

int logs_attach(struct logs *l, enum agent_stream stream, int fd)
{
    struct log_stream *s = &l->streams[stream - AGENT_STDOUT];
    s->line = malloc(AGENT_LOG_RECORD_MAX);
    int flags = fcntl(fd, F_GETFL);
    if (!s->line || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        loop_watch(l->c->a->loop, &s->io, fd, EPOLLIN, on_readable, s) < 0) {
        free(s->line);
        s->line = NULL;
        s->io.fd = -1;
        close(fd);
        return -1;
    }
    return 0;
}

static void drop_first(struct logs *l)
{
    struct log_rec *r = l->first;
    if (l->unsent == r)
        l->unsent = r->next;
    l->first = r->next;
    if (!l->first)
        l->last = NULL;
    l->bytes -= cost(r);
    free(r);
}

void logs_free(struct logs *l)
{
    for (int i = 0; i < 2; i++)
        close_stream(&l->streams[i]);
    while (l->first)
        drop_first(l);
}

static void drop_upto(struct logs *l, int64_t upto_ns)
{
    while (l->first && l->first->time_ns <= upto_ns)
        drop_first(l);
    logs_pace(l);
}

/* The runtime has everything up to AFTER_NS: it may have died between writing
 * and acknowledging, and a full buffer of such records would never empty. */
void logs_follow(struct logs *l, int64_t after_ns)
{
    drop_upto(l, after_ns);
    if (l->last_ns < after_ns)
        l->last_ns = after_ns;
    l->unsent = l->first;
    l->following = true;
    logs_send(l);
}

void logs_ack(struct logs *l, int64_t upto_ns)
{
    drop_upto(l, upto_ns);
    logs_send(l);
}

void logs_unfollow(struct logs *l)
{
    l->following = false;
    l->unsent = l->first;
}

/* One batch: at most BATCH_MAX records and about BATCH_BYTES. */
static bool send_batch(struct logs *l)
{
    static Gi__Agent__LogRecord records[BATCH_MAX];
    static Gi__Agent__LogRecord *pointers[BATCH_MAX];
    size_t n = 0;
    size_t bytes = 0;
    struct log_rec *r = l->unsent;
    for (; r && n < BATCH_MAX && bytes < BATCH_BYTES; r = r->next, n++) {
        gi__agent__log_record__init(&records[n]);
        records[n].time_ns = r->time_ns;
        records[n].stream = r->stream;
        records[n].partial = r->partial;
        records[n].data.data = (uint8_t *)r->data;
        records[n].data.len = r->len;
        pointers[n] = &records[n];
        bytes += r->len;
    }
    Gi__Agent__LogBatch batch = GI__AGENT__LOG_BATCH__INIT;
    batch.container_id = l->c->id;
    batch.records = pointers;
    batch.n_records = n;
    Gi__Agent__FromAgent msg = GI__AGENT__FROM_AGENT__INIT;
    msg.kind_case = GI__AGENT__FROM_AGENT__KIND_LOGS;
    msg.logs = &batch;
    if (!conn_send(l->c->a, &msg))
        return false;
    l->unsent = r;
    return true;
}

void logs_send(struct logs *l)
{
    while (l->following && l->unsent && conn_has_room(l->c->a)) {
        if (!send_batch(l))
            return;
    }
}

bool logs_drained(const struct logs *l)
{
    return logs_ended(l) && (!l->following || !l->unsent);
}
