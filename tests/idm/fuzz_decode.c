/* SPDX-License-Identifier: Apache-2.0 */
/* Every generated decoder: two bytes of message type, one that says request or
 * reply, then the payload. */
#include <stddef.h>
#include <string.h>

#include "idm_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint16_t type;
    if (size < 3 || size > 1u << 20)
        return 0;
    memcpy(&type, data, sizeof(type));
    idm_decode_any(type, data[2] & 1, data + 3, (uint32_t)size - 3);
    return 0;
}
