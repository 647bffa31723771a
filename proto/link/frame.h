/* SPDX-License-Identifier: Apache-2.0 */
/* What is on the pipe; shared by link.c and its tests, not for others. */
#ifndef GI_LINK_FRAME_H
#define GI_LINK_FRAME_H

#include <stdint.h>

#define LINK_HELLO_BYTES   "GILINK01"
#define LINK_HELLO_PACKETS "GIPACK01"
#define LINK_HELLO_SIZE    8u

enum link_type {
    LINK_HELLO = 1,
    LINK_OPEN = 2,
    LINK_DATA = 3,
    LINK_EOF = 4,
    LINK_CLOSE = 5,
    LINK_CREDIT = 6,
};

struct link_frame {
    uint8_t type;
    uint8_t zero;
    uint16_t length;
    uint32_t stream;
};

_Static_assert(sizeof(struct link_frame) == 8, "the header is what it is on the pipe");

#endif
