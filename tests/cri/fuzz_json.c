/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a CRI response, then as JSON: parsing must not fail badly, and
 * the text must be bounded and free of control characters. The first byte
 * chooses the method.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "cri/cri.h"
#include "cri/pbjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCServiceDescriptor *s = &runtime__v1__runtime_service__descriptor;
    if (size < 1)
        return 0;
    const ProtobufCMethodDescriptor *m = &s->methods[data[0] % s->n_methods];
    const ProtobufCMessageDescriptor *type = data[0] & 0x80 ? m->input : m->output;
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, size - 1, data + 1);
    if (!message)
        return 0;
    cleanup_buf struct gi_buf b = GI_BUF_INIT(1 << 16);
    (void)gi_pbjson_write(&b, message, GI_PBJSON_DEFAULTS);
    if (b.len > b.max)
        abort();
    for (size_t i = 0; i < b.len; i++)
        if ((unsigned char)b.data[i] < 0x20)
            abort();
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
