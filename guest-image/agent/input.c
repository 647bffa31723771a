/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void input_put(struct input *in, const struct agent_record *r)
{
    memcpy(in->bytes, r->data, r->len);
    in->at = 0;
    in->len = r->len;
}

int input_write(struct input *in, int fd)
{
    while (in->at < in->len) {
        ssize_t n = fd < 0 ? -1 : write(fd, in->bytes + in->at, in->len - in->at);
        if (n < 0 && fd >= 0 && errno == EINTR)
            continue;
        if (n < 0 && fd >= 0 && errno == EAGAIN)
            return 0;
        if (n < 0) {
            in->at = in->len;
            return -1;
        }
        in->at += (size_t)n;
    }
    return 1;
}
