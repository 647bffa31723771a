/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as messages of CRI; what is taken must come out again the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cri/cri.h"
#include "cri/pbjson.h"
#include "cri/pbjson_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ProtobufCMessage *take(const ProtobufCMessageDescriptor *type, const char *text, size_t len)
{
    cleanup_gi_json struct gi_json *root = NULL;
    ProtobufCMessage *m = NULL;
    if (gi_json_parse(text, len, NULL, "fuzz", &root, NULL) < 0 ||
        gi_pbjson_read(type, root, &m, NULL) < 0)
        return NULL;
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &runtime__v1__container_config__descriptor,
        &runtime__v1__pod_sandbox_config__descriptor,
        &runtime__v1__psi_data__descriptor,
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(types); i++) {
        ProtobufCMessage *m = take(types[i], (const char *)data, size);
        if (!m)
            continue;
        cleanup_buf struct gi_buf once = GI_BUF_INIT(1 << 20), twice = GI_BUF_INIT(1 << 20);
        if (gi_pbjson_write(&once, m, 0) == 0) {
            ProtobufCMessage *again = take(types[i], once.data, once.len);
            if (!again || gi_pbjson_write(&twice, again, 0) != 0 || once.len != twice.len ||
                memcmp(once.data, twice.data, once.len) != 0)
                abort();
            protobuf_c_message_free_unpacked(again, NULL);
        }
        protobuf_c_message_free_unpacked(m, NULL);
    }
    return 0;
}
