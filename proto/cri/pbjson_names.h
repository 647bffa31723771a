/* SPDX-License-Identifier: Apache-2.0 */
/* What the JSON writer and reader both know of protobuf-c's descriptors. */
#ifndef GI_CRI_PBJSON_NAMES_H
#define GI_CRI_PBJSON_NAMES_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#define GI_PBJSON_NAME_SIZE 128

/* lower_snake to lowerCamel: an underscore goes, the letter behind it grows. */
void gi_pbjson_camel(const char *name, char out[GI_PBJSON_NAME_SIZE]);

/* Bytes of one element of a repeated field. */
size_t gi_pbjson_element_size(ProtobufCType type);

/* protobuf-c knows no maps: they are repeated messages named "...Entry" of a
 * string key 1 and a string value 2. */
bool gi_pbjson_is_map(const ProtobufCFieldDescriptor *f);

/* Whether the singular field F at P has its default value. */
bool gi_pbjson_is_default(const ProtobufCFieldDescriptor *f, const void *p);

#endif
