/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRI v1: the generated messages and what their descriptors don't say.
 *
 * Names follow protobuf-c: Runtime__V1__PodSandboxConfig,
 * runtime__v1__runtime_service__descriptor. A field named like a C keyword has
 * an underscore behind it (metadata->namespace_); all are lower case
 * (cdi_devices). map<string,string> is an array of pointers to
 * ...__LabelsEntry {key, value}; every map entry type has the layout of
 * struct gi_cri_entry. An unset string is "" (never NULL) after unpacking;
 * an unset message is NULL.
 */
#ifndef GI_CRI_CRI_H
#define GI_CRI_CRI_H

#include <stdbool.h>

#include "cri/api.pb-c.h"

/* Any map<string,string> entry: `(struct gi_cri_entry **)config->labels`. */
struct gi_cri_entry {
    ProtobufCMessage base;
    char *key;
    char *value;
};

/* Whether METHOD answers with a stream of messages (protobuf-c's descriptors
 * don't carry that). Client streaming does not occur in CRI. */
bool gi_cri_method_streams(const ProtobufCMethodDescriptor *method);

/* Finds "/runtime.v1.RuntimeService/Version" among the two services; NULL when
 * there is no such method. *ret_service may be NULL. */
const ProtobufCMethodDescriptor *gi_cri_find_method(const char *path,
                                                    const ProtobufCServiceDescriptor **ret_service);

/* The value of KEY in a map of N entries (the last one, as protobuf demands), or NULL. */
const char *gi_cri_map_get(const void *entries, size_t n, const char *key);

#endif
