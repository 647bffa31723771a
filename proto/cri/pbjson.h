/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A protobuf-c message as JSON, driven by its descriptor, in the proto3 JSON
 * mapping (https://protobuf.dev/programming-guides/proto3/#json) as crictl
 * prints it: camelCase names, enums by name, 64-bit integers as strings, bytes
 * as base64, maps as objects.
 */
#ifndef GI_CRI_PBJSON_H
#define GI_CRI_PBJSON_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

enum gi_pbjson_flags {
    GI_PBJSON_INDENT = 1,   /* two spaces a level, one member a line */
    GI_PBJSON_DEFAULTS = 2, /* unset fields too: "", 0, [], {}, null */
};

/* Appends MESSAGE to OUT; never more than OUT's ceiling. 0, or -1 when that is
 * reached or the message is nested deeper than 32 levels; OUT then holds a
 * part of it. Bytes of a string that aren't UTF-8 become U+FFFD. */
int gi_pbjson_write(struct gi_buf *out, const ProtobufCMessage *message, unsigned flags);

/* Appends "TEXT" as a JSON string with its quotes. */
int gi_json_write_string(struct gi_buf *out, const char *text, size_t len);

#endif
