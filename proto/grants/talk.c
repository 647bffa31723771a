/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "grants.h"
#include "idm/handover_wire.h"

#define MAGIC   0x47494752u /* "GIGR" */
#define VERSION 2u

/* ---- whole messages ---- */

static bool is_gone(const struct pollfd *p, const struct grants_news *news)
{
    return p->revents && news && news->gone(news->data);
}

static int await(struct libxenvchan *chan, int64_t until, const struct grants_news *news,
                 struct gi_error *err)
{
    struct pollfd p[2] = {
        {.fd = libxenvchan_fd_for_select(chan), .events = POLLIN},
        {.fd = news ? news->fd : -1, .events = POLLIN},
    };
    int64_t left = (until - gi_monotonic_ns()) / 1000000;
    int n = left > 0 ? poll(p, 2, (int)left) : 0;
    if (n < 0 && errno != EINTR)
        return gi_fail_errno(err, errno, "vchan");
    if (n == 0)
        return gi_fail(err, GI_DEADLINE_EXCEEDED, "the other domain does not answer in time");
    if (n > 0 && (is_gone(&p[1], news) || (p[0].revents && libxenvchan_wait(chan) < 0)))
        return gi_fail(err, GI_UNAVAILABLE, "the other domain is gone");
    return 0;
}

/* OUT NULL: into IN. */
static int transfer(struct libxenvchan *chan, const char *out, char *in, size_t len, int timeout_ms,
                    const struct grants_news *news, struct gi_error *err)
{
    int64_t until = gi_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    chan->blocking = 0;
    for (size_t at = 0; at < len;) {
        int n = out ? libxenvchan_write(chan, out + at, len - at)
                    : libxenvchan_read(chan, in + at, len - at);
        if (n < 0)
            return gi_fail(err, GI_UNAVAILABLE, "the other domain is gone");
        at += (size_t)n;
        int rc = n == 0 ? await(chan, until, news, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- the offer ---- */

static size_t pages(const struct handover_channel *ch)
{
    return (size_t)((ch->ring_bytes + ch->arena_bytes) / GRANTS_PAGE);
}

int grants_send_offer(struct libxenvchan *chan, const struct handover_channel *ch,
                      const uint32_t *refs, int timeout_ms, const struct grants_news *news,
                      struct gi_error *err)
{
    const struct grants_offer o = {MAGIC, VERSION, ch->ring_bytes, ch->arena_bytes, ch->devices};
    int rc = transfer(chan, (const char *)&o, NULL, sizeof(o), timeout_ms, news, err);
    return rc < 0 ? rc
                  : transfer(chan, (const char *)refs, NULL, pages(ch) * sizeof(*refs), timeout_ms,
                             news, err);
}

int grants_receive_offer(struct libxenvchan *chan, struct handover_channel *ret,
                         uint32_t **ret_refs, int timeout_ms, struct gi_error *err)
{
    struct grants_offer o;
    int rc = transfer(chan, NULL, (char *)&o, sizeof(o), timeout_ms, NULL, err);
    if (rc < 0)
        return rc;
    if (o.magic != MAGIC || o.version != VERSION)
        return gi_fail(err, GI_INVALID_ARGUMENT, "not an offer of version %u", VERSION);
    rc = handover_check_sizes(o.ring_bytes, o.arena_bytes, err);
    if (rc == 0 && o.arena_bytes > GRANTS_MAX_ARENA)
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "channel: arena of %llu bytes",
                     (unsigned long long)o.arena_bytes);
    if (rc == 0 && !handover_good_devices(&o.devices))
        rc = gi_fail(err, GI_INVALID_ARGUMENT, "channel: a list of devices that is none");
    if (rc < 0)
        return rc;
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    ch.ring_bytes = o.ring_bytes;
    ch.arena_bytes = o.arena_bytes;
    ch.devices = o.devices;
    cleanup_free uint32_t *refs = calloc(pages(&ch), sizeof(*refs));
    if (!refs)
        return gi_fail_errno(err, ENOMEM, "grant references");
    rc = transfer(chan, NULL, (char *)refs, pages(&ch) * sizeof(*refs), timeout_ms, NULL, err);
    if (rc < 0)
        return rc;
    *ret = ch;
    *ret_refs = TAKE_PTR(refs);
    return 0;
}

/* ---- the answer ---- */

int grants_send_answer(struct libxenvchan *chan, const struct gi_error *why,
                       const struct handover_channel *ch, int timeout_ms, struct gi_error *err)
{
    struct grants_answer a = {.magic = MAGIC};
    if (why) {
        a.code = why->code ? (int32_t)why->code : GI_INTERNAL;
        memcpy(a.text, why->message, sizeof(a.text));
    } else {
        a.zone = ch->zone;
        a.tag = ch->tag;
    }
    return transfer(chan, (const char *)&a, NULL, sizeof(a), timeout_ms, NULL, err);
}

int grants_receive_answer(struct libxenvchan *chan, struct handover_channel *ch, int timeout_ms,
                          const struct grants_news *news, struct gi_error *err)
{
    struct grants_answer a;
    int rc = transfer(chan, NULL, (char *)&a, sizeof(a), timeout_ms, news, err);
    if (rc < 0)
        return rc;
    if (a.magic != MAGIC || a.code < 0)
        return gi_fail(err, GI_DATA_LOSS, "the driver domain's answer is none");
    if (a.code)
        return gi_fail(err, (enum gi_code)a.code, "%.*s", (int)sizeof(a.text), a.text);
    ch->zone = a.zone;
    ch->tag = a.tag;
    return 0;
}

/* ---- doorbells ---- */

void grants_pump(struct libxenvchan *chan, const struct grants_bells *b,
                 const struct grants_news *news)
{
    struct pollfd fds[4] = {
        {.fd = libxenvchan_fd_for_select(chan), .events = POLLIN},
        {.fd = b->rings, .events = POLLIN},
        {.fd = b->hangup, .events = POLLIN},
        {.fd = news ? news->fd : -1, .events = POLLIN},
    };
    char bytes[256];
    uint64_t count, one = 1;
    chan->blocking = 0;
    for (;;) {
        int n, any = 0;
        while ((n = libxenvchan_read(chan, bytes, sizeof(bytes))) > 0)
            any = 1;
        /* How often it rang is nothing: who is woken looks at the ring itself. */
        if (n < 0 || (any && write(b->bell, &one, sizeof(one)) < 0 && errno != EAGAIN))
            return;
        if (poll(fds, 4, -1) < 0 && errno != EINTR)
            return;
        if (fds[2].revents || is_gone(&fds[3], news))
            return;
        /* No room for the byte: the peer has rings it has not taken yet. */
        if (fds[1].revents && read(b->rings, &count, sizeof(count)) > 0 &&
            libxenvchan_write(chan, "r", 1) < 0)
            return;
        if (fds[0].revents && libxenvchan_wait(chan) < 0)
            return;
    }
}
