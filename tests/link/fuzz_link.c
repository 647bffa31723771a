/* SPDX-License-Identifier: Apache-2.0 */
/* A zone's side of a link, as hostile as it likes. First byte: bit 0, against the
 * end that accepts (else that opens, with a stream open); bit 1, packets. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/link.h"

struct feed {
    const uint8_t *data;
    size_t left;
    struct link *link;
    int opened; /* a stream's far end; -1: not yet */
};

static ssize_t feed_read(void *data, void *buf, size_t n)
{
    struct feed *f = data;
    if (f->opened < 0 && link_up(f->link))
        link_open(f->link, &f->opened, NULL);
    if (f->left == 0)
        return -1;
    size_t part = f->left < 61 ? f->left : 61;
    part = part < n ? part : n;
    memcpy(buf, f->data, part);
    f->data += part;
    f->left -= part;
    return (ssize_t)part;
}

/* A peer that reads nothing. */
static ssize_t feed_write(void *data, const void *buf, size_t n)
{
    (void)data;
    (void)buf;
    return n > 7 ? 7 : 0;
}

static int feed_attend(void *data)
{
    (void)data;
    return 0;
}

static int accept_one(void *data)
{
    int pair[2];
    (void)data;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    close(pair[1]);
    return pair[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool accepts = data[0] & 1;
    struct feed f = {data + 1, size - 1, NULL, accepts ? 0 : -1};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 0;
    close(pair[1]); /* always readable: the loop does not sleep */
    struct link_pipe pipe = {pair[0], false, feed_read, feed_write, feed_attend, &f, 0};
    if (link_new(&pipe, data[0] & 2 ? LINK_PACKETS : LINK_BYTES, accepts ? accept_one : NULL, NULL,
                 &f.link, NULL) == 0)
        link_run(f.link, NULL);
    link_free(f.link);
    close(pair[0]);
    if (!accepts && f.opened >= 0)
        close(f.opened);
    return 0;
}
