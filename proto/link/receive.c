/* SPDX-License-Identifier: Apache-2.0 */
/* What the peer says. It is hostile: on the host it is a guest. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link_internal.h"

static struct link_stream *find(struct link *l, uint32_t id)
{
    for (struct link_stream *s = l->streams; s; s = s->next)
        if (s->id == id && !s->dead && !s->closing)
            return s;
    return NULL;
}

static int on_hello(struct link *l, const char *payload, size_t n, struct gi_error *err)
{
    uint64_t one = 1;
    if (l->greeted || n != LINK_HELLO_SIZE || memcmp(payload, l->hello, n) != 0)
        return gi_fail(err, GI_DATA_LOSS, "link: not our protocol");
    l->greeted = true;
    pthread_mutex_lock(&l->lock);
    l->up = true;
    pthread_mutex_unlock(&l->lock);
    return write(l->ready, &one, sizeof(one)) < 0 ? gi_fail(err, GI_INTERNAL, "link: eventfd") : 0;
}

static int on_open(struct link *l, uint32_t id, struct gi_error *err)
{
    if (!l->accept || id <= l->last_id)
        return gi_fail(err, GI_DATA_LOSS, "link: an OPEN that may not be");
    l->last_id = id;
    int fd = l->n_streams < LINK_STREAMS ? l->accept(l->accept_data) : -GI_RESOURCE_EXHAUSTED;
    struct link_stream *s = fd < 0 ? NULL : link_stream_new(id, fd);
    if (!s) {
        if (fd >= 0)
            close(fd);
        return link_send(l, LINK_CLOSE, id, NULL, 0) < 0
                   ? gi_fail(err, GI_DATA_LOSS, "link: more OPENs than are read about")
                   : 0;
    }
    s->next = l->streams;
    l->streams = s;
    l->n_streams++;
    pthread_mutex_lock(&l->lock);
    l->n_all++;
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static int on_data(const struct link *l, struct link_stream *s, const char *payload, size_t n,
                   struct gi_error *err)
{
    /* L1: IN's ceiling is the window, and CONSUMED was not given back yet. */
    if (s->eof_in || n == 0 || s->in.len + s->consumed + l->prefix + n > LINK_WINDOW)
        return gi_fail(err, GI_DATA_LOSS, "link: more data than was asked for");
    const uint16_t length = (uint16_t)n;
    return gi_buf_append(&s->in, &length, l->prefix) < 0 || gi_buf_append(&s->in, payload, n) < 0
               ? gi_fail(err, GI_RESOURCE_EXHAUSTED, "link: out of memory")
               : 0;
}

static int on_credit(struct link_stream *s, const char *payload, size_t n, struct gi_error *err)
{
    uint32_t more = 0;
    if (n == sizeof(more))
        memcpy(&more, payload, sizeof(more));
    if (more == 0 || more > LINK_WINDOW - s->credit)
        return gi_fail(err, GI_DATA_LOSS, "link: credit for what was never sent");
    s->credit += more;
    return 0;
}

static int on_frame(struct link *l, const struct link_frame *f, const char *payload,
                    struct gi_error *err)
{
    if (!l->greeted || f->type == LINK_HELLO)
        return f->type == LINK_HELLO ? on_hello(l, payload, f->length, err)
                                     : gi_fail(err, GI_DATA_LOSS, "link: a frame before HELLO");
    if (f->type == LINK_OPEN)
        return on_open(l, f->stream, err);
    struct link_stream *s = find(l, f->stream);
    if (!s) /* L4 */
        return 0;
    switch (f->type) {
    case LINK_DATA:
        return on_data(l, s, payload, f->length, err);
    case LINK_CREDIT:
        return on_credit(s, payload, f->length, err);
    case LINK_EOF:
        s->eof_in = true;
        return 0;
    default: /* CLOSE: link_receive let no other pass */
        s->closing = true;
        return 0;
    }
}

int link_receive(struct link *l, const char *data, size_t n, struct gi_error *err)
{
    size_t at = 0;
    if (gi_buf_append(&l->in, data, n) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "link: out of memory");
    while (l->in.len - at >= sizeof(struct link_frame)) {
        struct link_frame f;
        memcpy(&f, l->in.data + at, sizeof(f));
        if (f.type < LINK_HELLO || f.type > LINK_CREDIT || f.zero || f.length > LINK_CHUNK)
            return gi_fail(err, GI_DATA_LOSS, "link: not a frame");
        if (l->in.len - at < sizeof(f) + f.length)
            break;
        int rc = on_frame(l, &f, l->in.data + at + sizeof(f), err);
        if (rc < 0)
            return rc;
        at += sizeof(f) + f.length;
    }
    gi_buf_consume(&l->in, at);
    return 0;
}
