/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in the proto3 mapping (what pbjson.h writes) as a protobuf-c message. */
#ifndef GI_CRI_PBJSON_READ_H
#define GI_CRI_PBJSON_READ_H

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "json/json.h"

/* Makes a message of TYPE from the object ROOT. Names in camelCase or as in
 * the .proto; enums by name or number; 64-bit integers as strings or numbers;
 * null is "unset". INVALID_ARGUMENT with "line N: field: reason" for an
 * unknown field, a value of a wrong kind or out of range, a repetition of a
 * field under its two names. *ret_message is freed with
 * protobuf_c_message_free_unpacked(m, NULL). */
int gi_pbjson_read(const ProtobufCMessageDescriptor *type, const struct gi_json *root,
                   ProtobufCMessage **ret_message, struct gi_error *err);

#endif
