/* SPDX-License-Identifier: Apache-2.0 */
/* One stream's input on its way to a process: at most one record waits. */
#ifndef AGENT_INPUT_H
#define AGENT_INPUT_H

#include <stdint.h>

#include "agent/record.h"

struct input {
    size_t at;
    size_t len;
    uint8_t bytes[AGENT_RECORD_MAX];
};

/* Nothing may wait. */
void input_put(struct input *in, const struct agent_record *r);

/* Writes to FD (non-blocking). 1: nothing waits any more; 0: FD is full;
 * -1: nobody reads it, what waited is dropped. FD -1 drops, too. */
int input_write(struct input *in, int fd);

#endif
