/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests on the heap, in the way protobuf-c's own unpack would have made
 * them: one ctl_free_message frees all. Out of memory ends the program (this
 * is a short-lived client).
 */
#ifndef GPUICTL_BUILD_H
#define GPUICTL_BUILD_H

#include "ctl.h"

/* A new message with defaults: `x->config = build_new(&runtime__v1__..._descriptor)`. */
void *build_new(const ProtobufCMessageDescriptor *type);
void build_set(char **field, const char *text);
/* Appends to a repeated field; LIST is `&msg->mounts`, N `&msg->n_mounts`. */
void build_push(void *list, size_t *n, void *item);
void build_push_string(char ***list, size_t *n, const char *text);
/* Appends KEY=VALUE to a map field; TYPE is the entry's descriptor. */
void build_push_entry(void *list, size_t *n, const ProtobufCMessageDescriptor *type,
                      const char *key, const char *value);

#endif
