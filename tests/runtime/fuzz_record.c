/* SPDX-License-Identifier: Apache-2.0 */
/* A record file of whatever bytes is read whole or refused. */
#include <stdlib.h>

#include "rpc/pb.h"
#include "state/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int kind = RECORD_POD; kind <= RECORD_CONTAINER; kind++) {
        struct gi_error err = GI_ERROR_INIT;
        void *message = NULL;
        if (record_decode((enum record_kind)kind, data, size, &message, &err) == 0) {
            uint8_t *again = NULL;
            size_t len = 0;
            if (record_encode((enum record_kind)kind, message, &again, &len, &err) < 0)
                abort();
            free(again);
            pb_free(message);
        }
    }
    return 0;
}
