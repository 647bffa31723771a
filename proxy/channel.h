/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's side of the hand-over (proto/idm/handover.h): one message of the
 * agent's, checked down to the seals before anything is done with it. */
#ifndef GI_PROXY_CHANNEL_H
#define GI_PROXY_CHANNEL_H

#include <stdint.h>

#include "base/error.h"

#define CHANNEL_FDS 4

struct channel {
    int fds[CHANNEL_FDS];
    uint64_t bytes;
};

int channel_receive(int sock, struct channel *ret, struct gi_error *err);
void channel_close(struct channel *ch);
int channel_reply(int sock, const struct gi_error *err);

#endif
