/* SPDX-License-Identifier: Apache-2.0 */
#include "cri/cri.h"

#include <string.h>

bool gi_cri_method_streams(const ProtobufCMethodDescriptor *method)
{
    return strncmp(method->name, "Stream", 6) == 0 ||
           strcmp(method->name, "GetContainerEvents") == 0;
}

const ProtobufCMethodDescriptor *gi_cri_find_method(const char *path,
                                                    const ProtobufCServiceDescriptor **ret_service)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        &runtime__v1__runtime_service__descriptor,
        &runtime__v1__image_service__descriptor,
    };

    if (path[0] != '/')
        return NULL;
    const char *slash = strchr(path + 1, '/');
    if (!slash)
        return NULL;
    size_t len = (size_t)(slash - path - 1);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        if (strlen(services[i]->name) != len || memcmp(services[i]->name, path + 1, len) != 0)
            continue;
        const ProtobufCMethodDescriptor *m =
            protobuf_c_service_descriptor_get_method_by_name(services[i], slash + 1);
        if (m && ret_service)
            *ret_service = services[i];
        return m;
    }
    return NULL;
}

const char *gi_cri_map_get(const void *entries, size_t n, const char *key)
{
    const struct gi_cri_entry *const *e = entries;
    for (size_t i = n; i > 0; i--)
        if (strcmp(e[i - 1]->key, key) == 0)
            return e[i - 1]->value;
    return NULL;
}
