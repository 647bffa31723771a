/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol's decoder and dispatcher over hostile bytes. What
 * decodes must encode to the very same bytes: the wire has one form. */
#include <stdlib.h>
#include <string.h>

#include "control/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OP(number, name, request, response)                                                        \
    static int op_##name(void *data, const struct control_##request *req,                          \
                         struct control_##response *ret, struct gi_error *err)                     \
    {                                                                                              \
        return *(int *)data ? gi_fail(err, GI_NOT_FOUND, "no\n\"such\" thing") : 0;                \
    }
CONTROL_CALLS(OP)

static const struct control_ops ops = {
#define OP_ENTRY(number, name, request, response) .name = op_##name,
    CONTROL_CALLS(OP_ENTRY)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union control_any body;
    static uint8_t out[CONTROL_MAX_MESSAGE];
    struct control_header h = {0};
    if (control_decode(data, size, &h, &body, NULL) == 0) {
        int n = control_encode(h.type, h.seq, &body, out, sizeof(out), NULL);
        if (n < 0 || (size_t)n != size || memcmp(out, data, size) != 0)
            abort();
    }
    for (int fails = 0; fails < 2; fails++) {
        int n = control_serve(&ops, &fails, data, size, out, NULL);
        if (n >= 0 && control_decode(out, (size_t)n, &h, &body, NULL) < 0)
            abort();
    }
    return 0;
}
