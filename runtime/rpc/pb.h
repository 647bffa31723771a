/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages on the heap, by their descriptors. What these functions
 * make is freed as a whole by protobuf_c_message_free_unpacked(m, NULL). When
 * the memory for such small things is gone the process ends: everything that
 * matters is on disk.
 */
#ifndef RT_RPC_PB_H
#define RT_RPC_PB_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cri/cri.h"

void *pb_new(const ProtobufCMessageDescriptor *type);
/* A deep copy; NULL of NULL. */
void *pb_copy(const void *message);
void pb_free(void *message);
char *pb_strdup(const char *text);
/* Replaces a string field by a copy of TEXT. */
void pb_set(char **field, const char *text);
/* Appends ITEM to the repeated field LIST (a T **) of *N entries. */
void pb_push(void *list, size_t *n, void *item);
void pb_push_string(char ***list, size_t *n, const char *text);
/* Appends an entry of TYPE to a map. */
void pb_push_entry(void *list, size_t *n, const ProtobufCMessageDescriptor *type, const char *key,
                   const char *value);
/* Copies all entries of one map into an empty one of entry type TYPE. */
void pb_copy_map(void *list, size_t *n, const ProtobufCMessageDescriptor *type, const void *from,
                 size_t n_from);
Runtime__V1__UInt64Value *pb_uint64(uint64_t value);

GI_DEFINE_CLEANUP(void *, pb_free);
static inline void pb_freepp(void *p)
{
    pb_free(*(void **)p);
}
#define cleanup_pb __attribute__((cleanup(pb_freepp)))

/* INVALID_ARGUMENT naming the first string that is not UTF-8 ("config.labels[2].key"). */
int pb_check_strings(const ProtobufCMessage *message, struct gi_error *err);
/* Puts '?' in the place of each byte that breaks UTF-8: a message with such a
 * string can't be read by others. */
void pb_clean_strings(ProtobufCMessage *message);
void pb_clean_text(char *text);

/* Unpacks LEN bytes; NULL when they are damaged or the message would take more
 * than BUDGET bytes of memory. */
ProtobufCMessage *pb_unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t len,
                            size_t budget);

#endif
