/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libxenvchan tells "call me" to its peer whenever a read finds nothing or a
 * write finds no room, then looks again (libxenvchan's io.c): who reads and
 * writes until both say 0 can sleep on the event channel and misses nothing.
 * The library copies the ring's indices before it checks and uses them, and
 * sizes are those at connection time.
 */
#include "vchan.h"

static ssize_t vchan_read(void *data, void *buf, size_t n)
{
    return libxenvchan_read(data, buf, n);
}

static ssize_t vchan_write(void *data, const void *buf, size_t n)
{
    return libxenvchan_write(data, buf, n);
}

static int vchan_attend(void *data)
{
    return libxenvchan_wait(data) < 0 || !libxenvchan_is_open(data) ? -1 : 0;
}

void link_over_vchan(struct libxenvchan *chan, struct link_pipe *ret)
{
    chan->blocking = 0;
    *ret = (struct link_pipe){
        .fd = libxenvchan_fd_for_select(chan),
        .read = vchan_read,
        .write = vchan_write,
        .attend = vchan_attend,
        .data = chan,
    };
}
