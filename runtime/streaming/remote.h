/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GI_STREAMING_REMOTE_H
#define GI_STREAMING_REMOTE_H

#include <stddef.h>
#include <stdint.h>

/* A TerminalSize object, {"Width":W,"Height":H}. 0 or -1. */
int remote_parse_resize(const char *text, size_t len, uint16_t *ret_width, uint16_t *ret_height);

#endif
