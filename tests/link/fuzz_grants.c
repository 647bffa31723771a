/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other domain's side of a channel's set-up (proto/grants/talk.c), as hostile
 * as it likes: a vchan that gives the input's bytes, in parts, and then ends.
 * First byte: 0 an offer, 1 an answer, 2 doorbells; modulo 3.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "grants/grants.h"

static struct {
    const uint8_t *data;
    size_t left;
    int always; /* readable */
} feed;

/* ---- libxenvchan, which this program is not linked against ---- */

int libxenvchan_fd_for_select(struct libxenvchan *chan)
{
    (void)chan;
    return feed.always;
}

int libxenvchan_wait(struct libxenvchan *chan)
{
    (void)chan;
    return feed.left ? 0 : -1;
}

int libxenvchan_read(struct libxenvchan *chan, void *data, size_t size)
{
    size_t part = feed.left < 61 ? feed.left : 61;
    (void)chan;
    if (feed.left == 0)
        return -1;
    part = part < size ? part : size;
    memcpy(data, feed.data, part);
    feed.data += part;
    feed.left -= part;
    return (int)part;
}

int libxenvchan_write(struct libxenvchan *chan, const void *data, size_t size)
{
    (void)chan;
    (void)data;
    return size > 7 ? 7 : (int)size;
}

/* ---- the target ---- */

static void offer(struct libxenvchan *chan)
{
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    uint32_t *refs = NULL;
    if (grants_receive_offer(chan, &ch, &refs, 1000, NULL) < 0) {
        if (refs || ch.ring_bytes || ch.arena_bytes)
            abort(); /* a failure leaves its outputs alone */
        return;
    }
    size_t n = (size_t)((ch.ring_bytes + ch.arena_bytes) / GRANTS_PAGE);
    if (ch.arena_bytes > GRANTS_MAX_ARENA || n == 0 || !handover_good_devices(&ch.devices))
        abort();
    volatile uint32_t all = 0;
    for (size_t i = 0; i < n; i++)
        all ^= refs[i]; /* all of them are there */
    free(refs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct libxenvchan chan = {.blocking = 0};
    struct handover_channel ch = HANDOVER_CHANNEL_INIT;
    struct gi_error err = GI_ERROR_INIT;
    if (size < 1)
        return 0;
    feed.data = data + 1;
    feed.left = size - 1;
    feed.always = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (data[0] % 3 == 0)
        offer(&chan);
    else if (data[0] % 3 == 1)
        grants_receive_answer(&chan, &ch, 1000, NULL, &err);
    else
        grants_pump(&chan, &(struct grants_bells){.rings = -1, .bell = bell, .hangup = -1}, NULL);
    close(bell);
    close(feed.always);
    return 0;
}
